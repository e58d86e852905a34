"""Scoring plain files: errors by name and line, and published figures on real data."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexapla.common.errors import UserError
from hexapla.evaluate.files import Files, score_files

WMT22 = Path(__file__).resolve().parents[3] / "shared" / "data" / "wmt22"
PUBLISHED = {
    ("cs", "en"): 45.4, ("de", "en"): 31.3, ("zh", "en"): 25.5, ("en", "cs"): 32.5,
    ("en", "de"): 31.5, ("en", "is"): 26.7, ("en", "ru"): 29.0, ("en", "zh"): 39.9,
}  # fmt: skip


def write(folder: Path, **files: bytes) -> dict[str, Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files}


def test_line_ends_and_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    plain = write(tmp_path, h=b"a b c d\ne f g h\n", r=b"a b c d\ne f x h\n")
    odd = write(tmp_path, h2=b"\xef\xbb\xbfa b c d\r\ne f g h", r2=b"a b c d\r\ne f x h\r\n")
    expected = score_files(Files(plain["h"], plain["r"], None, "de"))
    assert score_files(Files(odd["h2"], odd["r2"], None, "de")) == expected
    assert [score.metric for score in expected] == ["bleu", "chrf++"]
    assert expected[0].line().startswith("BLEU|nrefs:1|")


@pytest.mark.parametrize(
    ("hypothesis", "reference", "message"),
    [
        (b"a\n", b"a\nb\n", "h: This file has 1 lines, .*/r has 2"),
        (b"", b"a\n", "h: This file is empty"),
        (b"a\n", b"", "r: This file is empty"),
        (b"a\n\xff\n", b"a\nb\n", "h:2: .*not valid UTF-8"),
        (b"a\nb\n", b"a\n \n", "r:2: The reference is blank"),
        (b"\xff\xfea\x00", b"a\n", "h: .*UTF-16"),
    ],
)
def test_unfit_files_are_refused(tmp_path: Path, hypothesis: bytes, reference: bytes, message: str) -> None:
    files = write(tmp_path, h=hypothesis, r=reference)
    with pytest.raises(UserError, match=message):
        score_files(Files(files["h"], files["r"], None, "de"))


def test_a_ragged_source_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    files = write(tmp_path, h=b"a\n", r=b"a\n", s=b"a\nb\n")
    with pytest.raises(UserError, match="s: This file has 2 lines"):
        score_files(Files(files["h"], files["r"], files["s"], "de"))
    with pytest.raises(UserError, match="does not exist"):
        score_files(Files(tmp_path / "nothing", files["r"], None, "de"))


def test_blank_translations_are_scored_and_counted(tmp_path: Path) -> None:
    files = write(tmp_path, h=b"a b c d\n\n", r=b"a b c d\ne f\n")
    (score,) = score_files(Files(files["h"], files["r"], None, "de"), metrics=["chrf"])
    assert (score.num_segments, score.num_empty) == (2, 1)
    assert 0 < score.value < 100


@pytest.mark.skipif(not WMT22.is_dir(), reason="needs the WMT'22 outputs beside the repository")
@pytest.mark.parametrize(("source", "target"), PUBLISHED)
def test_published_bleu_of_alma_on_wmt22(source: str, target: str) -> None:
    hypothesis = WMT22 / "ALMA-13B-LoRA" / f"{source}{target}" / f"test.{source}-{target}.{target}"
    (reference,) = find_reference(source, target)
    (bleu,) = score_files(Files(hypothesis, reference, None, target), metrics=["bleu"])
    assert round(bleu.value, 1) == PUBLISHED[source, target]


def find_reference(source: str, target: str) -> list[Path]:
    return sorted((WMT22 / "wmt-testset").rglob(f"test.{source}-{target}.{target}"))
