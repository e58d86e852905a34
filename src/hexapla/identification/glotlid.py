"""GlotLID: a fastText classifier of some 2000 languages and scripts (Kargaran et al., 2023, arXiv 2310.16248)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.errors import UserError, require_extra
from hexapla.identification.identifier import Identifier

if TYPE_CHECKING:
    from hexapla.identification.spec import IdentificationSpec

_CANDIDATES = 8
_PREFIX = "__label__"
_MIB = 2**20


class GlotLid(Identifier):
    """For languages that the others do not cover; its model file (1.7 GB) is never downloaded.

    Any fastText classifier with labels such as `__label__deu_Latn` or `__label__de` will do, OpenLID's for one.
    """

    name = "glotlid"
    limit = 0.5  # assumption: not measured, for want of the file

    def __init__(self, spec: IdentificationSpec) -> None:
        super().__init__(spec)
        assert spec.model is not None, "the settings demand it"
        if not spec.model.is_file():
            raise UserError("There is no such file.", where=str(spec.model), hint="Identification needs it.")
        require_extra("fasttext", "glotlid", "Identifying languages with glotlid")
        self._path = spec.model
        self.version = _fingerprint(spec.model)

    def labels(self) -> Sequence[str]:
        """Codes with scripts, such as `deu_Latn`."""
        return [label for label, _ in self._predict("", -1)]

    def rank(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Softmax probabilities."""
        return [self._predict(text, _CANDIDATES) for text in texts]

    def _predict(self, line: str, num_labels: int) -> list[tuple[str, float]]:
        # The model's own `predict` fails with numpy 2 (in fasttext and fasttext-wheel); what it wraps does not.
        found = self._model.f.predict(line + "\n", num_labels, 0.0, "strict")
        return [(label.removeprefix(_PREFIX), min(probability, 1.0)) for probability, label in found]

    @cached_property
    def _model(self) -> Any:
        import fasttext

        try:
            return fasttext.load_model(str(self._path))
        except ValueError as error:
            raise UserError("This is no fastText model.", where=str(self._path), hint=str(error)) from error


def _fingerprint(path: Path) -> str:
    """A digest of a model's size and both of its ends: the whole of a large one takes seconds."""
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(f"{size}:".encode() + file.read(_MIB))
        file.seek(max(size - _MIB, 0))
        digest.update(file.read())
    return digest.hexdigest()[:12]
