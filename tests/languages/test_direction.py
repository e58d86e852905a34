"""Directions as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.common.errors import UserError
from hexapla.languages import Direction, all_languages

ROWS = all_languages()


def test_every_direction_is_read_back_from_its_text() -> None:
    """All ordered pairs: the lookup is quick enough that none need be left out."""
    codes = [language.code for language in ROWS]
    for source in codes:
        for target in codes:
            if source != target:
                direction = Direction(source, target)
                assert Direction.parse(str(direction)) == direction


@given(st.data(), st.sampled_from(["->", "→", " -> ", " → "]))
def test_between_arrows_any_spelling_goes(data: st.DataObject, arrow: str) -> None:
    source, target = data.draw(st.lists(st.sampled_from(ROWS), min_size=2, max_size=2, unique_by=lambda row: row.code))
    text = data.draw(st.sampled_from(source.spellings)) + arrow + data.draw(st.sampled_from(target.spellings))
    assert Direction.parse(text) == Direction(source.code, target.code)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("de-en", "de-en"), ("DE-EN", "de-en"), ("no-en", "nb-en"), ("eng_Latn-deu_Latn", "en-de")),
        *(("pt-br-en", "pt_BR-en"), ("zh-tw-en", "zh_Hant-en"), ("en-zh-tw", "en-zh_Hant"), ("aze-Latn-eng", "az-en")),
        *(("en-US-pt-BR", "en_US-pt_BR"), ("fr-CA-ES", "fr_CA-es"), ("de-AT-en", "de-en"), ("German-English", "de-en")),
        *(("gsw-zh", "gsw_ZH-zh"), ("Luba-Kasai-French", "lua-fr")),
    ],
)
def test_hyphens_within_a_spelling_are_understood(text: str, expected: str) -> None:
    assert str(Direction.parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("de", "'de' is not a direction"),
        ("", "'' is not a direction"),
        ("de-en-fr", "'de-en-fr' is not a direction"),
        ("de->en->fr", "is not a direction"),
        ("de-qqqqqq", "no language 'qqqqqq'"),
        ("grman->en", "no language 'grman'.*German"),
        ("de-de", "German on both sides"),
        ("no->nob", "Norwegian on both sides"),
        ("gsw-zh-tw", "several ways: gsw_ZH->zh_Hant, gsw_ZH->tw.*arrow"),
    ],
)
def test_what_is_no_direction_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Direction.parse(text)


def test_directions_sort_by_source_then_target() -> None:
    texts = ["en-de", "de-fr", "en-cs", "de-en"]
    assert [str(direction) for direction in sorted(map(Direction.parse, texts))] == sorted(texts)
