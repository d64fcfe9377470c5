"""Ray for a sweep: a cluster that is given, or one on this machine that ends with the sweep."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rfprune.core.full_disk import is_full_disk
from rfprune.errors import ClusterError
from rfprune.execution.ray_private import (
    JOB_CONFIG_VARIABLE,
    is_version_mismatch,
    local_node,
    private_token,
    quiet_environment,
    shut_down,
    signals_stay_ours,
)

__all__ = ["check_reachable", "cluster", "quiet_environment"]

_OBJECT_STORE_BYTES = 80_000_000
_CONNECT_SECONDS = 5.0
#: ``sun_path`` of Linux, without the final zero; and what Ray puts behind its folder:
#: ``/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store`` and a number.
_LONGEST_SOCKET_PATH, _SOCKET_PATH_BYTES = 107, 70
_LEAST_FREE_BYTES = 20_000_000


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connect to the cluster at `address`, or start one on this machine and end it afterwards."""
    import ray

    # Whoever started it ends it.
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # Below, "local" is named outright: otherwise a cluster that runs on this host would be
        # used.
        options.update(include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES)
    elif JOB_CONFIG_VARIABLE not in os.environ:
        # Nodes that share a source checkout find it there; a submitted job brings its own code.
        home = Path(__file__).resolve().parents[2]
        if home.name not in ("site-packages", "dist-packages"):
            options["runtime_env"] = {"env_vars": {"PYTHONPATH": str(home)}}
    if address is None:
        _check_places()
    with contextlib.ExitStack() as session:
        if address is None:
            session.enter_context(private_token())
        # Also after half a start: nothing of it must stay behind.
        session.callback(shut_down)
        try:
            with local_node() if address is None else contextlib.nullcontext(), signals_stay_ours():
                ray.init(address=address or "local", **options)
        except (Exception, SystemExit) as error:
            raise _refusal(address, error) from error
        yield


def _check_places() -> None:
    """Refuse folders and memory that Ray cannot use; it would say so late, or not at all.

    Raises:
        ClusterError: says which, and what to do.
    """
    temporary = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    # Ray makes the folder if it does not exist.
    there = next(place for place in (temporary, *temporary.absolute().parents) if place.exists())
    if not os.access(there, os.W_OK):
        raise ClusterError(
            f"{temporary}: Ray cannot write its files there. Set RAY_TMPDIR to a folder that can "
            "be written, e.g. RAY_TMPDIR=/tmp."
        )
    if len(os.fsencode(temporary)) + _SOCKET_PATH_BYTES > _LONGEST_SOCKET_PATH:
        raise ClusterError(
            f"{temporary}: is too long a path for Ray's sockets (at most "
            f"{_LONGEST_SOCKET_PATH - _SOCKET_PATH_BYTES} bytes). Set RAY_TMPDIR to a shorter one, "
            "e.g. RAY_TMPDIR=/tmp."
        )
    free = shutil.disk_usage(there).free
    if free < _LEAST_FREE_BYTES:
        raise ClusterError(
            f"{temporary}: has {free / 1e6:.0f} MB left, too little for Ray's files. Free some "
            "space, or set RAY_TMPDIR to another folder."
        )
    shared = Path("/dev/shm")
    if not (shared.is_dir() and os.access(shared, os.W_OK)):
        raise ClusterError(
            "/dev/shm: cannot be written, and Ray keeps its objects there. In a container give it "
            "some memory (docker run --shm-size=1g); elsewhere mount a tmpfs there."
        )


def _refusal(address: str | None, error: BaseException) -> ClusterError:
    """Return why Ray did not start or did not let this process in, and what to do."""
    # Ray's sentences come over several lines.
    said = " ".join(str(error).split())
    if is_version_mismatch(error):
        return ClusterError(
            f"the Ray cluster at {address} and this process have different versions ({said}). Use "
            "the same Ray and Python on both sides, or 'rfprune submit', which needs them only on "
            "the cluster."
        )
    if address is not None and isinstance(error, ConnectionError):
        return ClusterError(
            f"the Ray cluster at {address} does not let this process in ({said}). If it asks for a "
            "token, set RAY_AUTH_MODE=token, and put the cluster's into ~/.ray/auth_token, or name "
            "its file in RAY_AUTH_TOKEN_PATH."
        )
    if address is not None:
        return ClusterError(f"the Ray cluster at {address} does not let this process in ({said}).")
    return ClusterError(f"Ray does not start on this machine: {_why_not_started(error, said)}")


def _why_not_started(error: BaseException, said: str) -> str:
    """Return the cause of a failed start, and what to do, as the end of a sentence."""
    if is_full_disk(error):
        return f"a disk is full ({said}). Free some space in $RAY_TMPDIR, $TMPDIR or /tmp."
    if isinstance(error, PermissionError):
        place = error.filename or said
        if place == sys.executable:
            return f"this user may not run {place}. Install Python where all users may."
        return f"no permission for {place}. Set RAY_TMPDIR to a folder of your own."
    if isinstance(error, OSError) and error.errno in (
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
    ):
        return f"the limit of processes, files or memory is reached ({said}). See 'ulimit -a'."
    if "timed out" in said or "Timed out" in said or "within" in said:
        return (
            f"its processes did not answer in time ({said}). The machine may be too busy: try "
            "again, or run fewer things at once."
        )
    if "GCS" in said or "gcs" in said:
        return (
            f"its central process (GCS) has ended ({said}). Its log is below "
            "/tmp/ray/session_latest/logs; often memory is short."
        )
    return f"{said or type(error).__name__}. Its logs are below /tmp/ray/session_latest/logs."


def check_reachable(address: str | None) -> None:
    """Raise if nothing listens at HOST:PORT; Ray itself would wait for minutes before saying so.

    Raises:
        ClusterError: no connection, with the reason.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" or "local": no address to try
    # A plain connection, closed at once: whether Ray answers is asked by Ray.
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ClusterError(
            f"the Ray cluster at {address} cannot be reached ({reason}). Is it running there, and "
            "is the address HOST:PORT of its head (port 6379 by default)?"
        ) from error
