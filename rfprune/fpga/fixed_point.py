"""Training and evaluation in the numbers of the hardware.

A copy of the network's graph computes as hls4ml will build it: weights and biases on their grids,
with batch norm folded into them; the input and the output of every operation that hls4ml rounds
(`rfprune.fpga.layers.output_types`) on theirs, wrapped or saturated as the type says; and what
hls4ml computes in a way of its own as it does (`rfprune.fpga.own_arithmetic`).

Two uses: `fixed_point` lets a network train through the rounding. Gradients go straight through it
(Bengio et al. 2013), and stop where a saturating type clips (Hubara et al. 2016). `deployed` is the
network as it will be built, for measuring: equal to the generated C++ to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from rfprune.fpga.layers.fold import Scaling, fold_batch_norm, fold_weights, norm_affine
from rfprune.fpga.layers.lowering import lower
from rfprune.fpga.layers.operators import Affine, Lookup
from rfprune.fpga.layers.plan import LayerPlan, Plan
from rfprune.fpga.layers.taken import type_of
from rfprune.fpga.layers.weight_kinds import weights_of
from rfprune.fpga.own_arithmetic import OWN_ARITHMETIC, through
from rfprune.fpga.recurrent_cells import Recurrence
from rfprune.fpga.single_precision import (
    Grid,
    Narrowing,
    exact_single,
    is_exact_on,
    narrow,
    split_at,
)
from rfprune.hardware.precision import FixedType

__all__ = [
    "Deployed",
    "Observed",
    "Values",
    "deployed",
    "fixed_point",
    "fixed_point_graph",
    "observed",
    "round_graph",
    "through",
]

#: Operations that put out values which they have read, so what was on a grid stays on it.
_PRESERVING = ("relu", "maxpool", "maximum", "minimum", "dropout", "identity")


@contextmanager
def fixed_point(model: nn.Module, plan: Plan, active: bool = True) -> Iterator[None]:
    """While open, `model` computes in its hls4ml types.

    Batch norm that is folded in hardware keeps its statistics meanwhile, also in training.

    Args:
        model: the network; its parameters stay float.
        plan: types by layer.
        active: False leaves the network alone, so that callers need no branch.
    """
    if not active:
        yield
        return
    graph = fixed_point_graph(model, plan)
    made = graph.meta["made"]

    def forward(*args: Any, **kwargs: Any) -> Any:
        # Modules that lowering has made are not among the model's, and would stay in their mode.
        for module in made:
            module.training = model.training
        return graph(*args, **kwargs)

    # On the instance, so that type, parameters and hooks of the model stay what they are.
    model.forward = forward
    try:
        yield
    finally:
        del model.forward


class Deployed(nn.Module):
    """A network as hardware will compute it, for measuring; inputs of any floating type.

    It computes in double precision, which holds the sums of fixed-point products exactly, and in
    single precision where that does, too (`rfprune.fpga.single_precision`).
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__()
        self.graph_module = graph

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the hardware puts out, as double."""
        given = [_as_double(value) for value in inputs]
        with exact_single():
            return self.graph_module(*given, **{name: _as_double(v) for name, v in named.items()})


def _as_double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def deployed(model: nn.Module, plan: Plan) -> Deployed:
    """Return a copy of `model` in eval mode, on its device, that computes as hardware will.

    Args:
        model: the network; later changes of its weights do not show in the copy.
        plan: types by layer.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    # Folded in single precision, as it is for hls4ml: the same bits are rounded.
    graph = round_graph(fold_batch_norm(model, plan.network).double(), plan).eval()
    # Measuring calls it for thousands of rows; the parameters need rounding once.
    for part in graph.modules():
        if isinstance(part, _WeightLayer):
            part.freeze()
    if is_exact_on(device):
        narrow(graph)
    return Deployed(graph.to(device)).eval()


#: A place in a network, its type, and the numbers there before they are rounded.
Seen = tuple[str, FixedType, Tensor]


@dataclass(frozen=True)
class Observed:
    """A copy of a network that computes in floats.

    Attributes:
        network: the copy.
        seen: what it notes while it runs, in order of execution.
        places: which of its modules rounds the numbers of a place.
    """

    network: nn.Module
    seen: list[Seen]
    places: dict[str, _Rounding | _WeightLayer]

    @contextmanager
    def rounding(self, place: str, kind: FixedType) -> Iterator[None]:
        """While open, the numbers of one place are rounded to `kind`, and nothing is noted."""
        with self.places[place].rounding(place, kind):
            yield
        self.seen.clear()


def observed(model: nn.Module, plan: Plan) -> Observed:
    """Return a copy of `model` that computes in floats, and notes its numbers while it runs.

    Args:
        model: the network.
        plan: types by layer.
    """
    graph = round_graph(fold_batch_norm(model, plan.network).double(), plan).eval()
    seen: list[Seen] = []
    places: dict[str, _Rounding | _WeightLayer] = {}
    for name, part in graph.named_modules():
        if isinstance(part, _Rounding | _WeightLayer):
            prefix = "rounded_" if isinstance(part, _Rounding) else "fixed_"
            places |= dict.fromkeys(part.observe(name.removeprefix(prefix), seen), part)
    return Observed(Deployed(graph), seen, places)


def fixed_point_graph(model: nn.Module, plan: Plan, values: Values | None = None) -> fx.GraphModule:
    """Return a graph that shares the parameters of `model` and computes in its hls4ml types.

    Nodes keep their names; what rounds an output is a node of its own behind it.

    Args:
        model: the network.
        plan: types by layer.
        values: what weights are looked up in first.
    """
    lowered = lower(model, plan.network.input_shape)
    return round_graph(lowered, plan, plan.network.folded_norms, values)


#: By layer: what its folded weights become before they are rounded to their type.
Values = Mapping[str, Callable[[Tensor], Tensor]]


def round_graph(
    graph: fx.GraphModule,
    plan: Plan,
    folded: Container[str] = frozenset(),
    values: Values | None = None,
) -> fx.GraphModule:
    """Make a lowered graph compute in its hls4ml types, in place.

    Args:
        graph: lowered; of a network that is folded already, its scales are gone.
        plan: types by layer.
        folded: names of the scales that the layers before them take over.
        values: what weights are looked up in, where that is not their type alone.
    """
    # By operation: a layer of several weights must not stay in floats without a word.
    planned: dict[str, list[LayerPlan]] = {}
    for layer in plan.layers:
        planned.setdefault(layer.layer.operation, []).append(layer)
    kinds = {operation.name: operation.type for operation in plan.network.operations}
    rounded_to: dict[fx.Node, FixedType | None] = {}
    for node in list(graph.graph.nodes):
        placed = plan.layout.placed.get(node.name)
        # Views hand on what they read; the output only names it.
        if placed is None or placed.storage != node.name or node.op == "output":
            if node.all_input_nodes:
                rounded_to[node] = rounded_to.get(node.all_input_nodes[0])
            continue
        operation = kinds.get(node.name, "")
        if node.op == "call_module":
            module = graph.get_submodule(str(node.target))
            layers = planned.get(node.name, [])
            made = _made(graph, node, module, layers, plan, folded, values or {})
            if made is not None:
                _replace(graph, node, made)
        kind = plan.types[node.name]
        before = {rounded_to.get(source) for source in node.all_input_nodes}
        rounded_to[node] = kind
        # Rounding again what is on the grid costs time and changes nothing.
        if kind is not None and not (operation in _PRESERVING and before == {kind}):
            rounded_to[_round(graph, node, kind)] = kind
    graph.recompile()
    return graph


def _made(
    graph: fx.GraphModule,
    node: fx.Node,
    module: nn.Module,
    layers: list[LayerPlan],
    plan: Plan,
    folded: Container[str],
    values: Values,
) -> nn.Module | None:
    """Return what computes an operation as hls4ml does; None if torch does it in the same way."""
    default = FixedType.parse(plan.hardware.precision)
    operation = type_of(module)
    if layers and layers[0].layer.kind.gates:
        state = plan.types[node.name]
        assert state is not None
        return _RecurrentLayer(module, layers, values, plan.gates(node.name), state)
    if layers:
        return _WeightLayer(module, layers, _taken_over(graph, node, folded), values)
    if isinstance(module, Scaling):
        return _Scaled(module, default)
    if isinstance(module, Lookup):
        return _RoundedTable(module, default)
    if isinstance(module, nn.Threshold):
        theta = default.quantize(torch.tensor(module.threshold, dtype=torch.float64))
        return nn.Threshold(float(theta), 0.0)
    make = OWN_ARITHMETIC.get(operation)
    return None if make is None else make(node, module, plan)


def _taken_over(graph: fx.GraphModule, node: fx.Node, folded: Container[str]) -> list[Scaling]:
    """Remove the scales behind a layer that are folded into it, and return them."""
    found: list[Scaling] = []
    # Several may follow each other; each is folded into the same layer.
    while len(node.users) == 1:
        (user,) = node.users
        if user.name not in folded:
            break
        scaling = graph.get_submodule(str(user.target))
        assert isinstance(scaling, Scaling)
        found.append(scaling)
        user.replace_all_uses_with(node)
        graph.graph.erase_node(user)
    return found


def _round(graph: fx.GraphModule, node: fx.Node, kind: FixedType) -> fx.Node:
    """Put the cast to an operation's output type behind it."""
    name = f"rounded_{node.name}"
    graph.add_submodule(name, _Rounding(kind))
    with graph.graph.inserting_after(node):
        rounded = graph.graph.call_module(name, (node,))
    # The rounding itself still reads what it rounds.
    node.replace_all_uses_with(rounded, delete_user_cb=lambda user: user is not rounded)
    return rounded


def _replace(graph: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    """Compute `node` by another module."""
    node.target = f"fixed_{node.name}"
    graph.add_submodule(str(node.target), module)


class _Rounding(Narrowing):
    """The cast to an operation's output type."""

    def __init__(self, kind: FixedType) -> None:
        super().__init__()
        self._kind, self._name = kind, ""
        self._seen: list[Seen] | None = None
        # Whether its input has to be widened, and what it puts out is narrowed.
        self.is_wide, self._narrows = False, False

    def observe(self, name: str, seen: list[Seen]) -> list[str]:
        """Note what would be rounded, and hand it on; return the name of the place."""
        self._name, self._seen = name, seen
        return [name]

    @contextmanager
    def rounding(self, place: str, kind: FixedType) -> Iterator[None]:
        """While open, an observed place is rounded to `kind`."""
        before = self._kind, self._seen
        self._kind, self._seen = kind, None
        try:
            yield
        finally:
            self._kind, self._seen = before

    def widen(self) -> None:
        """Put out double precision."""
        self._narrows = False

    def narrow(self, given: Grid | None) -> Grid | None:
        """Put out single precision if that holds the type; see `Narrowing`."""
        self.is_wide = given is not None and not given.is_rounded_in_single(self._kind)
        self._narrows = (found := Grid.of(self._kind)).is_single
        return found if self._narrows else None

    def forward(self, x: Tensor) -> Tensor:
        if self._seen is None:
            value = through(x.double() if self.is_wide else x, self._kind)
            return value.float() if self._narrows else value
        self._seen.append((self._name, self._kind, x.detach()))
        return x


class _WeightLayer(Narrowing):
    """A layer that holds weights, and the scales after it, with its parameters rounded.

    Weights are rounded to their own types, everything else, such as the bias, to that of the
    result.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: list[LayerPlan],
        scalings: Sequence[Scaling],
        values: Values,
    ) -> None:
        super().__init__()
        named = {layer.layer.parameter: layer.name for layer in layers}
        self._values = {key: values[name] for key, name in named.items() if name in values}
        self._module, self._scalings = module, nn.ModuleList(scalings)
        self._kinds = {layer.layer.parameter: layer.weight for layer in layers}
        self._result = layers[0].result
        self._axis = layers[0].layer.kind.feature_axis
        self._frozen: Mapping[str, Tensor] | None = None
        self._places: dict[str, str] = {}
        # Where an input in single precision is cut in two; None = it is widened.
        self._cut: float | None = None
        self.is_wide = True

    def bias_in_floats(self) -> Tensor | None:
        """Return (n_out,) the folded biases before they are rounded; None if there are none."""
        found = self._parameters_in_floats().get("bias")
        return None if found is None else found.detach()

    def freeze(self) -> None:
        """Round the parameters once and for all."""
        with torch.no_grad():
            self._frozen = self._rounded()

    def narrow(self, given: Grid | None) -> Grid | None:
        """Compute in single precision, or in two parts of it, where that is exact; freeze first."""
        assert self._frozen is not None
        if given is None or len(self._kinds) > 1:
            return None
        ((name, kind),) = self._kinds.items()
        weight, bias = self._frozen[name], self._frozen.get("bias")
        found = _sums(given, weight, kind, bias, self._result)
        if found.is_single:
            self.is_wide = False
            self._frozen = {name: value.float() for name, value in self._frozen.items()}
            return found
        # Convolutions in double precision take five times as long; a Linear takes twice as long.
        if not isinstance(self._module, nn.Linear):
            self._cut = split_at(given, weight, kind.step)
        if self._cut is not None:
            self._frozen, self.is_wide = {**self._frozen, name: weight.float()}, False
        return None

    def observe(self, name: str, seen: list[Seen]) -> list[str]:
        """Note the weights that would be rounded, and compute with them as they are.

        Returns:
            What they are called.
        """
        self._frozen = self._parameters_in_floats()
        self._places = {f"{parameter}s of {name}": parameter for parameter in self._kinds}
        for place, parameter in self._places.items():
            seen.append((place, self._kinds[parameter], self._frozen[parameter].detach()))
        return list(self._places)

    @contextmanager
    def rounding(self, place: str, kind: FixedType) -> Iterator[None]:
        """While open, one of the observed parameters is rounded to `kind`."""
        assert self._frozen is not None
        before, parameter = self._frozen, self._places[place]
        self._frozen = {**before, parameter: kind.quantize(before[parameter].detach())}
        try:
            yield
        finally:
            self._frozen = before

    def _apply(self, fn: Any, recurse: bool = True) -> _WeightLayer:
        """Move the frozen parameters with the others."""
        if self._frozen is not None:
            self._frozen = {name: fn(value) for name, value in self._frozen.items()}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _parameters_in_floats(self) -> dict[str, Tensor]:
        found = {**dict(self._module.named_parameters()), **weights_of(self._module)}
        if self._scalings:
            ((name, weight),) = weights_of(self._module).items()
            scalings = cast("list[Scaling]", list(self._scalings))
            folded, bias = fold_weights(weight, found.get("bias"), scalings, self._axis)
            assert bias is not None
            found[name], found["bias"] = folded, bias
        return found

    def _rounded(self) -> dict[str, Tensor]:
        found = self._parameters_in_floats()
        found |= {name: look_up(found[name]) for name, look_up in self._values.items()}
        return {name: through(value, self._kind_of(name)) for name, value in found.items()}

    def _kind_of(self, parameter: str) -> FixedType:
        """Return the type of a weight or bias."""
        return self._kinds.get(parameter, self._result)

    def forward(self, x: Tensor) -> Tensor:
        parameters = dict(self._rounded() if self._frozen is None else self._frozen)
        has_bias = getattr(self._module, "bias", None) is not None
        if self._cut is not None:
            bias = parameters.pop("bias", None)
            out = self._in_two_parts(x, parameters, bias if has_bias else None)
        else:
            # A layer without a bias of its own may have got one from what is folded into it.
            bias = None if has_bias else parameters.pop("bias", None)
            x = x.double() if self.is_wide and self._frozen is not None else x
            out = functional_call(self._module, parameters, (x,))
        if bias is None:
            return out
        # Features are the last axis of a Linear's output, the second of a convolution's.
        return out + (bias if self._axis == -1 else bias.reshape(-1, *[1] * (out.dim() - 2)))

    def _in_two_parts(
        self, x: Tensor, parameters: dict[str, Tensor], bias: Tensor | None
    ) -> Tensor:
        """Return the layer's sums without its bias: those of both parts, put together in double."""
        assert self._cut is not None
        if bias is not None:
            parameters = {**parameters, "bias": torch.zeros_like(bias, dtype=x.dtype)}
        upper = (x * (1 / self._cut)).floor_().mul_(self._cut)
        parts = [functional_call(self._module, parameters, (part,)) for part in (upper, x - upper)]
        total: Tensor = parts[0].double().add_(parts[1])
        return total


class _RecurrentLayer(_WeightLayer):
    """A GRU or LSTM: weights and biases rounded, and every step as the C++ computes it."""

    def __init__(
        self,
        module: nn.Module,
        layers: list[LayerPlan],
        values: Values,
        gates: FixedType,
        state: FixedType,
    ) -> None:
        super().__init__(module, layers, (), values)
        biases = ("bias_ih_l0", "bias_hh_l0")
        self._biases = {name: one.result for name, one in zip(biases, layers, strict=True)}
        self._recurrence = Recurrence(module, gates, state)

    def _kind_of(self, parameter: str) -> FixedType:
        return self._biases.get(parameter) or super()._kind_of(parameter)

    def forward(self, x: Tensor) -> Tensor:
        if self._places:  # it is only observed
            assert self._frozen is not None
            observed: Tensor = functional_call(self._module, dict(self._frozen), (x,))
            return observed
        parameters = self._rounded() if self._frozen is None else self._frozen
        x = x.double() if self._frozen is not None else x
        found: Tensor = self._recurrence(x, parameters)
        return found


def _sums(
    data: Grid, weights: Tensor, kind: FixedType, bias: Tensor | None, result: FixedType
) -> Grid:
    """Return the grid of a layer's sums, partial ones included; weights have outputs first."""
    each = weights.abs().flatten(1).sum(1) * data.bound
    if bias is None:
        return Grid(data.step * kind.step, float(each.max()))
    step = min(data.step * kind.step, result.step)
    return Grid(step, float((each + bias.abs()).max()))


class _Scaled(nn.Module):
    """A scale and shift that stay a layer: hls4ml rounds both to the default type."""

    def __init__(self, scaling: Scaling, kind: FixedType) -> None:
        super().__init__()
        self._scaling, self._kind = scaling, kind

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self._scaling, Affine):
            scale, shift = (part.to(x) for part in self._scaling.constants())
        else:
            shape = (1, -1, *[1] * (x.dim() - 2))
            scale, shift = (part.reshape(shape) for part in norm_affine(self._scaling))
        return x * through(scale, self._kind) + through(shift, self._kind)


class _RoundedTable(nn.Module):
    """An Embedding whose numbers hls4ml rounds to the default type."""

    def __init__(self, lookup: Lookup, kind: FixedType) -> None:
        super().__init__()
        self._table, self._kind = lookup.table, kind

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.embedding(x.long(), through(self._table.weight, self._kind))
