"""Random adapters and pools of them for tests of the analysis, without a base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from hexapla.adapter import LoraAdapter, LoraSettings, write_adapter
from hexapla.base import Base
from hexapla.languages import Direction
from hexapla.plan import Layout, make_plan
from hexapla.pool import Pool, PoolDescription, write_pool

LAYERS = "model.layers.{}.{}"
SHAPES = {
    LAYERS.format(layer, kind): shape
    for layer in range(2)
    for kind, shape in (("self_attn.q_proj", (12, 10)), ("mlp.down_proj", (10, 18)))
}
LAYOUT = Layout(
    ("en", "de", "nl", "es", "pt", "uk"), ("en",), {"germanic": ("de", "nl"), "romance": ("es", "pt"), "other": ("uk",)}
)


def random_adapter(seed: int, rank: int = 4, alpha: float = 8.0, **settings: object) -> LoraAdapter:
    """Normal factors in every module."""
    generator = torch.Generator().manual_seed(seed)
    factors = {
        path: (torch.randn(rank, width, generator=generator), torch.randn(height, rank, generator=generator))
        for path, (height, width) in SHAPES.items()
    }
    return LoraAdapter(LoraSettings(rank, alpha, ("down_proj", "q_proj"), "base", **settings), factors)  # type: ignore[arg-type]


def write_adapters(folder: Path, adapters: Mapping[str, LoraAdapter]) -> dict[str, Path]:
    """PEFT folders of the adapters under `folder`."""
    folders = {name: folder / name for name in adapters}
    for name, adapter in adapters.items():
        write_adapter(folders[name], adapter, card=name)
    return folders


def update(adapter: LoraAdapter, path: str) -> torch.Tensor:
    """ΔW of a module in float64."""
    a, b = adapter.factors[path]
    return adapter.settings.scale(path) * (b.double() @ a.double())


def make_pool(
    folder: Path, strategy: str, layout: Layout = LAYOUT, adapters: Mapping[str, LoraAdapter] | None = None
) -> Pool:
    """The pool of a strategy with random adapters, or the ones given."""
    plan = make_plan(layout, [strategy])
    jobs = plan.jobs_of(strategy)
    given = dict(adapters or {})
    made = {job.name: given.get(job.name, random_adapter(position)) for position, job in enumerate(jobs)}
    routes: dict[Direction, str | None] = dict(plan.routes[strategy])
    description = PoolDescription(strategy, Base("base", None), "0" * 64, "alma", "0" * 64, layout, routes, {})
    return write_pool(folder / "pool", description, write_adapters(folder / "jobs", made))
