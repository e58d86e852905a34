"""xCOMET (Guerreiro et al., 2024): a unified metric that also tags the tokens of the translation as errors.

Its score joins the regression's (weights 0.12, 0.33, 0.33 of the passes with source, reference, and both) with that of
the errors found (0.22): 1 - Σ severity / 25, where minor, major and critical ones count 1, 5 and 10, 25 at most.

Shapes: N tokens of a batch, T of a sequence, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hexapla.common.errors import UserError
from hexapla.neural.checkpoint import Hyperparameters, Tensors
from hexapla.neural.scorer import UnifiedScorer

_LABELS = ("minor", "major", "critical")
_SEVERITY = (1, 5, 10)
_WORST = 25
_PASS_WEIGHTS = (0.12, 0.33, 0.33)
_ERRORS_WEIGHT = 0.22
# How much the tags of each pass count; unbabel-comet writes them so, they add up to 1.
_TAG_WEIGHTS = (0.1667, 0.3333, 0.5)


class XcometScorer(UnifiedScorer):
    """xCOMET, with references or without."""

    def _prepare(self, tensors: Tensors, hyperparameters: Hyperparameters) -> int:
        if hyperparameters.error_labels != _LABELS:
            raise UserError(f"xCOMET tags errors as {', '.join(_LABELS)}; this model does not.")
        self._word_layer = hyperparameters.word_layer
        if not 0 <= self._word_layer <= self._encoder.depth:
            raise UserError(f"The encoder has no layer {self._word_layer}, its layers are 0 to {self._encoder.depth}.")
        num_labels = len(_LABELS) + 1
        weight = tensors.take("hidden2tag.weight", num_labels, self._encoder.width)
        bias = tensors.take("hidden2tag.bias", num_labels)
        self._tags = weight.to(self._device, torch.float32), bias.to(self._device, torch.float32)
        return self._word_layer

    def _compute(self, segments: Sequence[tuple[str, ...]]) -> list[float]:
        rows = self._passes(segments)
        hypotheses = self._tokenizer.encode([segment[0] for segment in segments])
        num_passes = len(rows) // len(segments)
        scores = torch.empty(len(rows), device=self._device)
        tags: list[Tensor] = [torch.empty(0)] * len(rows)
        for batch, encoded in self._encode_rows(rows):
            scores[torch.tensor(batch, device=self._device)] = self._regression(self._pool(encoded))
            tags_NL = torch.nn.functional.linear(encoded.states[self._word_layer].float(), *self._tags).softmax(1)
            for row, tags_TL in zip(batch, tags_NL.cpu().split([len(rows[row]) for row in batch]), strict=True):
                tags[row] = tags_TL[: len(hypotheses[row // num_passes])]
        clipped = scores.clamp(max=1.0).view(len(segments), num_passes).tolist()
        found = []
        for number, passes in enumerate(clipped):
            own = tags[number * num_passes : (number + 1) * num_passes]
            weights = _PASS_WEIGHTS if num_passes > 1 else (sum(_PASS_WEIGHTS),)
            regression = sum(weight * score for weight, score in zip(weights, passes, strict=True))
            found.append(regression + _ERRORS_WEIGHT * (1 - weigh_errors(_average(own)) / _WORST))
        return found


def weigh_errors(tags_TL: Tensor) -> int:
    """The weight of the errors that tokens are tagged with, 25 at most.

    Neighbouring tagged tokens are one error, as severe as its first. As in unbabel-comet, one that reaches to the end
    of the tokens is not counted.

    Args:
        tags_TL: probabilities of no error, minor, major and critical.
    """
    total, current = 0, 0
    for label in tags_TL.argmax(1).tolist():
        if label and not current:
            current = _SEVERITY[label - 1]
        elif not label:
            total, current = total + current, 0
    return min(total, _WORST)


def _average(passes: Sequence[Tensor]) -> Tensor:
    if len(passes) == 1:
        return passes[0]
    return torch.stack([weight * tags_TL for weight, tags_TL in zip(_TAG_WEIGHTS, passes, strict=True)]).sum(0)
