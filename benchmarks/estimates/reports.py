"""Reads published synthesis reports (the schema of ``hls_reports``) as designs with targets.

A row that cannot be read as a design is kept with the reason, never dropped silently; what a row
leaves open and is assumed in its place is kept beside it.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rfprune.errors import DataError, RfpruneError
from rfprune.estimate.design import LAYER_TYPES, MULTIPLYING, Design
from rfprune.hardware.parts import PARTS

__all__ = ["Reported", "read_designs", "read_layers"]

#: No count of a report is as large: an overflow, or a mark for what is missing.
_BEYOND = 1e15
_TYPES = {alias: name for name, aliases in LAYER_TYPES.items() for alias in aliases} | {
    "conv_2d_cl": "conv2d",
    "conv_1d_cl": "conv1d",
    "pointwise_conv_2d_cl": "conv2d",
    "pointwise_conv_1d_cl": "conv1d",
    "depthwise_conv_2d_cl": "depthwise_conv2d",
    "depthwise_conv_1d_cl": "depthwise_conv2d",
    "global_pooling1d_cl": "globalpool",
    "global_pooling2d_cl": "globalpool",
}
_COUNTS = {
    "uniq3": "w_mul_uniq",
    "uniq2": "w_add_uniq",
    "pow2": "w_pow2",
    "naf_digits": "w_naf",
    "max_bits": "w_maxbits",
}
_GEOMETRY = {
    "in_height": "in_h",
    "in_width": "in_w",
    "in_channels": "n_chan",
    "out_height": "out_h",
    "out_width": "out_w",
    "kernel_height": "filt_h",
    "kernel_width": "filt_w",
    "stride": "stride_w",
    "n_sequence": "n_sequence",
    "table_size": "table_size",
}
_PRECISIONS = {
    "input_precision": "in_prec",
    "weight_precision": "w_prec",
    "bias_precision": "b_prec",
    "accum_precision": "accum_prec",
    "output_precision": "out_prec",
}
_STRATEGIES = {
    "latency": "latency",
    "resource": "resource",
    "unrolled": "resource_unrolled",
    "resource_unrolled": "resource_unrolled",
}
#: Begin of the part numbers that are not in the catalogue -> one with the same DSP blocks.
_KIN = {"xc7": "xc7z020", "xcv[cehmp]": "xcvc1902"}
_TARGETS = {
    "hls_dsp": "hls_dsp",
    "hls_bram18": "hls_bram18",
    "hls_lut": "hls_lut",
    "hls_ff": "hls_ff",
    "synthesis_dsp": "vs_dsp",
    "synthesis_lut": "vs_lut",
    "synthesis_ff": "vs_ff",
}


@dataclass(frozen=True)
class Reported:
    """One report: what was built, and what the tools said.

    Attributes:
        row: the row as it stands in the file.
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
    counts = {"count": int(count), "nnz": int(count - zero)}
    for name, key in _COUNTS.items():
        value = _number(layer.get(key))
        if value is not None:
            counts[name] = int(value)
    return counts


def _removed(layer: dict[str, Any]) -> int:
    """Return the outputs of a layer that training has switched off, as far as its biases tell.

    HGQ gives a bias the type of the accumulator, on whose fine grid a living neuron's bias is not
    0; a bias of exactly 0 there is that of a neuron without any bits. Elsewhere zeros say nothing.
    """
    zeros, n_out = _number(layer.get("b_zeros")), _number(layer.get("n_out"))
    telling = layer.get("b_prec") is not None and layer["b_prec"] == layer.get("accum_prec")
    return int(zeros) if telling and zeros and n_out and zeros < n_out else 0


def _without_removed(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `layers` with the counts of what HLS still sees of their weights.

    Weights from and to a neuron that is switched off vanish in HLS, so at most live inputs x live
    outputs are left; the other counts shrink with them.
    """
    kept, live_in = [], None
    for layer in layers:
        if layer.get("type") != "dense":
            live_in = live_in if layer.get("type") in ("relu", "linear") else None
            kept.append(layer)
            continue
        live_out = (_number(layer.get("n_out")) or 0) - _removed(layer)
        most = (live_in or _number(layer.get("n_in")) or 0) * live_out
        kept.append(_shrunk(layer, most))
        live_in = live_out
    return kept


def _shrunk(layer: dict[str, Any], most: float) -> dict[str, Any]:
    count, zero = _number(layer.get("w_count")), _number(layer.get("w_zero"))
    if count is None or zero is None or count - zero <= most:
        return layer
    share = most / (count - zero)
    counts = {key: round(n * share) for key in _COUNTS.values() if (n := _number(layer.get(key)))}
    return {**layer, **counts, "w_zero": count - most, "w_maxbits": layer.get("w_maxbits")}


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
    values |= {k: t for k, v in _PRECISIONS.items() if (t := _fixed(layer.get(v))) is not None}
    values |= {k: int(n) for k, v in _GEOMETRY.items() if (n := _number(layer.get(v))) and n > 0}
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
    if text.lower() not in _STRATEGIES:
        raise DataError(f"no rules for the strategy '{text}'")
    return _STRATEGIES[text.lower()]


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
    """Return the part of a row, or where the catalogue lacks it one with the same DSP blocks."""
    name = str(row.get("part") or "")
    if PARTS.lookup(name):
        return name
    kin = (part for begin, part in _KIN.items() if re.match(begin, name.lower()))
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
    return _checked(values)


def _checked(values: dict[str, Any]) -> Design:
    from rfprune.spec.files import parse_spec

    return parse_spec(Design, values, values["name"])


def _targets(row: dict[str, Any]) -> dict[str, float]:
    found = {name: _number(row.get(key)) for name, key in _TARGETS.items()}
    tiles = _number(row.get("vs_bram36"))
    found["synthesis_bram18"] = None if tiles is None else 2 * tiles
    # Images on a stream: hls4ml's kernels may skip pixels, and the worst case is the one that
    # counts.
    stream = row.get("io_type") == "io_stream"
    found["latency_cycles"] = _number(row.get("hls_lat_max" if stream else "hls_lat_min"))
    found["ii_cycles"] = _number(row.get("hls_ii_max" if stream else "hls_ii_min"))
    return {name: n for name, n in found.items() if n is not None and 0 <= n < _BEYOND}


def _missing_layers(row: dict[str, Any], layers: list[dict[str, Any]]) -> bool:
    """Return whether a design lacks layers: by its own count, or since it starts behind one."""
    named = sum(str(x.get("type")) in ("dense", "conv1d", "conv2d", "gru", "lstm") for x in layers)
    stated = _number(row.get("n_layers"))
    starts = str(layers[0].get("type"))
    headless = starts in ("relu", "softmax") or starts.startswith("pooling")
    return headless or (not bool(row.get("config_complete", True)) and (stated or named) > named)


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
        raise DataError(f"the layers are no JSON, they begin with '{cell[:20]}'")
    found = [cell] if isinstance(cell, dict) else list(cell) if _is_list(cell) else []
    if not found or not all(isinstance(layer, dict) for layer in found):
        raise DataError("the file does not say which layers")
    return found


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | tuple) or type(cell).__name__ == "ndarray"


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
    for chain in _dense_chains(rows, cells):
        layers = _without_removed([cells[i] for i in chain])
        for i, layer in zip(chain, layers, strict=True):
            cells[i] = layer
    return [_read(row, cell, False) for row, cell in zip(rows, cells, strict=True)]


def _dense_chains(rows: list[dict[str, Any]], cells: list[Any]) -> list[list[int]]:
    """Return the rows of each design's dense Latency kernels, in order of hls4ml's numbering."""
    chains: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, (row, layer) in enumerate(zip(rows, cells, strict=True)):
        named = layer.get("config") if isinstance(layer, dict) else None
        number = re.match(r"config(\d+)", str(named))
        if row.get("kernel") == "dense_latency" and row.get("layer_type") == "dense" and number:
            chains[str(row.get("design_id"))].append((int(number[1]), i))
    return [[i for _, i in sorted(chain)] for chain in chains.values()]
