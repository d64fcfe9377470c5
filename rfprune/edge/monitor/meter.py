"""Energy of a piece of work, as a counter or sensor has it, integrated over the whole run."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rfprune.edge.monitor.counters import POWERCAP, Counter, CounterValues, open_nvml, open_rapl
from rfprune.edge.monitor.reading import Reading
from rfprune.errors import DataError, RfpruneError

__all__ = ["EnergyMeter"]


class EnergyMeter:
    """Measures the energy of what runs inside ``with``.

    ::

        with EnergyMeter() as meter:
            model(batch)
        meter.energy(images=len(batch))  # mJ per image

    A thread reads the counter again and again, so that a run may take as long as it likes: no wrap
    of a counter is missed, and power that changes is integrated. It never estimates: where no
    counter can be read there is no meter. A profile's watts and this machine's clock would make a
    number that belongs to neither.

    Args:
        on_gpu: whether the GPU's counter is meant, not the processor's.
        powercap: folder of the RAPL counters.
        counter: what is read, in place of both.

    Raises:
        MissingExtraError: no counter can be read; says why.
    """

    def __init__(
        self, on_gpu: bool = False, powercap: Path = POWERCAP, counter: Counter | None = None
    ) -> None:
        self._counter = counter or (open_nvml() if on_gpu else open_rapl(powercap))
        self.seconds = 0.0
        self._millijoule = 0.0
        self._fault: RfpruneError | OSError | ValueError | None = None

    def __enter__(self) -> Self:
        self._millijoule, self._fault, self._ended = 0.0, None, float("inf")
        self._stop = threading.Event()
        self._before: CounterValues = self._counter.read()
        self._begun = self._read_at = time.perf_counter()
        self._thread = threading.Thread(target=self._watch, name="energy-meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = time.perf_counter()
        self.seconds = self._ended - self._begun
        self._stop.set()
        self._thread.join()
        if self._fault is None:
            self._add()
        elif error is None:
            raise self._fault

    def _watch(self) -> None:
        while not self._stop.wait(self._counter.every):
            try:
                self._add()
            except (RfpruneError, OSError, ValueError) as fault:
                # Raised again where the work ends; here nobody would see it.
                self._fault = fault
                return

    def _add(self) -> None:
        # A command may answer after the work has ended.
        values, now = self._counter.read(), min(time.perf_counter(), self._ended)
        self._millijoule += self._counter.millijoule(self._before, values, now - self._read_at)
        self._before, self._read_at = values, now

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
        return Reading(self._millijoule / images, "mJ", self._counter.source, "measured")

    def power(self, images: int) -> Reading:
        """Return the mean power in mW; arguments and errors as `energy`."""
        found = self.energy(images)
        return Reading(found.value * images / self.seconds, "mW", found.source, found.kind)
