"""The models of time and energy of one image. Estimates, never measurements.

``time = sum over layers of max(macs / (peak rate * efficiency), bytes of weights / bandwidth)
+ bytes of feature maps * time per byte + overhead``

``energy = static power * time + macs * energy per MAC / efficiency + bytes * energy per byte``

A core that waits for operands draws nearly what a computing one does, so a multiply-accumulate of a
layer that reaches half of the peak rate costs twice the energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.edge.monitor.devices import DeviceProfile
from rfprune.edge.monitor.reading import Reading
from rfprune.errors import DataError

__all__ = ["LayerWork", "Workload", "energy", "inference_seconds", "power"]


@dataclass(frozen=True)
class LayerWork:
    """What one image costs each of P networks, by layer.

    Attributes:
        macs: (P, n) multiply-accumulates.
        dram_bytes: (P, n) from and to main memory.
        cache_bytes: (P, n) from and to the last cache.
        inputs: (P, n) channels that an output reads.
        kinds: (n,) as in `Efficiency.of`.
        bits: 32 for float, 8 for integer arithmetic.
        batch_size: images of one pass, which share what every layer takes besides.
    """

    macs: FloatArray
    dram_bytes: FloatArray
    cache_bytes: FloatArray
    inputs: FloatArray
    kinds: tuple[str, ...]
    bits: int = 32
    batch_size: int = 1

    def workloads(self, device: DeviceProfile) -> list[Workload]:
        """Return the sums over the layers of each network, with the time that they take."""
        parts = device.fp32_efficiency if self.bits == 32 else device.int8_efficiency
        rate = device.fp32_macs_per_second if self.bits == 32 else device.int8_macs_per_second
        part = np.array([parts.of(kind) for kind in self.kinds])
        # One channel at a time is what a depthwise convolution reads in any case.
        half = np.array([0.0 if kind == "grouped" else parts.half_inputs for kind in self.kinds])
        slowed = (1 + half / np.maximum(self.inputs, 1)) / part
        effective = self.macs * slowed
        seconds = np.maximum(effective / rate, self.dram_bytes / device.dram_bytes_per_second)
        seconds += self.cache_bytes * parts.cache_ns_per_byte * 1e-9
        seconds += (self.macs > 0) * parts.layer_us * 1e-6 / self.batch_size
        columns = (effective, self.dram_bytes, self.cache_bytes, seconds)
        return [
            Workload(macs, dram, cache, spent, self.bits)
            for macs, dram, cache, spent in np.stack([c.sum(axis=-1) for c in columns], 1).tolist()
        ]


@dataclass(frozen=True)
class Workload:
    """What one image costs.

    Attributes:
        macs: multiply-accumulates at the peak rate; those of slower layers count as more of them.
        dram_bytes: from and to main memory: weights that do not stay in a cache, activations.
        cache_bytes: from and to the last cache.
        seconds: that the layers take one after the other; 0 = not known, then the roofline's.
        bits: 32 for float, 8 for integer arithmetic.
    """

    macs: float
    dram_bytes: float = 0.0
    cache_bytes: float = 0.0
    seconds: float = 0.0
    bits: int = 32

    def __post_init__(self) -> None:
        if self.bits not in (8, 32):
            raise DataError(f"bits: {self.bits}. Allowed: 8, 32.")
        for name in ("macs", "dram_bytes", "cache_bytes", "seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise DataError(f"{name}: {getattr(self, name)}. Allowed: finite, 0 or more.")


def inference_seconds(device: DeviceProfile, work: Workload) -> Reading:
    """Return the time of one image: of its layers where they are known, else by the roofline.

    The roofline is arithmetic or memory, whichever is slower, a bound from below (Williams,
    Waterman, Patterson 2009).
    """
    if work.seconds > 0:
        return Reading(work.seconds, "s", f"layers on {device.name}", "estimated")
    rate = device.fp32_macs_per_second if work.bits == 32 else device.int8_macs_per_second
    seconds = max(work.macs / rate, work.dram_bytes / device.dram_bytes_per_second)
    return Reading(seconds, "s", f"roofline of {device.name}", "estimated")


def power(device: DeviceProfile, work: Workload, seconds: float) -> Reading:
    """Return the mean power in mW of a device that computes one image in `seconds`.

    For a camera of a fixed rate `seconds` is its period; then fewer operations are less power. With
    the inference's own time instead, a smaller network is done earlier and draws about the same
    power meanwhile: compare energies then.

    Raises:
        DataError: the time is not above 0.
    """
    found = energy(device, work, seconds)
    return Reading(found.value / seconds, "mW", found.source, found.kind)


def energy(device: DeviceProfile, work: Workload, seconds: float) -> Reading:
    """Return the energy in mJ of one image that occupies a device for `seconds`.

    Raises:
        DataError: the time is not above 0.
    """
    if not 0 < seconds < float("inf"):
        raise DataError(f"seconds: {seconds}. Allowed: above 0.")
    per_mac = device.fp32_pj_per_mac if work.bits == 32 else device.int8_pj_per_mac
    picojoule = (
        work.macs * per_mac
        + work.dram_bytes * device.dram_pj_per_byte
        + work.cache_bytes * device.cache_pj_per_byte
    )
    millijoule = device.static_mw * seconds + picojoule * 1e-9
    return Reading(millijoule, "mJ", f"energy model of {device.name}", "estimated")
