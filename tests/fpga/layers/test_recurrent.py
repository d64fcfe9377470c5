"""What of a recurrent layer is read, built and grouped; the C++ is compared in test_table.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.layers.prove import Design, prove
from rfprune.errors import NetworkError, ReuseFactorError, SpecError
from rfprune.fpga.estimators import estimate
from rfprune.fpga.estimators.network import design_of
from rfprune.fpga.groups import build_groups
from rfprune.fpga.layers import fold_batch_norm, plan, trace
from rfprune.fpga.layers.lowering import lower
from rfprune.hardware.precision import FixedType
from rfprune.spec import HardwareSpec, PruneSpec

Way = Callable[[Tensor, Any], Tensor]


class Recurrent(nn.Module):
    """A layer of 6 units over 5 steps of 4 features, and what is made of its answer."""

    def __init__(self, kind: str, way: Way, **more: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells = getattr(nn, kind)(4, 6, **{"batch_first": True, **more})
        self.output, self.way = nn.Linear(6, 2), way

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.way(*self.cells(x)))


def last(out: Tensor, h: Any) -> Tensor:
    return out[:, -1]


STATES: dict[str, tuple[str, Way]] = {
    "last step": ("GRU", last),
    "select": ("LSTM", lambda out, h: out.select(1, 4)),
    "state": ("GRU", lambda out, h: h[-1]),
    "squeezed": ("GRU", lambda out, h: h.squeeze(0)),
    "reshaped": ("GRU", lambda out, h: h.reshape(-1, 6)),
    "of an LSTM": ("LSTM", lambda out, h: h[0][0]),
}


@pytest.mark.parametrize("case", STATES)
def test_who_reads_the_last_step_alone_gets_no_other(case: str) -> None:
    model = Recurrent(*STATES[case]).eval()
    graph = lower(model, (5, 4))
    cells, output = (node for node in graph.graph.nodes if node.op == "call_module")
    assert cells.meta["value"].shape[1:] == (6,)
    assert output.args == (cells,)
    x = torch.randn(7, 5, 4)
    assert torch.allclose(graph(x), model(x), atol=1e-6)
    assert graph.get_submodule("cells").weight_hh_l0 is model.cells.weight_hh_l0


SEQUENCES: dict[str, Way] = {
    "all of it": lambda out, h: out,
    "state and first step": lambda out, h: h[-1] + out[:, 0],
    "last two": lambda out, h: out[:, -2:],
    "backwards": lambda out, h: out.flip(1),
}


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("case", SEQUENCES)
def test_who_reads_more_gets_the_sequence(case: str, kind: str) -> None:
    own = SEQUENCES[case]
    way = own if kind == "GRU" else lambda out, h: own(out, h[0])
    model = Recurrent(kind, way).eval()
    graph = lower(model, (5, 4))
    cells = next(node for node in graph.graph.nodes if node.op == "call_module")
    assert cells.meta["value"].shape[1:] == (5, 6)
    x = torch.randn(7, 5, 4)
    assert torch.allclose(graph(x), model(x), atol=1e-6)


REFUSED: dict[str, tuple[str, Way, dict[str, Any], str]] = {
    "cells": ("LSTM", lambda out, h: h[1][0], {}, "Take the sequence, or h"),
    "rows in between": ("GRU", lambda out, h: h, {}, "it would compute something else"),
    "rows turned": ("GRU", lambda out, h: h[0].flip(0), {}, "rows of a minibatch"),
    "two layers": ("GRU", last, {"num_layers": 2}, "one layer after the other"),
    "two directions": ("GRU", lambda out, h: h[0], {"bidirectional": True}, "take two layers"),
    "steps first": ("GRU", lambda out, h: out, {"batch_first": False}, "batch_first=True"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_hls4ml_has_no_kernel_for(case: str) -> None:
    kind, way, more, words = REFUSED[case]
    model = Recurrent(kind, way, **more)
    with pytest.raises(NetworkError, match=words) as raised:
        trace(model, (5, 4))
    assert "\n" not in str(raised.value)


def planned(kind: str = "GRU", **hardware: Any) -> Any:
    return plan(trace(Recurrent(kind, last), (5, 4)), HardwareSpec.model_validate(hardware))


def test_settings_are_those_of_the_layer_or_of_one_weight() -> None:
    found = planned(
        layers={
            "cells": {"reuse_factor": 2, "precision": "fixed<12,4>"},
            "cells-weight_hh_l0": {"reuse_factor": 3, "weight_precision": "fixed<8,1>"},
        }
    )
    inputs, states, _ = found.layers
    assert (inputs.reuse_factor, states.reuse_factor) == (2, 3)
    assert [str(each) for each in (inputs.weight, inputs.data)] == ["fixed<12,4>", "fixed<16,6>"]
    # The second weight reads the state, which has the type of the layer's output.
    assert [str(each) for each in (states.weight, states.data)] == ["fixed<8,1>", "fixed<12,4>"]
    assert str(found.types["cells"]) == "fixed<12,4>"


def test_the_type_of_the_gates_loses_nothing() -> None:
    found = planned("LSTM")
    gates = found.gates("cells")
    for each in found.of("cells"):
        assert gates.fractional >= each.accumulator.fractional
        assert gates.integer > each.accumulator.integer
    narrow = planned(precision="fixed<4,2>").gates("cells")
    # An entry of a table has ten bits behind the point, and up to 1 in front of it.
    assert narrow == FixedType(narrow.integer + 10, narrow.integer)


FAULTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "reuse factor": ({"cells-weight_hh_l0": {"reuse_factor": 4}}, ReuseFactorError, "6x18"),
    "one of each": (
        {"cells-weight_hh_l0": {"reuse_factor": 2}},
        SpecError,
        "both weights of a recurrent layer are built in one strategy",
    ),
    "output of a weight": (
        {"cells-weight_hh_l0": {"output_precision": "fixed<8,2>"}},
        SpecError,
        "Take hardware.layers.cells.output_precision",
    ),
    "too wide": ({"cells": {"precision": "fixed<40,12>"}}, NetworkError, "proves up to 53"),
    "too large": ({"cells": {"precision": "fixed<20,18>"}}, NetworkError, "tables overflow"),
    "no such layer": ({"cell": {"reuse_factor": 2}}, SpecError, "cells, output"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_settings_that_hls4ml_or_rfprune_cannot_have(case: str) -> None:
    layers, kind, words = FAULTS[case]
    with pytest.raises(kind, match=words):
        planned(layers=layers)


def test_each_weight_has_groups_and_the_estimate_sees_both() -> None:
    model = Recurrent("GRU", last)
    layers = {"cells-weight_ih_l0": {"reuse_factor": 4}, "cells-weight_hh_l0": {"reuse_factor": 3}}
    found = plan(trace(model, (5, 4)), HardwareSpec.model_validate({"layers": layers}))
    groups = build_groups(found, PruneSpec())
    assert [layer.count for layer in groups.layers] == [18, 36, 12]
    folded = fold_batch_norm(model, found.network)
    dense = design_of(found, folded)
    assert [(each.name, each.type, each.n_in, each.n_out) for each in dense.layers] == [
        ("cells", "gru", 4, 6),
        ("output", "dense", 6, 2),
    ]
    cells = dense.layers[0]
    assert (cells.reuse_factor, cells.recurrent_reuse_factor, cells.n_sequence) == (4, 3, 5)
    assert cells.weights is not None
    assert cells.weights.live_groups == 54
    keep = np.ones(len(groups), dtype=bool)
    keep[:30] = False
    for name, mask in groups.masks(keep).items():
        layer = next(each for each in found.layers if each.name == name)
        layer.layer.weight_of(folded).data.mul_(mask)
    pruned = design_of(found, folded)
    # One DSP for each multiplier of 16 bits.
    assert estimate(dense).total.dsp - estimate(pruned).total.dsp == 30
    assert "no design like this" in " ".join(estimate(dense).notes)


@pytest.mark.slow
def test_each_weight_has_the_loop_of_its_own_reuse_factor_in_strategy_resource() -> None:
    designs = []
    # Above its 4 inputs and below the 6 units, and the other way round.
    for kind, own, state in (("GRU", 8, 3), ("LSTM", 2, 12), ("GRU", 2, 12), ("LSTM", 8, 3)):
        model = Recurrent(kind, last).eval()
        factors = {"weight_ih_l0": own, "weight_hh_l0": state}
        layers = {f"cells-{name}": {"reuse_factor": rf} for name, rf in factors.items()}
        hardware = {"layers": {"cells": {"strategy": "resource"}, **layers}}
        designs.append(Design(f"{kind} at {own} and {state}", model, (5, 4), hardware))
    # Where the cells have no such loop, that of the layer behind them is left alone.
    other = {
        "cells": {"strategy": "latency"},
        "output": {"strategy": "resource", "reuse_factor": 12},
    }
    model = Recurrent("GRU", last).eval()
    designs.append(Design("a Linear at 12 behind latency", model, (5, 4), {"layers": other}))
    assert [verdict.words for verdict in prove(designs)] == [""] * 5
