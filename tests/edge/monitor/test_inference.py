"""What an inference takes: counted where a counter is, the profile's word elsewhere, never both."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rfprune.edge.monitor import (
    Reading,
    Readings,
    Workload,
    energy,
    find_device,
    inference_seconds,
    measure_inference,
    power,
)
from rfprune.edge.monitor.counters import open_rapl
from rfprune.errors import DataError
from tests.edge.monitor.powercap import Powercap

ROWS = torch.zeros(4, 2)
DEVICE, WORK = find_device("raspberry_pi_4"), Workload(macs=1e6)
SECONDS = inference_seconds(DEVICE, WORK)
ESTIMATED = Readings(
    SECONDS,
    energy(DEVICE, WORK, SECONDS.value),
    power(DEVICE, WORK, SECONDS.value),
    Reading(0.4, "1", "energy model of raspberry_pi_4", "estimated"),
)


class Consumer(nn.Module):
    """A network that makes the package's counter rise by a known energy at every pass."""

    def __init__(self, powercap: Powercap, microjoule: int) -> None:
        super().__init__()
        self.powercap, self.microjoule, self.passes = powercap, microjoule, 0

    def forward(self, x: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        self.passes += 1
        self.powercap.count("intel-rapl:0", 1_000_000 + self.passes * self.microjoule)
        return x


def test_energy_is_what_the_counter_says(tmp_path: Path) -> None:
    powercap = Powercap(tmp_path)
    model = Consumer(powercap, microjoule=500_000).train()
    found = measure_inference(model, ROWS, ESTIMATED, run_seconds=0.02, counter=open_rapl(tmp_path))
    assert found.energy == Reading(
        125.0, "mJ", "RAPL (package-0, package-0 dram, package-1)", "measured"
    )
    assert (found.time.kind, found.time.source) == ("measured", "clock of this machine")
    assert (found.power.kind, found.power.unit) == ("measured", "mW")
    assert found.power.source == found.energy.source
    assert model.training


def test_at_a_rate_the_pauses_count_too(tmp_path: Path) -> None:
    """Four rows at 40 per second: a batch every 100 ms, however fast it is computed."""
    model = Consumer(Powercap(tmp_path), microjoule=500_000)
    counter = open_rapl(tmp_path)
    found = measure_inference(model, ROWS, ESTIMATED, 40.0, run_seconds=0.2, counter=counter)
    assert found.energy.value == 125.0
    # 500 mJ in 0.1 s are 5 W; a late start of a batch only makes it less.
    assert 0 < found.power.value <= 5000.0


def test_a_device_that_is_too_slow_for_the_rate_makes_no_pause(tmp_path: Path) -> None:
    """Beside 5 passes to warm up and 30 that are timed: one at full speed, and one at the rate."""
    for rate, passes in ((1e12, 36), (40.0, 37), (None, 36)):
        model = Consumer(Powercap(tmp_path / str(rate)), microjoule=500_000)
        counter = open_rapl(model.powercap.root)
        measure_inference(model, ROWS, ESTIMATED, rate, run_seconds=0.0, counter=counter)
        assert model.passes == passes


def test_without_a_counter_energy_and_power_are_the_profile_s_own() -> None:
    found = measure_inference(nn.Identity(), ROWS, ESTIMATED)
    assert found.energy is ESTIMATED.energy
    assert found.power is ESTIMATED.power
    assert found.time.kind == "measured"
    assert found.energy.kind == found.power.kind == "estimated"
    assert found.energy.source == "energy model of raspberry_pi_4"


class Steady:
    """A sensor of 2 W while nothing computes, and of 5 W during a pass."""

    source, every = "made up", 0.005

    def __init__(self) -> None:
        self.busy = False

    def read(self) -> tuple[float, ...]:
        return (5000.0 if self.busy else 2000.0,)

    def millijoule(
        self, before: tuple[float, ...], after: tuple[float, ...], seconds: float
    ) -> float:
        return after[0] * seconds

    def model(self, x: Tensor) -> Tensor:
        self.busy = True
        return x


def test_the_share_of_the_idle_machine_is_said() -> None:
    sensor = Steady()

    def settled(x: Tensor) -> Tensor:
        sensor.busy = False
        return x

    # The passes that are only timed leave the sensor idle.
    calls = iter([settled] * 35)
    found = measure_inference(
        lambda x: next(calls, sensor.model)(x), ROWS, ESTIMATED, counter=sensor, run_seconds=0.05
    )
    assert found.idle_share.kind == "measured"
    assert found.idle_share.value == pytest.approx(2 / 5, abs=0.1)
    assert found.power.value == pytest.approx(5000, rel=0.1)


def test_nothing_to_measure_is_a_sentence() -> None:
    with pytest.raises(DataError, match="30 repeats on 0 images"):
        measure_inference(nn.Identity(), ROWS[:0], ESTIMATED)
