"""py3langid: naive Bayes over byte n-grams, 140 languages, 4.5 MB (Lui & Baldwin, 2012; Barbaresi's fork)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any

from hexapla.identification.identifier import Identified, Identifier
from hexapla.identification.relatives import are_relatives, language_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hexapla.identification.ngrams import NgramModel
    from hexapla.identification.spec import IdentificationSpec

_CANDIDATES = 8


class Py3LangId(Identifier):
    """The default: covers all languages of DAT, and errs least on both corpora that we measured."""

    name = "py3langid"
    # November 2026, py3langid 0.4.0: calls 0.08 % of the phrasebook's sentences (19 languages, about five words) and
    # 0.01 % of NTREX-128's (50 languages) another language than they are, and 11 % and 1.7 % unknown; with 0.5 it would
    # be 0.68 % and 0.08 %, and 3 % and 0.5 % unknown; with 0.9 none, and 21 % and 4 % unknown.
    limit = 0.75

    def __init__(self, spec: IdentificationSpec) -> None:
        super().__init__(spec)
        self.version = metadata.version("py3langid")

    def labels(self) -> Sequence[str]:
        """ISO 639 codes, of two or three letters."""
        return list(self._model.labels)

    def rank(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Posterior probabilities, flattened by the root of the length as py3langid does."""
        return self._ngrams.rank(texts, _CANDIDATES)

    def _guess(self, texts: Sequence[str]) -> list[Identified | None]:
        found = self._ngrams.guess(texts, self._close)
        return [Identified(language_of(label), probability) for label, probability in found]

    @cached_property
    def _close(self) -> NDArray[np.float32]:
        """Which of the model's labels are of one language, or of close relatives."""
        import numpy as np

        codes = [language_of(label) for label in self._ngrams.labels]
        return np.array(
            [[one == other or are_relatives(one, other) for other in codes] for one in codes], dtype=np.float32
        )

    @cached_property
    def _model(self) -> Any:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    @cached_property
    def _ngrams(self) -> NgramModel:
        from hexapla.identification.ngrams import NgramModel

        return NgramModel(self._model)
