"""What a command loads before it answers: wrong input never waits for packages it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Packages that take seconds to import.
HEAVY = ("ray", "mlflow", "optuna", "hls4ml", "sklearn", "sympy", "matplotlib", "pandas")
PROGRAM = """
import sys
from rfprune.cli import main
try:
    main(sys.argv[2:])
except SystemExit as ended:
    print("status", ended.code)
print("loaded", *[name for name in sys.argv[1].split(",") if name in sys.modules])
"""


def loaded(folder: Path, status: int, *arguments: str) -> list[str]:
    """Return which heavy packages a process has loaded when a command ends with `status`."""
    command = [sys.executable, "-c", PROGRAM, ",".join(HEAVY), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    *_, ended, names = done.stdout.splitlines()
    assert ended == f"status {status}", done.stderr
    return names.split()[1:]


@pytest.mark.parametrize(
    "change",
    [
        "model.name=lenet",
        "data.name=fashion",
        "search.hardware.layers.fc1.reuse_factor={choices: [2, 3]}",
        "prune.layers.fc9.prune=false",
        "prune.budget.dsp=0.000001",
        "search.hardware.layers.fc9.reuse_factor={valid: true}",
    ],
)
def test_a_wrong_sweep_is_refused_before_anything_heavy_is_loaded(
    tmp_path: Path, change: str
) -> None:
    arguments = ["sweep", "digits", "--set", change]
    if change.startswith("prune.budget"):
        arguments += ["--set", "search={prune.regularizer.weight: {low: 0, high: 1}}"]
    assert loaded(tmp_path, 2, *arguments) == []
    assert list(tmp_path.iterdir()) == []


def test_what_check_loads(tmp_path: Path) -> None:
    assert loaded(tmp_path, 0, "check", "digits", "--fast") == []
