"""An hls4ml project beside the network that it should be: numbers, counts and files."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfprune.core.digests import digest_of_file, sha256_of_parts
from rfprune.fpga.cpp_compiler import compiler, version_of
from rfprune.fpga.hls import (
    PROJECT_NAME,
    Conversion,
    Simulation,
    read_project,
    side_by_side,
)
from rfprune.fpga.layers import LayerPlan
from rfprune.fpga.proof.rows import ProofRows
from rfprune.trial.proof import Comparison, PathFacts, Proof

__all__ = ["compare_files", "count_layers", "cpp_path", "graph_and_cpp", "sources"]


def sources(project: Path) -> list[Path]:
    """Return the files of a project that decide what is built, in order."""
    found = [path for path in (project / "firmware").rglob("*") if path.is_file()]
    found += project.glob(f"{PROJECT_NAME}_bridge.cpp")
    # The types are the vendor's own; weights as text are for its simulation alone.
    return sorted(path for path in found if "ap_types" not in path.parts)


def cpp_path(project: Path) -> PathFacts:
    """Return the path of the C++ in a project."""
    parts: list[str | bytes] = []
    for path in sources(project):
        parts += [path.relative_to(project).as_posix(), path.read_bytes()]
    extra = {"made_by": f"hls4ml {version('hls4ml')}"}
    return PathFacts("cpp", "g++", version_of(compiler()), sha256_of_parts(parts), extra)


def graph_and_cpp(simulation: Simulation, rows: ProofRows) -> Comparison:
    """Compare rfprune's graph in the layers' types with the compiled C++, bit for bit.

    Raises:
        SimulationError: it does not run.
    """
    found = side_by_side(simulation, rows.x)
    begins = found.begins
    where = ""
    if begins is not None:
        where = f"layer '{begins.name}', off by up to {begins.largest_error:g} on equal inputs"
    # What comes out of a table may end on its next step, and everything after it moves along.
    tables = any(layer.exact > 0 and layer.largest_error > 0 for layer in found.layers)
    error = found.largest_error
    hardware = simulation.conversion.plan.hardware
    return Comparison(
        *("graph", "cpp", len(rows.x), rows.corners, hardware.precision, error),
        tolerance=error if tables and begins is None else 0.0,
        begins=where,
        exhaustive=rows.exhaustive,
        holds=begins is None,
    )


def compare_files(written: Path, project: Path, proof: Proof) -> None:
    """Compare a project with what hls4ml has just written for the same network, file by file.

    Args:
        written: the folder that hls4ml has just written.
        project: the exported one.
        proof: gets a fault for every file that differs.
    """
    ours = {path.relative_to(written).as_posix(): path for path in sources(written)}
    theirs = {path.relative_to(project).as_posix(): path for path in sources(project)}
    for name in sorted(ours.keys() | theirs.keys()):
        place = f"{project.name}/{name}"
        if name not in theirs:
            proof.faults.append(f"{place}: is missing.")
        elif name not in ours:
            proof.faults.append(f"{place}: hls4ml writes no such file for this network.")
        elif digest_of_file(ours[name]) != digest_of_file(theirs[name]):
            line = _first_difference(ours[name], theirs[name])
            proof.faults.append(
                f"{place}: is not what hls4ml {version('hls4ml')} writes for this network{line}."
            )


def _first_difference(ours: Path, theirs: Path) -> str:
    pairs = zip(*(path.read_bytes().splitlines() for path in (ours, theirs)), strict=False)
    for number, (a, b) in enumerate(pairs, start=1):
        if a != b:
            # A line of weights holds all of them.
            numbers = zip(a.split(b","), b.split(b","), strict=False)
            index = next((i for i, (u, v) in enumerate(numbers) if u != v), 0)
            several = f", number {index} of it" if a.count(b",") > 1 else ""
            return f" (line {number}{several})"
    return " (one of them ends earlier)"


def count_layers(
    conversion: Conversion, project: Path, masks: dict[str, Tensor], proof: Proof
) -> None:
    """Count multipliers in the C++, and compare them with those that masks and weights leave.

    Args:
        conversion: the network.
        project: the exported project.
        masks: what stayed, in torch's shape, by layer.
        proof: gets the counts, and a fault for every layer that differs.
    """
    code = {layer.name: layer for layer in read_project(project)}
    counted: dict[str, Any] = {}
    for layer in conversion.plan.layers:
        built = code.get(layer.layer.operation) or code.get(layer.name)
        if built is None:
            proof.faults.append(f"{project.name}/firmware/parameters.h: has no layer {layer.name}.")
            continue
        weight = layer.layer.weight_of(conversion.network).detach()
        kept = masks.get(layer.name, torch.ones_like(weight)) != 0
        if kept.shape != weight.shape:
            proof.faults.append(f"masks.npz: that of {layer.name} has another shape.")
            continue
        outside = int(((weight != 0) & ~kept).sum())
        if outside:
            proof.faults.append(f"masks.npz: {outside} weights of {layer.name} are outside of it.")
        by_mask, by_weight = (_live(layer, part) for part in (kept, weight != 0))
        counted[layer.name] = {
            "multipliers": built.live_multipliers,
            "by_mask": by_mask,
            "by_weight": by_weight,
            "products": built.products,
            "weights": int((weight != 0).sum()),
            "strategy": built.strategy,
            "reuse_factor": built.reuse_factor,
        }
        if built.products is None:
            continue
        place = f"{project.name}/firmware/nnet_utils/nnet_code_gen.h: {layer.name}"
        if built.products != int((weight != 0).sum()):
            proof.faults.append(
                f"{place} has {built.products} products, the network "
                f"{int((weight != 0).sum())} weights."
            )
        if built.live_multipliers != by_weight:
            proof.faults.append(
                f"{place} has {built.live_multipliers} multipliers, the weights leave {by_weight}."
            )
        if by_mask != by_weight:
            proof.faults.append(
                f"masks.npz: that of {layer.name} leaves {by_mask} multipliers, its weights "
                f"{by_weight}."
            )
    proof.counted["cpp"] = counted


def _live(layer: LayerPlan, kept: Tensor) -> int:
    """Return the multipliers that serve a weight: runs of RF weights in the order of the C++."""
    flat = kept.numpy().reshape(-1)[layer.order]
    padded = np.zeros(-(-len(flat) // layer.reuse_factor) * layer.reuse_factor, dtype=bool)
    padded[: len(flat)] = flat
    return int(padded.reshape(-1, layer.reuse_factor).any(axis=1).sum())
