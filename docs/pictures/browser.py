"""A headless Chromium and an MLflow server, for tests and pictures of what people look at."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from benchmarks.ports import free_port
from rfprune.tracking import TrackingConfig
from rfprune.tracking.config import ServerConfig

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: MLflow's pages are large, and a busy machine shows them late.
LOADED_MS = 120_000
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SERVE = """
import sys
from rfprune.tracking import TrackingConfig, serve
config = TrackingConfig.model_validate_json(sys.argv[1])
serve(config, announce=lambda text: print(text, flush=True))
"""


def find_browser() -> str | None:
    """Return the path of a Chromium, None if there is none."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@contextmanager
def open_page(width: int = 1440, height: int = 900) -> Iterator[Page]:
    """Yield a page of a headless browser; needs the package playwright and a Chromium."""
    from playwright.sync_api import sync_playwright

    browser = find_browser()
    assert browser is not None, "look with find_browser first"
    with sync_playwright() as play:
        # Chromium's own sandbox does not start for root, as in a container.
        chromium = play.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield chromium.new_page(viewport={"width": width, "height": height})
        finally:
            chromium.close()


@contextmanager
def mlflow_server(config: TrackingConfig) -> Iterator[str]:
    """Yield the address of a server as ``rfprune ui`` starts it, on a free port."""
    port = free_port()
    chosen = config.model_copy(update={"server": ServerConfig(port=port)})
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVE, chosen.model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert server.stdout is not None
        announced = server.stdout.readline()
        assert announced.startswith("MLflow is running at"), announced
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate(timeout=60)


def without_assistant(page: Page) -> None:
    """Keep the panel shut that MLflow opens in every new browser."""
    keep(
        page,
        {
            "mlflow.assistant.panelOpen_v1": False,
            "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
        },
    )


def arrange(page: Page, experiment: str, columns: tuple[str, ...]) -> None:
    """Set MLflow's own view settings before it loads: the columns, and no assistant."""
    state = {"selectedColumns": list(columns), "orderByKey": "attributes.start_time"}
    keep(
        page, {f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState': state}
    )
    without_assistant(page)


def keep(page: Page, settings: dict[str, object]) -> None:
    """Put settings where MLflow's pages keep theirs, before they load."""
    stored = {name: json.dumps(value) for name, value in settings.items()}
    page.add_init_script(f"Object.assign(localStorage, {json.dumps(stored)})")


def runs_url(address: str, experiment: str) -> str:
    """Return the address of an experiment's list of runs."""
    return f"{address}/#/experiments/{experiment}/runs"


def unfold(page: Page, sweep: str) -> None:
    """Show the trials below a sweep in the list of runs."""
    cell = page.get_by_role("gridcell").filter(has_text=sweep)
    cell.get_by_role("button").first.click(timeout=LOADED_MS)
    page.get_by_role("link", name=re.compile(r"^trial-\d{4}$")).first.wait_for(timeout=LOADED_MS)


def compare_url(address: str, experiment: str, runs: Sequence[str]) -> str:
    """Return the address of the comparison of runs."""
    asked = {"runs": json.dumps(list(runs)), "experiments": json.dumps([experiment])}
    asked["workflowType"] = "machine_learning"
    return f"{address}/#/compare-runs?{urlencode(asked, quote_via=quote)}"
