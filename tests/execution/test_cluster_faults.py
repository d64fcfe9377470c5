"""What a driver says when a cluster or a node does not do its part; trials that fit a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rfprune.core.progress import saying
from rfprune.errors import ClusterError
from rfprune.execution import slots
from rfprune.execution.cluster import cluster, quiet_environment
from rfprune.execution.slots import Slots, needs

from .conftest import Inline, SpecMaker


def test_other_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray._private.utils import check_version_info

    there = {"ray_version": "2.9.0", "python_version": "3.8.1"}
    monkeypatch.setattr(ray, "init", lambda **options: check_version_info(there, "host"))
    wanted = r"at head:6379 and this process have different versions .*Ray: 2.9.0 Python: 3.8.1"
    with pytest.raises(ClusterError, match=wanted), quiet_environment(), cluster("head:6379"):
        pass


def test_a_full_disk_is_no_fault_of_the_point(
    inline: Callable[..., Inline], make_spec: SpecMaker
) -> None:
    one = inline(make_spec(fault="disk", retries=0, trials=1))
    first = one.ask()
    one.work(first)
    # Whoever is in charge has a moment to make room.
    assert one.record.ask() is None
    for n in range(1, 10):
        assert not one.record.finished
        one.record._resume_at = 0.0
        again = one.ask()
        assert (again.folder, again.attempt) == (first.folder, 0)
        one.work(again)
        assert bool(one.record.gave_up) == (n == 9)
    assert "the disk was full for the last 10 trials" in one.record.gave_up
    failed = [trial for trial in one.study.trials if trial.state.name == "FAIL"]
    assert {trial.user_attrs["reason"] for trial in failed} == {"disk"}
    assert "No space left on device" in failed[0].user_attrs["error"]
    assert "Free some space there" in failed[0].user_attrs["error"]
    # Nothing is lost: the next driver has it in its queue.
    assert (one.record.counts.failed, one.record.counts.waiting) == (0, 1)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {"CPU": 1.0}),
        ({"cpus": 0.5}, {"CPU": 0.5}),
        ({"cpus": 2, "gpus": 0.25, "memory_gb": 1.5}, {"CPU": 2, "GPU": 0.25, "memory": 1.5e9}),
    ],
)
def test_what_a_trial_needs_reaches_tune(
    make_spec: SpecMaker, resources: dict[str, Any], expected: dict[str, float]
) -> None:
    assert needs(make_spec(resources=resources)) == expected


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"cpus": 1}, 6),
        ({"cpus": 0.5}, 12),
        ({"cpus": 3}, 1),
        ({"cpus": 0.1, "gpus": 0.3}, 3),
        ({"cpus": 1, "memory_gb": 2}, 2),
    ],
)
def test_no_more_trials_than_fit_the_nodes(
    make_spec: SpecMaker,
    monkeypatch: pytest.MonkeyPatch,
    resources: dict[str, Any],
    expected: int,
) -> None:
    nodes = [{"CPU": 4.0, "GPU": 1.0, "memory": 4e9}, {"CPU": 2.0, "memory": 1e9}]
    monkeypatch.setattr(slots, "live_nodes", lambda: nodes)
    assert Slots(make_spec(resources=resources), elastic=False)() == expected
    assert Slots(make_spec(resources=resources), elastic=True)() == expected + 1


def test_a_trial_that_fits_no_node_is_refused(
    make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "live_nodes", lambda: [{"CPU": 2.0}])
    with pytest.raises(
        ClusterError, match=r"a trial needs CPU 1, GPU 0.5.*The largest has: CPU 2, GPU 0"
    ):
        Slots(make_spec(resources={"gpus": 0.5}), elastic=False)


def test_on_a_cluster_that_may_grow_it_waits_and_says_so(
    make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "live_nodes", lambda: [{"CPU": 2.0}])
    told: list[str] = []
    with saying(told.append):
        assert Slots(make_spec(resources={"cpus": 4}), elastic=True)() == 1
        Slots(make_spec(resources={"cpus": 2}), elastic=True)
    (note,) = told
    assert "a trial needs CPU 4, which no node has. The largest has: CPU 2." in note
    assert note.endswith("The sweep waits for one that has.")
