"""The one-page report of a network that was exported for an FPGA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rfprune.estimate.table import KINDS
from rfprune.export.page import Code, Grid, Heading, Items, Part, Picture, Text, shown, write_page
from rfprune.hls import Parity
from rfprune.quantities import RESOURCES

if TYPE_CHECKING:
    from rfprune.export.bundle import Exported
    from rfprune.models import ModelSpec

__all__ = ["write_report"]


def write_report(folder: Path, exported: Exported, why: str, picture: bytes | None) -> None:
    """Write ``report.md``, ``report.html`` and, if there is one, the picture of the front.

    Args:
        folder: of the export.
        exported: what it holds.
        why: how the point was chosen.
        picture: PNG of the front.
    """
    title = f"{exported.prepared.spec.model.name} on {exported.prepared.plan.part.name}"
    write_page(folder, title, list(_parts(exported, why, picture)))


def _parts(exported: Exported, why: str, picture: bytes | None) -> Iterator[Part]:
    record, hardware = exported.record, exported.prepared.spec.hardware
    if why:
        yield Text(f"Chosen: {why}")
    yield Items(
        [
            f"test accuracy **{record.accuracy:.4f}**, validation {record.val_accuracy:.4f}",
            f"{record.sparsity:.1%} of the weights are zero (pruning step {record.step})",
            f"clock {hardware.clock_ns:g} ns, {hardware.backend}, {hardware.io_type}, "
            f"`{hardware.precision}`, part `{exported.prepared.plan.part.name}`",
        ]
    )
    if picture is not None:
        yield Picture(picture)
    yield from _resources(exported)
    yield from _layers(exported)
    yield Heading("C++ simulation")
    yield Text(_simulation(exported.parity))
    yield from _build(hardware.backend)
    yield from _load(exported.prepared.spec.model)


def _resources(exported: Exported) -> Iterator[Part]:
    found = exported.estimate
    use = found.utilization(exported.prepared.plan.part)
    rows = []
    for name in RESOURCES:
        share = use[name]
        amount = shown(getattr(found.total, name))
        rows.append([name, amount, "" if share is None else f"{share:.1%}"])
    latency = "" if found.latency_ns is None else f" ({found.latency_ns:,.0f} ns)"
    rows.append(["latency_cycles", f"{shown(found.latency_cycles)}{latency}", ""])
    rows.append(["ii_cycles", shown(found.ii_cycles), ""])
    text = f"Estimated by `{found.source}`, which predicts the result of {KINDS[found.predicts]}."
    fits = found.fits(exported.prepared.plan.part)
    yield Heading("Resources")
    yield Text(text if fits else f"{text} **By this estimate it does not fit the part.**")
    yield Grid(["quantity", "amount", "of the part"], rows)


def _layers(exported: Exported) -> Iterator[Part]:
    parity = exported.parity
    errors = {layer.name: layer.largest_error for layer in parity.layers} if parity else {}
    columns = ["layer", "strategy", "reuse factor", "multipliers", "of dense", "products"]
    rows = [
        [
            layer.name,
            layer.strategy,
            str(layer.reuse_factor),
            f"{layer.live_multipliers:,}",
            shown(exported.record.groups.get(layer.name)),
            shown(layer.products),
            *([shown(errors.get(layer.name))] if parity else []),
        ]
        for layer in exported.code
    ]
    yield Heading("Layers")
    yield Text(
        "As they stand in the C++ that hls4ml generated. Not every multiplier takes a DSP: a "
        "product with a constant such as a power of two, or with few bits, is made of look-up "
        "tables."
    )
    yield Grid([*columns, "C++ error"] if parity else columns, rows)
    if notes := exported.prepared.plan.notes():
        yield Items(notes)


def _simulation(parity: Parity | None) -> str:
    if parity is None:
        return "Not run."
    text = (
        f"The generated C++, compiled and run on {parity.rows} test rows, names the same class as "
        f"torch in fixed point on **{parity.agreement:.2%}** of them, and as torch in float on "
        f"{parity.float_agreement:.2%}. Largest error of a logit: {parity.largest_error:g} (one "
        f"step of its type is {parity.step:g}). Accuracy on these rows: C++ "
        f"{parity.cpp_accuracy:.4f}, torch {parity.torch_accuracy:.4f}."
    )
    if parity.begins is not None:
        text += f" **The C++ is off from layer `{parity.begins.name}` on.**"
    return text


def _build(backend: str) -> Iterator[Part]:
    tool = {"Vitis": "Vitis HLS", "Vivado": "Vivado HLS"}[backend]
    yield Heading("How to build")
    yield Text(f"With {tool} and Vivado on the path (on Windows `build.bat`):")
    yield Code(
        "./build.sh          # csim csynth export synthesis\n"
        "./build.sh cosim    # simulates the RTL on the test vectors"
    )
    yield Text(
        "Pruned memory columns vanish in logic synthesis (`synthesis`), not in the report of "
        "`csynth`."
    )
    yield Text("Check the files before the first build:")
    yield Code("sha256sum -c SHA256SUMS")


def _load(model: ModelSpec) -> Iterator[Part]:
    yield Heading("In Python")
    if not model.is_function:
        yield Code("import rfprune\n\nmodel = rfprune.load('.')")
        return
    module = model.name.partition(":")[0]
    yield Text(f"The network is built by `{model.name}`: `{module}` has to be importable.")
    yield Code("import rfprune\n\nmodel = rfprune.load('.', run_code=True)")
