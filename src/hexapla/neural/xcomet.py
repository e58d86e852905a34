"""xCOMET (Guerreiro et al., 2024): a unified metric that also tags the tokens of the translation as errors.

Its score joins the regression's (weights 0.12, 0.33, 0.33 of the passes with source, reference, and both) with that of
the errors found (0.22): 1 - Σ severity / 25, where minor, major and critical ones count 1, 5 and 10, 25 at most. Score
and errors come of the same passes.

Shapes: N tokens of a batch, T of a sequence, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hexapla.common.errors import UserError
from hexapla.neural.checkpoint import Hyperparameters, Tensors
from hexapla.neural.encoder import EncodedBatch
from hexapla.neural.scorer import Judgement, UnifiedScorer
from hexapla.neural.spans import SEVERITIES, WORST, ErrorSpan, join_tags, weigh

if TYPE_CHECKING:
    from tokenizers import Encoding

_PASS_WEIGHTS = (0.12, 0.33, 0.33)
_ERRORS_WEIGHT = 0.22
# How much the tags of each pass count; unbabel-comet writes them so, they add up to 1.
_TAG_WEIGHTS = (0.1667, 0.3333, 0.5)


class XcometScorer(UnifiedScorer):
    """xCOMET, with references or without."""

    def find_errors(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str] | None = None
    ) -> list[tuple[ErrorSpan, ...]]:
        """The errors in each hypothesis, in its order; segments that were scored before are not encoded again.

        Args:
            sources, hypotheses, references: the texts of one segment at one position.

        Raises:
            ValueError: the lists are of different lengths.
        """
        with torch.inference_mode():
            blocks = self._blocks(sources, hypotheses, references)
            return [judgement.errors for block in blocks for judgement in self._judge(*block)]

    def _prepare(self, tensors: Tensors, hyperparameters: Hyperparameters) -> int:
        if hyperparameters.error_labels != SEVERITIES:
            raise UserError(f"xCOMET tags errors as {', '.join(SEVERITIES)}; this model does not.")
        self._word_layer = hyperparameters.word_layer
        if not 0 <= self._word_layer <= self._encoder.depth:
            raise UserError(f"The encoder has no layer {self._word_layer}, its layers are 0 to {self._encoder.depth}.")
        num_labels = len(SEVERITIES) + 1
        weight = tensors.take("hidden2tag.weight", num_labels, self._encoder.width)
        bias = tensors.take("hidden2tag.bias", num_labels)
        self._tags = weight.to(self._device, torch.float32), bias.to(self._device, torch.float32)
        return self._word_layer

    def _compute(self, segments: Sequence[tuple[str, ...]]) -> list[Judgement]:
        rows = self._passes(segments)
        hypotheses = self._tokenizer.encode_with_places([segment[0] for segment in segments])
        num_passes = len(rows) // len(segments)
        scores = torch.empty(len(rows), device=self._device)
        tags: list[Tensor] = [torch.empty(0)] * len(rows)
        for batch, (scores_B, tags_NL) in self._encode_rows(rows, self._score_and_tag):
            scores[torch.tensor(batch, device=self._device)] = scores_B
            for row, tags_TL in zip(batch, tags_NL.split([len(rows[row]) for row in batch]), strict=True):
                tags[row] = tags_TL[: len(hypotheses[row // num_passes])]
        clipped = scores.clamp(max=1.0).view(len(segments), num_passes).tolist()
        weights = _PASS_WEIGHTS if num_passes > 1 else (sum(_PASS_WEIGHTS),)
        found = []
        for number, passes in enumerate(clipped):
            first = number * num_passes
            errors = self._errors(_average(tags[first : first + num_passes]), rows[first], hypotheses[number])
            regression = sum(weight * score for weight, score in zip(weights, passes, strict=True))
            weight_of_errors = weigh(error.severity for error in errors)
            found.append(Judgement(regression + _ERRORS_WEIGHT * (1 - weight_of_errors / WORST), errors))
        return found

    def _score_and_tag(self, encoded: EncodedBatch) -> tuple[Tensor, Tensor]:
        """Scores by the regression [B], and probabilities of the tokens' tags [N, L] on the CPU."""
        tags_NL = torch.nn.functional.linear(encoded.states[self._word_layer].float(), *self._tags).softmax(1)
        return self._regression(self._pool(encoded)), tags_NL.cpu()

    def _errors(self, tags_TL: Tensor, row: list[int], hypothesis: Encoding) -> tuple[ErrorSpan, ...]:
        """The errors in a hypothesis, of which `row` is encoded with what it is compared with behind it."""
        found = join_tags(tags_TL)
        if not found:
            return ()
        # Padding tokens that are written in the text are in the places and not in the row: what is behind them is
        # out of step, in unbabel-comet too, and the score depends on it.
        places = hypothesis.offsets
        return tuple(
            ErrorSpan(
                text=self._tokenizer.decode(row[tagged.first : tagged.end]),
                severity=tagged.severity,
                start=places[tagged.first][0],
                end=places[tagged.end - 1][1],
                confidence=tagged.confidence,
            )
            for tagged in found
        )


def _average(passes: Sequence[Tensor]) -> Tensor:
    if len(passes) == 1:
        return passes[0]
    # rows that lost padding tokens written in the text can be shorter than the hypothesis, each in its own way
    length = min(len(tags_TL) for tags_TL in passes)
    return torch.stack([w * tags_TL[:length] for w, tags_TL in zip(_TAG_WEIGHTS, passes, strict=True)]).sum(0)
