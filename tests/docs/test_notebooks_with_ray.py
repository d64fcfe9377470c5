"""The notebooks whose first cells are sweeps, run as they are."""

from __future__ import annotations

import pytest

from tests.docs.running import check_a_run_of, slow_notebooks

NAMES = ("1_first_sweep", "4_reading_a_front")
pytestmark = slow_notebooks


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str) -> None:
    check_a_run_of(name)
