"""The import rules hold, and each of them would be seen to be broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
CONTRACTS = [
    contract["name"]
    for contract in tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]["contracts"]
]
#: By contract: a file, and a line in it that breaks the rule.
BREACHES = {
    "Rooms import downwards only": ("core/files.py", "import rfprune.results.records"),
    "FPGAs and processors do not know each other": ("edge/costs.py", "import rfprune.fpga.groups"),
    "Nothing for processors looks at facts of FPGAs": (
        "edge/costs.py",
        "import rfprune.hardware.parts",
    ),
    "Targets are reached by name only": ("exporting/export.py", "import rfprune.edge.target"),
    "What selects is handed numbers and knows no network": (
        "methods/baselines.py",
        "import rfprune.models.networks",
    ),
    "The agent is reached by name only": ("pruning/loop.py", "import rfprune.methods.akperl.learn"),
    "hls4ml from one room": ("exporting/export.py", "import hls4ml"),
    "Ray from one room": ("study/study.py", "import ray"),
    "Optuna from one room": ("execution/drive.py", "import optuna"),
    "MLflow from one room": ("results/front.py", "import mlflow"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of a checkout on its own package."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_contract_has_a_breach() -> None:
    assert set(BREACHES) == set(CONTRACTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, *BREACHES])
def test_a_breach_is_named(name: str | None, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    shutil.copytree(
        REPOSITORY / "rfprune", tmp_path / "rfprune", ignore=shutil.ignore_patterns("__pycache__")
    )
    if name is not None:
        file, line = BREACHES[name]
        path = tmp_path / "rfprune" / file
        path.write_text(f"{path.read_text()}\n{line}\n")
    done = lint(tmp_path)
    assert (done.returncode == 0) == (name is None), done.stdout + done.stderr
    if name is not None:
        assert f"{name} BROKEN" in done.stdout
