"""Parameters that processes share out (FSDP2): the same losses, gradients and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from hexapla.base import Base, load_model
from hexapla.languages import Direction
from hexapla.train.encoding import EncodedExample
from hexapla.train.full.checkpoint import Progress, load_checkpoints, load_state, save_checkpoint, whole
from hexapla.train.full.layout import lay_out
from hexapla.train.full.model import PackedModel
from hexapla.train.full.packing import join_documents
from hexapla.train.full.records import SourcedRecord


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone: shares are whole, but of the type and behind the hooks of shares."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _model(base: Path, *, shared: bool, aligned_layer: int | None = None) -> PackedModel:
    model = load_model(Base(str(base)), dtype=torch.float32, device=torch.device("cpu"))
    packed = PackedModel(model, aligned_layer)
    model.requires_grad_(True)
    if shared:
        mesh = init_device_mesh("cpu", (1,))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(packed, mesh=mesh)
    return packed


def _step(model: PackedModel, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    generator = np.random.default_rng(1)
    documents = [generator.integers(3, 380, length).astype(np.int32) for length in (9, 5, 14)]
    optimizer.zero_grad()
    nll = model(lay_out([join_documents(documents, [1, 3, 1], [0, 0, 0])]))
    nll.mean().backward()
    optimizer.step()
    return nll.detach()


@pytest.mark.usefixtures("group")
def test_shares_give_the_same_and_are_saved_whole(qwen3_base: Path, tmp_path: Path) -> None:
    models = [_model(qwen3_base, shared=shared) for shared in (False, True)]
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True) for model in models]
    assert all(isinstance(parameter.data, DTensor) for parameter in models[1].parameters())
    losses = [_step(model, optimizer) for model, optimizer in zip(models, optimizers, strict=True)]
    assert torch.equal(*losses)
    record = SourcedRecord(1, 1.0, 1e-3, 1.0, 3, 4)
    for model, optimizer, name in zip(models, optimizers, ("plain", "shared"), strict=True):
        parameters = dict(model.named_parameters())
        save_checkpoint(tmp_path / name, Progress("run", [record], 1.0), parameters, optimizer, keep=1, is_main=True)
    for name in ("values", "exp_avg", "exp_avg_sq"):
        plain, shared = (tmp_path / kind / "step-000000001" / f"{name}.safetensors" for kind in ("plain", "shared"))
        assert plain.read_bytes() == shared.read_bytes()

    fresh = _model(qwen3_base, shared=True)
    optimizer = torch.optim.AdamW(fresh.parameters(), lr=1e-3, fused=True)
    (checkpoint,) = load_checkpoints(tmp_path / "plain", "run")
    load_state(checkpoint, dict(fresh.named_parameters()), optimizer)
    assert torch.equal(_step(fresh, optimizer), _step(models[0], optimizers[0]))
    assert torch.equal(_step(fresh, optimizer), _step(models[0], optimizers[0]))  # the moments too


def _aligned_gradients(model: PackedModel) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """States of a pass without gradients, then the gradients of a loss on the states of another."""
    generator = np.random.default_rng(1)
    sequences = []
    for number, length in enumerate((12, 9, 14)):
        ids = generator.integers(3, 380, length).astype(np.int32)
        example = EncodedExample(f"{number} de-en", ids, 6, Direction("de", "en"), (2, 5))
        sequences.append(replace(join_documents([ids], [6], [0]), example=example))
    batch = lay_out(sequences, {id(sequence): place for place, sequence in enumerate(sequences)})
    with torch.no_grad():
        nothing, *cached = model(batch.without_targets)
    assert len(nothing) == 0
    nll, *states = model(batch)
    (nll.mean() + sum((state * seen).sum() for state, seen in zip(states, cached, strict=True))).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert None not in gradients.values()
    return cached, {name: whole(each) for name, each in gradients.items() if each is not None}


@pytest.mark.usefixtures("group")
def test_shares_give_the_same_states_and_their_gradients(qwen3_base: Path) -> None:
    models = [_model(qwen3_base, shared=shared, aligned_layer=1) for shared in (False, True)]
    (states, gradients), (shared_states, shared_gradients) = map(_aligned_gradients, models)
    assert [state.shape for state in states] == [(3, 32)] * 4
    assert all(map(torch.equal, states, shared_states))
    assert all(torch.equal(gradients[name], shared_gradients[name]) for name in gradients)
