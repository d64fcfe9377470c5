"""The C++ simulation beside torch: the classes, the logits, and where a difference begins.

Torch computes with the layers' fixed-point types (`rfprune.training.fixed_point`). Each layer is
also compared alone: torch gets the inputs that the C++ computed for it, so that an error shows in
the layer that makes it and in no layer after it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from rfprune.errors import SpecError
from rfprune.hardware.precision import FixedType
from rfprune.hls.convert import Conversion
from rfprune.hls.simulate import Array, Outputs, simulate
from rfprune.training import fixed_point_graph

__all__ = ["LEAST_AGREEMENT", "Compared", "LayerParity", "Parity", "compare"]

#: Least fraction of rows on which C++ and torch must name the same class.
LEAST_AGREEMENT = 0.99
#: hls4ml reads these from tables of 1024 entries over 16 units (``nnet_activation.h``).
_TABLES = ("sigmoid", "tanh", "elu")
_TABLE_TOLERANCE = 2.0**-4
#: A mean is divided by a constant whose own rounding shows (``nnet_pooling.h``).
_STEPS = {"avgpool": 2.0}
#: Wider types are not rounded: a double holds their sums exactly or nearly so.
_WIDEST = 52


@dataclass(frozen=True)
class LayerParity:
    """How one layer computes what it was given.

    Attributes:
        name: of the layer.
        largest_error: largest absolute difference from torch on the same inputs.
        tolerance: up to which the difference is that of the method of computing.
    """

    name: str
    largest_error: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the layer computes what torch does."""
        return self.largest_error <= self.tolerance


@dataclass(frozen=True)
class Parity:
    """How the C++ simulation and torch agree.

    Attributes:
        rows: rows compared.
        agreement: fraction of rows with the same class as torch in fixed point.
        float_agreement: fraction of rows with the same class as torch in float.
        largest_error: largest absolute difference of a logit.
        mean_error: mean absolute difference of the logits.
        step: one unit in the last place of the result type.
        torch_accuracy: of torch in float on these rows.
        cpp_accuracy: of the C++ simulation on these rows.
        layers: each layer alone, in order of execution.
    """

    rows: int
    agreement: float
    float_agreement: float
    largest_error: float
    mean_error: float
    step: float
    torch_accuracy: float
    cpp_accuracy: float
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
        x: (rows, *input_shape), on the grid of the input type.
        y: (rows,) classes.
        in_float: (rows, classes) logits of torch in float.
        cpp: (rows, classes) logits of the C++.
    """

    x: Tensor
    y: Tensor
    in_float: Array
    cpp: Array


def compare(conversion: Conversion, x: Tensor, y: Tensor) -> tuple[Parity, Compared]:
    """Run the written project beside torch on the same rows.

    Args:
        conversion: a converted network, written.
        x: (rows, *input_shape).
        y: (rows,) classes.

    Raises:
        MissingExtraError: no g++.
        SimulationError: the generated code does not compile or does not run.
    """
    on_grid = FixedType.parse(conversion.plan.hardware.precision).quantize(x.detach().cpu())
    found = simulate(conversion, on_grid)
    # Sums of fixed-point products are exact in double precision.
    network = copy.deepcopy(conversion.network).double().eval()
    graph = fixed_point_graph(network, conversion.plan)
    with torch.inference_mode():
        in_float = conversion.network(on_grid).double().numpy()
        expected = graph(on_grid.double()).numpy()
        alone = _Alone(graph, found, conversion)
        alone.run(on_grid.double())
    error = np.abs(found.logits - expected)
    classes, truth = found.logits.argmax(axis=1), y.cpu().numpy()
    parity = Parity(
        rows=len(truth),
        agreement=float((classes == expected.argmax(axis=1)).mean()),
        float_agreement=float((classes == in_float.argmax(axis=1)).mean()),
        largest_error=float(error.max()),
        mean_error=float(error.mean()),
        step=conversion.plan.layers[-1].result.step,
        torch_accuracy=float((in_float.argmax(axis=1) == truth).mean()),
        cpp_accuracy=float((classes == truth).mean()),
        layers=tuple(alone.layers),
    )
    return parity, Compared(on_grid, y.cpu(), in_float, found.logits)


class _Alone(fx.Interpreter):
    """Runs every layer on what the C++ computed before it, and notes the difference."""

    def __init__(self, graph: fx.GraphModule, found: Outputs, conversion: Conversion) -> None:
        super().__init__(graph)
        self.layers: list[LayerParity] = []
        self._found = found.layers
        self._nodes = conversion.graph.graph
        self._channels_last = conversion.plan.network.channels_last
        self._types = {op.name: op.type for op in conversion.plan.network.operations}

    def run_node(self, n: fx.Node) -> Any:
        """Return the output of the C++ in place of torch's, where there is one."""
        ours = super().run_node(n)
        if n.name not in self._found or self._types.get(n.name) == "flatten":
            return ours
        theirs = torch.from_numpy(self._found[n.name])
        if theirs.dim() > 2 and not self._channels_last:
            theirs = theirs.movedim(-1, 1)
        kind = _result_type(self._nodes[n.name])
        ours = ours if kind is None else kind.quantize(ours)
        error = float((theirs.reshape(ours.shape) - ours).abs().max())
        self.layers.append(LayerParity(n.name, error, self._tolerance(n.name, kind)))
        return theirs.reshape(ours.shape)

    def _tolerance(self, name: str, kind: FixedType | None) -> float:
        operation = self._types.get(name, "")
        if operation in _TABLES:
            return _TABLE_TOLERANCE
        return _STEPS.get(operation, 1.0) * (0.0 if kind is None else kind.step)


def _result_type(node: Any) -> FixedType | None:
    """Return the type of a layer's output; None if it is too wide to round to."""
    try:
        kind = FixedType.parse(str(node.get_output_variable().type.precision))
    except SpecError:
        return None
    return kind if kind.width <= _WIDEST else None
