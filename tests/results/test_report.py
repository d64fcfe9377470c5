"""JSON, CSV and tables of a front."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from benchmarks.fronts import sections
from benchmarks.report import RESULTS, render
from rfprune.hardware.parts import find_part
from rfprune.results import (
    best_per_budget,
    budget_table,
    front_csv,
    front_json,
    front_table,
    read_front,
)

#: Of a sweep of classes for an FPGA.
COLUMNS = [
    *("val_accuracy", "accuracy", "float_val_accuracy", "dsp", "bram18", "lut", "ff"),
    *("latency_cycles", "ii_cycles", "latency_ns", "reachable_ns", "fits"),
    *("sparsity", "power_mw", "seconds"),
    *(
        f"{name}.{end}"
        for name in (
            *("dsp", "bram18", "lut", "ff", "latency_cycles", "ii_cycles"),
            "reachable_ns",
        )
        for end in ("low", "high")
    ),
]
FLAGS = ["dense", "on_front", "within_noise", "constant"]


@pytest.fixture
def front(make):
    folder = make.sweep(trials=10)
    make.trial(folder, 10, state="running", steps=2)
    return read_front(folder)


def test_json_is_the_published_object(front) -> None:
    value = json.loads(json.dumps(front_json(front, {3: "abc"})))
    assert list(value) == [
        "sweep",
        "objectives",
        "hypervolume",
        "reference_point",
        "trials",
        "rows",
        "capacity",
        "reference",
        "front",
    ]
    assert value["trials"] == {"complete": 10, "failed": 0, "infeasible": 0, "running": 1}
    assert value["reference_point"] == {
        "val_accuracy": 0.7,
        "dsp": 5000.0,
        "latency_cycles": 500.0,
    }
    for row, point in zip(value["front"], front.shown, strict=True):
        lead = {"trial", "step", "run_id", "feasible", "params", "errors", "spread", "repeats"}
        assert set(row) == {*lead, *FLAGS, *COLUMNS}
        assert [row["dense"], row["on_front"]] == [point.step == 0, point in front.points]
        assert row["fits"] == 1
        assert row["run_id"] == ("abc" if point.trial == 3 else None)
        assert row["power_mw"] is None
        assert row["dsp"] == point.metrics["dsp"]
        assert row["params"] == dict(point.params)


def test_front_is_sorted_and_no_point_beats_another(front) -> None:
    rows = [row for row in front_json(front)["front"] if row["on_front"]]
    accuracies = [row["val_accuracy"] for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    names, quantities = list(front.view.objectives), front.view.quantities
    for row in rows:
        for candidate in front.view.candidates:
            gains = [
                (candidate.metrics[n] - row[n]) * (1 if quantities[n].direction == "max" else -1)
                for n in names
            ]
            assert min(gains) < 0 or max(gains) == 0


def test_no_reference_point_is_null(make) -> None:
    make.facts = {}
    value = front_json(read_front(make.sweep(trials=1)))
    assert value["hypervolume"] is None
    assert value["reference_point"] is None


def test_csv_says_what_json_says(front) -> None:
    rows = list(csv.DictReader(io.StringIO(front_csv(front, {0: "r0"}))))
    for line, row in zip(rows, front_json(front, {0: "r0"})["front"], strict=True):
        assert int(line["trial"]) == row["trial"]
        assert float(line["val_accuracy"]) == row["val_accuracy"]
        assert line["power_mw"] == ""
        assert line["run_id"] == (row["run_id"] or "")
        assert {path: float(line[path]) for path in row["params"]} == row["params"]


def test_csv_of_an_empty_front_has_its_header(make) -> None:
    text = front_csv(read_front(make.sweep()))
    names = ["trial", "step", "run_id", "feasible", *FLAGS, *COLUMNS, "val_accuracy_error"]
    assert text == ",".join(names) + "\n"


def test_budget_rows_are_the_most_accurate_within(front) -> None:
    part = find_part("xcvu13p").dsp
    fractions = (0.001, 0.05, 0.1, 1.0)
    rows = best_per_budget(front, "dsp", fractions)
    assert [row.budget for row in rows] == [f * part for f in fractions]
    assert rows[0].best is None
    for row in rows[1:]:
        within = [p for p in front.points if p.metrics["dsp"] <= row.budget]
        assert row.best.metrics["val_accuracy"] == max(p.metrics["val_accuracy"] for p in within)


def test_budget_of_an_unknown_cost_is_empty(front) -> None:
    assert best_per_budget(front, "power_mw") == []


def test_tables_show_every_point(front) -> None:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(front_table(front), budget_table(front))
    text = console.export_text()
    for point in front.points:
        assert f"{point.metrics['val_accuracy']:.4f}" in text
        assert f"{point.metrics['dsp']:,.0f}" in text
    assert "10 trials complete" in text
    assert "1 not finished" in text
    assert "10 % (1,229)" in text
    assert "of what xcvu13p-flga2577-2-e has" in text


def test_the_page_of_fronts_can_be_written_sweep_by_sweep() -> None:
    page = (RESULTS / "fronts.md").read_text()
    known = sections(page)
    assert {"digits", "jets_simulated", "fashion_mnist"} <= set(known)
    assert all(f"(fronts/{name}.png)" in text for name, text in known.items())
    assert render("fronts", sections="\n".join(known.values())) == page
