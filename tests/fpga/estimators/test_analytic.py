from __future__ import annotations

import json
from math import ceil, log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfprune.errors import UnknownNameError
from rfprune.fpga.estimators import estimate
from rfprune.fpga.estimators.analytic import estimate_many
from rfprune.fpga.estimators.design import LAYER_TYPES, MULTIPLYING, Design
from rfprune.fpga.estimators.weights import weight_statistics
from rfprune.hardware.memory import BRAM18_ASPECTS
from rfprune.hardware.multiplier import dsp_per_product
from rfprune.hardware.precision import FixedType
from rfprune.hardware.reuse import valid_reuse_factors


def dense(name: str = "fc", n_in: int = 16, n_out: int = 32, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "dense", "n_in": n_in, "n_out": n_out, **more}


def design(*layers: dict[str, Any], **more: Any) -> Design:
    return Design.model_validate({"layers": list(layers), **more})


def weight_bram18(multipliers: int, weight_bits: int, rf: int, n_in: int) -> int:
    """Return the blocks of one layer's weights, and of its index table where RF > n_in."""
    bits = multipliers * weight_bits
    blocks = min(ceil(bits / width) * ceil(rf / depth) for depth, width in BRAM18_ASPECTS)
    return blocks + int(rf > n_in and rf * ceil(log2(rf / n_in)) >= 1024)


@pytest.mark.parametrize(
    ("n_in", "n_out", "rf", "blocks"),
    [
        (128, 128, 512, 9),
        (256, 256, 512, 29),
        (64, 64, 512, 3),
        (96, 256, 384, 15),
        (32, 32, 1024, 2),
    ],
)
def test_blocks_are_those_of_reports(n_in: int, n_out: int, rf: int, blocks: int) -> None:
    """Layers of 8 bits as Vivado HLS 2020.1 reports them."""
    kind = "fixed<8,4>"
    layer = dense(
        n_in=n_in, n_out=n_out, reuse_factor=rf, strategy="resource", weight_precision=kind
    )
    found = estimate(design(layer))
    assert found.hls is not None
    assert found.hls.bram18 == blocks
    assert weight_bram18(n_in * n_out // rf, 8, rf, n_in) == blocks


@st.composite
def resource_layers(draw: st.DrawFn) -> dict[str, Any]:
    n_in, n_out = draw(st.integers(2, 128)), draw(st.integers(1, 128))
    factors = [rf for rf in valid_reuse_factors(n_in, n_out) if rf > 1]
    width = draw(st.integers(2, 30))
    return dense(
        n_in=n_in,
        n_out=n_out,
        strategy="resource",
        reuse_factor=draw(st.sampled_from(factors or [1])),
        weight_precision=f"fixed<{width},4>",
    )


@given(resource_layers(), st.sampled_from(["pynq-z2", "xcu250", "vck190"]))
def test_resource_layers_cost_what_their_multipliers_and_memory_cost(
    layer: dict[str, Any], part: str
) -> None:
    asked = design(layer, part=part)
    found, rf = estimate(asked), layer["reuse_factor"]
    if rf == 1:
        return
    multipliers = layer["n_in"] * layer["n_out"] // rf
    width = FixedType.parse(layer["weight_precision"]).width
    assert found.hls is not None
    assert found.hls.dsp == multipliers * dsp_per_product(width, 16, asked.device.dsp_type)
    assert found.hls.bram18 == weight_bram18(multipliers, width, rf, layer["n_in"])
    assert found.ii_cycles == rf


@pytest.mark.parametrize(
    ("factors", "latency"), [((960, 960), 1923), ((3520, 4928), 8451), ((784, 728), 1515)]
)
def test_latency_of_two_resource_layers_is_the_reported_one(
    factors: tuple[int, int], latency: int
) -> None:
    shapes = {960: (80, 24, 120), 3520: (40, 88, 112), 784: (56, 56, 104)}[factors[0]]
    layers = [
        dense(f"fc{i}", shapes[i], shapes[i + 1], strategy="resource", reuse_factor=factors[i])
        for i in range(2)
    ]
    assert estimate(design(*layers)).latency_cycles == latency


@pytest.mark.parametrize(("n_in", "latency", "ii"), [(16, 1, 2), (1, 0, 1)])
def test_resource_layers_without_reuse_are_no_pipelines(n_in: int, latency: int, ii: int) -> None:
    """As 28 layers in reports of Vivado HLS 2020.1, each beside its Latency twin with II 1."""
    layer = dense(n_in=n_in, strategy="resource")
    found = estimate(design(layer))
    assert (found.latency_cycles, found.ii_cycles) == (latency, ii)
    assert estimate(design({**layer, "strategy": "latency"})).ii_cycles == 1


def test_pruned_groups_of_unrolled_layers_free_dsp_and_memory() -> None:
    weight = np.full((32, 16), 0.3)
    weight[:20] = 0.0
    kind = FixedType.parse("fixed<16,6>")
    layer = dense(strategy="resource_unrolled", reuse_factor=8)
    found = estimate(design({**layer, "weights": weight_statistics(weight, kind, 8).model_dump()}))
    whole = estimate(
        design({**layer, "weights": weight_statistics(weight + 1, kind, 8).model_dump()})
    )
    assert found.predicts == whole.predicts == "synthesis"
    assert (found.total.dsp, whole.total.dsp) == (24, 64)
    assert found.total.bram18 == weight_bram18(24, 16, 8, 16)
    assert found.total.lut is not None
    assert whole.total.lut is not None
    assert found.total.lut < whole.total.lut


def test_plain_resource_layers_keep_pruned_multipliers() -> None:
    weight = np.zeros((32, 16))
    counts = weight_statistics(weight, FixedType.parse("fixed<16,6>"), 8).model_dump()
    found = estimate(design(dense(strategy="resource", reuse_factor=8, weights=counts)))
    assert found.total.dsp == 64


def test_latency_layers_cost_their_distinct_constants() -> None:
    kind = FixedType.parse("fixed<16,6>")
    weight = np.full((32, 16), 0.7)
    weight[16:] = 0.5
    counts = weight_statistics(weight, kind)
    found = estimate(design(dense(strategy="latency", weights=counts.model_dump())))
    assert counts.uniq3 == 16
    assert found.total.dsp == 16


@pytest.mark.parametrize(("bits", "n_out"), [(8, 32), (8, 96), (10, 64), (12, 96)])
def test_uncounted_narrow_constants_are_guessed_where_weights_are_spread(
    bits: int, n_out: int
) -> None:
    weight = np.random.default_rng(bits).uniform(-0.3, 0.3, (n_out, 96))
    kind = f"fixed<{bits},1>"
    counted = weight_statistics(weight, FixedType.parse(kind)).model_dump()
    rough = {**counted, "narrow3": None}
    pruned = {**rough, "nnz": counted["nnz"] // 2, "uniq3": counted["uniq3"] // 2}

    def dsp(counts: dict[str, Any], **more: Any) -> int:
        layer = dense(n_in=96, n_out=n_out, weight_precision=kind, weights=counts, **more)
        found = estimate(design(layer)).total.dsp
        assert found is not None
        return found

    assert dsp(counted) == counted["uniq3"] - counted["narrow3"]
    assert abs(dsp(rough) - dsp(counted)) <= 4 * counted["narrow3"] ** 0.5
    assert dsp(rough) < counted["uniq3"]
    assert dsp({**pruned, "pow2": 4}) == pruned["uniq3"]
    # A shared multiplier takes the narrow constants too.
    assert dsp(rough, reuse_factor=2) == dsp(counted, reuse_factor=2)


def test_digits_alone_tell_about_how_many_multipliers_there_are() -> None:
    weight = np.random.default_rng(0).normal(0, 0.3, (16, 27))
    kind = "fixed<12,2>"
    counts = weight_statistics(weight, FixedType.parse(kind)).model_dump()
    layer = dense(n_in=27, n_out=16, weight_precision=kind)
    known = estimate(design({**layer, "weights": counts})).total.dsp
    rough = {**counts, "uniq3": None, "uniq2": None, "narrow3": None, "wide3": None}
    guessed = estimate(design({**layer, "weights": rough})).total.dsp
    assert known is not None
    assert guessed == pytest.approx(known, rel=0.1)


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("kind", sorted(LAYER_TYPES))
def test_every_layer_type_is_estimated(kind: str, io_type: str) -> None:
    layer: dict[str, Any] = {
        "name": "x",
        "type": kind,
        "n_in": 36,
        "n_out": 8,
        "in_height": 8,
        "in_width": 8,
        "out_height": 6,
        "out_width": 6,
        "in_channels": 4,
        "kernel_height": 3,
        "kernel_width": 3,
    }
    found = estimate(design(layer, io_type=io_type))
    for value in (*found.total, found.latency_cycles, found.ii_cycles):
        assert value is not None
        assert value >= 0
    assert (found.layers[0].strategy is not None) == (kind in MULTIPLYING)


@given(st.lists(resource_layers(), min_size=1, max_size=5))
def test_a_batch_gives_what_single_designs_give(layers: list[dict[str, Any]]) -> None:
    designs = [
        design(*({**x, "name": f"l{i}"} for i, x in enumerate(layers[:n])))
        for n in range(1, len(layers) + 1)
    ]
    assert list(estimate_many(designs)) == [estimate(d) for d in designs]


def test_totals_are_the_sums_of_the_layers() -> None:
    found = estimate(
        design(
            dense("a", strategy="resource", reuse_factor=4),
            {"name": "r", "type": "relu", "n_out": 32},
            dense("b", 32, 5, strategy="resource", reuse_factor=8),
        )
    )
    for name in ("dsp", "bram18", "lut", "ff"):
        total = sum(getattr(layer, name) for layer in found.layers)
        assert abs(total - getattr(found.total, name)) <= len(found.layers)


def test_json_has_the_promised_keys_and_says_null_for_unknown() -> None:
    asked = design(dense(strategy="resource", reuse_factor=8), part="u250", clock_ns=4)
    found = estimate(asked)
    plain = json.loads(json.dumps(found.to_json(asked.device)))
    assert plain["part"] == "xcu250"
    assert plain["clock_ns"] == 4
    assert set(plain["total"]) == {"dsp", "bram18", "lut", "ff", "latency_cycles", "ii_cycles"}
    assert {"name", "type", "reuse_factor", "dsp"} <= set(plain["layers"][0])
    assert plain["fits"] is True
    assert plain["utilization"]["dsp"] == pytest.approx(64 / 12288)
    assert plain["dominant"]["dsp"] == "fc"
    assert plain["source"] == "analytic"


def test_more_than_the_part_offers_does_not_fit() -> None:
    asked = design(dense(n_in=64, n_out=64, strategy="resource", reuse_factor=4), part="pynq-z2")
    assert not estimate(asked).fits(asked.device)


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="analytic"):
        estimate(design(dense()), by="analitic")
