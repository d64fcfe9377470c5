"""Optuna's dashboard on the study of a sweep, in a browser: the names are those of everywhere."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ports import free_port
from docs.pictures import browser

DASHBOARD = Path(sys.executable).with_name("optuna-dashboard")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.flaky(reruns=1),
    pytest.mark.skipif(not DASHBOARD.exists(), reason="extra notebook is missing"),
    pytest.mark.skipif(browser.find_browser() is None, reason="no Chromium on PATH"),
]


@pytest.fixture
def address(make_spec: Callable[..., Any], inline: Callable[..., Any]) -> Iterator[str]:
    """The command of the documentation, on the study of a sweep of three trials."""
    journal = inline(make_spec(trials=3)).run().folder.study_path
    port = free_port()
    server = subprocess.Popen(
        [str(DASHBOARD), str(journal), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/dashboard/studies/0"
    finally:
        server.terminate()
        server.wait(timeout=60)


def test_objectives_and_searched_paths_have_their_names(address: str) -> None:
    with browser.open_page() as page:
        page.goto(address)
        page.get_by_text("Hyperparameter Importance").first.wait_for(timeout=browser.LOADED_MS)
        page.get_by_text("val_accuracy").first.wait_for(timeout=browser.LOADED_MS)
        shown = page.inner_text("body")
    assert "Objective 0" not in shown
    assert "hardware.layers.fc1.reuse_factor" in shown
