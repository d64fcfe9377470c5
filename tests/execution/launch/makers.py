"""Small sweeps, profiles and prepared jobs for the tests of the launch room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rfprune.execution.launch.prepared_job import PreparedJob, Submission, prepare_job
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec

#: Text that a shell would run or break on if it were not quoted.
HOSTILE = "a b'c\"d$(touch hit)`touch hit`;touch hit\\ && touch hit #%j"

PROFILES: dict[str, dict[str, Any]] = {
    "local": {"kind": "local"},
    "ray": {"kind": "ray", "address": "http://head.example:8265"},
    "slurm": {"kind": "slurm", "nodes": 2, "cpus": 8, "gpus": 1, "memory_gb": 32},
    "kubernetes": {"kind": "kubernetes", "image": "rfprune:0.2.0", "claim": "rfprune-runs"},
}


def sweep(**keys: Any) -> SweepSpec:
    """Return a small sweep."""
    values = {
        "name": "demo",
        "model": {"name": "mlp"},
        "data": {"name": "digits"},
        "search": {"prune.budget.dsp": {"low": 0.1, "high": 0.5}},
        "trials": 2,
        **keys,
    }
    return parse_spec(SweepSpec, values, "demo.yml")


def profile_file(folder: Path, kind: str, **keys: Any) -> Path:
    """Write a profile of `kind` and return its path."""
    plain: dict[str, Any] = {"runs": "/srv/runs", "interpreter": "/opt/python", "code": "installed"}
    path = folder / f"{kind}.yml"
    path.write_text(json.dumps({**plain, **PROFILES[kind], **keys}))
    return path


def prepared(folder: Path, kind: str, spec: SweepSpec | None = None, **keys: Any) -> PreparedJob:
    """Return the prepared job of a small sweep with a fixed name."""
    profile = profile_file(folder, kind, **keys)
    submission = Submission(spec or sweep(), "demo.yml", folder, str(profile))
    return prepare_job(submission, name="rfprune-demo-0a1b2c")
