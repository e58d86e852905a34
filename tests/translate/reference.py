"""What peft and transformers give for the same prompts: one adapter at a time, one prompt at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from hexapla.pool import Pool


class Reference:
    """A pool's base and adapters as peft loads them."""

    def __init__(self, base_folder: Path, pool: Pool) -> None:
        model = AutoModelForCausalLM.from_pretrained(base_folder)
        first, *others = pool.adapters
        self.model = PeftModel.from_pretrained(model, pool.adapter_folder(first), adapter_name=first)
        for name in others:
            self.model.load_adapter(pool.adapter_folder(name), adapter_name=name)
        self.model.eval()

    def logits(self, prompt: list[int], adapter: str | None) -> torch.Tensor:
        """Logits [V] after the prompt."""
        with torch.no_grad():
            return self._with(adapter, lambda: self.model(input_ids=torch.tensor([prompt]))).logits[0, -1]

    def generate(self, prompt: list[int], adapter: str | None, **options: Any) -> list[int]:
        """Tokens of `generate` after the prompt, up to the first end token."""
        ends = options["eos_token_id"]
        ids = torch.tensor([prompt])
        arguments = {"do_sample": False, "pad_token_id": 0, "early_stopping": False, **options}
        if options["num_beams"] == 1:
            del arguments["early_stopping"]
        output = self._with(
            adapter, lambda: self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **arguments)
        )
        tokens = output[0, len(prompt) :].tolist()
        return tokens[: next((place for place, token in enumerate(tokens) if token in ends), len(tokens))]

    def _with(self, adapter: str | None, call: Any) -> Any:
        if adapter is None:
            with self.model.disable_adapter():
                return call()
        self.model.set_adapter(adapter)
        return call()
