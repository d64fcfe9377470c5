"""``mlflow.yml``: where it is looked for, what wins, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import rfprune
from rfprune.errors import SpecError
from rfprune.tracking import TrackingConfig, load_config


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> None:
        (tmp_path / "mlflow.yml").write_text(text, encoding="utf-8")

    return write


def test_the_shipped_file_says_the_defaults(tmp_path: Path, write) -> None:
    assert load_config(environment={}) == TrackingConfig()
    assert load_config(environment={}).tracking_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    top = Path(rfprune.__file__).parents[1] / "mlflow.yml"
    if top.exists():
        write(top.read_text(encoding="utf-8"))
        assert load_config(environment={}) == TrackingConfig()


def test_the_working_directory_wins_over_the_shipped_file(write) -> None:
    write("experiment: jets\nserver: {port: 5001}\n")
    config = load_config(environment={})
    assert (config.experiment, config.server.port, config.enabled) == ("jets", 5001, True)


def test_the_environment_wins_over_the_file(write) -> None:
    write("experiment: jets\nserver: {port: 5001, workers: 2}\n")
    config = load_config(
        environment={
            "MLFLOW_TRACKING_URI": "http://10.0.0.1:5000",
            "MLFLOW_EXPERIMENT_NAME": "from-env",
            "MLFLOW_PORT": "6000",
            "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow:5000, localhost:*",
            "RFPRUNE_TRACKING": "0",
            "MLFLOW_HOST": " ",
        }
    )
    assert config.tracking_uri == "http://10.0.0.1:5000"
    assert config.is_server
    assert config.experiment == "from-env"
    assert config.server.port == 6000
    assert config.server.workers == 2
    assert config.server.allowed_hosts == ["mlflow:5000", "localhost:*"]
    assert config.server.host == "127.0.0.1"
    assert config.enabled is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experimant: x\n", "unknown key 'experimant'. Did you mean 'experiment'"),
        ("server: {prot: 1}\n", "unknown key 'server.prot'. Did you mean 'port'"),
        ("server: {port: 70000}\n", "server.port: must be at most 65535"),
        ("tracking_uri: file:./mlruns\n", "Allowed: sqlite, postgresql"),
        ("tracking_uri: ./mlruns\n", "Allowed: sqlite, postgresql"),
        ("server: {allowed_hosts: []}\n", "server.allowed_hosts"),
        ("experiment: ''\n", "experiment"),
        ("tags: {a: [1]}\n", "tags.a"),
        ("server: [\n", "YAML syntax"),
    ],
)
def test_a_wrong_file_is_one_sentence(write, text: str, message: str) -> None:
    write(text)
    with pytest.raises(SpecError) as caught:
        load_config(environment={})
    assert message in str(caught.value)
    assert str(caught.value).startswith("mlflow.yml")


def test_a_wrong_variable_is_named(write) -> None:
    with pytest.raises(SpecError, match=r"with MLFLOW_PORT: server\.port.*'abc'"):
        load_config(environment={"MLFLOW_PORT": "abc"})


@pytest.mark.parametrize(
    "uri",
    ["sqlite:///:memory:", "postgresql+psycopg2://u:p@db/mlflow", "http://127.0.0.1:5000"],
)
def test_other_addresses_stay_as_they_are(uri: str) -> None:
    assert TrackingConfig(tracking_uri=uri).tracking_uri == uri


def test_artifact_stores_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert TrackingConfig(artifact_location="s3://b/x").artifact_location == "s3://b/x"
    assert TrackingConfig(artifact_location=None).artifact_location is None
    assert TrackingConfig(artifact_location="a").artifact_location == (tmp_path / "a").as_uri()
