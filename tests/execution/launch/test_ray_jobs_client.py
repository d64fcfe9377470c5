"""What the dashboard of Ray may answer, in plain words; the real one is in test_ray_cluster.py."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import ClusterError, SpecError
from rfprune.execution.launch import Submission, send
from rfprune.execution.launch.profiles import load_profile
from rfprune.execution.launch.ray_address import is_loopback, ray_address
from rfprune.execution.launch.ray_jobs_client import RayJobsClient

from .makers import profile_file, sweep

Answer = Callable[[BaseHTTPRequestHandler], tuple[int, str]]


class Server:
    """A server on loopback whose answers a test chooses; remembers the tokens it was sent."""

    def __init__(self) -> None:
        self.answer: Answer = lambda request: (200, "{}")
        self.tokens: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def reply(self) -> None:
                outer.tokens.append(self.headers.get("Authorization"))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, text = outer.answer(self)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = reply

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def _needs_token(request: BaseHTTPRequestHandler) -> tuple[int, str]:
    token = request.headers.get("Authorization")
    if token is None:
        return 401, "Unauthorized"
    return (200, '{"a": 1}') if token == "Bearer right" else (403, "Forbidden")


def test_token_is_sent_only_when_it_is_asked_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    assert RayJobsClient(server.address).details("x") == {}
    server.answer = _needs_token
    client = RayJobsClient(server.address)
    assert client.details("x") == {"a": 1}
    client.stop("x")
    assert server.tokens == [None, None, "Bearer right", "Bearer right"]


def test_token_comes_from_a_file(server: Server, home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("right\n")
    server.answer = _needs_token
    assert RayJobsClient(server.address).details("x") == {"a": 1}


def test_refused_access(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = _needs_token
    with pytest.raises(ClusterError, match="it asks for a token, and this side has no token"):
        RayJobsClient(server.address).details("x")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(ClusterError, match="this side has another token") as caught:
        RayJobsClient(server.address).details("x")
    assert "wrong" not in str(caught.value)


def test_redirect_is_not_followed(server: Server) -> None:
    server.answer = lambda request: (302, "")
    with pytest.raises(ClusterError, match="refuses the request \\(status 302"):
        RayJobsClient(server.address).details("x")


def test_fault_of_the_cluster_is_shortened(server: Server) -> None:
    server.answer = lambda request: (500, "Traceback ...\nValueError: " + "x" * 5000)
    with pytest.raises(ClusterError, match="status 500: ValueError: x") as caught:
        RayJobsClient(server.address).details("x")
    assert len(str(caught.value)) < 600


def test_cluster_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"at {address} cannot be reached .*ssh -L"):
            RayJobsClient(address).check_version()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("<html>", "is not a dashboard of Ray"),
        ('{"ray_version": "2.9.1"}', "runs Ray 2.9.1. Needed: 2.50 or later"),
    ],
)
def test_address_of_something_else(
    server: Server, tmp_path: Path, answer: str, message: str
) -> None:
    server.answer = lambda request: (200, answer)
    profile = profile_file(tmp_path, "ray")
    with pytest.raises(ClusterError, match=message):
        send(Submission(sweep(), "demo.yml", tmp_path, str(profile), server.address))


def test_order_of_addresses(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = load_profile(str(profile_file(tmp_path, "ray")))
    assert ray_address(None, None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert ray_address(None, None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.1:8265")
    assert ray_address(None, None) == "http://10.0.0.1:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://ray.example/")
    assert ray_address(None, None) == "https://ray.example"
    assert ray_address(profile, None) == "http://head.example:8265"
    assert ray_address(profile, "10.0.0.2:8265") == "http://10.0.0.2:8265"


@pytest.mark.parametrize("address", ["ray://head:10001", "http://", "http://me:pw@head:8265"])
def test_wrong_address(address: str, home: Path) -> None:
    with pytest.raises(SpecError) as caught:
        ray_address(None, address)
    assert "pw" not in str(caught.value)


def test_loopback() -> None:
    assert is_loopback("http://127.0.0.1:8265")
    assert is_loopback("http://localhost:8265")
    assert is_loopback("http://[::1]:8265")
    assert not is_loopback("http://head:8265")
    assert not is_loopback("http://10.0.0.1:8265")


def test_answers_are_objects(server: Server) -> None:
    server.answer = lambda request: (200, json.dumps([1]))
    assert RayJobsClient(server.address).details("x") == {}
