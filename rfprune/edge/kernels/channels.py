"""The channels of a network: which groups of them there are, and which operation has which.

A *group* is a set of channels that can only come or go together, over all operations: those of a
convolution, of the batch norm and activation behind it, of the depthwise convolution that reads it,
of every convolution that is added to it, and of the gate that multiplies it. The layout of an
operation's output along its channel axis is a tuple of blocks: a concatenation has one per operand.

Groups are found on the way through the graph, and change on it: two that are added become one, one
that is cut by a slice becomes two, and where a grouped convolution reads m channels at a time, m
channels that follow each other become a single one, m features wide.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from rfprune.core.arrays import IntArray
from rfprune.edge.kernels.operations import (
    ChannelKind,
    is_one_operation,
    is_spatial,
    keeps_zero,
    kind_of_function,
    kind_of_module,
)
from rfprune.errors import NetworkError

__all__ = ["Block", "ChannelOperation", "Channels", "Shape", "find_channels", "full_index"]

Shape = tuple[int, ...]
_WITH_WEIGHTS = (ChannelKind.MIX, ChannelKind.GROUPED, ChannelKind.NORM)


@dataclass(frozen=True)
class Block:
    """A run of features that belongs to one group.

    Attributes:
        group: number of the group.
        repeat: features per channel of the group: 1; height * width after a flatten; as many as a
            grouped convolution reads or makes at a time.
    """

    group: int
    repeat: int = 1


@dataclass(frozen=True)
class ChannelOperation:
    """One operation on feature maps, in order of execution.

    Attributes:
        node: its name in the graph.
        kind: what it does to channels.
        path: torch's dotted path of its module, or an empty string.
        reads: the operations whose output it reads, by number.
        blocks: layout of its output.
        shape: of its output, without the batch: (features, *positions), wherever the channels are.
        axis: of the channels in the output; the batch is axis 0.
        keeps_zero: a channel of zeros stays one.
        silencers: parameters of its module which, set to zero, make its output zero.
        is_gate: it works out by how much another feature map is multiplied (squeeze-excite).
        start: first channel that a slice takes.
        transposed: its weight has inputs first, as that of a transposed convolution.
        spatial: further axes of its weight.
    """

    node: str
    kind: ChannelKind
    path: str
    reads: tuple[int, ...]
    blocks: tuple[Block, ...]
    shape: Shape
    axis: int = 1
    keeps_zero: bool = False
    silencers: tuple[str, ...] = ()
    is_gate: bool = False
    start: int = 0
    transposed: bool = False
    spatial: int = 0

    @property
    def sample_shape(self) -> Shape:
        """Shape of the output without the batch, in its own order of axes."""
        return (*self.shape[1 : self.axis], *self.shape[:1], *self.shape[self.axis :])

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
        graph: the traced graph; its nodes are named as `ChannelOperation.node`.
    """

    operations: tuple[ChannelOperation, ...]
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
            if op.kind is ChannelKind.MIX:
                for group in dict.fromkeys(block.group for block in op.blocks):
                    found[group].append(i)
        return tuple(tuple(group) for group in found)

    def spread(self, op: ChannelOperation, values: Sequence[Tensor]) -> Tensor:
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
    # In training mode the zeros of the trace would move the running statistics of batch norms.
    model.eval()
    try:
        traced = _trace(model)
        first = next(model.parameters(), torch.empty(0))
        with torch.no_grad():
            ShapeProp(traced).propagate(torch.zeros(2, *input_shape, device=first.device))
        _splits_as_slices(traced.graph)
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
        return is_one_operation(m) or super().is_leaf_module(m, module_qualified_name)


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
    """Walks over the nodes once; groups become others on the way."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced = traced
        self.operations: list[ChannelOperation] = []
        self.by_node: dict[fx.Node, int] = {}
        self.sizes: list[int] = []
        #: What stands in the place of a group that is no longer there.
        self.became: dict[int, tuple[Block, ...]] = {}
        self.pinned: dict[int, str] = {}
        # A weight that two modules share would have to lose kernels for both of them at once.
        uses = Counter(id(p) for _, p in traced.named_parameters(remove_duplicate=False))
        self.shared = {weight for weight, n_uses in uses.items() if n_uses > 1}
        self.calls = Counter(n.target for n in traced.graph.nodes if n.op == "call_module")

    def run(self) -> Channels:
        for node in self.traced.graph.nodes:
            if _shape(node) is not None:
                self.by_node[node] = len(self.operations)
                self.operations.append(self._operation(node))
        # After all groups are known: a gate may be made long before it multiplies.
        for op in list(self.operations):
            if op.kind is not ChannelKind.MULTIPLY:
                continue
            # What works out a factor of a feature map from that feature map itself is a gate.
            for source, factor in product(op.reads, op.reads):
                for i in self._between(source, factor):
                    self.operations[i] = replace(self.operations[i], is_gate=True)
        return self._numbered()

    def _operation(self, node: fx.Node) -> ChannelOperation:
        full = _shape(node)
        assert full is not None
        path = str(node.target) if node.op in ("call_module", "get_attr") else ""
        # Plain values among the arguments (sizes, indices) are no feature maps.
        reads = tuple(self.by_node[n] for n in node.all_input_nodes if n in self.by_node)
        kind = self._kind(node, reads)
        axis = self._axis(node, kind, reads)
        # Channels first, whatever their axis, so that shapes can be compared.
        shape = (*full[axis : axis + 1], *full[1:axis], *full[axis + 1 :])
        start = _taken(node, full, axis) if kind is ChannelKind.SLICE else 0
        blocks = self._blocks(node, kind, reads, shape, start)
        silencers = self._silencers(path) if kind in _WITH_WEIGHTS else ()
        zero = self._keeps_zero(node, kind)
        module = self.traced.get_submodule(path) if node.op == "call_module" else None
        transposed = isinstance(module, _ConvTransposeNd)
        spatial = len(module.kernel_size) if isinstance(module, _ConvNd) else 0
        return ChannelOperation(
            *(node.name, kind, path, reads, blocks, shape, axis, zero, silencers),
            start=start,
            transposed=transposed,
            spatial=spatial,
        )

    def _axis(self, node: fx.Node, kind: ChannelKind, reads: Sequence[int]) -> int:
        """Return the axis of the channels in a node's output."""
        full, read = _shape(node) or (), self.operations[reads[0]].axis if reads else 1
        if kind is ChannelKind.MIX and self._is_dense(node):
            return len(full) - 1
        if kind is ChannelKind.PERMUTE:
            return _order(node, len(full)).index(read)
        if kind is ChannelKind.CHANNELWISE and len(full) > 0:
            return read - sum(axis < read for axis in _averaged(node, read, len(full)))
        if kind is ChannelKind.UNKNOWN:
            if self._is_layer_norm(node):
                return len(full) - 1
            # An operation that is not known is taken to leave axes alone if it leaves the shape
            # alone.
            same = reads and self.operations[reads[0]].sample_shape == full[1:]
            return read if same else 1
        return 1 if kind in (ChannelKind.INPUT, ChannelKind.OUTPUT) else read

    def _is_dense(self, node: fx.Node) -> bool:
        return node.op == "call_module" and isinstance(
            self.traced.get_submodule(str(node.target)), nn.Linear
        )

    def _is_spatial(self, node: fx.Node) -> bool:
        module = node.op == "call_module"
        return is_spatial(self.traced.get_submodule(str(node.target)) if module else node.target)

    def _is_layer_norm(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.traced.get_submodule(str(node.target)), nn.LayerNorm)
        return node.target is functional.layer_norm

    def _kind(self, node: fx.Node, reads: Sequence[int]) -> ChannelKind:
        """Return the kind of a node, UNKNOWN also where its use is unusual."""
        if node.op == "placeholder":
            return ChannelKind.INPUT
        if node.op == "output":
            return ChannelKind.OUTPUT
        if node.op == "call_module":
            module = self.traced.get_submodule(str(node.target))
            kind = kind_of_module(module)
            weights = list(module.parameters())
            if any(id(weight) in self.shared for weight in weights):
                return ChannelKind.UNKNOWN
            # Called twice, one weight reads two feature maps, which would have to lose the same
            # channels.
            if weights and self.calls[node.target] > 1:
                return ChannelKind.UNKNOWN
        else:
            kind = ChannelKind.UNKNOWN if node.op == "get_attr" else kind_of_function(node.target)
        operands = [self.operations[i] for i in reads]
        # Several tensors in one value (`chunk`) have no layout: whose channels are whose is lost.
        if not operands or any(not op.blocks for op in operands):
            return ChannelKind.UNKNOWN
        if kind in (ChannelKind.ADD, ChannelKind.MULTIPLY) and len(operands) == 1:
            # Doubled or squared: fx names a node that is read twice only once.
            with_itself = len(node.args) == 2 and node.args[0] is node.args[1]
            return kind if with_itself else ChannelKind.CHANNELWISE
        # A dense layer acts along the last axis; others look for the channels behind the batch.
        expected = len(operands[0].shape) if self._is_dense(node) else 1
        if operands[0].axis != expected and (kind in _BY_AXIS or self._is_spatial(node)):
            return ChannelKind.UNKNOWN
        if kind is ChannelKind.SLICE:
            return _kind_of_slice(node, operands[0])
        return kind if _usual(node, kind, operands) else ChannelKind.UNKNOWN

    def _keeps_zero(self, node: fx.Node, kind: ChannelKind) -> bool:
        # The shift of a norm makes something else of a channel of zeros.
        if kind is ChannelKind.NORM:
            return isinstance(self.traced.get_submodule(str(node.target)), nn.PReLU)
        if kind is not ChannelKind.CHANNELWISE:
            return kind in (
                ChannelKind.FLATTEN,
                ChannelKind.PERMUTE,
                ChannelKind.SLICE,
                ChannelKind.ADD,
                ChannelKind.MULTIPLY,
                ChannelKind.CONCAT,
            )
        if node.op == "call_module":
            return keeps_zero(self.traced.get_submodule(str(node.target)))
        also = (ChannelKind.MULTIPLY, ChannelKind.SLICE)
        return keeps_zero(node.target) or kind_of_function(node.target) in also

    def _silencers(self, path: str) -> tuple[str, ...]:
        module = self.traced.get_submodule(path)
        names = [name for name, _ in module.named_parameters(recurse=False)]
        is_norm = isinstance(module, _BatchNorm | _InstanceNorm)
        # A slope of zero lets pass what is positive, and without scale and shift nothing can be
        # set.
        if isinstance(module, nn.PReLU) or (is_norm and not (names and keeps_zero(module))):
            return ()
        return tuple(f"{path}.{name}" for name in names)

    def _blocks(
        self, node: fx.Node, kind: ChannelKind, reads: Sequence[int], shape: Shape, start: int
    ) -> tuple[Block, ...]:
        layouts = [self._now(self.operations[i].blocks) for i in reads]
        if kind is ChannelKind.INPUT:
            return self._fresh(shape, "the network's input")
        if kind is ChannelKind.MIX:
            return self._fresh(shape)
        if kind is ChannelKind.GROUPED:
            return self._grouped(node, layouts[0], shape)
        if kind is ChannelKind.FLATTEN:
            factor = self.operations[reads[0]].positions
            return tuple(Block(b.group, b.repeat * factor) for b in layouts[0])
        if kind in (ChannelKind.NORM, ChannelKind.CHANNELWISE, ChannelKind.PERMUTE):
            return layouts[0]
        if kind is ChannelKind.SLICE:
            return self._sliced(node, layouts[0], shape, start)
        if kind in (ChannelKind.ADD, ChannelKind.MULTIPLY):
            return self._joined(node, layouts)
        if kind is ChannelKind.CONCAT:
            # `all_input_nodes` names a tensor that is joined with itself only once.
            joined: Any = node.args[0] if node.args else node.kwargs.get("tensors")
            operands = [self.by_node[operand] for operand in joined]
            return tuple(block for i in operands for block in self._now(self.operations[i].blocks))
        name = getattr(node.target, "__name__", node.target)
        reason = (
            "its channels are the network's output"
            if kind is ChannelKind.OUTPUT
            else f"what '{name}' does to channels is not known"
        )
        self._pin(layouts, reason)
        return self._fresh(shape, reason)

    def _fresh(self, shape: Shape, pinned: str | None = None) -> tuple[Block, ...]:
        """Open a group for all channels of a new feature map."""
        return (Block(self._open(shape[0], pinned)),) if shape else ()

    def _open(self, size: int, pinned: str | None = None) -> int:
        group = len(self.sizes)
        self.sizes.append(size)
        if pinned is not None:
            self.pinned[group] = pinned
        return group

    def _now(self, layout: Sequence[Block]) -> tuple[Block, ...]:
        """Return a layout in the groups that there are by now."""
        found: list[Block] = []
        for block in layout:
            # What a group has become may itself have become something else.
            if block.group in self.became:
                parts = self._now(self.became[block.group])
                found += [Block(part.group, part.repeat * block.repeat) for part in parts]
            else:
                found.append(block)
        return tuple(found)

    def _replace(self, group: int, *parts: Block) -> None:
        """Put other groups in the place of one; what has to stay in it stays in them."""
        self.became[group] = parts
        if group in self.pinned:
            # A channel that has to stay stays, whatever group it is in.
            reason = self.pinned.pop(group)
            for part in parts:
                self.pinned.setdefault(part.group, reason)

    def _coarsen(self, group: int, factor: int) -> bool:
        """Make one channel of every so many that follow each other; False if that leaves a rest."""
        if self.sizes[group] % factor:
            return False
        if factor > 1:
            self._replace(group, Block(self._open(self.sizes[group] // factor), factor))
        return True

    def _cut(self, layout: Sequence[Block], feature: int) -> bool:
        """Make a group end before a feature; False where that would cut a channel."""
        begin = 0
        for block in self._now(layout):
            inside = feature - begin
            begin += self.sizes[block.group] * block.repeat
            # Only where the cut lies inside this block; at its ends nothing has to be done.
            if 0 < inside < begin - (feature - inside):
                first, rest = divmod(inside, block.repeat)
                if rest:
                    return False
                sizes = (first, self.sizes[block.group] - first)
                self._replace(block.group, *(Block(self._open(size)) for size in sizes))
                return True
        return True

    def _pin(self, layouts: Iterable[Sequence[Block]], reason: str) -> None:
        for layout in layouts:
            for block in self._now(layout):
                self.pinned.setdefault(block.group, reason)

    def _grouped(self, node: fx.Node, layout: tuple[Block, ...], shape: Shape) -> tuple[Block, ...]:
        """Let the channels go together that a convolution reads at a time, and what it makes."""
        module: Any = self.traced.get_submodule(str(node.target))
        inputs, outputs = module.in_channels // module.groups, module.out_channels // module.groups
        begin, fits = 0, True
        for block in layout:
            # A group may be there twice, and then has changed when it comes again.
            for part in self._now([block]):
                fits &= begin % inputs == 0
                # So many channels that follow each other make up what one group of the convolution
                # reads.
                fits &= self._coarsen(part.group, inputs // math.gcd(inputs, part.repeat))
            begin += self.sizes[block.group] * block.repeat
        if not fits:
            reason = f"the groups of '{node.target}' do not fit the channels that it reads"
            self._pin([layout], reason)
            return self._fresh(shape, reason)
        return tuple(Block(b.group, b.repeat // inputs * outputs) for b in self._now(layout))

    def _sliced(
        self, node: fx.Node, layout: tuple[Block, ...], shape: Shape, start: int
    ) -> tuple[Block, ...]:
        if not (self._cut(layout, start) and self._cut(layout, start + shape[0])):
            reason = f"'{node.name}' takes a part of a channel's features"
            self._pin([layout], reason)
            return self._fresh(shape, reason)
        begin, found = 0, []
        for block in self._now(layout):
            if start <= begin < start + shape[0]:
                found.append(block)
            begin += self.sizes[block.group] * block.repeat
        return tuple(found)

    def _joined(self, node: fx.Node, layouts: Sequence[tuple[Block, ...]]) -> tuple[Block, ...]:
        """Make one of the groups that are added or multiplied, channel by channel."""
        first = layouts[0]
        for other in layouts[1:]:
            if not self._aligned(first, other):
                self._pin([first, other], f"'{node.name}' joins channels of different make-up")
                continue
            for a, b in zip(self._now(first), self._now(other), strict=True):
                # Two of them may have become one a moment ago.
                (now_a,), (now_b,) = self._now([a]), self._now([b])
                # The older number stays: groups are in order of appearance.
                root, joined = sorted((now_a.group, now_b.group))
                if root != joined:
                    # A group that has to stay makes those stay that are joined with it.
                    self._replace(joined, Block(root))
        return self._now(first)

    def _aligned(self, first: Sequence[Block], other: Sequence[Block]) -> bool:
        """Cut and coarsen groups until two layouts have the same outline; False if none can."""
        # Where a group is in both, a cut in one is one in the other too: until nothing moves.
        while (ends := self._ends(first)) != (others := self._ends(other)):
            cuts = [self._cut(other, end) for end in ends] + [self._cut(first, e) for e in others]
            if not all(cuts):
                return False
        for a, b in zip(self._now(first), self._now(other), strict=True):
            (now_a,), (now_b,) = self._now([a]), self._now([b])
            wide = math.lcm(now_a.repeat, now_b.repeat)
            if not self._coarsen(now_a.group, wide // now_a.repeat):
                return False
            (now_b,) = self._now([b])
            if now_b.repeat < wide and not self._coarsen(now_b.group, wide // now_b.repeat):
                return False
        return self._outline(first) == self._outline(other)

    def _ends(self, layout: Sequence[Block]) -> list[int]:
        """Return the feature before which each block ends."""
        sizes = [self.sizes[block.group] * block.repeat for block in self._now(layout)]
        ends: list[int] = np.cumsum(sizes).tolist()
        return ends

    def _outline(self, layout: Sequence[Block]) -> list[tuple[int, int]]:
        return [(self.sizes[block.group], block.repeat) for block in self._now(layout)]

    def _between(self, source: int, end: int) -> set[int]:
        """Return the operations on the ways from `source` (left out) to `end`."""
        reached = {source}
        # Operations are in order of execution: one pass forwards, one backwards.
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
        layouts = [self._now(op.blocks) for op in self.operations]
        # Groups that were replaced are in no layout any more, and so get no number.
        groups = list(dict.fromkeys(block.group for layout in layouts for block in layout))
        number = {group: i for i, group in enumerate(groups)}
        operations = tuple(
            replace(op, blocks=tuple(Block(number[b.group], b.repeat) for b in layout))
            for op, layout in zip(self.operations, layouts, strict=True)
        )
        sizes = tuple(self.sizes[group] for group in groups)
        pinned = {number[group]: why for group, why in self.pinned.items() if group in number}
        return Channels(operations, sizes, pinned, self.traced.graph)


#: Kinds that take the channels from one axis.
_BY_AXIS = (
    ChannelKind.MIX,
    ChannelKind.GROUPED,
    ChannelKind.NORM,
    ChannelKind.FLATTEN,
)


def _shape(node: fx.Node) -> Shape | None:
    """Return the shape of a node's output with the batch, or None if it holds no tensor.

    It is empty for the network's output, for several tensors at once (``chunk``) and for what has
    no axis besides the batch.
    """
    meta: Any = node.meta.get("tensor_meta")
    if meta is None:
        return () if node.op == "output" else None
    if node.op == "output" or not hasattr(meta, "shape") or len(meta.shape) < 2:
        return ()
    return tuple(meta.shape)


def _splits_as_slices(graph: fx.Graph) -> None:
    """Write the parts of ``chunk`` and ``split`` as slices, which can be moved one by one."""
    for node in list(graph.nodes):
        name, dim = getattr(node.target, "__name__", node.target), _argument(node, 2, "dim", 0)
        parts: Any = node.meta.get("tensor_meta")
        named = name in ("chunk", "split", "tensor_split") and isinstance(parts, tuple)
        taken = [user for user in node.users if user.target is operator.getitem]
        numbered = all(isinstance(user.args[1], int) for user in taken)
        if not (named and numbered and len(taken) == len(node.users) and isinstance(dim, int)):
            continue
        dim %= len(parts[0].shape)
        ends = np.cumsum([part.shape[dim] for part in parts]).tolist()
        # Each part becomes a slice of the source itself, between the ends that the split had.
        for user in taken:
            index: Any = user.args[1]
            end, size = ends[index], parts[index].shape[dim]
            whole = (slice(None),) * dim
            user.args = (node.args[0], (*whole, slice(end - size, end)))
        graph.erase_node(node)


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _order(node: fx.Node, n_axes: int) -> list[int]:
    """Return, for each axis of what a permutation puts out, the axis that it was before."""
    if getattr(node.target, "__name__", node.target) == "transpose":
        # Negative axes count from the end.
        a, b = _argument(node, 1, "dim0", 0) % n_axes, _argument(node, 2, "dim1", 0) % n_axes
        order = list(range(n_axes))
        order[a], order[b] = b, a
        return order
    rest: Any = node.args[1:] or (node.kwargs.get("dims"),)
    return [d % n_axes for d in (rest[0] if isinstance(rest[0], tuple | list) else rest)]


def _averaged(node: fx.Node, axis: int, n_axes: int) -> tuple[int, ...]:
    """Return the axes that a mean takes away."""
    if getattr(node.target, "__name__", node.target) != "mean" or node.op == "call_module":
        return ()
    dim, keep = _argument(node, 1, "dim", None), _argument(node, 2, "keepdim", False)
    axes = dim if isinstance(dim, tuple | list) else (dim,)
    # With keepdim the axes stay, with length 1.
    return () if keep or None in axes else tuple(d % (n_axes + len(axes)) for d in axes)


def full_index(node: fx.Node, n_axes: int) -> tuple[Any, ...]:
    """Return the index of each axis, ``...`` written out."""
    index: Any = node.args[1]
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in index:
        at = index.index(Ellipsis)
        missing = n_axes - len(index) + 1
        index = (*index[:at], *(slice(None),) * missing, *index[at + 1 :])
    return (*index, *(slice(None),) * (n_axes - len(index)))


def _kind_of_slice(node: fx.Node, read: ChannelOperation) -> ChannelKind:
    """Return SLICE where some channels are taken, CHANNELWISE where some positions are."""
    # The batch and every axis must be slices: an integer would take an axis away.
    index = full_index(node, 1 + len(read.shape))
    plain = len(index) == 1 + len(read.shape) and all(isinstance(i, slice) for i in index)
    if not plain or index[0] != slice(None):
        return ChannelKind.UNKNOWN
    channels = index[read.axis]
    if channels == slice(None):
        return ChannelKind.CHANNELWISE
    bounds = all(isinstance(i, int | None) for i in (channels.start, channels.stop))
    return ChannelKind.SLICE if bounds and channels.step in (None, 1) else ChannelKind.UNKNOWN


def _taken(node: fx.Node, full: Shape, axis: int) -> int:
    """Return the first channel that a slice takes."""
    source: Any = node.args[0]
    size = source.meta["tensor_meta"].shape[axis]
    start, _, _ = full_index(node, len(full))[axis].indices(size)
    return int(start)


def _usual(node: fx.Node, kind: ChannelKind, operands: Sequence[ChannelOperation]) -> bool:
    """Return False where the arguments of an operation make it another one than its name says."""
    full = _shape(node)
    assert full is not None
    first = operands[0].shape
    axis, n_axes = operands[0].axis, 1 + len(first)
    if kind in (ChannelKind.ADD, ChannelKind.MULTIPLY):
        # A gate has one position, a sum has the same everywhere; both have all channels.
        part = 1 if kind is ChannelKind.MULTIPLY else None
        alike = {(op.axis, len(op.shape), op.shape[:part]) for op in operands}
        return len(alike) == 1 and not node.kwargs
    if kind is ChannelKind.CHANNELWISE:
        axis -= sum(d < axis for d in _averaged(node, axis, len(full)))
        same = full[axis : axis + 1] == first[:1]
        return same and _spares_channels(node, operands[0].axis, n_axes)
    if kind is ChannelKind.FLATTEN:
        return axis == 1 and full[1:] == (math.prod(first),) and _open_ended(node)
    if kind is ChannelKind.PERMUTE:
        # The batch has to stay in front.
        return _order(node, n_axes)[0] == 0
    if kind is ChannelKind.CONCAT:
        dim = _argument(node, 1, "dim", 0) % n_axes
        return dim == axis and len({(op.axis, len(op.shape)) for op in operands}) == 1
    return True


def _spares_channels(node: fx.Node, axis: int, n_axes: int) -> bool:
    """Return False for a mean over the batch or the channels."""
    if getattr(node.target, "__name__", node.target) != "mean":
        return True
    dim: Any = _argument(node, 1, "dim", None)
    axes = dim if isinstance(dim, tuple | list) else (dim,)
    return all(d is not None and d % n_axes not in (0, axis) for d in axes)


def _open_ended(node: fx.Node) -> bool:
    """Return False for a view whose size is a number, which is wrong once channels are gone."""
    if node.op == "call_module" or getattr(node.target, "__name__", node.target) == "flatten":
        return True
    sizes = node.args[1:]
    last: Any = sizes[-1] if sizes else None
    return bool((last[-1] if isinstance(last, tuple | list) else last) == -1)
