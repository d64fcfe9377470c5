"""The MLflow server as a user starts it: what it serves, whom it refuses, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from benchmarks.ports import free_port
from rfprune.errors import InputError
from rfprune.tracking import TrackingConfig, project, serve
from rfprune.tracking.config import ServerConfig


def on_port(config: TrackingConfig, **server) -> TrackingConfig:
    return config.model_copy(update={"server": ServerConfig(**server)})


def test_a_port_in_use_names_the_next_free_one(config) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} on 127.0.0.1 is in use. Port \d+ is"):
            serve(on_port(config, port=port))


def test_a_foreign_address_and_a_server_as_store_are_refused(config) -> None:
    with pytest.raises(InputError, match="is not an address of this machine"):
        serve(on_port(config, host="192.0.2.1", port=free_port()))
    with pytest.raises(InputError, match=r"http://10.0.0.1:5000, so none needs"):
        serve(TrackingConfig(tracking_uri="http://10.0.0.1:5000"))


PROGRAM = """
import sys
from rfprune.tracking import TrackingConfig, serve
config = TrackingConfig.model_validate_json(sys.argv[1])
serve(config, announce=lambda text: print(text, flush=True))
print("ended", flush=True)
"""


def request(port: int, path: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def group_is_empty(leader: int) -> bool:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        members = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(leader)], capture_output=True, check=False
        )
        if not members.stdout.strip():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.flaky(reruns=1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_server_serves_the_runs_and_ends_whole(make, config, number) -> None:
    folder = make.sweep(trials=2)
    run_ids = project(folder, config)
    port = free_port()
    chosen = on_port(config, port=port)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), chosen.model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout.readline().startswith(f"MLflow is running at http://127.0.0.1:{port}")
        status, content = request(port, "/api/2.0/mlflow/experiments/search?max_results=10")
        assert status == 200
        names = [experiment["name"] for experiment in json.loads(content)["experiments"]]
        assert "rfprune" in names
        status, content = request(port, f"/api/2.0/mlflow/runs/get?run_id={run_ids[1]}")
        assert json.loads(content)["run"]["info"]["run_name"] == "trial-0001"
        status, content = request(port, f"/get-artifact?path=spec.json&run_uuid={run_ids[1]}")
        assert content == (folder.trial(1).path / "spec.json").read_bytes()
        status, _ = request(port, "/api/2.0/mlflow/experiments/search?max_results=1", "evil.org")
        assert status == 403
        # The same sweep through the server: the same runs are found, and new trials arrive.
        make.trial(folder, 2)
        by_server = TrackingConfig(tracking_uri=f"http://127.0.0.1:{port}", tags=config.tags)
        again = project(folder, by_server)
        assert {n: again[n] for n in run_ids} == run_ids
        assert set(again) == {0, 1, 2}
    finally:
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert out.endswith("ended\n")
    assert process.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        request(port, "/health")
    assert group_is_empty(process.pid)
