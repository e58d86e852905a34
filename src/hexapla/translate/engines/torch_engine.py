"""Decoding with transformers' model code and our own loop, on CPU or GPU.

Prompts are padded on the left and computed once, whatever the number of beams; only the last position's logits are
made; rows of different adapters share every forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hexapla.adapter import LoraAdapter
from hexapla.base import Base, choose_device, choose_dtype, load_model, load_tokenizer
from hexapla.common.errors import UserError
from hexapla.translate.engines.cache import RowCache
from hexapla.translate.engines.endings import token_kinds
from hexapla.translate.engines.engine import Decoded, DecodeRequest
from hexapla.translate.engines.lora_rows import AdapterStack, RowAdapters, stack_adapters
from hexapla.translate.engines.search import beam_search, greedy_search
from hexapla.translate.spec import TranslateSpec

_ATTENTION_KINDS = {"full_attention", "sliding_attention"}


class TorchEngine:
    """A base model loaded once (see `Engine`).

    Args:
        base: the base model.
        precision: as in `TranslateSpec`.
        device: None for the GPU where there is one.

    Raises:
        UserError: the base cannot be loaded, or its attention is of a kind whose cache cannot be reordered.
    """

    def __init__(
        self,
        base: Base,
        *,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        device: torch.device | str | None = None,
    ) -> None:
        self.base = base
        self.device = choose_device(device)
        self.tokenizer = load_tokenizer(base)
        self.model: PreTrainedModel = load_model(base, dtype=choose_dtype(precision, self.device), device=self.device)
        config = self.model.config.get_text_config(decoder=True)
        if others := set(getattr(config, "layer_types", None) or ()) - _ATTENTION_KINDS:
            raise UserError(
                f"The base {base.id!r} has layers that cannot be decoded row by row ({', '.join(sorted(others))}).",
                where="base",
            )
        self._num_layers = config.num_hidden_layers
        self.window = int(getattr(config, "max_position_embeddings", None) or 2**31)
        self._kinds = token_kinds(self.tokenizer, self._end_ids(), config.vocab_size, self.device)
        self._row_adapters = RowAdapters(self.model)

    def load_adapters(self, adapters: Mapping[str, LoraAdapter]) -> AdapterStack:
        """The adapters on the device, stacked by layer.

        Raises:
            UserError: an adapter does not fit the base.
        """
        return stack_adapters(self.model, adapters)

    def decode(self, requests: Sequence[DecodeRequest], adapters: AdapterStack, spec: TranslateSpec) -> list[Decoded]:
        """Continue every prompt as one batch (see `Engine.decode`)."""
        if not requests:
            return []
        try:
            return self._decode_batch(requests, adapters, spec)
        except torch.OutOfMemoryError:
            if len(requests) == 1:
                return [Decoded([], "too-long", 0.0)]
        # Outside of the handler: the exception would keep the tensors that filled the memory alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(requests) // 2
        return self.decode(requests[:half], adapters, spec) + self.decode(requests[half:], adapters, spec)

    @torch.inference_mode()
    def _decode_batch(
        self, requests: Sequence[DecodeRequest], adapters: AdapterStack, spec: TranslateSpec
    ) -> list[Decoded]:
        # Rows of one adapter side by side, as `RowAdapters` likes them.
        order = sorted(range(len(requests)), key=lambda place: adapters.index[requests[place].adapter])
        ordered = [requests[place] for place in order]
        limits_B = torch.tensor([request.max_new_tokens for request in ordered], device=self.device)
        rows = [adapters.index[request.adapter] for request in ordered]
        batch = _Batch(self, [request.prompt for request in ordered], adapters, rows)
        search = greedy_search if spec.beams == 1 else beam_search
        try:
            decoded = search(batch, limits_B, self._kinds, spec)
        finally:
            self._row_adapters.clear()
        by_place = dict(zip(order, decoded, strict=True))
        return [by_place[place] for place in range(len(requests))]

    def _end_ids(self) -> list[int]:
        """Every token that ends a sequence, by the tokenizer or the model's generation settings."""
        generation = getattr(self.model, "generation_config", None)
        configured = getattr(generation, "eos_token_id", None)
        ids = configured if isinstance(configured, list) else [configured]
        vocabulary = self.model.config.get_text_config(decoder=True).vocab_size
        return sorted(
            {token for token in [*ids, self.tokenizer.eos_token_id] if token is not None and token < vocabulary}
        )


class _Batch:
    """Prompts in the model's cache: the `Stepper` of a search.

    Shapes: N rows, S positions so far.
    """

    def __init__(
        self, engine: TorchEngine, prompts: Sequence[Sequence[int]], adapters: AdapterStack, rows: Sequence[int]
    ) -> None:
        self._engine, self._adapters, self._rows = engine, adapters, list(rows)
        self._num_prompt = max(map(len, prompts))
        lengths = [len(prompt) for prompt in prompts]
        self._padded = min(lengths) < self._num_prompt
        padded = [[0] * (self._num_prompt - len(prompt)) + list(prompt) for prompt in prompts]
        self._prompts = torch.tensor(padded, device=engine.device)
        self._lengths = torch.tensor(lengths, device=engine.device)
        steps = torch.arange(self._num_prompt, device=engine.device)
        self._mask = (steps >= self._num_prompt - self._lengths[:, None]).long()
        self._cache = RowCache(engine._num_layers)
        engine._row_adapters.use(adapters, self._rows)

    def prefill(self) -> Tensor:
        """Logits after the prompts [N, V]."""
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        return self._forward(self._prompts, positions)

    def step(self, tokens_N: Tensor) -> Tensor:
        """Logits after one more token a row [N, V]."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        positions = self._lengths[:, None]
        self._lengths = self._lengths + 1
        return self._forward(tokens_N[:, None], positions)

    def expand(self, num_beams: int) -> None:
        """Repeat every row, copies side by side."""
        rows = torch.arange(len(self._lengths), device=self._lengths.device).repeat_interleave(num_beams)
        self.keep(rows)

    def keep(self, rows: Tensor) -> None:
        """Take these rows, in this order."""
        self._cache.take_rows(rows)
        self._mask, self._lengths = self._mask[rows], self._lengths[rows]
        self._rows = [self._rows[row] for row in rows.tolist()]
        self._engine._row_adapters.use(self._adapters, self._rows)

    def reorder(self, rows: Tensor) -> None:
        """Reorder the generated part of rows that share a prompt."""
        self._cache.permute_tail(rows, self._num_prompt)

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        result: Any = self._engine.model(
            input_ids=ids,
            attention_mask=self._mask if self._padded else None,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return result.logits[:, -1].float()
