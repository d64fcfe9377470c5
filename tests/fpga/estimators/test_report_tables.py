"""LUTs, flip-flops and cycles of single modules, as the tables of their reports list them."""

from typing import Any

import pytest

from rfprune.fpga.estimators.analytic import estimate_many
from rfprune.fpga.estimators.design import Design


def cost(quantity: str, *layers: dict[str, Any], at: int = 0, **design: Any) -> float:
    """Return what layer `at` costs in a design."""
    rows = [{"name": str(i), **layer} for i, layer in enumerate(layers)]
    table = estimate_many([Design.model_validate({"layers": rows, **design})])
    return float(getattr(table.costs, quantity)[at])


def relu(n: int, data: str, result: str, **design: Any) -> float:
    layer = {"type": "relu", "n_in": n, "n_out": n}
    return cost("hls_lut", {**layer, "input_precision": data, "output_precision": result}, **design)


VIVADO = {"backend": "Vivado", "tool": "Vivado HLS"}
VITIS = {"backend": "Vitis", "tool": "Vitis HLS"}


@pytest.mark.parametrize(
    ("data", "result", "tool", "listed"),
    [
        ("fixed<16,6>", "fixed<16,6>", {**VITIS, "tool_version": "2024.1"}, 38),
        ("fixed<13,6>", "ufixed<12,5>", {**VITIS, "tool_version": "2024.1"}, 32),
        ("fixed<16,6>", "fixed<16,6>", {**VIVADO, "tool_version": "2019.2"}, 29),
        ("fixed<16,4>", "ufixed<8,1,RND_CONV,SAT>", {**VITIS, "tool_version": "2021.1"}, 43),
        ("fixed<16,6>", "ufixed<6,0,RND_CONV,SAT>", {**VITIS, "tool_version": "2022.2"}, 74),
        ("fixed<16,6>", "ufixed<4,0,RND_CONV,SAT>", {**VIVADO, "tool_version": "2019.2"}, 78),
    ],
)
def test_an_element_of_relu_costs_what_its_operators_are_charged(
    data, result, tool, listed
) -> None:
    assert relu(64, data, result, **tool) / 64 == pytest.approx(listed, rel=0.1)


def test_processes_on_a_stream_have_a_port_for_every_channel_in_vivado_hls_alone() -> None:
    first = {"type": "conv1d", "n_in": 12, "in_channels": 4, "n_out": 16, "strategy": "latency"}
    first |= {"in_width": 40, "out_width": 38, "kernel_width": 3}
    wire = {"type": "linear", "n_in": 16, "n_out": 16}
    design = {"io_type": "io_stream", "precision": "fixed<16,6>"}
    ports = {
        tool: cost("hls_lut", first, wire, at=1, io_type="io_stream", backend=tool, precision=bits)
        for tool, bits in (("Vivado", "fixed<16,6>"), ("Vitis", "fixed<16,6>"))
    }
    assert ports["Vivado"] - ports["Vitis"] == pytest.approx(9 * 32)
    # The signals of the ports are for simulation.
    after = cost("synthesis_lut", first, wire, at=1, backend="Vivado", **design)
    assert after == 0


def test_lines_of_an_image_are_shift_registers_of_32_luts_and_64_flip_flops() -> None:
    conv = {"type": "conv2d", "n_in": 27, "in_channels": 3, "n_out": 8, "strategy": "latency"}
    conv |= {"in_height": 32, "in_width": 32, "out_height": 30, "out_width": 30}
    design = {"io_type": "io_stream", **VIVADO, "tool_version": "2019.2"}
    tall, flat = (
        {**conv, "kernel_height": height, "kernel_width": 9 // height} for height in (3, 1)
    )
    assert cost("hls_lut", tall, **design) - cost("hls_lut", flat, **design) == 2 * 3 * 32
    assert cost("hls_ff", tall, **design) - cost("hls_ff", flat, **design) == 2 * 3 * 64


@pytest.mark.parametrize(
    ("window", "clock_ns", "cycles"), [(128, 5.0, 42), (4, 3.33, 1), (4, 5.0, 0), (2, 3.33, 0)]
)
def test_comparisons_of_a_pool_follow_each_other(window, clock_ns, cycles) -> None:
    pool = {"type": "globalpool", "n_in": window, "n_out": 16, "in_channels": 16}
    design = {**VITIS, "tool_version": "2024.1", "clock_ns": clock_ns}
    assert cost("latency", pool, **design) == cycles
    # A module of 16 pools of 128 elements lists 136,013 LUTs and 223,374 flip-flops.
    if window == 128:
        assert cost("hls_lut", pool, **design) == pytest.approx(136_013, rel=0.05)
        assert cost("hls_ff", pool, **design) == pytest.approx(223_374, rel=0.05)


def test_the_choices_of_a_resource_layer_are_charged_by_number_not_by_bits() -> None:
    layer = {"type": "dense", "n_in": 128, "n_out": 8, "reuse_factor": 512, "strategy": "resource"}
    narrow, wide = (
        cost(
            "hls_lut",
            {**layer, "input_precision": f"fixed<{bits},4>", "weight_precision": "fixed<12,4>"},
            **VIVADO,
        )
        for bits in (12, 24)
    )
    assert narrow == wide


def test_a_kernel_of_two_loops_takes_twice_its_reuse_factor() -> None:
    layer = {"type": "dense", "n_in": 2048, "n_out": 10, "strategy": "resource"}
    listed, tabulated = ({**layer, "reuse_factor": rf} for rf in (20480, 10240))
    assert cost("ii", listed, **VIVADO) == 40960
    assert cost("ii", tabulated, **VIVADO) == 10240
    assert cost("hls_lut", listed, **VIVADO) < cost("hls_lut", tabulated, **VIVADO)


def test_one_dsp_for_all_products_is_built_with_five_stages() -> None:
    counts = {"count": 50, "nnz": 50, "uniq3": 25, "uniq2": 19, "pow2": 6, "naf_digits": 140}
    layer = {"type": "dense", "n_in": 10, "n_out": 5, "strategy": "latency", "reuse_factor": 100}
    layer |= {"input_precision": "fixed<8,2>", "weight_precision": "fixed<8,1>", "weights": counts}
    design = {**VITIS, "tool_version": "2021.1", "part": "xc7z020", "precision": "fixed<16,4>"}
    cycles = [
        cost("latency", {**layer, "multiplier": bound}, **design) for bound in ("fabric", "dsp")
    ]
    assert cycles == [26, 30]
