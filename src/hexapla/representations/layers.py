"""Hidden states of any decoder, by hooks: no subclass, nothing kept but what was asked for.

Layers are counted as transformers counts `hidden_states`: 0 are the embeddings, l the output of the l-th block, and the
last one, the model's depth, what the output head reads (after the final norm).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from hexapla.common.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def resolve_layer(layer: int | float, depth: int, *, where: str) -> int:
    """The index of a layer given as an index, or (a float) as a share of the depth.

    Args:
        depth: blocks of the model.
        where: the setting, for the message.

    Raises:
        UserError: the model has no such layer.
    """
    index = layer if isinstance(layer, int) else round(layer * depth)
    if not 1 <= index <= depth:
        raise UserError(
            f"There is no layer {layer}: the base has {depth} blocks.",
            where=where,
            hint=f"Give 1 to {depth}, or a share of the depth between 0.0 and 1.0.",
        )
    return index


def decoder_blocks(model: Any) -> torch.nn.ModuleList:
    """The blocks of a causal language model of transformers, bare or wrapped by peft, in order.

    Raises:
        UserError: it has no list of as many blocks as its configuration says.
    """
    import torch

    depth = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return module
    raise UserError(f"The blocks of this architecture ({model.config.model_type}) were not found.", where="base")


class StateTap:
    """Catches the hidden states of some layers in the passes made inside `with`; the latest pass counts.

    The states are those of the graph: gradients flow back through them.

    Args:
        model: a causal language model of transformers, bare or wrapped by peft.
        layers: indexes, the depth among them only where the pass calls the output head.

    Attributes:
        states: layer → what the pass gave, as the model shapes it ([B, T, D] or [1, N, D]).
    """

    def __init__(self, model: Any, layers: Sequence[int]) -> None:
        blocks = decoder_blocks(model)
        self.states: dict[int, Tensor] = {}
        self._readers = {
            layer: blocks[layer] if layer < len(blocks) else model.get_output_embeddings() for layer in layers
        }
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        self.states.clear()
        for layer, reader in self._readers.items():
            self._hooks.append(reader.register_forward_pre_hook(self._catcher(layer), with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _catcher(self, layer: int) -> Any:
        def catch(_module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self.states[layer] = arguments[0] if arguments else keywords["hidden_states"]

        return catch
