"""The emulator of an export: the design's integers without hls4ml and torch, as a package.

::

    DIR/emulator/
        pyproject.toml                    pip install DIR/emulator, or pip wheel DIR/emulator
        rfprune_emulator/__init__.py      integers(x), outputs(x), check(); needs numpy alone
        rfprune_emulator/design.json      inputs, outputs and their types
        rfprune_emulator/vectors.npz      test vectors: inputs, and the integers that come out
        rfprune_emulator/firmware/        of an hls4ml project: the C++, for g++ at the first use
        rfprune_emulator/layers.npz       of da4ml's adder graph: constants and types of each layer
        rfprune_emulator/graph.npz        of alkaid's: every operation, in order

What it computes is what the certificate compares: the C++ in ``hls/``, or the adder graph.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.core.files import write_json
from rfprune.fpga.adders.chain import Chain
from rfprune.fpga.adders.numbers import CircuitNumbers, constants
from rfprune.fpga.estimators.ports import Port
from rfprune.fpga.hls import PROJECT_NAME, Conversion, written
from rfprune.hardware.precision import FixedType

__all__ = ["write_circuit_emulator", "write_cpp_emulator", "write_graph_emulator"]

_PACKAGE = "rfprune_emulator"
#: Test vectors in the package.
_ROWS = 200


def write_cpp_emulator(
    folder: Path, conversion: Conversion, x: list[FloatArray], y: list[FloatArray]
) -> None:
    """Write the emulator of an hls4ml project.

    Args:
        folder: of the export; its ``hls/`` is written.
        conversion: the network.
        x: (rows, ...) of each input, on the grid of its type.
        y: (rows, ...) of each output of the C++ for them, in torch's order.
    """
    plan, graph = conversion.plan, conversion.graph
    default = FixedType.parse(plan.hardware.precision)
    kinds = [plan.types.get(name) or default for name in plan.network.inputs]
    orders = [plan.layout.placed[name].torch_order.tolist() for name in plan.network.inputs]
    inputs = [
        {"name": name, "shape": list(shape), "type": str(kind), "order": order}
        for (name, shape), kind, order in zip(
            plan.network.inputs.items(), kinds, orders, strict=True
        )
    ]
    outputs = []
    variables = graph.get_output_variables()
    for (name, places), variable in zip(written(conversion), variables, strict=True):
        # Wider than 64 bits, too: what hls4ml keeps exact.
        kind = variable.type.precision
        shape = list(plan.layout.placed[name].places.shape)
        size = int(variable.size())
        facts = {"name": name, "shape": shape, "fraction": int(kind.fractional), "size": size}
        outputs.append({**facts, "type": str(kind), "places": places.tolist()})
    place = _package(folder, {"kind": "cpp", "inputs": inputs, "outputs": outputs})
    shutil.copytree(folder / "hls" / "firmware", place / "firmware", dirs_exist_ok=True)
    shutil.copyfile(folder / "hls" / f"{PROJECT_NAME}_bridge.cpp", place / "bridge.cpp")
    _vectors(place, x, y, [int(str(each["fraction"])) for each in outputs])


def write_circuit_emulator(
    folder: Path,
    chain: Chain,
    model: Any,
    numbers: CircuitNumbers,
    ports: Port,
    x: FloatArray,
    y: FloatArray,
) -> None:
    """Write the emulator of an adder graph.

    Args:
        folder: of the export.
        chain: its layers.
        model: which holds their weights.
        numbers: what they are rounded to.
        ports: of the output.
        x: (rows, n_in) on the grid of the inputs.
        y: (rows, n_out) of the graph.
    """
    arrays: dict[str, Any] = {}
    for index, (layer, weight, bias) in enumerate(constants(chain, model, numbers)):
        arrays[f"weight_{index}"], arrays[f"bias_{index}"] = weight, bias
        arrays[f"integer_{index}"] = numbers.integer[index].numpy()
        arrays[f"fraction_{index}"] = numbers.fraction[index].numpy()
        arrays[f"flags_{index}"] = np.array([layer.signed, layer.relu])
    fractions = [int(each) for each in ports.fractions]
    n_in = chain.layers[0].n_in
    inputs = [{"name": "x", "shape": [n_in]}]
    outputs = [{"name": "y", "shape": [len(fractions)], "fraction": max(fractions, default=0)}]
    facts = {"kind": "layers", "inputs": inputs, "outputs": outputs, "layers": len(chain.layers)}
    place = _package(folder, facts)
    np.savez_compressed(place / "layers.npz", **arrays)
    _vectors(place, [x], [y], [max(fractions, default=0)])


def write_graph_emulator(
    folder: Path,
    program: Mapping[str, IntArray],
    inputs: Mapping[str, tuple[Sequence[int], FixedType]],
    outputs: Sequence[tuple[str, Sequence[int]]],
    x: Sequence[FloatArray],
    y: FloatArray,
) -> None:
    """Write the emulator of a graph of operations on whole numbers.

    Args:
        folder: of the export.
        program: its operations: `rfprune.fpga.unrolled.program`.
        inputs: shape and type of each input, by name.
        outputs: name and shape of each output.
        x: (rows, ...) of each input.
        y: (rows, n) of all outputs, one after the other, as the graph puts them out.
    """
    kinds = [
        {"name": name, "shape": list(shape), "type": str(kind), **asdict(kind)}
        for name, (shape, kind) in inputs.items()
    ]
    places = np.cumsum([0, *(math.prod(shape) for _, shape in outputs)])
    fractions = program["out_fraction"]
    facts, parts = [], []
    for index, (name, shape) in enumerate(outputs):
        own = slice(int(places[index]), int(places[index + 1]))
        fraction = int(fractions[own].max(initial=0))
        facts.append({"name": name, "shape": list(shape), "fraction": fraction})
        parts.append(y[:, own].reshape(-1, *shape))
    place = _package(folder, {"kind": "graph", "inputs": kinds, "outputs": facts})
    arrays: dict[str, Any] = dict(program)
    np.savez_compressed(place / "graph.npz", **arrays)
    _vectors(place, list(x), parts, [int(str(each["fraction"])) for each in facts])


def _package(folder: Path, facts: dict[str, Any]) -> Path:
    """Write the package without its design, and return its folder."""
    sources = files("rfprune.fpga").joinpath("scripts", "emulator")
    home, place = folder / "emulator", folder / "emulator" / _PACKAGE
    place.mkdir(parents=True, exist_ok=True)
    for name, to in (("pyproject.toml", home), ("README.md", home), ("emulator.py", place)):
        text = sources.joinpath(f"{name}.txt").read_text(encoding="utf-8")
        (to / ("__init__.py" if to == place else name)).write_text(text, encoding="utf-8")
    write_json(place / "design.json", {**facts, "top": PROJECT_NAME})
    return place


def _vectors(place: Path, x: list[FloatArray], y: list[FloatArray], fractions: list[int]) -> None:
    arrays: dict[str, Any] = {f"x{index}": part[:_ROWS] for index, part in enumerate(x)}
    for index, (part, fraction) in enumerate(zip(y, fractions, strict=True)):
        arrays[f"y{index}"] = np.ldexp(part[:_ROWS], fraction).astype(np.int64)
    np.savez_compressed(place / "vectors.npz", **arrays)
