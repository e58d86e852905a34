"""A frozen base whose linear layers carry a bank, and one pass of a packed micro-batch through it.

The base is any causal language model of transformers whose attention goes through transformers' interface. Whether it
runs packed exactly as it runs alone is not assumed but tried, on a few tokens, when it is taken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hexapla.base import LinearShape, linear_shapes
from hexapla.common.errors import UserError
from hexapla.packed import attention
from hexapla.representations.layers import StateTap
from hexapla.train.bank.factors import FactorBank, LayerGroup
from hexapla.train.bank.head import weighted_nll
from hexapla.train.bank.kernels import choose_kernel
from hexapla.train.bank.linear import BankContext, BankedLinear, GroupState
from hexapla.train.bank.packing import PackedBatch, Piece, pack
from hexapla.train.encoding import EncodedExample
from hexapla.train.lora import checkpoint_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

States = tuple[Tensor, Tensor]
"""What a pass of N tokens gives, each [N, D]: states of the aligned layer, and what the output head reads.

Where nothing is aligned, the first are the second.
"""

_PROBE_LENGTHS = (9, 4, 6)
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.2}  # of the probe's mean losses; bf16 rounds to three digits


class BankedModel:
    """A base with a bank in it; the base is changed by this.

    Args:
        base: in evaluation mode and frozen, on its device.
        targets: layers that carry adapters, see `LoraSpec.targets`.
        aligned_layer: whose states are aligned, see `stage.aligned_layer`; None: nothing is.

    Raises:
        UserError: it has no such layers, does not support checkpointing where that is asked for, or gives other losses
            packed than alone.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        targets: str | tuple[str, ...],
        *,
        gradient_checkpointing: bool = False,
        aligned_layer: int | None = None,
    ) -> None:
        self._base, self.device = base, base.device
        shapes = linear_shapes(base, targets)
        if not shapes:
            raise UserError("The base has no linear layers that could carry an adapter.", where="base")
        probe = _probe(base)
        expected = _losses_alone(base, probe)
        self.groups = find_groups(base, shapes)
        depth = base.config.get_text_config().num_hidden_layers
        self._tap = None if aligned_layer in (None, depth) else StateTap(base, [aligned_layer])
        self._layers = [[base.get_submodule(path) for path in group.paths] for group in self.groups]
        self._softcap: float | None = getattr(base.config.get_text_config(), "final_logit_softcapping", None)
        attention.register()
        base.set_attn_implementation(attention.PACKED)
        if gradient_checkpointing:
            checkpoint_layers(base)
        self.unload()
        self._check(probe, expected)

    @property
    def paths(self) -> list[str]:
        """Module paths of all layers that carry adapters."""
        return [path for group in self.groups for path in group.paths]

    def load(self, bank: FactorBank, dropouts: Sequence[float]) -> None:
        """Put a bank into the base, in the place of the one before.

        Args:
            dropouts: share of the adapters' inputs dropped in training, by slot.
        """
        anchor = torch.zeros(0, device=self.device, requires_grad=True)
        self._context = BankContext(bank, choose_kernel(self.device, self._base.dtype), anchor, tuple(dropouts))
        for index, (group, layers) in enumerate(zip(self.groups, self._layers, strict=True)):
            state = GroupState(index, layers, self._context)
            for position, (path, layer) in enumerate(zip(group.paths, layers, strict=True)):
                parent, _, name = path.rpartition(".")
                setattr(self._base.get_submodule(parent), name, BankedLinear(layer, state, position))

    def unload(self) -> None:
        """Let go of the bank; one of a single adapter that changes nothing takes its place."""
        self.load(FactorBank(self.groups, [1], [1.0], self.device), [0.0])

    @property
    def width(self) -> int:
        """Of the hidden states, D."""
        return int(self._base.config.get_text_config().hidden_size)

    def backward(self, batch: PackedBatch, beside: Callable[[States], Tensor] | None = None) -> Tensor:
        """A training pass: gradients of Σ weights·nll are added to the bank's rows. Returns the nll of targets, [M].

        Args:
            beside: from the pass's states to a loss that is added; needs an aligned layer.
        """
        states = self._forward(batch)
        loss, nll = self._losses(states, batch)
        if beside is not None:
            loss = loss + beside(states)
        loss.backward()
        return nll

    def states(self, batch: PackedBatch) -> States:
        """A pass without gradients, with the dropout of training; needs an aligned layer."""
        with torch.no_grad():
            return self._forward(batch)

    def nll(self, batch: PackedBatch) -> Tensor:
        """−log p of every target token, [M] in fp32, without gradients or dropout."""
        with torch.no_grad():
            return self._losses(self._forward(batch), batch)[1]

    def _forward(self, batch: PackedBatch) -> States:
        self._context.batch = batch
        with contextlib.nullcontext() if self._tap is None else self._tap:
            last = self._base.base_model(
                input_ids=batch.input_ids[None],
                position_ids=batch.position_ids[None],
                use_cache=False,
                packed=batch.layout,
            ).last_hidden_state[0]
        if self._tap is None:
            return last, last
        [layer] = self._tap.states.values()
        return layer[0], last

    def _losses(self, states: States, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        head = self._base.get_output_embeddings()
        predicting = states[1].index_select(0, batch.predictors)
        return weighted_nll(predicting, head.weight, batch.targets, batch.weights, self._softcap)

    def _check(self, probe: list[EncodedExample], expected: list[float]) -> None:
        """Compare with the base as it was before: catches whatever an architecture does that a bank does not know."""
        num_targets = [example.num_target_tokens for example in probe]
        piece = Piece(0, tuple(probe), sum(num_targets), ends_batch=True)
        try:
            losses = [float(part.mean()) for part in self.nll(pack([piece], self.device)).split(num_targets)]
        except (TypeError, RuntimeError, AttributeError, AssertionError) as error:
            raise self._unsupported(str(error)) from error
        tolerance = _TOLERANCE.get(self._base.dtype, 0.2)
        if not np.allclose(losses, expected, rtol=tolerance, atol=tolerance):
            raise self._unsupported(f"losses {losses} packed, {expected} alone")

    def _unsupported(self, reason: str) -> UserError:
        return UserError(
            f"The bank cannot train on this architecture ({self._base.config.model_type}): {reason.splitlines()[0]}.",
            where="base",
            hint="Set train.method: peft, which trains one adapter after another on any architecture.",
        )


def find_groups(base: PreTrainedModel, shapes: Sequence[LinearShape]) -> list[LayerGroup]:
    """Layers grouped by the tensor that they read, found in a pass of two tokens, in the order of reading.

    Raises:
        UserError: a layer is not used exactly once in a pass.
    """
    widths = {shape.path: shape for shape in shapes}
    readers: list[tuple[Tensor, list[str]]] = []

    def note(path: str) -> Any:
        def hook(_module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> None:
            x = arguments[0]
            if readers and readers[-1][0] is x:
                readers[-1][1].append(path)
            else:
                readers.append((x, [path]))

        return hook

    hooks = [base.get_submodule(path).register_forward_pre_hook(note(path)) for path in widths]
    try:
        with torch.no_grad():
            base(input_ids=torch.zeros(1, 2, dtype=torch.int64, device=base.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    found = [path for _, paths in readers for path in paths]
    if sorted(found) != sorted(widths):
        odd = next((path for path in widths if found.count(path) != 1), found[0])
        raise UserError(
            f"The layer {odd} is read {found.count(odd)} times in a pass; the bank trains layers that are read once.",
            where="train.lora.targets",
            hint="Name other layers, or set train.method: peft.",
        )
    return [
        LayerGroup(tuple(paths), widths[paths[0]].d_in, tuple(widths[path].d_out for path in paths))
        for _, paths in readers
    ]


def _probe(base: PreTrainedModel) -> list[EncodedExample]:
    """Sequences of arbitrary tokens, of different lengths."""
    generator = np.random.default_rng(0)
    vocabulary = base.get_input_embeddings().weight.shape[0]
    return [
        EncodedExample(str(length), generator.integers(0, vocabulary, length).astype(np.int32), length // 2)
        for length in _PROBE_LENGTHS
    ]


def _losses_alone(base: PreTrainedModel, probe: list[EncodedExample]) -> list[float]:
    """Mean loss of every sequence's targets, each alone through the base as it is."""
    losses = []
    for example in probe:
        ids = torch.from_numpy(example.ids).to(device=base.device, dtype=torch.int64)
        with torch.no_grad():
            logits = base(input_ids=ids[None, :-1], use_cache=False).logits[0].float()
        losses.append(float(F.cross_entropy(logits[example.num_prompt_tokens - 1 :], ids[example.num_prompt_tokens :])))
    return losses
