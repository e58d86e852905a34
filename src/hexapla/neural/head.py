"""From the states of an encoder's layers to a score: layer mix, pooling, regression.

Shapes: B sequences, N tokens of all of them, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hexapla.common.errors import UserError, nearest
from hexapla.neural.checkpoint import Hyperparameters, Tensors
from hexapla.neural.encoder import EncodedBatch

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Softplus": F.softplus,
    "Identity": lambda x: x,
}


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the simplex closest to `scores` (Martins & Astudillo, 2016, algorithm 1). [L] → [L]"""
    descending = scores.sort(descending=True).values
    excess = descending.cumsum(0) - 1
    supported = torch.arange(1, len(scores) + 1, device=scores.device) * descending > excess
    size = int(supported.sum())
    return (scores - excess[size - 1] / size).clamp(min=0)


class LayerPooling:
    """One vector a sequence: γ Σ_l w_l · states of layer l, pooled over tokens.

    Averages and first tokens are pooled layer by layer, which is the same by linearity; maxima need the mix first.

    Args:
        tensors: of the checkpoint.
        hyperparameters: of the model.
        num_states: layers of the encoder and its embeddings.

    Attributes:
        depth: the highest layer with a weight; those above it need not be computed.

    Raises:
        UserError: the layer does not exist, or tensors are missing.
    """

    def __init__(self, tensors: Tensors, hyperparameters: Hyperparameters, num_states: int) -> None:
        self._pooling: str = hyperparameters.pooling
        layer = hyperparameters.pooled_layer
        self._layer_norm = hyperparameters.layer_norm and layer == "mix"
        if layer == "mix":
            self._weights = _mix_weights(tensors, hyperparameters.mix, num_states)
        elif isinstance(layer, int) and 0 <= layer < num_states:
            self._weights = [float(number == layer) for number in range(num_states)]
        else:
            raise UserError(f"The encoder has no layer {layer}; its layers are 0 to {num_states - 1}.")
        if self._pooling == "default":  # the encoder's own: the first token of its last layer
            self._pooling, self._layer_norm = "cls", False
            self._weights = [0.0] * (num_states - 1) + [1.0]
        self.depth = max((number for number, weight in enumerate(self._weights) if weight), default=0)

    def __call__(self, encoded: EncodedBatch) -> Tensor:
        """[B, D] in fp32; of `encoded`, the states of layer 0 (the embeddings) to `depth` are read."""
        total: Tensor | None = None
        for number, (weight, state) in enumerate(zip(self._weights, encoded.states, strict=False)):
            if weight == 0.0 and number != self.depth:
                continue
            state_ND = state.float()
            if self._layer_norm:
                state_ND = _standardised(state_ND, encoded.lengths)
            part = weight * self._reduced(state_ND, encoded)
            total = part if total is None else total + part
        assert total is not None, "the encoder has at least the states of its embeddings"
        if self._pooling == "max":
            total = total.masked_fill(~encoded.counted[:, None], -torch.inf)
            return torch.segment_reduce(total, "max", lengths=encoded.lengths, unsafe=True)
        return total

    def _reduced(self, state_ND: Tensor, encoded: EncodedBatch) -> Tensor:
        if self._pooling == "cls":
            return state_ND[encoded.lengths.cumsum(0) - encoded.lengths]
        if self._pooling == "max":
            return state_ND
        # A padding token within a text counts in the length, its states do not: so does unbabel-comet.
        return _sums(state_ND * encoded.counted[:, None], encoded.lengths) / encoded.lengths[:, None]


class Regression:
    """The feed-forward network on top, always in fp32.

    Args:
        tensors: of the checkpoint.
        hyperparameters: of the model.
        width: number of features.

    Raises:
        UserError: an activation is not supported, or tensors are missing or of other shapes.
    """

    def __init__(self, tensors: Tensors, hyperparameters: Hyperparameters, width: int, *, device: torch.device) -> None:
        sizes = [width, *hyperparameters.hidden_sizes, 1]
        self._layers = []
        for number, (d_in, d_out) in enumerate(pairwise(sizes)):
            name = f"estimator.ff.{3 * number}"  # an activation and a dropout lie between two of them
            weight, bias = tensors.take(f"{name}.weight", d_out, d_in), tensors.take(f"{name}.bias", d_out)
            self._layers.append((weight.to(device, torch.float32), bias.to(device, torch.float32)))
        self._activation = _activation(hyperparameters.activations)
        self._final = _activation(hyperparameters.final_activation or "Identity")

    def __call__(self, features: Tensor) -> Tensor:
        """[B, width] → [B]"""
        for weight, bias in self._layers[:-1]:
            features = self._activation(F.linear(features, weight, bias))
        return self._final(F.linear(features, *self._layers[-1])).squeeze(1)


def _mix_weights(tensors: Tensors, transformation: Literal["softmax", "sparsemax"], num_states: int) -> list[float]:
    name = "layerwise_attention."
    raw = torch.cat([tensors.take(f"{name}scalar_parameters.{number}", 1) for number in range(num_states)]).float()
    weights = sparsemax(raw) if transformation == "sparsemax" else raw.softmax(0)
    scaled: list[float] = (tensors.take(f"{name}gamma", 1).float() * weights).tolist()
    return scaled


def _standardised(state_ND: Tensor, lengths: Tensor) -> Tensor:
    """Mean 0 and variance 1 over all numbers of a sequence's tokens."""
    number_B = lengths * state_ND.shape[1]

    def means(values_N: Tensor) -> Tensor:
        return (_sums(values_N, lengths) / number_B).repeat_interleave(lengths, output_size=len(values_N))[:, None]

    centred = state_ND - means(state_ND.sum(1))
    return centred / torch.sqrt(means(centred.square().sum(1)) + 1e-12)


def _sums(values: Tensor, lengths: Tensor) -> Tensor:
    """Over the tokens of every sequence: [N, …] → [B, …]."""
    return torch.segment_reduce(values, "sum", lengths=lengths, unsafe=True)


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name.title() not in _ACTIVATIONS:
        raise UserError(
            f"Networks with the activation {name!r} are not supported.", hint=nearest(name.title(), _ACTIVATIONS)
        )
    return _ACTIVATIONS[name.title()]
