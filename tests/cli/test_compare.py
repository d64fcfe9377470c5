"""``rfprune compare``: the numbers of two sweeps beside each other, and what cannot be compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rfprune
from rfprune.errors import RunsError
from rfprune.results import SweepFolder, hypervolume, read_front
from rfprune.results.dominance import pareto_mask
from rfprune.results.points import losses

GOALS = {"val_accuracy": "max", "dsp": "min"}


@pytest.fixture
def other(finished: Path) -> Path:
    """A second sweep: the same, but for what its trials measured."""
    path = finished.with_name("other")
    shutil.copytree(finished, path)
    facts = json.loads((path / "sweep.json").read_text())
    facts["spec"]["name"] = "other"
    facts["reference_point"]["dsp"] *= 2
    (path / "sweep.json").write_text(json.dumps(facts))
    for number, steps in enumerate(sorted(path.glob("trials/*/steps.jsonl"))):
        lines = [json.loads(line) for line in steps.read_text().splitlines()]
        for line in lines:
            # The first trial is as it was; of the others some are better, some worse.
            line["dsp"] *= (1.0, 0.5, 1.5)[number]
        steps.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def values(folder: Path, front: bool) -> np.ndarray[Any, Any]:
    found = read_front(SweepFolder(folder))
    points = found.points if front else found.view.candidates
    return losses([point.metrics for point in points], GOALS)


def test_numbers_are_those_of_all_points_together(run, finished: Path, other: Path) -> None:
    found = run("compare", "tiny", "other", "--json").json
    a, b = values(finished, front=False), values(other, front=False)
    reference = np.array(
        [-found["reference_point"]["val_accuracy"], found["reference_point"]["dsp"]]
    )
    own = read_front(SweepFolder(finished)).view.reference_point
    assert own is not None
    assert found["reference_point"] == {**own, "dsp": 2 * own["dsp"]}
    both = hypervolume(np.vstack([a, b]), reference)
    assert found["hypervolume"] == pytest.approx(both)
    first, second = found["sweeps"]
    assert first["hypervolume"] == pytest.approx(hypervolume(a, reference))
    assert first["alone"] == pytest.approx(both - hypervolume(b, reference))
    assert second["alone"] == pytest.approx(both - hypervolume(a, reference))
    ours, theirs = values(finished, front=True), values(other, front=True)
    missing = sum(not (theirs <= row).all(axis=1).any() for row in ours)
    assert first["missing_in"] == {"other": missing}
    everything = np.vstack([ours, theirs])
    best = everything[pareto_mask(everything)]
    on_front = sum((best == row).all(axis=1).any() for row in everything)
    assert sum(point["on_common_front"] for point in found["points"]) == on_front
    assert first["on_common_front"] + second["on_common_front"] == on_front


def test_table_picture_and_page(run, finished: Path, other: Path, workplace: Path) -> None:
    ran = run("compare", "tiny", "other", "--html", "c.html", "--png", "c.png")
    assert ran.code == 0, ran
    assert "Fronts together" in ran.out
    assert "that other neither beats nor equals." in ran.out
    page = (workplace / "c.html").read_text()
    assert "<title>tiny and other</title>" in page
    assert "http" not in page
    assert (workplace / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_sweep_beside_itself(run, finished: Path) -> None:
    found = run("compare", "tiny", str(finished), "--json").json
    assert [s["alone"] for s in found["sweeps"]] == [0, 0]
    assert all(point["on_common_front"] for point in found["points"])
    assert len({sweep["sweep"] for sweep in found["sweeps"]}) == 2 or finished.exists()


def test_in_python(finished: Path, other: Path, tmp_path: Path) -> None:
    found = rfprune.compare(rfprune.open(finished), SweepFolder(other))
    assert [sweep.label for sweep in found.sweeps] == ["tiny", "other"]
    assert dict(found.objectives) == GOALS
    assert [panel.get_xlabel() for panel in found.plot().axes] == ["DSP blocks"]
    assert found.html(tmp_path / "compared.html").read_text().count("<table>") == 2
    with pytest.raises(RunsError, match="needs two sweeps or more, not 1"):
        rfprune.compare(finished)


def test_only_what_both_search_for_is_compared(run, finished: Path, other: Path) -> None:
    path = other / "sweep.json"
    facts = json.loads(path.read_text())
    facts["spec"]["objectives"] = {"dsp": "min", "lut": "min"}
    facts["reference_point"] = None
    path.write_text(json.dumps(facts))
    found = run("compare", "tiny", "other", "--json").json
    assert found["objectives"] == {"dsp": "min"}
    assert set(found["not_compared"]) == {"val_accuracy", "lut"}
    facts["spec"]["objectives"] = {"lut": "min"}
    path.write_text(json.dumps(facts))
    ran = run("compare", "tiny", "other")
    assert ran.code == 2
    assert "no objective in common (tiny: val_accuracy, dsp; other: lut)" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny"], "needs two sweeps or more"),
        (["tiny", "tinny"], "Did you mean 'tiny'"),
        (["tiny", "tiny", "--png", "runs"], "is a folder"),
    ],
)
def test_wrong_arguments(run, finished: Path, arguments: list[str], words: str) -> None:
    ran = run("compare", *arguments)
    assert ran.code == 2, ran
    assert words in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_a_sweep_without_a_front(run, finished: Path, other: Path) -> None:
    shutil.rmtree(other / "trials")
    ran = run("compare", "tiny", "other")
    assert ran.code == 2
    assert "has no front yet" in ran.err
