"""What an inference takes on the machine that computes it, by its clock and energy counter."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rfprune.edge.monitor.counters import Counter
from rfprune.edge.monitor.meter import EnergyMeter
from rfprune.edge.monitor.reading import Reading, Readings
from rfprune.edge.monitor.timing import as_deployed, measure_time

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["measure_inference"]

#: RAPL counts on every millisecond and NVML every hundred: over this long neither is off by much.
RUN_SECONDS = 1.0


def measure_inference(
    model: Callable[[Tensor], Any],
    rows: Tensor,
    estimated: Readings,
    images_per_second: float | None = None,
    *,
    counter: Counter | None = None,
    threads: int | None = None,
    run_seconds: float = RUN_SECONDS,
) -> Readings:
    """Return time, energy and power of one image on this machine, which has to be the device.

    Time is always measured. Energy and power are measured by a counter, which sees everything that
    runs meanwhile; where there is none, both are what the device's profile says, at the profile's
    own speed. Each reading's `kind` and `source` say which it is.

    Args:
        model: a module, which keeps its mode, or any function of a batch.
        rows: (B, ...) computed together, on the model's device.
        estimated: what the device's profile says, for want of a counter.
        images_per_second: rate at which images come; power is the mean with the pauses between
            them. None = one batch after the other.
        counter: what energy is read from; None = there is none.
        threads: of torch meanwhile; None = as they are.
        run_seconds: for so long energy is counted, at least, and that of the idle machine before.

    Raises:
        DataError: an empty batch.
    """
    timing = measure_time(model, rows, threads=threads)
    clock = Reading(timing.image_ms / 1e3, "s", "clock of this machine", "measured")
    if counter is None:
        return replace(estimated, time=clock)
    meter = EnergyMeter(counter=counter)
    with meter:
        time.sleep(run_seconds)
    idle = meter.power(1).value
    batch_seconds = timing.median_ms / 1e3
    # The timed passes are too short for a counter; energy gets a run of its own.
    busy = max(1, math.ceil(run_seconds / max(batch_seconds, 1e-9)))
    with as_deployed(model, threads):
        with meter:
            _run(model, rows, busy, 0.0)
        energy, power = meter.energy(busy * len(rows)), meter.power(busy * len(rows))
        # Other programs that run now and then may make it less idle before than during the work.
        share = min(1.0, idle / power.value) if power.value > 0 else 1.0
        period = 0.0 if images_per_second is None else len(rows) / images_per_second
        # A device that is too slow for the rate computes without a pause, as it just did.
        if period > batch_seconds:
            paced = max(1, math.ceil(run_seconds / period))
            with meter:
                _run(model, rows, paced, period)
            power = meter.power(paced * len(rows))
    return Readings(clock, energy, power, Reading(share, "1", counter.source, "measured"))


def _run(model: Callable[[Tensor], Any], rows: Tensor, batches: int, period: float) -> None:
    """Compute so many batches, each not before the period of the one before it has ended."""
    import torch

    begun = time.perf_counter()
    with torch.inference_mode():
        for number in range(1, batches + 1):
            model(rows)
            # Against the beginning, not the batch before, so that delays do not add up.
            time.sleep(max(0.0, begun + number * period - time.perf_counter()))
    if rows.is_cuda:
        torch.cuda.synchronize()
