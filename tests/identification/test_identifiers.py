"""Each identifier on real text, and what it says when its package or its file is missing."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest
from pydantic import ValidationError

from hexapla.common.errors import UserError
from hexapla.evaluate.metrics import make_metric
from hexapla.evaluate.metrics.settings import MetricSettings
from hexapla.identification import IDENTIFIERS, are_relatives, make_identifier
from hexapla.identification.spec import IdentificationSpec
from hexapla.languages import named_set
from hexapla.phrasebook.corpus import rows

SIX_LABELS = Path(__file__).parent / "fixtures" / "six_labels.bin"
NINE = {
    "en": "I would like to buy two tickets to the old town.",
    "de": "Ich möchte zwei Fahrkarten in die Altstadt kaufen.",
    "cs": "Chtěl bych si koupit dvě jízdenky do starého města.",
    "ru": "Я хотел бы купить два билета до старого города.",
    "el": "Θα ήθελα να αγοράσω δύο εισιτήρια για την παλιά πόλη.",
    "hi": "मैं पुराने शहर के लिए दो टिकट खरीदना चाहता हूँ।",
    "zh": "我想买两张去老城的票。",
    "ja": "旧市街行きの切符を二枚買いたいのですが。",
    "ko": "구시가지로 가는 표를 두 장 사고 싶습니다.",
}


def test_every_name_in_the_settings_has_an_identifier() -> None:
    known = IdentificationSpec.model_json_schema()["properties"]["identifier"]["enum"]
    assert list(IDENTIFIERS) == known
    assert all(identifier.name == name for name, identifier in IDENTIFIERS.items())


def test_the_default_identifies_nine_scripts_and_covers_dat() -> None:
    identifier = make_identifier(IdentificationSpec())
    found = identifier.identify(list(NINE.values()))
    assert [one and one.code for one in found] == list(NINE)
    assert identifier.signature.startswith(f"id:py3langid-{metadata.version('py3langid')}|")
    assert [code for code in named_set("dat") if not identifier.covers(code)] == []
    assert not identifier.covers("tpi")


def test_the_default_hardly_errs_on_the_phrasebook() -> None:
    sample = [row.texts for row in rows("dev")][:60]
    identifier = make_identifier(IdentificationSpec())
    wrong = unknown = total = 0
    for code in sample[0]:
        found = identifier.identify([texts[code] for texts in sample])
        total += len(found)
        unknown += found.count(None)
        wrong += sum(one is not None and one.code != code and not are_relatives(one.code, code) for one in found)
    assert total > 1000
    assert wrong <= total / 500
    assert 0 < unknown <= total / 6


def test_lingua_identifies_by_script_and_by_letters() -> None:
    pytest.importorskip("lingua")
    identifier = make_identifier(IdentificationSpec(identifier="lingua"))
    texts = [NINE[code] for code in ("el", "ko", "zh")]  # of unique scripts: no model is loaded
    assert [one and one.code for one in identifier.identify(texts)] == ["el", "ko", "zh"]
    assert identifier.covers("nn")
    assert not identifier.covers("gl")
    assert "id:lingua-" in identifier.signature


def test_lingua_missing_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    make_identifier.cache_clear()
    with pytest.raises(UserError, match=r"lingua.*hexapla\[lid\]"):
        make_metric("off-target", "de", MetricSettings(identification=IdentificationSpec(identifier="lingua")))


def test_glotlid_needs_its_file_and_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="glotlid needs its model file"):
        IdentificationSpec(identifier="glotlid")
    with pytest.raises(ValidationError, match="model is a file of glotlid, but the identifier is lingua"):
        IdentificationSpec(identifier="lingua", model=SIX_LABELS)
    with pytest.raises(UserError, match=r"absent\.bin: There is no such file"):
        make_identifier(IdentificationSpec(identifier="glotlid", model=tmp_path / "absent.bin"))
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(UserError, match=r"fasttext.*hexapla\[glotlid\]"):
        make_identifier(IdentificationSpec(identifier="glotlid", model=SIX_LABELS))


def test_glotlid_identifies_with_a_fasttext_model(tmp_path: Path) -> None:
    pytest.importorskip("fasttext")
    identifier = make_identifier(IdentificationSpec(identifier="glotlid", model=SIX_LABELS))
    found = identifier.identify(["the dog would like to buy a house", "der Hund schläft heute", "gdje je kolodvor"])
    assert [one and one.code for one in found] == ["en", "de", "hr"]
    assert [identifier.covers(code) for code in ("de", "sr_Latn", "zh_Hant", "fr", "zxx")] == [True] * 3 + [False] * 2
    other = tmp_path / "other.bin"
    other.write_bytes(SIX_LABELS.read_bytes() + b"\0")
    spec = IdentificationSpec(identifier="glotlid", model=other)
    assert make_identifier(spec).signature != identifier.signature
    other.write_bytes(b"no model at all")
    make_identifier.cache_clear()
    with pytest.raises(UserError, match="no fastText model"):
        make_identifier(spec).identify(["Where is the station?"])
