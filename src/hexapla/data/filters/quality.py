"""Pairs that a model of translation quality takes for bad translations (CometKiwi; Rei et al., 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hexapla.common.errors import UserError
from hexapla.data.filters.filter import PairFilter
from hexapla.data.filters.thresholds import Tiers
from hexapla.neural.spec import PUBLISHED

if TYPE_CHECKING:
    from hexapla.neural import Scorer


class QualityFilter(PairFilter):
    """Rejects pairs by the score of a reference-free COMET model; the first side is taken for the source.

    Every pair goes through a large model: put this filter last, and use a GPU for more than some thousand pairs.
    """

    filter: Literal["quality"] = Field("quality", description="A model takes the pair for a bad translation.")
    min: float | Tiers = Field(
        Tiers(high=0.75, mid=0.7, low=0.6),
        description="Least score, or one for each tier; the side with fewer resources decides. Defaults: ours, within "
        "the 0.6 to 0.8 that LMT plots.",
    )
    model: str = Field(PUBLISHED["cometkiwi22"], description="Local folder or hub id of the checkpoint.")
    tokenizer: str | None = Field(
        None, description="Folder or hub id of the encoder's tokenizer; null: as the checkpoint says."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU that has it.")
    batch_tokens: int | None = Field(
        None, ge=1, description="Tokens a batch, padding included; null: as suits the device."
    )
    reasons: ClassVar[Mapping[str, str]] = {"low-quality": "the model scores it lower than the threshold"}
    one_process: ClassVar[bool] = True

    def require(self) -> None:
        """Refuse a checkpoint or tokenizer that is not here, and one that needs references."""
        from hexapla.neural.checkpoint import find_checkpoint
        from hexapla.neural.tokenizer import find_encoder_files

        checkpoint = find_checkpoint(self.model, "The model of the filter quality")
        find_encoder_files(checkpoint, self.tokenizer)
        if checkpoint.hyperparameters.is_regression or "src" not in checkpoint.hyperparameters.input_segments:
            raise UserError(
                "The filter quality needs a model that scores without references; this one compares with references.",
                where=self.model,
                hint=f"The published one is {PUBLISHED['cometkiwi22']}.",
            )

    @property
    def version(self) -> str:
        """The checkpoint with its digest."""
        from hexapla.neural.checkpoint import find_checkpoint

        return find_checkpoint(self.model, "The model of the filter quality").identity

    def judge(self, codes: tuple[str, str], first: Sequence[str], second: Sequence[str]) -> list[str | None]:
        """The reason of each pair, or None."""
        limit = self.min.of(*codes) if isinstance(self.min, Tiers) else self.min
        scorer = _scorer(self.model, self.tokenizer, self.precision, self.batch_tokens)
        return ["low-quality" if score < limit else None for score in scorer.score(first, second)]

    def release(self) -> None:
        """Free the model."""
        _scorer.cache_clear()


@lru_cache(maxsize=1)
def _scorer(
    model: str, tokenizer: str | None, precision: Literal["auto", "fp32", "bf16"], batch_tokens: int | None
) -> Scorer:
    from hexapla.neural import load_scorer

    return load_scorer(model, tokenizer=tokenizer, precision=precision, batch_tokens=batch_tokens)
