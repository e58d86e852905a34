"""The adapters of one merge, read one module at a time.

Shapes: K adapters, O output width, I input width, r_k rank of adapter k.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import safe_open

from hexapla.adapter import WEIGHTS_FILE, LoraAdapter, LoraSettings, read_adapter
from hexapla.common.errors import UserError

# Entries of one adapter in a block (measured 2026-11-21: four times fewer or more are slower). It does not depend on K,
# so that random masks do not depend on an adapter's company.
_BLOCK_ENTRIES = 1 << 18


@dataclass(frozen=True)
class Shape:
    """Widths of a linear layer: its weight is [d_out, d_in]."""

    d_out: int
    d_in: int

    @property
    def num_entries(self) -> int:
        """Entries of the weight."""
        return self.d_out * self.d_in


class Experts:
    """Adapters that fit together: same base, same modules, same shapes, finite numbers. Sorted by name.

    Use as a context manager: the weight files are open (memory-mapped) inside.

    Raises:
        UserError: two of them do not fit together, or one holds NaN or infinity; the message names adapter and module.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.names = tuple(sorted(folders))
        self._folders = folders
        first: LoraAdapter | None = None
        settings, ranks = [], []
        dtypes: list[torch.dtype] = []
        for name in self.names:
            adapter = read_adapter(folders[name])
            if first is None:
                first = adapter
                self.shapes = {path: Shape(b.shape[0], a.shape[1]) for path, (a, b) in adapter.factors.items()}
            _require_fit(self.names[0], first.settings, self.shapes, name, adapter)
            _require_finite(name, adapter)
            settings.append(adapter.settings)
            ranks.append({path: a.shape[0] for path, (a, _) in adapter.factors.items()})
            dtypes.extend({factor.dtype for pair in adapter.factors.values() for factor in pair})
        self.settings: tuple[LoraSettings, ...] = tuple(settings)
        self.ranks: tuple[Mapping[str, int], ...] = tuple(ranks)
        self.dtype = dtypes[0]
        for dtype in dtypes:
            self.dtype = torch.promote_types(self.dtype, dtype)
        self._files: list[Any] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for name in self.names:
            self._files.append(self._stack.enter_context(safe_open(self._folders[name] / WEIGHTS_FILE, framework="pt")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.clear()
        self._stack.close()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def max_rank(self) -> int:
        """The largest rank of any module of any adapter."""
        return max(rank for ranks in self.ranks for rank in ranks.values())

    @property
    def num_entries(self) -> int:
        """Entries of the whole update of one adapter."""
        return sum(shape.num_entries for shape in self.shapes.values())

    def scale(self, adapter: int, path: str) -> float:
        """The factor before B·A of a module in the adapter at position `adapter`."""
        return self.settings[adapter].scale(path)

    def factors(self, path: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(A [r_k, I], B [O, r_k]) of every adapter, in the precision they were saved in."""
        prefix = f"base_model.model.{path}.lora_"
        return [(file.get_tensor(f"{prefix}A.weight"), file.get_tensor(f"{prefix}B.weight")) for file in self._files]

    def blocks(self, path: str) -> Iterator[tuple[slice, torch.Tensor]]:
        """The updates ΔW_k = s_k B_k A_k of a module in float32, in blocks of rows: (rows, [K, rows, I]).

        Every pass gives the same bits, for the blocks are the same.
        """
        shape = self.shapes[path]
        factors = [(a.float(), b.float(), self.scale(k, path)) for k, (a, b) in enumerate(self.factors(path))]
        num_rows = max(1, _BLOCK_ENTRIES // shape.d_in)
        for start in range(0, shape.d_out, num_rows):
            rows = slice(start, min(start + num_rows, shape.d_out))
            yield rows, torch.stack([(b[rows] @ a) * scale for a, b, scale in factors])

    def all_blocks(self) -> Iterator[torch.Tensor]:
        """The blocks of every module, one after another."""
        for path in self.shapes:
            for _, block in self.blocks(path):
                yield block


def _require_fit(
    first_name: str, first: LoraSettings, shapes: Mapping[str, Shape], name: str, adapter: LoraAdapter
) -> None:
    where = f"adapters {first_name!r} and {name!r}"
    if adapter.settings.base_id != first.base_id:
        raise UserError(
            f"They were trained on different bases ({first.base_id!r} and {adapter.settings.base_id!r}), "
            "so their updates cannot be merged.",
            where=where,
        )
    if different := sorted(set(shapes) ^ set(adapter.factors)):
        owner = first_name if different[0] in shapes else name
        raise UserError(
            f"They adapt different modules: {different[0]} ({len(different)} in all) is only in {owner!r}.",
            where=where,
            hint="Train them with the same lora.targets.",
        )
    for path, (a, b) in adapter.factors.items():
        found = Shape(b.shape[0], a.shape[1])
        if found != shapes[path]:
            raise UserError(
                f"The module {path} is {shapes[path].d_out}×{shapes[path].d_in} in one "
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
