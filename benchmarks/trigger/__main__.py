"""Networks of a Level-1 trigger from check to export: ``python -m benchmarks.trigger [--json]``.

What is swept, and on which rows: ``pages/trigger.md``.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.report import Study, render, sentence, settings, table
from benchmarks.trigger import data

HERE = Path(__file__).parent
_CASES: dict[str, Any] = yaml.safe_load((HERE / "sweeps.yml").read_text())


def rfprune(folder: Path, *arguments: str) -> str:
    """Run a command of rfprune in a folder and return what it prints."""
    call = [sys.executable, "-m", "rfprune", *arguments]
    ran = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise RuntimeError(f"rfprune {' '.join(arguments)}: {ran.stderr.strip()}")
    return ran.stdout


def prepared(name: str, number: int, folder: Path, rows: int, seed: int, trials: int) -> Path:
    """Write data, network and sweep into a folder and return the sweep file."""
    arrays = getattr(data, name)(np.random.default_rng([seed, number]), rows)
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    shutil.copy(HERE / "networks.py", folder / "trigger_networks.py")
    own = {
        "name": name,
        "model": {"name": f"trigger_networks:{name}"},
        "data": {"file": f"{name}.npz"},
        "trials": trials,
    }
    spec = settings(_CASES["common"], _CASES["sweeps"][name], own)
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def swept(name: str, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the front of one sweep, its times, and how C++ and torch agree in its export."""
    with tempfile.TemporaryDirectory(prefix="rfprune-trigger-") as scratch:
        folder = Path(scratch)
        path = prepared(name, number, folder, options.rows, options.seed, options.trials)
        times = {}
        for verb, arguments in {
            "check": ("check", path.name),
            "sweep": ("sweep", path.name),
            "export": ("export", path.name, "--out", "out", "--allow-larger"),
        }.items():
            begun = time.monotonic()
            rfprune(folder, *arguments)
            times[f"{verb} s"] = round(time.monotonic() - begun)
        found = json.loads(rfprune(folder, "pareto", path.name, "--json"))
        parity = json.loads((folder / "out" / "parity.json").read_text())
    agrees = {key: parity[key] for key in ("rows", "largest_error")}
    return {"name": name, **times, "trials": found["trials"], "front": found["front"], **agrees}


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Sweep every network, one after the other."""
    names = list(_CASES["sweeps"])
    return {"sweeps": [swept(name, number, options) for number, name in enumerate(names)]}


def page(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    made = f"Made by `{result['command']}`. {sentence(result['facts'])}"
    rows, fronts = [], []
    for found in result["sweeps"]:
        times = {key: found[key] for key in ("check s", "sweep s", "export s")}
        agrees = {"rows in C++": found["rows"], "largest error": found["largest_error"]}
        rows.append({"network": found["name"], **times, **agrees})
        fronts += [f"## {found['name']}", _front(found)]
    return render("trigger", made=made, rows=table(rows), fronts="\n\n".join(fronts))


def _front(found: dict[str, Any]) -> str:
    objectives = _CASES["sweeps"][found["name"]]["objectives"]
    scores = [name for name in objectives if name != "lut"]
    tested = [name.removeprefix("val_") for name in scores]
    columns = ["trial", "step", *scores, *tested, "lut", "dsp", "sparsity", "dense"]
    shown = [{column: point.get(column) for column in columns} for point in found["front"]]
    return table(sorted(shown, key=lambda point: point["lut"] or 0))


if __name__ == "__main__":
    Study(
        "trigger",
        "networks of a Level-1 trigger from check to export",
        measured,
        page,
        packages=("rfprune", "hls4ml", "torch", "numpy"),
        options={
            "--rows": (int, 10000, "rows of each data set"),
            "--trials": (int, 12, "trials of each sweep"),
            "--seed": (int, 0, "of the simulated rows"),
        },
    ).run()
