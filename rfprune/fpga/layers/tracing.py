"""A network's forward() as a graph, recorded while it runs on a few zero rows.

``torch.fx`` alone knows no sizes, so that it stops at ``len(x)``, ``assert x.shape[1] == 16`` and
loops over sizes. Here every recorded operation is also carried out, and sizes are plain numbers.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from rfprune.core.named import InputShape
from rfprune.errors import NetworkError
from rfprune.fpga.layers.weight_kinds import plain_class

__all__ = ["ROWS", "Shape", "evaluating", "record", "shape_of_node"]

Shape = tuple[int, ...]

#: Rows that are traced: a number that is no likely size of anything else.
ROWS = 11


def record(model: nn.Module, input_shape: InputShape) -> fx.Graph:
    """Return what `model` computes in evaluation, every node with its value in ``meta``.

    Arguments of ``forward`` that are no inputs keep their defaults. `model` is not changed.

    Args:
        model: the network.
        input_shape: of one sample; of several inputs by the names of forward's arguments.

    Raises:
        NetworkError: not traceable, or the wrong shape or names of the inputs.
    """
    if plain_class(model) is not None:
        name = type(model).__name__
        raise NetworkError(
            f"{name}: the network is one layer, which has no name in it. Give it one: "
            f"nn.Sequential({name}(...))."
        )
    shapes = _by_argument(model, input_shape)
    # To tell afterwards what tracing has left behind.
    attributes = set(vars(model))
    try:
        with evaluating(model), torch.no_grad():
            graph = _Recorder(shapes).trace(model)
    except NetworkError:
        raise
    except Exception as error:  # torch.fx raises whatever the network's code raises
        raise NetworkError(_why_not(model, input_shape, error)) from error
    finally:
        # torch.fx keeps tensors that forward() makes as attributes of the network.
        for name in set(vars(model)) - attributes:
            delattr(model, name)
    return graph


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """While open, every module is in evaluation; then each is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def shape_of_node(node: fx.Node) -> Shape:
    """Return the shape of one sample of what a recorded node puts out."""
    value = node.meta["value"]
    return tuple(value.shape[1:])


def _by_argument(model: nn.Module, input_shape: InputShape) -> dict[str, Shape]:
    parameters = inspect.signature(model.forward).parameters
    named = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if isinstance(input_shape, dict):
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        keyword = [*named, *(p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY)]
        for name in input_shape:
            if name not in keyword and not takes_any:
                raise NetworkError(
                    f"{type(model).__name__}: forward() takes no argument '{name}', but the data "
                    f"have an input of that name. It takes: {', '.join(keyword) or 'none'}."
                )
        return dict(input_shape)
    return {named[0] if named else "x": input_shape}


def _why_not(model: nn.Module, input_shape: InputShape, error: Exception) -> str:
    reason = str(error).split("\n")[0]
    name = type(model).__name__
    if isinstance(error, fx.proxy.TraceError):
        return (
            f"{name}: torch.fx cannot trace the network ({reason}); hls4ml needs a forward() "
            "without branches or loops that depend on data. Take torch.maximum or a product."
        )
    return f"{name}: the network does not take an input of shape {input_shape}: {reason}"


class _Proxy(fx.Proxy):
    """A recorded tensor, whose sizes are numbers."""

    @property
    def _value(self) -> Any:
        return self.node.meta["value"]

    @property
    def shape(self) -> torch.Size:
        size: torch.Size = self._value.shape
        return size

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        kind: torch.dtype = self._value.dtype
        return kind

    @property
    def device(self) -> torch.device:
        device: torch.device = self._value.device
        return device

    @property
    def mT(self) -> Any:
        return self.transpose(-2, -1)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        return self.shape.numel()

    def __len__(self) -> int:
        return len(self._value)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise NetworkError(
            f"{self.node.name}: forward() writes into a part of a tensor, x[...] = ..., which "
            "rfprune does not take; put parts together by torch.cat, or multiply by a constant."
        )

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._value, Tensor):
            return super().__iter__()
        return (operator.getitem(self, index) for index in range(len(self._value)))


class _Recorder(fx.Tracer):
    """Records operations, and carries them out."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        super().__init__()
        self._shapes = shapes
        self._runs = False
        # What was changed in place -> what changed it.
        self._changed: dict[fx.Node, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one operation; a subclass may count as its base."""
        return plain_class(m) is not None or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Return a function of the inputs alone; arguments beside them keep their defaults."""
        self._device = next((p.device for p in self.root.parameters()), torch.device("cpu"))
        inputs = {name: self.create_proxy("placeholder", name, (), {}) for name in self._shapes}
        parameters = inspect.signature(root_fn).parameters
        by_name = len(inputs) > 1 or next(iter(inputs)) in parameters

        def called(root: nn.Module) -> Any:
            return root_fn(root, **inputs) if by_name else root_fn(root, *inputs.values())

        return called, [self.root]

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return what stands for the output of a node."""
        return _Proxy(node, self)

    def create_node(
        self, kind: str, target: fx.node.Target, args: Any, kwargs: Any, *rest: Any, **more: Any
    ) -> fx.Node:
        """Record an operation, and carry it out."""
        args, kwargs = fx.node.map_arg((args, kwargs), self._current)
        node = super().create_node(kind, target, args, kwargs, *rest, **more)
        if node.op != "output":
            reads = node.all_input_nodes
            node.meta["constant"] = node.op == "get_attr" or (
                node.op != "placeholder" and all(part.meta["constant"] for part in reads)
            )
            # On copies: what is changed in place is still what it was where it was computed.
            given = {part: _copy(part.meta["value"]) for part in reads}
            before = {part: _version(value) for part, value in given.items()}
            self._runs = True
            try:
                values = fx.node.map_arg((node.args, node.kwargs), given.__getitem__)
                node.meta["value"] = self._run(node, *values)
            finally:
                self._runs = False
            for part, value in given.items():
                if _version(value) != before[part]:
                    self._changed[part] = node
        return node

    def _current(self, node: fx.Node) -> fx.Node:
        """Return what a tensor is now, that operations may have changed in place."""
        while node in self._changed:
            node = self._changed[node]
        return node

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Return an attribute of a module: while it runs, the thing itself."""
        return attr_val if self._runs else super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a module: while it runs, as always."""
        return (
            forward(*args, **kwargs)
            if self._runs
            else super().call_module(m, forward, args, kwargs)
        )

    def _run(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        target: Any = node.target
        if node.op == "placeholder":
            return torch.zeros(ROWS, *self._shapes[target], device=self._device)
        if node.op == "call_function":
            return target(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        found: Any = self.root
        for part in target.split("."):
            found = getattr(found, part)
        # Not called: hooks are no part of what a layer of its type computes.
        return found if node.op == "get_attr" else found.forward(*args, **kwargs)


def _copy(value: Any) -> Any:
    # A parameter stays what it is: rules look for it among those of the network.
    return value.clone() if type(value) is Tensor else value


def _version(value: Any) -> int | None:
    return value._version if isinstance(value, Tensor) else None
