"""Repositories of the hub: the cache is enough, and what is missing is said. A real cache, no network."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from hexapla.common.errors import UserError
from hexapla.neural import load_scorer
from hexapla.neural.checkpoint import find_checkpoint
from tests.neural.conftest import ENCODER, FIXTURES, Samples

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fill(cache: Path, repository: str, folder: Path, commit: str = COMMIT) -> None:
    """Put a repository into the cache."""
    place = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(commit)


def test_a_cached_repository_needs_no_network(cache: Path, samples: Samples) -> None:
    fill(cache, "Unbabel/wmt22-comet-da", FIXTURES / "regression-softmax")
    fill(cache, "tiny/encoder", Path(ENCODER))
    checkpoint = find_checkpoint("Unbabel/wmt22-comet-da")
    assert checkpoint.identity == f"Unbabel/wmt22-comet-da@{COMMIT[:12]}"
    texts = (samples.sources, samples.hypotheses, samples.references)
    expected = load_scorer(str(FIXTURES / "regression-softmax"), tokenizer=ENCODER, device="cpu").score(*texts)
    for source in ("Unbabel/wmt22-comet-da", "Unbabel/wmt22-comet-da@main", f"Unbabel/wmt22-comet-da@{COMMIT}"):
        assert load_scorer(source, tokenizer="tiny/encoder", device="cpu").score(*texts) == expected


def test_infoxlm_takes_the_tokenizer_of_xlm_r(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kiwi"
    shutil.copytree(FIXTURES / "unified-softmax", folder)
    hparams = folder / "hparams.yaml"
    hparams.write_text(
        hparams.read_text().replace("pretrained_model: encoder", "pretrained_model: microsoft/infoxlm-large")
    )
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    fill(cache, "microsoft/infoxlm-large", tmp_path / "bare")
    fill(cache, "FacebookAI/xlm-roberta-large", Path(ENCODER))
    assert load_scorer(str(folder), device="cpu").score(["a"], ["b"]) == load_scorer(
        str(FIXTURES / "unified-softmax"), tokenizer=ENCODER, device="cpu"
    ).score(["a"], ["b"])


def test_names_that_the_hub_does_not_allow(cache: Path) -> None:
    with pytest.raises(UserError, match="neither a folder here nor a hub id"):
        find_checkpoint("Unbabel/wmt22--comet")


def test_what_is_not_cached_cannot_be_had_offline(cache: Path) -> None:
    with pytest.raises(UserError, match=r"hparams\.yaml of Unbabel/wmt22-comet-da.*hf download Unbabel/wmt22-comet-da"):
        find_checkpoint("Unbabel/wmt22-comet-da")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GatedRepoError, r"accepted its conditions.*huggingface\.co/Unbabel/wmt22-cometkiwi-da.*hf auth login"),
        (RepositoryNotFoundError, "no repository"),
        (RevisionNotFoundError, "no revision 'v9'"),
    ],
)
def test_what_the_hub_refuses(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], message: str
) -> None:
    answer = SimpleNamespace(headers={}, request=None)

    def refuse(*_: object, **__: object) -> str:
        raise error("refused", response=answer)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(UserError, match=message):
        find_checkpoint("Unbabel/wmt22-cometkiwi-da@v9")
