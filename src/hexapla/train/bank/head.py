"""Cross-entropy of target tokens with its gradient, chunk by chunk: logits are made once, used, and thrown away.

The output head is frozen, so all that the backward pass needs is the gradient of the hidden states; it is computed
while a chunk's logits are there. Memory is one chunk's logits, whatever the vocabulary. Shapes: M target tokens, D
hidden width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK_BYTES = 32 * 2**20  # of fp32 logits on a CPU: about what its last cache holds
_CHUNK_BYTES_GPU = 512 * 2**20
_MIN_CHUNK_ROWS = 128  # each chunk reads the whole head, which pays from some rows on


def weighted_nll(
    hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """Σ weights·nll, from which a gradient reaches `hidden`; and nll = −log p of every target, [M] in fp32, detached.

    Args:
        hidden: [M, D], what the head reads where a target is predicted.
        weight: [V, D], the head's.
        targets: [M], token ids.
        weights: [M], of the tokens in the loss.
        softcap: logits are c·tanh(logits/c) where the model says so (Gemma 2 and 3).
    """
    loss: Tensor
    nll: Tensor
    loss, nll = _WeightedNll.apply(hidden, weight, targets, weights, softcap)
    return loss, nll


class _WeightedNll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[0]
        nll = torch.empty(len(targets), device=hidden.device)
        gradient = torch.empty_like(hidden) if wanted else None
        chunk_bytes = _CHUNK_BYTES_GPU if hidden.is_cuda else _CHUNK_BYTES
        num_rows = max(_MIN_CHUNK_ROWS, chunk_bytes // (4 * weight.shape[0]))
        for start in range(0, len(targets), num_rows):
            part = slice(start, start + num_rows)
            logits = (hidden[part] @ weight.t()).float()
            if softcap is not None:
                logits = logits.div_(softcap).tanh_().mul_(softcap)
            slope = None if softcap is None or gradient is None else (logits / softcap).square_().neg_().add_(1)
            target = targets[part, None]
            highest = logits.amax(1, keepdim=True)
            nll[part] = (highest - logits.gather(1, target))[:, 0]
            exponentials = logits.sub_(highest).exp_()
            total = exponentials.sum(1, keepdim=True)
            nll[part] += total[:, 0].log()
            if gradient is None:
                continue
            # total · (p − onehot): rows are divided by their total after the product, where they are shorter
            exponentials.scatter_add_(1, target, -total)
            if slope is not None:
                exponentials.mul_(slope)
            torch.mm(exponentials.to(hidden.dtype), weight, out=gradient[part])
            gradient[part] *= weights[part, None] / total
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(nll)
        return (nll * weights).sum(), nll

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor, _nll_gradient: Any) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * loss_gradient, None, None, None, None
