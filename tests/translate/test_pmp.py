"""Decoding with an auxiliary sentence beside the source: given ones, and those that the pool makes first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hexapla import prompts
from hexapla.cli.main import main
from hexapla.common.errors import UserError
from hexapla.languages import Direction
from hexapla.pool import Pool, write_pool
from hexapla.prompts import Auxiliary
from hexapla.tokenization import encode_prompts
from hexapla.translate.lines import translate_lines
from hexapla.translate.spec import TranslateSpec
from hexapla.translate.translator import Request, Translation, Translator
from tests.translate.reference import Reference

SPEC = TranslateSpec(beams=1, max_length_ratio=1.0, max_extra_tokens=4)
GIVEN, SELF = (SPEC.model_copy(update={"pmp": pmp}) for pmp in ("given", "self"))
EN_DE, DE_EN, NL_EN, EN_NL = map(Direction.parse, ("en-de", "de-en", "nl-en", "en-nl"))
AUXILIARIES = {EN_DE: "nl", DE_EN: "nl", EN_NL: "de"}  # de-nl is no route; nl-en has no auxiliary


@pytest.fixture(scope="module")
def with_auxiliaries(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """The random pool, with auxiliary languages."""
    description = replace(pool.description, auxiliaries=AUXILIARIES)
    folder = tmp_path_factory.mktemp("auxiliaries") / "pool"
    return write_pool(folder, description, {name: pool.adapter_folder(name) for name in pool.adapters})


@pytest.fixture(scope="module")
def plain(with_auxiliaries: Pool) -> Translator:
    return Translator(with_auxiliaries, SPEC, device="cpu")


@pytest.fixture(scope="module")
def given(with_auxiliaries: Pool, plain: Translator) -> Translator:
    return Translator(with_auxiliaries, GIVEN, engine=plain.engine)


@pytest.fixture(scope="module")
def own(with_auxiliaries: Pool, plain: Translator) -> Translator:
    return Translator(with_auxiliaries, SELF, engine=plain.engine)


def answers(translator: Translator, requests: list[Request]) -> list[Translation]:
    found = dict(translator.translate_requests(requests))
    assert sorted(found) == list(range(len(requests)))
    return [found[index] for index in range(len(requests))]


def test_the_pool_remembers_its_auxiliaries(with_auxiliaries: Pool) -> None:
    assert Pool.load(with_auxiliaries.folder).description.auxiliaries == AUXILIARIES


def test_given_equals_the_manual_prompt(given: Translator, with_auxiliaries: Pool, qwen3_base: Path) -> None:
    reference = Reference(qwen3_base, with_auxiliaries)
    dutch = Auxiliary("nl", "Goedemorgen, de trein")
    requests = [Request("Good morning", EN_DE, dutch), Request("Guten Morgen", DE_EN, dutch)]
    tokenizer = given.engine.tokenizer
    for request, answer in zip(requests, answers(given, requests), strict=True):
        names = {"en": "English", "de": "German"}
        source, target = names[request.direction.source], names[request.direction.target]
        text = (
            f"Translate this from {source} to Dutch and {target}:\n{source}: {request.text}\n"
            f"Dutch: {dutch.text}\n{target}:"
        )
        generated = reference.generate(
            tokenizer(text)["input_ids"],
            with_auxiliaries.route(request.direction),
            num_beams=1,
            max_new_tokens=answer.num_tokens,
            eos_token_id=[2],
        )
        expected = tokenizer.decode(generated, skip_special_tokens=True).strip().partition("\n")[0].strip()
        assert answer.text == expected.replace("\r", " ")
        assert answer.auxiliary == dutch


def test_without_a_given_sentence_the_prompt_is_plain(given: Translator, plain: Translator) -> None:
    texts = [("Guten Morgen", DE_EN), ("Goedemorgen", NL_EN), ("Tag", DE_EN)]
    auxiliaries = [None, Auxiliary("fr", "Bonjour"), Auxiliary("nl", " \t")]  # none; no auxiliary language; blank
    requests = [Request(*text, auxiliary) for text, auxiliary in zip(texts, auxiliaries, strict=True)]
    found = answers(given, requests)
    assert [answer.auxiliary for answer in found] == [None] * 3
    assert [answer.text for answer in found] == [a.text for a in answers(plain, [Request(*text) for text in texts])]


def test_self_equals_two_manual_passes(own: Translator, given: Translator, plain: Translator) -> None:
    texts = ["Good morning", "The train leaves", "", "station", "Good morning"]
    requests = [Request(text, direction) for direction in (EN_DE, EN_NL) for text in texts]
    first = answers(plain, [Request(r.text, Direction("en", AUXILIARIES[r.direction])) for r in requests])
    assert sum(bool(answer.text) for answer in first) == 8
    second = [
        Request(r.text, r.direction, Auxiliary(AUXILIARIES[r.direction], answer.text))
        for r, answer in zip(requests, first, strict=True)
    ]
    expected = answers(given, second)
    found = answers(own, requests)
    assert [(a.text, a.finish, a.auxiliary) for a in found] == [(a.text, a.finish, a.auxiliary) for a in expected]
    assert [a.text for a in found] != [a.text for a in answers(plain, requests)]
    assert [a.finish == "empty-source" for a in found] == [not text for text in texts] * 2


def test_without_a_route_the_first_pass_takes_the_adapter_asked_for(
    own: Translator, given: Translator, with_auxiliaries: Pool, qwen3_base: Path
) -> None:
    reference = Reference(qwen3_base, with_auxiliaries)
    tokenizer = own.engine.tokenizer
    [answer] = answers(own, [Request("Guten Morgen", DE_EN)])
    assert answer.auxiliary is not None
    [prompt] = encode_prompts(tokenizer, prompts.get_template("alma"), [(Direction("de", "nl"), "Guten Morgen")])
    generated = reference.generate(prompt, "first", num_beams=1, max_new_tokens=8, eos_token_id=[2])
    text = tokenizer.decode(generated, skip_special_tokens=True).strip().partition("\n")[0]
    assert answer.auxiliary.code == "nl"
    assert text.startswith(answer.auxiliary.text)
    [again] = answers(given, [Request("Guten Morgen", DE_EN, answer.auxiliary)])
    assert (answer.text, answer.auxiliary) == (again.text, again.auxiliary)


def test_both_passes_are_batched_and_no_sentence_is_translated_twice(
    own: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    decode = own.engine.decode
    monkeypatch.setattr(own.engine, "decode", lambda batch, *rest: (sizes.append(len(batch)), decode(batch, *rest))[1])
    texts = ["Good morning", "The train", "Good morning", "nine o'clock"]
    answers(own, [Request(text, EN_DE) for text in texts] + [Request("Tag", DE_EN), Request("Tag", NL_EN)])
    assert sizes == [4, 6]  # three English sentences and a German one into Dutch; then all six


def test_bounds_come_from_the_source_alone(given: Translator, plain: Translator) -> None:
    requests = [Request("Good morning", EN_DE), Request("Good morning", EN_DE, Auxiliary("nl", "Goedemorgen " * 9))]
    without, shown = given._prepare(given._asked(enumerate(requests)))[1]
    assert shown.decode.max_new_tokens == without.decode.max_new_tokens
    assert len(shown.decode.prompt) > len(without.decode.prompt)


def test_an_auxiliary_beyond_the_window_is_left_out(given: Translator, plain: Translator) -> None:
    [answer] = answers(given, [Request("Good morning", EN_DE, Auxiliary("nl", "Goedemorgen " * 5000))])
    expected = answers(plain, [Request("Good morning", EN_DE)])[0]
    assert (answer.text, answer.auxiliary, answer.finish) == (expected.text, None, expected.finish)


def test_an_auxiliary_of_several_lines_becomes_one(given: Translator) -> None:
    texts = (" Goede\nmorgen ", "Goede morgen")
    found = answers(given, [Request("Good morning", EN_DE, Auxiliary("nl", text)) for text in texts])
    assert {(answer.text, answer.auxiliary) for answer in found} == {(found[0].text, Auxiliary("nl", texts[1]))}


def test_refusals(with_auxiliaries: Pool, pool: Pool, plain: Translator, given: Translator) -> None:
    for spec in (GIVEN, SELF):
        with pytest.raises(UserError, match="The pool 'random' has no auxiliary languages"):
            Translator(pool, spec, engine=plain.engine)
        with pytest.raises(UserError, match="A bare base has no auxiliary languages"):
            Translator(pool.description.base, spec, engine=plain.engine)
    with pytest.raises(UserError, match="auxiliary language of en-de is nl in this pool, not fr"):
        answers(given, [Request("Hi", EN_DE, Auxiliary("fr", "Salut"))])
    with pytest.raises(UserError, match="text in nl was given beside the source"):
        answers(plain, [Request("Hi", EN_DE, Auxiliary("nl", "Hoi"))])


def test_lines_with_auxiliary_lines(given: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hexapla.translate.lines.REQUESTS_PER_WINDOW", 2)
    lines, dutch = ["Good morning", "", "The train"], ["Goedemorgen", "leeg", ""]
    requests = [Request(line, EN_DE, Auxiliary("nl", text)) for line, text in zip(lines, dutch, strict=True)]
    expected = [answer.text for answer in answers(given, requests)]
    assert list(translate_lines(given, lines, EN_DE, dutch)) == expected
    for shorter, what in ((lines[:2], "only 2 lines"), (lines, "only 2 auxiliary lines")):
        stream = translate_lines(given, shorter, EN_DE, dutch if len(shorter) == 2 else dutch[:2])
        with pytest.raises(UserError, match=what):
            list(stream)
    with pytest.raises(UserError, match="no auxiliary language for nl-en"):
        translate_lines(given, lines, NL_EN, dutch)


def test_the_command_line(
    with_auxiliaries: Pool, given: Translator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "english").write_text("Good morning\n\nThe train\n", encoding="utf-8")
    (tmp_path / "dutch").write_text("Goedemorgen\n\nDe trein\n", encoding="utf-8")
    words = ["translate", str(with_auxiliaries.folder), str(tmp_path / "english"), "--from", "en", "--to", "de"]
    words += ["--beams", "1"]
    wide = Translator(with_auxiliaries, TranslateSpec(beams=1, pmp="given"), engine=given.engine)
    expected = list(translate_lines(wide, lines_of(tmp_path / "english"), EN_DE, lines_of(tmp_path / "dutch")))
    assert main([*words, "--pmp", "given", "--auxiliary", str(tmp_path / "dutch")]) == 0
    assert capsys.readouterr().out.splitlines() == expected
    for more in (["--pmp", "given"], ["--auxiliary", str(tmp_path / "dutch")]):
        assert main([*words, *more]) == 2
        assert "go together" in capsys.readouterr().err


def lines_of(path: Path) -> Iterator[str]:
    return iter(path.read_text(encoding="utf-8").splitlines())
