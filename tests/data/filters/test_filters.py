"""Every filter of texts and pairs: what it keeps and rejects in seven scripts, and what holds for all of them."""

from __future__ import annotations

import pickle
import sys
import unicodedata
from functools import cache
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from hexapla.common.errors import UserError
from hexapla.common.spec import Spec
from hexapla.data.filters import AnyFilter, FilterSpec, filter_names
from hexapla.data.filters.corpus import CorpusFilter
from hexapla.data.filters.encoding import EncodingFilter
from hexapla.data.filters.filter import Filter, PairFilter, TextFilter
from hexapla.data.filters.identical import IdenticalFilter
from hexapla.data.filters.language import LanguageFilter
from hexapla.data.filters.length import LengthFilter
from hexapla.data.filters.repetition import RepetitionFilter
from hexapla.data.filters.script import ScriptFilter
from hexapla.data.filters.thresholds import Tiers
from tests.data.filters.cases import CASES, ENGLISH, SENTENCES, Case

_ADAPTER: TypeAdapter[Any] = TypeAdapter(FilterSpec)


def make(name: str, **given: Any) -> Any:
    return _ADAPTER.validate_python({"filter": name, **given})


def judge(chosen: Filter, code: str, texts: list[str], english: list[str]) -> list[str | None]:
    if isinstance(chosen, TextFilter):
        return chosen.judge(code, texts)
    assert isinstance(chosen, PairFilter)
    return chosen.judge(("en", code), english, texts)


@pytest.mark.parametrize("name", CASES)
def test_what_is_kept_and_rejected(name: str) -> None:
    found = [judge(make(name, **case.settings), case.code, [case.text], [case.english]) for case in CASES[name]]
    wrong = [(case, reason) for case, (reason,) in zip(CASES[name], found, strict=True) if reason != case.reason]
    assert not wrong


@pytest.mark.parametrize("kind", get_args(AnyFilter))
def test_every_filter_has_kept_and_rejected_cases_in_six_scripts(kind: type[Filter]) -> None:
    name = kind.model_fields["filter"].default
    if issubclass(kind, CorpusFilter) or name == "quality":  # see test_engine.py and test_quality.py
        return
    assert name in CASES, "add its cases to cases.py"
    for reason in (None, *kind.reasons):
        codes = {case.code for case in CASES[name] if case.reason == reason}
        assert len({unicodedata.name(SENTENCES[code][0]).split()[0] for code in codes}) >= 6, (name, reason)


def test_a_bare_name_is_a_filter_with_its_defaults() -> None:
    for name in filter_names():
        assert _ADAPTER.validate_python(name) == make(name)


def test_an_unknown_filter_is_told_the_nearest_one() -> None:
    class Holder(Spec):
        filters: tuple[FilterSpec, ...]

    with pytest.raises(ValidationError, match=r"there is no filter 'lenght'\. Did you mean 'length'"):
        Holder.model_validate({"filters": ["lenght"]})
    with pytest.raises(ValidationError, match="an entry needs a filter: "):
        Holder.model_validate({"filters": [{"max": 3}]})


@pytest.mark.parametrize("name", filter_names())
def test_filters_travel_to_processes_and_name_their_version(name: str) -> None:
    chosen = make(name)
    assert pickle.loads(pickle.dumps(chosen)) == chosen
    assert chosen.reasons
    if name != "quality":
        chosen.require()
        assert chosen.version


@cache
def _alone(name: str, case: Case) -> str | None:
    return judge(make(name), case.code, [case.text], [case.english])[0]


@pytest.mark.parametrize("name", CASES)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_judging_together_equals_judging_alone(name: str, data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(list(SENTENCES)))
    pool = [case._replace(settings=None) for case in CASES[name] if case.code == code]
    cases = data.draw(st.lists(st.sampled_from(pool), max_size=30))
    together = judge(make(name), code, [case.text for case in cases], [case.english for case in cases])
    assert together == [_alone(name, case) for case in cases]


@pytest.mark.parametrize("name", CASES)
@settings(deadline=None, max_examples=60)
@given(pairs=st.lists(st.tuples(st.text(), st.text()), max_size=10))
def test_any_text_gets_one_of_the_reasons_or_none(name: str, pairs: list[tuple[str, str]]) -> None:
    chosen = make(name)
    found = judge(chosen, "de", [one for one, _ in pairs], [other for _, other in pairs])
    assert len(found) == len(pairs)
    assert set(found) <= {None, *chosen.reasons}
    assert all(type(reason) is str for reason in found if reason is not None)


def test_thresholds_are_those_of_the_poorest_language() -> None:
    tiers = Tiers(high=0.3, mid=0.2, low=0.1)
    assert [tiers.of(*codes) for codes in (("en", "de"), ("en", "ky"), ("ky", "zh"))] == [0.3, 0.1, 0.1]
    assert tiers.of("uk") == tiers.of("en", "uk") == 0.2


def test_length_counts_words_only_when_asked() -> None:
    texts = ["one two three", "one", "one two"]
    assert LengthFilter(min_words=2, max_words=2).judge("en", texts) == ["too-long", "too-short", None]
    assert LengthFilter().judge("en", texts) == [None, None, None]
    with pytest.raises(ValidationError, match=r"min \(9\) is larger than max \(3\)"):
        LengthFilter(min=9, max=3)
    with pytest.raises(ValidationError, match="min_words"):
        LengthFilter(min_words=9, max_words=3)


def test_close_relatives_may_be_nearly_identical() -> None:
    danish, bokmal = ["Jeg kommer fra København i dag."], ["Jeg kommer fra København i dag!!"]
    near = ["Jeg kommer fra Kobenhavn i dag."]
    assert IdenticalFilter().judge(("da", "nb"), danish, near) == [None]
    assert IdenticalFilter().judge(("da", "nb"), danish, bokmal) == ["identical"]
    assert IdenticalFilter().judge(("zh", "zh_Hant"), ["他现在在银行工作了三年。"], ["他現在在银行工作了三年。"]) == [
        None
    ]
    assert IdenticalFilter().judge(("da", "de"), danish, near) == ["near-identical"]


def test_long_texts_are_compared_by_how_they_begin() -> None:
    text = " ".join(SENTENCES["de"] + str(number) for number in range(3000))
    assert IdenticalFilter().judge(("en", "de"), [text], [text.replace("Hamburg", "Homburg")]) == ["near-identical"]


def test_unknown_languages_and_relatives_are_not_rejected_by_language() -> None:
    danish = "Vi skal nok komme hjem til jer i morgen."
    assert LanguageFilter().judge("nb", [danish]) == [None]
    assert LanguageFilter(relatives=False).judge("nb", [danish]) == ["wrong-language"]
    assert LanguageFilter().judge("sv", [danish]) == ["wrong-language"]
    assert LanguageFilter().judge("ast", [ENGLISH]) == [None]  # Asturian is none of its languages


def test_a_low_resource_language_needs_only_be_the_likeliest() -> None:
    strict = Tiers(high=1, mid=1, low=0)
    texts = ["Бүгүн кечинде", "Wir sehen das Haus"]
    assert LanguageFilter(confidence=strict).judge("ky", texts[:1]) == [None]
    assert LanguageFilter(confidence=strict).judge("de", texts[1:]) == ["unsure-language"]
    assert LanguageFilter(confidence=1).judge("ky", texts[:1]) == ["unsure-language"]


def test_runs_do_not_reach_over_the_ends_of_texts() -> None:
    chosen = RepetitionFilter(max_run=3)
    assert chosen.judge("en", ["", "aaa", "", "a", "", "aaaa", "baaa", "a"]) == [*[None] * 5, "run", None, None]
    assert chosen.judge("en", ["a" + " " * 9 + "b", "aaab"]) == [None, None]
    assert chosen.judge("en", []) == chosen.judge("en", [""])[1:] == []


def test_latin_names_are_tolerated_in_every_script_but_no_other_names() -> None:
    assert ScriptFilter().judge("ru", ["Это Windows и Linux", "Это мои друзья 你好吗朋友"]) == [None, "mixed-script"]
    assert ScriptFilter(min=0.8).judge("ru", ["Это Windows и Linux"]) == ["wrong-script"]
    assert ScriptFilter().judge("sr", ["Ово је на српском"]) == [None]


def test_mojibake_needs_an_extra_and_structural_faults_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(UserError, match=r"hexapla\[clean\]"):
        EncodingFilter().require()
    plain = EncodingFilter(mojibake=False)
    plain.require()
    assert plain.judge("de", ["\ufffd", "schÃ¶n"]) == ["replaced", None]


def test_every_mojibake_that_ftfy_knows_is_found() -> None:
    from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad

    signs = "abz ЂвВГРСÂÃÙ°" + "".join(characters.replace("-", "") for characters in MOJIBAKE_CATEGORIES.values())
    texts = [first + second for first in signs for second in signs] + [f"a{sign} b" for sign in signs]
    found = EncodingFilter().judge("de", texts)
    structural = {"replaced", "private-use", "unassigned"}
    assert [reason == "mojibake" for reason in found if reason not in structural] == [
        is_bad(text) for text, reason in zip(texts, found, strict=True) if reason not in structural
    ]


def test_half_of_the_numbers_may_be_lost_but_no_tag() -> None:
    chosen = make("items")
    english = ["From 25 to 300 people", "From 25 to 300 and 4567 people", "<b>bold</b> and <i>", "{a} 25", "25"]
    german = ["Von 25 bis dreihundert", "Von 25 bis viele", "<b>fett</b>", "fünfundzwanzig", "25 bis 30"]
    assert chosen.judge(("en", "de"), english, german) == [None, "lost-number", "lost-tag", "lost-placeholder", None]
    assert make("items", min_numbers=1).judge(("en", "de"), english[:1], german[:1]) == ["lost-number"]
    assert make("items", kinds=["number", "placeholder"]).judge(("en", "de"), english[3:4], german[3:4]) == [
        "lost-number"
    ]
