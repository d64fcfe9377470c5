"""The second path: networks as alkaid's graphs of adders, from the plan to RTL and its proof."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfprune.core.named import Named
from rfprune.core.quantities import RESOURCES
from rfprune.errors import (
    BudgetError,
    MissingExtraError,
    NetworkError,
    SimulationError,
    SpecError,
)
from rfprune.fpga.estimators.ports import TOP
from rfprune.fpga.estimators.yosys import find_yosys
from rfprune.fpga.layers import Plan, plan, trace
from rfprune.fpga.proof.circuit import CircuitPaths
from rfprune.fpga.target import FPGA
from rfprune.fpga.unrolled.circuit import build_unrolled
from rfprune.fpga.unrolled.deployment import UnrolledDeployment
from rfprune.fpga.unrolled.proof import flat_inputs, in_types, prove_unrolled
from rfprune.fpga.unrolled.prunable import UnrolledPrunable
from rfprune.fpga.unrolled.sources import write_sources
from rfprune.fpga.unrolled.test_bench import write_bench
from rfprune.fpga.values.deployment import UnrolledValues
from rfprune.methods import find_method
from rfprune.results import TrialFolder
from rfprune.spec import HardwareSpec, TrialSpec
from rfprune.trial.proof import Asked
from rfprune.trial.run import run_trial
from rfprune.trial.target import Bundle
from tests.trial.conftest import small

pytest.importorskip("alkaid")

UNROLLED = {"backend": "alkaid", "strategy": "distributed_arithmetic"}


class Events(nn.Module):
    """Two inputs, a convolution, a table, a score and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3)
        self.own, self.out = nn.Linear(3, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        a = torch.relu(self.norm(self.conv(x))).mean(2)
        b = torch.tanh(self.own(y))
        return {"score": (a * b).sum(1), "out": self.out(torch.cat([a, b[:, 1:2]], 1))}


def planned(model: nn.Module, shape: Any, **more: Any) -> Plan:
    hardware = {**UNROLLED, "precision": "fixed<10,4,RND,SAT>", **more}
    return plan(trace(model.eval(), shape), HardwareSpec.model_validate(hardware))


def dense(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


def test_a_network_of_everything_is_torch_to_the_last_bit() -> None:
    torch.manual_seed(0)
    model = Events()
    built = planned(model, {"x": (2, 5), "y": (3,)}, precision="fixed<9,4,RND,SAT_SYM>")
    graph = build_unrolled(model, built)
    x = Named({"x": torch.randn(50, 2, 5) * 4, "y": torch.randn(50, 3) * 4})
    found = graph.predict(flat_inputs(built, x))
    assert found.shape == (50, 3)
    assert np.array_equal(found, in_types(built, model, x))


def test_pruned_weights_cost_nothing() -> None:
    model = dense()
    whole = build_unrolled(model, planned(model, (6,)))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight[:, ::2] = 0
    half = build_unrolled(model, planned(model, (6,)))
    assert half.lut < 0.8 * whole.lut
    with torch.no_grad():
        model[2].weight.zero_()
    # Every output is a constant then.
    none = build_unrolled(model, planned(model, (6,)))
    assert none.lut == 0
    assert len(np.unique(none.predict(np.random.default_rng(0).normal(size=(9, 6))), axis=0)) == 1


def test_a_faster_clock_takes_more_stages() -> None:
    model = dense()
    slow, fast = (
        build_unrolled(model, planned(model, (6,), clock_ns=clock)) for clock in (20.0, 2.0)
    )
    assert slow.stages < fast.stages
    assert slow.ff < fast.ff


def test_the_same_files_every_time(tmp_path: Path) -> None:
    model = dense()
    for name in ("a", "b"):
        graph = build_unrolled(model, planned(model, (6,)))
        graph.write_verilog(tmp_path / name, TOP)
    ours = sorted(path for path in (tmp_path / "a" / "src").rglob("*.v"))
    assert len(ours) > 3
    for path in ours:
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert other.read_text() == path.read_text()


@pytest.mark.parametrize(
    ("hardware", "words"),
    [
        ({"reuse_factor": 2}, "hardware.reuse_factor: is 2;.*Allowed: 1"),
        ({"io_type": "io_stream"}, "Allowed with backend alkaid: io_parallel"),
        ({"strategy": "latency"}, "alkaid builds strategy distributed_arithmetic"),
        ({"layers": {"_0": {"strategy": "resource"}}}, "hardware.layers._0.strategy: is resource"),
    ],
)
def test_settings_without_a_meaning(hardware: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        deployment(hardware)


def test_budgets_and_estimators() -> None:
    with pytest.raises(SpecError, match="a budget of lut alone"):
        deployment({}, prune={"budget": {"dsp": 0.5}})
    with pytest.raises(SpecError, match="Allowed with backend alkaid: adders, yosys"):
        deployment({}, estimator="analytic")
    with pytest.raises(SpecError, match="distributed_arithmetic alone; strategy is latency"):
        deployment({"strategy": "latency"})
    # With a method that chooses values it is another deployment of the same kind.
    chosen = deployment({}, prune={"method": "widths", "budget": {"lut": 0.5}})
    assert isinstance(chosen, UnrolledValues)


def deployment(hardware: dict[str, Any], **more: Any) -> UnrolledDeployment:
    content = {
        "model": {"name": "mlp"},
        "data": {"name": "digits"},
        "estimator": "adders",
        "prune": {"budget": {"lut": 0.5}},
        "hardware": {**UNROLLED, **hardware},
        **more,
    }
    spec = TrialSpec.model_validate(content)
    found = FPGA.deploy(spec, find_method(spec.prune.method), dense(), (6,), Path())
    assert isinstance(found, UnrolledDeployment)
    return found


def test_constants_are_no_circuit(tmp_path: Path) -> None:
    """What reads none of its inputs has no port, and is refused before anything is written."""
    model = dense()
    with torch.no_grad():
        model[0].weight.zero_()
    bundle = SimpleNamespace(
        final=model, trial="mine", record=SimpleNamespace(step=2), folder=tmp_path, say=print
    )
    with pytest.raises(SimulationError, match=r"^mine: step 2 reads none of its inputs"):
        deployment({}).export(cast(Bundle, bundle))
    assert list(tmp_path.iterdir()) == []


def test_types_that_alkaid_lacks() -> None:
    model = dense()
    for modes in ("TRN_ZERO,WRAP", "RND_CONV,SAT", "RND,SAT_ZERO"):
        with pytest.raises(NetworkError, match="rounds and saturates in other ways"):
            build_unrolled(model, planned(model, (6,), precision=f"fixed<10,4,{modes}>"))
    with pytest.raises(NetworkError, match="weights of 30 bits"):
        build_unrolled(model, planned(model, (6,), precision="fixed<30,4>"))


def test_what_is_too_large_is_refused_at_once() -> None:
    model = nn.Sequential(nn.Conv2d(4, 64, 3), nn.ReLU()).eval()
    spec = TrialSpec.model_validate(
        {
            "model": {"name": "mlp"},
            "data": {"name": "digits"},
            "estimator": "adders",
            "prune": {"budget": {"lut": 0.5}},
            "hardware": UNROLLED,
        }
    )
    with pytest.raises(NetworkError, match="451,584 products, all unrolled"):
        FPGA.deploy(spec, find_method("knapsack"), model, (4, 16, 16), Path())


def test_check_builds_the_untrained_network() -> None:
    found = deployment({})
    (said,) = found.rehearse(dense(), torch.randn(8, 6))
    assert "its graph is torch's on 8 rows" in said
    assert found.dense_quantities(dense())["dsp"] == 0


def started(floor: int = 1) -> tuple[UnrolledDeployment, UnrolledPrunable, nn.Module]:
    """Return a network of 6, 5 and 3 with every weight in digits, before it is pruned."""
    model = dense()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.copy_(torch.randn_like(layer.weight))
    prune = {"method": "magnitude", "budget": {"lut": 0.5}, "floor": floor}
    found = deployment({"precision": "fixed<10,4,RND,SAT>"}, prune=prune)
    prunable = found.prunable
    assert isinstance(prunable, UnrolledPrunable)
    prunable.start(model)
    return found, prunable, model


def test_costs_are_those_of_the_graph() -> None:
    found, prunable, model = started()
    assert prunable.dense["lut"] == pytest.approx(found.graph(model).lut)
    # A choice among the largest; what it takes is asked of the graph.
    norms = torch.cat([model[n].weight.detach().flatten() for n in (0, 2)]).abs().numpy()
    keep = norms >= np.median(norms)
    masks = prunable.masks(keep)
    assert prunable.correct_costs(model, masks)
    with prunable.masked(model, masks):
        lut = found.graph(model).lut
    assert prunable.used(keep)[RESOURCES.index("lut")] == pytest.approx(lut)
    assert not prunable.correct_costs(model, masks)
    # Every step begins with the same costs, also one that follows a resumption.
    prunable.correct_costs(model, None)
    everything = np.ones(len(keep), dtype=bool)
    assert prunable.used(everything)[RESOURCES.index("lut")] == pytest.approx(prunable.dense["lut"])


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_the_weakest_go_until_the_graph_is_within_its_budget(share: float) -> None:
    found, prunable, model = started()
    limit = share * found.graph(model).lut
    budget = np.where(np.array(RESOURCES) == "lut", limit, np.inf)
    everything = prunable.masks(np.ones(45, dtype=bool))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    left = prunable.repair(model, everything, budget)
    assert found.graph(model).lut <= limit
    gone = [before[n][mask == 0].abs() for n, mask in prunable.by_parameter(left).items()]
    kept = [before[n][mask != 0].abs() for n, mask in prunable.by_parameter(left).items()]
    # But for the largest of each layer, which its floor protects.
    assert torch.cat(gone).max() <= torch.cat([part.sort().values[:-1] for part in kept]).min()
    for name, mask in prunable.by_parameter(left).items():
        assert torch.equal(model.get_parameter(name), before[name] * mask)
    # One more weight would have been too many, or the rest is close to the budget.
    back = max(torch.cat(gone))
    with torch.no_grad():
        for name, weight in before.items():
            own = prunable.by_parameter(left).get(name)
            if own is not None:
                model.get_parameter(name).copy_(weight * ((own != 0) | (weight.abs() == back)))
    assert found.graph(model).lut > 0.98 * limit
    unlimited = np.full(len(RESOURCES), np.inf)
    assert prunable.repair(model, left, unlimited) is left


def test_a_budget_below_the_floors_is_said() -> None:
    _, prunable, model = started(floor=4)
    least = prunable.least["lut"]
    assert 0 < least < prunable.dense["lut"]
    budget = np.where(np.array(RESOURCES) == "lut", least / 4, np.inf)
    with pytest.raises(BudgetError, match=r"budget\.lut: .* cannot be reached: the graph of what"):
        prunable.repair(model, prunable.masks(np.ones(45, dtype=bool)), budget)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["magnitude", "knapsack"])
def test_every_accepted_step_is_within_its_budget_of_luts(method: str, tmp_path: Path) -> None:
    hardware = {**UNROLLED, "precision": "fixed<8,3,RND,SAT>", "reuse_factor": 1, "layers": {}}
    prune = {"method": method, "budget": {"lut": "40 %"}, "steps": 2, "schedule": "constant"}
    spec = small(
        model={"args": {"hidden": [6]}},
        hardware=hardware,
        estimator="adders",
        prune={**prune, "tolerance": 0.9, "regularizer": {"weight": 0}},
    )
    folder = TrialFolder(tmp_path / "trials" / "0000")
    result = run_trial(spec, folder, dense_dir=tmp_path / "dense", base_dir=tmp_path)
    dense_lut, half, final = (step.values["lut"] for step in folder.steps())
    assert result.budgets_met
    assert half <= 0.7 * dense_lut
    assert 0.35 * dense_lut < final <= 0.4 * dense_lut


@pytest.mark.slow
def test_rtl_and_netlist(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = Events()
    built = planned(model, {"x": (2, 3), "y": (3,)}, precision="fixed<8,3>")
    graph = build_unrolled(model, built)
    write_sources(tmp_path, built, graph, None)
    paths = CircuitPaths(graph, tmp_path / "rtl")
    proof = prove_unrolled(built, model, paths, None, Asked(rows=1000))
    assert proof.all_faults() == []
    if shutil.which("verilator"):
        (rtl,) = (each for each in proof.compared if each.b == "rtl")
        assert (rtl.rows, rtl.largest_error) == (1000, 0.0)
    (cpp,) = (each for each in proof.compared if each.b == "cpp")
    assert (cpp.rows, cpp.largest_error) == (1000, 0.0)
    try:
        find_yosys()
    except MissingExtraError:
        return
    (netlist,) = (each for each in proof.compared if each.b == "netlist")
    assert netlist.largest_error == 0.0
    assert proof.counted["netlist"]["lut"] == pytest.approx(graph.lut, rel=0.35)


def test_bench_holds_what_torch_computes(tmp_path: Path) -> None:
    model = dense()
    built = planned(model, (6,))
    graph = build_unrolled(model, built)
    paths, x = CircuitPaths(graph, tmp_path), torch.randn(20, 6)
    write_bench(tmp_path, paths, flat_inputs(built, x), in_types(built, model, x))
    for home, name in (("rtl", "tb.v"), ("vhdl", "tb.vhd")):
        lines = (tmp_path / home / "tb" / "inputs.hex").read_text().split()
        assert len(lines) == 20
        # The lowest bits are the first number.
        first = int(lines[0], 16) & 0x3FF
        first -= (first >> 9) << 10
        assert first / 64 == flat_inputs(built, x)[0, 0]
        assert str(graph.stages) in (tmp_path / home / "tb" / name).read_text()
