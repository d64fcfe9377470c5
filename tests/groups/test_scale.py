"""A million groups: what one whole selection adds to the memory of its process."""

import pytest

from benchmarks.selection import measure


@pytest.mark.slow
@pytest.mark.parametrize("resources", [1, 2])
def test_a_million_groups_fit_in_memory(resources: int) -> None:
    cost = measure(1_000_000, resources, repeats=1)
    print(f"{cost.groups} groups, {resources} resources: {cost.total:.2f} s, {cost.peak_mb} MB")
    assert cost.groups > 950_000
    if cost.peak_mb is None:
        pytest.skip("no /proc on this system, so a process cannot tell its peak memory")
    assert cost.peak_mb <= 2000
