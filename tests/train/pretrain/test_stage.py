"""Continued pre-training end to end: rows in, a base out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from hexapla.base import Base, load_tokenizer
from hexapla.common.artifacts import read_json, read_jsonl
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog
from hexapla.train.full.batches import UNLEARNED
from hexapla.train.pretrain.batches import prepare_batches
from hexapla.train.pretrain.spec import PretrainOptimizerSpec, PretrainSpec
from hexapla.train.pretrain.stage import PretrainResult, pretrain_model
from hexapla.train.pretrain.store import PretrainText
from hexapla.train.spec import LoraSpec
from tests.train.full.runs import distance, outcome, weights

_PAIRS = (
    ("Guten Morgen.", "Good morning.", "Bonjour."),
    ("Wo ist der Bahnhof?", "Where is the station?", "Où est la gare?"),
    ("Ich lese ein Buch.", "I am reading a book.", "Je lis un livre."),
    ("Heute regnet es den ganzen Tag.", "It is raining all day today.", "Il pleut toute la journée."),
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> PretrainText:
    """Rows of three languages, alone and aligned, with two hubs."""
    folder = tmp_path_factory.mktemp("text")
    aligned, alone = [], []
    for number in range(24):
        german, english, french = _PAIRS[number % len(_PAIRS)]
        texts = {"de": f"{german} {number}", "en": f"{english} {number}", "fr": f"{french} {number}"}
        if number % 2:
            del texts["fr"]
        aligned.append({"id": f"pair:{number}", "corpus": "pairs", "texts": texts})
        alone.append({"id": f"alone:{number}", "corpus": "alone", "texts": {"de": f"{german} {number} {german}"}})
    for name, rows in (("bilingual", aligned), ("monolingual", alone)):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return PretrainText(folder / "monolingual.jsonl", folder / "bilingual.jsonl", ("en", "fr"))


def _spec(**changes: Any) -> PretrainSpec:
    settings: dict[str, Any] = {
        "length": 64,
        "batch": 4,
        "tokens": 3000,
        "optimizer": PretrainOptimizerSpec(lr=1e-3),
        "micro_batch_tokens": 130,
        "checkpoint_every_s": 1e9,
        **changes,
    }
    return PretrainSpec(**settings)


def _pretrain(
    base: Path, text: PretrainText, spec: PretrainSpec, folder: Path, log: EventLog | None = None
) -> PretrainResult:
    return pretrain_model(
        Base(str(base)),
        spec,
        0,
        monolingual=text.monolingual,
        bilingual=text.bilingual,
        languages=("de", "en", "fr"),
        hubs=text.hubs,
        folder=folder,
        work=folder.with_suffix(".work"),
        log=log,
        device="cpu",
    )


def test_losses_by_source_are_those_of_the_text(llama_base: Path, text: PretrainText, tmp_path: Path) -> None:
    spec = _spec()
    result = _pretrain(llama_base, text, spec, tmp_path / "model")
    batches = prepare_batches(tmp_path / "text", load_tokenizer(Base(str(llama_base))), spec, text, seed=0)
    model = AutoModelForCausalLM.from_pretrained(llama_base)
    sums = dict.fromkeys(batches.sources, 0.0)
    counts = dict.fromkeys(batches.sources, 0)
    for sequence in batches[0]:  # every document alone through the model
        starts = [*(sequence.positions == 0).nonzero()[0], len(sequence.ids)]
        for start, end in itertools.pairwise(starts):
            ids = torch.from_numpy(sequence.ids[start:end]).long()
            with torch.no_grad():
                nll = F.cross_entropy(model(input_ids=ids[None]).logits[0, :-1], ids[1:], reduction="sum")
            name = batches.sources[sequence.sources[start]]
            sums[name] += float(nll)
            counts[name] += int((sequence.labels[start:end] != UNLEARNED).sum())
    first = read_jsonl(tmp_path / "model" / "log.jsonl")[0]
    assert set(batches.sources) == {"monolingual", "en", "fr"}
    assert first["tokens"] == {name: count for name, count in counts.items() if count}
    assert first["losses"] == pytest.approx({name: sums[name] / counts[name] for name in counts if counts[name]})
    assert first["loss"] == pytest.approx(sum(sums.values()) / sum(counts.values()))
    assert result.num_steps == len(batches)
    assert set(result.sources) == {"monolingual", "en", "fr"}
    assert sum(summary["tokens"] for summary in result.sources.values()) == result.num_target_tokens
    assert all(summary["final_loss"] < summary["first_loss"] for summary in result.sources.values())
    assert read_json(tmp_path / "model" / "training.json")["sources"] == result.sources


def test_the_result_is_a_base(llama_base: Path, text: PretrainText, tmp_path: Path) -> None:
    _pretrain(llama_base, text, _spec(), tmp_path / "model")
    made = Base(str(tmp_path / "model"))
    assert made.has_weights()
    assert "language: [" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    again = _pretrain(tmp_path / "model", text, _spec(tokens=1000), tmp_path / "further")
    assert again.first_loss is not None
    first = read_jsonl(tmp_path / "model" / "log.jsonl")[0]["loss"]
    assert again.first_loss < first


class _InterruptedError(Exception):
    pass


class _InterruptAt(EventLog):
    def __init__(self, step: int) -> None:
        super().__init__(None)
        self.step = step

    def write(self, event: str, **fields: Any) -> None:
        if event == "train-checkpoint" and fields["step"] == self.step:
            raise _InterruptedError


@pytest.mark.parametrize("lora", [None, LoraSpec(rank=2, dropout=0.2)], ids=["full", "lora"])
def test_interrupted_and_taken_up_again(
    qwen3_base: Path, text: PretrainText, tmp_path: Path, lora: LoraSpec | None
) -> None:
    spec = _spec(checkpoint_every_s=0, lora=lora)
    with pytest.raises(_InterruptedError):
        _pretrain(qwen3_base, text, spec, tmp_path / "a", _InterruptAt(5))
    _pretrain(qwen3_base, text, spec, tmp_path / "a")
    _pretrain(qwen3_base, text, spec, tmp_path / "b")
    assert outcome(tmp_path / "a") == outcome(tmp_path / "b")


def test_an_adapter_is_folded_in_as_peft_does(
    qwen3_base: Path, text: PretrainText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hexapla.train.full import run

    seen: dict[str, torch.Tensor] = {}
    write = run._write

    def spy(course: Any, base: Base, trained: dict[str, torch.nn.Parameter], folder: Path | None) -> None:
        seen.update({name: parameter.detach().clone() for name, parameter in trained.items()})
        write(course, base, trained, folder)

    monkeypatch.setattr(run, "_write", spy)
    _pretrain(qwen3_base, text, _spec(lora=LoraSpec(rank=3, alpha=7.0)), tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(qwen3_base)
    wrapped = get_peft_model(model, LoraConfig(r=3, lora_alpha=7, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(seen["model." + name.replace(".default.", ".trained.")])
    wrapped.merge_and_unload().save_pretrained(tmp_path / "merged")
    assert len(seen) == 2 * 14
    assert distance(tmp_path / "model", tmp_path / "merged") < 1e-6
    ours, before = weights(tmp_path / "model"), weights(qwen3_base)
    changed = {name for name in before if not torch.equal(ours[name], before[name])}
    assert changed
    assert all("proj" in name for name in changed)


def test_sequences_longer_than_the_context_are_refused(qwen3_base: Path, text: PretrainText, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="512 tokens at most") as caught:
        _pretrain(qwen3_base, text, _spec(length=1024), tmp_path / "model")
    assert caught.value.where == "pretrain.length"
