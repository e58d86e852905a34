"""Hidden states of any decoder, by hooks: no subclass, nothing kept but what was asked for.

Layers are counted as transformers counts `hidden_states`: 0 are the embeddings that the first block reads, l the output
of the l-th block, and the last one, the model's depth, what the stack of blocks hands to the output head (after the
final norm; transformers never gives the last block's own output).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from hexapla.common.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def resolve_layer(layer: int | float, depth: int, *, where: str) -> int:
    """The index of a layer given as an index, or (a float) as a share of the depth.

    A share is rounded to the nearest layer, halves upwards, and is the first layer at least.

    Args:
        depth: blocks of the model.
        where: the setting, for the message.

    Raises:
        UserError: the model has no such layer.
    """
    share = isinstance(layer, float)
    if not (0 < layer <= 1 if share else 1 <= layer <= depth):
        raise UserError(
            f"There is no layer {layer}: the base has {depth} blocks.",
            where=where,
            hint=f"Give 1 to {depth}, or a share of the depth above 0.0 and up to 1.0.",
        )
    return max(1, math.floor(layer * depth + 0.5)) if share else int(layer)


class StateTap:
    """Catches the hidden states of some layers in the passes made inside `with`; the latest pass counts.

    The states are those of the graph: gradients flow back through them, also where the blocks are checkpointed (a block
    that is computed again in the backward pass reads the same tensor again). They are caught in front of the output
    head, so that a trainer may give the head some positions only, or leave it out.

    Args:
        model: a causal language model of transformers, bare or wrapped by peft.
        layers: indexes, 0 to the model's depth.

    Attributes:
        states: layer → what the pass gave, as the model shapes it ([B, T, D] or [1, N, D]).

    Raises:
        UserError: the blocks of the architecture were not found.
    """

    def __init__(self, model: Any, layers: Sequence[int]) -> None:
        self._decoder, self._blocks = find_decoder(model)
        self._layers = sorted(set(layers))
        assert all(0 <= layer <= len(self._blocks) for layer in self._layers), "resolve_layer was not asked"
        self._hooks: list[Any] = []
        self.states: dict[int, Tensor] = {}

    def __enter__(self) -> Self:
        self.states.clear()
        for layer in self._layers:
            if layer < len(self._blocks):
                hook = self._blocks[layer].register_forward_pre_hook(self._reader(layer), with_kwargs=True)
            else:
                hook = self._decoder.register_forward_hook(self._catch_last)
            self._hooks.append(hook)
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _reader(self, layer: int) -> Any:
        def catch(_block: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self.states[layer] = arguments[0] if arguments else keywords["hidden_states"]

        return catch

    def _catch_last(self, _decoder: Any, _arguments: tuple[Any, ...], output: Any) -> None:
        self.states[len(self._blocks)] = output[0]  # transformers' outputs begin with the last hidden state


def find_decoder(model: Any) -> tuple[torch.nn.Module, torch.nn.ModuleList]:
    """The module that runs the blocks of a causal language model of transformers, and the blocks, in order.

    Args:
        model: bare, or wrapped by peft.

    Raises:
        UserError: it has no list of as many blocks as its configuration says.
    """
    import torch

    depth = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        for child in module.children():
            if isinstance(child, torch.nn.ModuleList) and len(child) == depth:
                return module, child
    raise UserError(
        f"The blocks of this architecture ({model.config.model_type}) were not found.",
        where="base",
        hint=f"Hidden states are read from decoders that hold their {depth} blocks in one list.",
    )
