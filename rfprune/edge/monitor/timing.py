"""Inference time: warm-up, repeats, median and spread on a monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rfprune.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Timing", "as_deployed", "measure_time"]


@dataclass(frozen=True)
class Timing:
    """Times of repeated passes over one batch.

    Attributes:
        median_ms: of a pass.
        iqr_ms: distance of the quartiles, the spread that outliers do not move.
        n: repeats.
        images: rows of the batch.
    """

    median_ms: float
    iqr_ms: float
    n: int
    images: int

    @property
    def image_ms(self) -> float:
        """Median time per image."""
        return self.median_ms / self.images


def measure_time(
    model: Callable[[Tensor], Any],
    batch: Tensor,
    repeats: int = 30,
    warmup: int = 5,
    threads: int | None = None,
) -> Timing:
    """Return the time of `model` on `batch`, in eval mode and without gradients.

    Args:
        model: a module, which keeps its mode, or any function of a batch.
        batch: (B, ...) on the model's device.
        repeats: timed passes.
        warmup: passes before them: caches, memory, kernels that are chosen at the first call.
        threads: of torch meanwhile; None = as they are.

    Raises:
        DataError: an empty batch, or no repeat.
    """
    import torch

    if repeats < 1 or len(batch) < 1:
        raise DataError(f"{repeats} repeats on {len(batch)} images. Allowed: 1 or more of each.")
    # A GPU returns from a call before the work is done; a processor has nothing to wait for.
    synchronise: Callable[[], None] = torch.cuda.synchronize if batch.is_cuda else lambda: None
    with as_deployed(model, threads), torch.inference_mode():
        for _ in range(warmup):
            model(batch)
        times = np.empty(repeats)
        for repeat in range(repeats):
            synchronise()
            begun = time.perf_counter_ns()
            model(batch)
            synchronise()
            times[repeat] = time.perf_counter_ns() - begun
    # Other processes only ever make a pass longer, some of them much longer: hence no mean.
    low, median, high = np.percentile(times, [25, 50, 75]) / 1e6
    return Timing(float(median), float(high - low), repeats, len(batch))


@contextmanager
def as_deployed(model: Callable[..., Any], threads: int | None) -> Iterator[None]:
    """While open, a module is in eval mode and torch uses so many threads (None = as they are)."""
    import torch

    training = isinstance(model, torch.nn.Module) and model.training
    before = torch.get_num_threads()
    try:
        if isinstance(model, torch.nn.Module):
            model.eval()
        torch.set_num_threads(threads or before)
        yield
    finally:
        torch.set_num_threads(before)
        if isinstance(model, torch.nn.Module):
            model.train(training)
