"""Downloads, against a real server on this machine."""

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rfprune.data.places import RemoteFile, download, locate, obtain
from rfprune.errors import DataError

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT, half of it with the full length, or nothing."""

    def do_GET(self):
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/half" else CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """An empty cache and an empty RFPRUNE_DATA, and no proxy in between."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RFPRUNE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


def test_a_download_is_verified_cached_and_not_repeated(address, folders, capsys):
    file = RemoteFile("c.bin", f"{address}/c.bin", f"sha256:{SHA256}")
    (path,) = obtain("things", [file])
    assert path == folders / "cache" / "rfprune" / "things" / "c.bin"
    assert path.read_bytes() == CONTENT
    assert f"downloading {address}/c.bin (5 MB)" in capsys.readouterr().err
    unreachable = RemoteFile("c.bin", "http://127.0.0.1:1/c.bin", "sha256:0")
    assert obtain("things", [unreachable]) == [path]
    assert [entry.name for entry in path.parent.iterdir()] == ["c.bin"]


def test_the_users_folder_comes_before_the_cache(address, folders):
    file = RemoteFile("c.bin", f"{address}/c.bin", f"sha256:{SHA256}")
    obtain("things", [file])
    own = folders / "data" / "things" / "c.bin"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    assert obtain("things", [file]) == [own]
    assert locate("things", "absent.bin") is None


def test_a_wrong_checksum_leaves_nothing(address, tmp_path):
    target = tmp_path / "c.bin"
    with pytest.raises(DataError, match=rf"sha256 is {SHA256}, expected 00ff; .* was not kept"):
        download(RemoteFile("c.bin", f"{address}/c.bin", "sha256:00ff"), target)
    assert list(tmp_path.iterdir()) == []


def test_a_cut_connection_leaves_nothing(address, folders):
    file = RemoteFile("c.bin", f"{address}/half", f"sha256:{SHA256}")
    with pytest.raises(DataError, match="connection closed after 2560000 of 5120000 bytes"):
        obtain("things", [file])
    assert list((folders / "cache" / "rfprune" / "things").iterdir()) == []


def test_without_a_source_the_error_says_what_to_put_where(address, folders):
    file = RemoteFile("c.bin", f"{address}/absent", f"sha256:{SHA256}")
    with pytest.raises(DataError, match="HTTP Error 404") as error:
        obtain("things", [file])
    message = str(error.value)
    assert f"Put these files into {folders / 'data' / 'things'}: c.bin ({file.url})" in message
    assert str(folders / "cache" / "rfprune" / "things") in message
    assert "things.npz with x_train, y_train, x_test, y_test" in message


def test_without_a_network(folders):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/c.bin"
        with pytest.raises(DataError, match="Connection refused"):
            obtain("things", [RemoteFile("c.bin", url, "sha256:0")])
