"""Properties of estimates that hold for any design, however odd."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from rfprune.errors import RfpruneError
from rfprune.fpga.estimators.analytic import EstimateTable, estimate_many
from rfprune.fpga.estimators.design import Design, parse_design

RESOURCES = [f"{kind}_{q}" for kind in ("hls", "synthesis") for q in ("dsp", "bram18", "lut", "ff")]
QUICK = settings(max_examples=40, deadline=None, database=None)


@st.composite
def types(draw: Any) -> str:
    width = draw(st.sampled_from([1, 2, 3, 8, 11, 16, 27, 48, 64]))
    modes = draw(st.sampled_from(["", ",RND,SAT", ",RND_CONV,SAT"]))
    return f"fixed<{width},{draw(st.integers(1, width))}{modes}>"


@st.composite
def dense(draw: Any, n_in: int) -> dict[str, Any]:
    layer = {"type": "dense", "n_in": n_in, "n_out": draw(st.sampled_from([1, 2, 5, 64, 300]))}
    layer["strategy"] = draw(st.sampled_from(["latency", "resource", "resource_unrolled"]))
    layer["reuse_factor"] = draw(st.sampled_from([1, 2, 7, 64, 1024, 50_000]))
    kinds = ("input_precision", "weight_precision", "output_precision", "accum_precision")
    return layer | {kind: draw(types()) for kind in kinds}


@st.composite
def image(draw: Any) -> list[dict[str, Any]]:
    channels, filters = draw(st.sampled_from([1, 3, 16])), draw(st.sampled_from([1, 8]))
    size, flat = draw(st.sampled_from([6, 20])), draw(st.booleans())
    after = {"out_width": size - 2, "out_height": 1 if flat else size - 2}
    before = {"in_width": size, "in_height": 1 if flat else size, "in_channels": channels}
    kernel = {"kernel_width": 3, "kernel_height": 1 if flat else 3}
    conv = {**draw(dense(channels * 3 * (1 if flat else 3))), **before, **after, **kernel}
    conv |= {"type": "conv1d" if flat else "conv2d", "n_out": filters}
    pooled = {"in_width": size - 2, "in_height": after["out_height"], "in_channels": filters}
    half = {"out_width": size // 2 - 1, "out_height": max(after["out_height"] // 2, 1)}
    pool = {"type": "maxpool1d" if flat else "maxpool2d", "n_out": filters, **pooled, **half}
    pool |= {"kernel_width": 2, "kernel_height": 1 if flat else 2, "stride": 2}
    relu = {"type": "relu", "n_in": filters, "n_out": filters, "output_precision": draw(types())}
    return [conv, relu | after, pool]


@st.composite
def designs(draw: Any) -> dict[str, Any]:
    layers = draw(image()) if draw(st.booleans()) else []
    if not layers and draw(st.booleans()):
        kind = draw(st.sampled_from(["gru", "lstm"]))
        cell = {"type": kind, "n_in": 3, "n_out": draw(st.sampled_from([1, 20]))}
        layers.append(cell | {"n_sequence": 12, "strategy": "resource", "reuse_factor": 6})
    size = layers[-1]["n_out"] if layers else draw(st.sampled_from([1, 16, 561]))
    # A second head stands behind the first in the list, as in a design file.
    for _ in range(draw(st.integers(1, 3))):
        layers.append(draw(dense(size)))
        size = layers[-1]["n_out"]
        kind = draw(st.sampled_from(["relu", "tanh", "softmax", "batchnorm", "linear"]))
        layers.append({"type": kind, "n_in": size, "n_out": size})
    return {
        "layers": [{**layer, "name": str(i)} for i, layer in enumerate(layers)],
        "io_type": draw(st.sampled_from(["io_parallel", "io_stream"])),
        "backend": draw(st.sampled_from(["Vivado", "Vitis"])),
        "clock_ns": draw(st.sampled_from([1.0, 2.0, 5.0, 25.0])),
        "part": draw(st.sampled_from(["xcu250", "xc7z020", "xcvc1902"])),
    }


def table(*designs: dict[str, Any]) -> EstimateTable:
    return estimate_many([Design.model_validate(design) for design in designs])


@seed(1)
@QUICK
@given(designs())
def test_every_count_is_finite_and_none_is_negative(design: dict[str, Any]) -> None:
    with np.errstate(all="raise"):
        found = table(design)
    for name in RESOURCES:
        assert np.isfinite(found.total[name]).all()
        assert (getattr(found.costs, name) >= 0).all()
    for cycles in (found.latency_cycles, found.ii_cycles, found.reachable_ns):
        assert np.isfinite(cycles).all()
        assert (cycles >= 0).all()
    assert found.ii_cycles[0] <= found.latency_cycles[0] + 2


@seed(2)
@QUICK
@given(designs())
def test_an_interval_holds_the_value_that_it_is_about(design: dict[str, Any]) -> None:
    found = table(design)[0]
    for name, (low, high) in found.intervals.items():
        value = getattr(found, name, None)
        value = getattr(found.total, name) if value is None else value
        assert 0 <= low <= value <= high


@seed(3)
@QUICK
@given(designs())
def test_a_slower_clock_takes_no_more_cycles(design: dict[str, Any]) -> None:
    found = table(*({**design, "clock_ns": ns} for ns in (2.0, 3.33, 5.0, 10.0, 25.0)))
    assert (np.diff(found.latency_cycles) <= 1).all()
    assert (np.diff(found.reachable_ns) >= 0).all()


@seed(6)
@QUICK
@given(designs())
def test_a_slower_clock_takes_no_more_registers(design: dict[str, Any]) -> None:
    clocks = (1.0, 2.0, 2.5, 3.33, 4.0, 4.5, 5.0, 8.0, 10.0, 15.0, 25.0, 50.0)
    found = table(*({**design, "clock_ns": ns} for ns in clocks))
    for kind in ("hls", "synthesis"):
        layers = getattr(found.costs, f"{kind}_ff").reshape(len(clocks), -1)
        assert (np.diff(layers, axis=0) <= 1e-6).all()
        assert (np.diff(found.total[f"{kind}_ff"]) <= 1e-6).all()


@seed(4)
@QUICK
@given(dense(64), st.sampled_from(["io_parallel", "io_stream"]))
def test_more_reuse_takes_more_cycles_and_no_more_dsp_blocks(layer, io_type) -> None:
    layers = [
        {**layer, "name": "fc", "n_out": 64, "strategy": "resource", "reuse_factor": factor}
        for factor in (2, 4, 16, 64, 128, 1024, 4096)
    ]
    found = table(*({"layers": [one], "io_type": io_type} for one in layers))
    assert (np.diff(found.ii_cycles) > 0).all()
    assert (np.diff(found.latency_cycles) > 0).all()
    for kind in ("hls", "synthesis"):
        assert (np.diff(found.total[f"{kind}_dsp"]) <= 0).all()


@seed(5)
@QUICK
@given(dense(64), st.sampled_from(["Vivado", "Vitis"]))
def test_more_outputs_cost_no_less(layer: dict[str, Any], backend: str) -> None:
    sizes = [{**layer, "name": "fc", "n_out": n} for n in (1, 4, 16, 64, 256)]
    found = table(*({"layers": [one], "backend": backend} for one in sizes))
    for name in ("hls_dsp", "hls_bram18", "hls_lut", "hls_ff", "synthesis_dsp", "synthesis_lut"):
        assert (np.diff(found.total[name]) >= -1e-6).all()


@pytest.mark.parametrize(
    "change",
    [
        *[{"n_out": 0}, {"n_out": -1}, {"reuse_factor": 0}, {"n_in": "many"}],
        *[{"input_precision": "fixed<0,0>"}, {"weight_precision": "float"}, {"type": "fft"}],
    ],
)
def test_bad_input_is_one_sentence(change: dict[str, Any]) -> None:
    layer = {"name": "fc", "type": "dense", "n_in": 4, "n_out": 4} | change
    with pytest.raises(RfpruneError) as caught:
        parse_design({"layers": [layer]})
    assert len(str(caught.value).splitlines()) == 1
    assert "fc" in str(caught.value) or "layers" in str(caught.value)
