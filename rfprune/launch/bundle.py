"""What travels with a job: the sweep, the files that it names, and rfprune itself.

Only what is asked for travels: the files that the sweep names by relative paths, the Python files
beside the user's own module, and what the profile includes. Secrets and caches never do.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import rfprune
from rfprune.data import data_files
from rfprune.errors import SpecError
from rfprune.launch.profiles import Profile, refuse_password
from rfprune.spec import SweepSpec

__all__ = ["SWEEP_FILE", "Bundle", "collect", "is_secret"]

SWEEP_FILE = "sweep.yml"
_OUTSIDE = "outside"
_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_SECRETS = (
    ".env",
    ".env.*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.kdbx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    ".pgpass",
    ".pypirc",
    ".npmrc",
    ".git-credentials",
    "credentials*",
    "secrets.*",
    "auth_token",
    "kubeconfig*",
)
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


def is_secret(path: Path) -> bool:
    """Return whether a file's name, or that of a folder above it, is a credential's."""
    folders = (".ssh", ".aws", ".kube", ".docker", ".gnupg", ".azure", ".gcloud")
    name = path.name.lower()
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _SECRETS) or any(
        part in folders for part in path.parts
    )


@dataclass(frozen=True)
class Bundle:
    """Files of one job by their relative POSIX path: contents, or the local file to read."""

    files: Mapping[str, bytes | Path]

    def with_files(self, files: Mapping[str, bytes | Path]) -> Bundle:
        """Return a bundle with further files."""
        return Bundle({**self.files, **files})

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

    def check_size(self, largest_mb: float, where: str) -> None:
        """Refuse a bundle that `where` cannot take.

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
            f"the files that would be sent to {where} have {total / 1e6:.1f} MB, allowed are "
            f"{largest_mb:g} MB. Largest: {listed}. Put large data where all nodes see them and "
            "name them by an absolute path, or below $RFPRUNE_DATA of the cluster."
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
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, self.read(name))
        return buffer.getvalue()

    def digest(self) -> str:
        """Return a name for the content, 40 hex digits."""
        # An identifier of a package, not a protection.
        return hashlib.sha1(self.zipped(), usedforsecurity=False).hexdigest()


def collect(sweep: SweepSpec, base_dir: Path, profile: Profile) -> Bundle:
    """Return everything that `sweep` needs elsewhere, as one folder with ``sweep.yml`` at its top.

    A relative path stays as it is; one that leaves the sweep's folder is put under ``outside/``.
    A relative path that does not exist here is left alone: it may exist on the cluster.

    Raises:
        SpecError: a named file is a secret or unreadable, or the sweep holds a password.
    """
    if profile.storage is not None:
        sweep = sweep.model_copy(update={"storage": profile.storage})
    refuse_password(sweep.storage, "storage")
    files: dict[str, bytes | Path] = dict(_modules(sweep, base_dir))
    values = sweep.canonical()
    named_in = (("data", "file"), ("model", "name"), ("model", "weights"), ("edge", "device"))
    for section, key in named_in:
        named = values.get(section, {}).get(key)
        if key == "name" and not sweep.model.is_file:
            continue
        if named is not None and (found := _named_file(named, base_dir)) is not None:
            values[section][key], sent = found
            files.update(sent)
    files.update(_included(base_dir, profile.include))
    if profile.code == "sent":
        files.update(_own_code())
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)
    files[SWEEP_FILE] = text.encode()
    return Bundle(files)


def _named_file(name: str, base_dir: Path) -> tuple[str, dict[str, Path]] | None:
    """Return the path in the bundle of a file or folder that the sweep names, and its files."""
    if Path(name).expanduser().is_absolute():
        return None
    places = [base_dir / name, Path.cwd() / name]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        return None
    inside = os.path.normpath(name)
    if inside.startswith(".."):
        inside = f"{_OUTSIDE}/{found.name}"
    sent = {
        os.path.normpath(f"{inside}/{path.relative_to(found).as_posix()}"): path
        for path in data_files(found)
    }
    for path in (found, *sent.values()):
        if is_secret(path.relative_to(path.anchor)) or is_secret(path.resolve()):
            raise SpecError(f"{path}: looks like a secret, and those are never sent.")
    return (name if inside != f"{_OUTSIDE}/{found.name}" else inside), sent


def _modules(sweep: SweepSpec, base_dir: Path) -> Iterator[tuple[str, Path]]:
    """Yield the Python files beside the user's own modules that the sweep names."""
    modules = {name.partition(":")[0].partition(".")[0] for name in _functions(sweep.canonical())}
    for folder in dict.fromkeys((Path.cwd(), base_dir)):
        if any((folder / f"{top}.py").is_file() or (folder / top).is_dir() for top in modules):
            for path in _walk(folder):
                if path.suffix == ".py":
                    yield path.relative_to(folder).as_posix(), path


def _functions(value: Any) -> Iterator[str]:
    """Yield every ``package.module:function`` in the values of a sweep."""
    if isinstance(value, str) and _FUNCTION.match(value):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _functions(inner)


def _included(base_dir: Path, patterns: list[str]) -> Iterator[tuple[str, Path]]:
    if not patterns:
        return
    for path in _walk(base_dir):
        name = path.relative_to(base_dir).as_posix()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            yield name, path


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder` but those in caches, environments and runs, and no secrets."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_skipped(Path(here) / name))
        for name in sorted(names):
            path = Path(here) / name
            if path.is_file() and not path.is_symlink() and not is_secret(path):
                yield path


def _is_skipped(folder: Path) -> bool:
    return any(fnmatch.fnmatchcase(folder.name, pattern) for pattern in _SKIPPED_FOLDERS) or any(
        (folder / name).exists() for name in _SKIPPED_BY_FILE
    )


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
