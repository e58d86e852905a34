"""What all identifiers share: coverage, limits, memory, and codes that are Hexapla's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hexapla.evaluate.metrics import MetricSettings
from hexapla.identification import Identified, Identifier, are_relatives, language_of, make_identifier
from hexapla.identification import identifier as contract
from hexapla.identification.spec import IdentificationSpec


class FirstWord(Identifier):
    """Believes what the first word says, as sure as the second says, and keeps count."""

    name = "first-word"
    limit = 0.5
    version = "1"
    num_ranked = 0

    def labels(self) -> Sequence[str]:
        return ["deu_Latn", "no", "dan", "zxx_Zzzz"]

    def rank(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        self.num_ranked += len(texts)
        rankings = []
        for text in texts:
            words = text.split()
            rankings.append([(words[at], float(words[at + 1])) for at in range(0, len(words) - 1, 2)])
        return rankings


def first_word(confidence: float | None = None) -> FirstWord:
    return FirstWord(IdentificationSpec(confidence=confidence))


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("srp_Latn", "sr"),
        ("cmn_Hani", "zh"),
        ("zh_Hant", "zh"),
        ("pt_BR", "pt"),
        ("no", "nb"),
        ("ekk_Latn", "et"),
        ("uzn_Cyrl", "uz"),
        ("wuu_Hani", "zh"),
        ("hbo_Hebr", "hbo"),
    ],
)
def test_labels_become_codes_without_script_and_region(label: str, code: str) -> None:
    assert language_of(label) == code


def test_relatives_are_symmetric_and_no_language_is_its_own() -> None:
    for one, other in (("da", "nb"), ("hr", "sr"), ("id", "ms"), ("cs", "sk"), ("gl", "pt"), ("zh", "yue")):
        assert are_relatives(one, other)
        assert are_relatives(other, one)
    assert not are_relatives("da", "da")
    assert not are_relatives("da", "sv")
    assert not are_relatives("cs", "pl")


def test_relatives_share_their_confidence() -> None:
    (found,) = first_word().identify(["dan 0.4 no 0.3 deu_Latn 0.3"])
    assert found == Identified("da", pytest.approx(0.7))


def test_what_is_not_sure_or_no_language_is_unknown() -> None:
    texts = ["deu_Latn 0.49", "deu_Latn 0.51", "zxx_Zzzz 0.99", "12 34 %", "ab 1", ""]
    found = first_word().identify(texts)
    assert [None if one is None else one.code for one in found] == [None, "de", None, None, None, None]
    assert first_word(0.4).identify(["deu_Latn 0.49"]) == [Identified("de", 0.49)]


def test_addresses_and_tags_do_not_count_as_language() -> None:
    identifier = first_word()
    assert identifier.identify(
        ["<b class='x'> deu_Latn 0.9", "https://example.org/deu a@example.org {deu_Latn} &amp;"]
    ) == [
        Identified("de", 0.9),
        None,
    ]


def test_no_text_is_identified_twice_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "_MEMORY", 3)
    identifier = first_word()
    identifier.identify(["dan 1", "dan 1", "deu_Latn 1"])
    identifier.identify(["deu_Latn 1"])
    assert identifier.num_ranked == 2
    for number in range(10):
        assert identifier.identify([f"dan 0.{number}9", "dan 1"])[1] == Identified("da", 1.0)
        assert len(identifier._known) <= 3


def test_coverage_is_by_language() -> None:
    identifier = first_word()
    assert identifier.covers("de")
    assert identifier.covers("nb")
    assert not identifier.covers("sv")
    assert not identifier.covers("zxx")


def test_signature_names_everything_that_changes_the_answer() -> None:
    assert first_word(0.25).signature == "id:first-word-1|confidence:0.25|letters:3"
    assert first_word().signature != first_word(0.25).signature


def test_the_same_settings_give_the_same_identifier() -> None:
    one, other = (make_identifier(MetricSettings().identification) for _ in range(2))
    assert one is other
