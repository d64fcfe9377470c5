"""Someone with a shell who sends a small sweep to a cluster by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]
SMALL = (
    "train.epochs=2",
    "prune.steps=1",
    "prune.epochs_per_step=1",
    "train.batch_size=256",
)


class User:
    """A home folder with a profile, and an environment without the test's own clusters.

    Args:
        folder: the home folder.
        profile: lines of the profile, beside its folder of runs.
        variables: of the environment, beside those that every program has.
    """

    def __init__(self, folder: Path, profile: str, variables: Mapping[str, str]) -> None:
        self.folder = folder
        self.runs = folder / "its runs"
        self.profile = folder / "here.yml"
        self.profile.write_text(f"runs: {self.runs}\n{profile}")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
        own = {"HOME": str(folder), "PYTHONPATH": str(ROOT)}
        self.environment = {**inherited, **variables, **own}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rfprune", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def submit(self, *arguments: str) -> str:
        """Send the sweep and return the job's handle."""
        changes = [part for text in SMALL for part in ("--set", text)]
        sweep = str(ROOT / "sweeps" / "digits.yml")
        done = self.run("submit", sweep, "--on", str(self.profile), *changes, *arguments)
        assert done.returncode == 0, done.stderr
        return next(line for line in done.stdout.splitlines() if "Submitted" in line).split()[1]
