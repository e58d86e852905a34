"""What training will cost, from the base's shapes alone: no weights are loaded, no text is tokenised.

N: weights of the base that a token is multiplied with (linear layers and output head). P: an adapter's parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from hexapla.base import linear_shapes, model_skeleton
from hexapla.data.examples import Example
from hexapla.train.batching import default_micro_batch_tokens, num_steps
from hexapla.train.spec import TrainSpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_BYTES_PER_TOKEN_OF_TEXT = 4.0  # assumption: UTF-8 bytes of a token, usual for byte-level BPE of 30 K entries and more
_AUXILIARY_CHARACTERS = 25  # of a prompt that shows an auxiliary sentence: two names of its language, " and ", ": "
_INSTRUCTION_CHARACTERS = 165  # of Stanford Alpaca's prompt: 139, or 204 with an input, which four in ten have there
_VALUE_AND_GRADIENT_BYTES = 2 * 4  # fp32
_MOMENTS_BYTES = {"device": 2 * 4, "host": 0, "8bit": 2}  # of one parameter, on the device
_GOOD_VALUES_BYTES = 4  # the copy in memory that the reference trainer falls back to; the bank has its own on disk
_LOGIT_COPIES_BYTES = 3 * 4  # fp32 logits, their softmax and its gradient
_WIDE_BYTES = 3 * 4  # of a hidden value and layer: what norms and residuals keep in fp32 (see `activation_bytes`)
_QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}  # of a weight; 4-bit has an fp32 scale for every 64


@dataclass(frozen=True)
class _Shapes:
    """Sums over a base's layers.

    Attributes:
        num_base: parameters of the base, tied ones once; `num_linear` those of linear layers without the output head.
        num_head: weights of the output head.
        width_in, width_out: values that all linear layers take in and give out for one token.
        adapted_width: the same, both together, of the layers that carry adapters: P of rank 1.
        full_rank: the largest rank that one of them can have.
        num_adapted: layers that carry adapters.
    """

    num_base: int
    num_linear: int
    num_head: int
    width_in: int
    width_out: int
    adapted_width: int
    full_rank: int
    num_adapted: int


@dataclass(frozen=True)
class TrainingCost:
    """Estimates for one base and one set of training settings.

    Where an adapter may be named, its own settings count (`spec.adapters`); without a name the common ones do.

    Args:
        config: the base's configuration; its shapes are all that is used.
        weight_bytes: of one base weight and activation: 2 for bf16, 4 for fp32.
    """

    config: PretrainedConfig
    spec: TrainSpec
    weight_bytes: int = 2

    @cached_property
    def _shapes(self) -> _Shapes:
        model = model_skeleton(self.config)
        every = linear_shapes(model, "all-linear")
        adapted = linear_shapes(model, self.spec.lora.targets)
        return _Shapes(
            num_base=sum(parameter.numel() for parameter in model.parameters()),
            num_linear=sum(shape.d_in * shape.d_out for shape in every),
            num_head=model.get_output_embeddings().weight.numel(),
            width_in=sum(shape.d_in for shape in every),
            width_out=sum(shape.d_out for shape in every),
            adapted_width=sum(shape.d_in + shape.d_out for shape in adapted),
            full_rank=max((min(shape.d_in, shape.d_out) for shape in adapted), default=0),
            num_adapted=len(adapted),
        )

    @property
    def num_base_parameters(self) -> int:
        """Parameters of the base, tied ones once."""
        return self._shapes.num_base

    def num_adapter_parameters(self, adapter: str | None = None) -> int:
        """Parameters of one adapter: Σ r·(I + O) over the layers that it adapts; all of a model trained whole."""
        if self.spec.method == "full":
            return self.num_base_parameters
        return self.num_parameters(self._settings(adapter).lora.rank)

    def num_parameters(self, rank: int | Literal["full"]) -> int:
        """Parameters of an adapter of a rank; `full`: the largest that a layer can have."""
        return (self._shapes.full_rank if rank == "full" else rank) * self._shapes.adapted_width

    def num_steps(self, num_examples: int, adapter: str | None = None) -> int:
        """Updates for a job with so many examples."""
        settings = self._settings(adapter)
        return num_steps(num_examples, settings.batch, settings.epochs)

    def flops(self, num_tokens: int, adapter: str | None = None) -> float:
        """Arithmetic to train on so many tokens (epochs counted by the caller).

        4·N a token for the frozen base (2·N forward, 2·N for the gradient of the activations) and 6·P for the adapter,
        or 6·N for a whole model; gradient checkpointing adds another forward pass, and so do objectives, as if no
        batch fitted into one micro-batch. Left out: attention scores, which matter beyond some thousand tokens of
        context, padding, and the objectives' own losses. Logits count for every token, though only targets need them.
        """
        num_multiplied = self._shapes.num_linear + self._shapes.num_head
        num_aligned = num_tokens if self.spec.acting_objectives is not None else 0
        if self.spec.method == "full":
            per_token = full_flops_a_token(num_multiplied, self.spec.gradient_checkpointing)
            return num_tokens * per_token + num_aligned * 2.0 * num_multiplied
        num_adapter = self.num_adapter_parameters(adapter)
        forward = 2.0 * (num_multiplied + num_adapter)
        per_token = 4.0 * num_multiplied + 6.0 * num_adapter
        if self.spec.gradient_checkpointing:
            per_token += forward
        return num_tokens * per_token + num_aligned * forward

    def pretraining_flops(self, num_tokens: int, *, gradient_checkpointing: bool) -> float:
        """Arithmetic to pre-train the whole base on so many tokens, as `flops` counts it."""
        num_multiplied = self._shapes.num_linear + self._shapes.num_head
        return num_tokens * full_flops_a_token(num_multiplied, gradient_checkpointing)

    @property
    def largest_rank(self) -> int:
        """Of all adapters that the settings speak of."""
        return max([self.spec.lora.rank, *(self.spec.of(name).lora.rank for name in self.spec.adapters)])

    @property
    def micro_batch_tokens(self) -> int:
        """Tokens that go through the base at once.

        Where the settings name no number, the default of a GPU for a base in 2 bytes a weight, else that of a CPU.
        """
        import torch

        if self.spec.micro_batch_tokens is not None:
            return self.spec.micro_batch_tokens
        return default_micro_batch_tokens(torch.device("cuda" if self._likely_gpu else "cpu"))

    @property
    def base_bytes(self) -> int:
        """Memory for the base; embeddings, norms and the output head are never quantised.

        Nothing for a model that is trained whole: it counts as the state of what is trained.
        """
        if self.spec.method == "full":
            return 0
        quantized = _QUANTIZED_BYTES.get(self.spec.quantization, self.weight_bytes)
        num_linear = self._shapes.num_linear
        return (self._shapes.num_base - num_linear) * self.weight_bytes + round(num_linear * quantized)

    @property
    def num_head_entries(self) -> int:
        """Parameters of the head that matches languages, trained beside an adapter or model; 0: there is none."""
        objectives = self.spec.acting_objectives
        if objectives is None or objectives.matching == 0:
            return 0
        return 2 * objectives.matching_width * (2 * self._width + 1)

    def kept_gradient_bytes(self, num_pairs: int) -> int:
        """Memory for the gradients in the states of a batch of so many sentence pairs, kept from its first micro-batch
        to its last: four fp32 states a pair; 0 without objectives.
        """
        return 0 if self.spec.acting_objectives is None else num_pairs * 4 * self._width * 4

    def alignment_bytes(self, num_pairs: int) -> int:
        """Rough memory that the objectives need to contrast so many sentence pairs; 0 without any.

        For every two of 2·n sentences that are contrasted, the head's inner values, as many at once as the loss takes:
        seven copies in fp32 (two sums, an activation, their product, three gradients); four scores for every source and
        target; and four states a pair with their gradients.
        """
        objectives = self.spec.acting_objectives
        if objectives is None:
            return 0
        from hexapla.train.align import losses

        contrasted = max(1, min(num_pairs, objectives.contrast or num_pairs))
        row_entries = 2 * contrasted * objectives.matching_width
        at_once = losses._PART_ENTRIES_GPU if self._likely_gpu else losses._PART_ENTRIES["cpu"]
        matched = 7 * min(2 * contrasted * row_entries, max(row_entries, at_once)) if objectives.matching > 0 else 0
        return 4 * (matched + 4 * num_pairs * contrasted + 2 * num_pairs * 4 * self._width)

    def adapter_state_bytes(self, rank: int) -> int:
        """Memory on the device for one adapter in training: value, gradient and two moments of each parameter, fp32.

        A bank lays its adapters out as rows of equal length, so `rank` is there the largest of a wave. The reference
        trainer keeps a fifth copy, the values before the latest update. A model that is trained whole has four of
        every parameter. The head that matches languages counts as parameters.
        """
        if self.spec.method == "full":
            num_trained = self.num_base_parameters + self.num_head_entries
            return num_trained * (_VALUE_AND_GRADIENT_BYTES + _MOMENTS_BYTES["device"])
        if self.spec.method == "peft":
            of_parameter = _VALUE_AND_GRADIENT_BYTES + _MOMENTS_BYTES["device"] + _GOOD_VALUES_BYTES
        else:
            of_parameter = _VALUE_AND_GRADIENT_BYTES + _MOMENTS_BYTES[self.spec.bank.optimizer_states]
        return (self.num_parameters(rank) + self.num_head_entries) * of_parameter

    def activation_bytes(self, num_tokens: int) -> int:
        """Rough memory that one pass of so many tokens needs beside base and adapters.

        A token keeps: what every linear layer takes in and gives out, and its product with every A, in the base's
        precision; and three fp32 hidden values a layer for norms and residuals. With gradient checkpointing it keeps
        one hidden state a layer and one layer's activations. Logits come on top: in the bank one chunk's, in the
        reference those of half of the tokens. Autograd kept 0.88 to 1.02 of that without logits in the bank (Qwen3,
        Llama and Gemma of width 128 to 512, fp32 and bf16, CPU, measured 2026-11-21).
        """
        shapes, text = self._shapes, self.config.get_text_config()
        num_layers, width = text.num_hidden_layers, text.hidden_size
        values = shapes.width_in + shapes.width_out + self.largest_rank * shapes.num_adapted
        per_token = values * self.weight_bytes + num_layers * width * _WIDE_BYTES
        if self.spec.gradient_checkpointing:
            per_token = per_token // num_layers + num_layers * width * self.weight_bytes
        return num_tokens * per_token + self._logit_bytes(num_tokens)

    def memory_bytes(self, num_adapters: int, rank: int | None = None) -> int:
        """Rough peak memory on the device with so many adapters in training at once.

        Args:
            rank: the largest among them; None: `spec.lora.rank`.
        """
        batch = max([self.spec.batch, *(self.spec.of(name).batch for name in self.spec.adapters)])
        of_adapter = self.adapter_state_bytes(self.spec.lora.rank if rank is None else rank)
        states = num_adapters * (of_adapter + self.kept_gradient_bytes(batch))
        return self.base_bytes + self.activation_bytes(self.micro_batch_tokens) + self.alignment_bytes(batch) + states

    def _settings(self, adapter: str | None) -> TrainSpec:
        return self.spec if adapter is None else self.spec.of(adapter)

    @property
    def _width(self) -> int:
        """Of the hidden states."""
        return int(self.config.get_text_config().hidden_size)

    @property
    def _likely_gpu(self) -> bool:
        return self.weight_bytes == 2

    def _logit_bytes(self, num_tokens: int) -> int:
        vocabulary = self.config.get_text_config().vocab_size
        if self.spec.method == "peft":
            return num_tokens * vocabulary * (_LOGIT_COPIES_BYTES + self.weight_bytes) // 2
        from hexapla.train.bank import head

        chunk_bytes = head._CHUNK_BYTES_GPU if self._likely_gpu else head._CHUNK_BYTES
        num_rows = min(num_tokens, max(head._MIN_CHUNK_ROWS, chunk_bytes // (4 * vocabulary)))
        product_bytes = self.weight_bytes if self.weight_bytes < 4 else 0  # of the logits before they become fp32
        return num_rows * vocabulary * (4 + product_bytes)


def full_flops_a_token(num_multiplied: int, gradient_checkpointing: bool) -> float:
    """Arithmetic of a token in training every parameter: 2·N forward, 4·N backward; checkpointing adds 2·N."""
    return (8.0 if gradient_checkpointing else 6.0) * num_multiplied


def estimate_tokens(examples: Iterable[Example], num_prompt_characters: int = 80) -> int:
    """Rough number of tokens before anything is tokenised: bytes of all sentences and the prompt's, by four."""
    num_bytes = 0
    for example in examples:
        num_bytes += len(example.source.encode()) + len(example.target.encode()) + num_prompt_characters
        if example.auxiliary is not None:
            num_bytes += len(example.auxiliary.text.encode()) + _AUXILIARY_CHARACTERS
    return round(num_bytes / _BYTES_PER_TOKEN_OF_TEXT)


def estimate_instruction_tokens(num_bytes: float, num_instructions: int) -> int:
    """The same of general instructions, by the bytes of what they say and the prompt around each of them."""
    return round((num_bytes + num_instructions * _INSTRUCTION_CHARACTERS) / _BYTES_PER_TOKEN_OF_TEXT)
