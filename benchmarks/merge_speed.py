"""Time and peak memory of merging rank-r adapters by TIES on whole updates, against peft's `ties_svd`.

Each side runs in a fresh process on the same adapter files of one random Qwen3-shaped base. Ours also reads the files,
writes the merged adapter and measures its errors. Seconds are processor time, which other programs on the machine
disturb less than wall time. Peak memory is the process's (ru_maxrss); peft's includes the base model, which it needs.

    python benchmarks/merge_speed.py --hidden 1024 --intermediate 3072 --layers 1 --adapters 6
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RANK_SCALE = 0.02


def main() -> None:
    """Print one line a side, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("hidden", 1024), ("intermediate", 3072), ("layers", 1), ("adapters", 6), ("rank", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--density", type=float, default=0.2)
    options = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        in_fresh_process(prepare, folder, options)
        sides = {
            name: in_fresh_process(side, folder, options) for name, side in (("peft", peft_side), ("ours", our_side))
        }
    for name, result in sides.items():
        memory = f"peak {result['peak_mib']:.0f} MiB, of which at the start {result['start_mib']:.0f} MiB"
        print(f"{name}: {result['seconds']:.2f} s, {memory}")
    print(f"ratio: {sides['peft']['seconds'] / sides['ours']['seconds']:.1f}×")
    print(f"distance of the merged updates: {sides['ours']['distance']:.2e} (relative, Frobenius)")


def in_fresh_process(function: Callable[..., Any], folder: Path, options: dict[str, Any]) -> Any:
    """`function(folder, options)` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        return workers.apply(function, (folder, options))


def prepare(folder: Path, options: dict[str, Any]) -> None:
    """Write the base's config and the adapters."""
    import torch

    from hexapla.adapter import LoraAdapter, LoraSettings, write_adapter

    config = base_config(options)
    config.save_pretrained(folder / "base")
    shapes = adapter_shapes(options)
    names = tuple(sorted({path.rsplit(".", 1)[-1] for path in shapes}))
    settings = LoraSettings(options["rank"], 2 * options["rank"], names, str(folder / "base"))
    for k in range(options["adapters"]):
        generator = torch.Generator().manual_seed(k)
        factors = {
            path: (
                torch.randn(options["rank"], d_in, generator=generator) * RANK_SCALE,
                torch.randn(d_out, options["rank"], generator=generator) * RANK_SCALE,
            )
            for path, (d_out, d_in) in shapes.items()
        }
        write_adapter(folder / f"expert{k}", LoraAdapter(settings, factors), card="random")


def peft_side(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """peft's `add_weighted_adapter` with `ties_svd` and its defaults; the update is saved for comparison."""
    import torch
    from peft import PeftModel
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(options["threads"])
    start_mib = peak_mib()
    names = [f"expert{k}" for k in range(options["adapters"])]
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_config(base_config(options)), folder / names[0], adapter_name=names[0]
    )
    for name in names[1:]:
        model.load_adapter(folder / name, adapter_name=name)
    start = time.process_time()
    model.add_weighted_adapter(names, [1.0] * len(names), "merged", "ties_svd", density=options["density"])
    seconds = time.process_time() - start
    updates = {
        path.removeprefix("base_model.model."): module.get_delta_weight("merged").detach().contiguous()
        for path, module in model.named_modules()
        if hasattr(module, "lora_A") and "merged" in module.lora_A
    }
    peak = peak_mib()
    save_file(updates, folder / "peft.safetensors")
    return {"seconds": seconds, "peak_mib": peak, "start_mib": start_mib}


def our_side(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """The same merge by Hexapla: dialect peft, space delta."""
    import torch
    from safetensors.torch import load_file

    from hexapla.adapter import write_adapter
    from hexapla.merge.experts import Experts
    from hexapla.merge.merging import merge_experts
    from hexapla.merge.spec import MergeSpec

    torch.set_num_threads(options["threads"])
    start_mib = peak_mib()
    start = time.process_time()
    spec = MergeSpec(dialect="peft", density=options["density"])
    with Experts({f"expert{k}": folder / f"expert{k}" for k in range(options["adapters"])}) as experts:
        adapter, report = merge_experts(experts, spec, torch.ones(options["adapters"]), seed=0)
    write_adapter(folder / "merged", adapter, card="merged")
    seconds = time.process_time() - start
    peak = peak_mib()
    theirs = load_file(folder / "peft.safetensors")
    squared_distance = squared_norm = 0.0
    for path, (a, b) in adapter.factors.items():
        squared_distance += float((b @ a - theirs[path]).double().square().sum())
        squared_norm += float(theirs[path].double().square().sum())
    print(f"ours: relative error of rank {adapter.settings.rank}: {report.total.relative_error:.3f}")
    return {
        "seconds": seconds,
        "peak_mib": peak,
        "start_mib": start_mib,
        "distance": (squared_distance / squared_norm) ** 0.5,
    }


def base_config(options: dict[str, Any]) -> Any:
    """A Qwen3 configuration with a tiny vocabulary."""
    from transformers import Qwen3Config

    heads = options["hidden"] // 64
    return Qwen3Config(
        vocab_size=256,
        hidden_size=options["hidden"],
        intermediate_size=options["intermediate"],
        num_hidden_layers=options["layers"],
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        head_dim=64,
    )


def adapter_shapes(options: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Module path → (output width, input width) of every adapted layer."""
    from hexapla.base import linear_shapes, model_skeleton

    model = model_skeleton(base_config(options))
    return {shape.path: (shape.d_out, shape.d_in) for shape in linear_shapes(model, "all-linear")}


def peak_mib() -> float:
    """Largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
