"""A sweep on nodes that do not see the driver's folder, of which one dies and one comes later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rfprune.results import SweepFolder, TrialFolder
from rfprune.study import count_trials, read_study

from .nodes import Node, Site, can_isolate

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.flaky(reruns=1)]

ROOT = Path(__file__).parents[3]
TRIALS = 5
CHANGES = (
    *("train.epochs=1", "train.batch_size=8", "prune.steps=5", "prune.epochs_per_step=5"),
    *("prune.tolerance=0.99", "sampler.name=random"),
)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(isolated=can_isolate()) as site:
        site.start_head()
        yield site


def _rfprune(site: Site, *arguments: str) -> str:
    unwanted = ("RAY_", "MLFLOW_", "RFPRUNE_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    done = subprocess.run(
        [sys.executable, "-m", "rfprune", *arguments],
        cwd=site.folder,
        env={**kept, "HOME": str(site.folder), "PYTHONPATH": str(ROOT), **site.access},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _submit(site: Site) -> str:
    profile = site.folder / "site.yml"
    profile.write_text(
        f"kind: ray\naddress: {site.dashboard}\nruns: {site.folder}/runs\n"
        f"interpreter: {sys.executable}\nenvironment: {{OMP_NUM_THREADS: 1}}\n"
    )
    changes = [part for text in CHANGES for part in ("--set", text)]
    wanted = ("--on", str(profile), "--trials", str(TRIALS))
    said = _rfprune(site, "submit", str(ROOT / "sweeps" / "digits.yml"), *wanted, *changes)
    return next(line for line in said.splitlines() if "Submitted" in line).split()[1]


def _wait(site: Site, job: str, happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 180
    while not happened():
        assert time.monotonic() < deadline, f"{what}: {_rfprune(site, 'logs', job)}"
        time.sleep(0.05)


def _begun(folder: SweepFolder) -> list[TrialFolder]:
    """Return the trials that have made some of their steps."""
    return [t for t in folder.trials() if t.result() is None and 1 <= len(t.steps()) <= 4]


def test_a_sweep_without_a_shared_folder_survives_a_node(site: Site) -> None:
    first, second = site.add_node(), site.add_node()
    folder = SweepFolder(site.folder / "runs" / "digits")
    job = _submit(site)
    _wait(site, job, lambda: len(_begun(folder)) == 2, "two trials at work")
    if site.isolated:
        assert not second.sees(folder.path)
    first.kill()
    killed_at = time.time()
    later = site.add_node()
    _wait(site, job, later.runs_a_trial, "the later node at work")
    log = _rfprune(site, "logs", job, "--follow")
    assert f"{TRIALS} of {TRIALS} trials complete" in log, log
    assert json.loads(_rfprune(site, "status", job, "--json"))["state"] == "succeeded"
    _check_results(folder, killed_at)
    if site.isolated:
        _check_nothing_stays(site, second)


def _check_results(folder: SweepFolder, killed_at: float) -> None:
    study = read_study(folder)
    counts = count_trials(study)
    assert (counts.complete, counts.running, counts.waiting) == (TRIALS, 0, 0)
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert len({trial.user_attrs["key"] for trial in complete}) == TRIALS
    again = 0
    for trial in complete:
        run = folder.trial(trial.user_attrs["folder"])
        result, records = run.result(), run.steps()
        assert result is not None
        assert result.state == "complete"
        assert [record.step for record in records] == list(range(len(records)))
        assert all(run.checkpoint(r.step).exists() for r in records if r.accepted)
        if result.attempt:
            again += run.checkpoint(0).stat().st_mtime < killed_at
            assert run.checkpoint(records[-1].step).stat().st_mtime > killed_at
    assert again == 1, "the trial of the dead node went on from its last step"
    assert len(list(folder.dense_dir.glob("*/dense.pt"))) == 1


def _check_nothing_stays(site: Site, node: Node) -> None:
    pid = next(pid for pid in node.pids() if Path(f"/proc/{pid}/root{site.folder}/tmp").exists())
    left = list(Path(f"/proc/{pid}/root{site.folder}/tmp").glob("rfprune-*"))
    assert not left
