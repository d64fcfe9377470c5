"""What an export proves of itself: ways to compute the network, and which of them were compared.

A *path* is one way to compute the network: the user's own module, the graph that rfprune made of
it, the generated C++, the RTL, the netlist. A target says in a `Proof` which paths there are in an
export, what was compared and what was counted; `rfprune.exporting.certificate` writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from rfprune.core.digests import sha256_of_parts

__all__ = ["Asked", "Comparison", "PathFacts", "Proof", "digest_of_network", "torch_path"]


@dataclass(frozen=True)
class Asked:
    """How much is to be compared.

    Attributes:
        rows: rows at most, corner vectors among them; None = those of the test vectors, and as
            many as a target takes beside them.
        exhaustive: every code of every input.
        run_code: build a network of the user's own function, which the file names.
        builds: build what takes a compiler, too: C++, RTL, netlist.
        say: called with one line per stage that begins.
    """

    rows: int | None = None
    exhaustive: bool = False
    run_code: bool = False
    builds: bool = True
    say: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class PathFacts:
    """One way to compute the network.

    Attributes:
        name: torch, graph, cpp, rtl or netlist.
        tool: what computes it, or made it.
        tool_version: of the tool.
        sha256: of all that is computed: files or tensors.
        extra: further facts, as plain JSON values.
    """

    name: str
    tool: str
    tool_version: str
    sha256: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        plain = {"name": self.name, "tool": self.tool, "tool_version": self.tool_version}
        return {**plain, "sha256": self.sha256, **self.extra}


@dataclass(frozen=True)
class Comparison:
    """Two paths on the same rows.

    Attributes:
        a, b: names of the paths.
        rows: rows compared.
        corners: how many of them are corner vectors.
        types: in which both were computed.
        largest_error: largest absolute difference of an output.
        tolerance: up to which they count as equal; 0 = bit for bit.
        begins: where the difference begins, if there is one; a layer or an output.
        exhaustive: the rows are all that the input types can hold.
        holds: whether more than the outputs was found equal: every layer alone, too.
    """

    a: str
    b: str
    rows: int
    corners: int
    types: str
    largest_error: float
    tolerance: float = 0.0
    begins: str = ""
    exhaustive: bool = False
    holds: bool = True

    @property
    def equal(self) -> bool:
        """Whether the two are the same network."""
        return self.holds and self.largest_error <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        found: dict[str, Any] = {"a": self.a, "b": self.b, "rows": self.rows}
        # NaN and infinity are no JSON.
        known = self.largest_error == self.largest_error and abs(self.largest_error) != float("inf")
        found["largest_error"] = self.largest_error if known else None
        found |= {"equal": self.equal, "tolerance": self.tolerance, "types": self.types}
        found |= {"corners": self.corners, "exhaustive": self.exhaustive}
        return {**found, "begins": self.begins} if self.begins else found

    def fault(self) -> str:
        """Return what is wrong, in one sentence."""
        place = f"; it begins in {self.begins}" if self.begins else ""
        return (
            f"{self.b} is not {self.a}: off by up to {self.largest_error:g} on {self.rows:,} rows "
            f"(allowed: {self.tolerance:g}){place}."
        )


@dataclass
class Proof:
    """What is proven of an export.

    Attributes:
        paths: the ways to compute the network that are there.
        compared: which of them were compared.
        counted: multipliers, adders, LUTs, by path.
        front: figures of the chosen point, and the same counted again.
        faults: what is wrong apart from the comparisons, one sentence each, the place first.
        notes: what was left out, and why.
    """

    paths: list[PathFacts] = field(default_factory=list)
    compared: list[Comparison] = field(default_factory=list)
    counted: dict[str, Any] = field(default_factory=dict)
    front: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: Proof) -> None:
        """Take in what another one found, behind what is here."""
        self.paths += other.paths
        self.compared += other.compared
        self.counted |= other.counted
        self.front |= other.front
        self.faults += other.faults
        self.notes += other.notes

    def all_faults(self) -> list[str]:
        """Return everything that is wrong, one sentence each."""
        return [*self.faults, *(each.fault() for each in self.compared if not each.equal)]


def digest_of_network(model: nn.Module) -> str:
    """Return the SHA-256 of a network's tensors with their names, and of a graph's operations."""
    parts: list[str | bytes] = []
    for name, tensor in model.state_dict().items():
        parts += [name, str(tensor.dtype), tensor.detach().cpu().contiguous().numpy().tobytes()]
    if isinstance(model, fx.GraphModule):
        parts.append(str(model.graph))
    return sha256_of_parts(parts)


def torch_path(model: nn.Module, types: str = "float64") -> PathFacts:
    """Return the path of the user's own module."""
    return PathFacts(
        "torch", "torch", torch.__version__, digest_of_network(model), {"types": types}
    )
