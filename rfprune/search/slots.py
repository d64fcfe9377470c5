"""How many trials a Ray cluster holds at once."""

from __future__ import annotations

import time

from rfprune.errors import ClusterError
from rfprune.spec import SweepSpec

__all__ = ["Slots", "live_nodes", "needs"]

#: A given cluster changes slowly beside a trial; asking it costs some milliseconds.
_COUNT_SECONDS = 5.0
#: What Ray calls resources that Tune calls otherwise.
_RAY_NAMES = {"cpu": "CPU", "gpu": "GPU"}


def needs(spec: SweepSpec) -> dict[str, float]:
    """Return what one trial occupies, by Tune's names of resources; memory in bytes."""
    wanted = spec.resources
    amounts: dict[str, float] = {"cpu": wanted.cpus}
    if wanted.gpus:
        amounts["gpu"] = wanted.gpus
    if wanted.memory_gb:
        amounts["memory"] = int(wanted.memory_gb * 1e9)
    return amounts


class Slots:
    """How many trials the cluster's nodes hold at once.

    On a given cluster one more is let in: what waits there asks an autoscaler for a node, and a
    node that comes is used. Here on this machine no point is drawn before it can run.
    """

    def __init__(self, spec: SweepSpec, elastic: bool) -> None:
        self._needs = {_RAY_NAMES.get(name, name): amount for name, amount in needs(spec).items()}
        self._elastic = elastic
        self._counted_at = float("-inf")
        self._n = 0
        if not elastic and self._count() == 0:
            wanted = ", ".join(f"{name} {amount:g}" for name, amount in self._needs.items())
            raise ClusterError(
                f"{spec.name}: resources: a trial needs {wanted}, which no node has. "
                f"There is: {self._largest()}."
            )

    def __call__(self) -> int:
        """Return how many trials may be live now."""
        if not self._elastic:
            return self._n
        self._refresh()
        return self._n + 1

    def are_gone(self) -> bool:
        """Return whether the only node there is has died; to a given cluster another may come."""
        if self._elastic:
            return False
        self._refresh()
        return self._n == 0

    def _refresh(self) -> None:
        if time.monotonic() - self._counted_at > _COUNT_SECONDS:
            self._count()

    def _count(self) -> int:
        self._counted_at = time.monotonic()
        self._n = sum(
            min(int(node.get(name, 0) / amount + 1e-9) for name, amount in self._needs.items())
            for node in live_nodes()
        )
        return self._n

    def _largest(self) -> str:
        node = max(live_nodes(), key=lambda node: node.get("CPU", 0), default={})
        return ", ".join(f"{name} {node.get(name, 0):g}" for name in self._needs)


def live_nodes() -> list[dict[str, float]]:
    """Return the resources of every node that is alive, by Ray's names; memory in bytes."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
