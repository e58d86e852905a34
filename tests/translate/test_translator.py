"""Routing, bounds, blank and odd lines, refusals: the translator over a random pool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla import prompts
from hexapla.base import Base
from hexapla.common.errors import UserError
from hexapla.languages import Direction
from hexapla.pool import Pool
from hexapla.tokenization import encode_prompts
from hexapla.translate import translator as translator_module
from hexapla.translate.engines.endings import without_loop
from hexapla.translate.engines.engine import Decoded
from hexapla.translate.lines import translate_lines
from hexapla.translate.spec import TranslateSpec
from hexapla.translate.translator import Request, Translator
from tests.tiny_models import write_tiny_base
from tests.translate.reference import Reference

QUICK = TranslateSpec(beams=1, max_length_ratio=1.0, max_extra_tokens=4)
GERMAN = Direction("de", "en")


@pytest.fixture(scope="module")
def quick(pool: Pool) -> Translator:
    return Translator(pool, QUICK, device="cpu")


def outputs(translator: Translator, requests: list[Request]) -> list[str]:
    answers = dict(translator.translate_requests(requests))
    assert sorted(answers) == list(range(len(requests)))
    return [answers[index].text for index in range(len(requests))]


def test_every_direction_takes_its_own_adapter(quick: Translator, pool: Pool, qwen3_base: Path) -> None:
    reference = Reference(qwen3_base, pool)
    text = "Guten Morgen"
    directions = sorted(pool.description.routes)
    answers = dict(quick.translate_requests(Request(text, direction) for direction in directions))
    tokenizer, template = quick.engine.tokenizer, prompts.get_template("alma")
    for index, direction in enumerate(directions):
        [prompt] = encode_prompts(tokenizer, template, [(direction, text)])
        generated = reference.generate(
            prompt, pool.route(direction), num_beams=1, max_new_tokens=answers[index].num_tokens, eos_token_id=[2]
        )
        expected = tokenizer.decode(generated, skip_special_tokens=True).strip().partition("\n")[0].strip()
        assert answers[index].text == expected.replace("\r", " ")
    assert len({answer.text for answer in answers.values()}) == len(directions)


def test_any_spelling_of_a_language_serves(quick: Translator) -> None:
    [named] = quick.translate("Hallo", source="German", target="eng_Latn")
    assert named == quick.translate(["Hallo"], source="de", target="en")[0]


def test_blank_sources_never_reach_the_model(quick: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    decode = quick.engine.decode
    monkeypatch.setattr(quick.engine, "decode", lambda batch, *rest: (seen.extend(batch), decode(batch, *rest))[1])
    answers = quick.translate(["", "Hallo", " \t ", "\u00a0"], source="de", target="en")
    assert [answer.finish == "empty-source" for answer in answers] == [True, False, True, True]
    assert [answer.text for answer in answers if answer.finish == "empty-source"] == ["", "", ""]
    assert len(seen) == 1


def test_output_is_bounded_by_the_source(pool: Pool, quick: Translator) -> None:
    spec = TranslateSpec(beams=1, max_length_ratio=2.0, max_extra_tokens=3, loop_ngram=0)
    bounded = Translator(pool, spec, engine=quick.engine)
    text = "Der Zug fährt um neun Uhr ab"
    empty, full = encode_prompts(quick.engine.tokenizer, prompts.get_template("alma"), [(GERMAN, ""), (GERMAN, text)])
    [item] = bounded._prepare(bounded._asked([(0, Request(text, GERMAN))]))[1]
    assert item.decode.max_new_tokens == 2 * (len(full) - len(empty)) + 3


def test_source_beyond_the_window_is_blank_and_stops_nobody(quick: Translator) -> None:
    long = "Guten Morgen " * 5000
    answers = quick.translate(["Hallo", long, "Tag"], source="de", target="en")
    assert [answer.finish == "too-long" for answer in answers] == [False, True, False]
    assert answers[1].text == ""
    assert answers[0] == quick.translate("Hallo", source="de", target="en")[0]


def test_prompt_and_output_stay_in_the_window(quick: Translator, pool: Pool) -> None:
    wide = Translator(pool, TranslateSpec(beams=1, max_length_ratio=50.0), engine=quick.engine)
    text = " ".join(["Morgen"] * 30)
    [item] = wide._prepare(wide._asked([(0, Request(text, GERMAN))]))[1]
    assert len(item.decode.prompt) + item.decode.max_new_tokens == quick.engine.window == 512


def test_output_is_one_line(quick: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = quick.engine.tokenizer(" Good\r morning\nEnglish: more")["input_ids"]
    monkeypatch.setattr(quick.engine, "decode", lambda batch, *rest: [Decoded(tokens, "newline", 0.0) for _ in batch])
    assert quick.translate("Hallo", source="de", target="en")[0].text == "Good  morning"


@settings(deadline=None, max_examples=15)
@given(texts=st.lists(st.text(max_size=12), max_size=12))
def test_one_answer_for_every_request_and_one_line_each(quick: Translator, texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    answers = quick.translate(texts, source="de", target="en")
    assert len(answers) == len(texts)
    assert not any("\n" in answer.text or "\r" in answer.text for answer in answers)
    assert [answer.finish == "empty-source" for answer in answers] == [not text.strip() for text in texts]


def test_lines_keep_count_and_order_and_stream(quick: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hexapla.translate.lines.REQUESTS_PER_WINDOW", 4)
    lines = ["Guten Morgen", "", "Tag", "Der Zug", "  ", "Hallo", "neun Uhr", "ab", "Tag"]
    taken = []

    def source() -> object:
        for line in lines:
            taken.append(line)
            yield line

    stream = translate_lines(quick, source(), GERMAN)  # type: ignore[arg-type]
    first = next(stream)
    assert len(taken) == 4
    translated = [first, *stream]
    expected = [answer.text for answer in quick.translate(lines, source="de", target="en")]
    assert translated == expected
    assert [bool(line.strip()) or translated[place] == "" for place, line in enumerate(lines)] == [True] * 9


def test_windows_of_requests_keep_their_positions(quick: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [Request(text, GERMAN) for text in ("Guten Morgen", "Tag", "", "Hallo", "Der Zug", "ab")]
    expected = outputs(quick, requests)
    monkeypatch.setattr(translator_module, "REQUESTS_PER_WINDOW", 2)
    assert outputs(quick, requests) == expected


def test_batches_keep_the_token_budget(quick: Translator, pool: Pool) -> None:
    spec = TranslateSpec(beams=2, batch_tokens=300)
    small = Translator(pool, spec, engine=quick.engine)
    requests = [Request("Guten Morgen " * (number % 7 + 1), GERMAN) for number in range(20)]
    waiting = small._prepare(small._asked(enumerate(requests)))[1]
    batches = list(small._batches(waiting))
    assert sorted(item.index for batch in batches for item in batch) == list(range(20))
    assert max(len(batch) for batch in batches) > 1
    for batch in batches:
        assert len(batch) == 1 or len(batch) * 2 * max(len(item.decode.prompt) for item in batch) <= 300


def test_direction_that_the_pool_lacks_is_refused(quick: Translator) -> None:
    with pytest.raises(UserError, match="does not translate de-nl") as refusal:
        quick.translate("Hallo", source="de", target="nl")
    assert "From de it translates into: en" in str(refusal.value)
    with pytest.raises(UserError, match="does not translate"):
        translate_lines(quick, iter([]), Direction("nl", "de"))
    with pytest.raises(UserError, match="Klingonish"):
        quick.translate("Hallo", source="Klingonish", target="en")


def test_wrong_base_is_refused(pool: Pool, tmp_path: Path) -> None:
    write_tiny_base(tmp_path, "qwen3", seed=99)
    with pytest.raises(UserError, match="is not the one that this pool was made for"):
        Translator(pool, QUICK, base=Base(str(tmp_path)), device="cpu")


def test_base_that_moved_is_accepted(pool: Pool, qwen3_base: Path, tmp_path: Path, quick: Translator) -> None:
    shutil.copytree(qwen3_base, tmp_path / "moved")
    moved = Translator(pool.folder, QUICK, base=Base(str(tmp_path / "moved")), device="cpu")
    assert moved.translate("Tag", source="de", target="en") == quick.translate("Tag", source="de", target="en")


def test_engine_of_another_base_is_refused(pool: Pool, quick: Translator, tmp_path: Path) -> None:
    write_tiny_base(tmp_path, "qwen3", seed=98)
    other = Translator(Base(str(tmp_path)), QUICK, device="cpu")
    with pytest.raises(UserError, match="is not the one that this pool was made for"):
        Translator(pool, QUICK, engine=other.engine)


def test_changed_template_is_refused(pool: Pool, quick: Translator, tmp_path: Path) -> None:
    shutil.copytree(pool.folder, tmp_path / "pool")
    record = json.loads((tmp_path / "pool" / "pool.json").read_text())
    record["prompt"]["hash"] = "0" * 64
    (tmp_path / "pool" / "pool.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="prompt template 'alma' is not the one"):
        Translator(tmp_path / "pool", QUICK, engine=quick.engine)


def test_bare_base_translates_in_any_direction(quick: Translator, pool: Pool) -> None:
    bare = Translator(pool.description.base, QUICK, engine=quick.engine)
    assert bare.translate("Hallo", source="fr", target="uk")[0].finish != "empty-source"
    routed = quick.translate("Good morning", source="en", target="nl")
    assert bare.translate("Good morning", source="en", target="nl") == routed


def rig_successors(translator: Translator, successors: dict[int, int]) -> None:
    """Make the base a table: after token t comes `successors[t]`, whatever stands before.

    Every layer's output is switched off, token embeddings become one-hot, the output head the table.
    """
    model = translator.engine.model  # type: ignore[attr-defined]
    width = model.config.hidden_size
    named = sorted({*successors, *successors.values()})
    assert len(named) < width
    column = {token: place for place, token in enumerate(named)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.zero_()
        embedding = torch.zeros_like(model.model.embed_tokens.weight)
        embedding[:, width - 1] = 1
        for token in named:
            embedding[token] = torch.nn.functional.one_hot(torch.tensor(column[token]), width)
        head = torch.zeros_like(embedding)
        for token, successor in successors.items():
            head[successor, column[token]] = 1
        model.lm_head.weight = torch.nn.Parameter(head, requires_grad=False)
        model.model.embed_tokens.weight = torch.nn.Parameter(embedding, requires_grad=False)


@pytest.fixture
def rigged(tmp_path: Path) -> Translator:
    write_tiny_base(tmp_path, "qwen3", seed=0)
    return Translator(Base(str(tmp_path)), TranslateSpec(beams=1, max_extra_tokens=60), device="cpu")


@pytest.mark.parametrize("beams", [1, 3])
def test_loops_are_cut_to_their_first_round(rigged: Translator, beams: int) -> None:
    colon, one, two, three = (rigged.engine.tokenizer.convert_tokens_to_ids(token) for token in ":abc")
    rig_successors(rigged, {colon: one, one: two, two: three, three: two})
    rigged.spec = TranslateSpec(beams=beams, max_extra_tokens=60, loop_repeats=5)
    [answer] = rigged.translate("x", source="de", target="en")
    assert (answer.text, answer.finish) == ("abc", "loop")
    rigged.spec = TranslateSpec(beams=beams, max_length_ratio=1, max_extra_tokens=20, loop_ngram=0)
    [uncut] = rigged.translate("x", source="de", target="en")
    assert uncut.finish == "length"
    assert uncut.text.startswith("abcbcbcbcbc")


@pytest.mark.parametrize("beams", [1, 3])
def test_new_line_after_text_ends_the_output(rigged: Translator, beams: int) -> None:
    tokenizer = rigged.engine.tokenizer
    colon, one, two = (tokenizer.convert_tokens_to_ids(token) for token in ":ab")
    [line_break] = tokenizer("\n")["input_ids"]
    [blank] = tokenizer("\t")["input_ids"]
    rigged.spec = TranslateSpec(beams=beams, max_extra_tokens=60)
    # A line break before any text is no end; the one after it is.
    rig_successors(rigged, {colon: line_break, line_break: blank, blank: one, one: two, two: line_break})
    [answer] = rigged.translate("x", source="de", target="en")
    assert (answer.text, answer.finish) == ("ab", "newline")
    assert answer.num_tokens == 5


def test_end_of_sequence_ends_the_output(rigged: Translator) -> None:
    tokenizer = rigged.engine.tokenizer
    colon, one = (tokenizer.convert_tokens_to_ids(token) for token in ":a")
    rig_successors(rigged, {colon: one, one: tokenizer.eos_token_id})
    for beams in (1, 3):
        rigged.spec = TranslateSpec(beams=beams)
        [answer] = rigged.translate("x", source="de", target="en")
        assert (answer.text, answer.finish, answer.num_tokens) == ("a", "stop", 1)


@given(
    before=st.lists(st.integers(100, 120), max_size=6, unique=True),
    unit=st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True),
    rounds=st.integers(1, 9),
)
def test_a_loop_keeps_its_first_round(before: list[int], unit: list[int], rounds: int) -> None:
    spec = TranslateSpec(loop_ngram=4, loop_repeats=5)
    output = without_loop(before + unit * rounds, spec)
    assert output == (before + unit if rounds >= 5 else before + unit * rounds)


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        TranslateSpec(beam=3)  # type: ignore[call-arg]
