"""Statistics of the input that say under which conditions it was taken; cheap beside a forward.

They look at one grey image of half the resolution of each picture (every second row and column):
brightness and contrast do not need more, and the noise estimate only needs neighbours. What follows
the grey image is computed in numpy, whose operations take half as long to start as torch's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rfprune.core.arrays import FloatArray
from rfprune.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Statistics", "input_statistics", "statistic_names"]

_ROWS = ("mean", "variance")
_IMAGES = ("mean", "variance", "noise", "edge_energy")
#: Smallest side of an image that has inner pixels at half resolution.
_SMALLEST_SIDE = 6
_IMMERKAER = math.sqrt(math.pi / 2) / 6


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of a batch; each is the mean of a map over a sample.

    Attributes:
        names: (F,).
        maps: (F,) arrays (B, ...), e.g. the grey images for ``mean``.
    """

    names: tuple[str, ...]
    maps: tuple[NDArray[np.float32], ...]

    @property
    def values(self) -> FloatArray:
        """(B, F) statistics of each sample."""
        means = [m.reshape(len(m), -1).mean(axis=1, dtype=np.float64) for m in self.maps]
        return np.stack(means, axis=1)

    @property
    def mean(self) -> FloatArray:
        """(F,) mean over the batch."""
        # Not `m.mean()`, which takes twice as long to start.
        return np.array([np.add.reduce(m, axis=None) / m.size for m in self.maps], np.float64)


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
    if batch.ndim < 2 or len(batch) == 0:
        raise DataError(
            f"a batch of the shape {tuple(batch.shape)}. Allowed: (B, ...) with B >= 1."
        )
    names = statistic_names(tuple(batch.shape[1:]))
    if names == _ROWS:
        rows = _array(batch.flatten(1))
        return Statistics(names, (rows, _squared_deviation(rows)))
    grey = _array(batch[:, :, ::2, ::2].float().mean(dim=1))
    across = grey[:, :, 1:] - grey[:, :, :-1]
    curved = across[:, :, 1:] - across[:, :, :-1]  # [1 -2 1] along each row
    # N is this second difference along the rows, and again along the columns.
    down = curved[:, 1:] - curved[:, :-1]
    mixed = down[:, 1:] - down[:, :-1]
    noise = _IMMERKAER * np.abs(mixed)
    return Statistics(names, (grey, _squared_deviation(grey), noise, across * across))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().float().cpu().numpy())


def _squared_deviation(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the squared distance of each value from the mean of its sample."""
    axes = tuple(range(1, samples.ndim))
    means = np.add.reduce(samples, axis=axes, keepdims=True) / samples[0].size
    centred = samples - means
    return np.asarray(centred * centred)
