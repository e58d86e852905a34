"""The base model: where it lies, what it is, how it is loaded.

`builtin:tiny` is the embedded miniature; everything else is a local folder or a hub id for transformers.
Torch and transformers are imported inside the functions: planning and checking need them late or never.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.artifacts import update_with_sample
from hexapla.common.errors import CorruptArtifactError, UserError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from hexapla.quantization import Quantization

BUILTIN_PREFIX = "builtin:"
_BUILTIN_FOLDERS = {"tiny": Path(__file__).parent / "phrasebook" / "tiny"}
_SHAPES_FOLDER = Path(__file__).parent / "shapes"


@dataclass(frozen=True)
class Base:
    """A base model by name.

    Attributes:
        id: as the user wrote it: hub id, local folder, or `builtin:tiny`.
        revision: branch, tag or commit of a hub id; None for the default branch.
    """

    id: str
    revision: str | None = None

    @property
    def location(self) -> str:
        """What transformers is given: a folder or the hub id.

        Raises:
            UserError: an unknown builtin, or something that looks like a folder and is not there.
        """
        if self.id.startswith(BUILTIN_PREFIX):
            name = self.id.removeprefix(BUILTIN_PREFIX)
            if name not in _BUILTIN_FOLDERS:
                known = ", ".join(BUILTIN_PREFIX + key for key in _BUILTIN_FOLDERS)
                raise UserError(f"There is no builtin base {name!r}.", where="base", hint=f"Known: {known}.")
            return str(_BUILTIN_FOLDERS[name])
        if self.folder is None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.id):
            raise UserError(
                f"The base {self.id!r} is neither a folder here nor a hub id (OWNER/NAME).",
                where="base",
                hint="Give a folder that holds config.json, a hub id, or builtin:tiny.",
            )
        return self.id

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for a hub id."""
        if self.id.startswith(BUILTIN_PREFIX):
            return Path(self.location)
        path = Path(self.id).expanduser()
        return path if path.is_dir() else None

    def has_weights(self) -> bool:
        """Whether weights lie in the local folder; True for hub ids, whose files come when they are loaded."""
        return self.folder is None or bool(_weight_files(self.folder))


@dataclass(frozen=True)
class LinearShape:
    """One linear layer that can carry an adapter: module path, input and output width."""

    path: str
    d_in: int
    d_out: int


def load_config(base: Base) -> PretrainedConfig:
    """The base's configuration, without its weights.

    Raises:
        UserError: nothing is found there, or it is no causal language model.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    try:
        config = AutoConfig.from_pretrained(base.location, revision=base.revision or "main")
    except (OSError, ValueError, StrictDataclassError) as error:
        raise _not_loadable(base, "configuration", error) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"The base {base.id!r} is no causal language model ({config.model_type}).", where="base")
    return config


def load_shape(base: Base) -> PretrainedConfig:
    """The base's configuration for planning: the shapes of well-known hub models ship with Hexapla.

    Raises:
        UserError: as `load_config`, for a base that is neither here, reachable nor among the bundled shapes.
    """
    bundled = _SHAPES_FOLDER / base.id.replace("/", "--")
    return load_config(Base(str(bundled)) if base.folder is None and bundled.is_dir() else base)


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """The base's tokenizer.

    Raises:
        UserError: it is missing or empty, has no character offsets (a slow tokenizer), or no end-of-sequence token.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base.location, revision=base.revision or "main")
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise _not_loadable(base, "tokenizer", error) from error
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer of {base.id!r} gives no character offsets; a fast one is needed.", where="base")
    if not tokenizer("a", add_special_tokens=False)["input_ids"]:  # transformers makes an empty one of nothing
        raise _not_loadable(base, "tokenizer", UserError("it has no vocabulary, its files are missing."))
    if tokenizer.eos_token_id is None:
        raise UserError(f"The tokenizer of {base.id!r} has no end-of-sequence token.", where="base")
    return tokenizer


def load_model(
    base: Base, *, dtype: torch.dtype, device: torch.device, quantization: Quantization = "none"
) -> PreTrainedModel:
    """The base's causal language model in evaluation mode, every parameter frozen.

    Only safetensors weights are read: a pickle can run code.

    Args:
        dtype: of the weights that are not quantised, and of all arithmetic.
        quantization: of the linear layers' weights, without the output head's.

    Raises:
        UserError: the weights are missing, damaged, not in safetensors, or not those that config.json describes; they
            are to be quantised and are it already, or bitsandbytes is not installed.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    from hexapla.quantization import compute_dequantized, quantization_config

    config = load_config(base)
    if quantization != "none" and hasattr(config, "quantization_config"):
        raise UserError(f"The base {base.id!r} is quantised already.", where="base", hint="Set quantization: none.")
    codes = quantization_config(quantization, dtype)
    try:
        with no_progress_bar():
            model, loading = AutoModelForCausalLM.from_pretrained(
                base.location,
                revision=base.revision or "main",
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
                # Quantised weights are made on the device where they stay; they cannot be moved.
                **({} if codes is None else {"quantization_config": codes, "device_map": {"": device}}),
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _not_loadable(base, "weights", error) from error
    if missing := sorted(loading["missing_keys"]):  # transformers would go on with random numbers
        found = UserError(f"{len(missing)} tensors of the model are not among them, such as {missing[0]}.")
        raise _not_loadable(base, "weights", found)
    model.requires_grad_(False)
    if codes is None:
        return model.to(device).eval()
    compute_dequantized(model)
    return model.eval()


def choose_device(device: torch.device | str | None = None) -> torch.device:
    """The device asked for, or else the first GPU, or else the CPU."""
    import torch

    return torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The base's dtype for a `precision` of auto, fp32 or bf16; auto is bf16 on a GPU that has it.

    Raises:
        UserError: bf16 is asked of a GPU that does not have it.
    """
    import torch

    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise UserError("This GPU has no bf16.", where="precision", hint="Set it to fp32 or auto.")
    if precision == "bf16" or (precision == "auto" and device.type == "cuda" and has_bf16):
        return torch.bfloat16
    return torch.float32


def fingerprint(base: Base) -> str:
    """Identity of the base's weights, cheap enough to take at every load.

    For a local folder: sha256 over config.json and, of every weight file, its size, its header and 64 evenly spaced
    blocks of 4 KiB. For a hub id: the id and the commit that the revision resolves to in the local cache.

    Raises:
        CorruptArtifactError: the folder has no config.json.
    """
    if base.folder is None:
        return _hub_commit(base)
    config_file = base.folder / "config.json"
    if not config_file.is_file():
        raise CorruptArtifactError("This folder holds no config.json, so it is no model.", where=str(base.folder))
    digest = hashlib.sha256(config_file.read_bytes())
    for path in _weight_files(base.folder):
        digest.update(f"{path.name}:{path.stat().st_size}".encode())
        update_with_sample(digest, path)
    return digest.hexdigest()


def model_skeleton(config: PretrainedConfig) -> PreTrainedModel:
    """The model on the meta device: every module and shape, no memory."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def linear_shapes(model: PreTrainedModel, targets: str | tuple[str, ...]) -> list[LinearShape]:
    """The linear layers that `targets` names, in the model's order.

    Args:
        targets: `all-linear` (every linear layer but the output head, as peft understands it), or last parts of module
            paths (`q_proj`).

    Raises:
        UserError: a target that names no linear layer of this model.
    """
    import torch

    head = model.get_output_embeddings()
    linear = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    if targets != "all-linear":
        names = {path.rsplit(".", 1)[-1] for path in linear}
        for target in targets:
            if target not in names:
                raise UserError(
                    f"The base has no linear layers called {target!r}.",
                    where="train.lora.targets",
                    hint=f"It has: {', '.join(sorted(names))}.",
                )
        linear = {path: module for path, module in linear.items() if path.rsplit(".", 1)[-1] in targets}
    return [LinearShape(path, module.in_features, module.out_features) for path, module in linear.items()]


def adapter_parameters(shapes: list[LinearShape], rank: int) -> int:
    """Parameters of one LoRA adapter: r·(d_in + d_out) a layer."""
    return sum(rank * (shape.d_in + shape.d_out) for shape in shapes)


def count_parameters(folder: Path) -> int:
    """Parameters in the weight files of a folder, from their headers alone; tied weights, saved once, count once."""
    from safetensors import safe_open

    total = 0
    for path in _weight_files(folder):
        with safe_open(path, "numpy") as tensors:
            total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total


def _weight_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.safetensors") if path.name != "adapter_model.safetensors")


def _hub_commit(base: Base) -> str:
    """`id@commit` of a hub model from the local cache (files arrive there when the model is first loaded)."""
    config: Any = load_config(base)
    return f"{base.id}@{getattr(config, '_commit_hash', None) or base.revision or 'main'}"


@contextlib.contextmanager
def no_progress_bar() -> Iterator[None]:
    """Without transformers' bar for loading weights, which would stand in our own output."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _not_loadable(base: Base, part: str, error: Exception) -> UserError:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(
        f"The {part} of the base {base.id!r} cannot be loaded: {first_line}",
        where="base",
        hint="Give a folder with config.json, tokenizer.json and safetensors weights, a hub id, or builtin:tiny.",
    )
