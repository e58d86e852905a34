"""Settings of translation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hexapla.common.spec import Spec


class TranslateSpec(Spec):
    """How a pool's outputs are searched for, bounded and batched."""

    beams: int = Field(default=5, ge=1, le=64, description="Width of the beam search; 1 is greedy search.")
    length_penalty: float = Field(
        default=1.0,
        description="Exponent of the output's length by which its log-probability is divided; 1 is the mean per token.",
    )
    batch_tokens: int = Field(
        default=16384,
        ge=1,
        description="Prompt tokens of a batch, padding included, each counted once per beam. What does not fit in the "
        "device's memory is halved and tried again.",
    )
    max_length_ratio: float = Field(
        default=12.0,
        gt=0,
        description="Output tokens allowed per source token. Tokenizers spend up to about ten times as many tokens on "
        "some languages as on English (arXiv 2305.15425), so a small ratio cuts sound translations; lower it where the "
        "tokenizer treats all languages alike.",
    )
    max_extra_tokens: int = Field(
        default=32, ge=1, description="Output tokens allowed beyond the ratio: the room of very short sources."
    )
    loop_ngram: int = Field(
        default=16,
        ge=0,
        description="Longest repeating unit, in tokens, that is taken for a loop; 0 switches loop cutting off.",
    )
    loop_repeats: int = Field(
        default=6,
        ge=2,
        description="Repetitions in a row that make a loop. Fewer occur in sound text (digits, laughter, refrains).",
    )
    pmp: Literal["none", "given", "self"] = Field(
        default="none",
        description="Parallel multilingual prompting. The source alone; with its translation into an auxiliary "
        "language as it is given beside the source; or with one that the pool makes first.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Precision of the base's weights; auto is bf16 on a GPU that has it and fp32 elsewhere.",
    )
