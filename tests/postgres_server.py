"""A private PostgreSQL server on loopback, with a password, as a user that is not root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.ports import free_port

__all__ = ["PASSWORD", "Postgres"]

#: With what an address has to escape.
PASSWORD = "not/4@you:%7"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    if (initdb := shutil.which("initdb")) is not None:
        return Path(initdb).parent
    pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")


class Postgres:
    """One server with the databases ``studies`` and ``mlflow``, owned by ``rfprune``.

    Its files lie in a folder of their own below the system's temporary folder, which PostgreSQL's
    user can enter.
    """

    def __init__(self) -> None:
        self._bin = _programs()
        self.port = free_port()
        self._home = Path(tempfile.mkdtemp(prefix="rfprune-postgres-"))
        self._user = "postgres" if os.geteuid() == 0 else ""
        if self._user:
            shutil.chown(self._home, self._user)
        password = self._home / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        if self._user:
            shutil.chown(password, self._user)
        self._do(
            *(self._bin / "initdb", "--pgdata", self._home / "data", "--username", "rfprune"),
            *("--auth", "scram-sha-256", "--pwfile", password, "--no-sync"),
        )
        self.start()
        for name in ("studies", "mlflow"):
            self._do(self._bin / "createdb", *self._where(), name)

    def _where(self) -> tuple[str, ...]:
        return ("--host", "127.0.0.1", "--port", str(self.port), "--username", "rfprune")

    def _do(self, *command: object) -> str:
        as_user = ("runuser", "-u", self._user, "--") if self._user else ()
        done = subprocess.run(
            [*as_user, *map(str, command)],
            capture_output=True,
            text=True,
            env={**os.environ, "PGPASSWORD": PASSWORD},
            cwd=self._home,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def address(self, database: str, password: str = "") -> str:
        """Return the address of a database; without a password unless one is given."""
        user = f"rfprune:{password}" if password else "rfprune"
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self._home}"
        log = self._home / "log"
        self._do(
            *(self._bin / "pg_ctl", "start", "--wait", "--pgdata", self._home / "data"),
            *("--log", log, "--options", options),
        )

    def kill(self) -> None:
        """Kill the server with all its processes, as a crash of its machine would."""
        pid = int((self._home / "data" / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        killed = [pid, *map(int, children)]
        for number in killed:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        # Its memory is shared until the last of them is gone, and no other server starts before.
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{number}").exists() for number in killed):
            assert time.monotonic() < deadline, killed
            time.sleep(0.05)

    def close(self) -> None:
        """Stop the server and remove its files."""
        stop = (self._bin / "pg_ctl", "stop", "--mode", "immediate", "--pgdata")
        with_user = ("runuser", "-u", self._user, "--") if self._user else ()
        command = [*with_user, *map(str, stop), str(self._home / "data")]
        subprocess.run(command, capture_output=True, cwd=self._home, check=False)
        shutil.rmtree(self._home, ignore_errors=True)

    def query(self, database: str, command: str) -> str:
        """Return what psql prints."""
        return self._do(self._bin / "psql", *self._where(), "-Atc", command, database)
