"""What the report of an export says of a network on an FPGA."""

from __future__ import annotations

from collections.abc import Sequence

from rfprune.core.markdown import amount, bullets, grid
from rfprune.core.quantities import RESOURCES
from rfprune.fpga.estimators import Estimate
from rfprune.fpga.estimators.estimate_table import KINDS
from rfprune.fpga.hls import LayerCode, Parity
from rfprune.fpga.layers import Plan
from rfprune.results import StepRecord
from rfprune.spec.hardware import layer_of
from rfprune.tasks import Task

__all__ = ["agreement_sentence", "project_report"]


def agreement_sentence(parity: Parity, task: Task) -> str:
    """Return how the C++ and torch agree, in one sentence."""
    return (
        f"C++ simulation: it {task.same_answer} torch in fixed point on {parity.agreement:.2%} of "
        f"{parity.rows} test rows; largest error of an output {parity.largest_error:g}; "
        f"{_beside_float(parity, task)}."
    )


def _beside_float(parity: Parity, task: Task) -> str:
    """Return how far the C++ is from torch in float: in answers where there are such, in scores."""
    text = f"{task.score} {parity.cpp_score:.4f}, of torch in float {parity.torch_score:.4f}"
    if task.has_confidence:
        text += f" (the same answer on {parity.float_agreement:.2%})"
    return text


def project_report(
    plan: Plan,
    found: Estimate,
    parity: Parity | None,
    code: Sequence[LayerCode],
    record: StepRecord,
    task: Task,
) -> str:
    """Return the sections on resources, layers, simulation and building, as Markdown.

    Args:
        plan: the network on its FPGA.
        found: its estimate.
        parity: the C++ simulation beside torch, or None.
        code: multipliers per layer, read from the generated C++.
        record: of the step.
        task: what the network is for.
    """
    sections = [
        "## Resources",
        *_resources(plan, found),
        "## Layers",
        "As they stand in the C++ that hls4ml generated. Not every multiplier takes a DSP: a "
        "product with a constant such as a power of two, or with few bits, is made of look-up "
        "tables.",
        _layers(code, record, parity),
        *([bullets(notes)] if (notes := plan.notes()) else []),
        "## C++ simulation",
        "Not run." if parity is None else _simulation(parity, task),
        "## How to build",
        f"With {'Vitis' if plan.hardware.backend == 'Vitis' else 'Vivado'} HLS and Vivado on the "
        "path (on Windows `build.bat`):",
        "```\n./build.sh          # csim csynth export synthesis\n"
        "./build.sh cosim    # simulates the RTL on the test vectors\n```",
        "Pruned memory columns vanish in logic synthesis (`synthesis`), not in the report of "
        "`csynth`.",
        "On a board: `axi/` holds the design as a kernel behind AXI, a block design for pynq-z2 "
        "and zcu102, and a script that links it for Alveo cards (`axi/README.md`).",
        "Check the files before the first build:",
        "```\nsha256sum -c SHA256SUMS\n```",
    ]
    return "\n\n".join(sections)


def _resources(plan: Plan, found: Estimate) -> list[str]:
    use = found.utilization(plan.part)
    rows = []
    for name in RESOURCES:
        share = use[name]
        part = "" if share is None else f"{share:.1%}"
        rows.append([name, amount(getattr(found.total, name)), part, _between(found, name)])
    latency = "" if found.latency_ns is None else f" ({found.latency_ns:,.0f} ns)"
    cycles = f"{amount(found.latency_cycles)}{latency}"
    rows.append(["latency_cycles", cycles, "", _between(found, "latency_cycles")])
    rows.append(["ii_cycles", amount(found.ii_cycles), "", _between(found, "ii_cycles")])
    text = f"Estimated by `{found.source}`, which predicts the result of {KINDS[found.predicts]}."
    if not found.fits(plan.part):
        text += " **By this estimate it does not fit the part.**"
    columns = ["quantity", "amount", "of the part", "90 % between"]
    if not found.intervals:
        return [text, grid(columns[:3], [row[:3] for row in rows])]
    return [text, grid(columns, rows)]


def _between(found: Estimate, name: str) -> str:
    pair = found.intervals.get(name)
    return "" if pair is None else f"{amount(pair[0])} to {amount(pair[1])}"


def _layers(code: Sequence[LayerCode], record: StepRecord, parity: Parity | None) -> str:
    errors = {layer.name: layer.largest_error for layer in parity.layers} if parity else {}

    def error_of(name: str) -> float | None:
        # Both weights of a recurrent layer are in one layer of the C++.
        return errors.get(name, errors.get(layer_of(name)))

    columns = ["layer", "strategy", "reuse factor", "multipliers", "of dense", "products"]
    rows = [
        [
            layer.name,
            layer.strategy,
            str(layer.reuse_factor),
            f"{layer.live_multipliers:,}",
            amount(record.groups.get(layer.name)),
            amount(layer.products),
            *([amount(error_of(layer.name))] if parity else []),
        ]
        for layer in code
    ]
    return grid([*columns, "C++ error"] if parity else columns, rows)


def _simulation(parity: Parity, task: Task) -> str:
    text = (
        f"The generated C++, compiled and run on {parity.rows} test rows, {task.same_answer} torch "
        f"in fixed point on **{parity.agreement:.2%}** of them. Largest error of an output: "
        f"{parity.largest_error:g} (one step of its type is {parity.step:g}). On these rows: "
        f"{_beside_float(parity, task)}."
    )
    if parity.begins is not None:
        text += f" **The C++ is off from layer `{parity.begins.name}` on.**"
    return text
