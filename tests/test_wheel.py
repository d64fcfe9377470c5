"""A wheel in an environment of its own, where nothing of this checkout can be imported."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.flaky(reruns=1),
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None
        or importlib.util.find_spec("nbclient") is None,
        reason="extra test is missing",
    ),
]

#: The first cell of somebody who has just installed it: embedded data, to a front.
CELL = """
import rfprune

runs = rfprune.sweep(
    model={"name": "mlp", "args": {"hidden": [16]}},
    data="digits",
    hardware={"part": "pynq-z2"},
    train={"epochs": 5},
    prune={"steps": 2, "epochs_per_step": 1, "tolerance": 0.2},
    search={"prune.budget.dsp": {"low": 0.1, "high": 0.5}},
    trials=4,
)
print(rfprune.__file__, len(runs.trials), len(runs.front))
runs
"""


def _run(*command: str | Path, cwd: Path = ROOT) -> str:
    # Without the checkout on its path, and without this process's settings of Python.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    ran = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with the dependencies as they are installed here."""
    home = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", home / "dist")
    (wheel,) = (home / "dist").glob("rfprune-*.whl")
    venv.create(home / "env", with_pip=True)
    python = home / "env" / "bin" / "python"
    purelib = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # A .pth file among them, such as that of an editable install, is not read from there.
    installed = [place for place in sys.path if Path(place).name == "site-packages"]
    (Path(purelib) / "beside.pth").write_text("\n".join(installed) + "\n")
    _run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel)
    return python


def test_the_wheel_brings_its_command_and_what_is_shipped(fresh: Path, tmp_path: Path) -> None:
    command = fresh.with_name("rfprune")
    assert "digits" in _run(command, "list", "sweeps", cwd=tmp_path)
    assert "slurm" in _run(command, "list", "profiles", cwd=tmp_path)
    assert _run(command, "--version", cwd=tmp_path).startswith("rfprune ")


def test_one_cell_in_a_fresh_environment_to_a_front(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        monkeypatch.delenv(name)
    kernel = tmp_path / "jupyter" / "kernels" / "fresh"
    kernel.mkdir(parents=True)
    argv = [str(fresh), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    about = {"argv": argv, "display_name": "fresh", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(about))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.strip())])
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(made, timeout=300, kernel_name="fresh", resources=place).execute()
    outputs = made.cells[0].outputs
    said = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")
    file, trials, points = said.split()
    assert Path(file).is_relative_to(fresh.parents[1])
    assert (int(trials), int(points) > 1) == (4, True)
    assert "<svg" in outputs[-1].data["text/html"]
    assert (tmp_path / "runs" / "sweep" / "sweep.json").exists()
