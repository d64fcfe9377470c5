"""Reads the reports of Vivado HLS, Vitis HLS and Vivado, 2018.2 to 2024.1, as numbers.

Four kinds: C synthesis as XML (`myproject_csynth.xml`, `csynth.xml`) and as text (`.rpt`), C/RTL
co-simulation (`myproject_cosim.rpt`), and the utilization report of logic synthesis. `read_report`
tells them apart by content. A block RAM tile of Vivado counts as two ``bram18``; the DSP column is
called DSP48E up to Vivado HLS 2020 and DSP after it; latencies that a tool could not bound (``?``,
``undef``) are None.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rfprune.core.quantities import Resources
from rfprune.errors import ReportError
from rfprune.fpga.estimators.result import Estimate, LayerEstimate

__all__ = ["Module", "Report", "all_reports", "find_reports", "read_report", "to_estimate"]

Kind = Literal["csynth", "cosim", "synthesis"]
_UNKNOWN = Resources()


@dataclass(frozen=True)
class Module:
    """One function of a C-synthesis report: resources and worst-case cycles, None if not stated."""

    name: str
    resources: Resources
    latency_cycles: int | None = None
    ii_cycles: int | None = None


@dataclass(frozen=True)
class Report:
    """What one report says; None where it does not say.

    Attributes:
        kind: ``csynth``, ``cosim`` (cycles only) or ``synthesis`` (resources only).
        tool: e.g. ``Vitis HLS``, ``Vivado``.
        version: e.g. ``2020.1``.
        part: part number as the tool writes it.
        clock_ns, estimated_clock_ns: target and estimated clock period in ns.
        latency_min, latency_max: cycles.
        ii_min, ii_max: cycles between two inputs.
        resources: of the whole design.
        uram: UltraRAMs.
        available: what the part offers.
        modules: functions or instances below the top.
        top: name of the function that became the design.
        path: the file.
    """

    kind: Kind
    tool: str
    version: str | None
    part: str | None
    path: Path
    clock_ns: float | None = None
    estimated_clock_ns: float | None = None
    latency_min: int | None = None
    latency_max: int | None = None
    ii_min: int | None = None
    ii_max: int | None = None
    resources: Resources = _UNKNOWN
    uram: int | None = None
    available: Mapping[str, int] = field(default_factory=dict)
    modules: tuple[Module, ...] = ()
    top: str | None = None


def read_report(path: Path) -> Report:
    """Return what the report at `path` says, whichever of the four kinds it is.

    Raises:
        ReportError: no such file, not text, damaged or truncated, or of another tool.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="strict")
    except FileNotFoundError:
        raise ReportError(f"{path}: no such report.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: cannot be read as a text report ({error}).") from None
    start = text.lstrip()
    if start.startswith("<"):
        return _csynth_xml(path, text)
    if re.search(r"== V(?:ivado|itis) HLS Report for", text):
        return _csynth_text(path, text)
    if re.search(r"Latency\(Clock Cycles\)|Latency \(Clock Cycles\)", text):
        return _cosim(path, text)
    if re.search(r"Tool Version\s*:\s*Vivado", text):
        return _utilization(path, text)
    raise ReportError(
        f"{path}: is not a report that can be read here. Allowed: csynth (.xml, .rpt) or cosim of "
        "Vivado HLS or Vitis HLS, report_utilization of Vivado."
    )


def _damaged(path: Path, what: str) -> ReportError:
    return ReportError(f"{path}: is damaged or truncated: {what}.")


def _count(text: str | None) -> int | None:
    """Return a cycle or resource count, or None where the tool states none."""
    # Some numbers come with a ~ in front, or with commas.
    cleaned = (text or "").strip().lstrip("~").replace(",", "")
    return int(cleaned) if re.fullmatch(r"\d+", cleaned) else None


def _decimal(text: str | None) -> float | None:
    match = re.search(r"\d+(?:\.\d+)?", text or "")
    return float(match.group()) if match else None


def _tool(version: str | None, vivado: bool | None = None) -> str:
    """Return the HLS tool; both were released as 2020.1, where only Vivado HLS says DSP48E."""
    if vivado is None:
        vivado = version is not None and version < "2020.2"
    return "Vivado HLS" if vivado else "Vitis HLS"


# --- C synthesis, XML ---------------------------------------------------------------------------


def _csynth_xml(path: Path, text: str) -> Report:
    try:
        root = ElementTree.fromstring(text.strip())
    except ElementTree.ParseError as error:
        raise _damaged(path, f"XML {error}") from None
    if root.tag != "profile" or root.find("UserAssignments") is None:
        raise ReportError(
            f"{path}: root element '{root.tag}' is not a C-synthesis report ('profile')."
        )
    area = root.find("AreaEstimates/Resources")
    timing = root.find("PerformanceEstimates/SummaryOfOverallLatency")
    if area is None or timing is None:
        missing = "AreaEstimates" if area is None else "PerformanceEstimates"
        raise _damaged(path, f"no {missing}")
    version = root.findtext("ReportVersion/Version")
    available = root.find("AreaEstimates/AvailableResources")
    return Report(
        kind="csynth",
        tool=_tool(version, area.find("DSP48E") is not None),
        version=version,
        part=root.findtext("UserAssignments/Part"),
        path=path,
        clock_ns=_decimal(root.findtext("UserAssignments/TargetClockPeriod")),
        estimated_clock_ns=_decimal(
            root.findtext("PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod")
        ),
        latency_min=_count(timing.findtext("Best-caseLatency")),
        latency_max=_count(timing.findtext("Worst-caseLatency")),
        ii_min=_count(timing.findtext("Interval-min")),
        ii_max=_count(timing.findtext("Interval-max")),
        resources=_xml_resources(path, area),
        uram=_count(area.findtext("URAM")),
        available={} if available is None else _xml_available(available),
        modules=_xml_modules(path, root),
        top=root.findtext("UserAssignments/TopModelName"),
    )


def _xml_dsp(area: ElementTree.Element) -> int | None:
    names = ("DSP", "DSP48E", "DSP48")
    return next((n for name in names if (n := _count(area.findtext(name))) is not None), None)


def _xml_resources(path: Path, area: ElementTree.Element) -> Resources:
    found = Resources(
        _xml_dsp(area),
        _count(area.findtext("BRAM_18K")),
        _count(area.findtext("LUT")),
        _count(area.findtext("FF")),
    )
    if found.lut is None or found.ff is None:
        raise _damaged(path, "Resources without LUT and FF")
    return found


def _xml_available(area: ElementTree.Element) -> dict[str, int]:
    pairs = {
        "dsp": _xml_dsp(area),
        "bram18": _count(area.findtext("BRAM_18K")),
        "lut": _count(area.findtext("LUT")),
        "ff": _count(area.findtext("FF")),
        "uram": _count(area.findtext("URAM")),
    }
    return {name: value for name, value in pairs.items() if value is not None}


def _xml_modules(path: Path, root: ElementTree.Element) -> tuple[Module, ...]:
    top = root.findtext("UserAssignments/TopModelName")
    modules = []
    for element in root.iterfind("ModuleInformation/Module"):
        name, area = element.findtext("Name"), element.find("AreaEstimates/Resources")
        if name is None or name == top or area is None:
            continue
        timing = element.find("PerformanceEstimates/SummaryOfOverallLatency")
        latency = None if timing is None else _count(timing.findtext("Worst-caseLatency"))
        interval = None if timing is None else _count(timing.findtext("PipelineInitiationInterval"))
        # Newer reports leave out what is 0, and list FF and LUT always.
        bram, dsp = _count(area.findtext("BRAM_18K")) or 0, _xml_dsp(area) or 0
        lut, ff = _count(area.findtext("LUT")), _count(area.findtext("FF"))
        modules.append(Module(name, Resources(dsp, bram, lut, ff), latency, interval))
    return tuple(modules)


# --- text tables --------------------------------------------------------------------------------


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _field(text: str, name: str) -> str | None:
    match = re.search(rf"^\W*{re.escape(name)}\s*:\s*(.+?)\s*\|?$", text, re.MULTILINE)
    return match.group(1) if match else None


def _version(text: str | None) -> str | None:
    match = re.search(r"\d{4}\.\d(?:\.\d)?", text or "")
    return match.group() if match else None


def _csynth_text(path: Path, text: str) -> Report:
    tool = re.search(r"== (V(?:ivado|itis) HLS) Report for(?: '(\w+)')?", text)
    clock = re.search(r"^\s*\|\s*ap_clk\s*\|(.+)\|\s*$", text, re.MULTILINE)
    if tool is None or clock is None:
        raise _damaged(path, "no timing summary")
    target, estimated, *_ = _cells(clock.group(1))
    cycles = _latency_row(path, text)
    columns, total = _total_row(path, text)
    used = dict(zip(columns, total, strict=False))
    available = _available_row(text, columns)
    # The last section of every such report, behind all that is read.
    if "== Interface" not in text:
        raise _damaged(path, "it ends before the section Interface")
    return Report(
        kind="csynth",
        tool=tool.group(1),
        version=_version(_field(text, "Version")),
        part=_field(text, "Target device"),
        path=path,
        clock_ns=_decimal(target),
        estimated_clock_ns=_decimal(estimated),
        latency_min=_count(cycles[0]),
        latency_max=_count(cycles[1]),
        ii_min=_count(cycles[4]),
        ii_max=_count(cycles[5]),
        resources=_named_resources(used),
        uram=_count(used.get("URAM")),
        available=available,
        modules=_text_modules(text),
        top=tool.group(2),
    )


def _latency_row(path: Path, text: str) -> list[str]:
    match = re.search(
        r"\+ Latency:\s*\n\s*\* Summary:(.+?)(?:\+ Detail|== Utilization)", text, re.DOTALL
    )
    rows = [_cells(line) for line in (match.group(1) if match else "").splitlines() if "|" in line]
    numbers = [row for row in rows if len(row) >= 6 and re.fullmatch(r"[\d?]+|undef", row[0])]
    if not numbers:
        raise _damaged(path, "no latency summary")
    return numbers[0]


def _total_row(path: Path, text: str) -> tuple[list[str], list[str]]:
    match = re.search(r"== Utilization Estimates(.+)", text, re.DOTALL)
    lines = (match.group(1) if match else "").splitlines()
    header = next((_cells(line) for line in lines if "BRAM_18K" in line), None)
    total = next((_cells(line) for line in lines if line.lstrip().startswith("|Total")), None)
    if header is None or total is None or len(total) != len(header):
        raise _damaged(path, "no total of the utilization estimates")
    return header[1:], total[1:]


def _named_resources(used: Mapping[str, str]) -> Resources:
    dsp = used.get("DSP48E", used.get("DSP"))
    return Resources(
        _count(dsp), _count(used.get("BRAM_18K")), _count(used.get("LUT")), _count(used.get("FF"))
    )


def _available_row(text: str, columns: list[str]) -> dict[str, int]:
    match = re.search(r"^\|Available\s*\|(.+)\|\s*$", text, re.MULTILINE)
    if match is None:
        return {}
    row = dict(zip(columns, _cells(match.group(1)), strict=False))
    found = {**_named_resources(row)._asdict(), "uram": _count(row.get("URAM"))}
    return {name: value for name, value in found.items() if value is not None}


def _text_modules(text: str) -> tuple[Module, ...]:
    tables = re.findall(r"\* Instance:\s*\n(.+?)(?:\n\s*\n|\Z)", text, re.DOTALL)
    used: dict[str, Resources] = {}
    cycles: dict[str, tuple[int | None, int | None]] = {}
    for table in tables:
        rows = [_cells(line) for line in table.splitlines() if line.strip().startswith("|")]
        header = next((row for row in rows if "BRAM_18K" in row), None)
        for row in rows:
            if len(row) < 2 or not re.match(r"\w", row[1]) or row[1] in ("Module", ""):
                continue
            if header is not None and len(row) == len(header):
                used[row[1]] = _named_resources(dict(zip(header, row, strict=True)))
            elif header is None and len(row) >= 8:
                cycles[row[1]] = (_count(row[3]), _count(row[7]))
    return tuple(
        Module(name, resources, *cycles.get(name, (None, None))) for name, resources in used.items()
    )


# --- co-simulation ------------------------------------------------------------------------------


def _cosim(path: Path, text: str) -> Report:
    rows = [_cells(line) for line in text.splitlines() if line.strip().startswith("|")]
    # One row per language; only one of them is usually simulated.
    runs = [row for row in rows if row[0] in ("Verilog", "VHDL") and len(row) >= 8]
    if not runs:
        raise _damaged(path, "no row for Verilog or VHDL")
    done = next((row for row in runs if row[1].lower() == "pass"), None)
    if done is None:
        states = ", ".join(f"{row[0]}: {row[1]}" for row in runs)
        raise ReportError(f"{path}: the co-simulation did not pass ({states}).")
    version = _version(_field(text, "Version"))
    return Report(
        kind="cosim",
        tool=_tool(version),
        version=version,
        part=_field(text, "Target device"),
        path=path,
        latency_min=_count(done[2]),
        latency_max=_count(done[4]),
        ii_min=_count(done[5]),
        ii_max=_count(done[7]),
    )


# --- logic synthesis ----------------------------------------------------------------------------

_SITES = {
    "lut": r"(?:Slice|CLB) LUTs\*?|CLB LUTs|Slice LUTs",
    "ff": r"(?:Slice|CLB) Registers|Registers",
    "tiles": r"Block RAM Tile",
    "dsp": r"DSPs|DSP Slices",
    "uram": r"URAM",
}


def _utilization(path: Path, text: str) -> Report:
    used: dict[str, float | None] = {}
    available: dict[str, int] = {}
    for name, pattern in _SITES.items():
        match = re.search(rf"^\|\s*(?:{pattern})\s*\|(.+)\|\s*$", text, re.MULTILINE)
        row = _cells(match.group(1)) if match else []
        used[name] = _decimal(row[0]) if row else None
        # The column before the last: later versions have inserted others to the left.
        if len(row) >= 3 and (offered := _count(row[-2])) is not None:
            available["bram18" if name == "tiles" else name] = offered * (1 + (name == "tiles"))
    missing = [name for name in ("lut", "ff", "tiles", "dsp") if used[name] is None]
    if missing:
        raise _damaged(path, f"no row for {' and '.join(missing)}")
    return Report(
        kind="synthesis",
        tool="Vivado",
        version=_version(_field(text, "Tool Version")),
        part=_field(text, "Device"),
        path=path,
        resources=Resources(
            _integer(used["dsp"]),
            # A tile is two blocks of 18 kbit, and half a tile is one.
            _integer(2 * (used["tiles"] or 0)),
            _integer(used["lut"]),
            _integer(used["ff"]),
        ),
        uram=_integer(used["uram"]),
        available=available,
    )


def _integer(value: float | None) -> int | None:
    return None if value is None else round(value)


# --- together -----------------------------------------------------------------------------------


def find_reports(folder: Path) -> dict[Kind, Report]:
    """Return the reports of an hls4ml project below `folder`, one per kind that is there.

    Raises:
        ReportError: no C-synthesis and no logic-synthesis report, or a damaged one.
    """
    return {kind: read_report(files[0]) for kind, files in _report_files(folder).items()}


def all_reports(folder: Path) -> dict[Kind, list[Report]]:
    """Return every report of the whole design below `folder`, the one that counts first.

    Raises:
        ReportError: none, or a damaged one.
    """
    return {kind: list(map(read_report, files)) for kind, files in _report_files(folder).items()}


def _report_files(folder: Path) -> dict[Kind, list[Path]]:
    """Return the reports of the top function by kind: highest up and with the shortest name first.

    Raises:
        ReportError: there is none.
    """
    patterns: dict[Kind, tuple[str, ...]] = {
        "csynth": ("**/syn/report/*_csynth.xml", "**/syn/report/csynth.xml", "**/*csynth.rpt"),
        "cosim": ("**/sim/report/*_cosim.rpt", "**/*_cosim.rpt"),
        "synthesis": ("**/vivado_synth.rpt", "**/*utilization*.rpt"),
    }
    found: dict[Kind, list[Path]] = {}
    for kind, candidates in patterns.items():
        paths = [path for pattern in candidates for path in sorted(folder.glob(pattern))]
        files = [path for path in paths if not _is_overview(path)]
        if files:
            # That of the top function: named as the project, or else highest up and shortest; the
            # others are of its kernels.
            tops = [path for path in files if re.fullmatch(r"(?:myproject|csynth).*", path.name)]
            files.sort(key=lambda path: (len(path.parts), len(path.name)))
            found[kind] = list(dict.fromkeys(tops or files[:1]))
    if not found:
        raise ReportError(f"{folder}: holds no report of Vivado HLS, Vitis HLS or Vivado.")
    return found


def _is_overview(path: Path) -> bool:
    """Return whether a file is the overview that Vitis HLS writes beside its reports."""
    if path.name != "csynth.rpt":
        return False
    with path.open("rb") as file:
        return b"== Synthesis Summary Report of" in file.read(1000)


def to_estimate(
    reports: Mapping[Kind, Report], clock_ns: float, source: str = "csynth"
) -> Estimate:
    """Return the measured numbers of one design as an `Estimate`.

    Resources of logic synthesis count as the total where they are there, else those of C synthesis;
    cycles are those of the co-simulation where there is one, else the worst case of C synthesis.

    Args:
        reports: from `find_reports`.
        clock_ns: clock period where no report names one.
        source: name of the estimator.
    """
    hls, synthesis = reports.get("csynth"), reports.get("synthesis")
    # Measured cycles before scheduled ones.
    cycles = reports.get("cosim") or hls
    total = synthesis or hls
    layers = () if hls is None else tuple(_as_layer(module) for module in hls.modules)
    return Estimate(
        source=source,
        predicts="hls" if synthesis is None else "synthesis",
        total=Resources() if total is None else total.resources,
        latency_cycles=None if cycles is None else cycles.latency_max,
        ii_cycles=None if cycles is None else cycles.ii_max,
        clock_ns=clock_ns if hls is None or hls.clock_ns is None else hls.clock_ns,
        layers=layers,
        tool=" + ".join(f"{r.tool} {r.version or '(unknown version)'}" for r in reports.values()),
        hls=None if hls is None else hls.resources,
        synthesis=None if synthesis is None else synthesis.resources,
        notes=("Measured by the tool, not estimated.",),
    )


def _as_layer(module: Module) -> LayerEstimate:
    # The name of a C++ function with its template arguments: what stands before them is the kernel.
    kernel = re.split(r"_(?:array_|ap_u?fixed|ap_u?int|config|U\d)", module.name)[0]
    return LayerEstimate(
        module.name,
        kernel,
        1,
        None,
        *module.resources,  # type: ignore[arg-type]
        latency_cycles=module.latency_cycles,
        ii_cycles=module.ii_cycles,
    )
