"""Sweeps whose study and MLflow are in a real PostgreSQL, which is killed in the middle."""

from __future__ import annotations

import gc
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from mlflow.exceptions import MlflowException

from benchmarks.ports import free_port
from rfprune.results import SweepFolder
from rfprune.study import count_trials, read_study
from rfprune.tracking.client import connect
from rfprune.tracking.config import TrackingConfig
from tests.postgres_server import PASSWORD, Postgres

HERE = Path(__file__).parents[1] / "study"
ROOT = HERE.parents[1]
WANTED = 10

pytestmark = [
    pytest.mark.flaky(reruns=1),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # from within mlflow
    # psycopg says so of connections that SQLAlchemy's pool leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    postgres = Postgres()
    yield postgres
    # The pools that SQLAlchemy leaves to the collector end here, where their warning is expected.
    gc.collect()
    postgres.close()


class Driver:
    """The sweep of ``drive_demo.py`` with its study, and its runs, in a database."""

    def __init__(self, runs: Path, server: Postgres, *more: str, gate: Path | None = None) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "DEMO_GATE": str(gate or ""),
            "DEMO_STORAGE": server.address("studies", "${DEMO_PASSWORD}"),
            "DEMO_PASSWORD": PASSWORD,
            "PGPASSWORD": PASSWORD,
            "MLFLOW_TRACKING_URI": server.address("mlflow"),
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(runs / "artifacts"),
            "RFPRUNE_TRACKING": "true",
        }
        runs.mkdir(exist_ok=True)
        self.log = runs / "driver.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, HERE / "drive_demo.py", runs, str(WANTED), "0.3", *more],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=runs,
            )

    def wait_for(self, word: str, times: int) -> None:
        deadline = time.monotonic() + 120
        while self.log.read_text().count(word) < times:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def end(self) -> int:
        try:
            return self.process.wait(timeout=240)
        finally:
            self.process.kill()


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_PASSWORD", PASSWORD)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


@pytest.fixture
def emptied(server: Postgres, password: None) -> None:
    """Another test's study belongs to that one's folder, and its runs would be counted."""
    for name in ("studies", "mlflow"):
        server.query(name, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")


@pytest.mark.usefixtures("emptied")
def test_a_database_that_is_killed_in_the_middle(tmp_path: Path, server: Postgres) -> None:
    # The sweep cannot end before its database was killed, however slow the machine is.
    gate = tmp_path / "gate"
    driver = Driver(tmp_path / "one", server, "track", gate=gate)
    driver.wait_for("complete", 3)
    second = Driver(tmp_path / "two", server)
    assert second.end() == 2
    assert f"in use by process {driver.process.pid}" in second.log.read_text() or (
        f"belongs to the sweep in {tmp_path}/one/demo" in second.log.read_text()
    )
    server.kill()
    gate.touch()
    driver.wait_for("cannot be reached or written", 1)
    server.start()
    assert driver.end() == 0, driver.log.read_text()
    assert "cannot be reached or written" in driver.log.read_text()
    assert "answers again" in driver.log.read_text()
    folder = SweepFolder(tmp_path / "one" / "demo")
    counts = count_trials(read_study(folder))
    assert (counts.complete, counts.failed, counts.running, counts.waiting) == (WANTED, 0, 0, 0)
    check_mlflow(server, folder)
    check_no_password(tmp_path)


def check_mlflow(server: Postgres, folder: SweepFolder) -> None:
    client = connect(TrackingConfig(tracking_uri=server.address("mlflow")))
    (experiment,) = (e for e in client.search_experiments() if e.name == "rfprune")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert Counter(run.data.tags["kind"] for run in runs) == {"sweep": 1, "trial": WANTED}
    assert {run.info.status for run in runs} == {"FINISHED"}
    numbers = {
        int(run.data.tags["trial_number"]) for run in runs if "trial_number" in run.data.tags
    }
    assert numbers == {trial.number for trial in folder.trials()}


def check_no_password(path: Path) -> None:
    """The password is in no file of the sweep, its runs and its logs."""
    for file in path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert PASSWORD.encode() not in content, file
            assert b"not%2F4" not in content, file


@pytest.mark.long
@pytest.mark.usefixtures("emptied")
def test_a_database_that_stays_away(tmp_path: Path, server: Postgres) -> None:
    driver = Driver(tmp_path / "one", server)
    driver.wait_for("complete", 3)
    server.kill()
    try:
        driver.wait_for("cannot be reached or written", 1)
        # Whoever does not want to wait any longer stops it.
        driver.process.send_signal(signal.SIGTERM)
        status = driver.end()
    finally:
        server.start()
    # Where the lease's renewal saw the outage first, there may be nothing left to write.
    assert status in (1, 130)
    if status == 1:
        last = driver.log.read_text().splitlines()[-1]
        assert "the study could not be reached or written for" in last
        assert "run the same command to resume" in last
    again = Driver(tmp_path / "one", server)
    assert again.end() == 0, again.log.read_text()
    counts = count_trials(read_study(SweepFolder(tmp_path / "one" / "demo")))
    assert (counts.complete, counts.failed, counts.running, counts.waiting) == (WANTED, 0, 0, 0)


COMPOSE = yaml.safe_load((ROOT / "cluster" / "compose.yaml").read_text())


@pytest.mark.usefixtures("password")
def test_the_services_of_compose_start(tmp_path: Path, server: Postgres) -> None:
    """Their own commands, with names, ports and paths of this machine in the place of theirs."""
    secret = tmp_path / "postgres_password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    ports = {"mlflow": free_port(), "ray": free_port()}
    shell = COMPOSE["services"]["mlflow"]["command"][2].replace("$$", "$")
    for theirs, here in {
        "/run/secrets/postgres_password": str(secret),
        "@postgres/": f"@127.0.0.1:{server.port}/",
        "/artifacts": str(tmp_path / "artifacts"),
        "--host 0.0.0.0": "--host 127.0.0.1",
        "--port 5000": f"--port {ports['mlflow']}",
        "127.0.0.1:5000": f"127.0.0.1:{ports['mlflow']}",
    }.items():
        assert theirs in shell
        shell = shell.replace(theirs, here)
    head = shlex.split(COMPOSE["services"]["head"]["command"])
    head = [word.replace("6379", str(ports["ray"])) for word in head if "dashboard" not in word]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment.pop("PGPASSWORD")
    for name in [name for name in environment if name.startswith("MLFLOW_TRACKING")]:
        del environment[name]
    started = [
        subprocess.Popen(
            command,
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in (
            ["bash", "-c", shell],
            [*head, "--node-ip-address=127.0.0.1", "--include-dashboard=false"],
        )
    ]
    try:
        client = connect(TrackingConfig(tracking_uri=f"http://127.0.0.1:{ports['mlflow']}"))
        _until(lambda: client.create_experiment(f"compose {time.time()}"), started[0])
        ray = [head[0], "health-check", "--address", f"127.0.0.1:{ports['ray']}"]
        _until(lambda: subprocess.run(ray, env=environment, check=True, capture_output=True), None)
    finally:
        for process in started:
            with suppress(ProcessLookupError):  # it ended by itself, as the failure above says
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
    assert PASSWORD not in shell


def _until(work: object, process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            work()  # type: ignore[operator]
        except (MlflowException, subprocess.CalledProcessError):
            assert process is None or process.poll() is None, "the service ended"
            assert time.monotonic() < deadline, "the service does not answer"
            time.sleep(1)
        else:
            return
