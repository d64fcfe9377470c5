"""The shipped profiles beside times that others have published."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks.devices import cases, counts_of, milliseconds, spread
from rfprune.edge.monitor import find_device

pytestmark = pytest.mark.skipif(
    find_spec("timm") is None, reason="timm and torchvision are not installed (extra 'edge')"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", cases(), ids=lambda case: f"{case['device']}-{case['precision']}-{len(case['ms'])}"
)
def test_times_are_within_a_factor_of_published_ones(case) -> None:
    device, precision = find_device(case["device"]), case["precision"]
    rows = [
        {
            "network": name,
            "published_ms": ms,
            "profile_ms": milliseconds(device, counts_of(name, case["size"]), precision),
        }
        for name, ms in case["ms"].items()
    ]
    # PyTorch's own overhead is in times that nothing was fitted to.
    most = 3.5 if case.get("only_compared") else 2
    for row in rows:
        assert 1 / most < row["profile_ms"] / row["published_ms"] < most, row
    if precision == "fp32":
        # Between networks: twelve of them on the Raspberry Pi 4.
        assert spread(rows, "profile_ms") < 2
