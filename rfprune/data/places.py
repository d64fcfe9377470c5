"""Where data files are looked for, and how missing ones are downloaded."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError

from rfprune.core.digests import digest_of_file
from rfprune.core.files import replacing
from rfprune.core.paths import find_named, places_of, user_folder
from rfprune.errors import DataError

__all__ = [
    "RemoteFile",
    "cache_dir",
    "data_dir",
    "download",
    "file_identity",
    "find_file",
    "folders_of",
    "locate",
    "missing",
    "obtain",
    "open_url",
]

TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A public file: its name here, its address, its checksum (``algorithm:hex``)."""

    name: str
    url: str
    checksum: str


def data_dir() -> Path | None:
    """Return the folder that ``$RFPRUNE_DATA`` names, or None."""
    value = os.environ.get("RFPRUNE_DATA")
    return Path(value).expanduser() if value else None


def cache_dir() -> Path:
    """Return the user's cache: ``$XDG_CACHE_HOME/rfprune``, or the system's own place."""
    return user_folder("cache")


def file_identity(path: Path) -> str:
    """Return path, size and time of change of a file, as text."""
    about = path.stat()
    return f"{path.absolute()} {about.st_size} {about.st_mtime_ns}"


def find_file(file: str, base_dir: Path | None) -> Path:
    """Return the path of a user's file or folder.

    A relative path is looked for in ``base_dir`` (the folder of the file that names it), in the
    current folder, then under ``$RFPRUNE_DATA``.

    Raises:
        DataError: it is in none of them; the message lists where it was looked for.
    """
    if (found := find_named(file, base_dir, data_dir())) is not None:
        return found
    places = places_of(file, base_dir, data_dir())
    looked = ", ".join(map(str, places))
    hint = "" if data_dir() or places == [Path(file).expanduser()] else " RFPRUNE_DATA is not set."
    raise DataError(f"data.file: '{file}' does not exist. Looked for: {looked}.{hint}")


def locate(dataset: str, file_name: str) -> Path | None:
    """Return a named data set's file from ``$RFPRUNE_DATA/<dataset>`` or the cache, or None."""
    for folder in folders_of(dataset):
        if (folder / file_name).is_file():
            return folder / file_name
    return None


def obtain(dataset: str, files: Sequence[RemoteFile]) -> list[Path]:
    """Return the paths of a named data set's files, downloading those that are not here.

    Raises:
        DataError: a file is not here and cannot be downloaded; says which file to put where.
    """
    paths = []
    for file in files:
        path = locate(dataset, file.name)
        if path is None:
            try:
                path = download(file, cache_dir() / dataset / file.name)
            except OSError as error:
                raise missing(dataset, files, str(error)) from error
        paths.append(path)
    return paths


def download(file: RemoteFile, target: Path) -> Path:
    """Download to ``target``; it appears there whole and verified, or not at all.

    Raises:
        DataError: the checksum differs.
        OSError: the network or the disk failed.
    """
    algorithm, _, expected = file.checksum.partition(":")
    # Checked before it gets its name: whoever finds the file can rely on it.
    with replacing(target) as partial:
        with open_url(file.url) as response, partial.open("wb") as out:
            out.writelines(_progress(file, response))
        if (found := digest_of_file(partial, algorithm)) != expected:
            raise DataError(
                f"{file.url}: the download's {algorithm} is {found}, expected "
                f"{expected}; it was damaged in transit or has changed, and was not kept."
            )
    return target


def missing(dataset: str, files: Sequence[RemoteFile], reason: str) -> DataError:
    """Return the error for a set that cannot be obtained: it says which file to put where."""
    looked = ", ".join(str(folder) for folder in folders_of(dataset))
    wanted = ", ".join(f"{file.name} ({file.url})" for file in files)
    return DataError(
        f"data set '{dataset}' is not in {looked} and cannot be downloaded ({reason}). "
        f"Put these files into {folders_of(dataset)[0]}: {wanted}; or put one file there, "
        f"{dataset}.npz with x_train, y_train, x_test, y_test. RFPRUNE_DATA may name another "
        f"folder that holds {dataset}/."
    )


def open_url(url: str) -> IO[bytes]:
    """Open an address for reading; every failure of the network is an OSError."""
    # Some servers refuse the name that urllib gives itself.
    request = urllib.request.Request(url, headers={"User-Agent": "rfprune"})
    try:
        response: IO[bytes] = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        error.close()
        raise OSError(f"{url}: {error}") from error
    except HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error
    except OSError as error:
        raise OSError(f"{url}: {error}") from error
    return response


def _progress(file: RemoteFile, response: IO[bytes]) -> Iterator[bytes]:
    """Yield the chunks of a download and report to stderr how far it is."""
    total = int(getattr(response, "headers", {}).get("Content-Length") or 0)
    # A log file gets one line, not one per chunk.
    live = sys.stderr.isatty()
    print(f"downloading {file.url} ({total / 1e6:.0f} MB)", file=sys.stderr, flush=True)
    done = 0
    while chunk := _read(file.url, response):
        done += len(chunk)
        if live:
            share = f" ({done / total:.0%})" if total else ""
            print(f"\r  {done / 1e6:.0f} MB{share}", end="", file=sys.stderr, flush=True)
        yield chunk
    if live:
        print(file=sys.stderr)
    # A connection that breaks looks like the end of the file.
    if done < total:
        raise OSError(f"{file.url}: the connection closed after {done} of {total} bytes")


def _read(url: str, response: IO[bytes]) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error


def folders_of(dataset: str) -> list[Path]:
    """Return where the files of a named data set may be, best first."""
    base = data_dir()
    # The user's own folder first: what they put there is meant.
    return [folder / dataset for folder in ([base] if base else []) + [cache_dir()]]
