"""An 8-bit network on every input that there is, in every path."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from rfprune.errors import MissingExtraError
from rfprune.fpga.adders.chain import chain_of
from rfprune.fpga.adders.graph import build_graph
from rfprune.fpga.adders.numbers import CircuitNumbers, calibrate
from rfprune.fpga.estimators.ports import TOP
from rfprune.fpga.estimators.yosys import find_yosys
from rfprune.fpga.hls import compiled, convert
from rfprune.fpga.layers import plan, trace
from rfprune.fpga.proof.circuit import CircuitPaths, prove_circuit
from rfprune.fpga.proof.hls import prove_paths
from rfprune.spec import HardwareSpec
from rfprune.trial.proof import Asked

pytestmark = pytest.mark.slow

#: Every code of two features of 8 bits, and the corner vectors.
ALL = 2**16 + 13


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


@pytest.mark.parametrize("precision", ["fixed<8,3>", "fixed<8,3,RND,SAT>"])
def test_module_graph_and_cpp(precision: str, tmp_path: Path) -> None:
    model = network()
    hardware = HardwareSpec(precision=precision, strategy="latency", reuse_factor=1)
    planned = plan(trace(model, (2,)), hardware)
    conversion = convert(model, planned, tmp_path / "hls")
    conversion.write()
    with compiled(conversion) as simulation:
        proof = prove_paths(conversion, model, None, Asked(exhaustive=True), simulation)
    assert proof.all_faults() == []
    assert [(each.a, each.b, each.rows) for each in proof.compared] == [
        ("torch", "graph", ALL),
        ("graph", "cpp", ALL),
    ]
    assert proof.compared[1].largest_error == 0
    assert all(each.exhaustive for each in proof.compared)


def test_module_graph_rtl_and_netlist(tmp_path: Path) -> None:
    pytest.importorskip("da4ml", reason="needs the extra da4ml")
    if shutil.which("verilator") is None:
        pytest.skip("verilator is not on PATH")
    try:
        find_yosys()
    except MissingExtraError as error:
        pytest.skip(str(error))
    model = network()
    chain = chain_of(trace(model, (2,)))
    numbers = CircuitNumbers.widest(chain, 3, 5)
    numbers.fraction[0] = torch.tensor([5, 5])
    calibrate(chain, model, numbers, 3 * torch.rand(500, 2) - 1.5)
    numbers.integer[0] = torch.tensor([2, 2])  # 8 bits with the sign
    graph = build_graph(chain, model, numbers)
    graph.write_verilog(tmp_path / "rtl", TOP)
    paths = CircuitPaths(graph, tmp_path / "rtl")
    assert graph.data.width == 8
    proof = prove_circuit(chain, model, numbers, paths, None, Asked(exhaustive=True))
    assert proof.all_faults() == []
    assert [(each.a, each.b, each.rows, each.largest_error) for each in proof.compared] == [
        ("torch", "graph", ALL, 0),
        ("graph", "rtl", ALL, 0),
        ("graph", "netlist", ALL, 0),
    ]
    assert proof.counted["netlist"]["latency_cycles"] == graph.stages
