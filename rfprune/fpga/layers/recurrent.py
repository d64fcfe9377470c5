"""What a recurrent layer of torch returns, and what of it is built.

``out, h = gru(x)`` and ``out, (h, c) = lstm(x)``: hls4ml's kernels put out the sequence or its
last step (``nnet_recurrent.h``). The state `h` of one layer is that last step; its axis of the rows
comes second, so that it is read as ``h[-1]``. The cell's state `c` stays in the kernel.
"""

from __future__ import annotations

import operator
from math import prod

import torch
from torch import fx, nn

from rfprune.fpga.layers.calls import Call, Lowered
from rfprune.fpga.layers.operators import GRU, LSTM, Gather
from rfprune.fpga.layers.tracing import ROWS, shape_of_node

__all__ = ["only_last_steps", "part_of_recurrent"]

#: What a part of a layer's answer is, and what its own parts are.
_PARTS: dict[str, tuple[str, ...]] = {
    "gru": ("sequence", "state"),
    "lstm": ("sequence", "states"),
    "states": ("state", "cell"),
}


def part_of_recurrent(call: Call) -> Lowered | None:
    """Return what reads a part of what a recurrent layer returns; None if it is something else."""
    if not call.data:
        return None
    source = call.data[0]
    whole = _part(source, call.root)
    if whole in _PARTS:
        part = _part(call.node, call.root)
        if call.node.target is not operator.getitem or part is None:
            raise call.refused("of what a recurrent layer returns. Take out, h = layer(x)")
        if part == "cell":
            raise call.refused(
                "of the state of an LSTM's cells, which hls4ml's kernel does not put out. Take the "
                "sequence, or h"
            )
        return Lowered((), (source,))
    return _last_step(call, source) if whole == "state" else None


def _part(node: fx.Node, root: nn.Module) -> str | None:
    """Return which part of a recurrent layer's answer a recorded node is; None if it is none."""
    if node.op == "call_module":
        module = root.get_submodule(str(node.target))
        kinds = {"gru": nn.GRU, "lstm": nn.LSTM}
        return next((name for name, kind in kinds.items() if isinstance(module, kind)), None)
    if node.target is not operator.getitem or not isinstance(node.args[0], fx.Node):
        return None
    parts = _PARTS.get(_part(node.args[0], root) or "", ())
    key = node.args[1]
    return parts[key] if isinstance(key, int) and -len(parts) <= key < len(parts) else None


def _last_step(call: Call, state: fx.Node) -> Lowered:
    """Return the last step of the sequence, in the order in which the state is read."""
    layer = state
    while layer.op != "call_module":
        layer = layer.args[0]  # type: ignore[assignment]
    steps, units = layer.meta["value"][0].shape[1:]
    _ = call.out_shape  # rows come first now, or it is refused
    rows = torch.arange(ROWS) * steps * units
    last = torch.arange((steps - 1) * units, steps * units)
    places = call.carried_out((rows[:, None] + last).unsqueeze(0))
    index = places[0]
    if not torch.equal(places, index + rows.reshape(-1, *[1] * index.dim())):
        raise call.refused("of a state, where its rows change places. Take h[-1]")
    return Lowered((Gather(index),), (state,))


def only_last_steps(graph: fx.GraphModule) -> None:
    """Let recurrent layers of which the last step alone is read put out nothing else, in place."""
    for node in list(graph.graph.nodes):
        layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, GRU | LSTM):
            continue
        steps, units = shape_of_node(node)
        readers = [
            graph.get_submodule(str(user.target)) if user.op == "call_module" else None
            for user in node.users
        ]
        begin = (steps - 1) * units
        if not all(isinstance(x, Gather) and int(x.index.min()) >= begin for x in readers):
            continue
        layer.last = True
        node.meta["value"] = node.meta["value"][:, -1]
        for user in list(node.users):
            _read_last(graph, node, user, begin)
    graph.recompile()


def _read_last(graph: fx.GraphModule, node: fx.Node, user: fx.Node, begin: int) -> None:
    """Let a view of the last step of a sequence be one of the step."""
    view = graph.get_submodule(str(user.target))
    assert isinstance(view, Gather)
    index = view.index - begin
    units = shape_of_node(node)
    if index.shape == units and torch.equal(index, torch.arange(prod(units))):
        user.replace_all_uses_with(node)
        graph.graph.erase_node(user)
    else:
        graph.set_submodule(str(user.target), Gather(index))
