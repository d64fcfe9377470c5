"""Fixed-point types against hls4ml's own C++ types, in every rounding and overflow mode."""

import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from rfprune.hardware.precision import FixedType

ROUNDING = ("TRN", "TRN_ZERO", "RND", "RND_CONV", "RND_ZERO", "RND_INF", "RND_MIN_INF")
OVERFLOW = ("WRAP", "SAT", "SAT_ZERO", "SAT_SYM")
#: Halves, quarters and eighths between the grid points of 5 bits, and far beyond both ends.
VALUES = np.arange(-200, 201) / 16

PROGRAM = """
#include <cstdio>
#include "ap_fixed.h"
template <class T> void show() {{
    for (int i = -200; i <= 200; i++) printf("%.17g ", (double) T(i / 16.0));
    printf("\\n");
}}
int main() {{
{calls}
}}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on PATH")
def test_every_mode_is_that_of_the_cpp_types(tmp_path: Path) -> None:
    import hls4ml

    modes = list(itertools.product(("", "u"), ROUNDING, OVERFLOW))
    calls = [f"    show<ap_{u}fixed<5, 3, AP_{q}, AP_{o}>>();" for u, q, o in modes]
    source, program = tmp_path / "show.cpp", tmp_path / "show"
    source.write_text(PROGRAM.format(calls="\n".join(calls)))
    types = Path(hls4ml.__file__).parent / "templates" / "vivado" / "ap_types"
    subprocess.run(["g++", "-w", "-std=c++17", f"-I{types}", source, "-o", program], check=True)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    for (sign, rounding, overflow), line in zip(modes, printed.splitlines(), strict=True):
        kind = FixedType.parse(f"{sign}fixed<5,3,{rounding},{overflow}>")
        ours = kind.quantize(torch.from_numpy(VALUES)).numpy()
        np.testing.assert_array_equal(ours, np.array(line.split(), dtype=float), str(kind))
