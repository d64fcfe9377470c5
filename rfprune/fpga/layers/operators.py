"""Operations that torch has as functions only, as modules: a lowered network consists of modules.

Axes are those of one sample, counted from 0; the axis of the rows is not among them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

__all__ = [
    *("GRU", "LSTM", "Affine", "Concatenate", "Gather", "Lookup", "Merge", "Product"),
    *("Softmax", "Sum"),
]

_MERGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}

_ROWS: Final = "Z"


class Merge(nn.Module):
    """Two tensors, element by element; one may be repeated along axes of length 1."""

    def __init__(self, operation: str) -> None:
        """Take the name of the operation: add, subtract, multiply, maximum or minimum."""
        super().__init__()
        self.operation: Final = operation

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the result in the shape that holds both."""
        return _MERGES[self.operation](a, b)


class Concatenate(nn.Module):
    """Tensors one behind the other along an axis."""

    def __init__(self, axis: int) -> None:
        """Take the axis."""
        super().__init__()
        self.axis: Final = axis

    def forward(self, *parts: Tensor) -> Tensor:
        """Return all parts in one tensor."""
        return torch.cat(parts, dim=self.axis + 1)


class Affine(nn.Module):
    """``x * scale + shift`` with constants, which a layer before it can often take over."""

    def __init__(
        self, scale: Tensor | float, shift: Tensor | float, shape: tuple[int, ...]
    ) -> None:
        """Take the constants, of any shape that fits samples of `shape`.

        A parameter of the network stays that parameter, and is trained as before.
        """
        super().__init__()
        self.shape: Final = shape
        # In a tuple, not registered: they belong to the network, or are numbers.
        self._constants = (scale, shift)

    def constants(self) -> tuple[Tensor, Tensor]:
        """Return scale and shift for every element of a sample, differentiable, as double."""
        found = []
        for constant in self._constants:
            # Not rounded to single precision: the network itself may be computed in double.
            value = torch.as_tensor(constant, dtype=torch.float64)
            # A constant with an axis for the rows, of length 1.
            if value.dim() > len(self.shape):
                value = value.squeeze(0)
            found.append(value.broadcast_to(self.shape))
        return found[0], found[1]

    def by_channel(self, axis: int) -> tuple[Tensor, Tensor] | None:
        """Return (C,) scale and shift along `axis`, if they are the same all over each channel."""
        parts = []
        for constant in self.constants():
            rows = constant.movedim(axis, 0).reshape(self.shape[axis], -1)
            # Only a constant per channel can be folded into weights.
            if not bool((rows == rows[:, :1]).all()):
                return None
            parts.append(rows[:, 0].to(torch.get_default_dtype()))
        return parts[0], parts[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, *shape)."""
        scale, shift = (constant.to(x) for constant in self.constants())
        return x * scale + shift


class Gather(nn.Module):
    """Numbers of a sample in another order, or some of them, or some of them several times.

    Slices, permutations and reshapes are all of this kind; in hardware they are wires.
    """

    def __init__(self, index: Tensor) -> None:
        """Take, in the shape of the output, where each number is in the flat input."""
        super().__init__()
        self.index: Final = index.cpu()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, *shape of the index)."""
        flat = x.reshape(len(x), -1)
        chosen = flat.index_select(1, self.index.reshape(-1).to(x.device))
        return chosen.reshape(len(x), *self.index.shape)


class Lookup(nn.Module):
    """Rows of a table, chosen by whole numbers of whatever type."""

    def __init__(self, table: nn.Embedding) -> None:
        """Take the table, whose parameter stays that of the network."""
        super().__init__()
        self.table = table

    def forward(self, x: Tensor) -> Tensor:
        """Return (*x, features)."""
        return nn.functional.embedding(x.long(), self.table.weight)


class Product(nn.Module):
    """Products of two tensors, summed up over axes that both have: ``@`` and ``einsum``."""

    def __init__(self, first: str, second: str, result: str) -> None:
        """Take a letter for each axis of the two samples and of the result.

        What both tensors have and the result has not is summed up; every other letter of a tensor
        is one of the result.
        """
        super().__init__()
        self.letters: Final = (first, second, result)

    @staticmethod
    def order(letters: tuple[str, ...]) -> tuple[str, str, str, str]:
        """Return the letters of both tensors that stay, of each alone, and that are summed up."""
        first, second, result = letters
        kept = "".join(x for x in first if x in second and x in result)
        summed = "".join(x for x in first if x in second and x not in result)
        own, other = ("".join(x for x in part if x not in kept + summed) for part in letters[:2])
        return kept, own, other, summed

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return (N, *result)."""
        first, second, result = self.letters
        # The axis of the rows is in front of all three, under a letter that no axis has.
        return torch.einsum(f"{_ROWS}{first},{_ROWS}{second}->{_ROWS}{result}", a, b)


class Softmax(nn.Module):
    """``softmax(scale * x)`` over an axis; hardware has the scale in a table."""

    def __init__(self, axis: int, scale: float) -> None:
        """Take the axis, and a scale above 0."""
        super().__init__()
        self.axis: Final = axis
        self.scale: Final = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return numbers from 0 to 1, in the shape of `x`."""
        return torch.softmax(x * self.scale, dim=self.axis + 1)


class Sum(nn.Module):
    """The sum over axes, which stay with length 1."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        """Take the axes."""
        super().__init__()
        self.axes: Final = axes

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, with as many axes as `x`."""
        return x.sum(dim=[axis + 1 for axis in self.axes], keepdim=True)


class _Recurrent(nn.RNNBase):
    """A recurrent layer that puts out one tensor: every step, or the last one alone."""

    #: Whether nothing reads a step but the last, so that no other is built.
    last = False

    def _states(self, x: Tensor) -> Tensor:
        """Return (N, T, units) of rows (N, T, features)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, units) if it is the last step, else (N, T, units)."""
        states = self._states(x)
        return states[:, -1] if self.last else states

    def _given(self, x: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """Return the state before the first step, and what torch's functions take behind it."""
        names = ["weight_ih_l0", "weight_hh_l0"]
        names += ["bias_ih_l0", "bias_hh_l0"] if self.bias else []
        # By name: the list that torch keeps of them would hide what replaces them for a call.
        parameters = [getattr(self, name) for name in names]
        zeros = x.new_zeros(1, len(x), self.hidden_size)
        return zeros, (parameters, self.bias, 1, 0.0, False, False, True)


class GRU(_Recurrent, nn.GRU):  # type: ignore[misc]
    """A GRU, made of torch's own with the same parameters."""

    def _states(self, x: Tensor) -> Tensor:
        zeros, rest = self._given(x)
        return torch.gru(x, zeros, *rest)[0]


class LSTM(_Recurrent, nn.LSTM):  # type: ignore[misc]
    """An LSTM, made of torch's own with the same parameters."""

    def _states(self, x: Tensor) -> Tensor:
        zeros, rest = self._given(x)
        return torch.lstm(x, (zeros, zeros), *rest)[0]
