"""Hexapla turns an open language model into a translator between many languages.

The library's main names load lazily, so that importing the package stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Direction", "Pool", "Recipe", "Translator", "__version__"]

if TYPE_CHECKING:
    from hexapla.languages import Direction
    from hexapla.pool import Pool
    from hexapla.recipe import Recipe
    from hexapla.translate.translator import Translator

_HOMES = {
    "Direction": "hexapla.languages",
    "Pool": "hexapla.pool",
    "Recipe": "hexapla.recipe",
    "Translator": "hexapla.translate.translator",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hexapla' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
