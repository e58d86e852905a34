"""py3langid's answers, computed for many texts at once."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.identification import Identified, make_identifier, ngrams
from hexapla.identification.ngrams import NgramModel
from hexapla.identification.spec import IdentificationSpec
from hexapla.phrasebook.corpus import rows

TEXTS = [text for row in itertools.islice(rows("dev"), 6) for text in row.texts.values()]
# Empty, without features, upper case, decomposed, long enough to walk alone.
ODD = ["", "\x00", "7", "GRÜSSE AUS BERLIN", "Gru\u0308ße aus Berlin", "Der Zug fährt heute ab. " * 100, "\ud800 ja"]


@cache
def models() -> tuple[Any, NgramModel]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    theirs = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return theirs, NgramModel(theirs)


@pytest.mark.parametrize("num_together", [1, 3, 1000])
def test_probabilities_are_those_of_py3langid(num_together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "_BATCH", num_together)
    theirs, ours = models()
    texts = TEXTS + ODD
    for text, found in zip(texts, ours.rank(texts, 8), strict=True):
        expected = theirs.rank(text)
        assert len({label for label, _ in found}) == 8
        assert [probability for _, probability in found] == pytest.approx(
            [probability for _, probability in expected[:8]], abs=2e-5
        )
        assert dict(found) == pytest.approx({label: dict(expected)[label] for label, _ in found}, abs=2e-5)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.one_of(st.sampled_from(TEXTS + ODD), st.text(max_size=30)), max_size=20))
def test_the_company_of_a_text_changes_nothing(texts: list[str]) -> None:
    _, ours = models()
    assert ours.rank(texts, 3) == [ours.rank([text], 3)[0] for text in texts]


def test_a_guess_is_given_however_unsure_it_is() -> None:
    identifier = make_identifier(IdentificationSpec(confidence=1.0))
    texts = ["Wir sehen das Haus", "Wir sehen das Haus", "12", "", "https://example.org/das/haus"]
    first, again, *without = identifier.guess(texts)
    assert isinstance(first, Identified)
    assert first == again
    assert first.code == "de"
    assert 0.2 < first.confidence < 1
    assert without == [None, None, None]
    assert identifier.identify(texts[:1]) == [None]
