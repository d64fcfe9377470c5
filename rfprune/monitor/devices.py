"""Devices by name: constants of an energy model and of a roofline, each with its source.

The constants are effective ones: energy per multiply-accumulate contains the instructions around
it, because it is derived from the power of the busy device at its peak rate. Expect a factor of
two either way, and better than that when comparing networks on one device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, model_validator

from rfprune.errors import SpecError, UnknownNameError
from rfprune.registry import nearest
from rfprune.spec.base import Spec
from rfprune.spec.files import parse_spec, read_yaml

__all__ = ["DEVICES", "Device", "DeviceProfile", "FixedPower", "find_device", "list_devices"]

NonNegative = Annotated[float, Field(ge=0)]
_SHIPPED = Path(__file__).with_name("devices.yml")
_FPGA = "fpga"
_FPGA_SUMMARY = "an FPGA design: its power as `rfprune estimate` gives it"


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
    sources: dict[str, str]

    @model_validator(mode="after")
    def _every_constant_has_a_source(self) -> DeviceProfile:
        constants = set(type(self).model_fields) - {"name", "summary", "sources"}
        missing = sorted(constants - set(self.sources))
        if missing:
            raise ValueError(f"sources: has no entry for '{missing[0]}'")
        return self


@dataclass(frozen=True)
class FixedPower:
    """A device that draws the same power whatever it computes: an FPGA design that always runs.

    Attributes:
        name: for messages and records.
        power_mw: of the whole design, static and dynamic.
        source: where the number comes from.
    """

    name: str
    power_mw: float
    source: str


Device = DeviceProfile | FixedPower


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
    return [*((name, DEVICES[name].summary) for name in DEVICES), (_FPGA, _FPGA_SUMMARY)]


def find_device(name: str, base_dir: Path = Path(), design_mw: float | None = None) -> Device:
    """Return a device by name, or the profile in a YAML file.

    Args:
        name: a shipped device, ``fpga``, or a path that ends in ``.yml`` or ``.yaml``.
        base_dir: folder that a relative path refers to.
        design_mw: power of the FPGA design, for ``fpga``.

    Raises:
        UnknownNameError: no such device; names the nearest.
        SpecError: a profile with a missing, unknown or impossible value, or ``fpga`` without a
            power.
    """
    if name.endswith((".yml", ".yaml")):
        path = base_dir / name
        return _parse(path.stem, read_yaml(path), str(path))
    if name == _FPGA:
        if design_mw is None or design_mw <= 0:
            raise SpecError(
                f"device 'fpga': power of the design in mW is {design_mw}, not above 0."
            )
        return FixedPower(_FPGA, design_mw, "power of the design")
    if name not in DEVICES:
        known = [*DEVICES, _FPGA]
        raise UnknownNameError(
            f"unknown device '{name}'.{nearest(name, known)} Known: {', '.join(known)}, or a YAML "
            "file."
        )
    return DEVICES[name]
