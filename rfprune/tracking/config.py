"""``mlflow.yml``: where sweeps are tracked, and how the MLflow server is started.

Knows what the file may say, not MLflow itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt, field_validator

from rfprune.core.addresses import masked
from rfprune.core.shipped import shipped
from rfprune.spec import Spec
from rfprune.spec.yaml_files import parse_spec, read_yaml, set_path

__all__ = ["RegistryConfig", "ServerConfig", "TrackingConfig", "load_config"]

_FILE = "mlflow.yml"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https", "databricks")
#: MLflow's own environment variables (mlflow/environment_variables.py, mlflow/cli), and ours.
_ENVIRONMENT = {
    "MLFLOW_TRACKING_URI": "tracking_uri",
    "MLFLOW_REGISTRY_URI": "registry.uri",
    "MLFLOW_EXPERIMENT_NAME": "experiment",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT": "artifact_location",
    "MLFLOW_HOST": "server.host",
    "MLFLOW_PORT": "server.port",
    "MLFLOW_WORKERS": "server.workers",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "server.allowed_hosts",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "server.cors_allowed_origins",
    "RFPRUNE_TRACKING": "enabled",
}
_LISTS = ("server.allowed_hosts", "server.cors_allowed_origins")


class RegistryConfig(Spec):
    """Where exported models are registered."""

    uri: str | None = Field(default=None, description="the tracking address if not set")
    alias: str = Field(default="champion", pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")


class ServerConfig(Spec):
    """How `rfprune ui` starts the MLflow server."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Annotated[int, Field(ge=1, le=65535)] = 5000
    workers: PositiveInt = 1
    allowed_hosts: list[str] = Field(
        default=["localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*"],
        min_length=1,
        description="hosts that a request may name; * matches any text",
    )
    cors_allowed_origins: list[str] = Field(
        default_factory=list, description="other web origins that may call the server"
    )


class TrackingConfig(Spec):
    """Where sweeps are tracked."""

    enabled: bool = True
    tracking_uri: str = Field(
        default="sqlite:///mlflow.db", validate_default=True, description="database or server"
    )
    artifact_location: str | None = Field(
        default="mlartifacts",
        validate_default=True,
        description="folder or store of the files of runs",
    )
    experiment: str = Field(default="rfprune", min_length=1)
    tags: dict[str, str] = Field(default_factory=dict)
    registry: RegistryConfig = RegistryConfig()
    server: ServerConfig = ServerConfig()

    @property
    def is_server(self) -> bool:
        """Whether runs are sent to a server, which then decides where files go."""
        return urlsplit(self.tracking_uri).scheme in _SERVERS

    @field_validator("tracking_uri")
    @classmethod
    def _reachable_kind(cls, uri: str) -> str:
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme not in (*_DATABASES, *_SERVERS):
            raise ValueError(
                f"'{masked(uri)}' is not an address that MLflow can use here. Allowed: "
                f"{', '.join((*_DATABASES, *_SERVERS))}, e.g. sqlite:///mlflow.db or "
                "http://127.0.0.1:5000"
            )
        return _absolute_sqlite(uri)

    @field_validator("artifact_location")
    @classmethod
    def _absolute_folder(cls, location: str | None) -> str | None:
        if location is None or "://" in location or location.startswith("file:"):
            return location
        return Path(location).resolve().as_uri()


def load_config(
    folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> TrackingConfig:
    """Return the settings of ``mlflow.yml`` in `folder`, or the shipped ones; environment wins.

    Args:
        folder: where to look; the working directory if None.
        environment: variables; those of this process if None.

    Raises:
        SpecError: the file or a variable is wrong; names it, the key and what is allowed.
    """
    path = (folder or Path()) / _FILE
    if not path.exists():
        path = shipped(_FILE)
    values = read_yaml(path)
    # The file by itself first, so that a message blames the file or the variables correctly.
    config = parse_spec(TrackingConfig, values, str(path))
    given = os.environ if environment is None else environment
    overrides: dict[str, Any] = {}
    for name, key in _ENVIRONMENT.items():
        # An empty variable counts as unset: shells and compose files leave many of them.
        if text := given.get(name, "").strip():
            overrides[name] = [part.strip() for part in text.split(",")] if key in _LISTS else text
    if not overrides:
        return config
    for name, value in overrides.items():
        set_path(values, _ENVIRONMENT[name], value)
    return parse_spec(TrackingConfig, values, f"{path} with {' '.join(overrides)}")


def _absolute_sqlite(uri: str) -> str:
    """Return a SQLite address whose path does not depend on the working directory."""
    prefix = "sqlite:///"
    path = uri.removeprefix(prefix)
    if not uri.startswith(prefix) or path in ("", ":memory:"):
        return uri
    return prefix + str(Path(path).resolve())
