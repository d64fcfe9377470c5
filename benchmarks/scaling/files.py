"""What files cost on their way between the driver and nodes that do not see its disk."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_SMALL_BYTES, _COMMITS = 30_000, 100


def measure_commits(folder: Path, large_bytes: int) -> dict[str, float]:
    """Return seconds per commit of one small file, and bytes per second of a large one."""
    depot, node = _depot(folder), _worker_nodes()[0]
    seconds = ray.get(_on(node, _commit_small).remote(depot))
    rate = large_bytes / ray.get(_on(node, _stage_large).remote(depot, large_bytes))
    ray.kill(depot)
    return {"commit_seconds": seconds / _COMMITS, "bytes_per_second": rate}


def measure_data(folder: Path, n_bytes: int) -> list[dict[str, Any]]:
    """Return how long two nodes take to have `n_bytes` of data, by each way."""
    path = folder / "base" / "rows.npz"
    path.parent.mkdir()
    rows = n_bytes // (4 * 64)
    x = np.random.default_rng(0).random((rows, 64), dtype=np.float32)
    np.savez(path, x_train=x, y_train=np.arange(rows) % 5)
    depot, nodes = _depot(folder), _worker_nodes()[:2]
    ray.get([_on(node, _ready).remote() for node in nodes])
    found = []
    for way, through in (("by name or shared path", None), ("by the object store", depot)):
        first, second = (
            ray.get(_on(node, _fetch_and_load).remote(through, path, folder / node))
            for node in nodes
        )
        found.append(
            {
                "way": way,
                "fetch_seconds_first_node": first["fetch"],
                "fetch_seconds_second_node": second["fetch"],
                "load_seconds": second["load"],
                "copies_in_memory_per_node": 0 if through is None else 1,
                "copies_on_disk_per_node": 0 if through is None else 1,
            }
        )
    ray.kill(depot)
    return found


def _depot(folder: Path) -> Any:
    """Return the actor on this node that takes and gives the files of others."""
    from rfprune.execution.remote_files import RemoteFiles

    here = ray.get_runtime_context().get_node_id()
    actor = _on(here, RemoteFiles, num_cpus=0, max_concurrency=1000)
    return actor.remote(folder / "sweep", [folder / "base"])


def _worker_nodes() -> list[str]:
    return [node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")]


def _on(node: str, what: Any, num_cpus: int = 1, **options: Any) -> Any:
    """Return a function or class as one that runs on a node."""
    where = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(what).options(num_cpus=num_cpus, scheduling_strategy=where, **options)


def _ready() -> None:
    """Bring up a process of the node that has imported what a trial imports."""
    import rfprune.data  # noqa: F401


def _commit_small(depot: Any) -> float:
    began = time.perf_counter()
    for _ in range(_COMMITS):
        ray.get(depot.commit.remote(0, 0, {"trials/0000/steps/001.pt": b"w" * _SMALL_BYTES}))
    return time.perf_counter() - began


def _stage_large(depot: Any, n_bytes: int) -> float:
    from rfprune.execution.remote_files import CHUNK_BYTES

    name, chunk = "trials/0000/steps/002.pt", b"w" * CHUNK_BYTES
    began = time.perf_counter()
    for offset in range(0, n_bytes, CHUNK_BYTES):
        ray.get(depot.stage.remote(0, 0, name, offset, chunk[: n_bytes - offset]))
    ray.get(depot.commit.remote(0, 0, {name: None}))
    return time.perf_counter() - began


def _fetch_and_load(depot: Any, path: Path, target: Path) -> dict[str, float]:
    """Fetch the data from the depot, where one is given, and load them as a trial does."""
    from rfprune.data import load
    from rfprune.data.spec import DataSpec
    from rfprune.execution.transport import unpack

    began = time.perf_counter()
    if depot is not None:
        unpack(ray.get(depot.supply.remote(path.name)), target)
    fetched = time.perf_counter()
    load(DataSpec(file=path.name), path.parent if depot is None else target)
    return {"fetch": fetched - began, "load": time.perf_counter() - fetched}
