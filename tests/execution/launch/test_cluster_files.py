"""The files under cluster/: each is parsed, and checked as far as that goes without a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rfprune.execution.launch.profiles import load_profile

from . import kuberay_schema

CLUSTER = Path(__file__).parents[3] / "cluster"
#: Keys of a service that compose.yaml uses (Compose specification, "services").
SERVICE = {
    "build",
    "cap_drop",
    "command",
    "depends_on",
    "deploy",
    "environment",
    "healthcheck",
    "image",
    "init",
    "networks",
    "ports",
    "restart",
    "secrets",
    "security_opt",
    "shm_size",
    "volumes",
}


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((CLUSTER / "compose.yaml").read_text())


def test_only_data_and_text() -> None:
    assert not list(CLUSTER.rglob("*.py"))


@pytest.mark.parametrize("path", sorted((CLUSTER / "profiles").glob("*")), ids=lambda p: p.name)
def test_profiles(path: Path) -> None:
    load_profile(str(path))
    assert path.read_text().startswith("# ")


def test_compose_services(compose: Any) -> None:
    assert set(compose) == {"name", "x-node", "services", "networks", "volumes", "secrets"}
    assert set(compose["services"]) == {"head", "worker", "mlflow", "postgres"}
    for service in compose["services"].values():
        assert set(service) <= SERVICE
        for name in service.get("depends_on", {}):
            assert "healthcheck" in compose["services"][name]
        assert set(service["secrets"]) <= set(compose["secrets"])
        assert {v.partition(":")[0] for v in service["volumes"]} <= set(compose["volumes"])
    assert compose["services"]["worker"]["deploy"]["replicas"] == 2


def test_compose_opens_ports_on_loopback_only(compose: Any) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_holds_no_secret(compose: Any) -> None:
    assert all(set(secret) == {"environment"} for secret in compose["secrets"].values())
    for name in ("head", "worker"):
        environment = compose["services"][name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
    for service in compose["services"].values():
        for name in service.get("environment", {}):
            assert not re.search(r"(PASSWORD|TOKEN)$", name)


@pytest.mark.parametrize("name", ["ray-cluster.yaml", "ray-cluster-aws.yaml"])
def test_ray_up_files(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    values = yaml.safe_load((CLUSTER / name).read_text())
    validate_config(prepare_config(values))
    starts = values["head_start_ray_commands"] + values["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)
    assert "--dashboard-host=127.0.0.1" in values["head_start_ray_commands"][-1]


def test_typo_in_a_ray_up_file_is_found() -> None:
    from ray.autoscaler._private.util import validate_config

    values = yaml.safe_load((CLUSTER / "ray-cluster.yaml").read_text())
    with pytest.raises(Exception, match="setup_comands"):
        validate_config({**values, "setup_comands": []})


@pytest.mark.parametrize("path", sorted((CLUSTER / "kuberay").glob("*.yaml")), ids=lambda p: p.name)
def test_kubernetes_files(path: Path) -> None:
    values = list(yaml.safe_load_all(path.read_text()))
    assert values
    assert [kuberay_schema.faults(value) for value in values] == [[]] * len(values)


def test_files_agree_on_image_and_volume() -> None:
    profile = (CLUSTER / "profiles" / "kubernetes.yml").read_text()
    claim = yaml.safe_load((CLUSTER / "kuberay" / "runs.yaml").read_text())["metadata"]["name"]
    assert f"claim: {claim}" in profile
    images = {
        image
        for path in CLUSTER.rglob("*.y*ml")
        for image in re.findall(r"rfprune:[\d.]+", path.read_text())
    }
    assert len(images) == 1


def test_every_file_is_described() -> None:
    readme = (CLUSTER / "README.md").read_text()
    for path in CLUSTER.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert path.name in readme or f"`{path.stem}`" in readme, path
