from __future__ import annotations

import os
from pathlib import Path

import pytest

from rfprune.errors import UnknownNameError
from rfprune.fpga.estimators.reports import read_report
from rfprune.hardware.multiplier import DSP_PORTS
from rfprune.hardware.parts import PARTS, Part, find_part

SAMPLES = Path(os.environ.get("RFPRUNE_DATA", "../shared/data")) / "report_samples"


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("xcvu13p-flga2577-2-e", "xcvu13p"),
        ("xcvu9p-flgb2104-2-e", "xcvu9p"),
        ("xc7z020clg400-1", "xc7z020"),
        ("7z020clg400-1", "xc7z020"),
        ("PYNQ-Z2", "xc7z020"),
        ("xcu250-figd2104-2L-e", "xcu250"),
        ("xcu250figd2104-2L", "xcu250"),
        ("U50", "xcu50"),
        ("zu9eg", "xczu9eg"),
        ("xck26-sfvc784-2LV-c", "xck26"),
        ("KV260", "xck26"),
        ("xc7vx690tffg1927-2", "xc7vx690t"),
        ("XC7A100TCSG324-1", "xc7a100t"),
        ("ultra96_v2", "xczu3eg"),
        ("XCZU9CG", "xczu9eg"),
        ("xczu3cg-sbva484-1-e", "xczu3eg"),
        ("xczu3cgsbva484-1", "xczu3eg"),
        ("zu5cg", "xczu5ev"),
        ("xczu7eg-ffvc1156-2-e", "xczu7ev"),
    ],
)
def test_a_part_is_found_by_any_of_its_names(name: str, device: str) -> None:
    assert find_part(name).name == device


@pytest.mark.parametrize(
    ("name", "hint"), [("xcvu99p-flga2577-2-e", "xcvu9p"), ("pynqz2", "pynq-z2"), ("u251", "u250")]
)
def test_an_unknown_part_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=hint):
        find_part(name)


@pytest.mark.parametrize("name", ["", "xcku0350", "dense", "xc7z020 or so"])
def test_what_is_no_part_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown part"):
        find_part(name)


def test_the_catalogue_is_large_and_complete() -> None:
    assert len(PARTS) >= 20
    for part in PARTS.values():
        assert part.dsp_type in DSP_PORTS
        assert min(part.dsp, part.bram18, part.lut, part.ff) > 0
        assert part.source
    assert len(PARTS.names()) == len(set(PARTS.names()))


@pytest.mark.parametrize("part", PARTS.values(), ids=lambda part: part.name)
def test_counts_obey_what_the_architecture_fixes(part: Part) -> None:
    # A CLB holds eight LUTs (Versal: 32) and two registers each; a slice of the 7 series four.
    per_block = 32 if part.dsp_type == "DSP58" else 4 if part.dsp_type == "DSP48E1" else 8
    assert part.ff == 2 * part.lut
    assert part.lut % per_block == 0
    assert part.bram18 % 2 == 0
    assert (part.uram > 0) <= (part.dsp_type != "DSP48E1")
    assert part.static_power_mw is None or part.static_power_mw > 0


#: 'Available' counts of DSP, BRAM18, LUT, FF and URAM as they stand in the texts that the sources
#: name, typed in anew.
AVAILABLE = {
    "xc7a35t": (90, 100, 20800, 41600, 0),
    "xc7a100t": (240, 270, 63400, 126800, 0),
    "xc7a200t": (740, 730, 133800, 267600, 0),
    "xc7vx485t": (2800, 2060, 303600, 607200, 0),
    "xc7vx690t": (3600, 2940, 433200, 866400, 0),
    "xc7z007s": (66, 100, 14400, 28800, 0),
    "xc7z010": (80, 120, 17600, 35200, 0),
    "xc7z020": (220, 280, 53200, 106400, 0),
    "xc7z045": (900, 1090, 218600, 437200, 0),
    "xc7z100": (2020, 1510, 277400, 554800, 0),
    "xcku035": (1700, 1080, 203128, 406256, 0),
    "xcku040": (1920, 1200, 242400, 484800, 0),
    "xcku115": (5520, 2 * 2160, 663360, 1326720, 0),
    "xcku5p": (1824, 960, 216960, 433920, 64),
    "xcvu9p": (6840, 4320, 1182240, 2364480, 960),
    "xcvu13p": (12288, 5376, 1728000, 3456000, 1280),
    "xcvu37p": (9024, 4032, 1303680, 2607360, 960),
    "xcu50": (5952, 2688, 871680, 1743360, 640),
    "xcu55c": (9024, 4032, 1303680, 2607360, 960),
    "xcu250": (12288, 5376, 1728000, 3456000, 1280),
    "xcu280": (9024, 4032, 1303680, 2607360, 960),
    "xczu1eg": (216, 216, 37440, 74880, 0),
    "xczu2eg": (240, 300, 47232, 94464, 0),
    "xczu3eg": (360, 432, 70560, 141120, 0),
    "xck26": (1248, 288, 117120, 234240, 64),
    "xczu7ev": (1728, 624, 230400, 460800, 96),
    "xczu9eg": (2520, 1824, 274080, 548160, 0),
    "xczu28dr": (4272, 2160, 425280, 850560, 80),
    "xczu48dr": (4272, 2160, 425280, 850560, 80),
    "xcvc1902": (1968, 2 * 967, 899840, 1799680, 463),
    "xcvm1802": (1968, 1934, 899840, 1799680, 463),
    "xcve2802": (1312, 1200, 520704, 1041408, 264),
}


@pytest.mark.parametrize("name", AVAILABLE)
def test_counts_agree_with_published_report_headers(name: str) -> None:
    part = PARTS[name]
    assert (part.dsp, part.bram18, part.lut, part.ff, part.uram) == AVAILABLE[name]


def test_what_was_not_seen_in_a_published_text_says_so() -> None:
    assert {name for name, part in PARTS.items() if part.confirmed} == set(AVAILABLE)
    for part in PARTS.values():
        assert (part.static_power_mw is None) == (part.static_source is None)


@pytest.mark.skipif(
    not SAMPLES.is_dir(), reason=f"no sample reports at {SAMPLES} (set RFPRUNE_DATA)"
)
def test_every_sample_report_offers_what_the_catalogue_says() -> None:
    checked = set()
    for path in sorted([*SAMPLES.glob("*.xml"), *SAMPLES.glob("*.rpt")]):
        report = read_report(path)
        assert report.part is not None
        part = find_part(report.part)
        assert {"dsp", "bram18", "lut", "ff"} <= set(report.available), path.name
        for resource, offered in report.available.items():
            assert getattr(part, resource) == offered, (path.name, resource)
        checked.add(part.name)
    assert checked >= {"xc7z007s", "xc7z020", "xcu50", "xcu250"}
