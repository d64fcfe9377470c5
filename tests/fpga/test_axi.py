"""The kernel behind AXI computes what the design does; its Tcl runs against stand-ins."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfprune.fpga.axi import KERNEL, write_axi
from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.hls import convert
from rfprune.fpga.layers import plan, trace
from rfprune.hardware.boards import BOARDS, device_of, find_board
from rfprune.hardware.parts import find_part
from rfprune.spec import HardwareSpec

needs_tcl = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not on PATH")


def written(folder: Path, part: str, io_type: str = "io_parallel") -> tuple[Any, nn.Module, Any]:
    torch.manual_seed(0)
    if io_type == "io_stream":
        layers = (nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
        model, shape = nn.Sequential(*layers).eval(), (2, 6)
    else:
        model, shape = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval(), (5,)
    hardware = HardwareSpec(part=part, io_type=io_type, precision="fixed<12,5>", clock_ns=8)
    planned = plan(trace(model, shape), hardware)
    conversion = convert(model, planned, folder / "hls")
    conversion.write()
    write_axi(folder, conversion)
    return conversion, model, planned


#: Vendor commands are noted and answered with a word; nothing is run, and no process ends.
def run_tcl(script: Path, tmp_path: Path, arguments: str = "") -> list[str]:
    prelude = (
        'proc unknown {args} { puts "CALL $args"; return 100% }\n'
        'rename exec real_exec\nproc exec {args} { puts "EXEC $args" }\n'
        'rename exit real_exit\nproc exit {{code 0}} { puts "EXIT $code"; real_exit 0 }\n'
        f"set argv [list {arguments}]\nset script {{{script}}}\n"
        'proc info {args} { if {$args eq "script"} { return $::script }\n'
        "    uplevel 1 [linsert $args 0 ::tcl_info] }\n"
    )
    prelude = f"rename info tcl_info\n{prelude}"
    (tmp_path / "run.tcl").write_text(f"{prelude}source {{{script}}}\n")
    ran = subprocess.run(
        ["tclsh", tmp_path / "run.tcl"], capture_output=True, text=True, cwd=script.parent
    )
    assert ran.returncode == 0, ran.stderr
    return [*ran.stdout.splitlines(), *ran.stderr.splitlines()]


def test_boards_are_known_parts() -> None:
    for name, board in BOARDS.items():
        assert find_part(name) == find_part(board.device)
    assert device_of("PYNQ-Z2") == "xc7z020clg400-1"
    assert device_of("U250") == BOARDS["alveo-u250"].device
    assert device_of("xcvu13p-flga2577-2-e") == "xcvu13p-flga2577-2-e"
    assert find_board("vu13p") is None


@needs_tcl
@pytest.mark.parametrize(
    ("part", "device", "words"),
    [
        ("pynq-z2", "xc7z020clg400-1", ["processing_system7", "/ps/M_AXI_GP0", "/ps/S_AXI_HP0"]),
        ("zcu102", "xczu9eg-ffvb1156-2-e", ["zynq_ultra_ps_e", "M_AXI_HPM0_FPD", "S_AXI_HP0_FPD"]),
    ],
)
def test_a_block_design_is_built_around_the_kernel(
    tmp_path: Path, part: str, device: str, words: list[str]
) -> None:
    written(tmp_path, part)
    folder = tmp_path / "axi"
    kernel = run_tcl(folder / "build_kernel.tcl", tmp_path)
    assert f"CALL set_part {device}" in kernel
    assert "CALL create_clock -period 8 -name default" in kernel
    assert f"CALL set_top {KERNEL}" in kernel
    missing = run_tcl(folder / "block_design.tcl", tmp_path)
    assert "EXIT 2" in missing
    assert any("kernel.zip is missing" in line for line in missing)
    (folder / "kernel.zip").write_bytes(b"")
    calls = run_tcl(folder / "block_design.tcl", tmp_path)
    text = "\n".join(calls)
    assert any(line.startswith("EXEC unzip") for line in calls)
    for word in (*words, device, "FREQMHZ 125", "kernel/s_axi_control", "/kernel/m_axi_gmem"):
        assert word in text
    assert "CALL validate_bd_design" in calls
    assert not any("launch_runs" in line for line in calls)
    assert not any(line.startswith("EXIT") and line != "EXIT 0" for line in calls)
    built = run_tcl(folder / "block_design.tcl", tmp_path, "bitstream")
    assert "CALL launch_runs impl_1 -to_step write_bitstream -jobs 4" in built


@needs_tcl
def test_a_part_without_a_processor_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "vu13p")
    said = run_tcl(tmp_path / "axi" / "block_design.tcl", tmp_path)
    assert "EXIT 2" in said
    assert any("is for boards with a Zynq" in line for line in said)


def test_scripts_are_right_shell_and_refuse_wrong_calls(tmp_path: Path) -> None:
    written(tmp_path, "alveo-u50")
    script = tmp_path / "axi" / "link.sh"
    subprocess.run(["bash", "-n", script], check=True)
    for arguments, words in (([], "which platform?"), (["p"], "v++ is not on PATH")):
        ran = subprocess.run([script, *arguments], capture_output=True, text=True)
        assert ran.returncode == 2
        assert words in ran.stderr
    for path in (tmp_path / "axi").iterdir():
        # Vivado's own names have such parts as well: PSU__USE__M_AXI_GP0.
        assert not re.search(r"(?<![A-Z])__[A-Z]+__", path.read_text()), path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on PATH")
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_the_kernel_computes_what_the_design_does(tmp_path: Path, io_type: str) -> None:
    _, model, planned = written(tmp_path, "pynq-z2", io_type)
    firmware = tmp_path / "hls" / "firmware"
    library = tmp_path / "kernel.so"
    command = ["g++", "-w", "-std=c++17", "-O0", "-fPIC", "-shared", f"-I{firmware}/ap_types"]
    command += [f'-DWEIGHTS_DIR="{firmware}/weights"', str(firmware / "rfprune_design.cpp")]
    subprocess.run([*command, str(tmp_path / "axi" / f"{KERNEL}.cpp"), "-o", library], check=True)
    x = 3 * torch.randn(20, *planned.network.input_shape)
    with torch.no_grad():
        expected = deployed(model, planned)(x).numpy()
    given = x.numpy() if io_type == "io_parallel" else np.moveaxis(x.numpy(), 1, -1)
    rows = np.ascontiguousarray(given.reshape(len(x), -1))
    found = np.zeros(expected.shape, dtype=np.float32)
    kernel = getattr(ctypes.CDLL(str(library)), KERNEL)
    kernel(
        rows.ctypes.data_as(ctypes.c_void_p),
        found.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_uint(len(rows)),
    )
    np.testing.assert_array_equal(found, expected.astype(np.float32))
