"""What a user sees, in a real browser: MLflow's list and comparison of runs, the front's page."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from docs.pictures import browser
from rfprune.exporting.page import write_page
from rfprune.results import SweepFolder, front_html, read_front
from rfprune.tracking import TrackingConfig, project, view_path
from rfprune.tracking.client import connect
from rfprune.tracking.ids import sweep_id

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=1)]
EXPERIMENT = "1"
REPOSITORY = Path(__file__).parents[2]
TRIALS = 6


@pytest.fixture(scope="module", autouse=True)
def _needs_a_browser() -> None:
    pytest.importorskip("playwright", reason="the package playwright is not installed")
    if browser.find_browser() is None:
        pytest.skip("no Chromium on PATH (apt install chromium)")


class Watched:
    """A page, and what went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self._note(said.type, said.text))
        page.on("request", lambda request: self._request(request.url))

    def _note(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)

    def _request(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:")):
            self.elsewhere.append(url)


@pytest.fixture
def watched() -> Iterator[Watched]:
    with browser.open_page() as page:
        yield Watched(page)


@pytest.fixture
def folder(make) -> SweepFolder:
    folder = make.sweep(trials=TRIALS - 1)
    make.trial(folder, TRIALS - 1, state="failed", steps=0)
    return folder


def test_the_runs_and_their_comparison_show_every_trial(folder, config, watched) -> None:
    runs = project(folder, config)
    assert len(runs) == TRIALS
    page = watched.page
    browser.arrange(page, EXPERIMENT, ("metrics.`dsp`",))
    with browser.mlflow_server(config) as address:
        page.goto(browser.runs_url(address, EXPERIMENT))
        browser.unfold(page, "digits")
        for number in runs:
            assert page.get_by_role("link", name=f"trial-{number:04d}").count() == 1
        dsp = f"{found(config)[0].data.metrics['dsp']:.0f}"
        assert page.get_by_role("gridcell").filter(has_text=dsp).count() >= 1

        page.goto(browser.compare_url(address, EXPERIMENT, list(runs.values())))
        heading = page.get_by_role("heading", name=f"Comparing {TRIALS} Runs from 1 Experiment")
        heading.wait_for(timeout=browser.LOADED_MS)
        page.locator(".js-plotly-plot").first.wait_for(timeout=browser.LOADED_MS)
        axes = page.evaluate(
            "document.querySelector('.js-plotly-plot').data[0].dimensions"
            ".map(axis => [axis.label, axis.values.length])"
        )
        assert {count for _, count in axes} == {TRIALS}
        assert any(label.endswith("reuse_factor") for label, _ in axes)
    assert watched.elsewhere == []


def found(config: TrackingConfig) -> list[Any]:
    client = connect(config)
    return list(client.search_runs([EXPERIMENT], "tags.kind = 'trial'"))


@contextmanager
def ui_command(folder: SweepFolder, config: TrackingConfig, place: Path) -> Iterator[str]:
    """Yield the address that ``rfprune ui SWEEP`` prints, in a folder with its own mlflow.yml."""
    (place / "mlflow.yml").write_text(config.model_dump_json())
    command = [sys.executable, "-m", "rfprune", "ui", folder.path.name, "--no-browser"]
    command += ["--port", str(browser.free_port()), "--runs", str(folder.path.parent)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert server.stdout is not None
        printed = re.search(r"http://\S+", server.stdout.readline())
        assert printed is not None
        yield printed.group()
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1920, 1080)])
def test_the_command_shows_a_fresh_browser_the_sorted_trials_without_a_click(
    folder, config, tmp_path: Path, width: int, height: int
) -> None:
    runs = project(folder, config)
    with (
        ui_command(folder, config, tmp_path) as address,
        browser.open_page(width, height) as page,
    ):
        page.goto(address)
        first = page.get_by_role("link", name=re.compile(r"^trial-\d{4}$")).first
        first.wait_for(timeout=browser.LOADED_MS)
        heads = page.get_by_role("columnheader").all_inner_texts()
        assert {"val_accuracy", "dsp"} <= {head.strip() for head in heads}
        links = page.get_by_role("link", name=re.compile(r"^trial-\d{4}$")).all_inner_texts()
        shown = {run.info.run_name: run.data.metrics["val_accuracy"] for run in found(config)}
        scores = [shown[name] for name in links if not math.isnan(shown[name])]
        assert len(links) == len(runs)
        assert scores == sorted(scores, reverse=True)


def test_the_charts_of_a_sweep_begin_with_the_objectives(folder, config, watched) -> None:
    project(folder, config)
    page = watched.page
    browser.without_assistant(page)
    with browser.mlflow_server(config) as address:
        page.goto(f"{address}{view_path(config)}&compareRunsMode=CHART")
        for title in ("Parallel Coordinates", "dsp vs. val_accuracy"):
            page.get_by_text(title).first.wait_for(timeout=browser.LOADED_MS)
        axes = page.locator(".parcoords .dimension")
        axes.first.wait_for(timeout=browser.LOADED_MS)
        shown = " ".join(axes.all_text_contents())
    assert all(name in shown for name in folder.spec().objectives)
    assert watched.elsewhere == []


def test_two_sweeps_are_compared_by_the_same_names(make, config, watched) -> None:
    first = make.sweep(trials=4)
    spec = first.spec().model_copy(update={"name": "other"})
    facts = {**make.facts, "sweep_id": "other-1"}
    second = replace(make, root=make.root / "beside", facts=facts).sweep(spec, trials=3)
    shown = [len(set(project(one, config))) for one in (first, second)]
    assert shown == [4, 3]
    page = watched.page
    browser.without_assistant(page)
    with browser.mlflow_server(config) as address:
        page.goto(f"{address}{view_path(config, sweep_id(first), sweep_id(second))}")
        page.get_by_text("Show diff only").first.wait_for(timeout=browser.LOADED_MS)
        page.locator(".js-plotly-plot").first.wait_for(timeout=browser.LOADED_MS)
        told = page.locator("tr").filter(has_text=re.compile(r"^sweep")).first.inner_text()
        axes = page.evaluate(
            "document.querySelector('.js-plotly-plot').data[0].dimensions"
            ".map(axis => axis.values.length)"
        )
        for name in first.spec().objectives:
            assert page.get_by_role("link", name=name, exact=True).count() == 1
    fronts = sum(len({p.trial for p in read_front(one).points}) for one in (first, second))
    assert set(axes) == {fronts}
    assert {"digits", "other"} <= set(told.split())
    assert watched.elsewhere == []


def test_the_page_of_the_front_answers(folder, tmp_path: Path, watched) -> None:
    front = read_front(folder)
    path = tmp_path / "front.html"
    path.write_text(front_html(front), encoding="utf-8")
    page = watched.page
    page.goto(path.as_uri())
    points = page.locator(".point.front")
    assert points.count() == len(front.points)
    best = front.points[0]
    named = f"Trial {best.trial}, step {best.step}"

    page.locator("tbody tr").first.click()
    assert page.locator("aside h2").inner_text().startswith(named)
    command = page.locator("code.command").inner_text()
    assert f"--trial {best.trial} --step {best.step} " in command

    points.nth(1).hover()
    assert page.locator("#tip").is_visible()
    points.nth(1).click()
    assert page.locator("aside h2").inner_text() == page.locator("#tip strong").inner_text()
    before = page.locator(".point.front").first.get_attribute("cx")
    page.locator("select").nth(1).select_option("latency_cycles")
    assert page.get_by_text("latency (clock cycles)").count() >= 1
    assert page.locator(".point.front").first.get_attribute("cx") != before
    assert watched.errors == []
    assert watched.elsewhere == []


def test_names_and_values_from_a_stranger_s_files_are_text(folder, tmp_path: Path, watched) -> None:
    evil = "<img src=x onerror=window.hit=1></script><script>window.hit=1</script>__DATA__"
    for trial in folder.trials():
        path = trial.path / "spec.json"
        if path.exists():
            spec = json.loads(path.read_text())
            layers = spec["hardware"]["layers"]
            first = next(iter(layers))
            layers[evil] = {**layers[first], "reuse_factor": evil}
            path.write_text(json.dumps(spec))
    front = read_front(folder)
    assert any(evil in name for name in front.points[0].params)
    path = tmp_path / "front.html"
    path.write_text(front_html(front), encoding="utf-8")
    page = watched.page
    page.goto(path.as_uri())
    page.locator("tbody tr").first.click()
    assert "<img src=x" in page.locator("aside").inner_text()
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == 0
    report = tmp_path / "report"
    report.mkdir()
    write_page(report, evil, f"| a |\n|---|\n| {evil} |\n\n[x](javascript:window.hit=1)\n", None)
    page.goto((report / "report.html").as_uri())
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("a[href^=javascript]").count() == 0
    assert watched.errors == []
    assert watched.elsewhere == []
