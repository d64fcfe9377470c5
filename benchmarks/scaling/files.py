"""What files cost on their way between the driver and nodes that do not see its disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

__all__ = ["measure_commits", "measure_data"]

_SMALL_BYTES = 30_000
_COMMITS = 100


def measure_commits(folder: Path, large_bytes: int) -> dict[str, float]:
    """Return seconds per commit of one small file, and bytes per second of a large one.

    Args:
        folder: of the driver.
        large_bytes: size of the large file.
    """
    import ray

    depot = _depot(folder)
    node = _worker_nodes()[0]
    seconds = ray.get(_on(node, _commit_small).remote(depot, _COMMITS))
    rate = large_bytes / ray.get(_on(node, _stage_large).remote(depot, large_bytes))
    ray.kill(depot)
    return {"commit_seconds": seconds / _COMMITS, "bytes_per_second": rate}


def measure_data(folder: Path, n_bytes: int) -> list[dict[str, Any]]:
    """Return how long two nodes take to have `n_bytes` of data, by each way.

    Args:
        folder: of the driver; the data are written there.
        n_bytes: of the data.
    """
    import numpy as np
    import ray

    name = "rows.npz"
    path = folder / "base" / name
    path.parent.mkdir()
    rows = n_bytes // (4 * 64)
    x = np.random.default_rng(0).random((rows, 64), dtype=np.float32)
    np.savez(path, x_train=x, y_train=np.arange(rows) % 5)
    depot = _depot(folder)
    first, second = _worker_nodes()[:2]
    ray.get([_on(node, _ready).remote() for node in (first, second)])
    found = []
    for way, n_copies in (("by name or shared path", 0), ("by the object store", 2)):
        through = depot if n_copies else None
        seconds = [
            ray.get(_on(node, _fetch_and_load).remote(through, str(path), str(folder / node)))
            for node in (first, second)
        ]
        found.append(
            {
                "way": way,
                "fetch_seconds_first_node": seconds[0]["fetch"],
                "fetch_seconds_second_node": seconds[1]["fetch"],
                "load_seconds": seconds[1]["load"],
                "copies_in_memory_per_node": 1 if n_copies else 0,
                "copies_on_disk_per_node": 1 if n_copies else 0,
            }
        )
    ray.kill(depot)
    return found


def _depot(folder: Path) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from rfprune.search.depot import Depot

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Depot).options(num_cpus=0, max_concurrency=1000, scheduling_strategy=here)
    return actor.remote(folder / "sweep", [folder / "base"])


def _worker_nodes() -> list[str]:
    import ray

    return [node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")]


def _on(node: str, function: Any) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    where = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(num_cpus=1, scheduling_strategy=where)


def _ready() -> None:
    """Bring up a process of the node that has imported what a trial imports."""
    import rfprune.data  # noqa: F401


def _commit_small(depot: Any, count: int) -> float:
    import ray

    name = "trials/0000/steps/001.pt"
    began = time.perf_counter()
    for _ in range(count):
        ray.get(depot.commit.remote(0, 0, {name: b"w" * _SMALL_BYTES}))
    return time.perf_counter() - began


def _stage_large(depot: Any, n_bytes: int) -> float:
    import ray

    from rfprune.search.depot import CHUNK_BYTES

    name = "trials/0000/steps/002.pt"
    chunk = b"w" * CHUNK_BYTES
    began = time.perf_counter()
    for offset in range(0, n_bytes, CHUNK_BYTES):
        piece = chunk[: min(CHUNK_BYTES, n_bytes - offset)]
        ray.get(depot.stage.remote(0, 0, name, offset, piece))
    ray.get(depot.commit.remote(0, 0, {name: None}))
    return time.perf_counter() - began


def _fetch_and_load(depot: Any, path: str, target: str) -> dict[str, float]:
    """Fetch the data from the depot, where one is given, and load them as a trial does."""
    import ray

    from rfprune.data import DataSpec, load
    from rfprune.search.transport import unpack

    began = time.perf_counter()
    base = Path(path).parent
    if depot is not None:
        base = Path(target)
        unpack(ray.get(depot.supply.remote(Path(path).name)), base)
    fetched = time.perf_counter()
    load(DataSpec(file=Path(path).name), base)
    return {"fetch": fetched - began, "load": time.perf_counter() - fetched}
