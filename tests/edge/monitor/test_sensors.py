"""Sensors of power and meters of the user's own, as files and commands."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rfprune.edge.metering import find_counter
from rfprune.edge.monitor import Counter, EnergyMeter, open_counter
from rfprune.edge.monitor.counters import CounterValues
from rfprune.edge.monitor.sensors import open_ina
from rfprune.errors import DataError, MissingExtraError, SpecError
from rfprune.spec import EdgeSpec
from rfprune.spec.edge import MeterSpec
from tests.edge.monitor.powercap import RANGE_UJ, Powercap


class Watched:
    """A counter that can be waited for."""

    every = 0.001

    def __init__(self, counter: Counter) -> None:
        self.counter, self.source, self.reads = counter, counter.source, 0

    def read(self) -> CounterValues:
        values = self.counter.read()
        self.reads += 1
        return values

    def millijoule(self, before: CounterValues, after: CounterValues, seconds: float) -> float:
        return self.counter.millijoule(before, after, seconds)

    def wait(self) -> None:
        """Return when a reading has begun and ended."""
        wanted = self.reads + 2
        while self.reads < wanted:
            time.sleep(0.001)


def test_power_is_integrated_over_the_whole_run(tmp_path: Path) -> None:
    file = tmp_path / "watts"
    file.write_text("2.0 W\n")
    counter = Watched(open_counter(MeterSpec(file=str(file), unit="w")))
    with EnergyMeter(counter=counter) as meter:
        time.sleep(0.05)
        (tmp_path / "new").write_text("6.0 W\n")
        (tmp_path / "new").replace(file)
        half = time.perf_counter()
        counter.wait()
        time.sleep(0.05)
        rest = time.perf_counter() - half
    # Each power for its part of the time, but for the readings at the border.
    expected = 2000 * (meter.seconds - rest) + 6000 * rest
    assert meter.energy(1).value == pytest.approx(expected, rel=0.3)
    assert 2000 < meter.power(1).value < 6000
    assert meter.energy(1).source == str(file)


def test_energy_that_is_counted_up_is_a_difference(tmp_path: Path) -> None:
    file = tmp_path / "joule"
    file.write_text("100.5")
    with EnergyMeter(counter=open_counter(MeterSpec(file=str(file), unit="j"))) as meter:
        file.write_text("103.0")
    assert meter.energy(images=5).value == pytest.approx(500.0)
    with (
        pytest.raises(DataError, match=r"went from 103 to 1 j. Allowed: a counter that only grows"),
        EnergyMeter(counter=open_counter(MeterSpec(file=str(file), unit="j"))),
    ):
        file.write_text("1")


def test_a_command_is_asked_again_and_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = f"echo x >> {log}; echo 1500"
    counter = open_counter(MeterSpec(command=command, unit="mw", every=0.02))
    with EnergyMeter(counter=counter) as meter:
        time.sleep(0.2)
    assert meter.power(1).value == pytest.approx(1500)
    assert len(log.read_text().split()) > 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"file": "/nowhere/watts"}, r"edge.meter.file: /nowhere/watts cannot be read \(No such"),
        ({"command": "exit 3"}, r"edge.meter.command: 'exit 3' ended with status 3"),
        ({"command": "echo many"}, r"'echo many' says 'many'. Allowed: a number"),
    ],
)
def test_a_meter_that_says_nothing_is_a_sentence(values: dict[str, str], message: str) -> None:
    edge = EdgeSpec.model_validate({"time": "measured", "meter": values})
    with pytest.raises(SpecError, match=message):
        find_counter(edge, on_gpu=False)


def test_a_fault_in_the_middle_is_raised_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "watts"
    file.write_text("1")
    counter = open_counter(MeterSpec(file=str(file), every=0.002))
    meter = EnergyMeter(counter=counter)
    meter.__enter__()
    file.unlink()
    time.sleep(0.05)
    with pytest.raises(SpecError, match="cannot be read"):
        meter.__exit__(None, None, None)


def test_wraps_of_a_long_run_are_counted(tmp_path: Path) -> None:
    powercap = Powercap(tmp_path)
    counter = Watched(open_counter(MeterSpec(powercap=str(tmp_path))))
    with EnergyMeter(counter=counter) as meter:
        # Twice around: with two readings only one wrap could be seen.
        for _ in range(2):
            for share in (0.4, 0.8, 0.1):
                powercap.count("intel-rapl:0", int(share * RANGE_UJ))
                counter.wait()
    travelled = (2 + 0.1) * RANGE_UJ - 1_000_000
    assert meter.energy(1).value == pytest.approx(travelled / 1e3)


def jetson(root: Path, newer: bool) -> None:
    """Lay down the sensors of a Jetson: as JetPack 4 shows them, or as the mainline driver does."""
    rails = {"POM_5V_GPU": 800, "POM_5V_IN": 3000, "POM_5V_CPU": 900}
    name = "class/hwmon/hwmon3" if newer else "bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text("ina3221\n")
    for number, (rail, milliwatt) in enumerate(rails.items(), start=1 if newer else 0):
        if newer:
            (folder / f"in{number}_label").write_text(f"{rail}\n")
            (folder / f"in{number}_input").write_text("5000\n")
            (folder / f"curr{number}_input").write_text(f"{milliwatt // 5}\n")
        else:
            (folder / f"rail_name_{number}").write_text(f"{rail}\n")
            (folder / f"in_power{number}_input").write_text(f"{milliwatt}\n")


@pytest.mark.parametrize("newer", [False, True])
def test_a_jetson_is_read_where_it_is_fed(tmp_path: Path, newer: bool) -> None:
    jetson(tmp_path, newer)
    counter = open_ina(tmp_path)
    assert counter.source == "INA (POM_5V_IN)"
    assert counter.read() == (3000.0,)
    assert counter.millijoule((3000.0,), (5000.0,), 0.5) == pytest.approx(2000.0)


def test_other_boards_have_rails_without_names(tmp_path: Path) -> None:
    for number, microwatt in ((0, 1_500_000), (1, 500_000)):
        folder = tmp_path / f"class/hwmon/hwmon{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text("ina226\n")
        (folder / "power1_input").write_text(f"{microwatt}\n")
    assert open_ina(tmp_path).read() == (1500.0, 500.0)
    with pytest.raises(MissingExtraError, match="INA: this machine has no such power sensor"):
        open_ina(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ({"meter": "rapl"}, "meter is read only with time: measured"),
        ({"time": "measured", "meter": {"unit": "w"}}, "none given. Allowed: one of file, command"),
        (
            {"time": "measured", "meter": {"file": "a", "command": "b"}},
            "file and command given. Allowed: one of",
        ),
        ({"time": "measured", "meter": {"powercap": "a", "unit": "w"}}, "unit and every are for"),
    ],
)
def test_contradictions_are_refused(edge: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EdgeSpec.model_validate(edge)


def test_nothing_is_run_that_was_not_asked_for(tmp_path: Path) -> None:
    assert find_counter(EdgeSpec(time="measured", meter="none"), on_gpu=False) is None
    plain = EdgeSpec().model_dump(mode="json")
    assert "meter" not in plain, "trials of earlier versions keep their names"
