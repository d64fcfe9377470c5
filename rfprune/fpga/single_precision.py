"""What of a rounded network is exact in single precision, which takes a fraction of the time.

Fixed-point numbers are whole multiples of a step. Single precision holds those up to 2^24 steps, so
a sum of which no partial sum can be larger is exact in it, in whatever order it is added up. What
is not, or not known to be, is computed in double precision; the bits are the same either way.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from rfprune.fpga.layers.operators import Concatenate, Gather, Merge
from rfprune.hardware.precision import FixedType

__all__ = ["Grid", "Narrowing", "exact_single", "is_exact_on", "narrow", "split_at"]

#: So many steps are held exactly, with either sign.
_LARGEST = 2.0**24
#: Far from where single precision loses bits to small exponents, or has no number at all.
_EXPONENTS = 2.0**-100, 2.0**100


@dataclass(frozen=True)
class Grid:
    """Whole multiples of `step`, a power of 2, that are at most `bound` in size."""

    step: float
    bound: float

    @classmethod
    def of(cls, kind: FixedType) -> Grid:
        """Return what a type holds."""
        return cls(kind.step, max(-kind.min, kind.max))

    @property
    def is_single(self) -> bool:
        """Whether single precision holds every such number."""
        least, most = _EXPONENTS
        return least <= self.step and self.bound <= min(most, _LARGEST * self.step)

    def is_rounded_in_single(self, kind: FixedType) -> bool:
        """Return whether rounding to `kind` is exact as well, halves and wrapping included."""
        finest = min(self.step, kind.step / 2)
        return Grid(finest, self.bound + 2.0**kind.width * kind.step).is_single


class Narrowing(nn.Module, ABC):
    """A module that decides by itself how precisely it computes."""

    #: Whether it computes in double precision, whatever it is given.
    is_wide = True

    @abstractmethod
    def narrow(self, given: Grid | None) -> Grid | None:
        """Take the grid of an input in single precision, None for one in double.

        Returns:
            The grid of the output if that is in single precision from now on, None if in double.
        """

    def widen(self) -> None:
        """Put out double precision after all, where it is asked for."""


def is_exact_on(device: torch.device) -> bool:
    """Return whether a device adds products in single precision up without dropping any bits.

    GPUs may take a shorter format for products, and so may a CPU that was told to.
    """
    backend: Any = torch.backends.mkldnn
    shorter = {backend.conv.fp32_precision, backend.matmul.fp32_precision} - {"none", "ieee"}
    plain = torch.get_float32_matmul_precision() == "highest"
    return device.type == "cpu" and plain and not shorter


@contextmanager
def exact_single() -> Iterator[None]:
    """While open, convolutions are sums of products: NNPACK takes Winograd's way, which rounds."""
    with torch.backends.nnpack.flags(enabled=False):
        yield


def narrow(graph: fx.GraphModule) -> None:
    """Let a rounded graph compute in single precision where that changes no bit, in place.

    Args:
        graph: lowered and rounded, in double precision.
    """
    modules = {
        node: graph.get_submodule(str(node.target))
        for node in graph.graph.nodes
        if node.op == "call_module"
    }
    # Of the nodes whose outputs are in single precision.
    grids: dict[fx.Node, Grid] = {}
    for node in list(graph.graph.nodes):
        module = modules.get(node)
        # An operation may read one tensor twice.
        inputs = node.args if module is not None else node.all_input_nodes
        given = [grids[source] for source in inputs if source in grids]
        if isinstance(module, Narrowing):
            found = module.narrow(given[0] if given else None)
        else:
            found = _computed(module, given) if len(given) == len(inputs) else None
            for source in node.all_input_nodes if found is None else ():
                if source in grids:
                    _widen(graph, node, source)
        if found is not None:
            grids[node] = found
    for node in grids:
        # To narrow what all readers widen takes time for nothing.
        if all(_is_wide(user, modules.get(user)) for user in node.users):
            part = modules[node]
            if isinstance(part, Narrowing):
                part.widen()
    graph.recompile()


def _is_wide(node: fx.Node, module: nn.Module | None) -> bool:
    return node.op == "call_method" or (isinstance(module, Narrowing) and module.is_wide)


def _computed(module: nn.Module | None, given: Sequence[Grid]) -> Grid | None:
    """Return the grid of what a module puts out; None where it is not exact, or not known to be."""
    if module is None or not given:
        return None
    if isinstance(module, Merge):
        found = _MERGED[module.operation](*given)
    elif isinstance(module, _HANDING_ON):
        found = _both(*given)
    else:
        return None
    return found if found.is_single else None


def _widen(graph: fx.GraphModule, node: fx.Node, source: fx.Node) -> None:
    with graph.graph.inserting_before(node):
        double = graph.graph.call_method("double", (source,))
    node.replace_input_with(source, double)


def _both(*grids: Grid) -> Grid:
    """Return the grid of numbers that are each on one of these."""
    return Grid(min(g.step for g in grids), max(g.bound for g in grids))


def _sum(a: Grid, b: Grid) -> Grid:
    return Grid(min(a.step, b.step), a.bound + b.bound)


def _product(a: Grid, b: Grid) -> Grid:
    return Grid(a.step * b.step, a.bound * b.bound)


_MERGED: dict[str, Callable[..., Grid]] = {
    "add": _sum,
    "subtract": _sum,
    "multiply": _product,
    "maximum": _both,
    "minimum": _both,
}

#: What puts out numbers that it has read, and zeros.
_HANDING_ON = (
    *(nn.ReLU, nn.MaxPool1d, nn.MaxPool2d, nn.Flatten, nn.Identity, nn.Upsample, Gather),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, Concatenate),
    *(nn.ZeroPad2d,),
)


def split_at(data: Grid, weights: Tensor, step: float) -> float | None:
    """Return where to cut numbers in two, so that the sums of each part are exact by themselves.

    Args:
        data: what is multiplied by the weights.
        weights: output axis first.
        step: of the weights' type.

    Returns:
        A power of 2: the upper part consists of multiples of it, the lower one is less; None where
        two parts are not enough.
    """
    total = float(weights.abs().flatten(1).sum(1).max())
    room = _LARGEST * step - total
    if total == 0 or room <= 0:
        return None
    # The least at which the upper part is exact leaves the least for the lower one.
    cut = max(2.0 ** math.ceil(math.log2(total * data.bound / room)), data.step)
    # Rounded down, the upper part can be larger than what it is a part of.
    parts = Grid(cut * step, total * (data.bound + cut)), Grid(data.step * step, total * cut)
    return cut if all(part.is_single for part in parts) else None
