"""The contract of a decoding engine: one base model loaded once, adapters of any number of pools beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from transformers import PreTrainedTokenizerBase

from hexapla.adapter import LoraAdapter
from hexapla.base import Base
from hexapla.translate.spec import TranslateSpec

Finish = Literal["stop", "newline", "length", "loop", "empty-source", "too-long"]
"""Why an output ended.

* stop: the model ended it.
* newline: the model went on in a new line; cut there.
* length: the source-relative bound.
* loop: a repeating tail, cut off.
* empty-source: a blank source, not given to the model.
* too-long: no room for the output in the model's window or the device's memory; the output is blank.
"""


@dataclass(frozen=True)
class DecodeRequest:
    """One prompt to continue.

    Attributes:
        prompt: token ids.
        adapter: name in the adapter set; None for the bare base.
        max_new_tokens: bound of the output, at least 1.
    """

    prompt: Sequence[int]
    adapter: str | None
    max_new_tokens: int


@dataclass(frozen=True)
class Decoded:
    """The continuation of one prompt.

    Attributes:
        tokens: token ids without the end-of-sequence token and without the repeats of a loop.
        finish: why it ended.
        score: log-probability of the output (its end included) over its length to the power of the length penalty.
    """

    tokens: list[int]
    finish: Finish
    score: float


class Engine(Protocol):
    """A base model that continues prompts.

    Attributes:
        base: the base model that is loaded.
        tokenizer: its tokenizer.
        window: the most tokens of prompt and output together.
    """

    base: Base
    tokenizer: PreTrainedTokenizerBase
    window: int

    def load_adapters(self, adapters: Mapping[str, LoraAdapter]) -> Any:
        """Prepare the adapters of a pool; the result belongs to this engine and is passed to `decode`.

        Raises:
            UserError: an adapter does not fit the base.
        """

    def decode(self, requests: Sequence[DecodeRequest], adapters: Any, spec: TranslateSpec) -> list[Decoded]:
        """Continue every prompt, in the order given; rows of different adapters share the work.

        A batch that does not fit in memory is halved and tried again; a single request that does not fit is `too-long`.
        """
