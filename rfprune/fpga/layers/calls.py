"""One recorded operation, as the rules that lower it see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn

from rfprune.errors import NetworkError
from rfprune.fpga.layers.tracing import ROWS, Shape

__all__ = ["Call", "Lowered", "is_data"]


def is_data(value: Any) -> TypeGuard[fx.Node]:
    """Return whether an argument is a recorded value that depends on the network's input."""
    return isinstance(value, fx.Node) and not value.meta["constant"]


@dataclass(frozen=True)
class Lowered:
    """What an operation becomes.

    Attributes:
        modules: one after the other; none if the operation only hands on what it gets.
        inputs: recorded nodes that the first of them reads.
        more: recorded nodes that each one behind the first reads, beside the one before it; may be
            shorter.
    """

    modules: tuple[nn.Module, ...]
    inputs: tuple[fx.Node, ...]
    more: tuple[tuple[fx.Node, ...], ...] = ()


@dataclass(frozen=True)
class Call:
    """A recorded operation.

    Attributes:
        node: as recorded, its value in ``meta``.
        module: that is called, or None for a function or method.
        root: the network.
    """

    node: fx.Node
    module: nn.Module | None
    root: nn.Module

    @property
    def where(self) -> str:
        """What it is called in messages: torch's path, or the name of the node."""
        return str(self.node.target) if self.module is not None else self.node.name

    @property
    def shown(self) -> str:
        """The operation as its user wrote it."""
        if self.module is not None:
            return type(self.module).__name__
        return str(getattr(self.node.target, "__name__", self.node.target))

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument; nodes stay nodes."""
        if len(self.node.args) > position:
            return self.node.args[position]
        return self.node.kwargs.get(name, default)

    @property
    def data(self) -> tuple[fx.Node, ...]:
        """The recorded nodes that it reads and that depend on the network's input."""
        return tuple(node for node in self.node.all_input_nodes if not node.meta["constant"])

    @property
    def source(self) -> fx.Node:
        """The one node that it reads.

        Raises:
            NetworkError: it reads several.
        """
        if len(self.data) != 1:
            raise self.refused(f"of {len(self.data)} tensors")
        return self.data[0]

    @property
    def in_shape(self) -> Shape:
        """Shape of a sample that it reads."""
        return tuple(self.data[0].meta["value"].shape[1:])

    @property
    def out_shape(self) -> Shape:
        """Shape of a sample that it puts out.

        Raises:
            NetworkError: it mixes rows.
        """
        value = self.node.meta["value"]
        # Rows are traced in a number that hardly any other size has; see `ROWS`.
        if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != ROWS:
            raise NetworkError(
                f"{self.where}: '{self.shown}' mixes the rows of a minibatch, or leaves them out; "
                "hardware sees one row at a time. Keep the first axis as it is."
            )
        return tuple(value.shape[1:])

    def axes(self, value: Any) -> tuple[int, ...]:
        """Return axes of a sample, from 0, for one or several of torch's, in ascending order.

        Raises:
            NetworkError: the axis of the rows is among them.
        """
        n = len(self.in_shape) + 1
        given = value if isinstance(value, tuple | list) else (value,)
        found = sorted(int(axis) % n for axis in given)
        if not found or found[0] == 0:
            raise NetworkError(
                f"{self.where}: '{self.shown}' over the rows of a minibatch; hardware sees one row "
                "at a time. Name an axis from 1 on."
            )
        return tuple(axis - 1 for axis in found)

    def constant(self, value: Any) -> Tensor | float:
        """Return a number, or a tensor that does not depend on the input.

        A parameter of the network is returned as it is.

        Raises:
            NetworkError: it is computed from a parameter that is trained.
        """
        if not isinstance(value, fx.Node):
            return float(value)
        found = value.meta["value"]
        if value.op == "get_attr" or not isinstance(found, Tensor):
            return found if isinstance(found, Tensor) else float(found)
        # Training would change it, and the constant would stay what it was.
        for node in value.all_input_nodes:
            part = node.meta["value"]
            if isinstance(part, nn.Parameter) and part.requires_grad:
                raise self.refused("with a number that is computed from a trained parameter")
        return torch.as_tensor(found)

    def carried_out(self, tensor: Tensor) -> Any:
        """Return what the operation makes of a tensor in the place of the first that it reads."""
        source = self.node.args[0] if self.node.args else self.source

        # Everything but the tensor itself has the value that was recorded.
        def value(node: fx.Node) -> Any:
            return tensor if node is source else node.meta["value"]

        args, kwargs = fx.node.map_arg((self.node.args, self.node.kwargs), value)
        if self.module is not None:
            return self.module.forward(*args, **kwargs)
        if self.node.op == "call_method":
            # The tensor need not lie in memory as the user's did.
            name = {"view": "reshape"}.get(str(self.node.target), str(self.node.target))
            return getattr(args[0], name)(*args[1:], **kwargs)
        return self.node.target(*args, **kwargs)  # type: ignore[operator]

    def lowered(self, *modules: nn.Module, inputs: tuple[fx.Node, ...] | None = None) -> Lowered:
        """Return what the operation becomes; it reads what it read before, if `inputs` is None."""
        return Lowered(modules, (self.source,) if inputs is None else inputs)

    def refused(self, fault: str) -> NetworkError:
        """Return the error that rfprune does not take the operation with a fault."""
        return NetworkError(f"{self.where}: rfprune does not take {self.shown} {fault}.")
