"""Power, energy, time and input statistics of a running network.

Every value says whether it was measured or estimated, and from what. Knows counters of the machine
and profiles of devices; it knows no network beyond a callable on batches.
"""

from rfprune.edge.monitor.counters import Counter
from rfprune.edge.monitor.devices import (
    DEVICES,
    DeviceProfile,
    Efficiency,
    find_device,
    list_devices,
)
from rfprune.edge.monitor.inference import measure_inference
from rfprune.edge.monitor.meter import EnergyMeter
from rfprune.edge.monitor.power import LayerWork, Workload, energy, inference_seconds, power
from rfprune.edge.monitor.reading import Reading, Readings
from rfprune.edge.monitor.sensors import open_counter
from rfprune.edge.monitor.statistics import (
    Statistics,
    input_statistics,
    statistic_names,
)
from rfprune.edge.monitor.timing import Timing, measure_time

__all__ = [
    "DEVICES",
    "Counter",
    "DeviceProfile",
    "Efficiency",
    "EnergyMeter",
    "LayerWork",
    "Reading",
    "Readings",
    "Statistics",
    "Timing",
    "Workload",
    "energy",
    "find_device",
    "inference_seconds",
    "input_statistics",
    "list_devices",
    "measure_inference",
    "measure_time",
    "open_counter",
    "power",
    "statistic_names",
]
