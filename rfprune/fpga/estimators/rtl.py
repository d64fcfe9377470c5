"""RTL that open tools measure: which files, which module, for which part and clock.

RTL comes from graphs of adders (alkaid, da4ml), or from a vendor's HLS, whose output folder is
``syn/verilog`` with a report of C synthesis beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rfprune.core.quantities import Resources
from rfprune.errors import ReportError
from rfprune.fpga.estimators.reports import Report, all_reports
from rfprune.fpga.estimators.result import Estimate
from rfprune.hardware.parts import Part, find_part

__all__ = ["Rtl", "find_hls_output", "needed_files"]

#: Files that hold the contents of memories.
_MEMORY = re.compile(r'(\$readmem[hb]\s*\(\s*)"([^"]+)"')
_MODULE = re.compile(r"^\s*module\s+(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Rtl:
    """A module in Verilog.

    Attributes:
        folder: of its files, and of what they instantiate.
        top: name of the module.
        part: what it was written for.
        clock_ns: clock period that it was written for.
        writer: the tool that wrote it.
        adders: it is a graph of adders, which has no multipliers and memories.
        latency_cycles, ii_cycles: as its writer states them, None where nobody does.
        notes: what a reader must know, one sentence each.
    """

    folder: Path
    top: str
    part: Part
    clock_ns: float
    writer: str
    adders: bool = False
    latency_cycles: int | None = None
    ii_cycles: int | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """What a tool reads, by name: the modules of the design, contents of its memories.

        Raises:
            ReportError: the folder lacks the module, or a memory's contents.
        """
        found: dict[str, bytes] = {}
        for name in needed_files(self.folder, self.top):
            path = self.folder / name
            text = path.read_text(encoding="utf-8", errors="replace")
            for _, named in _MEMORY.findall(text):
                memory = self.folder / Path(named).name
                if not memory.is_file():
                    raise ReportError(f"{path}: reads {named}, which is not beside it.")
                found[memory.name] = memory.read_bytes()
            # All files lie in one folder where the tool runs.
            text = _MEMORY.sub(lambda each: f'{each[1]}"{Path(each[2]).name}"', text)
            found[path.name] = text.encode()
        return found

    def measured(
        self, source: str, total: Resources, tool: str, notes: tuple[str, ...], **more: Any
    ) -> Estimate:
        """Return what a tool counted, with what is known of the module beside it.

        Args:
            source: name of the estimator.
            total: what it counted.
            tool: with its version, as a clause before what wrote the module.
            notes: beside those of the module.
            more: other fields of `Estimate`.
        """
        return Estimate(
            source=source,
            predicts="synthesis",
            total=total,
            latency_cycles=self.latency_cycles,
            ii_cycles=self.ii_cycles,
            clock_ns=self.clock_ns,
            tool=f"{tool}, Verilog of {self.writer}",
            synthesis=total,
            notes=(*self.notes, *notes),
            **more,
        )


def needed_files(sources: Path, top: str) -> list[str]:
    """Return the files that define `top` and what it instantiates, relative to the folder.

    da4ml ships a library of modules beside the network; synthesising all of it takes seconds.

    Raises:
        ReportError: no file defines `top`.
    """
    texts = {
        path: path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(sources.rglob("*.v"))
    }
    homes = {name: path for path, text in texts.items() for name in _MODULE.findall(text)}
    if top not in homes:
        raise ReportError(f"{sources}: holds no {top}.v.")
    wanted, open_files = {homes[top]}, [homes[top]]
    while open_files:
        words = set(re.findall(r"\w+", texts[open_files.pop()])) & homes.keys()
        new = {homes[word] for word in words} - wanted
        wanted |= new
        open_files.extend(new)
    return sorted(str(path.relative_to(sources)) for path in wanted)


def find_hls_output(folder: Path) -> Rtl | None:
    """Return what Vivado HLS or Vitis HLS wrote into `folder` or below it, or None.

    Raises:
        ReportError: VHDL alone, the output of several runs, or no report that says what it is.
        UnknownNameError: a part that is not known.
    """
    places = _syn_folders(folder)
    if not places:
        return None
    verilog = [place / "verilog" for place in places if any((place / "verilog").glob("*.v"))]
    if not verilog:
        raise ReportError(
            f"{places[0]}: holds VHDL alone, which Yosys does not read. Allowed: Verilog, which "
            "HLS writes beside it (syn/verilog)."
        )
    if len(verilog) > 1:
        raise ReportError(
            f"{folder}: holds the output of several runs of HLS, {verilog[0]} and {verilog[1]} "
            "among them. Allowed: the folder of one."
        )
    report = _report(verilog[0].parent)
    if report.top is None or report.part is None or report.clock_ns is None:
        raise ReportError(f"{report.path}: does not say top function, part and clock.")
    # Images on a stream may skip pixels; the worst case is the one that counts.
    return Rtl(
        folder=verilog[0],
        top=report.top,
        part=find_part(report.part),
        clock_ns=report.clock_ns,
        writer=f"{report.tool} {report.version or '(unknown version)'}",
        latency_cycles=report.latency_max,
        ii_cycles=report.ii_max,
        notes=("Cycles are those that HLS reports for its schedule.",),
    )


def _syn_folders(folder: Path) -> list[Path]:
    """Return the folders ``syn`` of HLS in, above or below a folder, those with RTL alone."""
    inside = folder.parent if folder.name in ("verilog", "vhdl") else folder
    if any((inside / kind).is_dir() for kind in ("verilog", "vhdl")) and inside.name == "syn":
        return [inside]
    found = {path.parent for kind in ("verilog", "vhdl") for path in folder.glob(f"**/syn/{kind}")}
    return sorted(found)


def _report(syn: Path) -> Report:
    """Return the report of the C synthesis that wrote RTL."""
    try:
        return all_reports(syn.parent)["csynth"][0]
    except (ReportError, KeyError) as error:
        why = f" ({error})" if isinstance(error, ReportError) else ""
        raise ReportError(
            f"{syn}: has no report of C synthesis, which says top function, part and clock{why}. "
            "Allowed: the folder as HLS left it, with syn/report/csynth.xml."
        ) from None
