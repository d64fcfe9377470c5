"""What a user sees, in a real browser: MLflow's list and comparison of runs, the front's page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import browser
from rfprune.front import front_html, read_front
from rfprune.runs import SweepFolder
from rfprune.tracking import project

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
EXPERIMENT = "1"
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
        dsp = f"{read_front(folder).view.trials[0].candidates[-1].metrics['dsp']:.0f}"
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
    assert f"'trial=={best.trial}'" in command
    assert f"'step=={best.step}'" in command

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
