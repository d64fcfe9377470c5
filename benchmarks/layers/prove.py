"""Networks with one of four verdicts each; many of them share a compilation.

*proven*: the user's own module equals rfprune's graph in double precision, and the generated C++
(with backend alkaid: its graph of adders) equals that graph in the deployed types, bit for bit, on
corner vectors and random rows.
*refused*: an error before any training. *late*: an error, but only of hls4ml or of g++; `rfprune
check` shows it, too. *silent*: other numbers, which nobody would have been told of.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.layers.cases import PATHS, Case
from benchmarks.layers.together import compile_together, run_together
from rfprune.core.named import InputShape, Named, call
from rfprune.errors import InputError, WorkError
from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.hls import Array, Conversion, compiled, convert
from rfprune.fpga.layers import Plan, fold_batch_norm, plan, trace
from rfprune.fpga.layers.tracing import evaluating
from rfprune.fpga.proof.cpp import graph_and_cpp
from rfprune.fpga.proof.module import module_and_graph, tensors_of
from rfprune.fpga.proof.rows import ProofRows, kinds_of, proof_rows
from rfprune.fpga.unrolled.circuit import build_unrolled
from rfprune.fpga.unrolled.deployment import check_unrolled
from rfprune.fpga.unrolled.proof import flat_inputs, in_types
from rfprune.spec import HardwareSpec

__all__ = ["Design", "Verdict", "faults_of", "prove", "seeded"]

#: Designs in one compilation: more share the headers, but a fault costs more to find.
_TOGETHER = 24
_ROWS = 32


@dataclass(frozen=True)
class Design:
    """A network and its hardware.

    Attributes:
        name: in messages.
        model: the user's module.
        shape: of a sample; of several inputs by name.
        hardware: section of a sweep file.
        close: how far the C++ may be from the module in floats on small rows, relative to the
            largest output; None = the types are too narrow to tell.
    """

    name: str
    model: nn.Module
    shape: InputShape
    hardware: Mapping[str, Any]
    close: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of a network.

    Attributes:
        kind: proven, refused, late or silent.
        words: the error, or where the numbers differ; empty if it is proven.
    """

    kind: str
    words: str = ""


def prove(designs: Iterable[Design]) -> list[Verdict]:
    """Return the verdict on each design, in order."""
    given = list(designs)
    found: dict[int, Verdict] = {}
    built: list[tuple[int, _Built]] = []
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        for number, design in enumerate(given):
            made = _build(design, Path(scratch) / f"d{number}")
            if isinstance(made, Verdict):
                found[number] = made
            else:
                built.append((number, made))
        for some in _batches(built):
            verdicts = _simulate(Path(scratch), [each for _, each in some])
            found |= {number: v for (number, _), v in zip(some, verdicts, strict=True)}
    return [found[number] for number in range(len(given))]


@dataclass(frozen=True)
class _Built:
    """A written project, and the rows that it is run on."""

    design: Design
    conversion: Conversion
    folder: Path
    rows: ProofRows


def faults_of(cases: Sequence[Case], paths: Sequence[str] = PATHS) -> list[str]:
    """Return a sentence per case of the table that has another outcome than it should have."""
    designs, asked = [], []
    for case in cases:
        for path in paths:
            with seeded(0):
                model = case.make()
            name = f"{case.written} by {path}"
            designs.append(Design(name, model, case.shape, case.settings(path)))
            asked.append(case.outcome[path].partition(": "))
    faults = []
    for design, verdict, (kind, _, words) in zip(designs, prove(designs), asked, strict=True):
        # What is rewritten is proven, too.
        wanted = "refused" if kind == "refused" else "proven"
        if verdict.kind != wanted or words not in verdict.words:
            faults.append(f"{design.name}: {verdict.kind} ({verdict.words}), not {kind} {words}")
    return faults


def _batches(built: list[tuple[int, _Built]]) -> Iterator[list[tuple[int, _Built]]]:
    """Yield what is compiled together: the headers of each backend are others."""
    by_backend: dict[str, list[tuple[int, _Built]]] = {}
    for number, each in built:
        by_backend.setdefault(each.conversion.plan.hardware.backend, []).append((number, each))
    for same in by_backend.values():
        for start in range(0, len(same), _TOGETHER):
            yield same[start : start + _TOGETHER]


def _build(design: Design, folder: Path) -> Verdict | _Built:
    """Return the written project, or what stopped it."""
    hardware = HardwareSpec.model_validate(dict(design.hardware))
    try:
        planned = plan(trace(design.model, design.shape), hardware)
        if hardware.backend == "alkaid":
            return _unrolled(design, planned)
    except InputError as error:
        return Verdict("refused", str(error))
    try:
        conversion = convert(design.model, planned, folder)
        conversion.write()
    except WorkError as error:
        return Verdict("late", str(error))
    return _Built(
        design, conversion, folder, proof_rows(kinds_of(conversion.plan), None, _ROWS, False)
    )


def _unrolled(design: Design, planned: Plan) -> Verdict:
    """Return the verdict on a network as alkaid builds it; no compiler is needed."""
    check_unrolled(planned.hardware)
    graph = build_unrolled(design.model, planned)
    kinds = kinds_of(planned)
    rows = proof_rows(kinds, None, _ROWS, False)
    on_grid = rows.on_grid(kinds)
    folded = fold_batch_norm(design.model, planned.network)
    _, same = module_and_graph(design.model, folded, planned, on_grid, rows.corners, False)
    if not same.equal:
        return Verdict("silent", same.fault())
    found = graph.predict(flat_inputs(planned, on_grid))
    wanted = in_types(planned, design.model, rows.x)
    if not np.array_equal(found, wanted):
        return Verdict("silent", f"alkaid is off by up to {np.abs(found - wanted).max():g}")
    return Verdict("proven")


def _simulate(scratch: Path, built: Sequence[_Built]) -> list[Verdict]:
    """Compile and run projects together; those that cannot be, in halves."""
    names = [each.folder.name for each in built]
    try:
        library = compile_together(scratch, names)
        rows = [each.rows.x for each in built]
        outputs = run_together(library, names, [each.conversion for each in built], rows)
    except WorkError as error:
        if len(built) == 1:
            return [Verdict("late", str(error))]
        half = len(built) // 2
        return [*_simulate(scratch, built[:half]), *_simulate(scratch, built[half:])]
    return [_judge(each, found) for each, found in zip(built, outputs, strict=True)]


def _judge(built: _Built, cpp: list[Array]) -> Verdict:
    """Compare module, graph and C++."""
    design, conversion, rows = built.design, built.conversion, built.rows
    kinds = kinds_of(conversion.plan)
    _, same = module_and_graph(
        *(design.model, conversion.network, conversion.plan, rows.on_grid(kinds), rows.corners),
        False,
    )
    if not same.equal:
        return Verdict("silent", same.fault())
    with torch.no_grad():
        graph = tensors_of(call(deployed(design.model, conversion.plan), rows.x))
    pairs = list(zip(cpp, (_flat(part) for part in graph), strict=True))
    if not all(np.array_equal(ours, theirs) for ours, theirs in pairs):
        # Layer by layer: an entry of a table may end on its next step.
        with compiled(conversion, built.folder) as simulation:
            bits = graph_and_cpp(simulation, rows)
        if not bits.equal:
            return Verdict("silent", bits.fault())
    return Verdict("silent", far) if (far := _far(built, cpp)) else Verdict("proven")


def _flat(part: torch.Tensor) -> Array:
    return part.double().reshape(len(part), -1).numpy()


def _far(built: _Built, cpp: list[Array]) -> str:
    """Return how far the C++ is from the module in floats, if it is too far on ordinary rows."""
    if built.design.close is None:
        return ""
    x = built.rows.x
    parts = x.parts if isinstance(x, Named) else {"": x}
    near = torch.stack([part.abs().flatten(1).amax(1) < 8 for part in parts.values()]).all(0)
    near[: built.rows.corners] = False
    chosen = {name: part[near].float() for name, part in parts.items()}
    with evaluating(built.design.model), torch.no_grad():
        module = call(built.design.model, Named(chosen) if isinstance(x, Named) else chosen[""])
    for ours, theirs in zip(cpp, map(_flat, tensors_of(module)), strict=True):
        off = np.abs(ours[near.numpy()] - theirs)
        scale = max(1.0, float(np.abs(theirs).max(initial=0)))
        # A threshold may jump where the types round: few numbers may be far off.
        share = float((off > built.design.close * scale).mean()) if off.size else 0.0
        if share > 0.1:
            return f"the C++ is far from the module: {share:.0%} of its outputs, by {off.max():g}"
    return ""


@contextlib.contextmanager
def seeded(seed: int) -> Any:
    """While open, torch draws from a seed; afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
