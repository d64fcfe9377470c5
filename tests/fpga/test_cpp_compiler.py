"""What the compiler has done before is taken from the user's cache, and is never another answer."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rfprune.core.paths import user_folder
from rfprune.fpga.cpp_compiler import compile_command, from_cache
from rfprune.fpga.proof.verilator import simulate_rtl

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is missing")
needs_verilator = pytest.mark.skipif(
    shutil.which("verilator") is None, reason="verilator is missing"
)
OPTIONS = ["-std=c++17", "-O0"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of what is kept, empty and not that of the other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return user_folder("cache") / "compiled"


def says(number: int, folder: Path) -> str:
    """Compile a program that includes types which hold a number, and return what it prints."""
    (folder / "ap_int.h").write_text(
        f"#pragma once\n#include <cstdio>\nconst int held = {number};\n"
    )
    (folder / "main.cpp").write_text(
        '#include "ap_int.h"\nint main() { std::printf("%d", held); return 0; }\n'
    )
    command = [*compile_command(folder, OPTIONS), "-Winvalid-pch", "-Werror"]
    subprocess.run([*command, "main.cpp", "-o", "main"], cwd=folder, check=True)
    return subprocess.run(["./main"], cwd=folder, capture_output=True, text=True).stdout


@needs_compiler
def test_types_are_compiled_once(tmp_path: Path, cache: Path) -> None:
    types = tmp_path / "types"
    types.mkdir()
    assert says(7, types) == "7"
    (made,) = cache.glob("vendor_types/*/types.h.gch")
    when = made.stat().st_mtime_ns
    assert says(7, types) == "7"
    assert made.stat().st_mtime_ns == when


@needs_compiler
def test_changed_types_are_compiled_anew(tmp_path: Path, cache: Path) -> None:
    types = tmp_path / "types"
    types.mkdir()
    assert [says(number, types) for number in range(6)] == list("012345")
    # Each is 86 MB in earnest: only the newest stay.
    assert len(list((cache / "vendor_types").iterdir())) == 4
    assert says(5, types) == "5"


@needs_compiler
def test_types_that_do_not_compile_are_left_to_the_design(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "ap_int.h").write_text("no C++")
    assert "-include" not in compile_command(tmp_path, OPTIONS)
    assert list((cache / "vendor_types").iterdir()) == []
    assert "-include" not in compile_command(tmp_path / "absent", OPTIONS)


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert from_cache("any", ["part"], lambda place: True) is None


@needs_verilator
@pytest.mark.slow
def test_run_time_of_verilator_is_compiled_once(tmp_path: Path, cache: Path) -> None:
    bits = np.random.default_rng(0).random((20, 16)) < 0.5
    numbers = np.packbits(bits, axis=1, bitorder="little").astype(int)
    for sign in ("+", "-"):
        (tmp_path / "top.v").write_text(
            "module top(input clk, input [15:0] model_inp, output reg [7:0] model_out);\n"
            f"always @(posedge clk) model_out <= model_inp[7:0] {sign} model_inp[15:8];\n"
            "endmodule\n"
        )
        found = np.packbits(simulate_rtl(tmp_path, "top", bits, 8).bits, axis=1, bitorder="little")
        wanted = numbers[:, 0] + (1 if sign == "+" else -1) * numbers[:, 1]
        assert found[:, 0].tolist() == (wanted % 256).tolist()
        (made,) = (cache / "verilator").iterdir()
        assert {path.suffix for path in made.iterdir()} == {".o"}
