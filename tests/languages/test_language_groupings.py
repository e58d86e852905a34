"""Named sets and groupings of languages."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from hexapla import languages
from hexapla.common.errors import UserError

CORPORA = Path(__file__).parents[3] / "shared" / "data"
needs_corpora = pytest.mark.skipif(not CORPORA.is_dir(), reason="the papers' tables are not beside the repository")


def test_named_sets_have_their_sizes() -> None:
    sizes = {name: len(languages.named_set(name)) for name in languages.named_set_names()}
    assert sizes == {"dat": 50, "lmt": 60, "ntrex": 130, "flores": 204}


def test_named_sets_keep_the_papers_order() -> None:
    assert languages.named_set("dat")[:8] == ("en", "af", "da", "nl", "de", "is", "nb", "sv")
    assert languages.named_set("lmt")[12:14] == ("zh", "bg")
    assert languages.named_set("lmt")[-1] == "yue"


def test_dat_grouping_is_the_papers() -> None:
    groups = languages.grouping("dat", languages.named_set("dat")[1:])
    assert [len(members) for members in groups.values()] == [7, 6, 5, 6, 6, 6, 5, 8]
    assert groups["g1"] == ("af", "da", "nl", "de", "is", "nb", "sv")
    assert groups["g4"] == ("fr", "id", "mg", "ms", "th", "vi")


def test_a_grouping_is_restricted_to_the_codes_and_keeps_their_order() -> None:
    assert languages.grouping("dat", ["uk", "no", "bul", "de", "Norwegian"]) == {"g1": ("nb", "de"), "g3": ("uk", "bg")}
    assert languages.grouping("script", ["sr", "sr-Latn", "zh", "zh-TW"]) == {
        "cyrillic": ("sr",),
        "han": ("zh", "zh_Hant"),
        "latin": ("sr_Latn",),
    }
    assert list(languages.grouping("script", ["zh", "ar", "el"])) == ["arabic", "greek", "han"]
    assert languages.grouping("dat", []) == {}


@pytest.mark.parametrize("name", languages.grouping_names())
def test_group_names_are_fit_for_file_and_adapter_names(name: str) -> None:
    groups = languages.grouping(name, languages.named_set("dat")[1:])
    assert all(re.fullmatch(r"[a-z0-9_]+", group) for group in groups)
    assert not any(languages.find(group) and name == "dat" for group in groups)


def test_what_a_grouping_does_not_cover_is_named() -> None:
    with pytest.raises(UserError, match=r"'dat' has no group for 'sw' \(Swahili\)"):
        languages.grouping("dat", ["de", "sw"])
    with pytest.raises(UserError, match=r"no grouping 'scripts'.*'script'"):
        languages.grouping("scripts", ["de"])
    with pytest.raises(UserError, match="no language 'qqqqqq'"):
        languages.grouping("script", ["qqqqqq"])
    with pytest.raises(UserError, match=r"no set of languages 'ntrx'.*'ntrex'"):
        languages.named_set("ntrx")


@needs_corpora
def test_the_registry_says_what_the_dat_table_says() -> None:
    with (CORPORA / "dat_languages.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(languages.get(row["code"]).code for row in rows) == languages.named_set("dat")
    for row in rows:
        language = languages.get(row["code"])
        told = (row["name"], row["ntrex"], row["flores"], row["family"], row["subgroup"], row["resource"].lower())
        assert told == (
            *(language.name, language.ntrex, language.flores),
            *(language.family, language.subgroup, language.dat_resource),
        )
        assert row["group"] == str(language.dat_group or "")
        assert row["script"].split("/")[-1] == language.script_name


@needs_corpora
def test_the_registry_says_what_the_lmt_and_ntrex_tables_say() -> None:
    with (CORPORA / "lmt_languages.csv").open(encoding="utf-8") as file:
        tiers = {row["code"]: row["resource"].lower() for row in csv.DictReader(file)}
    assert tiers == {code: languages.get(code).lmt_resource for code in languages.named_set("lmt")}
    listed = {line.split()[0] for line in (CORPORA / "ntrex" / "LANGUAGES.tsv").read_text("utf-8").splitlines() if line}
    assert listed | {"eng"} == {languages.get(code).ntrex for code in languages.named_set("ntrex")}
