"""py3langid's naive Bayes over byte n-grams for many texts at once, on numpy: a tenth of the time, the same answers.

py3langid walks through one text after the other, a byte at a time, in Python. Here all texts of a batch take each step
together, and probabilities are computed for all of them. Sums run over features in another order than py3langid's, so
probabilities differ from its own in the last digits; they do not depend on which texts are judged together.

Shapes: N texts, S steps (bytes), V features visited in all, L columns of the model (a label may have several).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 512  # texts that take a step together; more would not fit into the cache
_MAX_STEPS = 2048  # texts with more bytes walk alone: they would keep a whole batch waiting
_MIN_TOGETHER = 8  # fewer texts walk alone, which is faster


class NgramModel:
    """The tables of a `py3langid.langid.LanguageIdentifier`, as arrays.

    Args:
        identifier: with `norm_probs`.

    Attributes:
        labels: of the columns; the later one of two equal labels is never an answer.
    """

    def __init__(self, identifier: Any) -> None:
        self._encode = identifier._encode
        self._walk_alone = _walker(identifier)
        self._next = np.asarray(identifier.tk_nextmove)
        self._rows = np.asarray(identifier._rowbase, dtype=np.int64)
        self._features = np.asarray(identifier.tk_output, dtype=np.int32)
        self._weights_FL = np.asarray(identifier.nb_ptc, dtype=np.float32)
        self._prior_L = np.asarray(identifier.nb_pc, dtype=np.float32)
        self._taken_VL = np.empty((0, len(self._prior_L)), dtype=np.float32)
        self._aliases = tuple(identifier._alias_pairs)
        self.labels = tuple(identifier.nb_classes)

    def rank(self, texts: Sequence[str], num_candidates: int) -> list[list[tuple[str, float]]]:
        """Of each text the likeliest labels with their probabilities, best first."""
        rankings: list[list[tuple[str, float]]] = [[] for _ in texts]
        for numbers, probabilities_NL in self._batches(texts):
            for number, ranking in zip(numbers, self._best(probabilities_NL, num_candidates), strict=True):
                rankings[number] = ranking
        return rankings

    def guess(self, texts: Sequence[str], is_close_LL: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Of each text the likeliest label, and how likely it and the labels close to it are together.

        Args:
            is_close_LL: in the row of each of `labels` 1 for those close to it, itself among them, and 0 for others.
        """
        guesses = [("", 0.0)] * len(texts)
        for numbers, probabilities_NL in self._batches(texts):
            best_N = probabilities_NL.argmax(axis=1)
            sums_N = np.einsum("nl,nl->n", probabilities_NL.clip(min=0), is_close_LL[best_N])
            for number, column, probability in zip(numbers, best_N.tolist(), sums_N.tolist(), strict=True):
                guesses[number] = self.labels[column], probability
        return guesses

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Positions of texts of similar length, with their probabilities."""
        encoded = [self._encode(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda number: len(encoded[number]))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            yield batch, self._probabilities([encoded[number] for number in batch])

    def _probabilities(self, texts: Sequence[bytes]) -> NDArray[np.float32]:
        """The softmax of the scores, flattened by the root of the length: [N, L]; uniform without any feature."""
        scores_NL = np.zeros((len(texts), len(self._prior_L)), dtype=np.float32)
        for number, (features_V, weights_V) in enumerate(self._visits(texts)):
            if len(features_V):
                if len(features_V) > len(self._taken_VL):
                    self._taken_VL = np.empty((2 * len(features_V), len(self._prior_L)), dtype=np.float32)
                taken_VL = self._taken_VL[: len(features_V)]
                self._weights_FL.take(features_V, axis=0, out=taken_VL, mode="clip")  # other modes would copy
                np.add(weights_V @ taken_VL, self._prior_L, out=scores_NL[number])
        roots_N1 = np.array([[math.sqrt(len(text) or 1)] for text in texts])
        scores_NL *= (1 / roots_N1).astype(np.float32)
        np.exp(scores_NL - scores_NL.max(axis=1, keepdims=True), out=scores_NL)
        scores_NL /= scores_NL.sum(axis=1, keepdims=True)
        for first, alias in self._aliases:
            scores_NL[:, first] += scores_NL[:, alias]
            scores_NL[:, alias] = -1.0
        return scores_NL

    def _best(self, probabilities_NL: NDArray[np.float32], num_candidates: int) -> Iterator[list[tuple[str, float]]]:
        num_candidates = min(num_candidates, len(self.labels) - len(self._aliases))
        best = np.sort(np.argpartition(-probabilities_NL, num_candidates - 1, axis=1)[:, :num_candidates], axis=1)
        values = np.take_along_axis(probabilities_NL, best, axis=1)
        ranks = np.argsort(-values, axis=1, kind="stable")
        best, values = np.take_along_axis(best, ranks, axis=1), np.take_along_axis(values, ranks, axis=1)
        for columns, row in zip(best.tolist(), values.tolist(), strict=True):
            yield list(zip([self.labels[column] for column in columns], row, strict=True))

    def _visits(self, texts: Sequence[bytes]) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Of each text the features in it, ascending, and logarithms of their counts; texts are sorted by length."""
        num_short = sum(len(text) <= _MAX_STEPS for text in texts)
        if num_short < _MIN_TOGETHER:
            num_short = 0
        if num_short:
            yield from self._walk_together(texts[:num_short])
        for text in texts[num_short:]:
            features_V, counts_V = np.unique(self._walk_alone(text), return_counts=True)
            yield features_V, np.log1p(counts_V.astype(np.float32))

    def _walk_together(self, texts: Sequence[bytes]) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        lengths = np.array([len(text) for text in texts])
        num_steps = int(lengths[-1])
        letters_NS = np.zeros((len(texts), num_steps), dtype=np.int64)
        letters_NS[np.arange(num_steps) < lengths[:, None]] = np.frombuffer(b"".join(texts), dtype=np.uint8)
        letters_SN = np.ascontiguousarray(letters_NS.T)
        met_SN = np.full((num_steps, len(texts)), -1, dtype=np.int32)
        states = np.zeros(len(texts), dtype=np.int64)
        for step, first in enumerate(np.searchsorted(lengths, np.arange(num_steps), side="right").tolist()):
            states = states[-(len(texts) - first) :]
            states = self._next.take(self._rows.take(states) + letters_SN[step, first:])
            self._features.take(states, out=met_SN[step, first:], mode="clip")
        met_NS = np.sort(met_SN.T, axis=1)
        is_first = np.ones(met_NS.shape, dtype=bool)
        is_first[:, 1:] = met_NS[:, 1:] != met_NS[:, :-1]
        is_first &= met_NS >= 0
        at = np.flatnonzero(is_first)
        # A feature's last meeting is before the next feature of the text, or at the end of its row.
        ends = np.append(at[1:], met_NS.size)
        row_ends = (at // met_NS.shape[1] + 1) * met_NS.shape[1]
        weights_V = np.log1p((np.minimum(ends, row_ends) - at).astype(np.float32))
        features_V = met_NS.ravel()[at]
        bounds = np.concatenate(([0], np.cumsum(is_first.sum(axis=1)))).tolist()
        for start, stop in itertools.pairwise(bounds):
            yield features_V[start:stop], weights_V[start:stop]


def _walker(identifier: Any) -> Any:
    """A function from one encoded text to the array of all features met in it."""
    from py3langid.langid import visit_counts

    def walk(text: bytes) -> NDArray[np.int32]:
        counts = visit_counts(identifier.tk_nextmove, identifier._rowbase, identifier.tk_output, text) or {}
        return np.repeat(np.fromiter(counts, dtype=np.int32), np.fromiter(counts.values(), dtype=np.int64))

    return walk
