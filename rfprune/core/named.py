"""Several tensors over the same rows, by name: inputs of a network, targets of its heads.

A network of one input is handed a tensor, one of several inputs a `Named`, by the names of the
arguments of its ``forward``. What only passes rows on need not know which of the two it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from rfprune.errors import NetworkError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = [
    "InputShape",
    "Named",
    "Outputs",
    "call",
    "one_input",
    "plain_shape",
    "shape_of",
    "zero_rows",
]

#: Of one sample, without the axis of the rows; of several inputs by name.
InputShape: TypeAlias = tuple[int, ...] | dict[str, tuple[int, ...]]
#: How many outputs a network needs; of several heads by name.
Outputs: TypeAlias = int | dict[str, int]


@dataclass(frozen=True, eq=False)
class Named:
    """Tensors with the same rows; it has what training and evaluation need of one tensor.

    Attributes:
        parts: (N, ...) tensors by name, or what behaves like one (`rfprune.data.Pixels`).
    """

    parts: dict[str, Any]

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, rows: slice | Tensor) -> Any:
        return self._each(lambda part: part[rows])

    def index_select(self, dim: int, index: Tensor) -> Any:
        """Return the rows `index`, as ``Tensor.index_select`` does for axis 0."""
        return self._each(lambda part: part.index_select(dim, index))

    def split(self, rows: int) -> Iterator[Any]:
        """Yield consecutive parts of so many rows; the last may be shorter."""
        return (self[start : start + rows] for start in range(0, len(self), rows))

    def to(self, device: torch.device | str) -> Named:
        """Return the same on a device."""
        return self._each(lambda part: part.to(device))

    def cpu(self) -> Named:
        """Return the same on the CPU."""
        return self.to("cpu")

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        device: torch.device = self._first.device
        return device

    @property
    def _first(self) -> Any:
        return next(iter(self.parts.values()))

    def _each(self, function: Any) -> Named:
        return Named({name: function(part) for name, part in self.parts.items()})


def call(model: nn.Module, x: Any) -> Any:
    """Return what a network puts out for rows: `x` by the names of its inputs, if it has several.

    Args:
        model: the network.
        x: a tensor, or a `Named`.
    """
    return model(**x.parts) if isinstance(x, Named) else model(x)


def one_input(shape: InputShape, taker: str) -> tuple[int, ...]:
    """Return the shape of one sample, for what takes networks of one input alone.

    Args:
        shape: of one sample.
        taker: who does, for the message.

    Raises:
        NetworkError: there are several inputs.
    """
    if isinstance(shape, dict):
        raise NetworkError(
            f"the network has the inputs {', '.join(shape)}, and rfprune takes networks of one "
            f"input alone for {taker}."
        )
    return shape


def shape_of(x: Any) -> InputShape:
    """Return the shape of one row of a tensor, or of each tensor of a `Named`."""
    if isinstance(x, Named):
        return {name: tuple(part.shape[1:]) for name, part in x.parts.items()}
    return tuple(x.shape[1:])


def plain_shape(shape: Mapping[str, Any] | Any) -> InputShape:
    """Return a shape as it came out of a file: lists of numbers, by name if there are several.

    Raises:
        TypeError: something else than numbers.
    """
    if isinstance(shape, Mapping):
        return {str(name): tuple(int(size) for size in part) for name, part in shape.items()}
    return tuple(int(size) for size in shape)


def zero_rows(rows: int, shape: InputShape, device: torch.device | None = None) -> Any:
    """Return so many zero samples: a tensor, or a `Named` for several inputs."""
    import torch

    if isinstance(shape, dict):
        return Named({n: torch.zeros(rows, *part, device=device) for n, part in shape.items()})
    return torch.zeros(rows, *shape, device=device)
