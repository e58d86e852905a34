"""The README of a trained model: what it was made of, for people and for model hubs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hexapla.common.artifacts import write_text
from hexapla.representations.layers import resolve_layer
from hexapla.train.align.objectives import AlignmentSpec
from hexapla.train.result import TrainResult
from hexapla.train.spec import OptimizerSpec


def write_card(
    folder: Path, *, base_id: str, languages: Sequence[str], settings: Mapping[str, str], result: TrainResult
) -> None:
    """Write `README.md`: a function of what was trained, not of when or where.

    Args:
        settings: what to say, by heading, before how long it was trained.
    """
    front = {"base_model": base_id, "language": list(languages), "library_name": "transformers"}
    trained = (
        f"{result.num_steps} of {result.num_planned_steps} steps on {result.num_examples} sequences, "
        f"{result.status}, {result.precision}"
    )
    lines = ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items())]
    lines += ["tags: [translation, hexapla]", "---", "", f"# {result.adapter}", "", "Made by Hexapla.", ""]
    lines += [f"* {heading}: {text}" for heading, text in {**settings, "Trained": trained}.items()]
    write_text(folder / "README.md", "\n".join(lines) + "\n")


def told_optimizer(spec: OptimizerSpec) -> str:
    """The optimiser in words."""
    return (
        f"AdamW, learning rate {spec.lr:g} ({spec.schedule}, warm-up {spec.warmup:g}), weight decay "
        f"{spec.weight_decay:g} of matrices, gradient norm at most {spec.max_grad_norm:g}"
    )


def told_objectives(spec: AlignmentSpec | None, depth: int) -> dict[str, str]:
    """What the losses that align representations were, by heading; nothing where there were none.

    Args:
        depth: blocks of the model.
    """
    if spec is None:
        return {}
    layer = resolve_layer(spec.layer, depth, where="objectives.layer")
    told = {"Aligned at": f"layer {layer} of {depth} ({layer / depth:.0%} of the depth)"}
    if spec.semantic > 0:
        contrasted = "a step's" if spec.contrast is None else f"{spec.contrast} of a step's"
        told["Semantic alignment"] = (
            f"weight {spec.semantic:g}, temperature {spec.temperature:g}, {contrasted} examples contrasted, "
            f"{'both ways' if spec.symmetric else 'sources with targets'}, translations of one sentence "
            f"{'left out' if spec.mask_translations else 'taken as negatives'}"
        )
    if spec.matching > 0:
        told["Language matching"] = f"weight {spec.matching:g}, a head of width {spec.matching_width}, not kept"
    return told
