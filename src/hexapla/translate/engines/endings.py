"""When an output is over: end of sequence, a new line after text, a loop, its bound.

Shapes: `...` any leading dimensions (rows, or requests and beams), P loop periods, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hexapla.translate.engines.engine import Finish
from hexapla.translate.spec import TranslateSpec

RUNNING, STOP, NEWLINE, LOOP, LENGTH = range(5)
FINISH_OF_CODE: dict[int, Finish] = {STOP: "stop", NEWLINE: "newline", LOOP: "loop", LENGTH: "length"}


@dataclass(frozen=True)
class TokenKinds:
    """What a token does to an output; each tensor is boolean [V].

    Attributes:
        ends: end-of-sequence tokens.
        has_text: tokens with something visible before any line break.
        breaks: tokens with a line break.
    """

    ends: Tensor
    has_text: Tensor
    breaks: Tensor


def token_kinds(
    tokenizer: PreTrainedTokenizerBase, end_ids: Sequence[int], num_entries: int, device: torch.device
) -> TokenKinds:
    """Sort the vocabulary; `num_entries` is the width of the model's output, which may exceed the tokenizer's."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))], skip_special_tokens=True)
    flags = torch.zeros(3, num_entries, dtype=torch.bool)
    flags[0, list(end_ids)] = True
    for token, text in enumerate(texts[:num_entries]):
        first_line, line_break, _ = text.partition("\n")
        flags[1, token] = bool(first_line.strip())
        flags[2, token] = bool(line_break)
    flags = flags.to(device)
    return TokenKinds(*flags)


@dataclass
class Tails:
    """What must be remembered of each output to see that it is over.

    Attributes:
        has_text: whether anything visible was produced [...].
        recent: the last tokens, newest first [..., P]; -1 before the start.
        repeated: for every period, how many of the last tokens equal the one a period earlier [..., P].
    """

    has_text: Tensor
    recent: Tensor
    repeated: Tensor

    @classmethod
    def start(cls, shape: tuple[int, ...], spec: TranslateSpec, device: torch.device) -> Tails:
        """Outputs without a token."""
        periods = (*shape, spec.loop_ngram)
        return cls(
            torch.zeros(shape, dtype=torch.bool, device=device),
            torch.full(periods, -1, device=device),
            torch.zeros(periods, dtype=torch.long, device=device),
        )

    def take(self, rows: Tensor) -> Tails:
        """The outputs at `rows` of the first dimension."""
        return Tails(self.has_text[rows], self.recent[rows], self.repeated[rows])

    def take_beams(self, beams_BK: Tensor) -> Tails:
        """The outputs [B, K] at `beams_BK` of the second dimension."""
        wide = beams_BK[..., None].expand(*beams_BK.shape, self.recent.shape[-1])
        return Tails(self.has_text.gather(1, beams_BK), self.recent.gather(1, wide), self.repeated.gather(1, wide))

    def extend(self, tokens: Tensor, kinds: TokenKinds, spec: TranslateSpec) -> tuple[Tails, Tensor]:
        """Append a token to every output.

        Returns:
            The new tails, and why each output is over: RUNNING, STOP, NEWLINE or LOOP [...].
        """
        has_text = self.has_text | kinds.has_text[tokens]
        codes = torch.where(kinds.ends[tokens], STOP, RUNNING)
        codes = torch.where(kinds.breaks[tokens] & has_text & (codes == RUNNING), NEWLINE, codes)
        if spec.loop_ngram == 0:
            return Tails(has_text, self.recent, self.repeated), codes
        repeated = torch.where(self.recent == tokens[..., None], self.repeated + 1, 0)
        recent = torch.cat([tokens[..., None], self.recent[..., :-1]], dim=-1)
        periods = torch.arange(1, spec.loop_ngram + 1, device=tokens.device)
        loops = (repeated >= periods * (spec.loop_repeats - 1)).any(-1)
        return Tails(has_text, recent, repeated), torch.where(loops & (codes == RUNNING), LOOP, codes)


def without_loop(tokens: list[int], spec: TranslateSpec) -> list[int]:
    """Cut a repeating tail down to the first occurrence of its unit; unchanged when there is no loop."""
    for period in range(1, spec.loop_ngram + 1):
        repeated = 0
        while repeated + period < len(tokens) and tokens[-1 - repeated] == tokens[-1 - repeated - period]:
            repeated += 1
        if repeated >= period * (spec.loop_repeats - 1):
            return tokens[: len(tokens) - repeated]
    return tokens
