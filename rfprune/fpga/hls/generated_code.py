"""What hls4ml itself wrote, counted: multipliers and products per layer, from the generated C++.

No vendor tool is needed, and no formula: ``parameters.h`` names strategy, reuse factor and kernel
of each layer, ``nnet_utils/nnet_code_gen.h`` holds one class per ResourceUnrolled layer with a
multiplier limit and one line per product (hls4ml: ``backends/vivado/passes/unrolled_codegen.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rfprune.errors import ReportError

__all__ = ["LayerCode", "count_code", "read_project"]

_LIMIT = re.compile(r"#pragma HLS ALLOCATION operation instances=mul limit=(\d+)")
_PRODUCT = re.compile(r"::product\(data\[\d+\], weights\[(\d+)\]\)")
#: A convolution's multiplications are in the dense_config of its `configN_mult`.
_STRUCT = re.compile(r"struct (\w+) : nnet::dense_config \{(.*?)\n\};", re.DOTALL)
_NUMBER = re.compile(r"static const unsigned (\w+) = (\d+);")
_STRATEGY = re.compile(r"static const unsigned strategy = nnet::(\w+);")
_KERNEL = re.compile(r"using kernel = nnet::(\w+)<")
#: Of a recurrent layer, whose two weights are two matrices: hls4ml's number of each, and its name.
_MATRICES = {"1": "weight_ih_l0", "2": "weight_hh_l0"}
_MATRIX = re.compile(r"config\d+_([12])")
_COMMENT = re.compile(r"// (\w+)\n(?=struct )")


@dataclass(frozen=True)
class LayerCode:
    """One layer as the generated C++ has it.

    Attributes:
        name: layer name; of recurrent layers with the weight's name behind it.
        strategy: latency, resource or resource_unrolled.
        reuse_factor: as written.
        n_in: products per output.
        n_out: outputs.
        multiplier_limit: largest number of multipliers that HLS may build. For ResourceUnrolled
            with RF > n_in hls4ml writes it too high by ``n_out - n_in * n_out / RF``.
        products: lines that multiply, one per non-zero weight; None where the kernel is a loop.
        live_multipliers: multipliers that serve at least one product line, exact for every RF; the
            limit where the kernel is a loop.
    """

    name: str
    strategy: str
    reuse_factor: int
    n_in: int
    n_out: int
    multiplier_limit: int
    products: int | None
    live_multipliers: int


def count_code(code: str, reuse_factor: int) -> tuple[int, int, int]:
    """Return (multiplier limit, product lines, live multipliers) of one ResourceUnrolled class.

    A product line names its weight by its flat HLS index i; multiplier ``i // RF`` serves it.

    Raises:
        ReportError: the code has no multiplier limit.
    """
    limit = _LIMIT.search(code)
    if limit is None:
        raise ReportError("the generated code names no multiplier limit.")
    weights = [int(index) for index in _PRODUCT.findall(code)]
    # A multiplier serves RF weights in a row; it is live if a product of one of them is left.
    return int(limit.group(1)), len(weights), len({index // reuse_factor for index in weights})


def read_project(folder: Path) -> list[LayerCode]:
    """Return every weight layer of an hls4ml project, in order of execution.

    Raises:
        ReportError: the folder is not an hls4ml project, or its code is not readable.
    """
    parameters = _read(folder / "firmware" / "parameters.h")
    code = _read(folder / "firmware" / "nnet_utils" / "nnet_code_gen.h")
    parts = re.split(r"^class (dense_resource_unrolled_\w+)", code, flags=re.MULTILINE)
    # Behind a match of one group, `split` yields its name and the text up to the next.
    generated = dict(zip(parts[1::2], parts[2::2], strict=True))
    found: list[LayerCode] = []
    name = ""
    for match in re.finditer(rf"{_COMMENT.pattern}|{_STRUCT.pattern}", parameters, re.DOTALL):
        comment, struct, body = match.groups()
        if comment:
            name = comment
        elif "multiplier_limit" in body:
            part = _MATRIX.fullmatch(struct)
            own = f"{name}-{_MATRICES[part.group(1)]}" if part else name
            found.append(_layer(own, body, generated))
    if not found:
        raise ReportError(f"{folder}: parameters.h holds no layer with weights.")
    return found


def _layer(name: str, body: str, generated: dict[str, str]) -> LayerCode:
    numbers = {key: int(value) for key, value in _NUMBER.findall(body)}
    strategy, kernel = _STRATEGY.search(body), _KERNEL.search(body)
    written = strategy.group(1) if strategy else "latency"
    weights, rf = numbers["n_in"] * numbers["n_out"], numbers["reuse_factor"]
    if kernel and kernel.group(1) in generated:
        limit, products, live = count_code(generated[kernel.group(1)], rf)
        return LayerCode(
            name, written, rf, numbers["n_in"], numbers["n_out"], limit, products, live
        )
    # nnet_dense_latency.h leaves out zeros; the loop of nnet_dense_resource.h reads every weight.
    dropped = numbers.get("n_zeros", 0) // rf if written == "latency" else 0
    limit = -(-weights // rf) - dropped
    return LayerCode(name, written, rf, numbers["n_in"], numbers["n_out"], limit, None, limit)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path}: is not a readable hls4ml project file ({error}).") from error
