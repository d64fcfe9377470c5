"""The C++ simulation: hls4ml's generated code, compiled by g++ and compared with torch.

What is compared: the class of every row, and the logits. Torch computes with the layers'
fixed-point types (`rfprune.training.fixed_point`), so what is left is the rounding inside a
layer; the agreement with float arithmetic, which shows what the types themselves cost, is given
beside it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfprune.errors import MissingExtraError, SimulationError
from rfprune.hardware.precision import FixedType
from rfprune.hls.convert import Conversion, quiet
from rfprune.training import fixed_point

__all__ = ["Parity", "compare", "simulate"]


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
    """

    rows: int
    agreement: float
    float_agreement: float
    largest_error: float
    mean_error: float
    step: float
    torch_accuracy: float
    cpp_accuracy: float


def simulate(conversion: Conversion, x: Tensor) -> NDArray[np.float64]:
    """Return (rows, classes): the logits of the compiled C++ for `x` (rows, *input_shape).

    Raises:
        MissingExtraError: no g++.
        SimulationError: the generated code does not compile or does not run.
    """
    if shutil.which("g++") is None:
        raise MissingExtraError(
            "the C++ simulation needs g++; install it, e.g. with: apt install g++"
        )
    rows = x.detach().cpu().numpy()
    if len(rows.shape) > 2 and conversion.plan.hardware.io_type == "io_stream":
        rows = np.moveaxis(rows, 1, -1)  # io_stream takes channels last
    with quiet() as said:
        try:
            conversion.graph.compile()
            out = conversion.graph.predict(np.ascontiguousarray(rows))
        except Exception as error:  # hls4ml raises bare Exception
            raise SimulationError(
                f"the generated C++ does not compile or run: {error}. {said.getvalue()[-500:]}"
            ) from error
    return np.asarray(out, dtype=np.float64).reshape(len(rows), -1)


def compare(conversion: Conversion, x: Tensor, y: Tensor) -> tuple[Parity, NDArray[np.float64]]:
    """Run the C++ simulation beside torch on the same rows; also return its logits (rows, classes).

    Args:
        conversion: a converted network.
        x: (rows, *input_shape).
        y: (rows,) classes.
    """
    grid = FixedType.parse(conversion.plan.hardware.precision)
    on_grid = grid.quantize(x.detach().cpu())
    with torch.inference_mode():
        in_float = conversion.network(on_grid).argmax(dim=1).numpy()
        with fixed_point(conversion.network, conversion.plan):
            expected = conversion.network(on_grid).numpy().astype(np.float64)
    found = simulate(conversion, on_grid)
    error = np.abs(found - expected)
    classes, truth = found.argmax(axis=1), y.cpu().numpy()
    parity = Parity(
        rows=len(truth),
        agreement=float((classes == expected.argmax(axis=1)).mean()),
        float_agreement=float((classes == in_float).mean()),
        largest_error=float(error.max()),
        mean_error=float(error.mean()),
        step=conversion.plan.layers[-1].result.step,
        torch_accuracy=float((in_float == truth).mean()),
        cpp_accuracy=float((classes == truth).mean()),
    )
    return parity, found
