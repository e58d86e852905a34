"""Time and peak memory of merging rank-r adapters by TIES on whole updates, against peft's `ties_svd`.

Each side runs in a fresh process on the same adapter files of one random Qwen3-shaped base. Ours also reads the files,
writes the merged adapter and measures its errors. Seconds are processor time, which other programs on the machine
disturb less than wall time. Peak memory is the process's (ru_maxrss); peft's includes the base model, which it needs.

    python benchmarks/merge_speed.py --hidden 1024 --intermediate 3072 --layers 1 --adapters 6

`--full-rank` does not compress, so that both sides must give the same update (peft then needs layers of one smaller
width: `--key-value-heads 16` for hidden 1024). Large layers take peft minutes: `--targets` takes some of them, and
`--peft ties` stops before peft's singular value decomposition (its update is then compared with ours before
compression; the times are not comparable). The shapes of Llama-2-13B:

    python benchmarks/merge_speed.py --hidden 5120 --intermediate 13824 --targets q_proj
    python benchmarks/merge_speed.py --hidden 5120 --intermediate 13824 --targets down_proj --peft ties
    python benchmarks/merge_speed.py --hidden 5120 --intermediate 13824 --key-value-heads 80 --peft none --scale-up 40 8

The last one measures a whole layer and multiplies by 40 layers and 8 groups of adapters.
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
MIB = 1 << 20
SMALL = 1e-5


def main() -> None:
    """Print one line a side, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("hidden", 1024), ("intermediate", 3072), ("layers", 1), ("adapters", 6), ("rank", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--key-value-heads", type=int, help="of width 64; default: half of the heads")
    parser.add_argument("--targets", nargs="+", help="such as q_proj down_proj; default: all linear layers")
    parser.add_argument("--full-rank", action="store_true", help="do not compress the merged updates")
    parser.add_argument("--peft", choices=("svd", "ties", "none"), default="svd", help="how far peft goes")
    parser.add_argument("--dialect", choices=("peft", "reference", "mergekit"), default="peft", help="of our side")
    parser.add_argument("--scale-up", nargs=2, type=int, metavar=("LAYERS", "GROUPS"), help="extrapolate the seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--density", type=float, default=0.2)
    options = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        in_fresh_process(prepare, folder, options)
        theirs = in_fresh_process(peft_side, folder, options) if options["peft"] != "none" else None
        ours = in_fresh_process(our_side, folder, options)
    for name, result in (("peft", theirs), ("ours", ours)):
        if result:
            memory = f"peak {result['peak_mib']:.0f} MiB, of which at the start {result['start_mib']:.0f} MiB"
            print(f"{name}: {result['seconds']:.2f} s, {memory}")
    print(f"all adapters: {ours['inputs_mib']:.0f} MiB; merged adapter: {ours['merged_mib']:.0f} MiB")
    print(f"rank {ours['rank']} misses {100 * ours['error']:.2f} % of the merged updates (Frobenius)")
    if options["scale_up"]:
        layers, groups = options["scale_up"]
        seconds = ours["seconds"] / options["layers"] * layers * groups
        print(f"extrapolated to {layers} layers × {groups} groups of {options['adapters']}: {seconds:.0f} s")
    if theirs:
        print_comparison(theirs, ours, options)


def print_comparison(theirs: dict[str, float], ours: dict[str, float], options: dict[str, Any]) -> None:
    """Print how the two sides compare."""
    compressed = options["peft"] == "svd"
    if compressed:
        print(f"ratio: {theirs['seconds'] / ours['seconds']:.1f}×")
    unit = "merged" if compressed else "not yet compressed"
    print(f"distance of the {unit} updates: {ours['distance']:.2e} (relative, Frobenius)")
    if options["full_rank"] or not compressed:
        # rounding carries an expert's entry over the threshold on one side only
        few = f"{ours['num_different']:.0f} of {ours['num_entries']:.0f} entries"
        print(f"{few} differ by more than {SMALL:.0e} of the largest; without them: {ours['elsewhere']:.2e}")


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
    from peft.utils.merge_utils import ties
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
    weights, density = [1.0] * len(names), options["density"]
    rank = min(map(min, adapter_shapes(options).values())) if options["full_rank"] else None
    start = time.process_time()
    if options["peft"] == "svd":
        model.add_weighted_adapter(names, weights, "merged", "ties_svd", svd_rank=rank, density=density)
    layers = {
        path.removeprefix("base_model.model."): module
        for path, module in model.named_modules()
        if hasattr(module, "lora_A") and names[0] in module.lora_A
    }
    updates = {}
    for path, module in layers.items():
        if options["peft"] == "svd":
            update = module.get_delta_weight("merged")
        else:
            update = ties([module.get_delta_weight(name) for name in names], torch.tensor(weights), density)
        updates[path] = update.detach().contiguous()
    seconds = time.process_time() - start
    peak = peak_mib()
    save_file(updates, folder / "peft.safetensors")
    return {"seconds": seconds, "peak_mib": peak, "start_mib": start_mib}


def our_side(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """The same merge by Hexapla in the space delta."""
    import torch

    from hexapla.adapter import write_adapter
    from hexapla.merge.experts import Experts
    from hexapla.merge.merging import merge_experts
    from hexapla.merge.spec import MergeSpec

    torch.set_num_threads(options["threads"])
    start_mib = peak_mib()
    start = time.process_time()
    rank = "full" if options["full_rank"] else None
    spec = MergeSpec(dialect=options["dialect"], density=options["density"], rank=rank)
    experts = Experts({f"expert{k}": folder / f"expert{k}" for k in range(options["adapters"])})
    adapter, report = merge_experts(experts, spec, torch.ones(options["adapters"]), seed=0)
    write_adapter(folder / "merged", adapter, card="merged")
    seconds = time.process_time() - start
    result = {
        "seconds": seconds,
        "peak_mib": peak_mib(),
        "start_mib": start_mib,
        "inputs_mib": sum(file.stat().st_size for file in folder.glob("expert*/*.safetensors")) / MIB,
        "merged_mib": (folder / "merged" / "adapter_model.safetensors").stat().st_size / MIB,
        "rank": adapter.settings.rank,
        "error": report.total.relative_error or 0.0,
    }
    if options["peft"] != "none":
        result |= compare(folder, options, adapter, experts, spec)
    return result


def compare(folder: Path, options: dict[str, Any], adapter: Any, experts: Any, spec: Any) -> dict[str, float]:
    """‖ours − peft's‖ / ‖peft's‖, over all modules: of what the merged adapters add, or of the updates before that."""
    import torch
    from safetensors import safe_open

    from hexapla.merge.merging import merged_update

    squared_distance = squared_elsewhere = squared_norm = 0.0
    num_different = num_entries = 0
    with safe_open(folder / "peft.safetensors", framework="pt") as theirs:
        for path, (a, b) in adapter.factors.items():
            expected = theirs.get_tensor(path)
            if options["peft"] == "svd":
                found = b @ a
            else:
                found = merged_update(experts, spec, torch.ones(len(experts)), path, seed=0)
            difference = found.sub_(expected).abs_()
            different = difference > SMALL * float(expected.abs().max())
            squared_norm += float(expected.double().square().sum())
            squared_distance += float(difference.double().square().sum())
            squared_elsewhere += float(difference.double().masked_fill_(different, 0).square().sum())
            num_different += int(different.sum())
            num_entries += different.numel()
    return {
        "distance": (squared_distance / squared_norm) ** 0.5,
        "elsewhere": (squared_elsewhere / squared_norm) ** 0.5,
        "num_different": num_different,
        "num_entries": num_entries,
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
        num_key_value_heads=options["key_value_heads"] or max(1, heads // 2),
        head_dim=64,
    )


def adapter_shapes(options: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Module path → (output width, input width) of every adapted layer."""
    from hexapla.base import linear_shapes, model_skeleton

    model = model_skeleton(base_config(options))
    return {shape.path: (shape.d_out, shape.d_in) for shape in linear_shapes(model, options["targets"] or "all-linear")}


def peak_mib() -> float:
    """Largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
