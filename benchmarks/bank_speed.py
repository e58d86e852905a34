"""Speed and memory of training a pool of adapters: one by one with peft, with HF Trainer, and in the bank.

Sides, each in a fresh process, all on the same token ids in the same batches:

* `peft`: a plain loop. The model is loaded once and its adapter initialised anew for every adapter; batches padded on
  the right with a mask, logits of all tokens through the model's own loss, fused AdamW, clipping, warm-up.
* `peft-packed`: the same with the sequences of a batch end to end, no padding.
* `peft-target-logits`: our one-by-one trainer: logits of target tokens only, sequences of like lengths together.
* `hf-trainer`: HF Trainer with its own speed settings, a process an adapter. Needs `accelerate`.
* `bank`: ours, in one process with all threads.
* `bank-processes`: ours as it shares a CPU out by itself, a process of one thread for each of them.

Bases are Qwen3 configurations with random weights. Tiny has 6,144 vocabulary entries, small 16,384, 60m 32,768: what
multilingual tokenizers for models of such sizes have. This matters: the larger the vocabulary, the more is saved by
computing logits of target tokens only, so a hub model's 150,000 entries on these bodies would flatter the bank.

Tokens are counted without padding. Ratios (how many times faster the last of `--sides` is) compare wall time in the
same repeat, the sides taking turns; the processor's ratio is less disturbed by other programs. "For a pool" counts
start-up too, once for the pool, for `hf-trainer` with every adapter, where an adapter has `--adapter-tokens`; start-up
is process, imports and random weights instead of read ones. Memory: "beyond base" is the peak less that with the base
alone; what the bank may take there is the state printed above the table plus one micro-batch's activations.

    python benchmarks/bank_speed.py --shape tiny small 60m --adapters 4 16 48 --batch 2 8 16 --sides peft bank-processes
    python benchmarks/bank_speed.py --device cuda --shape qwen3-0.6b --sides peft-packed hf-trainer bank
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bank_baselines import plain_loop, target_logits_loop, trainer_loop
from bank_workload import (
    HUB_SHAPES,
    RANK,
    SMALL_SHAPES,
    Cell,
    Meter,
    base_config,
    count_tokens,
    make_base,
    make_workload,
    train_spec,
)
from tabulate import tabulate

if TYPE_CHECKING:
    from hexapla.train.encoding import EncodedExample
    from hexapla.train.task import PreparedTask

SIDES = ("peft", "peft-packed", "peft-target-logits", "hf-trainer", "bank", "bank-processes")
STATE_BYTES = 4 * 4  # of one fp32 parameter of an adapter: value, gradient, two moments


def main() -> None:
    """Measure every cell and print a table of them."""
    options = parse_options()
    rate = in_fresh_process(options.threads, matmul_flops, options.device, options.dtype)
    print(
        f"{options.device}, {options.dtype}, {options.threads} threads, {options.repeats} repeats; "
        f"matrix products {rate / 1e12:.3g} TFLOP/s"
    )
    measured: list[dict[str, Any]] = []
    for shape in options.shape:
        sizes = in_fresh_process(options.threads, base_sizes, shape)
        print(describe_base(shape, sizes, options), flush=True)
        rows: list[dict[str, str]] = []
        try:
            for num_adapters, batch in itertools.product(options.adapters, options.batch):
                cell = make_cell(shape, num_adapters, batch, options)
                runs = measure(cell, options.sides, options.repeats)
                measured.append({"cell": vars(cell), "sizes": sizes, "matmul_flops": rate, "runs": runs})
                rows += [row(measured[-1], side, options) for side in options.sides]
                print(f"K {num_adapters}, batch {batch}: done", file=sys.stderr, flush=True)
        finally:  # hours of cells are not lost with the last of them
            print(tabulate(rows, headers="keys", disable_numparse=True), flush=True)
            if options.json:
                options.json.write_text(json.dumps({"versions": versions(options.sides), "cells": measured}, indent=1))


def parse_options() -> argparse.Namespace:
    """The command line, with the defaults that depend on the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=[*SMALL_SHAPES, *HUB_SHAPES], help="default: tiny, qwen3-0.6b")
    parser.add_argument("--adapters", nargs="+", type=int, help="default: 4 16 48, on a GPU 57")
    parser.add_argument("--batch", nargs="+", type=int, help="of each adapter; default: 2 8 16, on a GPU 128")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["peft", "hf-trainer", "bank-processes"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--dtype", choices=["fp32", "bf16"], help="of base and arithmetic; default: fp32, on a GPU bf16"
    )
    parser.add_argument("--tokens", type=int, help="of a pool, and enough for a baseline; default: by shape")
    parser.add_argument("--min-steps", type=int, default=1, help="batches of an adapter at least, on average")
    parser.add_argument("--micro-batch", type=int, help="sequences at once for baselines; default: batch, GPU by shape")
    parser.add_argument(
        "--adapter-tokens", type=int, default=240_000, help="for 'for a pool': 4,000 pairs of 60 tokens"
    )
    parser.add_argument("--packed-attention", default="sdpa", help="transformers' attention for peft-packed")
    parser.add_argument("--json", type=Path, help="write every run here")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.shape = options.shape or (["qwen3-0.6b"] if on_gpu else ["tiny"])
    options.adapters = options.adapters or ([57] if on_gpu else [4, 16, 48])
    options.batch = options.batch or ([128] if on_gpu else [2, 8, 16])
    options.dtype = options.dtype or ("bf16" if on_gpu else "fp32")
    return options


def make_cell(shape: str, num_adapters: int, batch: int, options: argparse.Namespace) -> Cell:
    """The cell, with the shape's defaults."""
    micro_batch = options.micro_batch or (HUB_SHAPES[shape][1] if shape in HUB_SHAPES else batch)
    return Cell(
        shape=shape,
        num_adapters=num_adapters,
        batch=batch,
        tokens=options.tokens or (HUB_SHAPES | SMALL_SHAPES)[shape][-1],
        min_steps=options.min_steps,
        threads=options.threads,
        device=options.device,
        dtype=options.dtype,
        micro_batch=min(micro_batch, batch),
        packed_attention=options.packed_attention,
    )


def measure(cell: Cell, sides: list[str], repeats: int) -> dict[str, list[dict[str, float]]]:
    """The runs of every side; the sides take turns, so that a slow minute of the machine strikes all of them."""
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side in sides:
            if side == "bank-processes":
                runs[side].append(in_processes(cell))
            else:
                runs[side].append(in_fresh_process(cell.threads, run_side, side, cell, time.monotonic()))
    return runs


def in_processes(cell: Cell) -> dict[str, float]:
    """The bank's adapters shared out to processes of one thread each, which begin to be timed together."""
    number = min(cell.threads, cell.num_adapters)
    context = multiprocessing.get_context("spawn")
    with context.Pool(number, take_part, (context.Barrier(number),)) as workers:
        calls = [(cell, (place, number), time.monotonic()) for place in range(number)]
        parts = workers.starmap(run_part, calls, chunksize=1)
    lasting = {"wall_s", "startup_s"}  # of processes side by side the longest counts, of everything else the sum
    return {key: (max if key in lasting else sum)(part[key] for part in parts) for key in parts[0]}


def take_part(barrier: Any) -> None:
    """Become one of several processes that wait for each other at `barrier`."""
    global together
    together = barrier
    set_threads(1)


def run_part(cell: Cell, part: tuple[int, int], launched: float) -> dict[str, float]:
    """One process's share of the bank."""
    meter = Meter(cell, launched)
    bank_side(cell, meter, part, together.wait)
    return meter.result()


def in_fresh_process(threads: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a process of its own with so many threads."""
    with multiprocessing.get_context("spawn").Pool(1, set_threads, (threads,)) as workers:
        return workers.apply(function, arguments)


def set_threads(threads: int) -> None:
    """Use so many threads in this process."""
    import torch

    torch.set_num_threads(threads)


def run_side(side: str, cell: Cell, launched: float) -> dict[str, float]:
    """Train with one side and return what its meter says."""
    import peft  # noqa: F401 - its memory belongs to the start, not to training
    import transformers

    transformers.logging.set_verbosity_error()
    meter = Meter(cell, launched)
    if side in ("peft", "peft-packed"):
        plain_loop(cell, meter, packed=side == "peft-packed")
    elif side == "peft-target-logits":
        target_logits_loop(cell, meter)
    elif side == "hf-trainer":
        trainer_loop(cell, meter)
    else:
        bank_side(cell, meter)
    return meter.result()


def bank_side(cell: Cell, meter: Meter, part: tuple[int, int] = (0, 1), wait: Callable[[], Any] = lambda: None) -> None:
    """Hexapla's bank: the whole pool at once, as `hexapla run` trains a wave, checkpoints by the clock included.

    Of several processes, `part` is (this one's number, how many); `wait` is called before time counts.

    The bank orders an adapter's sequences by hashes: the same sequences and numbers of steps as on the other sides, the
    batches of other sequences.
    """
    from hexapla.adapter import LoraSettings
    from hexapla.common.progress import EventLog
    from hexapla.train.bank.model import BankedModel
    from hexapla.train.bank.wave import Wave, WaveSettings
    from hexapla.train.bank.waves import share_out
    from hexapla.train.batching import default_micro_batch_tokens

    base = make_base(cell)
    meter.base_ready()
    workload = make_workload(cell)
    spec = train_spec(cell)
    settings = WaveSettings(
        spec=spec,
        seed=0,
        lora_settings=lambda own: LoraSettings(own.lora.rank, own.lora.alpha, (), "base"),
        micro_batch_tokens=default_micro_batch_tokens(base.device),
        precision=cell.dtype,
    )
    model = BankedModel(base, spec.lora.targets)
    work = {str(number): count_tokens([adapter]) for number, adapter in enumerate(workload.adapters)}
    own = [workload.adapters[int(number)] for number in share_out(work, part[1])[part[0]]]
    for adapters in ([workload.warmup], own):
        tasks = [pooled_task(f"adapter-{k}", batches, spec) for k, batches in enumerate(adapters)]
        with tempfile.TemporaryDirectory() as work:
            wave = Wave(model, tasks, settings, work=Path(work), run="benchmark", log=EventLog(None))
            meter.reset()
            wait()
            meter.start()
            wave.run(lambda finished: None)
            meter.stop([batch for adapter in adapters for batch in adapter])


def pooled_task(name: str, batches: list[list[EncodedExample]], spec: Any) -> PreparedTask:
    """An adapter's sequences as the bank is given them."""
    from hexapla.languages import Direction
    from hexapla.plan import Job
    from hexapla.train.encoding import EncodedSet
    from hexapla.train.task import PreparedTask

    examples = [example for batch in batches for example in batch]
    return PreparedTask(Job(name, (Direction("de", "en"),)), spec, EncodedSet(examples, {}), [], [], name)


def matmul_flops(device: str, dtype: str) -> float:
    """Measured rate of square matrix products, FLOP/s, best of some."""
    import torch

    size, times = (8192, 20) if device == "cuda" else (1024, 8)
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(times):
            c = a @ b
        float(c[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2.0 * size**3 * times / min(seconds)


def base_sizes(shape: str) -> dict[str, int]:
    """Parameters of the base, weights that a token is multiplied with (N), and parameters of an adapter."""
    from hexapla.base import linear_shapes, model_skeleton

    model = model_skeleton(base_config(shape))
    layers = linear_shapes(model, "all-linear")
    return {
        "base": sum(parameter.numel() for parameter in model.parameters()),
        "multiplied": sum(layer.d_in * layer.d_out for layer in layers) + model.get_output_embeddings().weight.numel(),
        "adapter": sum(RANK * (layer.d_in + layer.d_out) for layer in layers),
    }


def describe_base(shape: str, sizes: dict[str, int], options: argparse.Namespace) -> str:
    """A line with the base's size and that of the adapters' state, and how the baselines are sampled."""
    base_mib = sizes["base"] * (2 if options.dtype == "bf16" else 4) / 2**20
    states = ", ".join(f"{k} × = {k * sizes['adapter'] * STATE_BYTES / 2**20:.0f}" for k in options.adapters)
    tokens = options.tokens or (HUB_SHAPES | SMALL_SHAPES)[shape][-1]
    return (
        f"\n{shape}: base {sizes['base'] / 1e6:.1f} M parameters, {base_mib:.0f} MiB; an adapter {sizes['adapter']:,} "
        f"parameters, with gradients and two moments in MiB: {states}. The bank trains the whole pool, the other sides "
        f"its first adapters: two, and more until {tokens:,} tokens."
    )


def row(measured: dict[str, Any], side: str, options: argparse.Namespace) -> dict[str, str]:
    """A line of the table: one side of one cell, medians over the repeats."""
    cell, runs, last = measured["cell"], measured["runs"][side], measured["runs"][options.sides[-1]]
    rates = [run["tokens"] / run["wall_s"] for run in runs]
    pairs = list(zip(last, runs, strict=True))
    ratios = [rate(ours, "wall_s") / rate(theirs, "wall_s") for ours, theirs in pairs]
    processor = [rate(ours, "processor_s") / rate(theirs, "processor_s") for ours, theirs in pairs]
    pool = [
        pool_seconds(theirs, side, cell, options) / pool_seconds(ours, options.sides[-1], cell, options)
        for ours, theirs in pairs
    ]
    peak = statistics.median(run["peak_mib"] for run in runs)
    beyond = statistics.median(run["peak_mib"] - run["base_mib"] for run in runs)
    used = 4 * measured["sizes"]["multiplied"] * statistics.median(rates) / measured["matmul_flops"]
    return {
        "shape": cell["shape"],
        "K": str(cell["num_adapters"]),
        "batch": str(cell["batch"]),
        "side": side,
        "tokens": f"{runs[0]['tokens']:,.0f}",
        "tokens/s": f"{statistics.median(rates):,.0f}",
        "ratio": f"{statistics.median(ratios):.2f}",
        "range": f"{min(ratios):.2f}-{max(ratios):.2f}",
        "processor": f"{statistics.median(processor):.2f}",
        "start-up s": f"{statistics.median(run['startup_s'] for run in runs):.1f}",
        "for a pool": f"{statistics.median(pool):.2f}",
        "peak MiB": f"{peak:,.0f}",
        "beyond base": f"{beyond:,.0f}",
        "4·N of peak": f"{used:.0%}",
    }


def rate(run: dict[str, float], clock: str) -> float:
    """Tokens a second by one of the clocks."""
    return run["tokens"] / run[clock]


def pool_seconds(run: dict[str, float], side: str, cell: dict[str, Any], options: argparse.Namespace) -> float:
    """Wall seconds for a pool of adapters with `--adapter-tokens` each, start-up included."""
    num_processes = cell["num_adapters"] if side == "hf-trainer" else 1
    return num_processes * run["startup_s"] + cell["num_adapters"] * options.adapter_tokens / rate(run, "wall_s")


def versions(sides: list[str]) -> dict[str, str]:
    """Versions of the programs that are compared."""
    names = ["torch", "transformers", "peft", *(["accelerate"] if "hf-trainer" in sides else [])]
    return {name: importlib.metadata.version(name) for name in names}


if __name__ == "__main__":
    main()
