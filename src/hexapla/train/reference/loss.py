"""Cross-entropy on target tokens, summed: dividing by a whole batch's count makes accumulation exact.

Shapes: B sequences, T tokens of the longest, M target tokens of all, D width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexapla.train.reference.batching import MicroBatch

if TYPE_CHECKING:
    import torch


def target_loss_sum(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Sum over the micro-batch's target tokens of −log p(token | what stands before it), in fp32.

    Args:
        model: a causal language model of transformers, bare or wrapped by peft.
    """
    import torch.nn.functional as F

    return F.cross_entropy(target_logits(model, batch).float(), batch.targets, reduction="sum")


def target_logits(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Logits [M, V] at the positions that predict a target token.

    The output head is by far the widest layer, so it is given those positions only: a hook narrows its input, whatever
    the architecture does after it (soft capping, scaling) stays in force.
    """

    def narrow(_module: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        hidden_BTD = arguments[0]
        return (hidden_BTD.flatten(0, 1).index_select(0, batch.predictors),)

    hook = model.get_output_embeddings().register_forward_pre_hook(narrow)
    try:
        logits_MV: torch.Tensor = model(input_ids=batch.input_ids, use_cache=False).logits
    finally:
        hook.remove()
    return logits_MV
