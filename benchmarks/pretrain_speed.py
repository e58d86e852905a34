"""Speed of continued pre-training: our whole-model trainer on packed text against plain HF Trainer without packing.

Sides, each in a fresh process, all on the same documents in the same order:

* `hexapla`: packed sequences without cross-talk, logits at learned tokens, through our subclass of Trainer.
* `hf-longest`: HF Trainer, a row a document, rows padded to the longest of their micro-batch.
* `hf-length`: HF Trainer, rows padded to `--length`.

A step's documents are those that make `--batch` packed sequences. Trainer's rows at once are as many as keep the mean
padded micro-batch within `--micro-batch-tokens`. Documents are of random tokens with the lengths of LMT's mix: a third
of all tokens in texts (log-normal, mean 400), the rest in sentence pairs (mean 90). Weights are random, fp32, AdamW;
arithmetic is bf16 on a GPU. Tokens are counted without padding. Utilisation is 6·N FLOP a token (N: weights that a
token is multiplied with; attention scores are left out on all sides) over the rate of large matrix products, measured
on the same machine before. The first steps are not timed.

    python benchmarks/pretrain_speed.py --shape tiny
    python benchmarks/pretrain_speed.py --device cuda --shape qwen3-0.6b qwen3-4b
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bank_speed import base_sizes, in_fresh_process, matmul_flops
from bank_workload import HUB_SHAPES, SMALL_SHAPES, base_config
from tabulate import tabulate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hexapla.train.full.batches import PackedSequence

SIDES = ("hf-longest", "hf-length", "hexapla")
WARMUP_STEPS = 2
TEXTS, PAIRS = (400, 0.9), (90, 0.46)  # mean length in tokens, deviation of its logarithm
SHORTEST = 8


def main() -> None:
    """Measure every shape and print a table of it."""
    options = parse_options()
    dtype = "bf16" if options.device == "cuda" else "fp32"
    rate = in_fresh_process(options.threads, matmul_flops, options.device, dtype)
    print(f"{options.device}, {dtype}, {options.threads} threads; matrix products {rate / 1e12:.3g} TFLOP/s")
    for shape in options.shape:
        sizes = in_fresh_process(options.threads, base_sizes, shape)
        documents = make_documents(options, base_config(shape).vocab_size)
        mean = np.mean([len(document) for step in documents for sequence in step for document in sequence])
        print(
            f"\n{shape}: {sizes['base'] / 1e6:.1f} M parameters; {options.steps} steps of {options.batch} sequences of "
            f"at most {options.length} tokens, documents of {mean:.0f} on average"
        )
        rows = []
        for side in options.sides:
            run = in_fresh_process(options.threads, run_side, side, shape, documents, options)
            utilisation = 6 * sizes["multiplied"] * run["tokens_per_s"] / rate
            rows.append({"side": side, **run, "utilisation": utilisation})
        table = [
            {
                "side": row["side"],
                "tokens/s": f"{row['tokens_per_s']:.0f}",
                "utilisation": f"{row['utilisation']:.1%}",
                "padding": f"{row['padding']:.1%}",
                "peak GiB": f"{row['peak_gib']:.2f}",
                "times faster": f"{rows[-1]['tokens_per_s'] / row['tokens_per_s']:.2f}",
            }
            for row in rows
        ]
        print(tabulate(table, headers="keys", disable_numparse=True), flush=True)


def parse_options() -> argparse.Namespace:
    """The command line, with the defaults that depend on the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=[*SMALL_SHAPES, *HUB_SHAPES], help="default: tiny, qwen3-0.6b")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--length", type=int, help="default: 512, on a GPU 2048")
    parser.add_argument("--batch", type=int, help="packed sequences a step; default: 8, on a GPU 64")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--micro-batch-tokens", type=int, help="default: 1024, on a GPU 16384")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="on all sides")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.shape = options.shape or (["qwen3-0.6b"] if on_gpu else ["tiny"])
    options.length = options.length or (2048 if on_gpu else 512)
    options.batch = options.batch or (64 if on_gpu else 8)
    options.micro_batch_tokens = options.micro_batch_tokens or (16384 if on_gpu else 1024)
    return options


def make_documents(options: argparse.Namespace, vocabulary: int) -> list[list[list[np.ndarray]]]:
    """Documents by step and packed sequence; one that no longer fits begins the next sequence."""
    rng = np.random.default_rng(0)
    share = (1 / 3 / TEXTS[0]) / (1 / 3 / TEXTS[0] + 2 / 3 / PAIRS[0])  # of documents that are texts
    sequences: list[list[np.ndarray]] = [[]]
    room = options.length
    num_sequences = options.batch * (options.steps + WARMUP_STEPS)
    while True:
        mean, deviation = TEXTS if rng.random() < share else PAIRS
        drawn = rng.lognormal(np.log(mean) - deviation**2 / 2, deviation)
        length = int(np.clip(drawn, SHORTEST, options.length))
        if length > room:
            if len(sequences) == num_sequences:
                break
            sequences.append([])
            room = options.length
        sequences[-1].append(rng.integers(2, vocabulary, length, dtype=np.int32))
        room -= length
    return [sequences[start : start + options.batch] for start in range(0, num_sequences, options.batch)]


def run_side(
    side: str, shape: str, documents: list[list[list[np.ndarray]]], options: argparse.Namespace
) -> dict[str, float]:
    """Train with one side: tokens a second without padding, share of padding, peak memory."""
    import resource

    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    config = base_config(shape)
    config.use_cache = False
    with torch.device(options.device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    with tempfile.TemporaryDirectory() as folder:
        train = hexapla_side if side == "hexapla" else partial(trainer_side, side)
        times, num_tokens, padding = train(model.eval(), documents, options, Path(folder))
    if options.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"tokens_per_s": num_tokens / (times[-1] - times[WARMUP_STEPS - 1]), "padding": padding, "peak_gib": peak}


def stopwatch(device: str) -> Any:
    """A callback that notes the time after every update, and its list of times."""
    import torch
    from transformers import TrainerCallback

    times: list[float] = []

    class Stopwatch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    return Stopwatch, times


class DocumentBatches:
    """The documents as packed sequences; see `hexapla.train.full.batches.Batches`."""

    def __init__(self, documents: list[list[list[np.ndarray]]]) -> None:
        self.sources: tuple[str, ...] = ("text",)
        self._documents = documents

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, step: int) -> list[PackedSequence]:
        from hexapla.train.full.packing import join_documents

        return [join_documents(each, [1] * len(each), [0] * len(each)) for each in self._documents[step]]

    def digest(self) -> str:
        """Nothing depends on it here."""
        return ""


def hexapla_side(
    model: PreTrainedModel, documents: list[list[list[np.ndarray]]], options: argparse.Namespace, folder: Path
) -> tuple[list[float], int, float]:
    """Our trainer: times of the updates, tokens of the timed ones, and no padding."""
    import torch

    from hexapla.base import Base
    from hexapla.common.progress import EventLog
    from hexapla.train.full.model import PackedModel
    from hexapla.train.full.run import Place, _arguments
    from hexapla.train.full.trainer import Course, PackedTrainer
    from hexapla.train.lora import checkpoint_layers
    from hexapla.train.pretrain.spec import PretrainSpec

    packed = PackedModel(model)
    model.requires_grad_(True)
    if options.gradient_checkpointing:
        checkpoint_layers(model)
    spec = PretrainSpec(micro_batch_tokens=options.micro_batch_tokens, checkpoint_every_s=1e9)
    course = Course("benchmark", partial(DocumentBatches, documents), spec, None, 0, "", folder)
    place = Place(Base("none/none"), torch.device(options.device), "pretrain")
    trainer = PackedTrainer(packed, course, EventLog(None), _arguments(course, place))
    callback, times = stopwatch(options.device)
    trainer.add_callback(callback)
    trainer.complete()
    num_tokens = sum(len(document) for step in documents[WARMUP_STEPS:] for sequence in step for document in sequence)
    return times, num_tokens, 0.0


def trainer_side(
    side: str,
    model: PreTrainedModel,
    documents: list[list[list[np.ndarray]]],
    options: argparse.Namespace,
    folder: Path,
) -> tuple[list[float], int, float]:
    """Plain Trainer: times of the updates, tokens of the timed ones, and the share of padding.

    Its steps have equally many documents each: as many whole micro-batches as the mean of ours holds.
    """
    from transformers import PrinterCallback, Trainer, TrainingArguments

    flat = [document for step in documents for sequence in step for document in sequence]
    rows = num_rows(side, flat, options)
    accumulation = max(1, int(len(flat) / len(documents) / rows))
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        max_steps=len(documents),
        learning_rate=2e-5,
        weight_decay=0.01,
        lr_scheduler_type="cosine",
        train_sampling_strategy="sequential",
        bf16=options.device == "cuda",
        use_cpu=options.device == "cpu",
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable()
        model.train()
    features = [{"input_ids": document} for document in flat]
    longest = options.length if side == "hf-length" else None
    trainer = Trainer(model, arguments, partial(collate, length=longest), train_dataset=features)
    trainer.remove_callback(PrinterCallback)
    callback, times = stopwatch(options.device)
    trainer.add_callback(callback)
    trainer.train()
    timed = flat[WARMUP_STEPS * rows * accumulation : len(documents) * rows * accumulation]
    num_tokens = sum(map(len, timed))
    return times, num_tokens, 1 - num_tokens / sum(padded_sizes(side, timed, rows, options.length))


def num_rows(side: str, documents: list[np.ndarray], options: argparse.Namespace) -> int:
    """Rows at once: as many as keep the mean padded micro-batch within its tokens, at least one."""
    rows = 1
    while np.mean(padded_sizes(side, documents, 2 * rows, options.length)) <= options.micro_batch_tokens:
        rows *= 2
    return rows


def padded_sizes(side: str, documents: list[np.ndarray], rows: int, length: int) -> list[int]:
    """Tokens of every micro-batch, padding included."""
    parts = [documents[start : start + rows] for start in range(0, len(documents), rows)]
    return [len(part) * (length if side == "hf-length" else max(map(len, part))) for part in parts]


def collate(features: list[dict[str, np.ndarray]], length: int | None) -> dict[str, Any]:
    """Ids, mask and labels padded on the right, to `length` or to the longest."""
    import torch

    lengths = [len(feature["input_ids"]) for feature in features]
    ids = torch.zeros(len(features), length or max(lengths), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, feature in enumerate(features):
        tokens = torch.from_numpy(feature["input_ids"]).long()
        ids[row, : len(tokens)] = labels[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


if __name__ == "__main__":
    main()
