"""Sensors of power, and meters of the user's own: what is not a counter of the processor or GPU.

A sensor shows the power of a moment, in which case energy is its mean between two readings times
the seconds between them; or it counts energy up.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rfprune.edge.monitor.counters import Counter, CounterValues, open_nvml, open_rapl
from rfprune.errors import DataError, MissingExtraError, SpecError
from rfprune.spec.edge import MeterSpec

__all__ = ["HWMON", "PowerSensor", "open_counter", "open_ina", "open_own"]

HWMON = Path("/sys")
#: Where drivers of the INA219, INA226 and INA3221 show what they measure, below /sys.
_INA = (
    "bus/i2c/drivers/ina3221x/*/iio:device*",  # JetPack 4: in_power0_input in mW, rail_name_0
    "class/hwmon/hwmon*",  # mainline: power1_input in uW; ina3221: in1_label, in mV, curr in mA
)
_TOTAL = ("_IN", "VDD_IN", "VIN")
#: Milliwatts or millijoules in one unit.
_POWER = {"uw": 1e-3, "mw": 1.0, "w": 1e3}
_ENERGY = {"uj": 1e-3, "mj": 1.0, "j": 1e3}
#: The answer of a slower command belongs to no particular moment.
_COMMAND_SECONDS = 10


@dataclass(frozen=True)
class PowerSensor:
    """Values that are read again and again, and what they mean.

    Attributes:
        source: where they come from.
        read_values: returns them, in the unit.
        unit: uw, mw, w of a power, or uj, mj, j of an energy that is counted up.
        every: seconds between two readings of a run.
    """

    source: str
    read_values: Callable[[], CounterValues]
    unit: str
    every: float

    def read(self) -> CounterValues:
        """Return the values now."""
        return self.read_values()

    def millijoule(self, before: CounterValues, after: CounterValues, seconds: float) -> float:
        """Return the energy between two readings.

        Raises:
            DataError: a counter of energy has become smaller.
        """
        if self.unit in _POWER:
            # The trapezoid between two readings.
            return _POWER[self.unit] * (sum(before) + sum(after)) / 2 * seconds
        if sum(after) < sum(before):
            raise DataError(
                f"{self.source}: went from {sum(before):g} to {sum(after):g} {self.unit}. Allowed: "
                "a counter that only grows."
            )
        return _ENERGY[self.unit] * (sum(after) - sum(before))


def open_counter(meter: str | MeterSpec, on_gpu: bool = False) -> Counter:
    """Return what energy is read from.

    Args:
        meter: ``auto`` (NVML for a GPU, else RAPL; then INA sensors), ``rapl``, ``nvml``, ``ina``,
            ``none``, or a meter of the user's own.
        on_gpu: whether the network computes on a GPU.

    Raises:
        MissingExtraError: it cannot be read; says why.
        SpecError: likewise, of a meter of the user's own.
    """
    if isinstance(meter, MeterSpec):
        return open_own(meter)
    if meter == "none":
        raise MissingExtraError("no meter is asked for")
    openers: dict[str, Callable[[], Counter]] = {
        "rapl": open_rapl,
        "nvml": open_nvml,
        "ina": open_ina,
    }
    if meter != "auto":
        return openers[meter]()
    reasons = []
    for name in ("nvml" if on_gpu else "rapl", "ina"):
        try:
            return openers[name]()
        except MissingExtraError as error:
            reasons.append(str(error))
    raise MissingExtraError(" ".join(reasons))


def open_own(meter: MeterSpec) -> Counter:
    """Return a meter of the user's own; it is read once, so that a fault shows before the work.

    Raises:
        SpecError: it cannot be read, or does not say a number.
        MissingExtraError: the powercap tree has no counters.
    """
    if meter.powercap is not None:
        return open_rapl(Path(meter.powercap).expanduser())
    if meter.file is not None:
        path = Path(meter.file).expanduser()
        # A file is on this machine; a command may ask another one.
        found = PowerSensor(str(path), lambda: _in_file(path), meter.unit, meter.every or 0.1)
    else:
        assert meter.command is not None
        command = meter.command
        found = PowerSensor(
            f"'{command}'", lambda: _of_command(command), meter.unit, meter.every or 0.5
        )
    found.read()
    return found


def _in_file(path: Path) -> CounterValues:
    try:
        text = path.read_text()
    except OSError as error:
        raise SpecError(
            f"edge.meter.file: {path} cannot be read ({error.strerror or error})."
        ) from error
    return (_number(text, str(path)),)


def _of_command(command: str) -> CounterValues:
    try:
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=_COMMAND_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise SpecError(
            f"edge.meter.command: '{command}' has not answered within {_COMMAND_SECONDS} s."
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise SpecError(
            f"edge.meter.command: '{command}' ended with status {done.returncode} ({said})."
        )
    return (_number(done.stdout, f"'{command}'"),)


def _number(text: str, source: str) -> float:
    try:
        value = float(text.split()[0])
    except (IndexError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise SpecError(
            f"edge.meter: {source} says '{text.strip()[:40]}'. Allowed: a number first."
        )
    return value


def open_ina(root: Path = HWMON) -> Counter:
    """Return the INA power sensors of this board: the rail that feeds it, or the sum of all rails.

    Jetson boards name the rail that feeds them ``POM_5V_IN`` or ``VDD_IN``.

    Args:
        root: of sysfs.

    Raises:
        MissingExtraError: there are none.
    """
    rails: dict[str, list[tuple[Path, ...]]] = {}
    for pattern in _INA:
        for folder in sorted(root.glob(pattern)):
            for name, files in _rails(folder):
                rails.setdefault(name, []).append(files)
    if not rails:
        raise MissingExtraError(f"INA: this machine has no such power sensor below {root}.")
    total = [name for name in rails if name.upper().endswith(_TOTAL)]
    chosen = total or sorted(rails)
    parts = [files for name in chosen for files in rails[name]]
    found = PowerSensor(
        f"INA ({', '.join(chosen)})", lambda: tuple(map(_milliwatt, parts)), "mw", 0.05
    )
    try:
        found.read()
    except (OSError, ValueError) as error:
        raise MissingExtraError(f"INA: {root} cannot be read ({error}).") from error
    return found


def _rails(folder: Path) -> list[tuple[str, tuple[Path, ...]]]:
    """Return the rails of a sensor: name, and files of power, or of voltage and current."""
    found: list[tuple[str, tuple[Path, ...]]] = []
    for path in sorted(folder.glob("in_power*_input")):
        number = path.name.removeprefix("in_power").removesuffix("_input")
        found.append(((folder / f"rail_name_{number}").read_text().strip(), (path,)))
    name = folder / "name"
    if not name.exists() or not name.read_text().startswith("ina"):
        return found
    for path in sorted(folder.glob("in*_label")):
        number = path.name.removeprefix("in").removesuffix("_label")
        current = folder / f"curr{number}_input"
        if current.exists():
            found.append((path.read_text().strip(), (folder / f"in{number}_input", current)))
    if not found:
        found += [(f"{folder.name}/{p.name}", (p,)) for p in sorted(folder.glob("power*_input"))]
    return found


def _milliwatt(files: tuple[Path, ...]) -> float:
    values = [float(path.read_text()) for path in files]
    if len(values) == 2:
        return values[0] * values[1] / 1e3  # millivolt times milliampere
    return values[0] if files[0].name.startswith("in_power") else values[0] / 1e3
