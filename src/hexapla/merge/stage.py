"""Pool → pool: merge the experts of a side, group by group, and route their directions to the merged adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import hexapla
from hexapla.adapter import write_adapter
from hexapla.common.artifacts import digest_of, is_complete, read_json, write_json
from hexapla.common.errors import UserError, nearest
from hexapla.common.progress import Progress
from hexapla.merge.experts import Experts
from hexapla.merge.merging import merge_experts
from hexapla.merge.operators import OPERATORS
from hexapla.merge.report import REPORT_FILE, table
from hexapla.merge.sets import MergeSet, merge_sets
from hexapla.merge.spec import MergeSpec
from hexapla.pool import Pool, write_pool

_DONE_FILE = "merged.json"


def merge_pool(pool: Pool, spec: MergeSpec, folder: Path, *, name: str, seed: int) -> Pool:
    """Merge `pool` as `spec` says into a new pool called `name` at `folder`.

    Adapters that are not merged, or that also serve other directions, are carried over with the same bytes. Merged
    adapters are kept in a folder beside `folder` until the pool is whole, so a killed merge continues. The measures of
    every module are in `merge-report.json` in the pool's folder, their totals in the pool's provenance.

    Args:
        seed: root seed, for the operators that drop at random.

    Raises:
        UserError: nothing can be merged, or experts of one set do not fit together.
        CorruptArtifactError: an adapter's files are damaged.
    """
    if folder.resolve() == pool.folder.resolve():
        raise UserError("A pool cannot be merged into its own folder.", where=str(folder), hint="Give another folder.")
    described = pool.description
    sets = merge_sets(described.layout, described.routes, spec, pool=described.name)
    _check_weights(pool, spec, sets)
    routes = dict(pool.description.routes)
    for merge_set in sets:
        routes.update(dict.fromkeys(merge_set.directions, merge_set.name))
    carried = _carried(pool, sets, set(routes.values()))
    workspace = _workspace(folder)
    folders = {adapter: pool.adapter_folder(adapter) for adapter in carried}
    reports: dict[str, Any] = {}
    for merge_set in sets:
        folders[merge_set.name] = workspace / merge_set.name
        reports[merge_set.name] = _merge_set(pool, merge_set, spec, workspace / merge_set.name, seed)
    provenance = {
        "stage": "merge",
        "settings": spec.resolved(),
        "seed": seed,
        "hexapla": hexapla.__version__,
        "torch": torch.__version__,
        "from": {"name": pool.description.name, "digest": pool.digest},
        "merged": {key: {part: report[part] for part in ("experts", "total")} for key, report in reports.items()},
        "trained": dict(pool.description.provenance),
    }
    description = replace(described, name=name, routes=routes, provenance=provenance)
    merged = write_pool(folder, description, folders, model=pool.own_model, records={REPORT_FILE: reports})
    shutil.rmtree(workspace)
    return merged


def remove_leftovers(folder: Path) -> None:
    """Remove what a merge left beside its pool at `folder` if it was killed when the pool was whole already."""
    if is_complete(folder):
        shutil.rmtree(_workspace(folder), ignore_errors=True)


def merge_report(pool: Pool) -> str:
    """The report of a merged pool as a table for people.

    Raises:
        CorruptArtifactError: the pool was not made by merging.
    """
    return table(read_json(pool.folder / REPORT_FILE))


def _workspace(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.merging")


def _merge_set(pool: Pool, merge_set: MergeSet, spec: MergeSpec, folder: Path, seed: int) -> dict[str, Any]:
    """Write the merged adapter of one set, unless it is there already; returns its report."""
    digests = {expert: vars(pool.adapters[expert]) for expert in merge_set.experts}
    key = digest_of([hexapla.__version__, spec.resolved(), seed, merge_set.name, digests])
    if (folder / _DONE_FILE).is_file() and (done := read_json(folder / _DONE_FILE))["key"] == key:
        report: dict[str, Any] = done["report"]
        return report
    experts = Experts({expert: pool.adapter_folder(expert) for expert in merge_set.experts})
    progress = Progress(f"merging {merge_set.name}", len(experts.shapes), unit="modules")
    adapter, measured = merge_experts(
        experts, spec, _weights(spec, merge_set), seed=seed, on_module=lambda path: progress.advance()
    )
    progress.close()
    report = measured.record()
    write_adapter(folder, adapter, card=_card(pool, merge_set, spec, report))
    write_json(folder / _DONE_FILE, {"key": key, "report": report})
    return report


def _weights(spec: MergeSpec, merge_set: MergeSet) -> torch.Tensor:
    given: Mapping[str, float] = spec.weights or {}
    weights = torch.tensor([given.get(expert, 1.0) for expert in merge_set.experts], dtype=torch.float64)
    if not spec.normalize:
        return weights
    if abs(float(weights.sum())) < 1e-8:
        raise UserError(
            f"The weights of {', '.join(merge_set.experts)} sum to zero, so they cannot be normalized.",
            where="merge.weights",
            hint="Change them, or set merge.normalize to false.",
        )
    return weights / weights.sum()


def _check_weights(pool: Pool, spec: MergeSpec, sets: list[MergeSet]) -> None:
    experts = {expert for merge_set in sets for expert in merge_set.experts}
    for name in spec.weights or {}:
        if name not in experts:
            raise UserError(
                f"There is a weight for {name!r}, which is none of the adapters that are merged.",
                where="merge.weights",
                hint=nearest(name, experts),
            )
    for merge_set in sets:
        _weights(spec, merge_set)


def _carried(pool: Pool, sets: list[MergeSet], routed: set[str | None]) -> list[str]:
    """The adapters that go on as they are: those in no set, and those that still serve a direction."""
    merged = {expert for merge_set in sets for expert in merge_set.experts}
    carried = [adapter for adapter in pool.adapters if adapter not in merged or adapter in routed]
    if taken := sorted({merge_set.name for merge_set in sets} & set(pool.adapters)):
        raise UserError(
            f"The merged adapter would be called {taken[0]!r}, and the pool has an adapter of that name already.",
            where=str(pool.folder),
        )
    return carried


def _card(pool: Pool, merge_set: MergeSet, spec: MergeSpec, report: dict[str, Any]) -> str:
    directions = ", ".join(map(str, merge_set.directions))
    experts = "\n".join(
        f"| {expert} | {report['experts'][expert]:.6g} | {pool.adapters[expert].weights_digest} |"
        for expert in merge_set.experts
    )
    settings = json.dumps(spec.resolved(), ensure_ascii=False, indent=2)
    weights = "normalized to sum 1" if spec.normalize else "not normalized"
    if spec.ties is not None and spec.ties.weighting == "none":
        weights = "not used by this dialect"
    dialect = f", dialect {spec.dialect}" if spec.dialect else ""
    method = f"{spec.operator}{dialect} ({OPERATORS[spec.operator].source})"
    return (
        f"# {merge_set.name}\n\n"
        f"A translation adapter ({directions}), merged from {len(merge_set.experts)} experts by {method} "
        f"with Hexapla {hexapla.__version__}.\n\n"
        f"Weights are {weights}.\n\n"
        f"| expert | weight | sha256 |\n|---|---|---|\n{experts}\n\n"
        f"```\n{table({merge_set.name: report})}\n```\n\n"
        f"Settings:\n\n```json\n{settings}\n```"
    )
