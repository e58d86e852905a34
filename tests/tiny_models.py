"""Tiny random bases and adapters for tests: real architectures, real tokenizers, real PEFT folders, a few kilobytes.

Use the fixtures of `tests/conftest.py` (`qwen3_base`, `llama_base`, `gemma_base`), or these functions directly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_SENTENCES = (
    "Translate this from German to English: Guten Morgen, wie geht es dir?",
    "Translate this from English to Dutch: Good morning, where is the station?",
    "The train leaves at nine o'clock. De trein vertrekt om negen uur. Der Zug fährt um neun Uhr ab.",
    "Я читаю книгу. Je lis un livre. Leo un libro. 私は本を読みます。 我在看书。",
)
_WIDTH, _NUM_LAYERS, _VOCABULARY = 32, 2, 384
_bases: dict[tuple[str, int], Path] = {}


def tiny_base(tmp_path_factory: pytest.TempPathFactory, architecture: str = "qwen3", seed: int = 0) -> Path:
    """A folder with config, safetensors weights and a fast byte-level BPE tokenizer; made once a session.

    Args:
        architecture: qwen3 (tied embeddings, grouped heads), llama (untied), gemma (scaled embeddings, tied), gemma2
            (sliding windows, capped logits) or gpt-neox (parallel residuals, biases, other names).
    """
    key = (architecture, seed)
    if key not in _bases:
        folder = tmp_path_factory.mktemp(f"{architecture}-{seed}")
        write_tiny_base(folder, architecture, seed)
        _bases[key] = folder
    return _bases[key]


def write_tiny_base(folder: Path, architecture: str = "qwen3", seed: int = 0) -> None:
    """Write a random base of 2 layers and width 32 into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(_config(architecture))
        for parameter in model.parameters():
            if parameter.ndim == 2:  # the usual 0.02 makes every logit nearly equal: tests could not tell models apart
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)


def tiny_tokenizer() -> Any:
    """A byte-level BPE of at most 384 entries: every text round-trips; `<pad>`, `<bos>` and `<eos>` are known."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", padding_side="left"
    )


def random_adapter(
    base_folder: Path,
    name: str,
    rank: int = 4,
    seed: int = 0,
    folder: Path | None = None,
    *,
    std: float = 0.1,
    **lora: Any,
) -> Path:
    """Write a PEFT folder with nonzero A and B on every linear layer, made by peft itself.

    Args:
        name: of the subfolder in `folder`.
        folder: where the adapter's folder goes; None: beside the base's files.
        std: of the normal distribution of all factors.
        lora: overrides for peft's `LoraConfig` (lora_alpha, use_rslora, rank_pattern, target_modules, ...).

    Returns:
        The adapter's folder, `folder/name`.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    settings: dict[str, Any] = {"lora_alpha": 2 * rank, "target_modules": "all-linear", **lora}
    model = get_peft_model(base, LoraConfig(r=rank, task_type="CAUSAL_LM", **settings))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter_name, parameter in sorted(model.named_parameters()):
            if ".lora_" in parameter_name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    target = (folder if folder is not None else base_folder) / name
    model.save_pretrained(target)
    return target


def _config(architecture: str) -> Any:
    from transformers import Gemma2Config, GemmaConfig, GPTNeoXConfig, LlamaConfig, Qwen3Config

    shape: dict[str, Any] = {
        "vocab_size": _VOCABULARY,
        "hidden_size": _WIDTH,
        "intermediate_size": 2 * _WIDTH,
        "num_hidden_layers": _NUM_LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if architecture == "gpt-neox":
        return GPTNeoXConfig(**shape, tie_word_embeddings=False)
    shape |= {"num_key_value_heads": 2, "head_dim": 8}
    if architecture == "qwen3":
        return Qwen3Config(**shape, tie_word_embeddings=True)
    if architecture == "llama":
        return LlamaConfig(**shape, tie_word_embeddings=False)
    if architecture == "gemma":
        return GemmaConfig(**shape, tie_word_embeddings=True)
    if architecture == "gemma2":
        return Gemma2Config(**shape, tie_word_embeddings=True, sliding_window=8, query_pre_attn_scalar=8)
    raise ValueError(f"no tiny base of architecture {architecture!r}")
