import json
from pathlib import Path

import numpy as np
import pytest

from rfprune.errors import DataError, NetworkError, RunsError, TrialError
from rfprune.methods.agent_task import AgentMeasurement, check_task
from rfprune.methods.akperl import MeasuredTask
from tests.methods.akperl.tasks import Toy


def test_a_prefix_is_measured_once(tmp_path: Path) -> None:
    task = Toy(n_layers=3, conditions=2)
    measured = MeasuredTask(task, tmp_path / "measurements.jsonl")
    first = measured(np.array([1, 2, 3]), 2, 1)
    assert measured(np.array([1, 2, 0]), 2, 1) == first
    assert task.measured == [(1, 1, 2)]
    measured(np.array([1, 2, 3]), 2, 0)
    assert len(measured) == 2


def test_the_memory_outlives_the_process_and_a_cut_off_line(tmp_path: Path) -> None:
    path = tmp_path / "measurements.jsonl"
    before = MeasuredTask(Toy(n_layers=3), path)
    outcomes = [before(np.array([1, 2, 3]), upto, 0) for upto in range(4)]
    text = path.read_text()
    path.write_text(text[: text.rstrip("\n").rindex("\n") + 10])
    task = Toy(n_layers=3)
    after = MeasuredTask(task, path)
    assert [after(np.array([1, 2, 3]), upto, 0) for upto in range(4)] == outcomes
    assert task.measured == [(0, 1, 2, 3)]
    assert len(MeasuredTask(task, path)) == 4


def test_a_damaged_memory_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "measurements.jsonl"
    path.write_text(json.dumps({"key": [0]}) + "\n")
    with pytest.raises(RunsError, match=r"measurements.jsonl: is damaged .* delete it"):
        MeasuredTask(Toy(), path)


class _Broken(Toy):
    def measure(self, choice, upto, condition):
        return AgentMeasurement(float("nan"), 1.0) if upto else AgentMeasurement(0.5, 0.0)


def test_measurements_that_cannot_be_are_refused() -> None:
    measured = MeasuredTask(_Broken())
    with pytest.raises(TrialError, match=r"condition 0, levels \[1\]: measured accuracy nan"):
        measured(np.ones(5, dtype=np.int64), 1, 0)
    with pytest.raises(TrialError, match="dense network's power is 0, expected above 0"):
        measured.dense(0)


def test_a_task_must_be_consistent() -> None:
    check_task(Toy())
    with pytest.raises(NetworkError, match="no layer that the agent could prune"):
        check_task(_without_layers())
    closed = Toy()
    closed.allowed[2] = False
    with pytest.raises(NetworkError, match="layer 'conv2': no level of pruning is allowed"):
        check_task(closed)
    falling = Toy()
    falling.levels = (0.0, 0.5, 0.25, 0.75, 1.0)
    with pytest.raises(DataError, match=r"levels: .* Allowed: rising fractions from 0 to 1"):
        check_task(falling)
    narrow = Toy()
    narrow.allowed = narrow.allowed[:, :4]
    with pytest.raises(DataError, match=r"allowed: has the shape \(5, 4\), expected \(5, 5\)"):
        check_task(narrow)


def _without_layers() -> Toy:
    task = Toy()
    task.layers = []
    return task
