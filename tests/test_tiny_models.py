"""The fixtures themselves: every tiny base loads, its tokenizer round-trips, an adapter changes its output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny_models import random_adapter


@pytest.mark.parametrize("fixture", ["qwen3_base", "llama_base", "gemma_base"])
def test_base_loads_and_adapter_changes_logits(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base: Path = request.getfixturevalue(fixture)
    tokenizer = AutoTokenizer.from_pretrained(base)
    text = "Быстрая лиса, 狐 and a naïve dog!\n"
    tokens = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    assert tokenizer.decode(tokens["input_ids"][0]) == text
    assert tokenizer.is_fast
    assert tokenizer.eos_token_id == 2
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    with torch.no_grad():
        plain = model(input_ids=tokens["input_ids"]).logits
        adapted = PeftModel.from_pretrained(model, random_adapter(base, "a", 4, 1, tmp_path)).eval()
        changed = adapted(input_ids=tokens["input_ids"]).logits
    assert torch.isfinite(changed).all()
    assert (changed - plain).abs().max() > 1e-3
