"""What an export for an FPGA holds besides the network: the HLS project, and proof of it.

::

    DIR/
        parity.json         the C++ simulation beside torch, as a whole and by layer
        hls/                the hls4ml project, ready for Vitis HLS or Vivado HLS
        build.sh build.bat  build it, step by step
        axi/                the design as a kernel for pynq-z2, zcu102 and Alveo cards
        emulator/           the same integers without hls4ml and torch: `rfprune.fpga.emulator`
        test_vectors.npz    inputs, targets and outputs of the rows that were compared
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from rfprune.core.files import write_json
from rfprune.core.named import Named
from rfprune.errors import NetworkError, RunsError, SimulationError
from rfprune.fpga.axi import write_axi
from rfprune.fpga.build import write_scripts
from rfprune.fpga.emulator import write_cpp_emulator
from rfprune.fpga.estimators import estimate
from rfprune.fpga.estimators.network import design_of
from rfprune.fpga.hls import (
    Conversion,
    Parity,
    Simulation,
    by_name,
    compare,
    compiled,
    convert,
    read_project,
)
from rfprune.fpga.layers import Plan
from rfprune.fpga.proof.cpp import count_layers
from rfprune.fpga.proof.hls import prove_paths
from rfprune.fpga.rehearsal import check_called
from rfprune.fpga.report import agreement_sentence, project_report
from rfprune.fpga.vectors import write_vectors
from rfprune.hardware.precision import FixedType
from rfprune.tasks import Task
from rfprune.training import outputs_of
from rfprune.trial.proof import Asked, Proof
from rfprune.trial.target import Bundle, ExportedParts

__all__ = ["export_project"]

#: Rows that are simulated: a convolution takes about 0.1 s a row, a dense network some ms.
_ROWS_DENSE, _ROWS_CONV = 1000, 100
#: How much worse, relative to torch in float, the score may be with the scaling in the weights.
_FOLDED_TOLERANCE = 0.02


def export_project(plan: Plan, by: str, bundle: Bundle) -> ExportedParts:
    """Convert the network of a bundle, simulate it, and write all that building it takes.

    Args:
        plan: the network on its FPGA.
        by: name of the estimator.
        bundle: the export.

    Raises:
        SimulationError: the C++ simulation disagrees with torch, and `force` is not set.
    """
    folder, model, task = bundle.folder, bundle.final, bundle.prepared.task
    bundle.say("converting with hls4ml")
    # Converted anew from the checkpoint, never copied from the trial: what is exported is what was
    # proven.
    conversion = convert(model, plan, folder / "hls")
    code = read_project(conversion.write())
    found = estimate(design_of(plan, conversion.network), by, folder / "hls")
    parity, proof = _simulated(bundle, conversion)
    if parity is not None:
        write_json(folder / "parity.json", asdict(parity))
    write_scripts(folder, plan.hardware.backend)
    write_axi(folder, conversion)
    # hls4ml notes the folder that it wrote to, which is not where the export will be.
    settings = folder / "hls" / "hls4ml_config.yml"
    settings.write_text(re.sub(r"(?m)^OutputDir: .*$", "OutputDir: .", settings.read_text()))
    masks = _checked_masks(plan, bundle)
    count_layers(conversion, folder / "hls", masks, proof)
    facts = [] if parity is None else [agreement_sentence(parity, task)]
    live = ", ".join(f"{layer.name} {layer.live_multipliers}" for layer in code)
    hardware = plan.hardware
    return ExportedParts(
        facts=[*facts, f"Multipliers in the generated C++: {live}."],
        summary=[
            f"{bundle.record.values['sparsity']:.1%} of the weights are zero (pruning step "
            f"{bundle.record.step})",
            f"clock {hardware.clock_ns:g} ns, {hardware.backend}, {hardware.io_type}, "
            f"`{hardware.precision}`, part `{plan.part.name}`",
        ],
        report=project_report(plan, found, parity, code, bundle.record, task),
        masks=masks,
        saved={"masks": masks},
        estimate=found.to_json(plan.part),
        proof=proof,
    )


def _simulated(bundle: Bundle, conversion: Conversion) -> tuple[Parity | None, Proof]:
    """Compare the C++ with torch on test rows, then every path on these, corners and others."""
    rows = bundle.rows
    if rows is None:
        rows = _ROWS_CONV if conversion.convolves else _ROWS_DENSE
    if rows == 0:
        return None, prove_paths(conversion, bundle.final, None, Asked(), None)
    n_rows = min(rows, len(bundle.prepared.data.x_test))
    bundle.say(f"compiling the C++ simulation and running {n_rows} test rows")
    with compiled(conversion) as simulation:
        parity, x = _compare(bundle, simulation, rows)
        bundle.say("comparing the C++ with the network on corner vectors")
        proof = prove_paths(conversion, bundle.final, x, Asked(), simulation)
    wrong = proof.all_faults()
    if wrong and not bundle.force:
        raise SimulationError(f"{wrong[0]} --force exports it anyway.")
    return parity, proof


def _compare(bundle: Bundle, simulation: Simulation, rows: int) -> tuple[Parity, Any]:
    """Return how C++ and torch agree on test rows, and these as the C++ reads them."""
    conversion, data, task = simulation.conversion, bundle.prepared.data, bundle.prepared.task
    raw = data.scaling.raw(data.x_test[:rows])
    # Scaled again, so that whoever scales the rows of the test vectors gets these very numbers.
    x = data.scaling.scaled(raw)
    _check_called(bundle, conversion, x)
    weight = None if data.w_test is None else data.w_test[:rows]
    parity, compared = compare(conversion, x, data.y_test[:rows], task, weight, simulation)
    if not parity.holds and not bundle.force:
        raise SimulationError(_disagreement(parity, task))
    if bundle.folded and not bundle.force:
        floated = task.measure(outputs_of(bundle.final, x, task), data.y_test[:rows], weight)
        _check_folded(bundle, conversion, parity, raw, floated[task.score])
    in_float = by_name(outputs_of(bundle.final, x), task)
    write_vectors(bundle.folder, conversion, compared, raw, in_float, f"{task.output_name}s")
    x = compared.x
    parts = list(x.parts.values()) if isinstance(x, Named) else [x]
    rows_of = [part.double().numpy() for part in parts]
    write_cpp_emulator(bundle.folder, conversion, rows_of, [*compared.cpp.values()])
    return parity, x


def _check_called(bundle: Bundle, conversion: Conversion, x: Any) -> None:
    """Compare the user's own module, called as he calls it, with what was converted."""
    try:
        check_called(bundle.final, conversion.plan, x, conversion.network)
    except NetworkError as error:
        if not bundle.force:
            raise SimulationError(f"{error} --force exports it anyway.") from error


def _check_folded(
    bundle: Bundle, conversion: Conversion, parity: Parity, raw: Any, in_float: float
) -> None:
    """Refuse a design whose types cannot hold raw rows, or weights that took in their scaling.

    Raises:
        SimulationError: its score is worse than that of torch in float on the same rows.
    """
    task = bundle.prepared.task
    if task.accepts(parity.cpp_score, task.bound(in_float, _FOLDED_TOLERANCE, None)):
        return
    kind = FixedType.parse(conversion.plan.hardware.precision)
    parts = raw.parts.values() if isinstance(raw, Named) else [raw]
    largest = max(float(part.abs().max()) for part in parts)
    raise SimulationError(
        f"--fold-scaling: with the scaling in the weights of {', '.join(bundle.folded)} the C++ "
        f"has {task.score} {parity.cpp_score:.4f} on {parity.rows} test rows, torch in float "
        f"{in_float:.4f}: raw values reach {largest:.6g}, and "
        f"{conversion.plan.hardware.precision} holds {kind.min:g} to {kind.max:g} in steps of "
        f"{kind.step:g}. Wider types in hardware.precision may help; or export without the option; "
        "--force exports it anyway."
    )


def _disagreement(parity: Parity, task: Task) -> str:
    """Return what is wrong, where it begins, and what may help."""
    text = (
        f"the C++ simulation {task.same_answer} torch on only {parity.agreement:.2%} of "
        f"{parity.rows} test rows (largest error of an output {parity.largest_error:g}). "
    )
    layer = parity.begins
    if layer is None:
        text += "Each layer alone computes what torch does; wider types in hardware.precision may"
        text += " help; "
    else:
        text += (
            f"The difference begins in layer '{layer.name}', off by up to {layer.largest_error:g} "
            f"on equal inputs (allowed: {layer.tolerance:g}); "
        )
    return text + "--force exports it anyway."


def _checked_masks(plan: Plan, bundle: Bundle) -> dict[str, Tensor]:
    """Return the masks of every layer, all True where nothing was pruned.

    Raises:
        RunsError: a weight that a mask prunes is not zero.
    """
    found = {}
    for layer in plan.layers:
        weight = layer.layer.weight_of(bundle.final).detach()
        mask = bundle.masks.get(layer.name, torch.ones_like(weight)).bool()
        # The masks are those that were saved; weights that contradict them were changed afterwards.
        if bool((weight[~mask] != 0).any()):
            raise RunsError(
                f"{bundle.trial}: step {bundle.record.step}: {layer.name} has weights where its "
                "mask has none; the checkpoint is damaged."
            )
        found[layer.name] = mask
    return found
