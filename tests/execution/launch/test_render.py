"""Every rendered text, against golden files; RFPRUNE_WRITE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from rfprune import __version__
from rfprune.errors import SpecError, UnknownNameError
from rfprune.execution.launch import Submission, find_job, render
from rfprune.execution.launch.kinds import _module
from rfprune.execution.launch.kubernetes import manifests
from rfprune.execution.launch.prepared_job import PreparedJob

from . import kuberay_schema
from .makers import HOSTILE, prepared, profile_file, sweep

GOLDEN = Path(__file__).parent / "golden"
RICH: dict[str, dict[str, Any]] = {
    "local": {},
    "ray": {"driver_cpus": 1},
    "slurm": {
        "partition": "batch",
        "account": "physics",
        "qos": "long",
        "constraint": "a100&ib",
        "minutes": 90,
        "restarts": 3,
        "setup": ["module load python/3.11"],
    },
    "kubernetes": {
        "runs": "/runs",
        "namespace": "team",
        "context": "lab",
        "nodes": 3,
        "cpus": 4,
        "gpus": 1,
        "memory_gb": 16,
        "minutes": 90,
        "queue": "night",
        "service_account": "sweeps",
        "pull_secrets": ["registry"],
        "node_selector": {"gpu": "a100"},
    },
}


def _without_sweep(job: PreparedJob, text: str) -> str:
    """Return `text` without what depends on the sweep's defaults and on the version."""
    sweep_text = job.upload.read("sweep.yml").decode()
    for shown in (sweep_text, textwrap.indent(sweep_text, "    ")):
        text = text.replace(shown, "<sweep.yml>\n")
    text = text.replace(f"sweep.yml ({len(sweep_text.encode())} bytes)", "sweep.yml")
    text = text.replace(job.upload.digest(), "<digest>").replace(__version__, "<version>")
    return re.sub(r"files, [0-9.]+ MB", "files", text)


def _check(name: str, job: PreparedJob) -> None:
    text = _without_sweep(job, _module(job.profile.kind).render(job))
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("RFPRUNE_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("kind", RICH)
def test_plain(kind: str, tmp_path: Path) -> None:
    job = prepared(tmp_path, kind, **RICH[kind])
    _check(f"{kind}-plain", job)


@pytest.mark.parametrize("kind", RICH)
def test_hostile(kind: str, tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "runs": f"/srv/{HOSTILE}",
        "interpreter": f"~/{HOSTILE}",
        "tracking_uri": f"http://mlflow/{HOSTILE}",
        "environment": {
            "TEXT": f"{HOSTILE}\n#SBATCH --uid=0\n",
            "FROM_FILE": {"file": f"/srv/{HOSTILE}"},
            "FROM_VARIABLE": {"variable": "OTHER"},
        },
    }
    if kind == "kubernetes":
        keys["image"] = HOSTILE
        keys["environment"]["FROM_SECRET"] = {"secret": "mlflow", "key": HOSTILE}
    (tmp_path / "net.py").write_text("text = '''${{ $(touch hit) }}'''\n")
    job = prepared(
        tmp_path, kind, sweep(model={"name": "net:build", "args": {"x": HOSTILE}}), **keys
    )
    _check(f"{kind}-hostile", job)


def test_entry_point_is_the_same_everywhere(tmp_path: Path) -> None:
    entries = {prepared(tmp_path, kind).upload.read("entry.sh") for kind in RICH}
    assert len(entries) == 1
    last = entries.pop().decode().splitlines()[-1]
    assert last == "exec /opt/python -m rfprune sweep ./sweep.yml --runs /srv/runs"


def test_directives_of_slurm_are_above_all_values(tmp_path: Path) -> None:
    job = prepared(tmp_path, "slurm", environment={"X": "a\n#SBATCH --uid=0"}, **RICH["slurm"])
    script = _module("slurm").batch_script(job)
    directives = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert len(directives) == 13
    assert script.splitlines()[1 : 1 + len(directives)] == directives


@pytest.mark.parametrize("hostile", [False, True])
def test_ray_job_fits_the_schema(hostile: bool, tmp_path: Path) -> None:
    environment = {"TEXT": HOSTILE, "S": {"secret": "mlflow", "key": "key"}} if hostile else {}
    job = prepared(tmp_path, "kubernetes", **RICH["kubernetes"], environment=environment)
    config_map, ray_job = yaml.safe_load_all(_module("kubernetes").render(job))
    assert [config_map, ray_job] == manifests(job)
    assert kuberay_schema.faults(ray_job) == []
    assert kuberay_schema.faults(config_map) == []


@pytest.mark.parametrize(
    "path",
    [
        "spec.entrypont",
        "spec.rayClusterSpec.rayversion",
        "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.imagePullpolicy",
        "spec.rayClusterSpec.workerGroupSpecs.0.replica",
        "metadata.label",
    ],
)
def test_typo_in_a_manifest_is_found(path: str, tmp_path: Path) -> None:
    ray_job = manifests(prepared(tmp_path, "kubernetes"))[1]
    here: Any = ray_job
    *parents, last = path.split(".")
    for name in parents:
        here = here[int(name) if name.isdigit() else name]
    here[last] = "x"
    assert any(last in fault for fault in kuberay_schema.faults(ray_job))


def test_wrong_type_in_a_manifest_is_found(tmp_path: Path) -> None:
    ray_job = manifests(prepared(tmp_path, "kubernetes"))[1]
    ray_job["spec"]["backoffLimit"] = "two"
    assert kuberay_schema.faults(ray_job)


def test_trial_that_fits_no_node(tmp_path: Path) -> None:
    spec = sweep(resources={"cpus": 16, "gpus": 0})
    with pytest.raises(SpecError, match=r"resources.cpus: a trial needs 16, and a node .* has 8"):
        prepared(tmp_path, "slurm", spec)


def test_render_by_name_of_the_kind(tmp_path: Path, home: Path) -> None:
    text = render(Submission(sweep(), "demo.yml", tmp_path, "ray", "http://10.0.0.7:8265"))
    assert text.startswith("# POST http://10.0.0.7:8265/api/jobs/\n")
    assert '"submission_id": "rfprune-demo-' in text


@pytest.mark.parametrize("handle", ["rfprune-demo", "ray:", "rey:x", ""])
def test_no_handle(handle: str, home: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"is not a job\. Allowed: KIND:NAME"):
        find_job(handle)


def test_profile_file_is_read_from_a_path(tmp_path: Path) -> None:
    path = profile_file(tmp_path, "local", runs=str(tmp_path / "runs"))
    assert str(tmp_path / "runs") in render(Submission(sweep(), "demo.yml", tmp_path, str(path)))
