"""``rfprune compare --test``: groups of trials of a user's own sweeps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import rfprune
from rfprune.errors import RunsError, SpecError
from tests.cli.conftest import Command

METHODS = ("greedy", "uniform", "random")
SHIFT = {"greedy": 0.03, "uniform": 0.02, "random": 0.0}


def accuracy(method: str, seed: int) -> float:
    noise = np.random.default_rng([METHODS.index(method), seed]).standard_normal()
    # Seeds differ more than methods do, as trials of one dense network do.
    return 0.7 + 0.05 * seed + SHIFT[method] + 0.002 * float(noise)


@pytest.fixture
def grid(finished: Path) -> Path:
    """A sweep of three methods and five seeds, made of one finished trial."""
    path = finished.with_name("grid")
    shutil.copytree(finished, path)
    facts = json.loads((path / "sweep.json").read_text())
    facts["spec"]["search"] = {
        "prune.method": {"choices": list(METHODS)},
        "seed": {"choices": list(range(5))},
    }
    (path / "sweep.json").write_text(json.dumps(facts))
    first = shutil.copytree(path / "trials" / "0000", path / "first")
    shutil.rmtree(path / "trials")
    for number, (method, seed) in enumerate((m, s) for m in METHODS for s in range(5)):
        folder = shutil.copytree(first, path / "trials" / f"{number:04d}")
        spec = json.loads((folder / "spec.json").read_text())
        spec["seed"], spec["prune"]["method"] = seed, method
        (folder / "spec.json").write_text(json.dumps(spec))
        lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
        for step, line in enumerate(lines):
            # Later steps are worse on validation rows, so that a step must be chosen.
            line["accuracy"] = accuracy(method, seed) + 0.1 * (len(lines) - 1 - step)
            line["val_accuracy"], line["dsp"] = line["accuracy"], 100 - step
            line["accepted"] = True
        (folder / "steps.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    shutil.rmtree(first)
    return path


def expected(method: str) -> list[float]:
    return [accuracy(method, seed) for seed in range(5)]


def test_seeds_are_pairs_and_the_numbers_those_of_scipy(run: Command, grid: Path) -> None:
    found = run("compare", "grid", "--test", "accuracy", "--by", "prune.method", "--json").json
    assert found["paired_by"] == ["seed"]
    assert {name: pytest.approx(expected(name)) for name in METHODS} == found["groups"]
    assert len(found["differences"]) == 3
    for row in found["differences"]:
        a, b = expected(row["first"]), expected(row["second"])
        assert row["mean"] == pytest.approx(np.mean(a) - np.mean(b))
        assert row["p"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
        assert row["significant"] == int(row["p_holm"] < 0.05)
        assert row["p"] <= row["p_holm"] <= 3 * row["p"] * (1 + 1e-9)


def test_without_pairs_the_spread_of_the_seeds_hides_it(run: Command, grid: Path) -> None:
    asked = ("compare", "grid", "--test", "accuracy", "--by", "prune.method", "--json")
    found = run(*asked, "--unpaired", "--against", "random").json
    assert [row["second"] for row in found["differences"]] == ["random", "random"]
    for row in found["differences"]:
        a, b = expected(row["first"]), expected(row["second"])
        assert row["p"] == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
        assert not row["significant"]
    assert found["variance"]["p"] == pytest.approx(
        stats.f_oneway(*(expected(m) for m in METHODS)).pvalue
    )


def test_conditions_choose_the_step_by_validation_rows(grid: Path) -> None:
    last = rfprune.compare_trials(rfprune.open(grid), metric="accuracy", by="prune.method")
    loose = rfprune.compare_trials(grid, metric="accuracy", by="prune.method", where="dsp<=99")
    dearer = loose.groups["greedy"] - last.groups["greedy"]
    steps = len((grid / "trials" / "0000" / "steps.jsonl").read_text().splitlines())
    assert dearer == pytest.approx(0.1 * (steps - 2))
    assert list(last.table["first"]) == ["greedy", "greedy", "uniform"]


def test_sweeps_are_groups_where_no_key_is_named(run: Command, grid: Path) -> None:
    other = grid.with_name("better")
    shutil.copytree(grid, other)
    for steps in other.glob("trials/*/steps.jsonl"):
        lines = [json.loads(line) for line in steps.read_text().splitlines()]
        steps.write_text("".join(json.dumps(x | {"dsp": x["dsp"] - 7}) + "\n" for x in lines))
    found = rfprune.compare_trials(grid, other, metric="dsp")
    assert found.paired_by == ("prune.method", "seed")
    assert found.differences[0].found.mean == pytest.approx(7)
    ran = run("compare", "grid", "better", "--test", "dsp")
    assert "grid is worse than better by 7" in " ".join(ran.out.split())


def test_the_tables_say_what_can_be_seen(
    run: Command, grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ran = run("compare", "grid", "--test", "accuracy", "--by", "prune.method")
    assert ran.code == 0
    for word in ("detectable", "Hedges' g", "p (Holm)", "Analysis of variance", "same seed"):
        assert word in ran.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--test", "acuracy"), "unknown quantity 'acuracy'"),
        (("--test", "accuracy"), "needs two groups"),
        (("--test", "accuracy", "--by", "sed"), "'sed' was not searched. Did you mean"),
        (("--test", "accuracy", "--by", "seed", "--against", "9"), "no group '9'"),
        (("--test", "accuracy", "--by", "prune.method", "--where", "dsp=1"), "where: "),
        (("--by", "seed"), "belong to --test"),
        (("--test", "accuracy", "--html", "x.html"), "show fronts"),
    ],
)
def test_wrong_requests_are_sentences(
    run: Command, grid: Path, options: tuple[str, ...], sentence: str
) -> None:
    ran = run("compare", "grid", *options)
    assert ran.code in (1, 2)
    assert sentence in " ".join(ran.err.split())
    assert not Path("x.html").exists()


def test_pairs_that_are_none_are_refused_when_asked_for(finished: Path, grid: Path) -> None:
    asked: dict[str, Any] = {"metric": "accuracy", "paired": True}
    with pytest.raises(RunsError, match="are not pairs"):
        rfprune.compare_trials(finished, grid, **asked)
    with pytest.raises(RunsError, match="int: is not a sweep"):
        rfprune.compare_trials(7, grid, metric="accuracy")
    with pytest.raises(SpecError, match="where"):
        rfprune.compare_trials(grid, grid, metric="accuracy", where="dsp!")
