"""The front as PNG and as a page; the page also in a real browser."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from unittest.mock import patch

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from rfprune.results import read_front
from rfprune.results.axes import LOG_RATIO, axis_pairs, edge_of_front, known_quantities
from rfprune.results.front_page import front_html
from rfprune.results.front_plot import front_figure, front_png
from rfprune.results.front_text import front_table
from rfprune.results.labels import BETWEEN, number, summary
from rfprune.results.points import SweepView


@pytest.fixture
def front(make, spec_of):
    spec = spec_of(constraints=["dsp <= 2000", "val_accuracy >= 0.945"])
    return read_front(make.sweep(spec, trials=12))


def colours(png: bytes) -> np.ndarray:
    image = matplotlib.image.imread(io.BytesIO(png))
    return (image[..., :3] * 255).round().astype(int).reshape(-1, 3)


def test_png_has_a_panel_for_every_cost_and_draws_the_front(front) -> None:
    png = front_png(front)
    image = matplotlib.image.imread(io.BytesIO(png))
    height, width = image.shape[:2]
    assert width > 1.8 * height
    assert axis_pairs(front) == [("dsp", "val_accuracy"), ("latency_cycles", "val_accuracy")]
    pixels = colours(png)
    assert (pixels == (29, 95, 184)).all(axis=1).sum() > 500
    assert png == front_png(front)


def test_the_summary_is_whole_and_the_dense_network_in_sight(front) -> None:
    with (
        patch.object(Figure, "savefig", autospec=True) as drawn,
        patch("rfprune.results.front_plot._CHARACTERS_PER_INCH", 5),
    ):
        front_png(front)
    (figure, *_), _ = drawn.call_args
    said = [text.get_text() for text in figure.texts]
    assert said[0] == front.view.name
    assert BETWEEN.join(said[1].split("\n")) == summary(front)
    assert max(map(len, said[1].split("\n"))) <= 5 * figure.get_figwidth()
    (_, y), *_ = axis_pairs(front)
    low, high = figure.axes[0].get_ylim()
    assert all(low <= point.metrics[y] <= high for point in front.shown)


def dsps(front) -> list[float]:
    return [point.metrics["dsp"] for point in front.view.candidates]


@pytest.mark.parametrize("times", [0.5, 1.0, 1.5, 20.0])
def test_names_of_lines_stand_beside_the_points(front, times, monkeypatch) -> None:
    available = times * (max(dsps(front)) if times > 1 else min(dsps(front)))
    monkeypatch.setattr(SweepView, "capacity", {"dsp": available})
    figure = front_figure(front)
    figure.draw_without_rendering()
    panel = figure.axes[0]
    inside = panel.get_window_extent()
    names = {text.get_text(): text.get_window_extent() for text in panel.texts}
    assert {"dsp ≤ 2000", "val_accuracy ≥ 0.945"} < set(names)
    (part,) = (name for name in names if front.view.part in name)
    assert (part.startswith("←"), part.endswith("→")) == (times == 0.5, times == 20.0)
    for box in names.values():
        assert not box.overlaps(inside.shrunk(0.999, 0.999))
        assert sum(box.overlaps(other) for other in names.values()) == 1


def test_a_part_far_behind_the_cheapest_point_leaves_the_others_room(front, monkeypatch) -> None:
    points = dsps(front)
    assert max(points) > LOG_RATIO * min(points)
    monkeypatch.setattr(SweepView, "capacity", {"dsp": 2 * max(points)})
    low, high = front_figure(front).axes[0].get_xlim()
    assert high == 1.04 * 2 * max(points)
    assert 0.2 * min(points) < low <= min(points)


@pytest.mark.parametrize(
    "objectives",
    [
        {"val_accuracy": "max"},
        {"dsp": "min"},
        {"val_accuracy": "max", "sparsity": "max"},
        {"dsp": "min", "lut": "min"},
        {"val_accuracy": "max", "dsp": "min", "bram18": "min", "lut": "min", "ff": "min"},
    ],
)
def test_pictures_of_any_objectives(make, spec_of, objectives) -> None:
    make.facts = {}
    front = read_front(make.sweep(spec_of(objectives=objectives, constraints=[]), trials=4))
    assert (colours(front_png(front)) == (29, 95, 184)).all(axis=1).any()
    assert "__DATA__" not in front_html(front)


def estimated(front, wide: float = 2.0):
    """The same front with intervals around DSPs, as an estimator gives them."""

    def with_ends(point):
        dsp = point.metrics["dsp"]
        return replace(
            point, metrics={**point.metrics, "dsp.low": dsp / wide, "dsp.high": dsp * wide}
        )

    view = front.view
    trials = [
        replace(trial, candidates=[with_ends(point) for point in trial.candidates])
        for trial in view.trials
    ]
    view = replace(view, trials=trials)
    same = {(point.trial, point.step): point for point in view.candidates}
    return replace(
        front,
        view=view,
        points=[same[point.trial, point.step] for point in front.points],
    )


def test_intervals_are_bars_columns_and_details(front) -> None:
    known = estimated(front)
    point = known.points[0]
    low, high = point.between("dsp")
    assert (low, high) == (point.metrics["dsp"] / 2, point.metrics["dsp"] * 2)
    assert point.between("lut") is None
    # Bars belong to their quantity: their ends are no axes.
    assert not [name for name in known_quantities(known) if name.endswith((".low", ".high"))]
    data = json_of(known)
    assert data["between"][f"{point.trial}.{point.step}"]["dsp"] == [low, high]
    assert len(data["between"]) == len(known.shown)
    assert all(not each for each in json_of(front)["between"].values())
    bars = (colours(front_png(known)) != colours(front_png(front))).any(axis=1)
    assert bars.sum() > 50
    table = front_table(known)
    (column,) = (each for each in table.columns if each.header == "dsp 90 %")
    ends = (number(known.view.quantities["dsp"], end) for end in (low, high))
    assert next(iter(column.cells)) == " to ".join(ends)
    assert not [each for each in front_table(front).columns if "90 %" in str(each.header)]


def json_of(front) -> dict:
    page = front_html(front)
    return json.loads(re.search(r'type="application/json">(.*?)</script>', page)[1])


def test_pictures_of_a_sweep_without_any_step(make) -> None:
    front = read_front(make.sweep())
    assert front_png(front).startswith(b"\x89PNG")
    assert payload(front_html(front))["points"] == []


def test_the_edge_of_the_front_is_the_front_in_two_quantities(front) -> None:
    edge = edge_of_front(front, "latency_cycles", "val_accuracy")
    assert {id(p) for p in edge} < {id(p) for p in front.points}
    costs = [p.metrics["latency_cycles"] for p in edge]
    accuracies = [p.metrics["val_accuracy"] for p in edge]
    assert costs == sorted(costs)
    assert accuracies == sorted(accuracies)
    for point in front.points:
        assert any(
            p.metrics["latency_cycles"] <= point.metrics["latency_cycles"]
            and p.metrics["val_accuracy"] >= point.metrics["val_accuracy"]
            for p in edge
        )


def payload(page: str) -> dict:
    match = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    assert match is not None
    return json.loads(match.group(1))


def test_page_carries_every_candidate_and_loads_nothing(front) -> None:
    page = front_html(front)
    data = payload(page)
    assert len(data["points"]) == len(front.view.candidates)
    names = known_quantities(front)
    assert data["quantities"] == names
    for row, c in zip(data["points"], front.view.candidates, strict=True):
        assert row[:3] == [c.trial, c.step, c.feasible]
        assert row[4:] == [c.metrics[name] for name in names]
    ranked = sorted((row for row in data["points"] if row[3] >= 0), key=lambda row: row[3])
    assert [tuple(row[:2]) for row in ranked] == [(p.trial, p.step) for p in front.points]
    addresses = set(re.findall(r"https?://[^\"'\s]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)


def test_values_cannot_end_the_script_that_carries_them(make, spec_of) -> None:
    spec = spec_of(search={"model.name": {"choices": ["mlp"]}})
    folder = make.sweep(spec, trials=1)
    path = folder.trial(0).path / "spec.json"
    values = json.loads(path.read_text())
    values["model"]["name"] = "</script><script>alert(1)</script>"
    path.write_text(json.dumps(values))
    data = payload(front_html(read_front(folder)))
    assert data["params"]["0"]["model.name"] == values["model"]["name"]


HEADLESS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.mark.slow
def test_page_in_a_browser(front, tmp_path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium found (Debian package: chromium)")
    page = tmp_path / "front.html"
    # Clicks on the first row, as a reader would.
    click = "<script>document.querySelector('#table tbody tr').click()</script></body>"
    page.write_text(front_html(front).replace("</body>", click), encoding="utf-8")
    shown = subprocess.run(
        [
            browser,
            *HEADLESS,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert shown.count('class="point front"') == len(front.points)
    assert shown.count('class="selected"') == 1
    assert shown.count('class="chosen"') == 1
    best = front.points[0]
    assert f"Trial {best.trial}, step {best.step}" in shown
    assert f"--trial {best.trial} --step {best.step} " in shown
    names = re.findall(r'<text class="above[^>]* y="([-\d.]+)"', shown)
    frame = min(float(y) for y in re.findall(r'<line class="axis"[^>]* y1="([\d.]+)"', shown))
    assert len(names) == 2
    assert all(0 < float(y) < frame for y in names)
