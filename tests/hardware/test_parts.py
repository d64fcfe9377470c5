from __future__ import annotations

import pytest

from rfprune.errors import UnknownNameError
from rfprune.hardware.multiplier import DSP_PORTS
from rfprune.hardware.parts import PARTS, find_part


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
        assert part.ff >= 2 * part.lut * 0.99
        assert part.source
    assert len(PARTS.names()) == len(set(PARTS.names()))


def test_counts_agree_with_published_report_headers() -> None:
    # 'Available' rows of reports for these parts.
    u250, z020 = find_part("xcu250"), find_part("xc7z020")
    assert (u250.dsp, u250.bram18, u250.lut, u250.ff, u250.uram) == (
        12288,
        5376,
        1728000,
        3456000,
        1280,
    )
    assert (z020.dsp, z020.bram18, z020.lut, z020.ff) == (220, 280, 53200, 106400)
