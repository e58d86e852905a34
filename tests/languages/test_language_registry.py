"""The registry's facts and the lookup by any spelling."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla import languages
from hexapla.common.errors import UserError
from hexapla.languages import Language

ROWS = languages.all_languages()
SPELLINGS = [(language, spelling) for language in ROWS for spelling in language.spellings]


def test_codes_are_unique_sorted_and_fit_for_directions() -> None:
    codes = [language.code for language in ROWS]
    assert codes == sorted(set(codes))
    assert all(re.fullmatch(r"[a-z]{2,3}(_[A-Z][a-z]{3}|_[A-Z]{2})?", code) for code in codes)


@pytest.mark.parametrize("column", ["name", "lmt_name", "bcp47", "flores", "ntrex", "libretranslate", "deepl"])
def test_no_two_rows_share_a_spelling_of_one_kind(column: str) -> None:
    counts = Counter(getattr(language, column) for language in ROWS)
    del counts[None]
    assert [value for value, count in counts.items() if count > 1] == []


@given(st.sampled_from(SPELLINGS), st.sampled_from([str.upper, str.lower, str.title, str.swapcase]), st.booleans())
def test_every_spelling_in_any_case_finds_its_row(pair: tuple[Language, str], recase: object, hyphen: bool) -> None:
    language, spelling = pair
    assert callable(recase)
    changed = recase(spelling.replace("_", "-") if hyphen else spelling.replace("-", "_"))
    assert languages.get(f" {changed} ") is language


def test_the_columns_hold_known_values() -> None:
    for language in ROWS:
        assert language.resource in ("high", "mid", "low")
        assert language.dat_group in (None, *range(1, 9))
        assert language.family, language.code
        assert language.subgroup, language.code
        assert re.fullmatch(r"[a-z]{3}", language.iso639_3)
        assert language.iso639_1 is None or re.fullmatch(r"[a-z]{2}", language.iso639_1)
        assert language.code.partition("_")[0] in (language.iso639_1, language.iso639_3)
        assert language.flores is None or language.flores.partition("_")[2] == language.script
        assert language.auxiliary is None or languages.get(language.auxiliary).lmt


def test_the_resource_level_is_lmts_then_dats() -> None:
    for language in ROWS:
        assert language.resource == (language.lmt_resource or language.dat_resource or language.resource)
    norwegian = languages.get("nb")
    assert (norwegian.dat_resource, norwegian.lmt_resource, norwegian.resource) == ("low", "mid", "mid")


def test_all_of_nllb_200_is_there() -> None:
    """FLORES-200 is the 202 codes of the NLLB tokenizer and two romanised or Arabic-script variants."""
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    flores = {language.flores for language in ROWS if language.flores}
    nllb = {"sat_Olck" if code == "sat_Beng" else code for code in FAIRSEQ_LANGUAGE_CODES}
    assert flores == nllb | {"arb_Latn", "min_Arab"}
    assert languages.get("sat_Beng").flores == "sat_Olck"


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        *(("zh-cn", "zh"), ("zh-hans", "zh"), ("zho_Hans", "zh"), ("zho", "zh"), ("cmn", "zh"), ("zho-CN", "zh")),
        *(("zt", "zh_Hant"), ("zh-TW", "zh_Hant"), ("ZH-HANT", "zh_Hant"), ("pb", "pt_BR"), ("pt-br", "pt_BR")),
        *(("pt-PT", "pt"), ("no", "nb"), ("nor", "nb"), ("Norwegian", "nb"), ("Norwegian Bokmal", "nb")),
        *(("iw", "he"), ("in", "id"), ("jw", "jv"), ("fil", "tl"), ("arb", "ar"), ("pes_Arab", "fa"), ("fa-AF", "prs")),
        *(("srp", "sr"), ("sr-Latn", "sr_Latn"), ("ku", "kmr"), ("gsw", "gsw_ZH"), ("mn_cn", "mvf"), ("ger", "de")),
        *(("Modern Greek", "el"), ("Kirghiz", "ky"), ("Yue Chinese", "yue"), ("Chinese (Traditional)", "zh_Hant")),
    ],
)
def test_known_spellings(spelling: str, code: str) -> None:
    assert languages.get(spelling).code == code


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        *(("de-AT", "de"), ("de_DE", "de"), ("de-de", "de"), ("zh-Hans-CN", "zh"), ("sr-Latn-RS", "sr_Latn")),
        *(("es-419", "es_MX"), ("en-AU", "en"), ("deu-Latn-DE", "de"), ("ru-Latn", None), ("az-Arab", None)),
        *(("de-en", None), ("xx-DE", None), ("de-x-private", None), ("", None), ("-", None)),
    ],
)
def test_a_tag_may_carry_a_region_or_a_redundant_script(tag: str, code: str | None) -> None:
    language = languages.find(tag)
    assert (language and language.code) == code


def test_names_are_those_of_the_papers_prompts() -> None:
    def names(code: str) -> tuple[str, str]:
        return languages.get(code).name, languages.get(code).lmt_name

    assert names("nb") == ("Norwegian", "Norwegian Bokmål")
    assert names("el") == ("Greek", "Modern Greek")
    assert names("zh") == ("Chinese", "Chinese")
    assert names("mvf") == ("Inner Mongolian", "Inner Mongolian")


def test_facts_of_some_rows() -> None:
    georgian, traditional = languages.get("ka"), languages.get("zh_Hant")
    assert (georgian.script, georgian.script_name, georgian.family) == ("Geor", "Georgian", "Kartvelian")
    assert (georgian.dat_group, georgian.dat_resource, georgian.lmt_resource) == (6, "mid", "low")
    assert (traditional.script, traditional.script_name) == ("Hant", "Han")
    assert (traditional.flores, traditional.ntrex) == ("zho_Hant", "zho-TW")
    assert (traditional.libretranslate, traditional.deepl) == ("zh-Hant", "ZH-HANT")
    assert languages.get("uz").auxiliary == "fr"
    assert languages.get("zh").auxiliary is None
    assert sum(language.auxiliary is not None for language in ROWS) == 36


@pytest.mark.parametrize(
    ("spelling", "named"), [("grman", "de (German)"), ("norwegan", "nb (Norwegian)"), ("zho_Hanz", "zh (Chinese)")]
)
def test_an_unknown_language_is_refused_with_the_nearest(spelling: str, named: str) -> None:
    with pytest.raises(UserError, match=re.escape(repr(spelling))) as caught:
        languages.get(spelling)
    assert caught.value.hint is not None
    assert named in caught.value.hint


def test_an_unknown_language_without_neighbours_points_to_the_list() -> None:
    with pytest.raises(UserError, match="hexapla languages"):
        languages.get("qqqqqq")


def test_search_finds_parts_of_names_codes_and_facts() -> None:
    assert [language.code for language in languages.search("norw")] == ["nb", "nn"]
    assert languages.search("is")[0].code == "is"
    assert {language.code for language in languages.search("Turkic")} >= {"tr", "az", "kk", "ug"}
    assert [language.code for language in languages.search("thaana")] == ["dv"]
    assert languages.search("qqqqqq") == []


def test_importing_the_registry_stays_light() -> None:
    import subprocess
    import sys

    heavy = "{'torch', 'transformers', 'pydantic', 'numpy', 'sacrebleu'}"
    program = f"import sys, hexapla.languages; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
