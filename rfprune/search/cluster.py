"""Ray for a sweep: a cluster that is given, or one on this machine that ends with the sweep."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rfprune.errors import ClusterError

__all__ = ["check_reachable", "cluster", "quiet_environment"]

_OBJECT_STORE_BYTES = 80_000_000
_CONNECT_SECONDS = 5.0
#: Tune and Ray print nothing, phone nobody, and keep no state that would be restored from.
_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A worker's death is told by the study, the progress and the trial's result, in our words.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that died is noticed within seconds; one that is merely slow has five times ten.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # The searcher itself lets in no more than there is room for; so all of them start at once.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@contextlib.contextmanager
def quiet_environment() -> Iterator[None]:
    """Set Ray's and Tune's variables for the time of the sweep; call before ray is imported."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connect to the cluster at `address`, or start one on this machine and end it afterwards."""
    import ray

    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # Named outright: without it a cluster that happens to run on the host would be taken.
        options.update(include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES)
    elif (
        home := _source_checkout()
    ) is not None and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
        # Nodes that share the checkout find it there; a submitted job brings its own code along.
        options["runtime_env"] = {"env_vars": {"PYTHONPATH": str(home)}}
    try:
        ray.init(address=address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise _refusal(address, error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _refusal(address: str | None, error: Exception) -> ClusterError:
    """Return why Ray did not start or did not let this process in, and what to do."""
    said = " ".join(str(error).split())
    if "Version mismatch" in said:
        return ClusterError(
            f"the Ray cluster at {address} and this process have different versions ({said}). Use "
            "the same Ray and Python on both sides, or 'rfprune submit', which needs them only on "
            "the cluster."
        )
    if address is not None and isinstance(error, ConnectionError):
        return ClusterError(
            f"the Ray cluster at {address} does not let this process in ({said}). If it asks for a "
            "token, put the cluster's into ~/.ray/auth_token, or name its file in "
            "RAY_AUTH_TOKEN_PATH."
        )
    return ClusterError(f"the Ray cluster {address or 'on this machine'} does not start ({said}).")


def check_reachable(address: str | None) -> None:
    """Raise if nobody listens at HOST:PORT; Ray itself would wait for minutes before it says so.

    Raises:
        ClusterError: no connection, with the reason.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" or "local": no address to try
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ClusterError(
            f"the Ray cluster at {address} cannot be reached ({reason}). Is it running there, and "
            "is the address HOST:PORT of its head (port 6379 by default)?"
        ) from error


def _source_checkout() -> Path | None:
    """Return the folder that holds the package, unless it is installed where nodes find it."""
    home = Path(__file__).resolve().parents[2]
    return None if home.name in ("site-packages", "dist-packages") else home
