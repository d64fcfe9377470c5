"""Energy counters of the machine: RAPL through powercap, NVIDIA GPUs through NVML.

Both count everything that runs on the processor or GPU meanwhile, not this process alone. What
shows power, and no energy, is in `rfprune.edge.monitor.sensors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rfprune.errors import MissingExtraError

__all__ = ["POWERCAP", "Counter", "CounterValues", "Nvml", "Rapl", "open_nvml", "open_rapl"]

POWERCAP = Path("/sys/class/powercap")
CounterValues = tuple[float, ...]


class Counter(Protocol):
    """What energy is read from: a counter of it, or a sensor of power."""

    @property
    def source(self) -> str:
        """What is counted."""

    @property
    def every(self) -> float:
        """Seconds between two readings of a run."""

    def read(self) -> CounterValues:
        """Return the values now."""

    def millijoule(self, before: CounterValues, after: CounterValues, seconds: float) -> float:
        """Return the energy between two readings, so many seconds apart."""


@dataclass(frozen=True)
class Zone:
    """One RAPL domain: its counter in microjoule, and where that begins again at 0."""

    path: Path
    name: str
    range_uj: int

    def read(self) -> int:
        """Return the counter in microjoule."""
        return int((self.path / "energy_uj").read_text())


@dataclass(frozen=True)
class Rapl:
    """The processor packages and their memory, by Intel's and AMD's running average power limit.

    A counter wraps at its range, some minutes apart under full load: one wrap between two readings
    is seen, two are not.
    """

    zones: tuple[Zone, ...]
    every: float = 1.0

    @property
    def source(self) -> str:
        """The domains that are counted."""
        return f"RAPL ({', '.join(zone.name for zone in self.zones)})"

    def read(self) -> CounterValues:
        """Return the counter of each domain in microjoule."""
        return tuple(zone.read() for zone in self.zones)

    def millijoule(self, before: CounterValues, after: CounterValues, seconds: float) -> float:
        """Return the energy between two readings, over the point where a counter wraps."""
        used = 0.0
        for zone, first, last in zip(self.zones, before, after, strict=True):
            # A counter starts again at 0 after its largest value.
            used += last - first if last >= first else last - first + zone.range_uj
        return used / 1e3


def open_rapl(root: Path = POWERCAP) -> Rapl:
    """Return the counters of this machine.

    Domains are the packages, and ``dram`` where it is counted apart; ``core`` and ``uncore`` are
    parts of the package, ``psys`` contains it.

    Raises:
        MissingExtraError: there are none, or this user may not read them; says which.
    """
    packages = [path for path in sorted(root.glob("intel-rapl:*")) if path.name.count(":") == 1]
    if not packages:
        raise MissingExtraError(f"RAPL: this machine has no {root}/intel-rapl:*.")
    zones: list[Zone] = []
    try:
        for package in packages:
            # `psys` is a zone of its own at this depth and contains the packages: counted twice.
            name = (package / "name").read_text().strip()
            if not name.startswith("package"):
                continue
            zones.append(_zone(package, name))
            for part in sorted(package.glob(f"{package.name}:*")):
                if (part / "name").read_text().strip() == "dram":
                    zones.append(_zone(part, f"{name} dram"))
        # Read once here, so that a missing permission does not show only after the work.
        found = Rapl(tuple(zones))
        found.read()
    except PermissionError as error:
        raise MissingExtraError(
            f"RAPL: {error.filename}: permission denied (on most systems only root may read it)."
        ) from error
    except (OSError, ValueError) as error:
        raise MissingExtraError(f"RAPL: {root} cannot be read ({error}).") from error
    if not zones:
        raise MissingExtraError(f"RAPL: {root} counts no processor package.")
    return found


def _zone(path: Path, name: str) -> Zone:
    return Zone(path, name, int((path / "max_energy_range_uj").read_text()))


@dataclass(frozen=True)
class Nvml:
    """The GPUs of this machine, by NVIDIA's management library."""

    library: Any
    handles: Sequence[Any]
    every: float = 1.0

    @property
    def source(self) -> str:
        """The GPUs that are counted."""
        return f"NVML ({len(self.handles)} GPU{'s' if len(self.handles) > 1 else ''})"

    def read(self) -> CounterValues:
        """Return the counter of each GPU in millijoule since the driver was loaded."""
        count = self.library.nvmlDeviceGetTotalEnergyConsumption
        return tuple(int(count(handle)) for handle in self.handles)

    def millijoule(self, before: CounterValues, after: CounterValues, seconds: float) -> float:
        """Return the energy between two readings."""
        return float(sum(after) - sum(before))


def open_nvml() -> Nvml:
    """Return the energy counters of this machine's GPUs (Volta and newer have one).

    Raises:
        MissingExtraError: no NVML, no GPU, or one without an energy counter; says which.
    """
    try:
        import pynvml
    except ImportError:
        raise MissingExtraError("NVML: the package nvidia-ml-py is not installed.") from None
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        # GPUs before Volta have no counter, which shows when it is first read.
        found = Nvml(pynvml, [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)])
        found.read()
    except pynvml.NVMLError as error:
        raise MissingExtraError(f"NVML: no energy counter can be read ({error}).") from error
    if not found.handles:
        raise MissingExtraError("NVML: this machine has no NVIDIA GPU.")
    return found
