import pytest
import torch
from torch import nn

from rfprune.edge.monitor import measure_time, timing
from rfprune.errors import DataError


def test_repeats_are_timed_after_the_warm_up(monkeypatch) -> None:
    """A clock that every call moves on by a known time."""
    now = 0
    takes = iter([999, 999, 1, 2, 3, 4, 100])

    def model(batch: torch.Tensor) -> None:
        nonlocal now
        now += next(takes) * 1_000_000

    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: now)
    found = measure_time(model, torch.zeros(4, 2), repeats=5, warmup=2)
    assert (found.median_ms, found.iqr_ms, found.n) == (3.0, 2.0, 5)
    assert found.image_ms == 0.75


def test_the_model_is_timed_as_it_is_deployed() -> None:
    seen = []

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((self.training, torch.is_inference_mode_enabled(), torch.get_num_threads()))
            return x

    net = Net().train()
    before = torch.get_num_threads()
    measure_time(net, torch.zeros(1, 2), repeats=2, warmup=1, threads=2)
    assert seen == [(False, True, 2)] * 3
    assert net.training
    assert torch.get_num_threads() == before


def test_nothing_to_time_is_a_sentence() -> None:
    with pytest.raises(DataError, match="0 repeats on 1 images"):
        measure_time(nn.Identity(), torch.zeros(1, 2), repeats=0)
    with pytest.raises(DataError, match="30 repeats on 0 images"):
        measure_time(nn.Identity(), torch.zeros(0, 2))
