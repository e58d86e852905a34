"""One LoRA adapter as tensors, read from and written to an ordinary PEFT folder.

Shapes: r rank, I input width, O output width of a linear layer. A is [r, I], B is [O, r]; the adapter adds
`scale · B A` to the layer's weight [O, I] (LoRA, arXiv 2106.09685, eq. 3).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.artifacts import read_json, write_bytes, write_json, write_text
from hexapla.common.errors import CorruptArtifactError, UserError

if TYPE_CHECKING:
    import torch

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_TENSOR_NAME = re.compile(r"base_model\.model\.(?P<path>.+)\.lora_(?P<factor>[AB])\.weight")


@dataclass(frozen=True)
class LoraSettings:
    """What of `adapter_config.json` shapes the update.

    `rank_pattern` and `alpha_pattern` override rank and alpha for module paths; as in peft a key matches a path's end.
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    base_id: str
    use_rslora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)

    def scale(self, path: str) -> float:
        """The factor before B·A of the module at `path`: alpha/r, or alpha/√r with rank-stabilised LoRA."""
        rank = _pattern_value(self.rank_pattern, path, self.rank)
        alpha = _pattern_value(self.alpha_pattern, path, self.alpha)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


@dataclass(frozen=True)
class LoraAdapter:
    """Settings and factors of an adapter: module path → (A [r, I], B [O, r])."""

    settings: LoraSettings
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]

    @property
    def num_parameters(self) -> int:
        """Entries of all factors."""
        return sum(a.numel() + b.numel() for a, b in self.factors.values())


def read_settings(folder: Path) -> LoraSettings:
    """The settings of the adapter in a PEFT folder.

    Raises:
        CorruptArtifactError: the configuration is missing or unreadable.
        UserError: it is no plain LoRA: DoRA, bias, modules_to_save and other methods are refused by name.
    """
    config = read_json(folder / CONFIG_FILE)
    where = str(folder / CONFIG_FILE)
    if config.get("peft_type") != "LORA":
        raise UserError(f"The adapter's method is {config.get('peft_type')!r}; only LoRA is supported.", where=where)
    unsupported = {
        "use_dora": "DoRA",
        "modules_to_save": "fully trained modules (modules_to_save)",
        "fan_in_fan_out": "transposed weights (fan_in_fan_out)",
        "layer_replication": "layer replication",
        "trainable_token_indices": "trained tokens",
        "target_parameters": "adapters on bare parameters (target_parameters)",
        "lora_bias": "LoRA bias",
    }
    for key, meaning in unsupported.items():
        if config.get(key):
            raise UserError(f"The adapter has {meaning}, which is not supported.", where=where)
    if config.get("bias", "none") != "none":
        raise UserError(f"The adapter trains biases (bias={config['bias']!r}), which is not supported.", where=where)
    targets = config.get("target_modules") or ()
    return LoraSettings(
        rank=config.get("r", 8),
        alpha=config.get("lora_alpha", 8),
        target_modules=(targets,) if isinstance(targets, str) else tuple(sorted(targets)),
        base_id=config.get("base_model_name_or_path") or "",
        use_rslora=bool(config.get("use_rslora")),
        rank_pattern=config.get("rank_pattern") or {},
        alpha_pattern=config.get("alpha_pattern") or {},
    )


def read_adapter(folder: Path) -> LoraAdapter:
    """The adapter in a PEFT folder, factors on the CPU in the precision they were saved in.

    Raises:
        CorruptArtifactError: the weights are missing or damaged, or A and B do not come in pairs.
        UserError: as `read_settings`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    settings = read_settings(folder)
    weights_file = folder / WEIGHTS_FILE
    if not weights_file.is_file():
        raise CorruptArtifactError("The adapter's weights are missing.", where=str(weights_file))
    try:
        tensors = load_file(weights_file)
    except SafetensorError as error:
        raise CorruptArtifactError(f"The adapter's weights are damaged ({error}).", where=str(weights_file)) from error
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR_NAME.fullmatch(name)
        if match is None:
            raise UserError(f"The tensor {name!r} is no LoRA factor of a linear layer.", where=str(weights_file))
        halves.setdefault(match["path"], {})[match["factor"]] = tensor
    for path, pair in halves.items():
        if set(pair) != {"A", "B"} or pair["A"].shape[0] != pair["B"].shape[1]:
            raise CorruptArtifactError(f"The factors of {path} do not fit together.", where=str(weights_file))
    return LoraAdapter(settings, {path: (halves[path]["A"], halves[path]["B"]) for path in sorted(halves)})


def write_adapter(folder: Path, adapter: LoraAdapter, *, card: str) -> None:
    """Write a PEFT folder: configuration, safetensors weights and a README with `card` as its text.

    The bytes depend on the arguments only. peft and vLLM read the result.
    """
    from safetensors.torch import save

    tensors = {}
    for path, (a, b) in adapter.factors.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = a.contiguous()
        tensors[f"base_model.model.{path}.lora_B.weight"] = b.contiguous()
    write_bytes(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
    write_json(folder / CONFIG_FILE, adapter_config(adapter.settings))
    front = json.dumps(adapter.settings.base_id, ensure_ascii=False)
    header = f"base_model: {front}\nlibrary_name: peft\npipeline_tag: translation\ntags:\n- lora\n- hexapla\n"
    write_text(folder / "README.md", f"---\n{header}---\n\n{card}\n")


def adapter_config(settings: LoraSettings) -> dict[str, Any]:
    """The content of `adapter_config.json` for an adapter ready for inference."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": settings.base_id,
        "revision": None,
        "inference_mode": True,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(settings.target_modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": settings.use_rslora,
        "use_dora": False,
        "rank_pattern": dict(settings.rank_pattern),
        "alpha_pattern": dict(settings.alpha_pattern),
        "modules_to_save": None,
    }


def _pattern_value(pattern: Mapping[str, Any], path: str, default: Any) -> Any:
    """peft's rule: the first key that is a regular expression for the path's end (`(^|.*\\.)KEY$`) decides."""
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", path):
            return value
    return default
