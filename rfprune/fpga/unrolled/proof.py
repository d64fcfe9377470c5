"""A network beside its graph of adders, RTL, netlist and C++; and the same from a folder."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from rfprune.core.arrays import FloatArray
from rfprune.core.named import Named, call
from rfprune.data import Scaling
from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.layers import Plan, fold_batch_norm
from rfprune.fpga.proof.circuit import CircuitPaths, compared, prove_graph, tried
from rfprune.fpga.proof.module import module_and_graph, tensors_of
from rfprune.fpga.proof.rows import ProofRows, kinds_of, proof_rows
from rfprune.fpga.proof.vectors import check_estimate, check_scaling, made_by, read_vectors
from rfprune.fpga.unrolled.circuit import UnrolledGraph
from rfprune.fpga.unrolled.cpp import LARGEST_COMPILED, digest_of_cpp, run_cpp
from rfprune.fpga.unrolled.sources import Vectors, check_sources
from rfprune.trial.proof import Asked, PathFacts, Proof

if TYPE_CHECKING:
    from rfprune.fpga.unrolled.deployment import UnrolledDeployment

__all__ = ["flat_inputs", "in_types", "prove_unrolled", "prove_unrolled_again"]


def flat_inputs(plan: Plan, x: Any) -> FloatArray:
    """Return (rows, inputs) of all inputs, cast to their types, as the port takes them."""
    parts = list(x.parts.values()) if isinstance(x, Named) else [x]
    cast = [k.type.quantize(part.double()) for k, part in zip(kinds_of(plan), parts, strict=True)]
    return np.concatenate([part.flatten(1).numpy() for part in cast], axis=1)


def in_types(plan: Plan, model: nn.Module, x: Any) -> FloatArray:
    """Return (rows, outputs) that torch computes in the types of the plan."""
    with torch.no_grad():
        outputs = tensors_of(call(deployed(model, plan), x))
    return np.concatenate([part.reshape(len(part), -1).numpy() for part in outputs], axis=1)


def prove_unrolled(
    plan: Plan, model: nn.Module, paths: CircuitPaths, known: Any, asked: Asked
) -> Proof:
    """Compare the user's module with rfprune's graph, and this with alkaid's, RTL and netlist.

    Args:
        plan: types by operation.
        model: the user's own module.
        paths: of the graph of adders.
        known: rows of the test vectors, or None.
        asked: how many rows.
    """
    kinds = kinds_of(plan)
    rows = proof_rows(kinds, known, asked.rows, asked.exhaustive)
    on_grid = rows.on_grid(kinds)
    folded = fold_batch_norm(model, plan.network)
    _, lowered = module_and_graph(model, folded, plan, on_grid, rows.corners, rows.exhaustive)
    expected, x = in_types(plan, model, rows.x), flat_inputs(plan, on_grid)
    types = plan.hardware.precision
    proof = prove_graph(model, paths, expected, x, rows, types, asked, [_prove_cpp])
    proof.compared.insert(0, lowered)
    return proof


def _prove_cpp(
    paths: CircuitPaths, x: FloatArray, expected: FloatArray, rows: ProofRows, types: str
) -> Proof:
    """Compare the C++ for Vitis HLS beside the RTL with the graph."""
    proof, graph = Proof(), paths.graph
    assert isinstance(graph, UnrolledGraph)
    vitis, size = paths.rtl.parent / "vitis", len(graph.logic.ops)
    if size > LARGEST_COMPILED:
        proof.notes.append(
            f"cpp was not compiled: {size:,} operations, more than {LARGEST_COMPILED:,}."
        )
        return proof
    ran = tried("cpp", proof, lambda: run_cpp(vitis, x, expected.shape[1]))
    if ran is not None:
        extra = {"made_by": f"alkaid {version('alkaid')}", "language": "C++ for Vitis HLS"}
        proof.paths.append(PathFacts("cpp", "g++", ran[1], digest_of_cpp(vitis), extra))
        proof.compared.append(compared("graph", "cpp", expected, ran[0], rows, types))
    return proof


def prove_unrolled_again(
    folder: Path, built: UnrolledDeployment, model: nn.Module, scaling: Scaling, asked: Asked
) -> Proof:
    """Build the graph of an exported folder again, and compare everything in it."""
    plan, vectors = built.plan, read_vectors(folder)
    asked.say("building the graph of adders")
    graph = built.graph(model)
    paths = CircuitPaths(graph, folder / "rtl")
    known = _known(plan, vectors)
    proof = prove_unrolled(plan, model, paths, known, asked)
    rows = None
    if known is not None:
        expected = in_types(plan, model, known)
        rows = Vectors(known, flat_inputs(plan, known), expected)
        for name in ("torch", "graph"):
            if not np.array_equal(vectors.get(name, 0), expected):
                proof.faults.append(f"test_vectors.npz: {name} is not what is computed for x.")
    wrote, here = made_by(folder, "rtl"), f"alkaid {version('alkaid')}"
    if wrote in (None, here):
        check_sources(folder, plan, graph, rows, proof)
    else:
        proof.notes.append(
            f"{wrote} wrote the sources, and {here} is installed: they were not compared one by "
            "one."
        )
    check_scaling(folder, scaling, proof)
    if built.spec.estimator == "adders":
        check_estimate(folder, built.figures(paths.graph), proof)
    return proof


def _known(plan: Plan, vectors: dict[str, Any]) -> Any:
    """Return the rows of the test vectors; None if there are none."""
    names = list(plan.network.inputs)
    parts = {
        name: torch.from_numpy(vectors[key]).double()
        for name in names
        if (key := "x" if len(names) == 1 else f"x_{name}") in vectors
    }
    if len(parts) < len(names):
        return None
    return Named(parts) if len(names) > 1 else parts[names[0]]
