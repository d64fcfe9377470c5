"""What is left of a network once kernels are removed: which operations still compute something.

An operation is dead if nothing of its input or of its own channels is left; then it contributes
zero. A sum keeps its other operands, which is what makes a whole branch removable. An
operation whose result reaches no output is not needed. All is worked out for many policies (P) at
once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfprune.core.arrays import BoolArray, IntArray
from rfprune.edge.kernels.channels import ChannelOperation, Channels
from rfprune.edge.kernels.operations import ChannelKind

__all__ = ["Flow", "find_flow", "find_silencers"]


@dataclass(frozen=True)
class Flow:
    """The rest of a network, per policy.

    Attributes:
        kept: (P, G) channels left in each group, 0 also where all that makes it is dead.
        widths: (P, O) features left in each operation's output.
        live: (P, O) the operation computes something that is not zero by construction.
        needed: (P, O) it is live and the output depends on it.
        connected: (P,) the input still reaches the output.
    """

    kept: IntArray
    widths: IntArray
    live: BoolArray
    needed: BoolArray
    connected: BoolArray


def find_flow(channels: Channels, kept: IntArray) -> Flow:
    """Work out what is left.

    Args:
        channels: the network.
        kept: (P, G) channels left in each group.
    """
    repeats = channels.repeats
    kept = kept.copy()
    # A group dies with the last operation that makes it, and takes along what is made of it alone.
    while True:
        widths = kept @ repeats.T
        live = _forward(channels, widths)
        emptied = _without_producer(channels, live) & (kept > 0)
        if not emptied.any():
            break
        # What they were made for is empty now, and may empty others in turn.
        kept[emptied] = 0
    needed = _backward(channels, live)
    connected = live[:, -1] & ~_gaps(channels, widths, live)
    return Flow(kept, widths, live, needed, connected)


def _forward(channels: Channels, widths: IntArray) -> BoolArray:
    live = np.zeros(widths.shape, dtype=bool)
    for i, op in enumerate(channels.operations):
        inputs = live[:, list(op.reads)]
        # A sum loses its dead operands; a product with one of them is zero.
        one_is_enough = op.kind in (ChannelKind.ADD, ChannelKind.CONCAT)
        live[:, i] = inputs.any(axis=1) if one_is_enough else inputs.all(axis=1)
        if op.blocks:
            live[:, i] &= widths[:, i] > 0
        # Its bias alone, a constant, would be left: it counts as dead, and masks set the bias to
        # zero.
        if op.kind is ChannelKind.MIX:
            live[:, i] &= widths[:, op.reads[0]] > 0
    return live


def _without_producer(channels: Channels, live: BoolArray) -> BoolArray:
    """Return (P, G): all convolutions and dense layers that make the group are dead."""
    dead = np.zeros((len(live), len(channels.sizes)), dtype=bool)
    for group, producers in enumerate(channels.producers):
        if producers and group not in channels.pinned:
            # A sum keeps a group alive as long as one of its operands is.
            dead[:, group] = ~live[:, list(producers)].any(axis=1)
    return dead


def _backward(channels: Channels, live: BoolArray) -> BoolArray:
    needed = np.zeros_like(live)
    needed[:, -1] = live[:, -1]
    for i in range(len(channels.operations) - 1, -1, -1):
        for read in channels.operations[i].reads:
            # What nobody reads need not be computed, although it is alive.
            needed[:, read] |= needed[:, i] & live[:, read]
    return needed


def _gaps(channels: Channels, widths: IntArray, live: BoolArray) -> BoolArray:
    """Return (P,): a concatenation would have to put zeros in the place of a dead operand."""
    gaps = np.zeros(len(live), dtype=bool)
    for i, op in enumerate(channels.operations):
        if op.kind is ChannelKind.CONCAT:
            for read in op.reads:
                # The readers of the concatenation count its channels: a missing operand would shift
                # them.
                gaps |= live[:, i] & ~live[:, read] & (widths[:, read] > 0)
    return gaps


def find_silencers(channels: Channels, live: BoolArray) -> set[str] | None:
    """Return the parameters that must be zero so that dead operands of sums are zero.

    Args:
        channels: the network.
        live: (O,) of one policy.

    Returns:
        Names of parameters, or None if a dead operand cannot be made zero in this way.
    """
    names: set[str] = set()
    for i, op in enumerate(channels.operations):
        if op.kind is ChannelKind.ADD and live[i]:
            for read in op.reads:
                found = set[str]() if live[read] else _silence(channels, live, read)
                if found is None:
                    return None
                names |= found
    return names


def _silence(channels: Channels, live: BoolArray, i: int) -> set[str] | None:
    """Return parameters which, set to zero, make the dead operation `i` zero, or None."""
    op: ChannelOperation = channels.operations[i]
    if op.silencers:
        return set(op.silencers)
    if not op.keeps_zero:
        return None
    dead = [read for read in op.reads if not live[read]]
    found = [_silence(channels, live, read) for read in dead]
    # One factor that is zero is enough.
    if op.kind is ChannelKind.MULTIPLY:
        return next((names for names in found if names is not None), None)
    if len(dead) < len(op.reads) or None in found:
        return None
    return set[str]().union(*(names for names in found if names is not None))
