"""Profiles: short YAML files that say where a sweep runs and where its results stay.

Knows what the files may say, not how a cluster is talked to. A profile never holds a secret: a
credential is named by the variable, the file or the Kubernetes secret that it is in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from rfprune.core.addresses import refuse_password
from rfprune.core.paths import user_folder
from rfprune.core.registry import nearest
from rfprune.core.shipped import shipped
from rfprune.errors import SpecError, UnknownNameError
from rfprune.spec import Spec
from rfprune.spec.yaml_files import parse_spec, read_yaml

__all__ = [
    "KubernetesProfile",
    "LocalProfile",
    "Profile",
    "RayProfile",
    "SlurmProfile",
    "Variable",
    "list_profiles",
    "load_profile",
]

_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY"
)
_NOT_SECRET = re.compile(r"_(FILE|PATH|DIR)$")
_ADDRESSES = ("address", "storage", "tracking_uri")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
#: RFC 1123 names, as Kubernetes asks for them.
_KUBERNETES_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
#: What Slurm's names of partitions, accounts and features are made of.
_SLURM_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.,:@&|+-]*$"


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError(f"{text!r} holds a control character or a line break")
    return text


def _folder(text: str) -> str:
    if not text.startswith(("/", "~/")):
        raise ValueError(
            f"'{text}' depends on the working directory. Allowed: an absolute path, or one that "
            "begins with ~/ (the home folder on the cluster)"
        )
    return _one_line(text)


OneLine = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]
Folder = Annotated[str, AfterValidator(_folder)]
KubernetesName = Annotated[str, Field(pattern=_KUBERNETES_NAME, max_length=63)]
SlurmName = Annotated[str, Field(pattern=_SLURM_NAME)]


class Variable(Spec):
    """Where the value of one environment variable comes from, on the cluster.

    Exactly one of these: a plain value (``NAME: text``), another variable, a file, or a key of a
    Kubernetes secret.
    """

    value: str | None = None
    variable: Annotated[str, Field(pattern=_VARIABLE_NAME)] | None = Field(
        None, description="name of a variable that is set where the sweep's driver starts"
    )
    file: Folder | None = Field(None, description="file that holds the value, on the driver's node")
    secret: KubernetesName | None = Field(None, description="name of a Kubernetes secret")
    key: OneLine | None = Field(None, description="key in the Kubernetes secret")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return {"value": str(value)}
        if not isinstance(value, dict):
            raise ValueError("allowed are a text, or a mapping with variable, file or secret")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = [s for s in (self.value, self.variable, self.file, self.secret) if s is not None]
        if len(sources) != 1 or (self.secret is None) != (self.key is None):
            raise ValueError("give one of a text, 'variable', 'file', or 'secret' with 'key'")
        if self.value is not None and "\x00" in self.value:
            raise ValueError("a value cannot hold the character NUL")
        return self


class Profile(Spec):
    """What every kind of profile says."""

    largest_mb: ClassVar[float] = 1000

    kind: str
    runs: Folder = Field("~/rfprune-runs", description="folder of all runs, on the cluster")
    interpreter: OneLine | None = Field(
        None, description="Python on the cluster; the one that runs this, or python, if not set"
    )
    code: Literal["sent", "installed"] = Field(
        "sent", description="whether rfprune itself is sent along or installed on the cluster"
    )
    include: list[OneLine] = Field(
        default_factory=list, description="further files beside the sweep to send along (patterns)"
    )
    exclude: list[OneLine] = Field(
        default_factory=list, description="files that are not sent, whoever asks (patterns)"
    )
    allow: list[OneLine] = Field(
        default_factory=list, description="files that are sent although they look like secrets"
    )
    environment: dict[Annotated[str, Field(pattern=_VARIABLE_NAME)], Variable] = Field(
        default_factory=dict, description="environment variables of the sweep"
    )
    storage: OneLine | None = Field(None, description="URL of the study; a journal if not set")
    tracking_uri: OneLine | None = Field(
        None, description="MLflow's address; a database under 'runs' if not set"
    )

    @field_validator("environment")
    @classmethod
    def _no_secret_in_text(cls, variables: dict[str, Variable]) -> dict[str, Variable]:
        for name, variable in variables.items():
            secret = _SECRET_NAME.search(name.upper()) and not _NOT_SECRET.search(name.upper())
            if secret and variable.value is not None:
                raise ValueError(
                    f"'{name}' looks like a secret, and a profile must not contain one. Allowed: "
                    f"{name}: {{file: /path/on/the/cluster}} or {name}: {{variable: NAME}}"
                )
        return variables

    @model_validator(mode="after")
    def _secrets_need_kubernetes(self) -> Self:
        for name, variable in self.environment.items():
            if variable.secret is not None and self.kind != "kubernetes":
                raise ValueError(
                    f"environment.{name}.secret: only for kind kubernetes. Allowed here: a text, "
                    "variable or file"
                )
        return self


class LocalProfile(Profile):
    """This machine: the sweep runs in the background."""

    kind: Literal["local"]


class RayProfile(Profile):
    """A Ray cluster that is running, by its Jobs API."""

    largest_mb: ClassVar[float] = 100

    kind: Literal["ray"]
    address: OneLine | None = Field(
        None,
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        description="of the dashboard, e.g. http://127.0.0.1:8265",
    )
    driver_cpus: Annotated[float, Field(ge=0)] = Field(
        0, description="CPUs that the driver occupies; the trials' are in the sweep file"
    )


class _Nodes(Profile):
    """Machines that are asked for."""

    nodes: PositiveInt = Field(1, description="nodes that run trials")
    cpus: PositiveInt = Field(1, description="CPUs per node")
    gpus: NonNegativeInt = Field(0, description="GPUs per node")
    memory_gb: PositiveFloat | None = Field(None, description="memory per node in GB (1e9 bytes)")


class SlurmProfile(_Nodes):
    """A Slurm cluster whose nodes share the folder `runs`."""

    kind: Literal["slurm"]
    minutes: PositiveInt = Field(60, description="time limit of one start of the job")
    restarts: NonNegativeInt = Field(
        10, description="how often a job that ran out of time goes back into the queue"
    )
    partition: SlurmName | None = None
    account: SlurmName | None = None
    qos: SlurmName | None = None
    constraint: SlurmName | None = Field(None, description="features that the nodes must have")
    setup: list[str] = Field(
        default_factory=list, description="shell lines at the start, e.g. 'module load python'"
    )


class KubernetesProfile(_Nodes):
    """A Kubernetes cluster with the KubeRay operator: one RayJob per sweep."""

    #: A ConfigMap holds 1 MiB, part of it names and YAML.
    largest_mb: ClassVar[float] = 0.9

    kind: Literal["kubernetes"]
    image: OneLine = Field(description="container image with rfprune installed")
    claim: KubernetesName = Field(
        description="PersistentVolumeClaim that is mounted at 'runs' (ReadWriteMany)"
    )
    runs: Folder = "/runs"
    code: Literal["installed"] = "installed"
    namespace: KubernetesName = "default"
    context: OneLine | None = Field(None, description="kubectl's context; the current if not set")
    service_account: KubernetesName | None = None
    pull_secrets: list[KubernetesName] = Field(default_factory=list)
    node_selector: dict[str, str] = Field(default_factory=dict)
    queue: KubernetesName | None = Field(None, description="Kueue's local queue")
    ray_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = Field(
        "2.60.0", description="of Ray in the image"
    )
    minutes: PositiveInt | None = Field(None, description="time limit of the job")
    restarts: NonNegativeInt = Field(2, description="how often a broken cluster is rebuilt")
    head_cpus: PositiveInt = 1
    head_memory_gb: PositiveFloat = 4

    @field_validator("runs")
    @classmethod
    def _mount_point(cls, runs: str) -> str:
        if runs.startswith("~"):
            raise ValueError(
                f"'{runs}' is not a mount point. Allowed: an absolute path, e.g. /runs"
            )
        return runs


_KINDS: dict[str, type[Profile]] = {
    "local": LocalProfile,
    "ray": RayProfile,
    "slurm": SlurmProfile,
    "kubernetes": KubernetesProfile,
}


def load_profile(name: str) -> Profile:
    """Return the profile `name`: a file, one of the user's, or one that comes with rfprune.

    Raises:
        UnknownNameError: there is none of that name; lists those that exist.
        SpecError: the file is wrong; names the key, the value and the nearest valid choice.
    """
    path = _find(name)
    values = read_yaml(path)
    kind = values.get("kind")
    if kind is None:
        raise SpecError(f"{path}: the key 'kind' is missing. Allowed: {', '.join(_KINDS)}.")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise SpecError(
            f"{path}: kind: unknown kind {kind!r}.{nearest(str(kind), _KINDS)} "
            f"Allowed: {', '.join(_KINDS)}."
        )
    # Before the fields are checked, whose messages repeat the value.
    for key in _ADDRESSES:
        refuse_password(values.get(key), f"{path}: {key}")
    return parse_spec(_KINDS[kind], values, str(path))


def list_profiles() -> Iterator[tuple[str, str]]:
    """Yield name and summary (the file's first comment) of every profile that can be named."""
    for name, path in sorted(_known().items()):
        with path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline()
        summary = first.lstrip("# ").strip() if first.startswith("#") else ""
        yield name, summary or str(path)


def _find(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix in (".yml", ".yaml") or "/" in name:
        return path
    known = _known()
    if name not in known:
        raise UnknownNameError(
            f"unknown profile '{name}'.{nearest(name, known)} Known: {', '.join(sorted(known))}; "
            f"further ones are files in {_user_folder()}, or any path."
        )
    return known[name]


def _known() -> dict[str, Path]:
    """Return all named profiles; one of the user's hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for folder in (shipped("cluster") / "profiles", _user_folder()):
        for pattern in ("*.yaml", "*.yml"):
            found.update({path.stem: path for path in folder.glob(pattern)})
    return found


def _user_folder() -> Path:
    return user_folder("config") / "profiles"
