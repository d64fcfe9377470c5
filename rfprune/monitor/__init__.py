"""Power, energy, time and input statistics of a running network.

Every value says whether it was measured or estimated, and from what. Knows counters of the machine
and profiles of devices; it knows no network beyond a callable on batches.
"""

from rfprune.monitor.devices import DEVICES, DeviceProfile, FixedPower, find_device, list_devices
from rfprune.monitor.meter import EnergyMeter
from rfprune.monitor.power import Workload, energy, inference_seconds, power
from rfprune.monitor.reading import Reading
from rfprune.monitor.statistics import (
    Statistics,
    input_statistics,
    prediction_entropy,
    statistic_names,
)
from rfprune.monitor.timing import Timing, measure_time

__all__ = [
    "DEVICES",
    "DeviceProfile",
    "EnergyMeter",
    "FixedPower",
    "Reading",
    "Statistics",
    "Timing",
    "Workload",
    "energy",
    "find_device",
    "inference_seconds",
    "input_statistics",
    "list_devices",
    "measure_time",
    "power",
    "prediction_entropy",
    "statistic_names",
]
