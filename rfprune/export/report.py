"""The one-page report of an exported network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfprune.quantities import RESOURCES
from rfprune.trial import Prepared

if TYPE_CHECKING:
    from rfprune.export.bundle import Exported

__all__ = ["report_text"]


def report_text(exported: Exported, prepared: Prepared, why: str) -> str:
    """Return the report as Markdown."""
    record, hardware = exported.record, prepared.spec.hardware
    lines = [
        f"# {prepared.spec.model.name} on {prepared.plan.part.name}",
        "",
        f"Step {record.step} of a pruning run. {why}".strip(),
        "",
        f"- test accuracy **{record.accuracy:.4f}** (validation {record.val_accuracy:.4f})",
        f"- {record.sparsity:.1%} of the weights are zero",
        f"- clock {hardware.clock_ns:g} ns, {hardware.backend}, {hardware.io_type}, "
        f"{hardware.precision}",
        "",
        *_resources(exported, prepared),
        "",
        *_layers(exported),
        "",
        *_parity(exported),
        "",
        *_build(hardware.backend),
    ]
    return "\n".join(lines) + "\n"


def _resources(exported: Exported, prepared: Prepared) -> list[str]:
    found = exported.estimate
    use = found.utilization(prepared.plan.part)
    rows = ["## Resources", "", f"Estimated by `{found.source}` ({found.predicts}):", ""]
    rows += ["| resource | used | of the part |", "|---|---|---|"]
    for name in RESOURCES:
        share = use[name]
        part = "" if share is None else f"{share:.1%}"
        rows.append(f"| {name} | {_shown(getattr(found.total, name))} | {part} |")
    latency = _shown(found.latency_cycles)
    ns = "" if found.latency_ns is None else f"{found.latency_ns:g} ns"
    rows.append(f"| latency_cycles | {latency} | {ns} |")
    rows.append(f"| ii_cycles | {_shown(found.ii_cycles)} | |")
    return rows


def _layers(exported: Exported) -> list[str]:
    record = exported.record
    rows = ["## Layers, as hls4ml generates them", ""]
    rows += ["| layer | strategy | reuse factor | multipliers | of dense | product lines |"]
    rows += ["|---|---|---|---|---|---|"]
    for layer in exported.code:
        rows.append(
            f"| {layer.name} | {layer.strategy} | {layer.reuse_factor} | {layer.live_multipliers} "
            f"| {record.groups.get(layer.name, '')} | {_shown(layer.products)} |"
        )
    return rows


def _parity(exported: Exported) -> list[str]:
    parity = exported.parity
    if parity is None:
        return ["## C++ simulation", "", "Not run."]
    return [
        "## C++ simulation",
        "",
        f"On {parity.rows} test rows the generated C++ names the same class as torch in fixed "
        f"point on {parity.agreement:.2%} of the rows, and as torch in float on "
        f"{parity.float_agreement:.2%}; largest error of a logit {parity.largest_error:g} "
        f"(one step is {parity.step:g}). Accuracy there: C++ {parity.cpp_accuracy:.4f}, "
        f"torch {parity.torch_accuracy:.4f}.",
    ]


def _build(backend: str) -> list[str]:
    tool = "vitis_hls" if backend == "Vitis" else "vivado_hls"
    return [
        "## How to build",
        "",
        "```",
        "cd hls",
        f'{tool} -f build_prj.tcl "reset=1 synth=1 vsynth=1 export=1"',
        "```",
        "",
        "Pruned memory columns vanish in logic synthesis (vsynth=1), not in the HLS report.",
        "",
        "In Python: `import rfprune; model = rfprune.load('.')`.",
    ]


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"
