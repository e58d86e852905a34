"""What training will cost, from the base's shapes alone: no weights are loaded, no text is tokenised.

N: weights of the base that a token is multiplied with (linear layers and output head). P: an adapter's parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hexapla.base import linear_shapes, model_skeleton
from hexapla.data.examples import Example
from hexapla.train.batching import num_steps
from hexapla.train.spec import TrainSpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_BYTES_PER_TOKEN_OF_TEXT = 4.0  # assumption: UTF-8 bytes of a token, usual for byte-level BPE of 30 K entries and more
_LORA_STATE_BYTES = 5 * 4  # fp32 value, gradient, two moments, and the copy that divergence falls back to
_LOGIT_COPIES_BYTES = 3 * 4  # fp32 logits, their softmax and its gradient


@dataclass(frozen=True)
class TrainingCost:
    """Estimates for one base and one set of training settings.

    Args:
        config: the base's configuration; its shapes are all that is used.
        weight_bytes: of one base weight and activation: 2 for bf16, 4 for fp32.
    """

    config: PretrainedConfig
    spec: TrainSpec
    weight_bytes: int = 2

    @cached_property
    def _shapes(self) -> tuple[int, int, int, int, int]:
        """Base parameters, N, P, and per token the widths that adapted layers take in and give out."""
        model = model_skeleton(self.config)
        every = linear_shapes(model, "all-linear")
        adapted = linear_shapes(model, self.spec.lora.targets)
        head = model.get_output_embeddings().weight.numel()
        num_multiplied = sum(shape.d_in * shape.d_out for shape in every) + head
        num_adapter = sum(self.spec.lora.rank * (shape.d_in + shape.d_out) for shape in adapted)
        num_base = sum(parameter.numel() for parameter in model.parameters())
        return num_base, num_multiplied, num_adapter, sum(s.d_in for s in every), sum(s.d_out for s in every)

    @property
    def num_base_parameters(self) -> int:
        """Parameters of the base, tied ones once."""
        return self._shapes[0]

    @property
    def num_adapter_parameters(self) -> int:
        """Parameters of one adapter: Σ r·(I + O) over the layers that it adapts."""
        return self._shapes[2]

    def num_steps(self, num_examples: int) -> int:
        """Updates for a job with so many examples."""
        return num_steps(num_examples, self.spec.batch, self.spec.epochs)

    def flops(self, num_tokens: int) -> float:
        """Arithmetic to train on so many tokens (epochs counted by the caller).

        4·N a token for the frozen base (2·N forward, 2·N for the gradient of the activations) and 6·P for the adapter;
        gradient checkpointing adds another forward pass. Left out: attention scores, which matter beyond some thousand
        tokens of context, and padding. Logits count for every token, though only targets need them.
        """
        _, num_multiplied, num_adapter, _, _ = self._shapes
        per_token = 4.0 * num_multiplied + 6.0 * num_adapter
        if self.spec.gradient_checkpointing:
            per_token += 2.0 * (num_multiplied + num_adapter)
        return num_tokens * per_token

    @property
    def memory_bytes(self) -> int:
        """Rough peak memory on the device: base, adapter with optimiser, and activations of one micro-batch.

        Activations a token: what every linear layer takes in and gives out, in the base's precision (with gradient
        checkpointing one hidden state a layer and one layer's activations), plus logits for half of the tokens. On a
        Qwen3 of width 192 autograd kept 10 % more than that without logits (measured 2026-11-21).
        """
        num_base, _, num_adapter, width_in, width_out = self._shapes
        text = self.config.get_text_config()
        per_token = (width_in + width_out) * self.weight_bytes
        if self.spec.gradient_checkpointing:
            per_token = (
                per_token // text.num_hidden_layers + text.num_hidden_layers * text.hidden_size * self.weight_bytes
            )
        logits = text.vocab_size * (_LOGIT_COPIES_BYTES + self.weight_bytes) // 2
        activations = self.spec.micro_batch_tokens * (per_token + logits)
        return num_base * self.weight_bytes + num_adapter * _LORA_STATE_BYTES + activations


def estimate_tokens(examples: Iterable[Example], num_prompt_characters: int = 80) -> int:
    """Rough number of tokens before anything is tokenised: bytes of both sentences and the prompt's, by four."""
    num_bytes = sum(
        len(example.source.encode()) + len(example.target.encode()) + num_prompt_characters for example in examples
    )
    return round(num_bytes / _BYTES_PER_TOKEN_OF_TEXT)
