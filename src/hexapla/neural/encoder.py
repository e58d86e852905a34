"""The encoder of a checkpoint: transformers' XLM-R (Conneau et al., 2020) or XLM-R-XL (Goyal et al., 2021).

Its configuration is read off the checkpoint's own tensors, so that neither the weights nor the configuration of the
encoder are looked for elsewhere. Layers above the last that counts are not even made.

Shapes: B sequences, N tokens of all of them, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hexapla.common.errors import UserError
from hexapla.neural.checkpoint import Tensors
from hexapla.neural.tokenizer import PADDING
from hexapla.packed import attention
from hexapla.packed.layout import sequence_layout

_PREFIX = "encoder.model."
# Width → attention heads of xlm-roberta-base and -large, and of xlm-roberta-xl and -xxl.
_HEADS = {768: 12, 1024: 16, 2560: 32, 4096: 32}
_EPSILON = 1e-5  # of all four; transformers' default configuration has another


class EncodedBatch(NamedTuple):
    """Sequences after the encoder, one behind another.

    Attributes:
        states: of the embeddings, then of each layer that was loaded, [N, D].
        lengths: [B], tokens of each sequence.
        counted: [N], False at padding tokens; those that are there were written in a text.
    """

    states: tuple[Tensor, ...]
    lengths: Tensor
    counted: Tensor


class Encoder:
    """The encoder of a checkpoint, its shape read off the tensors.

    Args:
        tensors: of the checkpoint.
        configuration: of the encoder; empty, or of an encoder of another width: as in the published models.
        normalises_first: True: XLM-R-XL.

    Attributes:
        width: of the states, D.
        depth: number of layers, the embeddings not counted.
        num_positions: the longest sequence.
        vocabulary: number of token ids.

    Raises:
        UserError: the tensors are incomplete or have the wrong shapes; or this is none of the published models, and
            its configuration is missing.
    """

    def __init__(self, tensors: Tensors, configuration: dict[str, Any], *, normalises_first: bool) -> None:
        self._tensors, self._first = tensors, normalises_first
        words = tensors.take(f"{_PREFIX}embeddings.word_embeddings.weight", None, None)
        self.vocabulary, self.width = words.shape
        positions = tensors.take(f"{_PREFIX}embeddings.position_embeddings.weight", None, self.width)
        # positions are counted from the one after the padding token's
        self.num_positions = positions.shape[0] - PADDING - 1
        self.depth = self._num_layers = tensors.count(f"{_PREFIX}encoder.layer.")
        if configuration.get("hidden_size") != self.width:
            configuration = {}  # the tokenizer of several models may lie beside the configuration of one of them
        heads = configuration.get("num_attention_heads", _HEADS.get(self.width))
        if heads is None:
            raise UserError(
                f"The number of attention heads of an encoder of the width {self.width} is not known.",
                hint="Put the encoder's config.json beside its tokenizer.json.",
            )
        between = tensors.take(f"{_PREFIX}encoder.layer.0.intermediate.dense.weight", None, self.width).shape[0]
        types = tensors.take(f"{_PREFIX}embeddings.token_type_embeddings.weight", None, self.width).shape[0]
        self._settings = {
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "intermediate_size": between,
            "num_attention_heads": int(heads),
            "hidden_act": configuration.get("hidden_act", "gelu"),
            "layer_norm_eps": float(configuration.get("layer_norm_eps", _EPSILON)),
            "max_position_embeddings": positions.shape[0],
            "type_vocab_size": types,
            "pad_token_id": PADDING,
        }

    def load(self, depth: int, *, device: torch.device, dtype: torch.dtype) -> None:
        """Bring the weights of the first `depth` layers to where they are used; the others are never needed."""
        from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaXLConfig, XLMRobertaXLModel

        # XLM-R-XL normalises the states of its last layer, whichever that is: all of its layers are made
        self._num_layers = self.depth if self._first else depth
        make = (XLMRobertaXLConfig, XLMRobertaXLModel) if self._first else (XLMRobertaConfig, XLMRobertaModel)
        config, model_class = make
        with torch.device("meta"):
            model = model_class(config(**self._settings, num_hidden_layers=self._num_layers), add_pooling_layer=False)
        weights = {
            name: self._tensors.take(_PREFIX + name, *shaped.shape).to(device, dtype)
            for name, shaped in model.state_dict().items()
        }
        model.load_state_dict(weights, assign=True)
        attention.register()
        model.set_attn_implementation(attention.PACKED)
        self._model = model.eval()
        del self._tensors  # where they were copied to a GPU, memory is free again

    def unused(self) -> tuple[str, ...]:
        """Beginnings of the names of tensors that are there and not needed."""
        return tuple(f"{_PREFIX}encoder.layer.{number}." for number in range(self._num_layers, self.depth))

    def states(self, rows: Sequence[list[int]]) -> EncodedBatch:
        """Sequences through the layers that were loaded, one behind another: padding costs nothing.

        Args:
            rows: token ids of each sequence.
        """
        device = self._model.device
        lengths = np.array([len(row) for row in rows])
        ids_N = torch.tensor([token for row in rows for token in row])
        counted_N = ids_N != PADDING  # a padding token within a text has a padding token's position
        places_N = torch.cat([row.cumsum(0) for row in counted_N.split(lengths.tolist())])
        found = self._model(
            input_ids=ids_N[None].to(device),
            # given, as the model's own buffers of them were never made
            position_ids=(places_N * counted_N + PADDING)[None].to(device),
            token_type_ids=torch.zeros_like(ids_N, device=device)[None],
            output_hidden_states=True,
            packed=sequence_layout(lengths, device, causal=False),
        )
        # XLM-R-XL's last state is normalised once more
        states = tuple(state[0] for state in (*found.hidden_states[:-1], found.last_hidden_state))
        return EncodedBatch(states, torch.from_numpy(lengths).to(device), counted_N.to(device))
