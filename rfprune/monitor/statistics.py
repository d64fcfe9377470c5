"""Statistics of the input that say under which conditions it was taken; cheap beside a forward.

They look at one grey image of half the resolution of each picture (every second row and column):
brightness and contrast do not need more, and the noise estimate only needs neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfprune.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Statistics", "input_statistics", "prediction_entropy", "statistic_names"]

_ROWS = ("mean", "variance")
_IMAGES = ("mean", "variance", "noise", "edge_energy")
#: Smallest side of an image that has inner pixels at half resolution.
_SMALLEST_SIDE = 6


@dataclass(frozen=True)
class Statistics:
    """Statistics of a batch.

    Attributes:
        names: (F,).
        values: (B, F), on the batch's device.
    """

    names: tuple[str, ...]
    values: Tensor

    @property
    def mean(self) -> Tensor:
        """(F,) mean over the batch."""
        return self.values.mean(dim=0)


def statistic_names(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return what is computed for samples of a shape without the batch axis."""
    image = len(shape) == 3 and min(shape[1:]) >= _SMALLEST_SIDE
    return _IMAGES if image else _ROWS


def input_statistics(batch: Tensor) -> Statistics:
    """Return the statistics of each sample.

    ``mean`` falls in the dark and ``variance`` is the contrast; for images also ``noise``, the
    standard deviation of white noise by Immerkaer's estimate (Computer Vision and Image
    Understanding 64, 1996: ``sqrt(pi / 2) / 6 * mean |I * N|`` with
    ``N = [1 -2 1; -2 4 -2; 1 -2 1]``, blind to flat and linear patches), and ``edge_energy``, the
    mean squared difference of neighbours, which blur lowers.

    Args:
        batch: (B, C, H, W) images or (B, ...) other samples, of any float type.

    Raises:
        DataError: no batch axis, or an empty batch.
    """
    import torch

    if batch.ndim < 2 or len(batch) == 0:
        raise DataError(
            f"a batch of the shape {tuple(batch.shape)}. Allowed: (B, ...) with B >= 1."
        )
    names = statistic_names(tuple(batch.shape[1:]))
    with torch.no_grad():
        if names == _ROWS:
            variance, mean = torch.var_mean(batch.flatten(1), dim=1, correction=0)
            return Statistics(names, torch.stack([mean, variance], dim=1))
        grey = batch[:, :, ::2, ::2].mean(dim=1)
        variance, mean = torch.var_mean(grey, dim=(1, 2), correction=0)
        across = grey[:, :, 1:] - grey[:, :, :-1]
        curved = across[:, :, 1:] - across[:, :, :-1]  # [1 -2 1] along each row
        # N is this second difference along the rows, and again along the columns.
        mixed = curved[:, 2:] - 2 * curved[:, 1:-1] + curved[:, :-2]
        noise = mixed.abs().mean(dim=(1, 2)) * (math.sqrt(math.pi / 2) / 6)
        edges = across.square().mean(dim=(1, 2))
        return Statistics(names, torch.stack([mean, variance, noise, edges], dim=1))


def prediction_entropy(logits: Tensor) -> Tensor:
    """Return (B,) the entropy in nats of each prediction, from logits (B, classes).

    High where the network is unsure; of the batch before, it tells the next decision how hard the
    input is.
    """
    import torch

    with torch.no_grad():
        log = logits.log_softmax(dim=1)
        return -(log.exp() * log).sum(dim=1)
