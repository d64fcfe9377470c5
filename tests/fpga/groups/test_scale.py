"""A million groups: what one whole selection adds to the memory of its process."""

import pytest

from benchmarks.selection import measure


@pytest.mark.slow
@pytest.mark.parametrize("resources", [1, 2])
def test_a_million_groups_fit_in_memory(resources: int) -> None:
    cost = measure(1_000_000, resources, repeats=1)
    print("{groups} groups, {resources} resources: {total:.2f} s, {peak_mb} MB".format(**cost))
    assert cost["groups"] > 950_000
    if cost["peak_mb"] is None:
        pytest.skip("no /proc on this system, so a process cannot tell its peak memory")
    assert cost["peak_mb"] <= 2000
