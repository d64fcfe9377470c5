"""The one-page report of an exported network, as Markdown and as an HTML page that works offline.

Both are written from the same parts, so that they cannot differ in what they say.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from rfprune.hls import Parity
from rfprune.quantities import RESOURCES

if TYPE_CHECKING:
    from rfprune.export.bundle import Exported

__all__ = ["Code", "Grid", "Heading", "Items", "Picture", "Text", "write_page", "write_report"]

PICTURE = "front.png"


@dataclass(frozen=True)
class Text:
    """A paragraph; ``**bold**`` and backticks as in Markdown."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of paragraphs."""

    rows: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A table; the first column is text, the others are right-aligned in HTML."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Code:
    """Lines to be typed."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A PNG file of the export."""

    name: str
    content: bytes


Part = Text | Heading | Items | Grid | Code | Picture


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


def write_page(folder: Path, title: str, parts: Sequence[Part]) -> None:
    """Write ``report.md``, ``report.html`` and the pictures of a page.

    Args:
        folder: of the export.
        title: of the page.
        parts: what stands on it.
    """
    for part in parts:
        if isinstance(part, Picture):
            (folder / part.name).write_bytes(part.content)
    text = "\n\n".join([f"# {title}", *map(_markdown, parts)])
    (folder / "report.md").write_text(text + "\n", encoding="utf-8")
    page = files("rfprune.export").joinpath("report.html").read_text(encoding="utf-8")
    page = page.replace("__TITLE__", html.escape(title))
    body = "\n".join(map(_html, parts))
    (folder / "report.html").write_text(page.replace("__BODY__", body), encoding="utf-8")


def _parts(exported: Exported, why: str, picture: bytes | None) -> Iterable[Part]:
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
        yield Picture(PICTURE, picture)
    yield from _resources(exported)
    yield from _layers(exported)
    yield Heading("C++ simulation")
    yield Text(_simulation(exported.parity))
    yield from _build(hardware.backend)


def _resources(exported: Exported) -> Iterable[Part]:
    found = exported.estimate
    use = found.utilization(exported.prepared.plan.part)
    rows = []
    for name in RESOURCES:
        share = use[name]
        amount = shown(getattr(found.total, name))
        rows.append([name, amount, "" if share is None else f"{share:.1%}"])
    latency = "" if found.latency_ns is None else f"{found.latency_ns:,.0f} ns"
    rows.append(["latency_cycles", shown(found.latency_cycles), latency])
    rows.append(["ii_cycles", shown(found.ii_cycles), ""])
    text = f"Estimated by `{found.source}`, which predicts {found.predicts}."
    fits = found.fits(exported.prepared.plan.part)
    yield Heading("Resources")
    yield Text(text if fits else f"{text} **By this estimate it does not fit the part.**")
    yield Grid(["quantity", "amount", "of the part"], rows)


def _layers(exported: Exported) -> Iterable[Part]:
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
    yield Text("As they stand in the C++ that hls4ml generated.")
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


def _build(backend: str) -> Iterable[Part]:
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
    yield Text("Check the files before the first build, and load the network in Python:")
    yield Code("sha256sum -c SHA256SUMS\npython -c \"import rfprune; print(rfprune.load('.'))\"")


def shown(value: float | None) -> str:
    """Return an amount as text, ``-`` where it is not known."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def _markdown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"## {text}"
        case Items(rows):
            return "\n".join(f"- {row}" for row in rows)
        case Grid(columns, rows):
            rule = ["---", *["---:"] * (len(columns) - 1)]
            return "\n".join(f"| {' | '.join(row)} |" for row in (columns, rule, *rows))
        case Code(text):
            return f"```\n{text}\n```"
        case Picture(name, _):
            return f"![front of the sweep, the chosen point marked]({name})"
        case Text(text):
            return text


def _html(part: Part) -> str:
    match part:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Items(rows):
            return f"<ul>{''.join(f'<li>{_inline(row)}</li>' for row in rows)}</ul>"
        case Grid(columns, rows):
            head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
            body = "".join(
                f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
                for row in rows
            )
            return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Picture(_, content):
            data = base64.b64encode(content).decode()
            return f'<img alt="front of the sweep" src="data:image/png;base64,{data}">'
        case Text(text):
            return f"<p>{_inline(text)}</p>"


def _inline(text: str) -> str:
    """Return Markdown's bold and code as HTML."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
