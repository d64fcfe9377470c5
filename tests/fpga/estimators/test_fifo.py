"""FIFOs between layers against the tables in published reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.fifo import fifos
from rfprune.fpga.estimators.glue import around
from rfprune.fpga.estimators.layer_columns import kinds, read_columns
from rfprune.fpga.estimators.terms import facts

VIVADO = {"backend": "Vivado", "tool_version": "2020.1"}


def layer(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "linear", "n_out": 1, **more}


def costs(*layers: dict[str, Any], **more: Any) -> list[list[float]]:
    """Return block RAMs (C and logic synthesis) and flip-flops of the FIFO behind each layer."""
    columns = read_columns([Design.model_validate({"layers": list(layers), **more})])
    positions = columns.out_height * columns.out_width
    found = fifos(columns, kinds(columns), positions)
    rows: list[list[float]] = np.array(
        [found.hls_bram18, found.synthesis_bram18, found.ff]
    ).T.tolist()
    return rows


@pytest.mark.parametrize(
    ("channels", "positions", "hls", "synthesis", "ff"),
    [
        # layer2_out and layer8_out, 256 and 144 bits: 24 blocks in all, 20 in the netlist.
        (16, 128, 8, 8, 516),
        (9, 130, 8, 4, 516),
        # layer5_out and layer6_out, one word deep.
        (16, 1, 0, 0, 516),
        (6, 1, 0, 0, 260),
    ],
)
def test_vitis_packs_a_stream_into_words(
    channels: int, positions: int, hls: int, synthesis: int, ff: int
) -> None:
    one = layer("a", n_out=channels, in_channels=channels, out_width=positions)
    assert costs(one, layer("b"), io_type="io_stream")[0] == [hls, synthesis, ff]


@pytest.mark.parametrize(
    ("bits", "positions", "hls"),
    [(8, 2116, 2), (16, 2116, 4), (8, 121, 1), (8, 81, 1), (8, 64, 0), (6, 36, 0), (28, 900, 2)],
)
def test_vivado_has_a_fifo_per_channel(bits: int, positions: int, hls: int) -> None:
    # Blocks beyond those of their modules: 78 and 73 in two designs of Vivado HLS 2019.
    kind = f"fixed<{bits},2>"
    one = layer("a", n_out=6, in_channels=6, out_width=positions, output_precision=kind)
    found = costs(one, layer("b"), io_type="io_stream", **VIVADO)
    assert found[0][0] == 6 * hls
    assert found[1] == [0, 0, 0]


def test_small_fifos_of_vivado_have_five_flip_flops() -> None:
    one = layer("a", n_out=5, in_channels=5)
    assert costs(one, layer("b"), io_type="io_stream", **VIVADO)[0][2] == 25


def test_layers_in_io_parallel_flow_only_with_partitions_or_memories() -> None:
    dense = layer("fc", type="dense", n_in=16, n_out=8, strategy="latency")
    conv = layer("conv", type="conv1d", n_in=27, n_out=16, out_width=128, strategy="latency")
    image = layer("relu", type="relu", n_out=16, out_width=128)
    assert costs(dense, layer("b")) == [[0, 0, 0], [0, 0, 0]]
    # Twice 16 bits, 4 of the FIFO and one that gathers its writes.
    assert [row[2] for row in costs(conv, image, dense)] == [37 * 2048, 37 * 2048, 0]
    side_by_side = {**conv, "parallelization": 128}
    assert [row[2] for row in costs(side_by_side, image, dense)] == [0, 0, 0]
    memory = {**dense, "strategy": "resource", "reuse_factor": 8}
    assert [row[2] for row in costs(memory, layer("b"))] == [37 * 8, 0]
    unrolled = {**memory, "strategy": "resource_unrolled"}
    assert [row[2] for row in costs(unrolled, layer("b"))] == [0, 0]


def test_activations_of_an_image_cost_every_pixel() -> None:
    relu = layer("relu", type="relu", n_out=16)
    image = {**relu, "out_height": 6, "out_width": 6}
    luts = []
    for one in (relu, image):
        columns = read_columns([Design.model_validate({"layers": [one]})])
        luts.append(around(columns, facts(columns), kinds(columns)).hls_lut[0])
    assert luts[1] == pytest.approx(36 * luts[0])
    assert luts[0] > 0
