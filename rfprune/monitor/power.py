"""The energy model: power and energy per image from work and time. Estimates, never measurements.

``energy = static power * time + macs * energy per MAC + bytes * energy per byte``
"""

from __future__ import annotations

from dataclasses import dataclass

from rfprune.errors import DataError
from rfprune.monitor.devices import Device, DeviceProfile
from rfprune.monitor.reading import Reading

__all__ = ["Workload", "energy", "inference_seconds", "power"]


@dataclass(frozen=True)
class Workload:
    """What one image costs.

    Attributes:
        macs: multiply-accumulates.
        dram_bytes: from and to main memory: weights that do not stay in a cache, activations.
        cache_bytes: from and to the last cache.
        bits: 32 for float, 8 for integer arithmetic.
    """

    macs: float
    dram_bytes: float = 0.0
    cache_bytes: float = 0.0
    bits: int = 32

    def __post_init__(self) -> None:
        if self.bits not in (8, 32):
            raise DataError(f"bits: {self.bits}. Allowed: 8, 32.")
        for name in ("macs", "dram_bytes", "cache_bytes"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise DataError(f"{name}: {getattr(self, name)}. Allowed: finite, 0 or more.")


def inference_seconds(device: DeviceProfile, work: Workload) -> Reading:
    """Return the time of one image by the roofline: arithmetic or memory, whichever is slower.

    A bound from below (Williams, Waterman, Patterson 2009); real kernels reach a part of the peak.
    """
    rate = device.fp32_macs_per_second if work.bits == 32 else device.int8_macs_per_second
    seconds = max(work.macs / rate, work.dram_bytes / device.dram_bytes_per_second)
    return Reading(seconds, "s", f"roofline of {device.name}", "estimated")


def power(device: Device, work: Workload, seconds: float) -> Reading:
    """Return the mean power in mW of a device that computes one image in `seconds`.

    For a camera of a fixed rate `seconds` is its period; then fewer operations are less power. With
    the inference's own time instead, a smaller network is done earlier and draws about the same
    power meanwhile: compare energies then.

    Raises:
        DataError: the time is not above 0.
    """
    found = energy(device, work, seconds)
    return Reading(found.value / seconds, "mW", found.source, found.kind)


def energy(device: Device, work: Workload, seconds: float) -> Reading:
    """Return the energy in mJ of one image that occupies a device for `seconds`.

    Raises:
        DataError: the time is not above 0.
    """
    if not 0 < seconds < float("inf"):
        raise DataError(f"seconds: {seconds}. Allowed: above 0.")
    if not isinstance(device, DeviceProfile):
        return Reading(device.power_mw * seconds, "mJ", device.source, "estimated")
    per_mac = device.fp32_pj_per_mac if work.bits == 32 else device.int8_pj_per_mac
    picojoule = (
        work.macs * per_mac
        + work.dram_bytes * device.dram_pj_per_byte
        + work.cache_bytes * device.cache_pj_per_byte
    )
    millijoule = device.static_mw * seconds + picojoule * 1e-9
    return Reading(millijoule, "mJ", f"energy model of {device.name}", "estimated")
