"""Kills ``rfprune retarget`` at random moments, and looks at what the same command makes then."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT

_SWEEP = """
name: small
model: {name: mlp, args: {hidden: [16, 16]}}
data: {name: digits}
train: {epochs: 2}
prune: {steps: 2, epochs_per_step: 1, tolerance: 0.9}
search: {hardware.reuse_factor: {choices: [1, 2, 4]}}
trials: 3
"""


def measure(n_kills: int, seed: int) -> dict[str, int]:
    """Return how many runs were hit, and what was found after each and after the next one.

    Half done is a new sweep that is there without one of its trials, or without its study; lost is
    one that in the end is not what an undisturbed run makes.
    """
    moments = random.Random(f"retarget {seed}")
    with tempfile.TemporaryDirectory(prefix="rfprune-faults-") as scratch:
        home = Path(scratch)
        (home / "small.yml").write_text(_SWEEP)
        _run(home, "sweep", "small.yml", "--no-track")
        retarget = ("retarget", "small", "--set", "hardware.part=pynq-z2", "--no-track", "--name")
        began = time.monotonic()
        _run(home, *retarget, "calm")
        seconds, found = time.monotonic() - began, {"hit": 0, "half done": 0, "lost": 0}
        while found["hit"] < n_kills:
            running = _start(home, *retarget, "moved")
            time.sleep(moments.uniform(0.0, 1.1 * seconds))
            found["hit"] += running.poll() is None
            running.kill()
            running.communicate()
            there = (home / "runs" / "moved").exists()
            found["half done"] += there and _content(home, "moved") != _content(home, "calm")
            if not there:
                _run(home, *retarget, "moved")
            found["lost"] += _content(home, "moved") != _content(home, "calm")
            shutil.rmtree(home / "runs" / "moved")
    return found


def _start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rfprune", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=home,
    )


def _run(home: Path, *arguments: str) -> None:
    running = _start(home, *arguments)
    _, errors = running.communicate()
    assert running.returncode == 0, errors


def _content(home: Path, name: str) -> Any:
    """Return all steps but their seconds, and how the study counts them; None if one is missing."""
    from rfprune.errors import RunsError
    from rfprune.results import SweepFolder
    from rfprune.study import count_trials, read_study

    folder = SweepFolder(home / "runs" / name)
    try:
        steps = {
            trial.number: [{**step.facts(), "seconds": None} for step in trial.steps()]
            for trial in folder.trials()
        }
        return steps, count_trials(read_study(folder))
    except RunsError:
        return None
