"""The user's own module beside the graph that rfprune made of it, in double precision."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, fx, nn

from rfprune.core.named import Named, call
from rfprune.fpga.layers import Plan
from rfprune.fpga.layers.tracing import evaluating
from rfprune.trial.proof import Comparison, PathFacts, digest_of_network

__all__ = ["module_and_graph", "tensors_of"]

#: Other orders of summation in double precision; where scales were folded, single precision.
_SUMMED, _FOLDED = 1e-12, 1e-5


def module_and_graph(
    model: nn.Module, folded: fx.GraphModule, plan: Plan, x: Any, corners: int, exhaustive: bool
) -> tuple[PathFacts, Comparison]:
    """Compare the user's module, called as its user calls it, with rfprune's graph.

    Args:
        model: the module; it is not changed.
        folded: its graph, batch norm folded.
        plan: its plan.
        x: rows on the grids of the inputs.
        corners: how many of them are corner vectors.
        exhaustive: whether they are all that there are.
    """
    own, graph = copy.deepcopy(model).cpu().double(), copy.deepcopy(folded).double()
    parts = list(x.parts.values()) if isinstance(x, Named) else [x]
    with evaluating(own), torch.no_grad(), _double_by_default():
        theirs, ours = tensors_of(call(own, x)), tensors_of(graph(*parts))
    error, scale, place = 0.0, 1.0, ""
    for index, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        off = float((a - b).abs().max()) if a.shape == b.shape else float("inf")
        error, scale = max(error, off), max(scale, float(a.abs().max()))
        if off > 0 and not place:
            place = f"output {index}"
    exact = not plan.network.folded_norms
    tolerance = (_SUMMED if exact else _FOLDED) * scale
    path = PathFacts(
        "graph", "rfprune", version("rfprune"), digest_of_network(folded), {"types": "float64"}
    )
    same = Comparison(
        *("torch", "graph", len(parts[0]), corners, "float64", error, tolerance),
        begins=place if error > tolerance else "",
        exhaustive=exhaustive,
    )
    return path, same


@contextmanager
def _double_by_default() -> Iterator[None]:
    """While open, tensors that a network makes itself are double as well."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def tensors_of(output: Any) -> list[Tensor]:
    """Return the outputs of a network in order."""
    found: list[Tensor] = []

    def note(part: Any) -> None:
        if isinstance(part, Tensor):
            found.append(part)

    fx.node.map_aggregate(output, note)
    return found
