"""Random shifts and mirror images of minibatches, in tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rfprune.core.named import shape_of
from rfprune.errors import SpecError
from rfprune.spec.training import AugmentSpec

__all__ = ["Augmentation"]


class Augmentation:
    """Draws a new shift and mirroring for every image of every minibatch it gets.

    The images are padded with their edge, cropped back to their size at a random place and mirrored
    left to right with probability 1/2. All of it is one gather, whatever the batch.
    """

    def __init__(self, how: AugmentSpec, seed: int) -> None:
        """Seed the draws; equal seeds and batches give equal images."""
        self.how = how
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, x: Any) -> Tensor:
        """Return (N, C, H, W) for (N, C, H, W).

        Raises:
            SpecError: `x` is not a batch of images.
        """
        shape = shape_of(x)
        if len(shape) != 3 or isinstance(shape, dict):
            raise SpecError(
                f"train.augment: is for images (C, H, W), but a sample has shape {shape}; remove "
                "the key."
            )
        n, _, height, width = x.shape
        rows = self._shifted(n, height)
        columns = self._shifted(n, width)
        if self.how.flip:
            mirrored = torch.randint(2, (n, 1), generator=self.generator).bool()
            columns = torch.where(mirrored, columns.flip(1), columns)
        image = torch.arange(n)[:, None, None]
        index = (image, rows[:, :, None], columns[:, None, :])
        # Indices before and after a slice would put their axes in front, so the channels go last.
        picked: Tensor = x.permute(0, 2, 3, 1)[tuple(part.to(x.device) for part in index)]
        return picked.permute(0, 3, 1, 2).contiguous()

    def _shifted(self, n: int, length: int) -> Tensor:
        """Return (n, length): which row or column of the original each one of the crop is."""
        padding = self.how.crop_padding
        shift = torch.randint(-padding, padding + 1, (n, 1), generator=self.generator)
        # Rows beyond the edge repeat it, in place of a frame of zeros.
        return (torch.arange(length) + shift).clamp_(0, length - 1)
