"""Networks that take rows as they are in the data's files: the scaling belongs to the network.

What standardises the rows of a training, ``(raw - offset) / scale``, is needed wherever the network
is used. `taking_raw_rows` puts it in front of the network, as its first operations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from rfprune.data import Scaling

__all__ = ["taking_raw_rows"]


def taking_raw_rows(network: nn.Module, scaling: Scaling) -> nn.Module:
    """Return the network, changed in place, such that it scales the rows it is given.

    Every layer keeps its name, the state dict stays that of the network alone, and whatever traces
    the network (``torch.fx``, ``torch.export``) meets the scaling in it.

    Args:
        network: takes scaled rows.
        scaling: of the data it was trained on.
    """
    if scaling.is_identity:
        return network
    for name in scaling.offset:
        network.register_buffer(_buffer("offset", name), scaling.offset[name], persistent=False)
        network.register_buffer(_buffer("scale", name), scaling.scale[name], persistent=False)
    if isinstance(network, fx.GraphModule):
        _insert(network, scaling)
    else:
        _subclass(network, scaling)
    return network


def _buffer(what: str, name: str) -> str:
    return f"input_{what}_{name}" if name else f"input_{what}"


def _insert(network: fx.GraphModule, scaling: Scaling) -> None:
    """Put the operations into the graph: a traced network does not ask its class what to do."""
    inputs = [node for node in network.graph.nodes if node.op == "placeholder"]
    for node in inputs:
        name = "" if "" in scaling.offset and node is inputs[0] else str(node.target)
        if name not in scaling.offset:
            continue
        with network.graph.inserting_before(inputs[-1].next):
            offset = network.graph.get_attr(_buffer("offset", name))
            scale = network.graph.get_attr(_buffer("scale", name))
            shifted = network.graph.call_function(torch.sub, (node, offset))
            ready = network.graph.call_function(torch.div, (shifted, scale))
        node.replace_all_uses_with(ready, delete_user_cb=lambda user, own=shifted: user is not own)
    network.recompile()


def _subclass(network: nn.Module, scaling: Scaling) -> None:
    """Make the network's class a subclass of it whose ``forward`` scales first."""
    plain: Callable[..., Any] = type(network).forward

    def scaled(self: nn.Module, name: str, x: Tensor) -> Tensor:
        offset, scale = (self.get_buffer(_buffer(what, name)) for what in ("offset", "scale"))
        return (x - offset) / scale

    def one(self: nn.Module, x: Tensor) -> Any:
        return plain(self, scaled(self, "", x))

    def several(self: nn.Module, *given: Any, **named: Any) -> Any:
        _, *names = inspect.signature(plain).parameters
        rows = {**dict(zip(names, given, strict=False)), **named}
        return plain(self, **{n: scaled(self, n, x) if n in own else x for n, x in rows.items()})

    own = scaling.offset
    # By it ``torch.export`` knows which argument is which input.
    several.__signature__ = inspect.signature(plain)  # type: ignore[attr-defined]
    methods = {"forward": one if "" in own else several}
    network.__class__ = type(type(network).__name__, (type(network),), methods)
