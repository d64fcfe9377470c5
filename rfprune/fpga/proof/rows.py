"""Rows on which the paths of an export are compared: known ones, corners, random ones, or all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rfprune.core.named import Named
from rfprune.errors import OptionError
from rfprune.fpga.layers import Plan
from rfprune.hardware.precision import FixedType

__all__ = ["InputKind", "ProofRows", "kinds_of", "proof_rows"]

Rows = Tensor | Named

#: All codes of all inputs are compared up to so many rows: minutes of simulation.
LARGEST_EXHAUSTIVE = 2**20
#: Seed of random rows: the same on every machine.
_SEED = 20_201


@dataclass(frozen=True)
class InputKind:
    """One input of a design.

    Attributes:
        name: of the input.
        shape: of one sample.
        type: of each number.
        entries: it chooses one of so many rows of a table; None if it is a number.
    """

    name: str
    shape: tuple[int, ...]
    type: FixedType
    entries: int | None = None

    @property
    def low(self) -> float:
        """Smallest value."""
        return 0.0 if self.entries is not None else self.type.min

    @property
    def high(self) -> float:
        """Largest value."""
        return float(self.entries - 1) if self.entries is not None else self.type.max

    @property
    def codes(self) -> int:
        """How many values a number can have."""
        return self.entries if self.entries is not None else 2**self.type.width


def kinds_of(plan: Plan) -> list[InputKind]:
    """Return the inputs of a design, in order."""
    default = FixedType.parse(plan.hardware.precision)
    operations = plan.network.operations
    tables = {each.inputs[0]: each.rows for each in operations if each.rows is not None}
    return [
        InputKind(name, tuple(shape), plan.types.get(name) or default, tables.get(name))
        for name, shape in plan.network.inputs.items()
    ]


@dataclass(frozen=True)
class ProofRows:
    """Rows of double precision; some lie between the grids of the inputs, or beyond them.

    Attributes:
        x: a tensor, of several inputs by name.
        corners: how many are corner vectors, which come first.
        exhaustive: they are all that there are.
    """

    x: Rows
    corners: int
    exhaustive: bool = False

    def on_grid(self, kinds: list[InputKind]) -> Rows:
        """Return them as a design reads them: cast to the types of its inputs."""
        parts = [kind.type.quantize(part) for kind, part in zip(kinds, _parts(self.x), strict=True)]
        return parts[0] if isinstance(self.x, Tensor) else _named(self.x, parts)


def proof_rows(
    kinds: list[InputKind], known: Rows | None, rows: int | None, exhaustive: bool
) -> ProofRows:
    """Return the rows: corner vectors first, then known rows, then random ones.

    Args:
        kinds: the inputs, in order.
        known: rows with which the design was compared before.
        rows: how many in all; None = the known ones and as many random ones as corners.
        exhaustive: every code of every input instead.

    Raises:
        OptionError: there are too many codes.
    """
    corners = _corners(kinds)
    n_corners = len(corners[0])
    if exhaustive:
        parts = [torch.cat(pair) for pair in zip(corners, _all_codes(kinds), strict=True)]
        return ProofRows(_like(known, kinds, parts), n_corners, True)
    found = [[part] for part in corners]
    left = n_corners if rows is None else max(rows - n_corners, 0)
    if known is not None:
        taken = len(known) if rows is None else min(left, len(known))
        for own, part in zip(found, _parts(known), strict=True):
            own.append(part[:taken].double())
        left -= 0 if rows is None else taken
    for own, part in zip(found, _random(kinds, left), strict=True):
        own.append(part)
    return ProofRows(_like(known, kinds, [torch.cat(own) for own in found]), n_corners)


def _parts(x: Rows) -> list[Tensor]:
    return list(x.parts.values()) if isinstance(x, Named) else [x]


def _named(like: Named, parts: list[Tensor]) -> Named:
    return Named(dict(zip(like.parts, parts, strict=True)))


def _like(known: Rows | None, kinds: list[InputKind], parts: list[Tensor]) -> Rows:
    if isinstance(known, Named):
        return _named(known, parts)
    if len(kinds) == 1:
        return parts[0]
    return Named({kind.name: part for kind, part in zip(kinds, parts, strict=True)})


def _corners(kinds: list[InputKind]) -> list[Tensor]:
    """Return (rows, ...) per input: largest, smallest, alternating, zero, small, beyond."""
    found = []
    for kind in kinds:
        size = math.prod(kind.shape)
        even = torch.arange(size) % 2 == 0
        low, high = (torch.full((size,), v, dtype=torch.float64) for v in (kind.low, kind.high))
        zero = torch.zeros(size, dtype=torch.float64)
        rows = [high, low, torch.where(even, high, low), torch.where(even, low, high), zero]
        step = kind.type.step
        if kind.entries is None:
            # One step from zero, half a step, and beyond the type on both sides.
            rows += [zero + step, zero - step, zero + step / 2, zero - step / 2]
            rows += [high + step, high * 1.5, low * 1.5 - step, torch.where(even, high, low) * 3]
        else:
            rows += [torch.where(even, high, zero)] * 8
        found.append(torch.stack(rows).reshape(-1, *kind.shape))
    return found


def _random(kinds: list[InputKind], rows: int) -> list[Tensor]:
    """Return (rows, ...) per input: one half on the whole range, one half near zero."""
    generator = torch.Generator().manual_seed(_SEED)
    found = []
    for kind in kinds:
        share = torch.rand((rows, *kind.shape), generator=generator, dtype=torch.float64)
        if kind.entries is not None:
            found.append((share * kind.entries).floor())
            continue
        wide = kind.low + share * (kind.high - kind.low)
        near = torch.randn((rows, *kind.shape), generator=generator, dtype=torch.float64)
        even = (torch.arange(rows) % 2 == 0).reshape(-1, *[1] * len(kind.shape))
        found.append(torch.where(even, wide, near))
    return found


def _all_codes(kinds: list[InputKind]) -> list[Tensor]:
    """Return every combination of codes, (rows, ...) per input."""
    sizes = [math.prod(kind.shape) for kind in kinds]
    bits = sum(size * math.log2(kind.codes) for kind, size in zip(kinds, sizes, strict=True))
    if bits > math.log2(LARGEST_EXHAUSTIVE) + 1e-9:
        raise OptionError(
            f"--exhaustive: the inputs hold {sum(sizes)} numbers, which have 2^{bits:.0f} values "
            f"together. Allowed: 2^{math.log2(LARGEST_EXHAUSTIVE):.0f}, such as two numbers of 8 "
            "bits; take --rows."
        )
    values = [
        kind.low + torch.arange(kind.codes, dtype=torch.float64) * _step(kind)
        for kind, size in zip(kinds, sizes, strict=True)
        for _ in range(size)
    ]
    table = torch.cartesian_prod(*values).reshape(-1, len(values))
    parts = torch.split(table, sizes, dim=1)
    return [part.reshape(-1, *kind.shape) for kind, part in zip(kinds, parts, strict=True)]


def _step(kind: InputKind) -> float:
    return 1.0 if kind.entries is not None else kind.type.step
