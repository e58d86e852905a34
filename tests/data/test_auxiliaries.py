"""The choice of auxiliary languages: the table, relatives, distances, chance, and what is done for want of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexapla import languages
from hexapla.base import Base
from hexapla.common.errors import UserError
from hexapla.data.auxiliaries import Choice, choose_auxiliaries, coverage
from hexapla.data.pmp import PmpSpec
from hexapla.data.representations import language_distances
from hexapla.data.rows import Row
from hexapla.languages import Direction, named_set

# LMT, arXiv 2511.07003: auxiliary languages between English and X; the other languages have none.
TABLE = (
    "es→pt de→nl fr→it it→fr nl→de pl→cs bg→ru cs→pl da→nb fa→ar fi→hu hi→bn hu→fi id→nl nb→da ro→it sk→cs sv→nb uk→ru "
    "vi→fr az→tr hr→cs is→da jv→id kk→ru ky→ru lo→th mr→hi ms→id ne→hi ps→fa tg→ru tl→id ug→fa ur→fa uz→fr"
)


def choices(method: str, codes: str, hubs: str, **more: object) -> dict[tuple[str, str], Choice]:
    spec = PmpSpec.model_validate({"auxiliary": method, **{k: v for k, v in more.items() if k == "fallback"}})
    rest = {key: value for key, value in more.items() if key != "fallback"}
    return dict(choose_auxiliaries(spec, codes.split(), hubs.split(), **{"seed": 0, **rest}).choices)  # type: ignore[arg-type]


def test_the_papers_sixty_languages() -> None:
    expected = dict(pair.split("→") for pair in TABLE.split())
    codes = named_set("lmt")
    auxiliaries = choose_auxiliaries(PmpSpec(), codes, ("en", "zh"), seed=0)
    assert len(auxiliaries.choices) == 59 + 58
    for code in codes:
        if code != "en":
            assert auxiliaries.of(Direction("en", code)) == auxiliaries.of(Direction(code, "en")) == expected.get(code)
        if code not in ("en", "zh"):
            assert auxiliaries.of(Direction("zh", code)) == auxiliaries.of(Direction(code, "zh")) == "en"
    assert {choice.found for choice in auxiliaries.choices.values()} == {"table", "hub", "none"}


def test_more_hubs_take_the_first_hub_outside_the_pair() -> None:
    found = choices("lmt", "en zh ja de nl", "en zh ja")
    assert found["zh", "de"] == found["ja", "de"] == found["zh", "ja"] == Choice("en", "hub")
    assert found["en", "de"] == Choice("nl", "table")
    assert found["en", "ja"] == Choice(None, "none")
    swapped = choices("lmt", "en zh de nl", "zh en")
    assert swapped["zh", "de"] == Choice("en", "hub")
    assert swapped["zh", "en"] == Choice(None, "none")


def test_fallback_by_family_then_by_script_then_none() -> None:
    found = choices("lmt", "en uk pl cs fi hi ja az kk", "en")
    assert found["en", "uk"] == Choice("pl", "fallback-family")  # the table says ru; Polish is as near as Czech, richer
    assert found["en", "fi"] == Choice("pl", "fallback-script")  # hu; no Uralic language is left
    assert found["en", "hi"] == Choice("pl", "fallback-family")  # bn; of the Indo-European ones the richest is left
    assert found["en", "ja"] == Choice(None, "none")  # the table has none: no fallback
    assert found["en", "pl"] == Choice("cs", "table")
    assert choices("lmt", "en uk pl cs", "en", fallback=False)["en", "uk"] == Choice(None, "none")
    assert choices("lmt", "en lo", "en")["en", "lo"] == Choice(None, "none")  # th; nothing is left at all
    assert choices("lmt", "en ca es fi", "en")["en", "ca"] == Choice("es", "fallback-family")  # none of LMT's sixty
    assert choices("lmt", "de nl sv fi", "de")["de", "nl"] == Choice("sv", "fallback-family")  # no English, no table


def test_typology_takes_the_nearest_relative() -> None:
    found = choices("typology", "en zh de nl uk ru cs fi ja", "en zh")
    assert found["en", "de"] == Choice("nl", "family")
    assert found["zh", "de"] == Choice("en", "family")  # as near as Dutch, earlier in the recipe
    assert found["en", "uk"] == Choice("ru", "family")  # same subgroup and script; Czech shares the subgroup only
    assert found["en", "cs"] == Choice("ru", "family")
    assert found["en", "fi"] == Choice("de", "script")
    assert found["en", "ja"] == Choice(None, "none")
    for code in ["de", "nl", "uk", "ru", "cs", "fi"]:
        assert found["en", code].code not in ("en", code)


def test_distance_takes_the_nearest_that_has_one() -> None:
    distances = {"de": {"nl": 0.2, "fr": 0.1, "en": 0.0}, "fr": {"de": 0.1}}
    found = choices("distance", "en de nl fr sv", "en", distances=distances)
    assert found["en", "de"] == Choice("fr", "distance")
    assert found["en", "fr"] == Choice("de", "distance")
    assert found["en", "sv"] == Choice("de", "fallback-family")
    with pytest.raises(UserError, match="no distances"):
        choices("distance", "en de nl", "en")


def test_random_depends_on_the_seed_and_not_on_the_order() -> None:
    codes = "en zh de nl fr it es ru uk"
    found = choices("random", codes, "en zh")
    assert found == choices("random", "uk ru es it fr nl de zh en", "en zh")
    assert found != choices("random", codes, "en zh", seed=1)
    for pair, choice in found.items():
        assert choice.code in codes.split()
        assert choice.code not in pair
    assert choices("random", "en de", "en")["en", "de"] == Choice(None, "none")


def test_none_is_none() -> None:
    assert set(choices("none", "en zh de nl", "en zh").values()) == {Choice(None, "none")}


def test_a_hub_must_be_a_language() -> None:
    with pytest.raises(UserError, match="hub zh is not among the languages"):
        choices("lmt", "en de", "en zh")


def test_coverage_counts_rows_of_the_pair() -> None:
    auxiliaries = choose_auxiliaries(PmpSpec(), ("en", "de", "nl", "ja"), ("en",), seed=0)
    texts = [{"en", "de", "nl"}, {"en", "de"}, {"de", "nl"}, {"en", "nl", "de"}, {"en", "de"}]
    rows = [Row(str(n), {code: code for code in codes}, "c") for n, codes in enumerate(texts)]
    found = {one.other: one for one in coverage(auxiliaries, rows)}
    assert (found["de"].num_rows, found["de"].num_covered, found["de"].share) == (4, 2, 0.5)
    assert (found["nl"].num_rows, found["nl"].share) == (2, 1.0)
    assert found["ja"].share is None
    assert found["ja"].choice == Choice(None, "none")


def test_every_auxiliary_of_the_registry_is_a_language_of_lmt() -> None:
    named = {language.auxiliary for language in languages.all_languages()} - {None}
    assert named <= set(named_set("lmt"))


def test_distances_by_the_bases_own_representations(qwen3_base: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = {"en": "Good morning", "nl": "Good morning", "de": "Guten Morgen", "fr": "Bonjour à tous"}
    rows = [Row("a", texts, "c"), Row("b", {"en": "train", "de": "Zug"}, "c"), Row("c", {"en": "alone"}, "c")]
    found = language_distances(Base(str(qwen3_base)), rows, ("en", "nl", "de", "fr", "ru"), seed=0)
    assert found["en"]["nl"] == pytest.approx(0, abs=1e-5)  # the same sentence
    assert found["ru"] == {}
    assert found["de"]["en"] == found["en"]["de"]
    model = AutoModelForCausalLM.from_pretrained(qwen3_base).eval()
    tokenizer = AutoTokenizer.from_pretrained(qwen3_base)

    def vector(text: str) -> torch.Tensor:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            states = model(input_ids=ids, output_hidden_states=True).hidden_states
        return states[len(states) // 2][0].mean(dim=0)

    vectors = {text: vector(text) for text in [*texts.values(), "train", "Zug"]}
    everything = [vectors[text] for row in rows[:2] for text in row.texts.values()]
    mean = torch.stack(everything).mean(dim=0)
    pairs = [("Good morning", "Guten Morgen"), ("train", "Zug")]
    cosines = [torch.cosine_similarity(vectors[a] - mean, vectors[b] - mean, dim=0) for a, b in pairs]
    assert found["en"]["de"] == pytest.approx(1 - float(sum(cosines)) / 2, abs=1e-4)
    with pytest.raises(UserError, match="nothing to take distances from"):
        language_distances(Base(str(qwen3_base)), rows[2:], ("en", "de"), seed=0)
