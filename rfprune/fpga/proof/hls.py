"""What is proven of an exported hls4ml project, and the same once more from its folder."""

from __future__ import annotations

import contextlib
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rfprune.core.named import Named, call
from rfprune.data import Scaling
from rfprune.errors import MissingExtraError, RfpruneError
from rfprune.fpga.estimators import Estimate, estimate
from rfprune.fpga.estimators.network import design_of
from rfprune.fpga.hls import Conversion, Simulation, compiled, convert, outputs_of_cpp
from rfprune.fpga.layers import Plan
from rfprune.fpga.proof.cpp import compare_files, count_layers, cpp_path, graph_and_cpp
from rfprune.fpga.proof.module import module_and_graph, tensors_of
from rfprune.fpga.proof.rows import kinds_of, proof_rows
from rfprune.fpga.proof.vectors import (
    check_estimate,
    check_scaling,
    check_vectors,
    known_rows,
    made_by,
    read_masks,
    read_vectors,
)
from rfprune.trial.proof import Asked, Proof, torch_path

__all__ = ["prove_again", "prove_paths"]


def prove_paths(
    conversion: Conversion,
    model: nn.Module,
    known: Any,
    asked: Asked,
    simulation: Simulation | None,
) -> Proof:
    """Compare module, graph and C++ of a converted network.

    Args:
        conversion: the network.
        model: the user's own module.
        known: rows of the test vectors, or None.
        asked: how many rows.
        simulation: the compiled C++; None = leave it out.
    """
    proof, kinds = Proof(), kinds_of(conversion.plan)
    rows = proof_rows(kinds, known, asked.rows, asked.exhaustive)
    graph, same = module_and_graph(
        *(model, conversion.network, conversion.plan, rows.on_grid(kinds), rows.corners),
        rows.exhaustive,
    )
    proof.paths += [torch_path(model), graph]
    proof.compared.append(same)
    if simulation is not None:
        proof.paths.append(cpp_path(simulation.project))
        proof.compared.append(graph_and_cpp(simulation, rows))
    return proof


def prove_again(
    folder: Path, plan: Plan, model: nn.Module, scaling: Scaling, by: str, asked: Asked
) -> Proof:
    """Build the C++ of an exported folder again, and compare everything in it.

    Args:
        folder: of the export.
        plan: of its network.
        model: its network.
        scaling: of its rows.
        by: name of its estimator.
        asked: how many rows.
    """
    project, found = folder / "hls", Proof()
    asked.say("converting the network again")
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch, contextlib.ExitStack() as stack:
        conversion = convert(model, plan, Path(scratch) / "hls")
        written = conversion.write()
        kinds, vectors = kinds_of(conversion.plan), read_vectors(folder)
        files = Proof()
        _compare_with_written(written, project, folder, files)
        simulation = None
        asked.say("compiling the C++")
        try:
            simulation = stack.enter_context(compiled(conversion, project))
        except MissingExtraError as error:
            files.notes.append(f"cpp was not compared: {error}")
        except RfpruneError as error:
            files.faults.append(f"hls: {error}")
        asked.say("running the C++")
        known = known_rows(vectors, kinds)
        try:
            found = prove_paths(conversion, model, known, asked, simulation)
            again = _again(simulation, model, vectors, scaling, known)
        except RfpruneError as error:
            # What cannot run is found, and what it hides is looked for without it.
            files.faults.append(f"hls: {error}")
            found, again = prove_paths(conversion, model, known, asked, None), {}
        found.faults += files.faults
        found.notes += files.notes
        count_layers(conversion, project, read_masks(folder), found)
        check_vectors(vectors, scaling, kinds, again, found)
        check_scaling(folder, scaling, found)
        _count(folder, plan, conversion, by, project, found)
    return found


def _compare_with_written(written: Path, project: Path, folder: Path, proof: Proof) -> None:
    """Compare the exported files with new ones, if the same hls4ml wrote them."""
    wrote, here = made_by(folder, "cpp"), f"hls4ml {version('hls4ml')}"
    if wrote not in (None, here):
        proof.notes.append(
            f"{wrote} wrote the C++, and {here} is installed: its files were not compared one by "
            "one."
        )
        return
    compare_files(written, project, proof)


def _again(
    simulation: Simulation | None,
    model: nn.Module,
    vectors: dict[str, Any],
    scaling: Scaling,
    known: Any,
) -> dict[str, tuple[Any, Any]]:
    """Return what torch in float and the C++ compute for the rows of the test vectors."""
    if known is None:
        return {}
    # Torch in float reads what lies between the grids of the inputs, too.
    names = list(known.parts) if isinstance(known, Named) else [""]
    raw = {name: torch.from_numpy(vectors[f"x_{name}" if name else "x"]) for name in names}
    rows = scaling.scaled(Named(raw) if isinstance(known, Named) else raw[""])
    with torch.no_grad():
        in_float = [part.double().numpy() for part in tensors_of(call(model, rows))]
    names = [name.removesuffix("_fixed") for name in vectors if name.endswith("_fixed")]
    built: list[Any] = [None] * len(names)
    if simulation is not None:
        built = outputs_of_cpp(simulation, known)
    if len(names) != len(in_float):
        return {}
    return dict(zip(names, zip(in_float, built, strict=True), strict=True))


def _count(
    folder: Path, plan: Plan, conversion: Conversion, by: str, project: Path, proof: Proof
) -> None:
    """Estimate the network again, and compare the figures."""
    try:
        found: Estimate = estimate(design_of(plan, conversion.network), by, project)
    except MissingExtraError as error:
        proof.notes.append(f"the estimate was not made again: {error}")
        return
    resources = {name: getattr(found.total, name) for name in found.total._fields}
    cycles = {"latency_cycles": found.latency_cycles, "ii_cycles": found.ii_cycles}
    check_estimate(folder, {**resources, **cycles}, proof)
    proof.counted["estimate"] = {"source": found.source, **resources, **cycles}
    total = np.array([layer["products"] or 0 for layer in proof.counted["cpp"].values()])
    proof.counted["products"] = int(total.sum())
