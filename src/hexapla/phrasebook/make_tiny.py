"""Make `builtin:tiny`: a Qwen3-architecture model of 1.6 million parameters with its own tokenizer.

First it is pre-trained on single phrasebook sentences in every language, with a few sentence pairs, then continued on
more pairs, written as in LMT's continued pre-training (arXiv 2511.07003): `<en2de> SOURCE <de> TARGET`; at last it
meets the languages' names, before single sentences. Only the split `pretrain` is read, so nothing that post-training or
tests use has been seen, and no instruction is. The settings are `tiny.yaml` beside this file.

    python -m hexapla.phrasebook.make_tiny FOLDER
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from hexapla import languages, prompts
from hexapla.common.artifacts import digest_of, write_json
from hexapla.common.seeds import derive_seed, stable_order, uniform
from hexapla.languages import Direction
from hexapla.phrasebook.corpus import PhrasebookRow, rows
from hexapla.phrasebook.language import codes as phrasebook_codes

HUB = "en"
END = "<|endoftext|>"
# Words with their leading space, marks (Devanagari vowels) with their letter; digits one by one; punctuation alone.
_WORDS = r"\s?[\p{L}\p{M}]+|\p{N}|\s?[^\s\p{L}\p{M}\p{N}]+|\s+"


@dataclass(frozen=True)
class Document:
    """A text to learn, behind a context that is read but not learned."""

    id: str
    context: str
    text: str


def load_settings() -> dict[str, Any]:
    """The settings in `tiny.yaml`."""
    settings: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("tiny.yaml").read_text(encoding="utf-8"))
    return settings


def phase_documents(phase: dict[str, Any], seed: int) -> list[Document]:
    """The documents of one phase: single sentences, and pairs, of hash-chosen shares of the rows."""
    documents = []
    for row in rows("pretrain"):
        documents += [
            sentence(row, code, named=uniform(seed, "named", row.id, code) < phase["named_share"])
            for code in row.texts
            if uniform(seed, "monolingual", row.id, code) < phase["monolingual_share"]
        ]
        documents += [
            bitext(row, direction, phase["pairs_learn"])
            for direction in _hub_directions(row)
            if uniform(seed, "bitext", row.id, str(direction)) < phase["bitext_share"]
        ]
    return documents


def sentence(row: PhrasebookRow, code: str, *, named: bool) -> Document:
    """A single sentence, or with the name of its language before it: prompts ask for languages by name."""
    name = f"{languages.get(code).name}: " if named else ""
    return Document(f"{row.id} {code}", "", name + row.texts[code])


def bitext(row: PhrasebookRow, direction: Direction, learn: str) -> Document:
    """A sentence pair as in LMT's continued pre-training, learned as a whole (`text`) or from its `target` on."""
    template = prompts.get_template("lmt-cpt")
    prompt = prompts.render(template, direction, row.texts[direction.source]).text
    target = template.separator + row.texts[direction.target]
    identity = f"{row.id} {direction}"
    return Document(identity, prompt, target) if learn == "target" else Document(identity, "", prompt + target)


def _hub_directions(row: PhrasebookRow) -> Iterator[Direction]:
    for code in row.texts:
        if code != HUB:
            yield Direction(code, HUB)
            yield Direction(HUB, code)


def make_tokenizer(documents: list[Document], settings: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the documents and the words of the prompts; any text comes back unchanged."""
    # What every prompt repeats should cost few tokens: the templates are shown without a source.
    template = prompts.get_template("alma")
    codes = [code for code in phrasebook_codes() if code != HUB]
    frames = [prompts.render(template, Direction(HUB, code), "").text for code in codes]
    frames += [prompts.render(template, Direction(code, HUB), "").text for code in codes]
    names = [language.name for language in languages.all_languages() if language.dat or language.lmt]
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
    tokenizer.train_from_iterator([document.text for document in documents] + frames * 50 + names * 50, trainer)
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


def encode(documents: list[Document], tokenizer: PreTrainedTokenizerFast) -> list[tuple[torch.Tensor, int]]:
    """Token ids of every document with its end, and how many of them are context."""
    contexts = tokenizer([document.context for document in documents])["input_ids"]
    texts = tokenizer([document.text for document in documents])["input_ids"]
    return [
        (torch.tensor([*context, *text, tokenizer.eos_token_id]), len(context))
        for context, text in zip(contexts, texts, strict=True)
    ]


def batches(order: list[int], lengths: list[int], budget: int, seed: int) -> list[list[int]]:
    """Batches of at most `budget` tokens with padding; lengths are sorted within windows, batches then shuffled."""
    window = 4096
    found: list[list[int]] = []
    for start in range(0, len(order), window):
        current: list[int] = []
        for index in sorted(order[start : start + window], key=lambda i: lengths[i]):
            if current and (len(current) + 1) * lengths[index] > budget:
                found.append(current)
                current = []
            current.append(index)
        found.append(current)
    return [found[i] for i in stable_order(seed, [str(i) for i in range(len(found))], "batches")]


def train(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: list[Document],
    phase: dict[str, Any],
    seed: int,
) -> list[dict[str, float]]:
    """Next-token training over the documents of one phase; returns one log record per hundred steps."""
    encoded = encode(documents, tokenizer)
    lengths = [len(tokens) for tokens, _ in encoded]
    ids = [document.id for document in documents]
    schedule = [
        batch
        for epoch in range(phase["passes"])
        for batch in batches(
            stable_order(seed, ids, "pretrain", epoch),
            lengths,
            phase["batch_tokens"],
            derive_seed(seed, "epoch", epoch),
        )
    ]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": phase["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=phase["lr"], betas=(0.9, 0.98), fused=True)
    warmup = max(1, round(phase["warmup"] * len(schedule)))
    log, losses, start, num_tokens = [], [], time.monotonic(), 0
    model.train()
    for step, batch in enumerate(schedule):
        rate = min((step + 1) / warmup, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / len(schedule))))
        for group in optimizer.param_groups:
            group["lr"] = phase["lr"] * rate
        loss = batch_loss(model, [encoded[i] for i in batch])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        num_tokens += sum(lengths[i] for i in batch)
        if (step + 1) % 100 == 0 or step + 1 == len(schedule):
            seconds = time.monotonic() - start
            record = {"step": step + 1, "loss": round(sum(losses) / len(losses), 4)}
            print(f"{record} of {len(schedule)}, {num_tokens / seconds:.0f} tokens/s", file=sys.stderr, flush=True)
            log.append(record)
            losses.clear()
    return log


def batch_loss(model: Qwen3ForCausalLM, batch: list[tuple[torch.Tensor, int]]) -> torch.Tensor:
    """Mean cross-entropy of the learned tokens; logits are made for these only.

    Padding is on the right and not learned, so causal attention needs no mask.
    """
    tokens_BT = torch.nn.utils.rnn.pad_sequence([tokens for tokens, _ in batch], batch_first=True)
    learned_BT = torch.zeros_like(tokens_BT, dtype=torch.bool)
    for row, (tokens, num_context) in enumerate(batch):
        learned_BT[row, num_context : len(tokens)] = True
    learned_BT[:, 0] = False  # nothing predicts the first token
    states_BTD = model.model(input_ids=tokens_BT, use_cache=False).last_hidden_state
    logits_NV = model.lm_head(states_BTD[:, :-1][learned_BT[:, 1:]])
    return torch.nn.functional.cross_entropy(logits_NV, tokens_BT[learned_BT])


def main() -> None:
    """Make the model in the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    settings = load_settings()
    seed, phases = settings["seed"], settings["phases"]
    tokenizer = make_tokenizer(phase_documents(phases[0], seed), settings)
    model = make_model(settings, tokenizer)
    records = []
    for phase in phases:
        documents = phase_documents(phase, seed)
        log = train(model, tokenizer, documents, phase, seed)
        # Every phase leaves weights as they are saved, so that the next could also start from a file.
        model.to(torch.bfloat16).to(torch.float32)
        digest = digest_of([[document.id, document.context, document.text] for document in documents])
        records.append({"documents": len(documents), "documents_digest": digest, "log": log})
    model.eval().to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    write_json(
        folder / "training.json",
        {"settings": settings, "parameters": parameters, "torch": torch.__version__, "phases": records},
    )


if __name__ == "__main__":
    main()
