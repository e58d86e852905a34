"""A causal language model that takes packed micro-batches and answers with the loss of every learned token.

The model is any of transformers whose attention goes through transformers' interface; whether it runs packed exactly as
it runs alone is tried on a few tokens when it is taken. Shapes: N tokens, M learned tokens, V vocabulary,
n pairs of sentences to align, D width.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from hexapla.common.errors import UserError
from hexapla.packed import attention
from hexapla.representations.layers import StateTap
from hexapla.train.full.layout import MicroBatch, lay_out
from hexapla.train.full.packing import join_documents

_PROBE_LENGTHS = (9, 4, 6)
_TOLERANCE = 1e-3  # of the probe's losses, in fp32
_CHUNK_BYTES = {"cpu": 32 * 2**20}  # of fp32 logits: about what its last cache holds
_CHUNK_BYTES_GPU = 512 * 2**20


class PackedModel(torch.nn.Module):
    """A model, its attention replaced by one that sees single documents; the model is changed by this.

    It stays in the mode that it is given in: dropout of the base itself never acts.

    Args:
        model: bare or wrapped by peft, in fp32, in evaluation mode.
        aligned_layer: whose states are asked for where a micro-batch has pairs; None: no states are.

    Raises:
        UserError: it gives other losses packed than alone.
    """

    def __init__(self, model: Any, aligned_layer: int | None = None) -> None:
        super().__init__()
        self.model = model
        self._aligned_layer = aligned_layer
        base: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._no_split_modules = base._no_split_modules  # what FSDP shares out one by one
        expected = _losses_alone(base)
        attention.register()
        base.set_attn_implementation(attention.PACKED)
        self._check(base, expected)

    def train(self, mode: bool = True) -> Self:
        """Nothing: see above."""
        return self

    @property
    def width(self) -> int:
        """Entries of a hidden state."""
        width: int = self.model.config.get_text_config().hidden_size
        return width

    def forward(self, batch: MicroBatch) -> Tensor | tuple[Tensor, ...]:
        """−log p of every learned token, [M] in fp32; with pairs, the four [n, D] of their `PairStates` behind it.

        They are bare tensors, which wrappers of the model see, and not a dataclass, which they do not look into.

        The output head is by far the widest layer, so it is given the positions only that predict such a token;
        whatever the architecture does after it (soft capping, scaling) stays in force.
        """
        if batch.pairs is None or self._aligned_layer is None:
            return self._losses(batch)
        depth = self.model.config.get_text_config().num_hidden_layers
        with StateTap(self.model, sorted({self._aligned_layer, depth})) as tap:
            nll = self._losses(batch)
            return nll, *batch.pairs.states(tap.states[self._aligned_layer][0], tap.states[depth][0]).tensors

    def _losses(self, batch: MicroBatch) -> Tensor:
        def narrow(_module: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
            return (arguments[0][0].index_select(0, batch.predictors),)

        hook = self.model.get_output_embeddings().register_forward_pre_hook(narrow)
        try:
            logits_MV = self.model(
                input_ids=batch.input_ids[None],
                position_ids=batch.position_ids[None],
                use_cache=False,
                packed=batch.layout,
            ).logits
        finally:
            hook.remove()
        nll: Tensor = _TokenLosses.apply(logits_MV, batch.targets)
        return nll

    def _check(self, base: PreTrainedModel, expected: list[float]) -> None:
        """Compare with the model as it was before: some architectures mix tokens in other ways than attention."""
        probe = _probe(base)
        joined = join_documents(probe, [1] * len(probe), [0] * len(probe))
        try:
            with torch.no_grad():
                nll = self._losses(lay_out([joined]).to(base.device))
        except (TypeError, RuntimeError, AttributeError, AssertionError) as error:
            raise _unsupported(base, str(error)) from error
        losses = [float(part.mean()) for part in nll.split([len(ids) - 1 for ids in probe])]
        if not np.allclose(losses, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise _unsupported(base, f"losses {losses} packed, {expected} alone")


class _TokenLosses(torch.autograd.Function):
    """Cross-entropy of logits [M, V] by rows, in fp32 a chunk at a time, so that no fp32 copy of all is ever held."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        normaliser = torch.empty(len(targets), device=logits.device)
        for part in _chunks(logits):
            normaliser[part] = logits[part].float().logsumexp(1)
        ctx.save_for_backward(logits, targets, normaliser)
        return normaliser - logits.gather(1, targets[:, None])[:, 0].float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, targets, normaliser = ctx.saved_tensors
        out = torch.empty_like(logits)
        for part in _chunks(logits):
            slope = (logits[part].float() - normaliser[part, None]).exp_()
            slope.scatter_add_(1, targets[part, None], torch.full_like(targets[part, None], -1, dtype=slope.dtype))
            out[part] = slope.mul_(gradient[part, None])
        return out, None


def _chunks(logits: Tensor) -> list[slice]:
    num_bytes = _CHUNK_BYTES.get(logits.device.type, _CHUNK_BYTES_GPU)
    num_rows = max(1, num_bytes // (4 * logits.shape[1]))
    return [slice(start, start + num_rows) for start in range(0, len(logits), num_rows)]


def _probe(base: PreTrainedModel) -> list[np.ndarray]:
    """Sequences of arbitrary tokens, longest first."""
    generator = np.random.default_rng(0)
    vocabulary = base.get_input_embeddings().weight.shape[0]
    return [generator.integers(0, vocabulary, length).astype(np.int32) for length in sorted(_PROBE_LENGTHS)[::-1]]


def _losses_alone(base: PreTrainedModel) -> list[float]:
    """Mean loss of every sequence of the probe, each alone through the model as it is."""
    losses = []
    for array in _probe(base):
        ids = torch.from_numpy(array).to(device=base.device, dtype=torch.int64)
        with torch.no_grad():
            logits = base(input_ids=ids[None, :-1], use_cache=False).logits[0].float()
        losses.append(float(F.cross_entropy(logits, ids[1:])))
    return losses


def _unsupported(base: PreTrainedModel, reason: str) -> UserError:
    return UserError(
        f"This architecture ({base.config.model_type}) cannot be trained on packed text: {reason.splitlines()[0]}.",
        where="base",
        hint="Adapters can be trained on it: set train.method: peft.",
    )
