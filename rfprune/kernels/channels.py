"""The channels of a network: which groups of them there are, and which operation has which.

A *group* is a set of channels that can only come or go together, over all operations: those of a
convolution, of the batch norm and activation behind it, of the depthwise convolution that reads it,
of every convolution that is added to it, and of the gate that multiplies it. The layout of an
operation's output (its axis 1) is a tuple of blocks: a concatenation has one per operand.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from rfprune.arrays import IntArray
from rfprune.errors import NetworkError
from rfprune.kernels.operations import Kind, keeps_zero, kind_of_function, kind_of_module

__all__ = ["Block", "Channels", "Operation", "Shape", "find_channels"]

Shape = tuple[int, ...]
_WITH_WEIGHTS = (Kind.MIX, Kind.DEPTHWISE, Kind.NORM)


@dataclass(frozen=True)
class Block:
    """A run of features that belongs to one group.

    Attributes:
        group: number of the group.
        repeat: features per channel of the group: 1, or height * width after a flatten.
    """

    group: int
    repeat: int = 1


@dataclass(frozen=True)
class Operation:
    """One operation on feature maps, in order of execution.

    Attributes:
        node: its name in the graph.
        kind: what it does to channels.
        path: torch's dotted path of its module, or an empty string.
        reads: the operations whose output it reads, by number.
        blocks: layout of its output.
        shape: of its output, without the batch: (features, *positions).
        keeps_zero: a channel of zeros stays one.
        silencers: parameters of its module which, set to zero, make its output zero.
        is_gate: it works out by how much another feature map is multiplied (squeeze-excite).
    """

    node: str
    kind: Kind
    path: str
    reads: tuple[int, ...]
    blocks: tuple[Block, ...]
    shape: Shape
    keeps_zero: bool = False
    silencers: tuple[str, ...] = ()
    is_gate: bool = False

    @property
    def positions(self) -> int:
        """Number of positions (pixels) of the output."""
        return math.prod(self.shape[1:])


@dataclass(frozen=True)
class Channels:
    """All operations of a network and the groups of its channels.

    Attributes:
        operations: in order of execution.
        sizes: channels of each group.
        pinned: group number to the reason why it keeps all its channels.
        graph: the traced graph; its nodes are named as `Operation.node`.
    """

    operations: tuple[Operation, ...]
    sizes: tuple[int, ...]
    pinned: dict[int, str]
    graph: fx.Graph

    @cached_property
    def repeats(self) -> IntArray:
        """(O, G) features that one channel of a group is in an operation's output."""
        repeats = np.zeros((len(self.operations), len(self.sizes)), dtype=np.int64)
        for i, op in enumerate(self.operations):
            for block in op.blocks:
                repeats[i, block.group] += block.repeat
        return repeats

    @cached_property
    def producers(self) -> tuple[tuple[int, ...], ...]:
        """Per group the convolutions and dense layers whose outputs it is, gates included."""
        found: list[list[int]] = [[] for _ in self.sizes]
        for i, op in enumerate(self.operations):
            if op.kind is Kind.MIX:
                found[op.blocks[0].group].append(i)
        return tuple(tuple(group) for group in found)

    def spread(self, op: Operation, values: Sequence[Tensor]) -> Tensor:
        """Return (features,) the value of every feature of an output, from (channels,) per group.

        Args:
            op: the operation.
            values: one tensor per group.
        """
        return torch.cat([values[b.group].repeat_interleave(b.repeat) for b in op.blocks])


def find_channels(model: nn.Module, input_shape: Shape) -> Channels:
    """Trace a network and find the groups of its channels.

    Args:
        model: the network; its mode and its statistics stay as they are.
        input_shape: shape of one sample, without the batch.

    Raises:
        NetworkError: it cannot be traced, or does not take such samples.
    """
    training = model.training
    model.eval()
    try:
        traced = _trace(model)
        first = next(model.parameters(), torch.empty(0))
        with torch.no_grad():
            ShapeProp(traced).propagate(torch.zeros(2, *input_shape, device=first.device))
    except NetworkError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise NetworkError(
            f"the network does not take samples of shape {tuple(input_shape)}: {reason}"
        ) from error
    finally:
        model.train(training)
    return _Finder(traced).run()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # timm derives from batch norm; inside it there is nothing to prune.
        return isinstance(m, _BatchNorm) or super().is_leaf_module(m, module_qualified_name)


def _trace(model: nn.Module) -> fx.GraphModule:
    try:
        return fx.GraphModule(model, _Tracer().trace(model))
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise NetworkError(
            f"{type(model).__name__} cannot be traced by torch.fx ({reason}); its forward must not "
            "branch on the values or shapes of tensors."
        ) from error


class _Finder:
    """Walks over the nodes once; groups that turn out to be one are joined on the way."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced = traced
        self.operations: list[Operation] = []
        self.by_node: dict[fx.Node, int] = {}
        self.sizes: list[int] = []
        self.parent: list[int] = []
        self.pinned: dict[int, str] = {}
        uses = Counter(id(p) for _, p in traced.named_parameters(remove_duplicate=False))
        self.shared = {weight for weight, n_uses in uses.items() if n_uses > 1}
        self.calls = Counter(n.target for n in traced.graph.nodes if n.op == "call_module")

    def run(self) -> Channels:
        for node in self.traced.graph.nodes:
            if _shape(node) is not None:
                self.by_node[node] = len(self.operations)
                self.operations.append(self._operation(node))
        for op in list(self.operations):
            if op.kind is Kind.MULTIPLY:
                self._mark_gates(op)
        return self._numbered()

    def _operation(self, node: fx.Node) -> Operation:
        shape = _shape(node)
        assert shape is not None
        path = str(node.target) if node.op in ("call_module", "get_attr") else ""
        reads = tuple(self.by_node[n] for n in node.all_input_nodes if n in self.by_node)
        kind = self._kind(node, reads)
        blocks = self._blocks(node, kind, reads, shape)
        silencers = self._silencers(path) if kind in _WITH_WEIGHTS else ()
        zero = self._keeps_zero(node, kind)
        return Operation(node.name, kind, path, reads, blocks, shape, zero, silencers)

    def _kind(self, node: fx.Node, reads: Sequence[int]) -> Kind:
        """Return the kind of a node, UNKNOWN also where its use is unusual."""
        if node.op == "placeholder":
            return Kind.INPUT
        if node.op == "output":
            return Kind.OUTPUT
        if node.op == "call_module":
            module = self.traced.get_submodule(str(node.target))
            kind = kind_of_module(module)
            weights = list(module.parameters())
            dense = isinstance(module, nn.Linear)
            if any(id(weight) in self.shared for weight in weights):
                return Kind.UNKNOWN
            if weights and self.calls[node.target] > 1:
                return Kind.UNKNOWN
            if dense and any(len(self.operations[i].shape) != 1 for i in reads):
                return Kind.UNKNOWN
        else:
            kind = Kind.UNKNOWN if node.op == "get_attr" else kind_of_function(node.target)
        operands = [self.operations[i] for i in reads]
        if not operands or any(not op.blocks for op in operands):
            return Kind.UNKNOWN
        if kind in (Kind.ADD, Kind.MULTIPLY) and len(operands) == 1:
            with_itself = len(node.args) == 2 and node.args[0] is node.args[1]
            return kind if with_itself else Kind.CHANNELWISE
        return kind if _usual(node, kind, operands) else Kind.UNKNOWN

    def _keeps_zero(self, node: fx.Node, kind: Kind) -> bool:
        if kind is Kind.NORM:
            return isinstance(self.traced.get_submodule(str(node.target)), nn.PReLU)
        if kind is not Kind.CHANNELWISE:
            return kind in (Kind.FLATTEN, Kind.ADD, Kind.MULTIPLY, Kind.CONCAT)
        if node.op == "call_module":
            return keeps_zero(self.traced.get_submodule(str(node.target)))
        return keeps_zero(node.target) or kind_of_function(node.target) is Kind.MULTIPLY

    def _silencers(self, path: str) -> tuple[str, ...]:
        module = self.traced.get_submodule(path)
        names = [name for name, _ in module.named_parameters(recurse=False)]
        is_norm = isinstance(module, _BatchNorm | _InstanceNorm)
        if isinstance(module, nn.PReLU) or (is_norm and not (names and keeps_zero(module))):
            return ()
        return tuple(f"{path}.{name}" for name in names)

    def _blocks(
        self, node: fx.Node, kind: Kind, reads: Sequence[int], shape: Shape
    ) -> tuple[Block, ...]:
        layouts = [self.operations[i].blocks for i in reads]
        if kind is Kind.INPUT:
            return self._fresh(shape, "the network's input")
        if kind is Kind.MIX:
            return self._fresh(shape)
        if kind is Kind.DEPTHWISE:
            factor = shape[0] // self.operations[reads[0]].shape[0]
            return tuple(Block(b.group, b.repeat * factor) for b in layouts[0])
        if kind is Kind.FLATTEN:
            factor = self.operations[reads[0]].positions
            return tuple(Block(b.group, b.repeat * factor) for b in layouts[0])
        if kind in (Kind.NORM, Kind.CHANNELWISE):
            return layouts[0]
        if kind in (Kind.ADD, Kind.MULTIPLY):
            return self._joined(node, layouts)
        if kind is Kind.CONCAT:
            operands = [self.by_node[operand] for operand in _operands(node)]
            return tuple(block for i in operands for block in self.operations[i].blocks)
        name = getattr(node.target, "__name__", node.target)
        reason = (
            "its channels are the network's output"
            if kind is Kind.OUTPUT
            else f"what '{name}' does to channels is not known"
        )
        self._pin(layouts, reason)
        return self._fresh(shape, reason)

    def _fresh(self, shape: Shape, pinned: str | None = None) -> tuple[Block, ...]:
        """Open a group for all channels of a new feature map."""
        if not shape:
            return ()
        group = len(self.sizes)
        self.sizes.append(shape[0])
        self.parent.append(group)
        if pinned is not None:
            self.pinned[group] = pinned
        return (Block(group),)

    def _root(self, group: int) -> int:
        while self.parent[group] != group:
            group = self.parent[group]
        return group

    def _pin(self, layouts: Iterable[Sequence[Block]], reason: str) -> None:
        for layout in layouts:
            for block in layout:
                self.pinned.setdefault(self._root(block.group), reason)

    def _joined(self, node: fx.Node, layouts: Sequence[tuple[Block, ...]]) -> tuple[Block, ...]:
        """Make one of the groups that are added or multiplied, channel by channel."""
        first = layouts[0]
        for other in layouts[1:]:
            if self._outline(first) == self._outline(other):
                for a, b in zip(first, other, strict=True):
                    self._unite(a.group, b.group)
            else:
                self._pin([first, other], f"'{node.name}' joins channels of different make-up")
        return first

    def _outline(self, layout: Sequence[Block]) -> list[tuple[int, int]]:
        return [(self.sizes[block.group], block.repeat) for block in layout]

    def _unite(self, a: int, b: int) -> None:
        a, b = sorted((self._root(a), self._root(b)))
        if a != b:
            self.parent[b] = a
            if b in self.pinned:
                self.pinned.setdefault(a, self.pinned.pop(b))

    def _mark_gates(self, product: Operation) -> None:
        """Mark what works out a factor of a feature map from that feature map itself."""
        for factor in product.reads:
            between: set[int] = set()
            for source in product.reads:
                between |= self._between(source, factor)
            for i in between:
                self.operations[i] = replace(self.operations[i], is_gate=True)

    def _between(self, source: int, end: int) -> set[int]:
        """Return the operations on the ways from `source` (left out) to `end`."""
        reached = {source}
        for i in range(source + 1, end + 1):
            if reached.intersection(self.operations[i].reads):
                reached.add(i)
        needed = {end} & reached
        for i in sorted(reached, reverse=True):
            if i in needed:
                needed |= reached.intersection(self.operations[i].reads)
        return needed - {source}

    def _numbered(self) -> Channels:
        """Return the result with groups numbered from 0 in order of appearance."""
        roots = sorted({self._root(group) for group in range(len(self.sizes))})
        number = {root: i for i, root in enumerate(roots)}
        operations = tuple(
            replace(
                op, blocks=tuple(Block(number[self._root(b.group)], b.repeat) for b in op.blocks)
            )
            for op in self.operations
        )
        sizes = tuple(self.sizes[root] for root in roots)
        pinned = {number[root]: reason for root, reason in self.pinned.items()}
        return Channels(operations, sizes, pinned, self.traced.graph)


def _shape(node: fx.Node) -> Shape | None:
    """Return the shape of a node's output without the batch, or None if it holds no tensor.

    It is empty for the network's output and for several tensors at once (``chunk``).
    """
    meta: Any = node.meta.get("tensor_meta")
    if meta is None:
        return () if node.op == "output" else None
    return tuple(meta.shape[1:]) if node.op != "output" and hasattr(meta, "shape") else ()


def _operands(node: fx.Node) -> list[fx.Node]:
    """Return the tensors that a concatenation joins, in order, repeated ones too."""
    tensors: Any = node.args[0] if node.args else node.kwargs.get("tensors")
    return list(tensors)


def _usual(node: fx.Node, kind: Kind, operands: Sequence[Operation]) -> bool:
    """Return False where the arguments of an operation make it another one than its name says."""
    shape = _shape(node)
    first = operands[0].shape
    assert shape is not None
    if kind in (Kind.ADD, Kind.MULTIPLY):
        # A gate has one position, a sum has the same everywhere; both have all channels.
        part = 1 if kind is Kind.MULTIPLY else None
        return len({op.shape[:part] for op in operands}) == 1 and not node.kwargs
    if kind is Kind.CHANNELWISE:
        return shape[:1] == first[:1] and _spares_channels(node, 1 + len(first))
    if kind is Kind.FLATTEN:
        return shape == (math.prod(first),) and _open_ended(node)
    if kind is Kind.CONCAT:
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        return dim in (1, -len(first)) and len({len(op.shape) for op in operands}) == 1
    return True


def _spares_channels(node: fx.Node, n_axes: int) -> bool:
    """Return False for a mean over the batch or the channels."""
    if getattr(node.target, "__name__", node.target) != "mean":
        return True
    dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    axes = dim if isinstance(dim, tuple | list) else (dim,)
    return all(axis is not None and axis % n_axes > 1 for axis in axes)


def _open_ended(node: fx.Node) -> bool:
    """Return False for a view whose size is a number, which is wrong once channels are gone."""
    if node.op == "call_module" or getattr(node.target, "__name__", node.target) == "flatten":
        return True
    sizes = node.args[1:]
    last: Any = sizes[-1] if sizes else None
    return bool((last[-1] if isinstance(last, tuple | list) else last) == -1)
