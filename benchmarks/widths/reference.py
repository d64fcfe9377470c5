"""HGQ2 beside: starts `hgq2.py` in its own environment, and counts its points by Yosys too."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfprune.core.files import write_json
from rfprune.fpga.estimators.rtl import Rtl
from rfprune.fpga.estimators.yosys import measure
from rfprune.hardware.parts import find_part

#: Of beta, from and to: its authors' for jets, a shorter one, and one that begins later.
RAMPS = ((5e-7, 1e-3), (1e-6, 4e-4), (3e-6, 3e-4))
#: A mean squared error of scaled targets ends about a hundredth as large as a cross entropy.
_SQUARED = 0.01

Rows = tuple[torch.Tensor, torch.Tensor]


def write_rows(path: Path, train: Rows, val: Rows, test: Rows, hidden: list[int]) -> None:
    """Write the scaled rows that both tools get, and the sizes of the hidden layers."""
    arrays: dict[str, Any] = {"hidden": np.array(hidden)}
    for name, (x, y) in {"train": train, "val": val, "test": test}.items():
        arrays |= {f"x_{name}": x.flatten(1).numpy(), f"y_{name}": y.numpy()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def ramps_of(y: torch.Tensor) -> list[tuple[float, float]]:
    """Return the ramps for classes or, `y` being numbers, for a mean squared error."""
    scale = _SQUARED if y.is_floating_point() else 1.0
    return [(scale * low, scale * high) for low, high in RAMPS]


def points(
    python: str,
    rows: Path,
    home: Path,
    seed: int,
    seconds: float,
    ramp: tuple[float, ...],
    yosys: tuple[float, float],
) -> list[dict[str, Any]]:
    """Return the points of one ramp of one seed; what has been run before is read again."""
    out = home / f"{seconds:g}s-{seed:04d}-{ramp[0]:g}-{ramp[1]:g}"
    if not (out / "counted.json").exists():
        script = str(Path(__file__).with_name("hgq2.py"))
        settings = ["--seed", str(seed), "--seconds", str(seconds)]
        command = [python, script, str(rows), str(out), *settings, "--ramp", *map(str, ramp)]
        # An environment of its own: nothing of ours on its path.
        outside = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run(command, check=True, env=outside, stdout=subprocess.DEVNULL)
        each = [json.loads(line) for line in (out / "points.jsonl").read_text().splitlines()]
        for point in each:
            if yosys[0] <= point["lut"] <= yosys[1]:
                sources, part = out / f"{point['index']:03d}" / "src", find_part("xcvu9p")
                point["yosys_lut"] = measure(
                    Rtl(sources, "network", part, 5.0, "da4ml", adders=True)
                ).total.lut
        write_json(out / "counted.json", each)
    known = json.loads((out / "counted.json").read_text())
    return [{"seed": seed, **point, "ramp": list(ramp)} for point in known]
