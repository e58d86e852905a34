"""Make `builtin:tiny`: a Qwen3-architecture model of a few million parameters with its own tokenizer.

It is pre-trained on single phrasebook sentences in every language and, for a small share of rows, on sentence pairs
written as in LMT's continued pre-training (arXiv 2511.07003): `<en2de> SOURCE <de> TARGET`. Only the split `pretrain`
is read, so nothing that post-training or tests use has been seen. The settings are `tiny.yaml` beside this file.

    python -m hexapla.phrasebook.make_tiny FOLDER
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from hexapla import languages, prompts
from hexapla.common.artifacts import canonical_json, digest_of, write_json
from hexapla.common.seeds import derive_seed, stable_order, uniform
from hexapla.languages import Direction
from hexapla.phrasebook.corpus import PhrasebookRow, rows

HUB = "en"
END = "<|endoftext|>"
# Words with their leading space, marks (Devanagari vowels) with their letter; digits one by one; punctuation alone.
_WORDS = r"\s?[\p{L}\p{M}]+|\p{N}|\s?[^\s\p{L}\p{M}\p{N}]+|\s+"


def load_settings() -> dict[str, Any]:
    """The settings in `tiny.yaml`."""
    settings: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("tiny.yaml").read_text(encoding="utf-8"))
    return settings


def pretraining_texts(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """(id, text) of every document: single sentences, and bitext for a hash-chosen share of the rows."""
    seed, share = settings["seed"], settings["training"]["bitext_share"]
    documents = []
    for row in rows("pretrain"):
        documents += [(f"{row.id} {code}", text) for code, text in row.texts.items()]
        documents += [
            (f"{row.id} {direction}", bitext(row, direction))
            for direction in _hub_directions(row)
            if uniform(seed, "bitext", row.id, str(direction)) < share
        ]
    return documents


def bitext(row: PhrasebookRow, direction: Direction) -> str:
    """A sentence pair in the form of LMT's continued pre-training."""
    template = prompts.get_template("lmt-cpt")
    prompt = prompts.render(template, direction, row.texts[direction.source])
    return prompt.text + template.separator + row.texts[direction.target]


def _hub_directions(row: PhrasebookRow) -> Iterator[Direction]:
    for code in row.texts:
        if code != HUB:
            yield Direction(code, HUB)
            yield Direction(HUB, code)


def make_tokenizer(documents: list[tuple[str, str]], settings: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the documents and the words of the prompts; any text comes back unchanged."""
    words = [template.text for template in prompts.TEMPLATES.values()]
    words += [language.name for language in languages.all_languages() if language.dat or language.lmt]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings["tokenizer"]["vocabulary"],
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text for _, text in documents] + words * 200, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


def make_model(settings: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """The untrained model, its weights drawn from the seed."""
    shape = settings["model"]
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape["width"],
        intermediate_size=shape["mlp_width"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["key_value_heads"],
        head_dim=shape["head_dim"],
        max_position_embeddings=shape["max_positions"],
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(derive_seed(settings["seed"], "tiny", "init") % 2**32)
    return Qwen3ForCausalLM(config)


def pack(documents: list[tuple[str, str]], tokenizer: PreTrainedTokenizerFast, length: int) -> list[torch.Tensor]:
    """Documents of about equal length side by side: [documents, tokens] blocks, right-padded, at most `length` wide."""
    encoded = [[*ids, tokenizer.eos_token_id] for ids in tokenizer([text for _, text in documents])["input_ids"]]
    return [torch.tensor(ids[:length]) for ids in encoded]


def batches(order: list[int], encoded: list[torch.Tensor], budget: int, seed: int) -> list[list[int]]:
    """Batches of at most `budget` tokens with padding; lengths are sorted within windows, batches then shuffled."""
    window = 4096
    found: list[list[int]] = []
    for start in range(0, len(order), window):
        current: list[int] = []
        for index in sorted(order[start : start + window], key=lambda i: len(encoded[i])):
            if current and (len(current) + 1) * len(encoded[index]) > budget:
                found.append(current)
                current = []
            current.append(index)
        found.append(current)
    return [found[i] for i in stable_order(seed, [str(i) for i in range(len(found))], "batches")]


def train(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: list[tuple[str, str]],
    settings: dict[str, Any],
) -> list[dict[str, float]]:
    """Next-token training over all documents; returns one log record per hundred steps."""
    options, seed = settings["training"], settings["seed"]
    encoded = pack(documents, tokenizer, options["sequence_tokens"])
    ids = [document_id for document_id, _ in documents]
    schedule = [
        batch
        for epoch in range(options["passes"])
        for batch in batches(
            stable_order(seed, ids, "pretrain", epoch),
            encoded,
            options["batch_tokens"],
            derive_seed(seed, "epoch", epoch),
        )
    ]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": options["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options["lr"], betas=(0.9, 0.98), fused=True)
    warmup = max(1, round(options["warmup"] * len(schedule)))
    log, losses, start, num_tokens = [], [], time.monotonic(), 0
    model.train()
    for step, batch in enumerate(schedule):
        rate = min((step + 1) / warmup, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / len(schedule))))
        for group in optimizer.param_groups:
            group["lr"] = options["lr"] * rate
        tokens = torch.nn.utils.rnn.pad_sequence([encoded[i] for i in batch], batch_first=True, padding_value=-100)
        real = tokens != -100
        loss = model(input_ids=tokens.clamp_min(0), attention_mask=real.long(), labels=tokens, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        num_tokens += int(real.sum())
        if (step + 1) % 100 == 0 or step + 1 == len(schedule):
            seconds = time.monotonic() - start
            record = {"step": step + 1, "loss": round(sum(losses) / len(losses), 4)}
            print(f"{record} of {len(schedule)}, {num_tokens / seconds:.0f} tokens/s", file=sys.stderr, flush=True)
            log.append(record)
            losses.clear()
    return log


def main() -> None:
    """Make the model in the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    settings = load_settings()
    documents = pretraining_texts(settings)
    tokenizer = make_tokenizer(documents, settings)
    model = make_model(settings, tokenizer)
    log = train(model, tokenizer, documents, settings)
    model.eval().to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(
        folder / "training.json",
        {
            "settings": settings,
            "documents": len(documents),
            "documents_digest": digest_of(canonical_json(documents)),
            "parameters": sum(p.numel() for p in model.parameters()),
            "torch": torch.__version__,
            "log": log,
        },
    )


if __name__ == "__main__":
    main()
