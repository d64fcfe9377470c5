import sys
from pathlib import Path
from types import ModuleType

import pytest

from rfprune.edge.monitor import EnergyMeter
from rfprune.edge.monitor.counters import open_nvml, open_rapl
from rfprune.errors import DataError, MissingExtraError
from tests.edge.monitor.powercap import RANGE_UJ, Powercap


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    return Powercap(tmp_path)


def test_packages_and_their_memory_are_counted_once(powercap: Powercap) -> None:
    rapl = open_rapl(powercap.root)
    assert rapl.source == "RAPL (package-0, package-0 dram, package-1)"
    assert rapl.read() == (1_000_000, 50_000, 2_000_000)


def test_a_counter_that_wraps_goes_on(powercap: Powercap) -> None:
    rapl = open_rapl(powercap.root)
    before = (RANGE_UJ - 1_000, 10, 20)
    assert rapl.millijoule(before, (500, 2_010, 20), 1.0) == pytest.approx((1_500 + 2_000) / 1e3)


def test_the_meter_reads_the_counter(powercap: Powercap) -> None:
    with EnergyMeter(powercap=powercap.root) as meter:
        powercap.count("intel-rapl:0", 1_600_000)
        powercap.count("intel-rapl:0/intel-rapl:0:0", 1_100_000)
        powercap.count("intel-rapl:1", 2_200_000)
    found = meter.energy(images=8)
    assert (found.value, found.unit, found.kind) == (100.0, "mJ", "measured")
    assert found.source.startswith("RAPL")
    assert meter.power(images=8).value == pytest.approx(800 / meter.seconds)


def test_without_counters_there_is_no_meter(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=f"RAPL: this machine has no {tmp_path}/intel-rapl"):
        EnergyMeter(powercap=tmp_path)


def test_without_rights_it_says_which_file(powercap: Powercap, monkeypatch) -> None:
    whole = Path.read_text

    def guarded(self: Path, *args, **kwargs) -> str:
        # Tests may run as root, who may read any file.
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", guarded)
    with pytest.raises(MissingExtraError, match=r"intel-rapl:0/energy_uj: permission denied \(on"):
        EnergyMeter(powercap=powercap.root)


@pytest.mark.parametrize("text", ["", "many\n"])
def test_damaged_counters_are_said(powercap: Powercap, text: str) -> None:
    (powercap.root / "intel-rapl:1/energy_uj").write_text(text)
    with pytest.raises(MissingExtraError, match=r"RAPL: .* cannot be read"):
        open_rapl(powercap.root)


def test_a_platform_counter_alone_is_not_taken_for_the_processor(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0/name").write_text("psys\n")
    with pytest.raises(MissingExtraError, match="counts no processor package"):
        open_rapl(tmp_path)


def test_nothing_metered_is_an_error(powercap: Powercap) -> None:
    meter = EnergyMeter(powercap=powercap.root)
    with pytest.raises(DataError, match="nothing was metered"):
        meter.energy(images=1)


def _library(energy: list[int]) -> ModuleType:
    """Return the part of NVIDIA's library that is used, with two GPUs."""
    library = ModuleType("pynvml")
    library.NVMLError = type("NVMLError", (Exception,), {})
    library.nvmlInit = lambda: None
    library.nvmlDeviceGetCount = lambda: len(energy)
    library.nvmlDeviceGetHandleByIndex = lambda index: index
    library.nvmlDeviceGetTotalEnergyConsumption = lambda handle: energy[handle]
    return library


def test_gpus_are_counted_in_millijoule(monkeypatch) -> None:
    energy = [1_000, 5_000]
    monkeypatch.setitem(sys.modules, "pynvml", _library(energy))
    with EnergyMeter(on_gpu=True) as meter:
        energy[0] += 300
        energy[1] += 500
    found = meter.energy(images=4)
    assert (found.value, found.source, found.kind) == (200.0, "NVML (2 GPUs)", "measured")


def test_a_machine_without_gpus_is_said(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _library([]))
    with pytest.raises(MissingExtraError, match="NVML: this machine has no NVIDIA GPU"):
        open_nvml()
    broken = _library([1])

    def unsupported(handle: int) -> int:
        raise broken.NVMLError("Not Supported")

    broken.nvmlDeviceGetTotalEnergyConsumption = unsupported
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    with pytest.raises(MissingExtraError, match=r"no energy counter can be read \(Not Supported\)"):
        open_nvml()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MissingExtraError, match="nvidia-ml-py is not installed"):
        open_nvml()
