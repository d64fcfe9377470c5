"""A profile of the machine at hand: a handful of layers, timed, and its counter where there is one.

The peak rate is that of the best layer; the efficiencies are the others' parts of it. What cannot
be measured here (energies without a counter, 8-bit arithmetic) is taken from a profile that exists,
and the source of every constant says which it is.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfprune.edge.monitor.counters import Counter
from rfprune.edge.monitor.devices import DeviceProfile, Efficiency
from rfprune.edge.monitor.meter import EnergyMeter
from rfprune.edge.monitor.timing import measure_time
from rfprune.errors import RunsError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Calibration", "Probe", "calibrate", "write_profile"]

#: As in `measure_inference`: no counter is off by much over this long.
_RUN_SECONDS = 1.0
_REPEATS = 15
#: Channels of a colour image, which the first layer of most networks reads.
_FEW_INPUTS = 3
#: Larger than the caches of the processors that this is for.
_STREAM_BYTES = 128 * 2**20
#: A feature map of 64 channels of 56 x 56.
_MAP_BYTES = 64 * 56 * 56 * 4


@dataclass(frozen=True)
class Probe:
    """A layer that is timed.

    Attributes:
        name: kind of the layer, or ``small`` (few inputs), ``overhead`` (nearly no work).
        macs: multiply-accumulates of one pass.
        seconds: of one pass.
    """

    name: str
    macs: float
    seconds: float

    @property
    def rate(self) -> float:
        """Multiply-accumulates per second."""
        return self.macs / self.seconds


@dataclass(frozen=True)
class Calibration:
    """A profile, and what it was made of.

    Attributes:
        profile: of this machine.
        probes: the layers that were timed.
        counter: source of the energies; None = they were not measured.
    """

    profile: DeviceProfile
    probes: tuple[Probe, ...]
    counter: str | None


def calibrate(
    name: str,
    like: DeviceProfile,
    counter: Counter | None = None,
    threads: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Calibration:
    """Time a handful of layers on this machine.

    Args:
        name: of the profile.
        like: a device of the same kind, for the constants that are not measured.
        counter: of energy; None = there is none.
        threads: of torch; None = as they are.
        say: called with one line per stage.
    """
    import torch

    used = threads or torch.get_num_threads()
    probes: dict[str, Probe] = {}
    for kind, (layer, shape) in _layers().items():
        say(f"timing {kind}")
        timing = measure_time(layer, torch.rand(1, *shape), _REPEATS, 3, used)
        probes[kind] = Probe(kind, _macs(layer, shape), timing.median_ms / 1e3)
    say("timing main memory")
    source = torch.zeros(_STREAM_BYTES // 4)
    target = torch.empty_like(source)
    copied = measure_time(lambda rows: target.copy_(source), source[:1], _REPEATS, 2, used)
    piece, into = torch.rand(_MAP_BYTES // 4), torch.empty(_MAP_BYTES // 4)
    moved = measure_time(lambda rows: into.copy_(piece), piece[:1], _REPEATS, 5, used)
    # Read once and written once, as a feature map is.
    peak, efficiency = _rates(probes, moved.median_ms * 1e6 / (2 * _MAP_BYTES))
    static, per_mac = like.static_mw, like.fp32_pj_per_mac
    if counter is not None:
        say("reading the counter")
        static, per_mac = _energies(counter, *_layers()["dense"], used)
    profile = DeviceProfile(
        name=name,
        summary=f"{platform.node()}: {platform.machine()}, {used} threads of torch",
        static_mw=static,
        fp32_pj_per_mac=per_mac,
        int8_pj_per_mac=per_mac * like.int8_pj_per_mac / like.fp32_pj_per_mac,
        dram_pj_per_byte=like.dram_pj_per_byte,
        cache_pj_per_byte=like.cache_pj_per_byte,
        fp32_macs_per_second=peak,
        int8_macs_per_second=peak * like.int8_macs_per_second / like.fp32_macs_per_second,
        # Read once and written once.
        dram_bytes_per_second=2 * _STREAM_BYTES / (copied.median_ms / 1e3),
        fp32_efficiency=efficiency,
        int8_efficiency=efficiency,
        sources=_sources(like, counter, used),
    )
    return Calibration(profile, tuple(probes.values()), counter.source if counter else None)


def _rates(probes: Mapping[str, Probe], cache_ns: float) -> tuple[float, Efficiency]:
    """Return the peak rate, and which part of it each kind of layer reaches."""
    overhead = probes["overhead"].seconds
    # What a layer takes besides its work is the same for all of them, and never most of it here.
    rates = {
        kind: probe.macs / max(probe.seconds - overhead, probe.seconds / 2)
        for kind, probe in probes.items()
    }
    peak = max(rates["dense"], rates["pointwise"])
    part = {kind: min(1.0, rate / peak) for kind, rate in rates.items()}
    return peak, Efficiency(
        dense=part["dense"],
        pointwise=part["pointwise"],
        grouped=part["grouped"],
        # Of one image a dense layer reads every weight once: memory decides, not arithmetic.
        linear=1.0,
        half_inputs=max(0.0, (rates["dense"] / rates["small"] - 1) * _FEW_INPUTS),
        layer_us=overhead * 1e6,
        cache_ns_per_byte=cache_ns,
    )


def _sources(like: DeviceProfile, counter: Counter | None, threads: int) -> dict[str, str]:
    import torch

    here = f"measured on {platform.machine()}, {threads} threads, torch {torch.__version__}: "
    energies = dict.fromkeys(
        ("static_mw", "fp32_pj_per_mac"), f"assumed: as {like.name}, no counter could be read"
    )
    if counter is not None:
        energies = {
            "static_mw": f"{here}idle, {counter.source}",
            "fp32_pj_per_mac": f"{here}(busy - idle) / rate of a 3 x 3 convolution, "
            f"{counter.source}",
        }
    return {
        **energies,
        "int8_pj_per_mac": f"assumed: {like.name}'s ratio to fp32",
        "dram_pj_per_byte": f"as {like.name}",
        "cache_pj_per_byte": f"as {like.name}",
        "fp32_macs_per_second": f"{here}the fastest of the convolutions",
        "fp32_efficiency": f"{here}3 x 3 on 64 channels, 1 x 1 and depthwise on 128, 3 x 3 on "
        f"{_FEW_INPUTS}, the smallest layer, and a copy of {_MAP_BYTES // 2**10} kB",
        "int8_macs_per_second": f"assumed: {like.name}'s ratio to fp32",
        "int8_efficiency": "assumed: as fp32",
        "dram_bytes_per_second": f"{here}copy of {_STREAM_BYTES // 2**20} MB",
    }


def _layers() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Return the layers that are timed, and the shapes of what they read."""
    from torch import nn

    return {
        "dense": (nn.Conv2d(64, 64, 3, padding=1), (64, 56, 56)),
        "pointwise": (nn.Conv2d(128, 128, 1), (128, 28, 28)),
        "grouped": (nn.Conv2d(128, 128, 3, padding=1, groups=128), (128, 56, 56)),
        "small": (nn.Conv2d(_FEW_INPUTS, 64, 3, padding=1), (_FEW_INPUTS, 112, 112)),
        "overhead": (nn.Conv2d(1, 1, 1), (1, 4, 4)),
    }


def _macs(layer: Any, shape: tuple[int, ...]) -> float:
    # All of them keep the size of the image.
    return float(layer.weight.numel() * math.prod(shape[1:]))


def _energies(
    counter: Counter, layer: nn.Module, shape: tuple[int, ...], threads: int
) -> tuple[float, float]:
    """Return idle power in mW, and the energy of a multiply-accumulate above it in pJ."""
    import time

    import torch

    from rfprune.edge.monitor.timing import as_deployed

    meter = EnergyMeter(counter=counter)
    with meter:
        time.sleep(_RUN_SECONDS)
    idle = meter.power(1).value
    rows: Tensor = torch.rand(1, *shape)
    passes, begun = 0, time.perf_counter()
    with as_deployed(layer, threads), torch.inference_mode(), meter:
        while time.perf_counter() - begun < _RUN_SECONDS:
            layer(rows)
            passes += 1
    above = max(meter.power(1).value - idle, 0.0) * meter.seconds
    # mJ to pJ; a counter that does not notice the work would make the energy zero.
    return idle, max(above * 1e9 / (passes * _macs(layer, shape)), 1e-3)


def write_profile(path: Path, calibration: Calibration) -> None:
    """Write a profile as YAML, for ``edge.device: FILE.yml``.

    Raises:
        RunsError: the file is there, or cannot be written.
    """
    import yaml

    values = calibration.profile.model_dump(mode="json", exclude={"name"})
    text = yaml.safe_dump(_rounded(values), sort_keys=False, width=100, allow_unicode=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise RunsError(f"{path}: is there already. Allowed: a new file.") from None
    except OSError as error:
        raise RunsError(f"{path}: cannot be written ({error.strerror or error}).") from error


def _rounded(value: Any) -> Any:
    """Return numbers with four digits: a timing is not better than that."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
