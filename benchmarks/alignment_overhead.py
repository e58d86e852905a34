"""What aligning representations costs beside fine-tuning: time and memory of our whole-model trainer.

Sides, each in a fresh process, taking turns in every repeat, all on the same examples in the same order:

* `plain`: the language model's loss alone, a step in one pass; `plain-parts`: in passes of `--micro-batch-tokens`.
* `aligned`: both alignment losses, all examples of a step contrasted, a step in one pass and one graph.
* `aligned-parts`: the same losses in the memory of `plain-parts`: passes without gradients give all states, then passes
  with gradients follow.

Examples have `--length` tokens each, of which nearly half are the source sentence and nearly half the target; they are
of random tokens, in `--languages` languages. Weights are random, fp32, AdamW; arithmetic is bf16 on a GPU. Peak memory
is of the whole process on a CPU, of tensors on a GPU. Ratios compare a side with its plain twin in the same repeat; the
median of the repeats is told, with the lowest and the highest. The first steps are not timed.

    python benchmarks/alignment_overhead.py
    python benchmarks/alignment_overhead.py --device cuda --shape qwen3-0.6b --batch 128 --length 512
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bank_speed import base_sizes, in_fresh_process
from bank_workload import HUB_SHAPES, SMALL_SHAPES, base_config
from pretrain_speed import WARMUP_STEPS, stopwatch
from tabulate import tabulate

if TYPE_CHECKING:
    from hexapla.train.full.examples import Lesson

TWINS = {"plain": "plain", "aligned": "plain", "plain-parts": "plain-parts", "aligned-parts": "plain-parts"}
PROMPT_TOKENS = 4  # before the source sentence, and between it and the target


def main() -> None:
    """Measure every side and print a table of them."""
    options = parse_options()
    sizes = in_fresh_process(options.threads, base_sizes, options.shape)
    print(
        f"{options.device}, {options.threads} threads; {options.shape}: {sizes['base'] / 1e6:.1f} M parameters; "
        f"{options.steps} steps of {options.batch} examples of {options.length} tokens, parts of "
        f"{options.micro_batch_tokens} tokens, {options.repeats} repeats",
        flush=True,
    )
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in TWINS}
    for _ in range(options.repeats):
        for side in TWINS:
            runs[side].append(in_fresh_process(options.threads, run_side, side, options))
    print(tabulate([row(side, runs) for side in TWINS], headers="keys", disable_numparse=True))


def parse_options() -> argparse.Namespace:
    """The command line, with the defaults that depend on the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=[*SMALL_SHAPES, *HUB_SHAPES], help="default: tiny, on a GPU qwen3-0.6b")
    parser.add_argument("--batch", type=int, help="examples a step; default: 32, on a GPU 128")
    parser.add_argument("--length", type=int, help="tokens of an example; default: 64, on a GPU 512")
    parser.add_argument("--micro-batch-tokens", type=int, help="of the sides in parts; default: 512, on a GPU 8192")
    parser.add_argument("--languages", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gradient-checkpointing", action="store_true", help="on all sides")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.shape = options.shape or ("qwen3-0.6b" if on_gpu else "tiny")
    options.batch = options.batch or (128 if on_gpu else 32)
    options.length = options.length or (512 if on_gpu else 64)
    options.micro_batch_tokens = options.micro_batch_tokens or (8192 if on_gpu else 512)
    return options


def row(side: str, runs: dict[str, list[dict[str, float]]]) -> dict[str, str]:
    """A side's line of the table."""
    own, twin = runs[side], runs[TWINS[side]]
    if not own[0]:
        return {"side": side, "s/step": "out of memory"}

    def median(field: str) -> float:
        return statistics.median(run[field] for run in own)

    told = {"side": side, "s/step": f"{median('seconds'):.3f}", "peak GiB": f"{median('peak_gib'):.2f}"}
    for heading, field in (("time ratio", "seconds"), ("memory ratio", "peak_gib")):
        ratios = [mine[field] / plain[field] for mine, plain in zip(own, twin, strict=True) if plain]
        if side != TWINS[side] and ratios:
            told[heading] = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    return told


def run_side(side: str, options: argparse.Namespace) -> dict[str, float]:
    """Train with one side: seconds a step and peak memory; nothing where memory does not suffice."""
    import resource

    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    try:
        with tempfile.TemporaryDirectory() as folder:
            times = train(side, options, Path(folder))
    except torch.OutOfMemoryError:
        return {}
    if options.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": (times[-1] - times[WARMUP_STEPS - 1]) / options.steps, "peak_gib": peak}


def train(side: str, options: argparse.Namespace, folder: Path) -> list[float]:
    """Times of the updates."""
    import torch
    from transformers import AutoModelForCausalLM

    from hexapla.base import Base
    from hexapla.common.progress import EventLog
    from hexapla.representations.layers import resolve_layer
    from hexapla.train.align.objectives import AlignmentSpec
    from hexapla.train.align.spec import AlignSpec
    from hexapla.train.full.examples import ExampleBatches
    from hexapla.train.full.model import PackedModel
    from hexapla.train.full.run import Place, _arguments
    from hexapla.train.full.trainer import Course, PackedTrainer
    from hexapla.train.lora import checkpoint_layers

    torch.manual_seed(0)
    config = base_config(options.shape)
    config.use_cache = False
    with torch.device(options.device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa").eval()
    objectives = AlignmentSpec() if side.startswith("aligned") else None
    layer = None if objectives is None else resolve_layer(objectives.layer, config.num_hidden_layers, where="align")
    packed = PackedModel(model, layer)
    model.requires_grad_(True)
    if options.gradient_checkpointing:
        checkpoint_layers(model)
    at_once = options.micro_batch_tokens if side.endswith("parts") else options.batch * options.length
    spec = AlignSpec(batch=options.batch, micro_batch_tokens=at_once, checkpoint_every_s=1e9)
    lesson = make_lesson(options, config.vocab_size)
    open_batches: Any = partial(ExampleBatches, lesson, 0, apart=True, aligned=objectives is not None)
    course = Course("benchmark", open_batches, spec, None, 0, "", folder, objectives)
    place = Place(Base("none/none"), torch.device(options.device), "align")
    trainer = PackedTrainer(packed, course, EventLog(None), _arguments(course, place))
    callback, times = stopwatch(options.device)
    trainer.add_callback(callback)
    trainer.complete()
    return times


def make_lesson(options: argparse.Namespace, vocabulary: int) -> Lesson:
    """Examples of random tokens, each in another direction than the one before."""
    from hexapla.languages import Direction
    from hexapla.train.encoding import EncodedExample
    from hexapla.train.full.examples import Lesson

    rng = np.random.default_rng(0)
    half = (options.length - 2 * PROMPT_TOKENS - 1) // 2
    examples = []
    for number in range(options.batch * (options.steps + WARMUP_STEPS)):
        ids = rng.integers(2, vocabulary, options.length, dtype=np.int32)
        source, target = f"x{number % options.languages}", f"x{(number + 1) % options.languages}"
        num_prompt = 2 * PROMPT_TOKENS + half
        examples.append(
            EncodedExample(
                f"row#{number} {source}-{target}",
                ids,
                num_prompt,
                Direction(source, target),
                (PROMPT_TOKENS, PROMPT_TOKENS + half),
            )
        )
    return Lesson("benchmark", examples, options.batch, 1, "")


if __name__ == "__main__":
    main()
