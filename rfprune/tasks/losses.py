"""Losses by name: functions ``f(output, target, weight=None, **arguments) -> scalar tensor``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["LOSSES", "Loss", "bce", "cross_entropy"]

Loss = Callable[..., Tensor]


def _averaged(each: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean over rows (N,) or all elements (N, K), rows or elements weighted."""
    if weight is None:
        return each.mean()
    if weight.ndim > 1:
        return (each * weight).sum() / weight.sum().clamp_min(1e-12)
    rows = each if each.ndim == 1 else each.flatten(1).mean(dim=1)
    # A minibatch may hold rows of weight 0 alone.
    # Over the sum of weights, not the number of rows: a unit of weight counts as a row.
    return (rows * weight).sum() / weight.sum().clamp_min(1e-12)


def cross_entropy(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean cross entropy.

    Args:
        output: (N, C) logits.
        target: (N,) labels, or (N, C) probabilities.
        weight: (N,) of the rows.
    """
    # With the classes in front torch vectorizes the softmax over rows; over a short last axis it
    # does not, and takes four times as long.
    logits, wanted = output.t().unsqueeze(0), target.t().unsqueeze(0)
    if weight is None:
        return nn.functional.cross_entropy(logits, wanted)
    return _averaged(nn.functional.cross_entropy(logits, wanted, reduction="none")[0], weight)


def bce(
    output: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    logits: bool = True,
    pos_weight: float = 1.0,
) -> Tensor:
    """Return the mean binary cross entropy.

    Args:
        output: (N, K) logits, or probabilities.
        target: (N, K) labels 0 and 1, or probabilities.
        weight: (N,) of the rows, or (N, K) of each label.
        logits: whether `output` are logits.
        pos_weight: weight of label 1 beside label 0.
    """
    if logits:
        each = nn.functional.binary_cross_entropy_with_logits(output, target, reduction="none")
    else:
        each = nn.functional.binary_cross_entropy(output, target, reduction="none")
    if pos_weight != 1:
        # 1 for label 0, `pos_weight` for label 1; and in between for what a teacher says.
        each = each * (1 + (pos_weight - 1) * target)
    return _averaged(each, weight)


def mean_score(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean of (N, 1) scores; `target` is not looked at."""
    return _averaged(output, weight)


def mse(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean squared residual of (N, K)."""
    return _averaged((output - target).square(), weight)


def mae(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean absolute residual of (N, K)."""
    return _averaged((output - target).abs(), weight)


def huber(
    output: Tensor, target: Tensor, weight: Tensor | None = None, *, delta: float = 1.0
) -> Tensor:
    """Return the mean Huber loss of (N, K): quadratic up to a residual of `delta`, then linear."""
    each = nn.functional.huber_loss(output, target, reduction="none", delta=delta)
    return _averaged(each, weight)


#: To add a loss: a function above and its row here; each task lists the ones it can take.
LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "bce": bce,
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "output": mean_score,
    "reconstruction": mean_score,
}
