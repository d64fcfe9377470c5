"""Ray nodes on one machine that share neither network nor runs, where the rights allow that.

With root each node has a network namespace with an address of its own, and an empty file system in
place of the driver's folder. Without it the nodes are processes side by side on loopback.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.ports import free_ports

from .conftest import descendants, end_marked

_UP_SECONDS = 180
#: Ends well if a server answers, be it with a refusal.
_ASK = """
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError:
    pass
"""
#: Hides the driver's folder behind an empty one, in this process and its children alone.
_HIDE = 'mount -t tmpfs tmpfs "$0" && mkdir "$0/tmp" && cd / && exec "$@"'


def _ip(*arguments: str) -> bool:
    done = subprocess.run(["ip", *arguments], capture_output=True, check=False)
    return done.returncode == 0


def can_isolate() -> bool:
    """Return whether namespaces and bridges can be made here."""
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("unshare")):
        return False
    name = f"rf{secrets.token_hex(3)}"
    mounts = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        check=False,
    )
    made = _ip("netns", "add", name) and _ip("link", "add", name, "type", "bridge")
    _ip("link", "del", name)
    _ip("netns", "del", name)
    return made and mounts.returncode == 0


@dataclass
class Node:
    """One Ray node: its process, address and, where it has one, network namespace."""

    process: subprocess.Popen[bytes]
    address: str
    namespace: str = ""

    def pids(self) -> list[int]:
        """Return all processes of the node."""
        if not self.namespace:
            return [self.process.pid, *descendants(self.process.pid)]
        done = subprocess.run(
            ["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False
        )
        return [int(word) for word in done.stdout.split()]

    def runs_a_trial(self) -> bool:
        """Return whether one of its processes is a worker of Ray Tune."""
        for pid in self.pids():
            try:
                if b"ImplicitFunc" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return True
            except OSError:
                continue
        return False

    def sees(self, path: Path) -> bool:
        """Return whether `path` exists for the node's processes."""
        pid = next(pid for pid in self.pids() if _is_raylet(pid))
        return Path(f"/proc/{pid}/root{path}").exists()

    def kill(self) -> None:
        """End the node at once, without a word to anybody."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(timeout=60)


def _is_raylet(pid: int) -> bool:
    try:
        return b"/raylet" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return False


@dataclass
class Site:
    """A Ray cluster of several nodes on this machine, with a token; use it as a context manager.

    Attributes:
        folder: the driver's; other nodes do not see it if `isolated`.
        isolated: whether each node has a network and a file system of its own.
    """

    isolated: bool
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="rfp", dir="/tmp")))
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    nodes: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._bridge = f"rf{secrets.token_hex(3)}"
        self._net = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"
        self._ports = free_ports(2)
        if self.isolated:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("addr", "add", f"{self._net}.254/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *unused: object) -> None:
        for node in reversed(self.nodes):
            node.kill()
            _ip("netns", "del", node.namespace)
        if self.isolated:
            _ip("link", "del", self._bridge)
        end_marked(str(self.folder))
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def access(self) -> dict[str, str]:
        """Variables with which the cluster lets one in."""
        return {"RAY_AUTH_TOKEN": self.token}

    @property
    def dashboard(self) -> str:
        """Address of the dashboard."""
        return f"http://{self.nodes[0].address}:{self._ports[1]}"

    @property
    def head(self) -> str:
        """Address of the head for further nodes and drivers."""
        return f"{self.nodes[0].address}:{self._ports[0]}"

    def start_head(self, cpus: int = 0) -> None:
        """Start the head and wait until its dashboard answers."""
        gcs, dashboard = self._ports
        self._start(
            *("--head", f"--port={gcs}", f"--dashboard-port={dashboard}"),
            *(f"--num-cpus={cpus}", f"--temp-dir={self.folder}/ray"),
            *(f"--dashboard-host={self._address(1)}", "--disable-usage-stats"),
            hidden=False,
        )
        deadline = time.monotonic() + _UP_SECONDS
        # In a process of its own: this one may talk to loopback alone.
        ask = [sys.executable, "-S", "-c", _ASK, f"{self.dashboard}/api/version"]
        while subprocess.run(ask, capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, f"the head did not come up: {self.log(0)}"
            time.sleep(0.5)

    def add_node(self, cpus: int = 1) -> Node:
        """Start a node; the cluster knows it some seconds later."""
        return self._start(f"--address={self.head}", f"--num-cpus={cpus}", hidden=self.isolated)

    def log(self, number: int) -> str:
        """Return the end of what a node has said."""
        return (self.folder / f"node{number}.log").read_text(errors="replace")[-2000:]

    def _address(self, number: int) -> str:
        return f"{self._net}.{number}" if self.isolated else "127.0.0.1"

    def _start(self, *options: str, hidden: bool) -> Node:
        number = len(self.nodes)
        address, namespace = self._address(number + 1), ""
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
            *(f"--node-ip-address={address}", "--object-store-memory=80000000", *options),
        ]
        if hidden:
            command = ["unshare", "--mount", "sh", "-c", _HIDE, str(self.folder), *command]
        if self.isolated:
            namespace = self._namespace(number, address)
            command = ["ip", "netns", "exec", namespace, *command]
        with (self.folder / f"node{number}.log").open("wb") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                env=self._environment(hidden),
                cwd="/",
                start_new_session=True,
            )
        node = Node(process, address, namespace)
        self.nodes.append(node)
        # Nodes that start at once with one address may pick the same ports.
        deadline = time.monotonic() + _UP_SECONDS
        while not any(_is_raylet(pid) for pid in node.pids()):
            assert time.monotonic() < deadline, f"no raylet: {self.log(number)}"
            time.sleep(0.2)
        return node

    def _environment(self, hidden: bool) -> dict[str, str]:
        unwanted = ("RAY_", "PYTHONPATH", "MLFLOW_", "RFPRUNE_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
        temporary = {"TMPDIR": f"{self.folder}/tmp"} if hidden else {}
        own = {"RAY_AUTH_MODE": "token", "OMP_NUM_THREADS": "1", "SITE": str(self.folder)}
        return {**kept, **self.access, **temporary, **own}

    def _namespace(self, number: int, address: str) -> str:
        name = f"{self._bridge}n{number}"
        outer = f"{self._bridge}v{number}"
        _ip("netns", "add", name)
        _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", outer, "master", self._bridge, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "route", "add", "default", "via", f"{self._net}.254")
        return name
