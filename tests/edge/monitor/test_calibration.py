"""A profile that is measured on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfprune.cli import main
from rfprune.edge.monitor import find_device
from rfprune.edge.monitor.calibration import Probe, _rates


def test_efficiencies_are_parts_of_the_best_layer() -> None:
    found = {
        "dense": Probe("dense", 10e9, 1.001),
        "pointwise": Probe("pointwise", 8e9, 1.001),
        "grouped": Probe("grouped", 1e9, 1.001),
        "small": Probe("small", 5e9, 1.001),
        "overhead": Probe("overhead", 16, 0.001),
    }
    peak, parts = _rates(found, cache_ns=0.25)
    assert peak == pytest.approx(10e9)
    assert (parts.dense, parts.pointwise, parts.grouped) == pytest.approx((1.0, 0.8, 0.1))
    assert (parts.layer_us, parts.cache_ns_per_byte) == pytest.approx((1000, 0.25))
    # With three inputs half of the rate: 3 / (3 + half) = 1 / 2.
    assert parts.half_inputs == pytest.approx(3)


@pytest.mark.slow
def test_the_command_writes_a_profile_that_a_file_can_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run("calibrate-device", "mine.yml", "--like", "raspberry_pi_4", "--threads", "1") == 0
    assert "GMAC/s" in capsys.readouterr().out
    device = find_device("mine.yml", tmp_path)
    assert device.name == "mine"
    assert device.sources["fp32_macs_per_second"].startswith("measured on")
    assert 0 < device.fp32_efficiency.grouped <= 1
    assert _run("calibrate-device", "mine.yml") == 2
    assert "mine.yml: is there already" in capsys.readouterr().err


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine.txt"], "is not the name of a profile"),
        (["mine.yml", "--like", "raspberry"], "unknown device 'raspberry'"),
        (["mine.yml", "--meter", "watt"], "meter: 'watt'. Allowed: auto, rapl"),
    ],
)
def test_faults_are_sentences(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("calibrate-device", *arguments) == 2
    assert message in capsys.readouterr().err
