"""The adapters of one merge, read one module at a time.

Shapes: K adapters, O output width, I input width, r_k rank of adapter k, R and C rows and columns of a tile.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from hexapla.adapter import WEIGHTS_FILE, LoraAdapter, LoraSettings, read_adapter
from hexapla.common.errors import UserError

# Entries of one adapter in a tile, and its columns: small enough that a tile of every adapter stays in the cache from
# one operation to the next, large enough for the matrix product (measured 2026-11-21). They do not depend on K, so that
# random masks do not depend on an adapter's company.
_TILE_ENTRIES = 1 << 17
_TILE_COLUMNS = 1 << 10

Tile = tuple[slice, slice]  # rows and columns of a weight


@dataclass(frozen=True)
class Shape:
    """Widths of a linear layer: its weight is [d_out, d_in]."""

    d_out: int
    d_in: int

    @property
    def num_entries(self) -> int:
        """Entries of the weight."""
        return self.d_out * self.d_in


@dataclass(frozen=True)
class _Summary:
    """What is kept of an adapter whose factors are read when they are needed."""

    settings: LoraSettings
    shapes: Mapping[str, Shape]
    ranks: Mapping[str, int]
    dtypes: frozenset[torch.dtype]


class Experts:
    """Adapters that fit together: same base, same modules, same shapes, finite numbers. Sorted by name.

    Raises:
        UserError: two of them do not fit together, or one holds NaN or infinity; the message names adapter and module.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.names = tuple(sorted(folders))
        self._files = [folders[name] / WEIGHTS_FILE for name in self.names]
        summaries: list[_Summary] = []
        for name in self.names:
            summaries.append(_summary(name, read_adapter(folders[name])))
            _require_fit(self.names[0], summaries[0], name, summaries[-1])
        self.shapes = summaries[0].shapes
        self.settings: tuple[LoraSettings, ...] = tuple(summary.settings for summary in summaries)
        self.ranks: tuple[Mapping[str, int], ...] = tuple(summary.ranks for summary in summaries)
        self.dtype = functools.reduce(torch.promote_types, sorted(set().union(*(s.dtypes for s in summaries)), key=str))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def max_rank(self) -> int:
        """The largest rank of any module of any adapter."""
        return max(rank for ranks in self.ranks for rank in ranks.values())

    def scale(self, adapter: int, path: str) -> float:
        """The factor before B·A of a module in the adapter at position `adapter`."""
        return self.settings[adapter].scale(path)

    def factors(self, path: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(A [r_k, I], B [O, r_k]) of every adapter, in the precision they were saved in.

        The files are opened anew, so that what is mapped into memory is one module's part of them.
        """
        prefix = f"base_model.model.{path}.lora_"
        pairs = []
        for file in self._files:
            with safe_open(file, framework="pt") as tensors:
                pairs.append((tensors.get_tensor(f"{prefix}A.weight"), tensors.get_tensor(f"{prefix}B.weight")))
        return pairs

    def tiles(self, path: str) -> Iterator[tuple[Tile, torch.Tensor]]:
        """The updates ΔW_k = s_k B_k A_k of a module in float32, tile by tile: ((rows, columns), [K, R, C]).

        A tile's tensor may be overwritten, and is when the next one comes. Every pass gives the same bits, for the
        tiles are the same.
        """
        shape = self.shapes[path]
        factors = self._scaled_factors(path)
        num_columns = min(shape.d_in, _TILE_COLUMNS, _TILE_ENTRIES)
        num_rows = min(shape.d_out, _TILE_ENTRIES // num_columns)
        memory = torch.empty(len(self), num_rows * num_columns)
        for top in range(0, shape.d_out, num_rows):
            rows = slice(top, min(top + num_rows, shape.d_out))
            for left in range(0, shape.d_in, num_columns):
                columns = slice(left, min(left + num_columns, shape.d_in))
                size = (rows.stop - top, columns.stop - left)
                tile = memory[:, : size[0] * size[1]].view(-1, *size)
                for update, (a, b) in zip(tile, factors, strict=True):
                    torch.mm(b[rows], a[:, columns], out=update)
                yield (rows, columns), tile

    def sample(self, path: str, num_entries: int) -> torch.Tensor:
        """About the values of entries drawn at random (with a fixed seed) from the updates of a module, [K, n] float32.

        They may differ from those of `tiles` by rounding.
        """
        shape = self.shapes[path]
        generator = torch.Generator().manual_seed(0)
        rows_n = torch.randint(shape.d_out, (num_entries,), generator=generator)
        columns_n = torch.randint(shape.d_in, (num_entries,), generator=generator)
        return torch.stack(
            [
                (b.index_select(0, rows_n) * a.T.contiguous().index_select(0, columns_n)).sum(dim=1)
                for a, b in self._scaled_factors(path)
            ]
        )

    def _scaled_factors(self, path: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(A [r_k, I], s_k B_k [O, r_k]) of every adapter in float32."""
        return [(a.float(), b.float() * self.scale(k, path)) for k, (a, b) in enumerate(self.factors(path))]


def _summary(name: str, adapter: LoraAdapter) -> _Summary:
    _require_finite(name, adapter)
    factors = adapter.factors
    return _Summary(
        adapter.settings,
        {path: Shape(b.shape[0], a.shape[1]) for path, (a, b) in factors.items()},
        {path: a.shape[0] for path, (a, _) in factors.items()},
        frozenset(factor.dtype for pair in factors.values() for factor in pair),
    )


def _require_fit(first_name: str, first: _Summary, name: str, other: _Summary) -> None:
    where = f"adapters {first_name!r} and {name!r}"
    if other.settings.base_id != first.settings.base_id:
        raise UserError(
            f"They were trained on different bases ({first.settings.base_id!r} and {other.settings.base_id!r}), "
            "so their updates cannot be merged.",
            where=where,
        )
    if different := sorted(set(first.shapes) ^ set(other.shapes)):
        owner = first_name if different[0] in first.shapes else name
        raise UserError(
            f"They adapt different modules: {different[0]} ({len(different)} in all) is only in {owner!r}.",
            where=where,
            hint="Train them with the same lora.targets.",
        )
    for path, expected in first.shapes.items():
        found = other.shapes[path]
        if found != expected:
            raise UserError(
                f"The module {path} is {expected.d_out}×{expected.d_in} in one "
                f"and {found.d_out}×{found.d_in} in the other.",
                where=where,
            )


def _require_finite(name: str, adapter: LoraAdapter) -> None:
    for path, pair in adapter.factors.items():
        if not all(torch.isfinite(factor).all() for factor in pair):
            raise UserError(
                f"The adapter {name!r} holds NaN or infinity in {path}.",
                where="merge",
                hint="Its training went astray; train it again before merging.",
            )
