"""Devices by name: constants of an energy model and of a time model, each with its source.

The constants are effective ones: energy per multiply-accumulate contains the instructions around
it, because it is derived from the power of the busy device at its peak rate. Real programs reach a
part of that rate, which depends on the kind of layer (`Efficiency`). How far the times are off is
in ``docs/results/devices.md``; `rfprune calibrate-device` measures a profile of a machine at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, model_validator

from rfprune.core.paths import find_named
from rfprune.core.registry import nearest
from rfprune.errors import UnknownNameError
from rfprune.spec.base import Spec
from rfprune.spec.yaml_files import parse_spec, read_yaml

__all__ = ["DEVICES", "DeviceProfile", "Efficiency", "find_device", "list_devices"]

NonNegative = Annotated[float, Field(ge=0)]
Part = Annotated[float, Field(gt=0, le=1)]
_SHIPPED = Path(__file__).with_name("devices.yml")


class Efficiency(Spec):
    """The part of the peak rate that real programs reach, by kind of layer.

    A layer whose outputs read few channels reaches less: ``part * n / (n + half_inputs)`` with n
    inputs.

    Attributes:
        dense: convolutions of 3 x 3 and more.
        pointwise: convolutions of 1 x 1.
        grouped: convolutions in groups, depthwise ones among them; not made less by few inputs.
        linear: dense layers.
        half_inputs: inputs per output at which half of the part is reached.
        layer_us: microseconds that every layer takes besides, per pass.
        cache_ns_per_byte: nanoseconds that a byte of the feature maps takes, written by one layer
            and read by the next: norms, activations and copies are in it.
    """

    dense: Part = 1.0
    pointwise: Part = 1.0
    grouped: Part = 1.0
    linear: Part = 1.0
    half_inputs: NonNegative = 0.0
    layer_us: NonNegative = 0.0
    cache_ns_per_byte: NonNegative = 0.0

    def of(self, kind: str) -> float:
        """Return the part of one of the kinds of layers; 1 of a kind without multiplications."""
        parts = {"dense": self.dense, "pointwise": self.pointwise}
        parts |= {"grouped": self.grouped, "linear": self.linear}
        return parts.get(kind, 1.0)


class DeviceProfile(Spec):
    """A device whose power is computed from work and time.

    Attributes:
        name: for messages and records.
        static_mw: power of the idle device.
        fp32_pj_per_mac: energy of a 32-bit multiply-accumulate, with its instructions.
        int8_pj_per_mac: of an 8-bit one.
        dram_pj_per_byte: energy of a byte from or to main memory.
        cache_pj_per_byte: of a byte from or to the last cache.
        fp32_macs_per_second: peak rate.
        int8_macs_per_second: peak rate.
        dram_bytes_per_second: bandwidth of main memory.
        fp32_efficiency: parts of the peak rate; all of it if the profile does not say.
        int8_efficiency: likewise.
        sources: origin of every constant.
    """

    name: str
    summary: str = ""
    static_mw: NonNegative
    fp32_pj_per_mac: PositiveFloat
    int8_pj_per_mac: PositiveFloat
    dram_pj_per_byte: NonNegative
    cache_pj_per_byte: NonNegative
    fp32_macs_per_second: PositiveFloat
    int8_macs_per_second: PositiveFloat
    dram_bytes_per_second: PositiveFloat
    fp32_efficiency: Efficiency = Efficiency()
    int8_efficiency: Efficiency = Efficiency()
    sources: dict[str, str]

    @model_validator(mode="after")
    def _every_constant_has_a_source(self) -> DeviceProfile:
        # What a profile leaves out is the peak rate itself, and needs no source.
        plain = Efficiency()
        constants = set(type(self).model_fields) - {"name", "summary", "sources"}
        constants -= {name for name in constants if getattr(self, name) == plain}
        missing = sorted(constants - set(self.sources))
        if missing:
            raise ValueError(f"sources: has no entry for '{missing[0]}'")
        return self


# Read from the file when it is first asked for: most trials name no device.
class _Devices(Mapping[str, DeviceProfile]):
    """The shipped profiles by name."""

    def __getitem__(self, name: str) -> DeviceProfile:
        return _shipped()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_shipped())

    def __len__(self) -> int:
        return len(_shipped())


DEVICES: Mapping[str, DeviceProfile] = _Devices()


@cache
def _shipped() -> dict[str, DeviceProfile]:
    return {
        name: _parse(name, values, f"{_SHIPPED.name}: {name}")
        for name, values in read_yaml(_SHIPPED).items()
    }


def _parse(name: str, values: dict[str, Any], source: str) -> DeviceProfile:
    return parse_spec(DeviceProfile, {"name": name, **values}, source)


def list_devices() -> list[tuple[str, str]]:
    """Return name and summary of every device that a file can name."""
    return [(name, device.summary) for name, device in DEVICES.items()]


def find_device(name: str, base_dir: Path = Path()) -> DeviceProfile:
    """Return a device by name, or the profile in a YAML file.

    Args:
        name: a shipped device, or a path that ends in ``.yml`` or ``.yaml``.
        base_dir: folder that a relative path refers to, before the current one.

    Raises:
        UnknownNameError: no such device; names the nearest.
        SpecError: a profile with a missing, unknown or impossible value.
    """
    if name.endswith((".yml", ".yaml")):
        path = find_named(name, base_dir) or base_dir / name
        return _parse(path.stem, read_yaml(path), str(path))
    if name not in DEVICES:
        raise UnknownNameError(
            f"unknown device '{name}'.{nearest(name, DEVICES)} Known: {', '.join(DEVICES)}, or a "
            "YAML file."
        )
    return DEVICES[name]
