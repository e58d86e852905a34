"""Say what this machine can do: versions, devices, memory, disk, optional packages."""

from __future__ import annotations

import argparse

EXAMPLE = "hexapla doctor"
_EXTRAS = {
    "zstd": "zstandard",
    "datasets": "datasets",
    "ja": "MeCab",
    "ko": "mecab_ko",
    "spbleu": "sentencepiece",
    "lid": "lingua",
    "glotlid": "fasttext",
    "clean": "ftfy",
    "analysis": "sklearn",
    "quantization": "bitsandbytes",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def execute(options: argparse.Namespace) -> None:
    """Print one fact a line."""
    import importlib.util
    import shutil
    from pathlib import Path

    import torch

    from hexapla.pipeline.workspace import machine, versions

    for package, version in versions().items():
        print(f"{package:<13} {version}")
    for fact, value in machine().items():
        print(f"{fact:<13} {value}")
    print(f"{'disk here':<13} {shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB free")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
        print(f"{'gpu ' + str(index):<13} {properties.name}, {properties.total_memory / 2**30:.1f} GiB, {bf16}")
    for extra, module in _EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        verdict = "installed" if there else f'missing: pip install "hexapla[{extra}]"'
        print(f"{'extra ' + extra:<13} {verdict}")
