"""Greedy and beam search over a batch whose rows leave when they are done.

Beam search gives what transformers' `generate(num_beams=n, early_stopping=False)` gives (its default), request by
request: a request ends when `n` outputs are finished and the best running one, normalised at its present length, is no
better than the worst of them; or at its bound. It also ends as soon as no running output can overtake the best finished
one even if every further token were certain, which changes nothing in the result.

Shapes: B requests still in the batch, W beams, N = B·W rows, V vocabulary, K candidates, L longest bound.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from hexapla.translate.engines.endings import (
    FINISH_OF_CODE,
    LENGTH,
    LOOP,
    RUNNING,
    STOP,
    Tails,
    TokenKinds,
    without_loop,
)
from hexapla.translate.engines.engine import Decoded
from hexapla.translate.spec import TranslateSpec

_NEVER = -1.0e9
"""Score of what must not be chosen, as in transformers: far below any sum of log-probabilities, finite in fp32."""
_DROP_SHARE = 8
"""Finished rows leave once they are an eighth of the batch: leaving copies the cache of the others (assumption)."""


class Stepper(Protocol):
    """A batch of prompts in a model's cache."""

    def prefill(self) -> Tensor:
        """Logits after the prompts [B, V], fp32."""

    def step(self, tokens_N: Tensor) -> Tensor:
        """Append a token to every row; logits after it [N, V], fp32."""

    def expand(self, num_beams: int) -> None:
        """Repeat every row `num_beams` times, copies side by side."""

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""

    def reorder(self, rows: Tensor) -> None:
        """Make row i what row `rows[i]` was; both belong to the same prompt."""


class _Outputs:
    """The finished outputs of all requests of the batch, by their place in the batch at its start."""

    def __init__(self, limits_B: Tensor) -> None:
        num_requests, device = len(limits_B), limits_B.device
        self.tokens_BL = torch.zeros(num_requests, int(limits_B.max()), dtype=torch.long, device=device)
        self.lengths_B = torch.zeros_like(limits_B)
        self.codes_B = torch.full_like(limits_B, RUNNING)
        self.scores_B = torch.full((num_requests,), _NEVER, device=device)

    def collect(self, spec: TranslateSpec) -> list[Decoded]:
        """As lists, without the end-of-sequence token and the repeats of loops."""
        collected = []
        for tokens, length, code, score in zip(
            self.tokens_BL.tolist(), self.lengths_B.tolist(), self.codes_B.tolist(), self.scores_B.tolist(), strict=True
        ):
            output = tokens[: length - 1] if code == STOP else tokens[:length]
            collected.append(
                Decoded(without_loop(output, spec) if code == LOOP else output, FINISH_OF_CODE[code], score)
            )
        return collected


def greedy_search(stepper: Stepper, limits_B: Tensor, kinds: TokenKinds, spec: TranslateSpec) -> list[Decoded]:
    """The most probable token at every step; one output a prompt, at most `limits_B` tokens long."""
    device = limits_B.device
    outputs = _Outputs(limits_B)
    requests = torch.arange(len(limits_B), device=device)
    limits, tails = limits_B, Tails.start((len(limits_B),), spec, device)
    sums = torch.zeros(len(limits_B), device=device)
    running = torch.ones_like(limits, dtype=torch.bool)
    logits = stepper.prefill()
    for length in range(1, int(limits_B.max()) + 1):
        best, tokens = logits.max(-1)
        sums = sums + (best - logits.logsumexp(-1))
        tails, codes = tails.extend(tokens, kinds, spec)
        codes = torch.where((codes == RUNNING) & (limits <= length), LENGTH, codes)
        outputs.tokens_BL[requests[running], length - 1] = tokens[running]
        ending = running & (codes != RUNNING)
        ended = requests[ending]
        outputs.lengths_B[ended] = length
        outputs.codes_B[ended] = codes[ending]
        outputs.scores_B[ended] = sums[ending] / length**spec.length_penalty
        running = running & ~ending
        num_running = int(running.sum())
        if num_running == 0:
            break
        if (len(running) - num_running) * _DROP_SHARE >= len(running):
            # The token goes in after the drop: rows that leave are not computed once more.
            kept = running.nonzero()[:, 0]
            stepper.keep(kept)
            requests, limits, sums, tokens, tails = (
                requests[kept],
                limits[kept],
                sums[kept],
                tokens[kept],
                tails.take(kept),
            )
            running = running[kept]
        logits = stepper.step(tokens)
    return outputs.collect(spec)


def beam_search(stepper: Stepper, limits_B: Tensor, kinds: TokenKinds, spec: TranslateSpec) -> list[Decoded]:
    """The best finished output of a beam search for every prompt, at most `limits_B` tokens long."""
    outputs = _Outputs(limits_B)
    beams = _Beams(limits_B, spec)
    logits = stepper.prefill()
    stepper.expand(spec.beams)
    for length in range(1, int(limits_B.max()) + 1):
        parents_BW = beams.advance(logits, length, kinds, outputs)
        running = ~beams.done_B
        num_running = int(running.sum())
        if num_running == 0:
            break
        rows_BW = parents_BW + torch.arange(len(running), device=parents_BW.device)[:, None] * spec.beams
        if (len(running) - num_running) * _DROP_SHARE >= len(running):
            kept = running.nonzero()[:, 0]
            beams.keep(kept)
            stepper.keep(rows_BW[kept].flatten())
        else:
            stepper.reorder(rows_BW.flatten())
        logits = stepper.step(beams.tokens_BWL[:, :, length - 1].flatten())
    return outputs.collect(spec)


class _Beams:
    """The running outputs of the requests still in the batch, and the scores of their finished ones."""

    def __init__(self, limits_B: Tensor, spec: TranslateSpec) -> None:
        device, shape = limits_B.device, (len(limits_B), spec.beams)
        self.spec = spec
        self.requests_B = torch.arange(len(limits_B), device=device)
        self.limits_B = limits_B
        self.done_B = torch.zeros_like(limits_B, dtype=torch.bool)
        self.sums_BW = torch.zeros(len(limits_B), 1, device=device)  # one beam until the first token is chosen
        self.finished_BW = torch.full(shape, _NEVER, device=device)
        self.tokens_BWL = torch.zeros(*shape, int(limits_B.max()), dtype=torch.long, device=device)
        self.tails = Tails.start((len(limits_B), 1), spec, device)

    def keep(self, kept: Tensor) -> None:
        """Drop all requests but these."""
        for name in ("requests_B", "limits_B", "done_B", "sums_BW", "finished_BW", "tokens_BWL"):
            setattr(self, name, getattr(self, name)[kept])
        self.tails = self.tails.take(kept)

    def advance(self, logits_NV: Tensor, length: int, kinds: TokenKinds, outputs: _Outputs) -> Tensor:
        """Choose the outputs of `length` tokens; returns the beam that each continues [B, W]."""
        width = self.spec.beams
        sums_BK, parents_BK, tokens_BK, tails, codes_BK = self._candidates(logits_NV, length, kinds)
        over_BK = codes_BK != RUNNING
        self._finish(
            sums_BK[:, :width], parents_BK[:, :width], tokens_BK[:, :width], codes_BK[:, :width], length, outputs
        )
        # Outputs that are over do not continue; there are enough others unless the request is at its bound.
        self.sums_BW, chosen_BW = torch.where(over_BK, sums_BK + _NEVER, sums_BK).topk(width, dim=1)
        parents_BW = parents_BK.gather(1, chosen_BW)
        history = parents_BW[..., None].expand(-1, -1, length)
        self.tokens_BWL[:, :, :length] = self.tokens_BWL[:, :, :length].gather(1, history)
        self.tokens_BWL[:, :, length - 1] = tokens_BK.gather(1, chosen_BW)
        self.tails = tails.take_beams(chosen_BW)
        self._close(length, outputs)
        return parents_BW

    def _candidates(
        self, logits_NV: Tensor, length: int, kinds: TokenKinds
    ) -> tuple[Tensor, Tensor, Tensor, Tails, Tensor]:
        """The best continuations, as many as it takes to have W that go on.

        Returns:
            Sums of log-probabilities, beams, tokens, tails and codes, each [B, K], best first.
        """
        num_requests, num_beams = self.sums_BW.shape
        normalisers_N = logits_NV.logsumexp(-1, keepdim=True)
        num_candidates = 2 * self.spec.beams
        while True:
            # The K best continuations of a request are among the K best of each of its beams.
            per_beam = min(num_candidates, logits_NV.shape[-1])
            best_NK, ids_NK = logits_NV.topk(per_beam, dim=-1)
            sums = (best_NK - normalisers_N).view(num_requests, num_beams, per_beam) + self.sums_BW[..., None]
            total = num_beams * per_beam
            sums_BK, places_BK = sums.view(num_requests, total).topk(min(num_candidates, total), dim=1)
            parents_BK = places_BK // per_beam
            tokens_BK = ids_NK.view(num_requests, total).gather(1, places_BK)
            tails, codes_BK = self.tails.take_beams(parents_BK).extend(tokens_BK, kinds, self.spec)
            num_going_on = (codes_BK == RUNNING).sum(1)
            enough = (num_going_on >= self.spec.beams) | self.done_B | (self.limits_B <= length)
            if bool(enough.all()) or per_beam == logits_NV.shape[-1]:
                break
            num_candidates *= 2
        at_bound = (self.limits_B <= length)[:, None] & (codes_BK == RUNNING)
        return sums_BK, parents_BK, tokens_BK, tails, torch.where(at_bound, LENGTH, codes_BK)

    def _finish(
        self, sums_BW: Tensor, parents_BW: Tensor, tokens_BW: Tensor, codes_BW: Tensor, length: int, outputs: _Outputs
    ) -> None:
        """Take what is over among the W best candidates into the finished outputs."""
        finishing = (codes_BW != RUNNING) & ~self.done_B[:, None]
        scores_BW = torch.where(finishing, sums_BW / length**self.spec.length_penalty, _NEVER)
        self.finished_BW = torch.cat([self.finished_BW, scores_BW], dim=1).topk(self.spec.beams, dim=1)[0]
        best_B, place_B = scores_BW.max(1)
        better = best_B > outputs.scores_B[self.requests_B]
        requests, place_B1 = self.requests_B[better], place_B[better, None]
        parent_B1 = parents_BW[better].gather(1, place_B1)
        before = self.tokens_BWL[better].gather(1, parent_B1[..., None].expand(-1, -1, self.tokens_BWL.shape[2]))[:, 0]
        outputs.tokens_BL[requests] = before
        outputs.tokens_BL[requests, length - 1] = tokens_BW[better].gather(1, place_B1)[:, 0]
        outputs.lengths_B[requests] = length
        outputs.codes_B[requests] = codes_BW[better].gather(1, place_B1)[:, 0]
        outputs.scores_B[requests] = best_B[better]

    def _close(self, length: int, outputs: _Outputs) -> None:
        """Mark the requests whose best output is settled."""
        penalty = self.spec.length_penalty
        running_B = self.sums_BW[:, 0]
        worst_B = self.finished_BW[:, -1]
        by_rule = (worst_B > _NEVER / 2) & (running_B / length**penalty <= worst_B)
        # A running sum can only fall: its score when it ends lies below one of these two, whatever the penalty's sign.
        soonest, latest = running_B / (length + 1) ** penalty, running_B / self.limits_B**penalty
        settled = outputs.scores_B[self.requests_B] >= torch.maximum(soonest, latest)
        self.done_B = self.done_B | by_rule | settled | (self.limits_B <= length)
