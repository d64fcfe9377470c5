"""What a network with so many kernels costs on its device: operations, time, energy, power."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.edge.kernels import KernelCounts, KernelMap
from rfprune.edge.monitor import (
    DeviceProfile,
    LayerWork,
    Reading,
    Readings,
    Workload,
    energy,
    inference_seconds,
    power,
)
from rfprune.spec import TARGETS, EdgeSpec

__all__ = ["EDGE_RESOURCES", "EdgeCosts"]

#: The resource axis: kernels that are left, multiply-accumulates and energy of one image.
EDGE_RESOURCES = TARGETS["edge"].resources

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class EdgeCosts:
    """The costs of all networks that pruning can leave.

    The weights are read from main memory once per batch; the output of every layer is written to
    the last cache and read from there.

    Attributes:
        kernels: of the network.
        device: its profile.
        spec: batch size, rate of images, arithmetic.
    """

    kernels: KernelMap
    device: DeviceProfile
    spec: EdgeSpec

    @cached_property
    def dense(self) -> FloatArray:
        """(R,) what the dense network uses; R as in `EDGE_RESOURCES`."""
        return self.resources(self.kernels.n_kernels)

    @cached_property
    def _dense_readings(self) -> Readings:
        return self.readings(self.kernels.n_kernels)

    def resources(self, kept: IntArray) -> FloatArray:
        """Return (..., R) what networks use of which (..., L) kernels are kept."""
        counts = self.kernels.count(kept)
        millijoule = [self._readings(work).energy.value for work in self._workloads(counts)]
        columns = {
            "kernels": np.asarray(kept).sum(axis=-1),
            "macs": counts.total_macs,
            "energy_mj": np.reshape(millijoule, counts.total_macs.shape),
        }
        return np.stack([columns[name] for name in EDGE_RESOURCES], axis=-1).astype(np.float64)

    def marginal(self, kept: IntArray) -> FloatArray:
        """Return (L, R) what one kernel of each layer adds beside (L,) others that are kept."""
        n_layers = len(kept)
        # One kernel less; where that would be the last one and cut the network, one more.
        towards = np.where(kept > 1, -1, 1)
        changed = np.tile(kept, (n_layers, 1))
        changed[np.arange(n_layers), np.arange(n_layers)] += towards
        found = self.resources(np.concatenate([kept[None], changed]))
        return np.asarray(np.abs(found[1:] - found[0]))

    def readings(self, kept: IntArray) -> Readings:
        """Return time, energy and power of a network by the device's profile.

        Args:
            kept: (L,) kernels that are kept.
        """
        (work,) = self._workloads(self.counts(kept))
        return self._readings(work)

    def counts(self, kept: IntArray) -> KernelCounts:
        """Return operations, parameters and activations by layer, of (..., L) kernels kept."""
        return self.kernels.count(kept)

    def share(self, kept: IntArray) -> float:
        """Return what the agent is to lower, as a part of the dense network's.

        That is the mean power at the rate of the images. Without a rate, images follow each other,
        and a smaller network draws the same power for a shorter time: then it is the energy.

        Args:
            kept: (L,) kernels that are kept.
        """
        dense, pruned = self._dense_readings, self.readings(kept)
        if self.spec.images_per_second is None:
            return pruned.energy.value / dense.energy.value
        return pruned.power.value / dense.power.value

    def _workloads(self, counts: KernelCounts) -> list[Workload]:
        """Return what one image costs each of the networks."""
        bits = 32 if self.spec.precision == "fp32" else 8
        size = bits / 8
        macs, parameters, outputs, inputs = (
            np.reshape(part, (-1, len(counts.layers))).astype(np.float64)
            for part in (counts.macs, counts.parameters, counts.activation_bytes, counts.inputs)
        )
        work = LayerWork(
            macs=macs,
            dram_bytes=parameters * size / self.spec.batch_size,
            # Written by one layer and read by the next.
            cache_bytes=2 * outputs * size / _FLOAT_BYTES,
            inputs=inputs,
            kinds=counts.kinds,
            bits=bits,
            batch_size=self.spec.batch_size,
        )
        return work.workloads(self.device)

    def _readings(self, work: Workload) -> Readings:
        time = inference_seconds(self.device, work)
        rate = self.spec.images_per_second
        # A device that is too slow for the rate computes without a pause.
        period = time.value if rate is None else max(time.value, 1 / rate)
        spent = energy(self.device, work, time.value)
        idle = self.device.static_mw * time.value / spent.value
        return Readings(
            time,
            spent,
            power(self.device, work, period),
            Reading(idle, "1", spent.source, spent.kind),
        )
