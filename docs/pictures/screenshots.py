"""Takes the pictures of the documentation: ``python -m docs.pictures.screenshots``.

Runs the shipped digits sweep, retargets it and exports a point of its front (some minutes), or
takes a sweep that has run: ``--runs DIR``. Needs a Chromium and the packages of the extra ``test``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow import MlflowClient

from benchmarks.report import ROOT
from docs.pictures.browser import (
    LOADED_MS,
    find_browser,
    mlflow_server,
    open_page,
    without_assistant,
)
from rfprune.results import SweepFolder, find_sweep
from rfprune.tracking import TrackingConfig, project, sweep_id, view_path

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = ROOT / "docs" / "images"
SWEEP = "digits"
#: Its networks on another part, to be compared with.
BESIDE, OTHER_PART = "digits_zcu102", "zcu102"
#: MLflow draws its charts some time after it has loaded them, and announces it nowhere.
_SETTLE_MS = 2500


def rfprune(folder: Path, *arguments: str) -> None:
    """Run a command of rfprune in `folder`."""
    subprocess.run([sys.executable, "-m", "rfprune", *arguments], cwd=folder, check=True)


def mlflow_pictures(sweep: SweepFolder, beside: SweepFolder, scratch: Path) -> None:
    """Take what ``rfprune ui`` opens, a sweep's own run, and the comparison of two sweeps."""
    config = TrackingConfig(
        tracking_uri=f"sqlite:///{scratch / 'mlflow.db'}",
        artifact_location=str(scratch / "mlartifacts"),
    )
    for one in (sweep, beside):
        project(one, config)
    experiment = "1"
    shown = view_path(config, sweep_id(sweep))
    with mlflow_server(config) as address:
        for width, height, name in ((1440, 900, "mlflow_runs"), (1920, 1080, "mlflow_runs_wide")):
            with open_page(width, height) as page:
                without_assistant(page)
                page.goto(address + shown)
                page.get_by_role("link", name="trial-0000").wait_for(timeout=LOADED_MS)
                take(page, f"{name}.png")
        with open_page(1440, 900) as page:
            without_assistant(page)
            page.goto(f"{address}{shown}&compareRunsMode=CHART")
            page.locator(".parcoords .label").first.wait_for(timeout=LOADED_MS)
            take(page, "mlflow_charts.png")
            (own,) = MlflowClient(config.tracking_uri).search_runs(
                [experiment], f"tags.kind = 'sweep' and tags.sweep_id = '{sweep_id(sweep)}'"
            )
            run = f"/#/experiments/{experiment}/runs/{own.info.run_id}"
            page.goto(f"{address}{run}?workflowType=machine_learning")
            page.get_by_text("Show more").first.click(timeout=LOADED_MS)
            page.locator("img").last.wait_for(timeout=LOADED_MS)
            take(page, "mlflow_sweep.png")
            page.set_viewport_size({"width": 1440, "height": 1300})
            page.goto(address + view_path(config, sweep_id(sweep), sweep_id(beside)))
            page.locator(".js-plotly-plot").first.wait_for(timeout=LOADED_MS)
            take(page, "mlflow_compare.png")


def front_picture(page_file: Path) -> None:
    """Take the front's page with a point that has been clicked."""
    with open_page(1280, 820) as page:
        page.goto(page_file.as_uri())
        page.locator(".point.front").nth(1).click()
        page.mouse.move(2, 2)
        take(page, "front_page.png")


def report_picture(report: Path) -> None:
    """Take the report of an export, as a whole."""
    with open_page(1000, 800) as page:
        page.goto(report.as_uri())
        take(page, "report.png", whole=True)


def take(page: Page, name: str, *, whole: bool = False) -> None:
    """Write a picture for the documentation."""
    page.wait_for_timeout(_SETTLE_MS)
    page.screenshot(path=str(IMAGES / name), full_page=whole)
    print(f"written: {IMAGES / name}")


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help=f"folder of runs that holds '{SWEEP}'")
    runs: Path | None = parser.parse_args().runs
    if find_browser() is None:
        sys.exit("no Chromium on PATH; on Debian: apt install chromium")
    with tempfile.TemporaryDirectory(prefix="rfprune-") as name:
        scratch = Path(name)
        if runs is None:
            runs = scratch / "runs"
            rfprune(scratch, "sweep", str(ROOT / "sweeps" / f"{SWEEP}.yml"))
        where = ("--runs", str(runs.resolve()))
        picture = ("--png", str(IMAGES / "front.png"))
        rfprune(scratch, "pareto", SWEEP, *where, "--html", "front.html", *picture)
        rfprune(scratch, "export", SWEEP, *where, "--where", "fits==1", "--out", "best")
        part = ("--set", f"hardware.part={OTHER_PART}")
        if not (runs / BESIDE).exists():
            rfprune(scratch, "retarget", SWEEP, *where, *part, "--name", BESIDE)
        IMAGES.mkdir(exist_ok=True)
        front_picture(scratch / "front.html")
        report_picture(scratch / "best" / "report.html")
        mlflow_pictures(find_sweep(runs, SWEEP), find_sweep(runs, BESIDE), scratch)


if __name__ == "__main__":
    main()
