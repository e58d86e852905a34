"""COMET-22 (Rei et al., 2022a), CometKiwi-22 (Rei et al., 2022b) and xCOMET (Guerreiro et al., 2024).

Their published checkpoints are read and scored by our own loader, `hexapla.neural`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from hexapla.base import choose_device, choose_dtype
from hexapla.common.errors import UserError
from hexapla.evaluate.metrics.metric import MeanMetric, Segments, Text
from hexapla.evaluate.metrics.settings import MetricSettings
from hexapla.neural.checkpoint import Checkpoint, find_checkpoint
from hexapla.neural.spec import PUBLISHED
from hexapla.neural.tokenizer import EncoderFiles, find_encoder_files

if TYPE_CHECKING:
    from hexapla.neural.scorer import Scorer
    from hexapla.neural.spans import ErrorSpan


class NeuralMetric(MeanMetric):
    """A metric computed by a model of COMET's; its statistics are [score, 1], its figure is 100 times the mean.

    Making one finds the checkpoint and the tokenizer, and so tells what is missing; the weights come with the first
    statistics, and are shared by all metrics of this process that are told to use the same model in the same way.
    """

    name: ClassVar[str]
    model_class: ClassVar[str]

    def __init__(self, target: str, settings: MetricSettings) -> None:
        neural = settings.neural
        source = neural.models.get(self.name, PUBLISHED[self.name])
        self._target = target
        self._checkpoint = find_checkpoint(source, f"The checkpoint of {self.name}")
        hyperparameters = self._checkpoint.hyperparameters
        if hyperparameters.class_identifier != self.model_class:
            raise UserError(
                f"{self.name} needs a checkpoint of the class {self.model_class}, this one is of the class "
                f"{hyperparameters.class_identifier}.",
                where=source,
                hint=f"Correct neural.models.{self.name}.",
            )
        self._files = find_encoder_files(self._checkpoint, neural.tokenizer)
        device = choose_device()
        dtype = choose_dtype(neural.precision, device)
        self._placement = (neural.precision, str(device), neural.batch_tokens)
        self.signature = "|".join(
            (
                f"model:{self._checkpoint.identity}",
                f"class:{hyperparameters.class_identifier.removesuffix('_metric')}",
                f"mix:{hyperparameters.mix}" if hyperparameters.pooled_layer == "mix" else "mix:no",
                f"layer-norm:{'yes' if hyperparameters.layer_norm else 'no'}",
                f"tokenizer:{self._files.digest}",
                f"precision:{'bf16' if dtype.itemsize == 2 else 'fp32'}",
                f"scale:{self.scale:g}",
                *(f"{package}:{version(package)}" for package in ("torch", "transformers", "tokenizers", "hexapla")),
            )
        )

    def statistics(self, segments: Segments) -> list[list[float]]:
        """[score, 1] of each segment.

        Raises:
            UserError: the weights are missing, damaged or of another kind; a score is not finite.
        """
        if not segments.hypotheses:
            return []
        scores = self._scorer().score(*self._texts(segments))
        for number, score in enumerate(scores, start=1):
            if not math.isfinite(score):
                direction = f"{segments.source}-{self._target}" if segments.source else f"into {self._target}"
                raise UserError(
                    f"{self.title} of segment {number} ({direction}) is {score}: the model's numbers overflowed, or "
                    "its weights are damaged.",
                    hint="Set neural.precision to fp32; if that does not help, fetch the checkpoint anew.",
                )
        return [[score, 1.0] for score in scores]

    def _scorer(self) -> Scorer:
        return _shared_scorer(self._checkpoint, self._files, self._placement)

    def _texts(self, segments: Segments) -> tuple[Sequence[str], Sequence[str], Sequence[str] | None]:
        """Sources, hypotheses, and references where the model reads them."""
        references = segments.required("references") if "references" in self.needs else None
        return segments.required("sources"), segments.hypotheses, references


class Comet22(NeuralMetric):
    """COMET-22: a regression from source, translation and reference, trained on direct assessments."""

    title = "COMET-22"
    needs: ClassVar[tuple[Text, ...]] = ("sources", "references")
    name = "comet22"
    model_class = "regression_metric"


class CometKiwi22(NeuralMetric):
    """CometKiwi-22: an estimate of quality from source and translation, without reference."""

    title = "CometKiwi-22"
    needs: ClassVar[tuple[Text, ...]] = ("sources",)
    name = "cometkiwi22"
    model_class = "unified_metric"


class XcometXl(NeuralMetric):
    """xCOMET-XL: as COMET-22, with the errors that the model itself finds in the translation weighed in."""

    title = "xCOMET-XL"
    needs: ClassVar[tuple[Text, ...]] = ("sources", "references")
    name = "xcomet-xl"
    model_class = "xcomet_metric"

    def errors(self, segments: Segments) -> Sequence[Sequence[ErrorSpan]]:
        """Those that were weighed into the statistics; where these were asked for before, nothing is encoded again.

        Raises:
            UserError: as `statistics`.
        """
        if not segments.hypotheses:
            return []
        from hexapla.neural.xcomet import XcometScorer

        scorer = self._scorer()
        assert isinstance(scorer, XcometScorer), "the class of the checkpoint was looked at"
        return scorer.find_errors(*self._texts(segments))


class XcometXxl(XcometXl):
    """xCOMET-XXL: the same with a larger encoder."""

    title = "xCOMET-XXL"
    name = "xcomet-xxl"


# Two: a model with references and one without, on one device.
@lru_cache(maxsize=2)
def _shared_scorer(checkpoint: Checkpoint, files: EncoderFiles, placement: tuple[Any, str, int | None]) -> Scorer:
    from hexapla.neural.scorer import make_scorer

    precision, device, batch_tokens = placement
    return make_scorer(checkpoint, files, precision=precision, device=choose_device(device), batch_tokens=batch_tokens)


def release_scorers() -> None:
    """Free the models that the metrics of this process hold."""
    _shared_scorer.cache_clear()
