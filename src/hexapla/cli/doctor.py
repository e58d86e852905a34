"""Say what this machine can do: versions, devices, memory, disk, optional packages."""

from __future__ import annotations

import argparse

EXAMPLE = "hexapla doctor"
_EXTRAS = {"zstd": "zstandard", "datasets": "datasets", "ja": "MeCab", "ko": "mecab_ko"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def execute(options: argparse.Namespace) -> None:
    """Print one fact a line."""
    import importlib.util
    import os
    import shutil
    from pathlib import Path

    import torch

    from hexapla.pipeline.workspace import versions

    for package, version in versions().items():
        print(f"{package:<13} {version}")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{'processor':<13} {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads used")
    print(f"{'memory':<13} {memory_gib:.1f} GiB")
    print(f"{'disk here':<13} {shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB free")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
            print(f"{'gpu ' + str(index):<13} {properties.name}, {properties.total_memory / 2**30:.1f} GiB, {bf16}")
    else:
        print(f"{'gpu':<13} none: everything runs on the processor")
    for extra, module in _EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        verdict = "installed" if there else f'missing: pip install "hexapla[{extra}]"'
        print(f"{'extra ' + extra:<13} {verdict}")
