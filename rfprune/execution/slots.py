"""How many trials a Ray cluster holds at once."""

from __future__ import annotations

import time

from rfprune.core.progress import say
from rfprune.errors import ClusterError
from rfprune.spec import SweepSpec

__all__ = ["Slots", "live_nodes", "needs"]

#: A given cluster changes slowly compared with a trial; asking it costs some milliseconds.
_COUNT_SECONDS = 5.0


def needs(spec: SweepSpec) -> dict[str, float]:
    """Return what one trial occupies, by Ray's names of resources; memory in bytes."""
    wanted = spec.resources
    amounts: dict[str, float] = {"CPU": wanted.cpus}
    if wanted.gpus:
        amounts["GPU"] = wanted.gpus
    if wanted.memory_gb:
        amounts["memory"] = int(wanted.memory_gb * 1e9)
    return amounts


class Slots:
    """How many trials the cluster's nodes hold at once.

    On a given cluster one more is let in: a waiting trial makes an autoscaler add a node, and a
    new node is used. On this machine no point is drawn before it can run.
    """

    def __init__(self, spec: SweepSpec, elastic: bool) -> None:
        self._needs = needs(spec)
        # A given cluster may grow; a node of our own is all there will ever be.
        self._elastic = elastic
        self._counted_at = float("-inf")
        self._n = 0
        if self._count() == 0:
            wanted = ", ".join(f"{name} {amount:g}" for name, amount in self._needs.items())
            node = max(live_nodes(), key=lambda node: node.get("CPU", 0), default={})
            largest = ", ".join(f"{name} {node.get(name, 0):g}" for name in self._needs)
            told = (
                f"{spec.name}: resources: a trial needs {wanted}, which no node has. "
                f"The largest has: {largest}."
            )
            if not elastic:
                raise ClusterError(told)
            say(f"{told} The sweep waits for one that has.")

    def __call__(self) -> int:
        """Return how many trials may be live now."""
        if not self._elastic:
            return self._n
        self._refresh()
        # One more waits as pending: that is what makes an autoscaler add a node.
        return self._n + 1

    def are_gone(self) -> bool:
        """Return whether the only node has died; a given cluster may still get another one."""
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
            # Per node, since a trial cannot span two; 0.3 / 0.1 is a hair below 3.
            min(int(node.get(name, 0) / amount + 1e-9) for name, amount in self._needs.items())
            for node in live_nodes()
        )
        return self._n


def live_nodes() -> list[dict[str, float]]:
    """Return the resources of every node that is alive, by Ray's names; memory in bytes."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
