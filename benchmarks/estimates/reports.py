"""Reads published synthesis reports (the schema of ``hls_reports``) as designs with targets.

A row that cannot be read as a design is kept with the reason, never dropped silently; what a row
leaves open and is assumed in its place is kept beside it.
"""

import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import read_cases
from rfprune.errors import DataError, RfpruneError
from rfprune.fpga.estimators.design import LAYER_TYPES, MULTIPLYING, Design
from rfprune.hardware.parts import PARTS
from rfprune.spec.yaml_files import parse_spec

#: No count of a report is as large: an overflow, or a mark for what is missing.
_BEYOND = 1e15
_SCHEMA = read_cases("estimates", "schema")
_TYPES = {alias: name for name, aliases in LAYER_TYPES.items() for alias in aliases}
_TYPES |= _SCHEMA["types"]
#: Whose outputs are weights, as far as a row says how many layers a design has.
_COUNTED = ("dense", "conv1d", "conv2d", "gru", "lstm")


@dataclass(frozen=True)
class Reported:
    """One report: what was built, and what the tools said.

    Attributes:
        row: the row as it is in the file.
        design: what was built, or None if the row does not say.
        reason: why there is no design.
        assumed: what the row leaves open, and what was taken in its place.
        targets: quantity -> reported value; absent where not reported.
    """

    row: dict[str, Any]
    design: Design | None
    reason: str = ""
    targets: dict[str, float] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Where the report was published."""
        return str(self.row.get("source") or self.row.get("repo"))

    @property
    def strategy(self) -> str:
        """Strategy of the multiplying layers, ``mixed``, or ``unknown``."""
        if self.design is None:
            return "unknown"
        found = {layer.strategy for layer in self.design.layers if layer.strategy}
        return found.pop() if len(found) == 1 else "mixed" if found else "unknown"


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _fixed(text: Any) -> str | None:
    """Return the fixed-point type inside `text` (``nnet::array<...>`` too), or None.

    Types of more than 64 bits count as 64; an unknown position of the point decides nothing.
    """
    if not isinstance(text, str):
        return None
    match = re.search(r"(?:ap_|ac_)?(u?)(fixed|int)<\s*(\d+)\s*(?:,\s*(-?\d+|\?))?([^>]*)", text)
    if match is None:
        return None
    unsigned, kind, width, integer, modes = match.groups()
    if int(width) < 1:
        return None
    bits = min(int(width), 64)
    if kind == "int":
        return f"{unsigned}int<{bits}>"
    whole = integer if integer not in (None, "?") else "1"
    named = re.findall(r"[A-Z_]+", re.sub(r"\bA[PC]_", "", modes))
    return f"{unsigned}fixed<{bits},{whole}{''.join(',' + m for m in named[:2])}>"


def _weights(layer: dict[str, Any]) -> dict[str, int] | None:
    count, zero = _number(layer.get("w_count")), _number(layer.get("w_zero"))
    if count is None or zero is None:
        return None
    known = {name: _number(layer.get(key)) for name, key in _SCHEMA["counts"].items()}
    counts = {name: int(value) for name, value in known.items() if value is not None}
    return {"count": int(count), "nnz": int(count - zero), **counts}


def _without_removed(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `layers` with the counts of what HLS still sees of their weights.

    Weights from and to a neuron that training has switched off vanish in HLS, so at most live
    inputs x live outputs are left, in a layer of that size; the other counts shrink with them. HGQ
    gives a bias the type of the accumulator, on whose fine grid a living neuron's bias is not 0; a
    bias of exactly 0 there is that of a neuron without any bits. Elsewhere zeros say nothing.
    """
    kept, live_in = [], None
    for layer in layers:
        if layer.get("type") != "dense":
            live_in = live_in if layer.get("type") in ("relu", "linear") else None
            # An activation handles the living neurons only: 15 of 18 modules list exactly as many
            # comparisons.
            kept.append(layer if live_in is None else {**layer, "n_in": max(live_in, 1)})
            continue
        n_out, zeros = _number(layer.get("n_out")) or 0, _number(layer.get("b_zeros")) or 0
        telling = layer.get("b_prec") is not None and layer["b_prec"] == layer.get("accum_prec")
        live_out = n_out - (int(zeros) if telling and zeros < n_out else 0)
        most = (live_in or _number(layer.get("n_in")) or 0) * live_out
        count, zero = _number(layer.get("w_count")), _number(layer.get("w_zero"))
        if live_in or live_out < n_out:
            layer = {**layer, "n_in": live_in or layer.get("n_in"), "n_out": max(live_out, 1)}
        live_in = live_out
        if count is not None and zero is not None and count - zero > most:
            share = most / (count - zero)
            known = {key: _number(layer.get(key)) for key in _SCHEMA["counts"].values()}
            counts = {key: round(n * share) for key, n in known.items() if n}
            widest = layer.get("w_maxbits")
            layer = {**layer, **counts, "w_zero": count - most, "w_maxbits": widest}
        kept.append(layer)
    return kept


def _kind(layer: dict[str, Any]) -> str:
    stated = str(layer.get("type")).lower()
    return _TYPES.get(str(layer.get("fn")), _TYPES.get(stated, stated))


def _layer(layer: dict[str, Any], name: str, row: dict[str, Any]) -> dict[str, Any]:
    kind = _kind(layer)
    values: dict[str, Any] = {"name": name, "type": kind}
    requested = _number(row.get("rf_requested"))
    outputs: tuple[str, ...] = ("n_out", "n_filt", "n_chan", "n_in", "n_elem")
    if kind == "batchnorm":  # `n_filt` says how many scales there are, `n_in` how many elements
        outputs = ("n_in", *outputs)
    for field_name, keys in (("n_in", ("n_in",)), ("n_out", outputs)):
        found = [v for v in (_number(layer.get(key)) for key in keys) if v and v >= 1]
        if found:
            values[field_name] = int(found[0])
    reuse_factor = _number(layer.get("rf"))
    if reuse_factor:
        values["reuse_factor"] = int(reuse_factor)
    if kind in MULTIPLYING and (strategy := _strategy(layer) or _strategy(row)):
        values["strategy"] = strategy
    values |= {
        k: t for k, v in _SCHEMA["precisions"].items() if (t := _fixed(layer.get(v))) is not None
    }
    values |= {
        k: int(n) for k, v in _SCHEMA["geometry"].items() if (n := _number(layer.get(v))) and n > 0
    }
    # hls4ml names the length of a sequence that is pooled n_in and n_out.
    if kind in ("maxpool1d", "avgpool1d") and "in_width" not in values:
        lengths = {"in_width": layer.get("n_in"), "out_width": layer.get("n_out")}
        values |= {k: int(n) for k, v in lengths.items() if (n := _number(v)) and n > 0}
        if (filters := _number(layer.get("n_filt"))) and "out_width" in values:
            values |= {"n_out": int(filters), "in_channels": int(filters)}
    if values["type"] in ("gru", "lstm") and requested:
        values["recurrent_reuse_factor"] = int(requested)
    partitions = _number(layer.get("n_partitions"))
    positions = (_number(layer.get("out_h")) or 1) * (_number(layer.get("out_w")) or 1)
    if partitions and positions > partitions:
        values["parallelization"] = int(positions // partitions)
    variant = row.get("variant")
    if variant in ("mul_dsp", "mul_fabric"):
        values["multiplier"] = str(variant).removeprefix("mul_")
    if values.get("n_in") and (weights := _weights(layer)) is not None:
        values["weights"] = weights
    return values


def _strategy(named: dict[str, Any]) -> str | None:
    """Return the strategy that a row or layer names, None if it names none.

    Raises:
        DataError: a strategy that the estimator has no rules for.
    """
    text = named.get("strategy")
    if not isinstance(text, str) or not text:
        return None
    if text.lower() not in _SCHEMA["strategies"]:
        raise DataError(f"no rules for the strategy '{text}'")
    return str(_SCHEMA["strategies"][text.lower()])


def _tool(row: dict[str, Any]) -> tuple[str, str | None]:
    """Return the HLS tool of a row and its version.

    Vivado HLS ended with 2020.1, which tells the tool where only a version is named.

    Raises:
        DataError: a tool of another kind, for which there are no rules.
    """
    found = re.search(r"20\d\d\.\d", str(row.get("tool_version") or ""))
    version = found[0] if found else None
    stated = str(row.get("tool") or row.get("backend") or "")
    named = [tool for tool in ("Vitis HLS", "Vivado HLS") if tool.split()[0] in stated.title()]
    if stated and not named:
        raise DataError(f"no rules for the tool '{stated}'")
    older = version is not None and version < "2020.2"
    return named[0] if named else "Vivado HLS" if older else "Vitis HLS", version


def _part(row: dict[str, Any]) -> str:
    """Return the part of a row; if the catalogue has none, one with the same DSP blocks."""
    name = str(row.get("part") or "")
    if PARTS.lookup(name):
        return name
    kin = (part for begin, part in _SCHEMA["parts"].items() if re.match(begin, name.lower()))
    return next(kin, "xcu250")


def _assumed(row: dict[str, Any], layers: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return what a readable row leaves open, and what `_design` takes in its place."""
    assumed = []
    if (part := _part(row)) != row.get("part"):
        assumed.append(f"DSP blocks of {part} for part {row.get('part')}")
    if not _number(row.get("clock_ns")):
        assumed.append("clock of 5 ns")
    default = _fixed(row.get("default_prec")) or "fixed<16,6>"
    for layer in layers:
        if _kind(layer) not in MULTIPLYING:
            continue
        if not _number(layer.get("rf")):
            assumed.append("reuse factor 1")
        if not _strategy(layer) and not _strategy(row):
            assumed.append("strategy latency")
        unread = [k for k in ("in_prec", "w_prec", "accum_prec") if _fixed(layer.get(k)) is None]
        assumed += [f"{key} {default}" for key in unread]
    return tuple(dict.fromkeys(assumed))


def _design(row: dict[str, Any], layers: list[dict[str, Any]]) -> Design:
    tool, version = _tool(row)
    values: dict[str, Any] = {
        "name": str(row.get("design_id")),
        "part": _part(row),
        "clock_ns": _number(row.get("clock_ns")) or 5.0,
        "backend": tool.split()[0],
        "tool": tool,
        "tool_version": version,
        "io_type": "io_stream" if row.get("io_type") == "io_stream" else "io_parallel",
        "precision": _fixed(row.get("default_prec")) or "fixed<16,6>",
        "layers": [
            _layer(layer, f"{i}_{layer.get('name') or layer.get('type')}", row)
            for i, layer in enumerate(layers)
        ],
    }
    return parse_spec(Design, values, values["name"])


def _targets(row: dict[str, Any]) -> dict[str, float]:
    found = {name: _number(row.get(key)) for name, key in _SCHEMA["targets"].items()}
    tiles = _number(row.get("vs_bram36"))
    found["synthesis_bram18"] = None if tiles is None else 2 * tiles
    # Images on a stream: hls4ml's kernels may skip pixels, and the worst case is the one that
    # counts.
    stream = row.get("io_type") == "io_stream"
    found["latency_cycles"] = _number(row.get("hls_lat_max" if stream else "hls_lat_min"))
    found["ii_cycles"] = _number(row.get("hls_ii_max" if stream else "hls_ii_min"))
    return {name: n for name, n in found.items() if n is not None and 0 <= n < _BEYOND}


def _missing_layers(row: dict[str, Any], layers: list[dict[str, Any]]) -> bool:
    """Return whether a design lacks layers: by its own count, or as it begins with a later one."""
    named = sum(str(layer.get("type")) in _COUNTED for layer in layers)
    more = (_number(row.get("n_layers")) or named) > named
    starts = str(layers[0].get("type"))
    headless = starts in ("relu", "softmax") or starts.startswith("pooling")
    return headless or (more and not bool(row.get("config_complete", True)))


def _decoded(cell: Any) -> Any:
    """Return what a JSON text holds; anything else, and a damaged text, as it is."""
    try:
        return json.loads(cell) if isinstance(cell, str) else cell
    except json.JSONDecodeError:
        return cell


def _listed(cell: Any) -> list[dict[str, Any]]:
    """Return the layers of a decoded cell.

    Raises:
        DataError: the cell does not say which layers there are.
    """
    if isinstance(cell, str) and cell.strip():
        raise DataError(f"the layers are not JSON, they begin with '{cell[:20]}'")
    many = isinstance(cell, list | tuple) or type(cell).__name__ == "ndarray"
    found = [cell] if isinstance(cell, dict) else list(cell) if many else []
    if not found or not all(isinstance(layer, dict) for layer in found):
        raise DataError("the file does not say which layers")
    return found


def _read(row: dict[str, Any], cell: Any, whole: bool) -> Reported:
    targets = _targets(row)
    try:
        layers = _listed(_decoded(cell))
        if whole and _missing_layers(row, layers):
            raise DataError("the file leaves out layers that the design has")
        layers = _without_removed(layers) if whole else layers
        return Reported(row, _design(row, layers), "", targets, _assumed(row, layers))
    except RfpruneError as error:
        return Reported(row, None, str(error).removeprefix(f"{row.get('design_id')}: "), targets)


def _rows(path: Path) -> list[dict[str, Any]]:
    import pandas

    frame = pandas.read_parquet(path)
    rows: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return rows


def read_designs(path: Path) -> list[Reported]:
    """Return every row of a ``designs.parquet``."""
    return [_read(row, row.get("layers"), True) for row in _rows(path)]


def read_layers(path: Path) -> list[Reported]:
    """Return every row of a ``layers.parquet`` as a design of one layer."""
    rows = _rows(path)
    cells = [_decoded(row.get("layer")) for row in rows]
    # The dense Latency kernels of a design follow each other in the order of hls4ml's numbering.
    chains: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, (row, layer) in enumerate(zip(rows, cells, strict=True)):
        named = layer.get("config") if isinstance(layer, dict) else None
        number = re.match(r"config(\d+)", str(named))
        if row.get("kernel") == "dense_latency" and row.get("layer_type") == "dense" and number:
            chains[str(row.get("design_id"))].append((int(number[1]), i))
    for chain in chains.values():
        order = [i for _, i in sorted(chain)]
        for i, layer in zip(order, _without_removed([cells[i] for i in order]), strict=True):
            cells[i] = layer
    return [_read(row, cell, False) for row, cell in zip(rows, cells, strict=True)]
