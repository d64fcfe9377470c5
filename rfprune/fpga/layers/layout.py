"""Where every number of a network lies in what hls4ml builds.

hls4ml keeps features of convolutions last, torch keeps them first. Instead of turning tensors back
and forth, each operation here notes where in a stored array the elements of its torch tensor are;
flattening, slicing and permuting only change that note. What reads an array in another order gets
it through a `Read.order`: wires in io_parallel. A Linear takes a permuted array as it is, and its
weights are permuted instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from rfprune.core.arrays import IntArray
from rfprune.errors import NetworkError
from rfprune.fpga.layers.operators import Product

if TYPE_CHECKING:
    from rfprune.fpga.layers.trace import Network, Operation

__all__ = ["Layout", "Placed", "Read", "arrange"]

Shape = tuple[int, ...]

#: They take features along the first axis, and are built with features along the last.
_TURNED = (
    *("conv1d", "conv2d", "depthwise_conv1d", "depthwise_conv2d"),
    *("maxpool", "avgpool", "resize", "padding"),
)
#: Element by element, in whatever order.
_ANY_ORDER = (
    *("relu", "leaky_relu", "elu", "sigmoid", "tanh", "relu1", "relu6", "threshold", "affine"),
)
#: Only other names of what they read.
_VIEWS = ("flatten", "gather", "dropout", "identity")
_MERGES = ("add", "subtract", "multiply", "maximum", "minimum")


@dataclass(frozen=True)
class Read:
    """How an operation reads a stored array.

    Attributes:
        source: operation or input that stores it.
        shape: in which it is seen.
        order: (n,) place in the stored array of each number that is read; None = as it lies.
    """

    source: str
    shape: Shape
    order: IntArray | None = None


@dataclass(frozen=True)
class Placed:
    """An operation's output, and what it reads for it.

    Attributes:
        storage: operation or input that stores it: itself, or what a view is a view of.
        shape: of the stored array.
        places: in torch's shape of a sample: where each element is in the flat stored array.
        reads: what it reads; none for inputs and views.
        steps: of a sum: how far apart neighbouring outputs, and neighbouring terms, are in what
            it reads.
    """

    storage: str
    shape: Shape
    places: IntArray
    reads: tuple[Read, ...] = ()
    steps: tuple[int, int] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it holds every stored number exactly once."""
        n = prod(self.shape)
        return self.places.size == n and len(np.unique(self.places)) == n

    @property
    def torch_order(self) -> IntArray:
        """(n,) which element of torch's flat tensor lies at each place; it must be whole."""
        return np.argsort(self.places, axis=None)


@dataclass
class Layout:
    """Every operation and input by name, and what the network's outputs read."""

    placed: dict[str, Placed] = field(default_factory=dict)
    outputs: tuple[Read, ...] = ()

    def as_it_lies(self, name: str) -> Read:
        """Return a read of something whole in the order in which it is stored."""
        placed = self.placed[name]
        return Read(placed.storage, placed.shape)

    def ordered(self, name: str, order: IntArray, shape: Shape) -> Read:
        """Return a read of places in a given order, as `shape`."""
        placed = self.placed[name]
        flat = order.reshape(-1)
        # In its own order nothing has to be wired.
        same = flat.size == prod(placed.shape) and bool((flat == np.arange(flat.size)).all())
        return Read(placed.storage, shape, None if same else flat)


def arrange(network: Network, io_type: str) -> Layout:
    """Return where everything lies.

    Raises:
        NetworkError: io_stream, and features that would have to change places in it.
    """
    layout = Layout()
    for name, shape in network.inputs.items():
        layout.placed[name] = _input(name, shape, io_type == "io_stream" and network.turns_inputs)
    folded = network.folded_norms
    for operation in network.operations:
        if operation.name in folded:
            layout.placed[operation.name] = replace(layout.placed[operation.inputs[0]], reads=())
        else:
            layout.placed[operation.name] = _place(operation, layout, io_type == "io_parallel")
    layout.outputs = tuple(_outputs(network, layout))
    if io_type == "io_stream":
        _check_stream(network, layout)
    return layout


def _input(name: str, shape: Shape, turned: bool) -> Placed:
    places = np.arange(prod(shape), dtype=np.int64).reshape(shape)
    if not turned or len(shape) < 2:
        return Placed(name, shape, places)
    return _turned(name, shape, ())


def _stored(name: str, shape: Shape, reads: tuple[Read, ...]) -> Placed:
    return Placed(name, shape, np.arange(prod(shape), dtype=np.int64).reshape(shape), reads)


def _turned(name: str, shape: Shape, reads: tuple[Read, ...]) -> Placed:
    """Return a tensor of torch's `shape` that is stored with its first axis last."""
    last = (*shape[1:], shape[0])
    places = np.moveaxis(np.arange(prod(shape), dtype=np.int64).reshape(last), -1, 0)
    return Placed(name, last, places, reads)


def _place(op: Operation, layout: Layout, parallel: bool) -> Placed:
    first = layout.placed[op.inputs[0]]
    if op.type in _VIEWS:
        index = np.arange(first.places.size) if op.index is None else op.index.reshape(-1)
        # Nothing is computed: the same stored numbers under another shape.
        places = first.places.reshape(-1)[index].reshape(op.out_shape)
        return Placed(first.storage, first.shape, places)
    if op.type == "dense":
        # A Linear reads in the order of storage; its weights are put into that order
        # (`plan._order`).
        if parallel and first.is_whole:
            return _stored(op.name, op.out_shape, (Read(first.storage, op.in_shape),))
        return _stored(op.name, op.out_shape, (_in_torch_order(op.inputs[0], layout),))
    if op.type in _TURNED or (op.type == "batchnorm" and len(op.in_shape) > 1):
        last = (*op.in_shape[1:], op.in_shape[0])
        read = layout.ordered(op.inputs[0], np.moveaxis(first.places, 0, -1), last)
        return _turned(op.name, op.out_shape, (read,))
    if op.type in _ANY_ORDER and first.is_whole:
        return Placed(op.name, first.shape, first.places, (layout.as_it_lies(op.inputs[0]),))
    if op.type in _MERGES:
        return _merged(op, layout)
    if op.type == "concatenate":
        return _joined(op, layout, parallel)
    if op.type == "sum":
        return _summed(op, layout)
    if op.type == "product":
        return _multiplied(op, layout)
    if op.type == "softmax":
        return _over_last_axis(op, layout)
    return _stored(op.name, op.out_shape, (_in_torch_order(op.inputs[0], layout),))


def _in_torch_order(name: str, layout: Layout) -> Read:
    places = layout.placed[name].places
    return layout.ordered(name, places, places.shape)


def _merged(op: Operation, layout: Layout) -> Placed:
    """Both tensors in the order in which the first that is whole and of full size lies."""
    parts = [layout.placed[name] for name in op.inputs]
    spread = [np.broadcast_to(part.places, op.out_shape) for part in parts]
    lead = next(
        (part for part in parts if part.is_whole and part.places.shape == op.out_shape), None
    )
    shape = op.out_shape if lead is None else lead.shape
    order = np.arange(prod(shape)) if lead is None else lead.torch_order
    reads = tuple(
        layout.ordered(name, places.reshape(-1)[order], shape)
        for name, places in zip(op.inputs, spread, strict=True)
    )
    places = np.empty(len(order), dtype=np.int64)
    # The inverse: where torch's elements lie in what is stored.
    places[order] = np.arange(len(order))
    return Placed(op.name, shape, places.reshape(op.out_shape), reads)


def _joined(op: Operation, layout: Layout, parallel: bool) -> Placed:
    """One stored array behind the other, whatever the axis; a stream is joined position by one."""
    axis = op.axes[0]
    parts = [layout.placed[name] for name in op.inputs]
    if not parallel:
        return _joined_streams(op, layout, parts)
    reads, places, offset = [], [], 0
    for name, part in zip(op.inputs, parts, strict=True):
        size = part.places.size
        # As it lies: the concatenation remembers which element is where.
        if part.is_whole:
            reads.append(Read(part.storage, (size,)))
            places.append(part.places + offset)
        else:
            reads.append(layout.ordered(name, part.places, (size,)))
            places.append(np.arange(size).reshape(part.places.shape) + offset)
        offset += size
    return Placed(op.name, (offset,), np.concatenate(places, axis=axis), tuple(reads))


def _joined_streams(op: Operation, layout: Layout, parts: list[Placed]) -> Placed:
    """The features of every position one behind the other."""
    rank = len(op.out_shape)
    turned = rank > 1 and op.axes[0] == 0
    if not turned and op.axes[0] != rank - 1:
        raise NetworkError(
            f"{op.name}: rfprune concatenates features alone in io_stream, not positions. Use "
            "io_parallel."
        )
    reads = []
    for name, part in zip(op.inputs, parts, strict=True):
        places = np.moveaxis(part.places, 0, -1) if turned else part.places
        reads.append(layout.ordered(name, places, places.shape))
    make = _turned if turned else _stored
    return make(op.name, op.out_shape, tuple(reads))


def _summed(op: Operation, layout: Layout) -> Placed:
    """What is summed lies first, or last, whichever needs no other order."""
    name, first = op.inputs[0], layout.placed[op.inputs[0]]
    rest = [axis for axis in range(len(op.in_shape)) if axis not in op.axes]
    n = prod(op.in_shape[axis] for axis in op.axes)
    # Both ways are tried, as either may need no wires.
    ahead = layout.ordered(
        name, first.places.transpose(*op.axes, *rest), (n, first.places.size // n)
    )
    behind = layout.ordered(
        name, first.places.transpose(*rest, *op.axes), (first.places.size // n, n)
    )
    if behind.order is None and ahead.order is not None:
        return replace(_stored(op.name, op.out_shape, (behind,)), steps=(n, 1))
    size = first.places.size // n
    return replace(_stored(op.name, op.out_shape, (ahead,)), steps=(1, size))


def _multiplied(op: Operation, layout: Layout) -> Placed:
    """Both tensors with what is summed up last, and in front what both keep (``nnet_einsum.h``)."""
    first, second, result = op.letters
    kept, *own, summed = Product.order(op.letters)
    sizes = dict(zip(first + second, (*op.in_shapes[0], *op.in_shapes[1]), strict=True))

    def size(letters: str) -> int:
        return prod(sizes[x] for x in letters)

    reads = []
    for name, letters, alone in zip(op.inputs, (first, second), own, strict=True):
        axes = [letters.index(x) for x in kept + alone + summed]
        order = layout.placed[name].places.transpose(*axes)
        reads.append(layout.ordered(name, order, (size(kept), size(alone), size(summed))))
    shape = (size(kept), *map(size, own))
    made = "".join((kept, *own))
    places = np.arange(prod(shape)).reshape([sizes[x] for x in made])
    places = places.transpose(*(made.index(x) for x in result))
    return Placed(op.name, shape, places, tuple(reads))


def _over_last_axis(op: Operation, layout: Layout) -> Placed:
    """A tensor with one of its axes last."""
    (axis,) = op.axes
    name = op.inputs[0]
    order = np.moveaxis(layout.placed[name].places, axis, -1)
    shape = (order.size // order.shape[-1], order.shape[-1])
    places = np.moveaxis(np.arange(order.size).reshape(order.shape), -1, axis)
    return Placed(op.name, shape, places, (layout.ordered(name, order, shape),))


def _outputs(network: Network, layout: Layout) -> list[Read]:
    """Return what the outputs read: an array of their own, which nothing else reads."""
    read = {read.source for placed in layout.placed.values() for read in placed.reads}
    found: list[Read] = []
    for name in network.outputs:
        placed = layout.placed[name]
        # An output that is also read inside needs an array of its own.
        taken = read | set(network.inputs) | {other.source for other in found}
        if placed.is_whole and placed.storage not in taken:
            found.append(layout.as_it_lies(name))
        else:
            shape = placed.places.shape or (1,)
            found.append(Read(placed.storage, shape, placed.places.reshape(-1)))
    return found


def _check_stream(network: Network, layout: Layout) -> None:
    """Raise if a stream would have to be put into another order, but for a Flatten."""
    for operation in network.operations:
        for read in layout.placed[operation.name].reads:
            stored = _shape_of(read.source, layout)
            if read.order is not None and not _is_turned(read.order, stored):
                raise NetworkError(
                    f"{operation.path or operation.name}: reads features in another order than "
                    "they are streamed in, and io_stream has no random access. Use io_parallel."
                )
            if operation.type in ("sum", "product", "softmax") or (
                operation.type in _MERGES and _spreads(operation)
            ):
                raise NetworkError(
                    f"{operation.name}: rfprune does not take '{operation.type}' in io_stream "
                    "here. Use io_parallel."
                )
    if any(read.order is not None for read in layout.outputs):
        raise NetworkError(
            "rfprune does not take an output in io_stream that is a part of a tensor, or that the "
            "network itself reads. Use io_parallel."
        )


def _shape_of(source: str, layout: Layout) -> Shape:
    return layout.placed[source].shape


def _spreads(operation: Operation) -> bool:
    return any(shape != operation.out_shape for shape in operation.in_shapes)


def _is_turned(order: IntArray, stored: Shape) -> bool:
    """Return whether an order brings the last axis of a stored array to the front."""
    places = np.arange(prod(stored)).reshape(stored)
    return order.size == places.size and bool(
        (np.moveaxis(places, -1, 0).reshape(-1) == order).all()
    )
