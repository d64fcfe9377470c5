"""Several devices: what they have learned becomes one state, and no row leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rfprune
from rfprune.cli import main
from rfprune.edge.adaptive.runner import Controller
from rfprune.errors import RunsError
from tests.edge.adaptive.test_runner import EASY, HARD, TABLE

#: What levels really achieve where the devices work: less than the table says.
TRUE = np.array([[0.93, 0.90, 0.78], [0.85, 0.62, 0.45]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "controller.json").write_text(json.dumps(TABLE))
    return tmp_path


def lived(path: Path, x: Any, batches: int, seed: int, begin: Path | None = None) -> Path:
    """Let a device see one condition alone, and learn from labels."""
    if begin is not None:
        path.write_bytes(begin.read_bytes())
    device, rng = Controller(TABLE, path), np.random.default_rng(seed)
    for batch in range(batches):
        device.decide(x)
        level = batch % 3
        right = TRUE[device.condition][level] + 0.02 * rng.standard_normal()
        device.learn(level, 7.0, None, None, float(right))
    return path


def test_one_state_knows_what_each_device_saw(folder: Path) -> None:
    easy = lived(folder / "a.json", EASY, 60, 0)
    hard = lived(folder / "b.json", HARD, 90, 1)
    merged = rfprune.federate(folder, [easy, hard], folder / "state.json")
    shift, truth = np.array(merged["shift"]), TRUE - np.array(TABLE["accuracy"])
    # What only one device saw is its own, as it stands.
    for row, path in enumerate((easy, hard)):
        own = json.loads(path.read_text())["state"]
        assert shift[row] == pytest.approx(own["shift"][row])
        assert merged["seen"][row] == own["seen"][row]
    assert np.abs(shift - truth).max() < np.abs(truth).max() / 2
    assert merged["batches"] == 150
    # A new device begins where they are, and decides by it.
    new = Controller(TABLE, folder / "state.json")
    assert new.state["shift"] == merged["shift"]
    assert Controller(TABLE).decide(EASY) == 1
    assert new.decide(EASY) == 0


def test_a_device_of_more_batches_counts_more(folder: Path) -> None:
    few, many = lived(folder / "a.json", EASY, 3, 0), lived(folder / "b.json", EASY, 57, 1)
    merged = rfprune.federate(folder, [few, many], folder / "s.json")
    a, b = (np.array(json.loads(p.read_text())["state"]["shift"][0]) for p in (few, many))
    assert merged["shift"][0] == pytest.approx((1 * a + 19 * b) / 20)


def test_what_they_began_with_counts_once(folder: Path) -> None:
    first = folder / "first.json"
    begun = rfprune.federate(folder, [lived(folder / "0.json", EASY, 30, 0)], first)
    paths = [lived(folder / f"{n}.json", EASY, 6, n, begin=first) for n in (1, 2)]
    merged = rfprune.federate(folder, paths, folder / "second.json", since=first)
    assert merged["batches"] == 42
    assert np.sum(merged["seen"]) == np.sum(begun["seen"]) + 12
    # Nothing new: the state stays what it was.
    same = rfprune.federate(folder, [first, first], folder / "third.json", since=first)
    assert same["shift"] == pytest.approx(np.array(begun["shift"]))
    assert same["batches"] == 30


def test_only_means_and_counts_are_in_it(folder: Path) -> None:
    lived(folder / "a.json", EASY, 5, 0)
    rfprune.federate(folder, [folder / "a.json"], folder / "s.json")
    state = json.loads((folder / "s.json").read_text())["state"]
    assert set(state) == {"shift", "seen", "ratio", "ms", "batches", "level", "wanted", "held"}
    assert sum(np.size(value) for value in state.values()) == 2 * 6 + 2 * 3 + 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read"),
        ("{", "is not a state of a runner"),
        ('{"table": "another", "state": {}}', "is not a state of a runner"),
    ],
)
def test_damaged_states_are_sentences(folder: Path, text: str | None, sentence: str) -> None:
    if text is not None:
        (folder / "a.json").write_text(text)
    with pytest.raises(RunsError, match=sentence):
        rfprune.federate(folder, [folder / "a.json"], folder / "s.json")
    assert not (folder / "s.json").exists()


def test_the_state_of_another_table_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lived(folder / "a.json", EASY, 5, 0)
    path.write_text(path.read_text().replace("made up", "another"))
    with pytest.raises(SystemExit) as ended:
        main(["federate", str(folder), str(path), "--out", str(folder / "s.json")])
    assert ended.value.code == 2
    assert "learned from another controller.json" in " ".join(capsys.readouterr().err.split())
    lived(folder / "b.json", EASY, 5, 0)
    with pytest.raises(SystemExit) as ended:
        main(["federate", str(folder), str(folder / "b.json"), "--out", str(folder / "s.json")])
    assert ended.value.code == 0
