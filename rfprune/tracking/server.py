"""The MLflow server of ``rfprune ui``: started as ``mlflow.yml`` says, stopped as a whole."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from rfprune.core.signals import termination_as_interrupt
from rfprune.errors import InputError, WorkError
from rfprune.tracking.client import quiet_environment, revealed, shown_uri
from rfprune.tracking.config import TrackingConfig

__all__ = ["serve"]

#: MLflow's server took 13 to 25 s to answer on two busy cores.
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
#: The server's output goes there, so that standard output carries the address alone.
_STDERR = 2
_PORTS_TRIED = 100


def serve(
    config: TrackingConfig,
    announce: Callable[[str], None] = print,
    path: Callable[[], str] = lambda: "",
    show: Callable[[str], object] = lambda address: None,
) -> None:
    """Start the MLflow server and wait until Ctrl-C or SIGTERM stops it.

    Args:
        config: tracking address and server settings.
        announce: called with the address, once the server answers.
        path: returns what follows the server in the address; called once it answers.
        show: called with the bare address, e.g. to open it in a browser.

    Raises:
        InputError: the tracking address is itself a server's, or the port cannot be used.
        WorkError: the server ended by itself.
    """
    if config.is_server:
        raise InputError(
            f"tracking_uri is the server {shown_uri(config.tracking_uri)}, so none needs to be "
            "started here: open that address in a browser."
        )
    _check_port(config)
    with termination_as_interrupt():
        # A session of its own: Ctrl-C reaches only this process, which then ends the whole group.
        process = subprocess.Popen(
            _command(config), env=_environment(config), stdout=_STDERR, start_new_session=True
        )
        try:
            _wait_until_ready(process, config)
            host = config.server.host
            named = f"[{host}]" if ":" in host else host  # an IPv6 address
            address = f"http://{named}:{config.server.port}{path()}"
            announce(f"MLflow is running at {address} (Ctrl-C stops it)")
            show(address)
            raise WorkError(f"the MLflow server ended with status {process.wait()}.")
        except KeyboardInterrupt:
            return
        finally:
            _end_group(process)


def _command(config: TrackingConfig) -> list[str]:
    server = config.server
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", server.host, "--port", str(server.port)]
    command += ["--workers", str(server.workers)]
    command += ["--allowed-hosts", ",".join(server.allowed_hosts)]
    if server.cors_allowed_origins:
        command += ["--cors-allowed-origins", ",".join(server.cors_allowed_origins)]
    return [*command, "--uvicorn-opts", "--log-level warning"]


def _environment(config: TrackingConfig) -> dict[str, str]:
    # Addresses are passed in the environment: passwords in them would show in the process list.
    environment = {**os.environ, **quiet_environment()}
    environment.setdefault("PYTHONWARNINGS", "ignore")
    environment["MLFLOW_BACKEND_STORE_URI"] = revealed(config.tracking_uri)
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    environment["MLFLOW_REGISTRY_STORE_URI"] = revealed(config.registry.uri or config.tracking_uri)
    if config.artifact_location:
        environment["MLFLOW_ARTIFACTS_DESTINATION"] = config.artifact_location
    # These would tell the server to be its own client, or give experiments another place.
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT"):
        environment.pop(name, None)
    return environment


def _check_port(config: TrackingConfig) -> None:
    host, port = config.server.host, config.server.port
    fault = _bind_fault(host, port)
    if fault is None:
        return
    if isinstance(fault, PermissionError):
        raise InputError(f"server.port {port} needs root. Allowed: 1024 to 65535, e.g. 5000.")
    if isinstance(fault, socket.gaierror) or fault.errno == errno.EADDRNOTAVAIL:
        raise InputError(
            f"server.host '{host}' is not an address of this machine. Allowed: 127.0.0.1 (only "
            "this machine), 0.0.0.0 (every network), or an address of it."
        )
    candidates = range(port + 1, min(port + _PORTS_TRIED, 65536))
    free = next((number for number in candidates if _bind_fault(host, number) is None), None)
    hint = f" Port {free} is free: set server.port in mlflow.yml, or MLFLOW_PORT={free}."
    raise InputError(f"port {port} on {host} is in use.{hint if free else ''}")


def _bind_fault(host: str, port: int) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the server does: a port that was left a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _wait_until_ready(process: subprocess.Popen[bytes], config: TrackingConfig) -> None:
    # A wildcard address is where a server listens, not where a client connects.
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.server.host, config.server.host)
    url = f"http://{host}:{config.server.port}/health"
    # Not through a proxy, which cannot reach this machine's own ports.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise WorkError(
                f"the MLflow server ended with status {process.returncode} before it answered; "
                "its output is above."
            )
        try:
            with opener.open(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    raise WorkError(f"the MLflow server did not answer at {url} within {_START_SECONDS:g} s.")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the server and every process that it started."""
    for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, 2.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and _group_lives(process):
            time.sleep(0.05)
    process.wait()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # Collects the leader, which would otherwise stay in the group as a zombie.
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
