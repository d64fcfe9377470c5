"""What simulations of RTL say of the machine they run on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rfprune.errors import MissingExtraError
from rfprune.fpga.proof.verilator import simulate_rtl


def test_an_absent_make_is_no_fault_of_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, sources = tmp_path / "tools", tmp_path / "sources"
    tools.mkdir()
    sources.mkdir()
    for name in ("verilator", "g++"):
        (tools / name).write_text("#!/bin/sh\n/bin/mkdir -p obj\n")
        (tools / name).chmod(0o755)
    (sources / "top.v").write_text(
        "module top(input clk, input [7:0] model_inp, output reg [7:0] model_out);\nendmodule\n"
    )
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(MissingExtraError, match="is built with make, which cannot be run"):
        simulate_rtl(sources, "top", np.zeros((2, 8), dtype=bool), 8)
