"""The C++ simulation beside torch: the answers, the outputs, and where a difference begins.

Torch computes with the layers' fixed-point types (`rfprune.fpga.fixed_point`). Each layer is
also compared alone: torch gets the inputs that the C++ computed for it, so that an error shows in
the layer that makes it and in no layer after it.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from rfprune.core.named import Named
from rfprune.errors import SpecError
from rfprune.fpga.fixed_point import round_graph
from rfprune.fpga.hls.convert import Conversion
from rfprune.fpga.hls.simulate import Array, Outputs, Rows, Simulation, simulate, written
from rfprune.fpga.own_arithmetic import TABLE_TYPE
from rfprune.hardware.precision import FixedType
from rfprune.tasks import Task, TaskSpec, make_task

__all__ = [
    "LEAST_AGREEMENT",
    "Compared",
    "LayerParity",
    "Parity",
    "SideBySide",
    "by_name",
    "compare",
    "layers_alone",
    "outputs_of_cpp",
    "side_by_side",
]

#: Least fraction of rows on which C++ and torch must give the same answer.
LEAST_AGREEMENT = 0.99
#: A table's entries come from another exponential function, which may end on the next step.
_TABLES = ("sigmoid", "tanh", "elu", "softmax")
#: Wider types are not rounded: a double holds their sums exactly or nearly so.
_WIDEST = 52


@dataclass(frozen=True)
class LayerParity:
    """How one layer computes what it was given.

    Attributes:
        name: of the layer.
        largest_error: largest absolute difference from torch on the same inputs.
        tolerance: up to which the difference is that of the method of computing.
        exact: up to which it is still the same network bit for bit: 0, but a step of a table whose
            entries come from another exponential function, and what a double cannot hold.
    """

    name: str
    largest_error: float
    tolerance: float
    exact: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether the layer computes what torch does."""
        return self.largest_error <= self.tolerance


@dataclass(frozen=True)
class Parity:
    """How the C++ simulation and torch agree.

    Attributes:
        rows: rows compared.
        agreement: fraction of rows with the same answer as torch in fixed point, as the task has
            it: the same class, the same side, the same numbers.
        float_agreement: fraction of rows with the same answer as torch in float.
        largest_error: largest absolute difference of an output from torch in fixed point.
        mean_error: mean absolute difference of the outputs.
        step: one unit in the last place of the result type.
        torch_score: score of torch in float on these rows.
        cpp_score: score of the C++ simulation on these rows.
        layers: each layer alone, in order of execution.
    """

    rows: int
    agreement: float
    float_agreement: float
    largest_error: float
    mean_error: float
    step: float
    torch_score: float
    cpp_score: float
    layers: tuple[LayerParity, ...]

    @property
    def begins(self) -> LayerParity | None:
        """The first layer that does not compute what torch does; None if every layer does."""
        return next((layer for layer in self.layers if not layer.agrees), None)

    @property
    def holds(self) -> bool:
        """Whether the generated code is the network."""
        return self.agreement >= LEAST_AGREEMENT and self.begins is None


@dataclass(frozen=True)
class Compared:
    """The rows that were compared, and what both sides made of them.

    Attributes:
        x: on the grid of the input types; of several inputs by name.
        y: their targets; of several heads by name.
        in_float: (rows, ...) of torch in float, by the name of the output, empty for the only one.
        cpp: the same of the C++, in torch's order.
        streams: (rows, n) of the C++ as the design puts them out, in its order.
    """

    x: Rows
    y: Any
    in_float: dict[str, Array]
    cpp: dict[str, Array]
    streams: list[Array]


def compare(
    conversion: Conversion,
    x: Rows,
    y: Any,
    task: Task | None = None,
    weight: Tensor | None = None,
    simulation: Simulation | None = None,
) -> tuple[Parity, Compared]:
    """Run the written project beside torch on the same rows.

    Args:
        conversion: a converted network, written.
        x: rows; of several inputs by name.
        y: their targets.
        task: says when two outputs agree; classification if not given.
        weight: (rows,) of the rows in the metrics, or None.
        simulation: the project, if it is compiled already.

    Raises:
        MissingExtraError: no g++.
        SimulationError: the generated code does not compile or does not run.
    """
    task = make_task(TaskSpec()) if task is None else task
    on_grid = _on_grid(conversion, x.cpu())
    run = simulate(conversion, on_grid) if simulation is None else simulation.run(on_grid)
    simulated, (expected, layers) = run, _both(conversion, on_grid, run)
    with torch.inference_mode():
        in_float = conversion.network(*_arguments(on_grid))
    cpp = _structured(conversion, simulated.outputs)
    found, wanted = by_name(cpp, task), by_name(expected, task)
    errors = [np.abs(found[name] - wanted[name]).reshape(-1) for name in found]
    judged = [task.judged(_in_double(part), on_grid) for part in (cpp, expected, in_float)]
    answers = [_as_arrays(part) for part in judged]
    targets = y.cpu()
    # What hls4ml puts out is exact where a weight layer comes last: finer than the layer's type.
    last = conversion.plan.layers[-1].result
    built = [_type_of(variable) or last for variable in conversion.graph.get_output_variables()]
    step = _steps(conversion, task, [kind.step for kind in built])
    parity = Parity(
        rows=len(targets),
        agreement=task.agreement(answers[0], answers[1], step),
        float_agreement=task.agreement(answers[0], answers[2], step),
        largest_error=max(float(error.max()) for error in errors),
        mean_error=float(np.concatenate(errors).mean()),
        step=built[0].step,
        torch_score=task.measure(judged[2], targets, weight)[task.score],
        cpp_score=task.measure(judged[0], targets, weight)[task.score],
        layers=tuple(layers),
    )
    return parity, Compared(on_grid, targets, by_name(in_float, task), found, simulated.outputs)


def layers_alone(conversion: Conversion, x: Rows) -> list[LayerParity]:
    """Run the written project, and return how each layer computes what it was given.

    Raises:
        SimulationError: the generated code does not compile or does not run.
    """
    on_grid = _on_grid(conversion, x.cpu())
    return _both(conversion, on_grid, simulate(conversion, on_grid))[1]


@dataclass(frozen=True)
class SideBySide:
    """The C++ and torch in the layers' types on the same rows.

    Attributes:
        cpp: (rows, ...) of each output of the C++.
        torch: the same of torch.
        layers: each layer alone.
    """

    cpp: list[Array]
    torch: list[Array]
    layers: list[LayerParity]

    @property
    def largest_error(self) -> float:
        """Largest absolute difference of an output."""
        pairs = zip(self.cpp, self.torch, strict=True)
        return max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)

    @property
    def begins(self) -> LayerParity | None:
        """The first layer that is not bit for bit torch's; entries of tables may be a step off."""
        return next((each for each in self.layers if each.largest_error > each.exact), None)


def outputs_of_cpp(simulation: Simulation, x: Rows) -> list[Array]:
    """Return (rows, ...) of each output of a compiled project, in the network's order.

    Raises:
        SimulationError: it does not run.
    """
    found = _structured(simulation.conversion, simulation.run(x).outputs)
    return [*by_name(found, make_task(TaskSpec())).values()]


def side_by_side(simulation: Simulation, x: Rows) -> SideBySide:
    """Run a compiled project on rows as they are, and torch on the same rows cast to its types.

    Args:
        simulation: the compiled project.
        x: in double precision; the C++ itself casts them to its types.

    Raises:
        SimulationError: it does not run.
    """
    conversion, found = simulation.conversion, simulation.run(x)
    expected, layers = _both(conversion, _on_grid(conversion, x), found)
    task = make_task(TaskSpec())
    cpp = by_name(_structured(conversion, found.outputs), task)
    return SideBySide([*cpp.values()], [*by_name(expected, task).values()], layers)


def _both(
    conversion: Conversion, on_grid: Rows, simulated: Outputs
) -> tuple[Any, list[LayerParity]]:
    """Return what torch in fixed point computes, and each layer of the C++ alone."""
    # Sums of fixed-point products are exact in double precision.
    graph = round_graph(copy.deepcopy(conversion.network).double().eval(), conversion.plan)
    exact = [p.double() if p.is_floating_point() else p for p in _arguments(on_grid)]
    with torch.inference_mode():
        expected = graph(*exact)
        alone = _Alone(graph, simulated, conversion)
        alone.run(*exact)
    return expected, alone.layers


def _arguments(x: Rows) -> list[Tensor]:
    return list(x.parts.values()) if isinstance(x, Named) else [x]


def _on_grid(conversion: Conversion, x: Rows) -> Rows:
    """Return rows as the design reads them: rounded to the types of its inputs."""
    plan = conversion.plan
    default = FixedType.parse(plan.hardware.precision)
    kinds = [plan.types.get(name) or default for name in plan.network.inputs]
    if isinstance(x, Named):
        parts = zip(x.parts.items(), kinds, strict=True)
        return Named({name: _quantized(kind, part) for (name, part), kind in parts})
    return _quantized(kinds[0], x.detach())


def _quantized(kind: FixedType, x: Tensor) -> Tensor:
    return kind.quantize(x) if x.is_floating_point() else x


def _structured(conversion: Conversion, outputs: list[Array]) -> Any:
    """Return what the design puts out as the network returns it: a tensor, a tuple or a dict."""
    rows = len(outputs[0])
    tensors = []
    for (name, places), array in zip(written(conversion), outputs, strict=True):
        shape = conversion.plan.layout.placed[name].places.shape
        tensors.append(torch.from_numpy(array[:, places].reshape(rows, *shape)))
    (output,) = (node for node in conversion.network.graph.nodes if node.op == "output")
    by_node = iter(tensors)
    return fx.node.map_aggregate(
        output.args[0], lambda part: next(by_node) if isinstance(part, fx.Node) else part
    )


def by_name(outputs: Any, task: Task) -> dict[str, Array]:
    """Return the outputs of a network as arrays, by head where there are such."""
    if isinstance(outputs, Tensor):
        return {"": outputs.double().numpy()}
    if isinstance(outputs, Mapping):
        items = [(str(key), part) for key, part in outputs.items()]
    else:
        known = [*task.heads] if len(task.heads) == len(outputs) else range(len(outputs))
        items = [(str(key), part) for key, part in zip(known, outputs, strict=True)]
    return {key: part.double().numpy() for key, part in items}


def _steps(conversion: Conversion, task: Task, steps: list[float]) -> Any:
    """Return one unit in the last place of the output, of heads by name."""
    if not task.heads:
        return steps[0]
    keys = conversion.plan.network.output_keys or ()
    named = keys if set(keys) == set(task.heads) else tuple(task.heads)
    return dict(zip(named, steps, strict=True))


def _in_double(outputs: Any) -> Any:
    return fx.node.map_aggregate(
        outputs, lambda part: part.double() if isinstance(part, Tensor) else part
    )


def _as_arrays(judged: Any) -> Any:
    """Return what a task judges as it compares it: arrays, by head where there are such."""
    if isinstance(judged, Mapping):
        return {name: part.numpy() for name, part in judged.items()}
    return judged.numpy()


def _type_of(variable: Any) -> FixedType | None:
    """Return the type of one of hls4ml's variables; None if it is not a fixed-point number."""
    with contextlib.suppress(SpecError):
        return FixedType.parse(str(variable.type.precision))
    return None


class _Alone(fx.Interpreter):
    """Runs every layer on what the C++ computed before it, and notes the difference."""

    def __init__(self, graph: fx.GraphModule, found: Outputs, conversion: Conversion) -> None:
        super().__init__(graph)
        self.layers: list[LayerParity] = []
        self._found = found.layers
        self._nodes = conversion.graph.graph
        self._placed = conversion.plan.layout.placed
        self._types = {op.name: op.type for op in conversion.plan.network.operations}

    def run_node(self, n: fx.Node) -> Any:
        """Return the output of the C++ in place of torch's, where there is one."""
        ours = super().run_node(n)
        placed = self._placed.get(n.name)
        if n.name not in self._found or placed is None or placed.storage != n.name:
            return ours
        places = torch.from_numpy(placed.places.reshape(-1))
        theirs = torch.from_numpy(self._found[n.name]).index_select(1, places)
        kind = _type_of(self._nodes[n.name].get_output_variable())
        wide = kind is None or kind.width > _WIDEST
        kind = None if wide else kind
        ours = ours if kind is None else kind.quantize(ours)
        theirs = theirs.reshape(ours.shape)
        error = float((theirs - ours).abs().max())
        # What is too wide to be rounded is compared as exactly as a double can hold it.
        tolerance = 0.0 if kind is None else kind.step
        exact = TABLE_TYPE.step if self._types.get(n.name) in _TABLES else 0.0
        if wide:
            exact = max(exact, float(ours.abs().max()) * 2.0**-_WIDEST)
        tolerance = max(tolerance, exact)
        self.layers.append(LayerParity(n.name, error, tolerance, exact))
        return theirs
