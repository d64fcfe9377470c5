"""Energy of a piece of work: read from a counter where there is one, else estimated."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rfprune.errors import DataError, MissingExtraError
from rfprune.monitor.counters import POWERCAP, Counter, Counts, open_nvml, open_rapl
from rfprune.monitor.devices import Device
from rfprune.monitor.power import Workload, energy
from rfprune.monitor.reading import Reading

__all__ = ["EnergyMeter"]


class EnergyMeter:
    """Measures the energy of what runs inside ``with``.

    ::

        with EnergyMeter(find_device("raspberry_pi_4"), Workload(macs=56e6)) as meter:
            model(batch)
        meter.energy(images=len(batch))  # mJ per image, measured or estimated
        meter.notes                      # why no counter was read

    Args:
        device: what is computed on where no counter can be read.
        work: of one image, for the estimate.
        on_gpu: whether the GPU's counter is meant, not the processor's.
        powercap: folder of the RAPL counters.
    """

    def __init__(
        self, device: Device, work: Workload, on_gpu: bool = False, powercap: Path = POWERCAP
    ) -> None:
        self._device, self._work = device, work
        self.notes: list[str] = []
        self.seconds = 0.0
        self._counter = self._open(on_gpu, powercap)
        self._before: Counts = ()
        self._millijoule: float | None = None
        self._begun = 0.0

    def _open(self, on_gpu: bool, powercap: Path) -> Counter | None:
        try:
            return open_nvml() if on_gpu else open_rapl(powercap)
        except MissingExtraError as error:
            self.notes.append(f"{error} Energy is estimated for {self._device.name} instead.")
            return None

    def __enter__(self) -> Self:
        if self._counter is not None:
            self._before = self._counter.read()
        self._begun = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._begun
        if self._counter is not None:
            self._millijoule = self._counter.millijoule(self._before, self._counter.read())

    def energy(self, images: int) -> Reading:
        """Return the energy per image in mJ.

        Args:
            images: how many were computed inside ``with``.

        Raises:
            DataError: no image, or the ``with`` block has not ended.
        """
        if images < 1 or self.seconds <= 0:
            raise DataError(
                f"energy of {images} images in {self.seconds:g} s: nothing was metered."
            )
        if self._counter is not None and self._millijoule is not None:
            return Reading(self._millijoule / images, "mJ", self._counter.source, "measured")
        return energy(self._device, self._work, self.seconds / images)

    def power(self, images: int) -> Reading:
        """Return the mean power in mW; arguments and errors as `energy`."""
        found = self.energy(images)
        return Reading(found.value * images / self.seconds, "mW", found.source, found.kind)
