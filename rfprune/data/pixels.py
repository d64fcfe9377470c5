"""Images that stay bytes in memory and become float32 as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Pixels"]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Rows of bytes, in a quarter of the memory of the float32 tensor that they represent.

    It has what training and evaluation need of a tensor; whatever is taken from it is a float32
    tensor ``(bytes - offset) / scale``.

    Attributes:
        bytes: (N, *input_shape) uint8.
        offset: broadcastable to a row.
        scale: likewise.
    """

    bytes: Tensor
    offset: Tensor
    scale: Tensor

    @property
    def shape(self) -> torch.Size:
        """(N, *input_shape)."""
        return self.bytes.shape

    @property
    def device(self) -> torch.device:
        """Where the bytes are."""
        return self.bytes.device

    def __len__(self) -> int:
        return len(self.bytes)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        return self._scaled(self.bytes[rows])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the rows `index`, as ``Tensor.index_select`` does for axis 0."""
        return self._scaled(self.bytes.index_select(dim, index))

    def split(self, rows: int) -> Iterator[Tensor]:
        """Yield consecutive parts of so many rows; the last may be shorter."""
        return (self[start : start + rows] for start in range(0, len(self), rows))

    def to(self, device: torch.device) -> Pixels:
        """Return the same on a device."""
        return Pixels(self.bytes.to(device), self.offset.to(device), self.scale.to(device))

    def _scaled(self, rows: Tensor) -> Tensor:
        # In place on the new float tensor; the bytes are never touched.
        return rows.float().sub_(self.offset).div_(self.scale)
