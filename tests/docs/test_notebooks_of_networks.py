"""The notebooks about single networks, run as they are; another file, for another worker."""

from __future__ import annotations

import pytest

from tests.docs.running import check_a_run_of, slow_notebooks

NAMES = (
    "2_own_network_and_task",
    "3_rf1_and_luts",
    "5_export_and_firmware",
    "6_akperl_and_adaptive_models",
)
pytestmark = slow_notebooks


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str) -> None:
    check_a_run_of(name)
