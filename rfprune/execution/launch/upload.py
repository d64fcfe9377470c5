"""What travels with a job: the sweep, the files that it names, and rfprune itself.

Only what is asked for travels: the files that the sweep names by relative paths, the Python files
beside the user's own module, objects that were handed over in Python, and what the profile
includes. Caches never do; what looks like a credential is refused by its name, unless the profile
allows it by its name.
"""

from __future__ import annotations

import fnmatch
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import rfprune
from rfprune.core.addresses import refuse_password
from rfprune.core.digests import sha256_of
from rfprune.core.given import given_files
from rfprune.core.own_code import own_functions
from rfprune.core.paths import find_named, named_files
from rfprune.data import data_files
from rfprune.errors import SpecError
from rfprune.execution.launch.profiles import Profile
from rfprune.execution.launch.secrets import why_secret
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import set_path

__all__ = ["SWEEP_FILE", "Upload", "collect"]

SWEEP_FILE = "sweep.yml"
_OUTSIDE = "outside"
_SKIPPED_FOLDERS = (
    "__pycache__",
    "node_modules",
    "site-packages",
    "venv",
    "build",
    "dist",
    "runs",
    "mlruns",
    "mlartifacts",
    "*.egg-info",
    ".*",
)
#: A folder with one of these files is a virtual environment or a run folder.
_SKIPPED_BY_FILE = ("pyvenv.cfg", "sweep.json", "study.journal")


@dataclass(frozen=True)
class Upload:
    """Files of one job by their relative POSIX path: contents, or the local file to read."""

    files: Mapping[str, bytes | Path]

    def with_files(self, files: Mapping[str, bytes | Path]) -> Upload:
        """Return an upload with further files."""
        return Upload({**self.files, **files})

    def read(self, name: str) -> bytes:
        """Return the content of one file.

        Raises:
            SpecError: the file cannot be read.
        """
        content = self.files[name]
        if isinstance(content, bytes):
            return content
        try:
            return content.read_bytes()
        except OSError as error:
            raise SpecError(f"{content}: cannot be sent ({error}).") from error

    def sizes(self) -> dict[str, int]:
        """Return the size of every file in bytes, by name."""
        return {
            name: len(content) if isinstance(content, bytes) else content.stat().st_size
            for name, content in sorted(self.files.items())
        }

    def listed(self) -> list[dict[str, str | int]]:
        """Return name, bytes and sha256 of every file."""
        return [
            {"name": name, "bytes": size, "sha256": sha256_of(self.read(name))}
            for name, size in self.sizes().items()
        ]

    def check_size(self, largest_mb: float, where: str) -> None:
        """Refuse an upload that `where` cannot take.

        Raises:
            SpecError: it is too large; names the largest files and what to do.
        """
        sizes = self.sizes()
        total = sum(sizes.values())
        if total <= largest_mb * 1e6:
            return
        biggest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        listed = ", ".join(f"{name} ({sizes[name] / 1e6:.1f} MB)" for name in biggest)
        raise SpecError(
            f"the files that would be sent to {where} are {total / 1e6:.1f} MB, but at most "
            f"{largest_mb:g} MB are allowed. Largest: {listed}. Put large data where all nodes see "
            "them and name them by an absolute path, or put them below the cluster's $RFPRUNE_DATA."
        )

    def write(self, folder: Path) -> None:
        """Write all files into `folder`, which nobody else can read."""
        folder.mkdir(parents=True, mode=0o700)
        for name in self.files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(name))

    def zipped(self) -> bytes:
        """Return all files as a zip archive; equal files give equal bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(self.files):
                # Dates before 1980 do not exist in a zip file.
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                # Permissions; zipfile's own choice would be 0600, for the owner alone.
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, self.read(name))
        return buffer.getvalue()

    def digest(self) -> str:
        """Return a name for the content, 40 hex digits."""
        return sha256_of(self.zipped())[:40]


def collect(sweep: SweepSpec, base_dir: Path, profile: Profile) -> Upload:
    """Return everything that `sweep` needs elsewhere, as one folder with ``sweep.yml`` at its top.

    A relative path stays as it is; one that leaves the sweep's folder is put under ``outside/``.
    A relative path that does not exist here is left alone: it may exist on the cluster.

    Raises:
        SpecError: a file looks like a secret or is unreadable, or the sweep holds a password.
    """
    if profile.storage is not None:
        sweep = sweep.model_copy(update={"storage": profile.storage})
    refuse_password(sweep.storage, "storage")
    left_out = [*profile.exclude]
    files: dict[str, bytes | Path] = dict(_modules(sweep, base_dir, left_out))
    values = sweep.canonical()
    files.update(_given(values, base_dir))
    for key, path in named_files(sweep):
        if (found := _named_file(path, base_dir)) is not None:
            inside, sent = found
            set_path(values, key, inside)
            files.update(sent)
    files.update(_included(base_dir, profile.include, left_out))
    for name, content in files.items():
        if isinstance(content, Path) and name not in profile.allow:
            _refuse_secret(name, content)
    if profile.code == "sent":
        files.update(_own_code())
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)
    files[SWEEP_FILE] = text.encode()
    return Upload(files)


def _named_file(name: str, base_dir: Path) -> tuple[str, dict[str, Path]] | None:
    """Return the path in the upload of a file or folder that the sweep names, and its files."""
    # Not below $RFPRUNE_DATA: the cluster has a folder of its own by that name.
    found = find_named(name, base_dir)
    if found is None or Path(name).expanduser().is_absolute():
        return None
    inside = os.path.normpath(name)
    if inside.startswith(".."):
        inside = f"{_OUTSIDE}/{found.name}"
    sent = {
        os.path.normpath(f"{inside}/{path.relative_to(found).as_posix()}"): path
        for path in data_files(found)
    }
    return (name if inside != f"{_OUTSIDE}/{found.name}" else inside), sent


def _refuse_secret(name: str, path: Path) -> None:
    """Refuse a file that looks like a credential.

    Raises:
        SpecError: says why, and what to do.
    """
    if why := why_secret(path, name):
        raise SpecError(
            f"{path}: looks like a secret: {why}. Secrets are not sent. Move it away, leave it out "
            f"(profile: exclude: ['{name}']), or, if it is none, allow it by its name (profile: "
            f"allow: ['{name}'])."
        )


def _modules(sweep: SweepSpec, base_dir: Path, left_out: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield the Python files beside the user's own modules that the sweep names."""
    modules = {
        name.partition(":")[0].partition(".")[0] for name in own_functions(sweep.canonical())
    }
    for folder in dict.fromkeys((Path.cwd(), base_dir)):
        if any((folder / f"{top}.py").is_file() or (folder / top).is_dir() for top in modules):
            for path in _walk(folder):
                name = path.relative_to(folder).as_posix()
                if path.suffix == ".py" and not _matches(name, left_out):
                    yield name, path


def _given(values: dict[str, Any], base_dir: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of the objects that were handed over in Python.

    Raises:
        SpecError: one is gone.
    """
    for name in given_files(values):
        path = base_dir / name
        if not path.is_file():
            raise SpecError(
                f"{path}: is missing; the sweep was begun with a Python object that was kept "
                "there. Begin it anew (fresh=True) with the object."
            )
        yield name, path


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _included(
    base_dir: Path, patterns: list[str], left_out: list[str]
) -> Iterator[tuple[str, Path]]:
    if not patterns:
        return
    for path in _walk(base_dir):
        name = path.relative_to(base_dir).as_posix()
        if _matches(name, patterns) and not _matches(name, left_out):
            yield name, path


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder` but those in caches, environments and runs."""
    for here, folders, names in os.walk(folder):
        # In place: `os.walk` then does not enter the others.
        folders[:] = sorted(
            name
            for name in folders
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in _SKIPPED_FOLDERS)
            and not any((Path(here) / name / file).exists() for file in _SKIPPED_BY_FILE)
        )
        for name in sorted(names):
            path = Path(here) / name
            # A link may lead out of the folder, to files that nobody meant to send.
            if path.is_file() and not path.is_symlink():
                yield path


def _own_code() -> Iterator[tuple[str, Path]]:
    """Yield the files of rfprune's package, and ``mlflow.yml`` as it is looked for."""
    package = Path(rfprune.__file__).parent
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if path.is_file() and "__pycache__" not in inside.parts and path.suffix != ".pyc":
            yield f"rfprune/{inside.as_posix()}", path
    beside = package.parent / "mlflow.yml"
    if beside.exists() and not (package / "_shipped").exists():
        yield "mlflow.yml", beside
