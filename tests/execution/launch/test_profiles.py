"""Profiles: what they may say, where they are found, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import RfpruneError, SpecError, UnknownNameError
from rfprune.execution.launch import list_profiles
from rfprune.execution.launch.profiles import KubernetesProfile, RayProfile, load_profile

from .makers import PROFILES, profile_file


@pytest.mark.parametrize("kind", PROFILES)
def test_profiles_that_come_with_rfprune_are_valid(kind: str, home: Path) -> None:
    profile = load_profile(kind)
    assert profile.kind == kind
    assert kind in dict(list_profiles())


def test_profile_of_the_user_hides_a_shipped_one(home: Path) -> None:
    folder = home / ".config" / "rfprune" / "profiles"
    folder.mkdir(parents=True)
    (folder / "ray.yml").write_text("# ours\nkind: ray\naddress: http://10.0.0.1:8265\n")
    profile = load_profile("ray")
    assert isinstance(profile, RayProfile)
    assert profile.address == "http://10.0.0.1:8265"
    assert dict(list_profiles())["ray"] == "ours"


def test_unknown_profile_names_the_nearest(home: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'slrm'. Did you mean 'slurm'\?"):
        load_profile("slrm")


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("slurm", {"partion": "a"}, r"unknown key 'partion'. Did you mean 'partition'\?"),
        ("slurm", {"nodes": "two"}, "nodes: .*two"),
        ("slurm", {"nodes": 0}, "nodes: .*0"),
        ("slurm", {"partition": "a b"}, "partition: "),
        ("slurm", {"account": "a\n#SBATCH --uid=0"}, "account: "),
        ("ray", {"address": "head:8265"}, "address: "),
        ("ray", {"address": "http://me:secret@head:8265"}, r"http://me:\*\*\*@head:8265"),
        ("ray", {"runs": "runs"}, "depends on the working directory"),
        ("ray", {"runs": "/a\nb"}, "a line break"),
        ("ray", {"interpreter": "python\x00"}, "a control character"),
        ("ray", {"environment": {"A_TOKEN": "x"}}, "'A_TOKEN' looks like a secret"),
        ("ray", {"environment": {"A": {"fil": "/x"}}}, r"'environment.A.fil'. Did you mean 'file'"),
        ("ray", {"environment": {"A": {"file": "/x", "variable": "B"}}}, "give one of"),
        ("ray", {"environment": {"A": {"secret": "x", "key": "y"}}}, "only for kind kubernetes"),
        ("ray", {"environment": {"A": [1]}}, "environment.A: allowed are a text, or a mapping"),
        ("ray", {"environment": {"A-B": "x"}}, "environment.A-B"),
        ("ray", {"storage": "postgresql://u:pw@db/x"}, "PGPASSWORD"),
        ("ray", {"nodes": 2}, "unknown key 'nodes'"),
        ("kubernetes", {"runs": "~/runs"}, "not a mount point"),
        ("kubernetes", {"claim": "Runs_1"}, "claim: "),
        ("kubernetes", {"code": "sent"}, "code: .*installed"),
    ],
)
def test_wrong_profile(tmp_path: Path, kind: str, keys: dict[str, Any], message: str) -> None:
    path = profile_file(tmp_path, kind, **keys)
    with pytest.raises(SpecError, match=message) as caught:
        load_profile(str(path))
    assert str(path) in str(caught.value)
    assert "pw@" not in str(caught.value)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: /a\n", "the key 'kind' is missing. Allowed: local, ray, slurm, kubernetes"),
        ("kind: kubernets\n", r"unknown kind 'kubernets'. Did you mean 'kubernetes'\?"),
        ("kind: [ray]\n", r"unknown kind \['ray'\]"),
        ("kind: [", "YAML syntax"),
    ],
)
def test_profile_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message):
        load_profile(str(path))


def test_missing_profile_file(tmp_path: Path) -> None:
    with pytest.raises(RfpruneError, match="no such file"):
        load_profile(str(tmp_path / "absent.yml"))


def test_values_of_variables(tmp_path: Path) -> None:
    path = profile_file(
        tmp_path,
        "kubernetes",
        environment={
            "OMP_NUM_THREADS": 1,
            "PASSWORD_FILE": "/etc/password",
            "MLFLOW_TRACKING_TOKEN": {"secret": "mlflow", "key": "token"},
        },
    )
    profile = load_profile(str(path))
    assert isinstance(profile, KubernetesProfile)
    assert profile.environment["OMP_NUM_THREADS"].value == "1"
    assert profile.environment["MLFLOW_TRACKING_TOKEN"].key == "token"
