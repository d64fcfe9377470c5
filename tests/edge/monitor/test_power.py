from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rfprune.edge.monitor import (
    DEVICES,
    Workload,
    energy,
    find_device,
    inference_seconds,
    list_devices,
    power,
)
from rfprune.errors import DataError, SpecError, UnknownNameError

AMOUNT = st.floats(0, 1e10)


@given(st.sampled_from(sorted(DEVICES)), AMOUNT, AMOUNT, AMOUNT, st.floats(1e-4, 10))
def test_energy_is_the_sum_of_its_parts(name, macs, dram, cache, seconds) -> None:
    device = DEVICES[name]
    found = energy(device, Workload(macs, dram, cache), seconds)
    picojoule = (
        macs * device.fp32_pj_per_mac
        + dram * device.dram_pj_per_byte
        + cache * device.cache_pj_per_byte
        + device.static_mw * 1e9 * seconds
    )
    assert found.value == pytest.approx(picojoule * 1e-9)
    assert (found.unit, found.kind) == ("mJ", "estimated")
    assert power(device, Workload(macs, dram, cache), seconds).value == pytest.approx(
        found.value / seconds
    )


@pytest.mark.parametrize("name", sorted(DEVICES))
def test_a_busy_device_draws_what_its_constants_come_from(name: str) -> None:
    """At the peak rate, without memory, static and dynamic power are the busy device's."""
    busy_mw = {"raspberry_pi_4": 6400, "jetson_nano": 10_000, "x86_server": 150_000}[name]
    device = DEVICES[name]
    work = Workload(device.fp32_macs_per_second)
    assert power(device, work, 1.0).value == pytest.approx(busy_mw, rel=0.01)
    assert inference_seconds(device, work).value == pytest.approx(1.0)


def test_the_slower_of_arithmetic_and_memory_decides() -> None:
    device = find_device("raspberry_pi_4")
    assert inference_seconds(device, Workload(24e9, 5.5e9 / 2)).value == pytest.approx(1.0)
    assert inference_seconds(device, Workload(24e9, 5.5e9 * 3)).value == pytest.approx(3.0)
    assert inference_seconds(device, Workload(24e9, bits=8)).value == pytest.approx(0.5)


def test_wrong_amounts_are_sentences() -> None:
    with pytest.raises(DataError, match=r"bits: 16. Allowed: 8, 32"):
        Workload(1.0, bits=16)
    with pytest.raises(DataError, match="macs: -1"):
        Workload(-1.0)
    with pytest.raises(DataError, match=r"seconds: 0\. Allowed: above 0"):
        power(find_device("x86_server"), Workload(1.0), 0)


def test_every_listed_device_can_be_found() -> None:
    listed = dict(list_devices())
    assert set(listed) == set(DEVICES)
    for name, summary in listed.items():
        assert summary
        assert find_device(name).name == name
    with pytest.raises(UnknownNameError, match="Did you mean 'jetson_nano'"):
        find_device("jetson_nan")
    with pytest.raises(UnknownNameError, match="unknown device 'fpga'"):
        find_device("fpga")


def _profile(**changes: object) -> dict[str, object]:
    values = find_device("raspberry_pi_4").model_dump(exclude={"name"})
    return {**values, **changes}


def test_a_profile_of_your_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(_profile(static_mw=100)))
    device = find_device("mine.yml", tmp_path)
    assert (device.name, device.static_mw) == ("mine", 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"static_mw": None}, "static_mw: "),
        ({"fp32_pj_per_mac": 0}, "fp32_pj_per_mac: must be above 0"),
        ({"watts": 3}, "unknown key 'watts'"),
        ({"sources": {}}, "sources: has no entry for 'cache_pj_per_byte'"),
    ],
)
def test_faults_of_a_profile_are_sentences(tmp_path: Path, change, message: str) -> None:
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(_profile(**change)))
    with pytest.raises(SpecError, match=f"mine.yml: .*{message}"):
        find_device("mine.yml", tmp_path)


@pytest.mark.parametrize("name", ["static_mw", "int8_macs_per_second", "sources"])
def test_a_missing_value_is_named(tmp_path: Path, name: str) -> None:
    values = _profile()
    del values[name]
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(values))
    with pytest.raises(SpecError, match=f"mine.yml: the key '{name}' is missing"):
        find_device("mine.yml", tmp_path)
