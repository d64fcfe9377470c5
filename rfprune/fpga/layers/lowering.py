"""A network as hls4ml gets it: every operation a module that hls4ml builds rightly.

What the network's author wrote in another way is rewritten so that it computes exactly the same
(`rfprune.fpga.layers.taken`), or refused in one sentence. Parameters are shared with the network,
so that what is trained, masked or rounded in one is so in the other.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, fx, nn

from rfprune.core.named import InputShape
from rfprune.errors import NetworkError
from rfprune.fpga.layers.calls import Call, Lowered
from rfprune.fpga.layers.recurrent import only_last_steps
from rfprune.fpga.layers.taken import FUNCTIONS, MODULES, refusal
from rfprune.fpga.layers.tracing import evaluating, record
from rfprune.fpga.layers.weight_kinds import WEIGHT_KINDS, plain_class, weights_of

__all__ = ["lower"]


def lower(model: nn.Module, input_shape: InputShape) -> fx.GraphModule:
    """Return `model` lowered: every node calls a module, and bears its sample's shape in ``meta``.

    Layers keep torch's paths as their targets; ``meta["path"]`` is empty for what was a function.

    Args:
        model: the network; it is not changed, and its parameters are shared.
        input_shape: of one sample; of several inputs by the names of forward's arguments.

    Raises:
        NetworkError: not traceable, or an operation that is not taken.
    """
    with evaluating(model):
        # On numbers: sizes and constants are known, so that loops over them unroll.
        recorded = record(model, input_shape)
        with torch.no_grad():
            lowering = _Lowering(model, recorded)
            lowering.run()
    graph = fx.GraphModule(lowering.modules, lowering.graph, type(model).__name__)
    only_last_steps(graph)
    # A module that was made here follows the mode of the network, not of its own.
    graph.meta["made"] = lowering.made
    return graph


class _Lowering:
    """The lowered graph of a network, while it grows."""

    def __init__(self, model: nn.Module, recorded: fx.Graph) -> None:
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.made: list[nn.Module] = []
        self._model, self._recorded = model, recorded
        self._by_path = dict(model.named_modules(remove_duplicate=False))
        self._new: dict[fx.Node, fx.Node] = {}

    def run(self) -> None:
        """Lower every recorded node."""
        # What no output needs is not built, and need not be taken.
        live = _live(self._recorded)
        for node in self._recorded.nodes:
            if node.op == "placeholder":
                self._new[node] = self._with_value(self.graph.placeholder(node.name), node)
            elif node.op == "output":
                self.graph.output(self._outputs(node.args[0]))
            elif node in live and not node.meta["constant"] and not _is_record(node):
                self._lower(node)
        for lowered in reversed(self.graph.nodes):
            # What a rule has taken into the operation behind it.
            if lowered.op == "call_module" and not lowered.users:
                self.graph.erase_node(lowered)

    def _outputs(self, value: Any) -> Any:
        if _is_record(value):
            if not issubclass(value.target, tuple):
                raise NetworkError(
                    f"{type(self._model).__name__}: forward() returns a {value.target.__name__}; "
                    "return tensors, a tuple or a dict."
                )
            value = tuple(value.args)  # a named tuple, by its order
        for node in _nodes(value):
            if isinstance(node, fx.Node) and node in self._new and _is_tuple(node.meta["value"]):
                raise NetworkError(
                    f"{type(self._model).__name__}: forward() returns the sequence and the state "
                    f"of {node.name} as they are. Take one of them: out, h = layer(x)."
                )
            if not isinstance(node, fx.Node) or node not in self._new:
                raise NetworkError(
                    f"{type(self._model).__name__}: forward() returns something that does not "
                    "depend on its input, or is not a tensor; return tensors, a tuple or a dict."
                )
        # The user's structure (tuple or dict) is kept.
        return fx.node.map_arg(value, lambda node: self._new[node])

    def _lower(self, node: fx.Node) -> None:
        module = self._by_path[str(node.target)] if node.op == "call_module" else None
        call = Call(node, module, self._model)
        lowered = self._rule(call)
        # Each of several modules reads the one before it.
        last = [self._new[source] for source in lowered.inputs]
        beside = dict(enumerate(lowered.more, start=1))
        for number, made in enumerate(lowered.modules):
            name = node.name if number == 0 else f"{node.name}_then_{number}"
            last += [self._new[source] for source in beside.get(number, ())]
            last = [self._add(call, made, name, last)]
        if lowered.modules:
            self._check(call, last[0])
        self._new[node] = last[0]

    def _rule(self, call: Call) -> Lowered:
        target = call.node.target
        if call.module is not None:
            # A subclass of the user's is judged as the class that it extends.
            kind = plain_class(call.module) or type(call.module)
            rule = MODULES.get(kind)
        else:
            rule = FUNCTIONS.get(target)
        if rule is None:
            raise NetworkError(f"{call.where}: {call.shown} is not taken: {refusal(call.shown)}.")
        return rule(call)

    def _add(self, call: Call, module: nn.Module, name: str, inputs: list[fx.Node]) -> fx.Node:
        path = str(call.node.target) if module is call.module else ""
        if weights_of(module) and not path:  # F.linear of a layer's own weight
            path = next(path for path, own in self._by_path.items() if own is module)
        target = path or f"lowered_{name}"
        plain = _plain(module)
        self.modules[target] = plain
        if plain is not self._by_path.get(path):
            self.made.append(plain.eval())
        node = self.graph.create_node("call_module", target, tuple(inputs), name=name)
        node.meta["path"] = path
        # Carried out at once: the check below compares it with what was recorded.
        node.meta["value"] = plain(*(part.meta["value"] for part in inputs))
        return node

    @staticmethod
    def _with_value(node: fx.Node, recorded: fx.Node) -> fx.Node:
        node.meta["value"] = recorded.meta["value"]
        return node

    @staticmethod
    def _check(call: Call, node: fx.Node) -> None:
        """Raise if what was lowered does not compute what was recorded; a fault of rfprune."""
        ours, theirs = node.meta["value"], call.node.meta["value"]
        # Of what a recurrent layer returns, the sequence; the rest is compared where it is read.
        theirs = theirs[0] if _is_tuple(theirs) else theirs
        close = ours.shape == theirs.shape and torch.allclose(
            ours.to(theirs.dtype), theirs, rtol=1e-4, atol=1e-5, equal_nan=True
        )
        if not close:
            raise call.refused("in this way: it would compute something else")


def _live(graph: fx.Graph) -> set[fx.Node]:
    """Return the nodes that the output depends on."""
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node in found:
            found.update(node.all_input_nodes)
    return found


def _is_tuple(value: Any) -> bool:
    return not isinstance(value, Tensor)


def _nodes(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [node for part in value.values() for node in _nodes(part)]
    if isinstance(value, tuple | list):
        return [node for part in value for node in _nodes(part)]
    return [value]


def _is_record(value: Any) -> bool:
    """Return whether a value is a recorded object that only holds others: a named tuple, say."""
    return isinstance(value, fx.Node) and isinstance(value.target, type)


def _plain(module: nn.Module) -> nn.Module:
    """Return a module of the table's own class, its parameters shared.

    It has no hooks, and changes nothing in place.
    """
    weighted = [kind.built for kind in WEIGHT_KINDS if isinstance(module, kind.module)]
    kind = weighted[0] if weighted else type(module)
    hooks = module._forward_hooks or module._forward_pre_hooks
    in_place = getattr(module, "inplace", False)
    if kind is type(module) and not hooks and not in_place:
        return module
    # Shallow: parameters are shared, class and hooks are its own.
    plain = copy.copy(module)
    plain.__class__ = kind
    if in_place:
        # What reads its input too would get its output.
        plain.__dict__["inplace"] = False
    plain._forward_hooks, plain._forward_pre_hooks = OrderedDict(), OrderedDict()
    return plain
