"""The registry of identifiers of languages. Importing it is light: models are loaded with the first text."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hexapla.identification.glotlid import GlotLid
from hexapla.identification.identifier import Identified, Identifier
from hexapla.identification.lingua import Lingua
from hexapla.identification.py3langid import Py3LangId
from hexapla.identification.relatives import are_relatives, language_of

if TYPE_CHECKING:
    from hexapla.identification.spec import IdentificationSpec

IDENTIFIERS: dict[str, type[Identifier]] = {"py3langid": Py3LangId, "lingua": Lingua, "glotlid": GlotLid}


@lru_cache(maxsize=4)
def make_identifier(spec: IdentificationSpec) -> Identifier:
    """The identifier that `spec` names; the same object each time, as a model takes 0.1 to 1.7 GB.

    Raises:
        UserError: its package or its model file is missing.
    """
    return IDENTIFIERS[spec.identifier](spec)


__all__ = ["IDENTIFIERS", "Identified", "Identifier", "are_relatives", "language_of", "make_identifier"]
