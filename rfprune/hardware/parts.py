"""FPGA parts and boards that hls4ml users have: what each offers, by part number or board name.

Counts are those of the programmable logic that a design may use. One RAMB36 tile counts as two
``bram18``. Static power is that of a typical idle device in air of 25 degrees; it moves by a factor
of two with temperature and process, and is None where no figure was found. Every figure has its
source in `rfprune.hardware.part_sources`, which also says what could not be confirmed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rfprune.core.registry import nearest
from rfprune.errors import UnknownNameError
from rfprune.hardware.part_sources import COUNTS, NOT_CONFIRMED, STATIC_POWER

__all__ = ["PARTS", "Part", "PartTable", "find_part"]

_SUFFIXES = re.compile(r"^[-_ ]?(?:[a-z]{2,4}[a-z]?\d{3,4})?(?:[-_].*)?$")


@dataclass(frozen=True)
class Part:
    """One device: its resources, the DSP block it has, and where the figures come from.

    Attributes:
        name: device name without package and speed grade, e.g. ``xc7z020``.
        boards: other names it is known by: boards, cards, devices with the same logic.
        family: AMD device family.
        dsp_type: DSP48E1 (25 x 18 bits), DSP48E2 (27 x 18) or DSP58 (27 x 24).
        dsp: DSP blocks.
        bram18: 18 Kb block RAMs.
        lut: look-up tables with six inputs.
        ff: flip-flops.
        uram: 288 Kb UltraRAMs.
        static_power_mw: typical power of the idle device in mW, or None.
        static_source: report with this power, None where there is no figure.
        source: report or text with these counts; begins with "not confirmed" where none was found.
    """

    name: str
    boards: tuple[str, ...]
    family: str
    dsp_type: str
    dsp: int
    bram18: int
    lut: int
    ff: int
    uram: int
    static_power_mw: float | None
    static_source: str | None
    source: str

    @property
    def confirmed(self) -> bool:
        """Whether the counts were seen in a published report or text."""
        return not self.source.startswith(NOT_CONFIRMED)


_E1, _E2, _D58 = "DSP48E1", "DSP48E2", "DSP58"

_Row = tuple[str, tuple[str, ...], str, str, int, int, int, int, int]
# Zynq UltraScale+ devices of one number differ in their processors only (CG, EG, EV): Arm Trusted
# Firmware (`plat/xilinx/zynqmp/aarch64/zynqmp_common.c`) knows them by one identity code.
# name, boards, family, DSP type, DSP, BRAM18, LUT, FF, URAM
_ROWS: tuple[_Row, ...] = (
    ("xc7a35t", ("arty-a7-35", "basys3"), "Artix-7", _E1, 90, 100, 20800, 41600, 0),
    ("xc7a100t", ("arty-a7-100", "nexys-a7"), "Artix-7", _E1, 240, 270, 63400, 126800, 0),
    ("xc7a200t", ("nexys-video",), "Artix-7", _E1, 740, 730, 133800, 267600, 0),
    ("xc7k160t", (), "Kintex-7", _E1, 600, 650, 101400, 202800, 0),
    ("xc7k325t", ("kc705", "genesys2"), "Kintex-7", _E1, 840, 890, 203800, 407600, 0),
    ("xc7k410t", (), "Kintex-7", _E1, 1540, 1590, 254200, 508400, 0),
    ("xc7vx485t", ("vc707",), "Virtex-7", _E1, 2800, 2060, 303600, 607200, 0),
    ("xc7vx690t", ("vc709",), "Virtex-7", _E1, 3600, 2940, 433200, 866400, 0),
    ("xc7z007s", ("minized", "cora-z7-07s"), "Zynq-7000", _E1, 66, 100, 14400, 28800, 0),
    ("xc7z010", ("zybo", "zybo-z7-10"), "Zynq-7000", _E1, 80, 120, 17600, 35200, 0),
    (
        "xc7z020",
        ("pynq-z1", "pynq-z2", "zedboard", "zc702", "zybo-z7-20", "arty-z7-20"),
        "Zynq-7000",
        _E1,
        220,
        280,
        53200,
        106400,
        0,
    ),
    ("xc7z030", ("picozed-7030",), "Zynq-7000", _E1, 400, 530, 78600, 157200, 0),
    ("xc7z045", ("zc706",), "Zynq-7000", _E1, 900, 1090, 218600, 437200, 0),
    ("xc7z100", (), "Zynq-7000", _E1, 2020, 1510, 277400, 554800, 0),
    ("xcku035", (), "Kintex UltraScale", _E2, 1700, 1080, 203128, 406256, 0),
    ("xcku040", ("kcu105",), "Kintex UltraScale", _E2, 1920, 1200, 242400, 484800, 0),
    ("xcku060", (), "Kintex UltraScale", _E2, 2760, 2160, 331680, 663360, 0),
    ("xcku115", ("ku115",), "Kintex UltraScale", _E2, 5520, 4320, 663360, 1326720, 0),
    ("xcku5p", ("kcu116",), "Kintex UltraScale+", _E2, 1824, 960, 216960, 433920, 64),
    ("xcku15p", (), "Kintex UltraScale+", _E2, 1968, 1968, 522720, 1045440, 128),
    ("xcvu7p", (), "Virtex UltraScale+", _E2, 4560, 2880, 788160, 1576320, 640),
    (
        "xcvu9p",
        ("vcu118", "vu9p", "aws-f1"),
        "Virtex UltraScale+",
        _E2,
        6840,
        4320,
        1182240,
        2364480,
        960,
    ),
    ("xcvu13p", ("vu13p",), "Virtex UltraScale+", _E2, 12288, 5376, 1728000, 3456000, 1280),
    ("xcvu37p", ("vcu128",), "Virtex UltraScale+ HBM", _E2, 9024, 4032, 1303680, 2607360, 960),
    (
        "xcu50",
        ("u50", "alveo-u50"),
        "Virtex UltraScale+ HBM",
        _E2,
        5952,
        2688,
        871680,
        1743360,
        640,
    ),
    (
        "xcu55c",
        ("u55c", "alveo-u55c"),
        "Virtex UltraScale+ HBM",
        _E2,
        9024,
        4032,
        1303680,
        2607360,
        960,
    ),
    (
        "xcu200",
        ("u200", "alveo-u200"),
        "Virtex UltraScale+",
        _E2,
        6840,
        4320,
        1182240,
        2364480,
        960,
    ),
    (
        "xcu250",
        ("u250", "alveo-u250"),
        "Virtex UltraScale+",
        _E2,
        12288,
        5376,
        1728000,
        3456000,
        1280,
    ),
    (
        "xcu280",
        ("u280", "alveo-u280"),
        "Virtex UltraScale+ HBM",
        _E2,
        9024,
        4032,
        1303680,
        2607360,
        960,
    ),
    ("xczu1eg", ("xczu1cg", "zuboard-1cg"), "Zynq UltraScale+", _E2, 216, 216, 37440, 74880, 0),
    ("xczu2eg", ("xczu2cg",), "Zynq UltraScale+", _E2, 240, 300, 47232, 94464, 0),
    (
        "xczu3eg",
        ("xczu3cg", "ultra96", "ultra96-v2"),
        "Zynq UltraScale+",
        _E2,
        360,
        432,
        70560,
        141120,
        0,
    ),
    (
        "xczu5ev",
        ("xczu5eg", "xczu5cg"),
        "Zynq UltraScale+",
        _E2,
        1248,
        288,
        117120,
        234240,
        64,
    ),
    ("xck26", ("kv260", "kr260", "k26"), "Zynq UltraScale+", _E2, 1248, 288, 117120, 234240, 64),
    (
        "xczu7ev",
        ("xczu7eg", "xczu7cg", "zcu104", "zcu106"),
        "Zynq UltraScale+",
        _E2,
        1728,
        624,
        230400,
        460800,
        96,
    ),
    ("xczu9eg", ("xczu9cg", "zcu102"), "Zynq UltraScale+", _E2, 2520, 1824, 274080, 548160, 0),
    ("xczu28dr", ("zcu111",), "Zynq UltraScale+ RFSoC", _E2, 4272, 2160, 425280, 850560, 80),
    (
        "xczu48dr",
        ("rfsoc4x2", "zcu208"),
        "Zynq UltraScale+ RFSoC",
        _E2,
        4272,
        2160,
        425280,
        850560,
        80,
    ),
    ("xcvc1902", ("vck190", "vck5000"), "Versal AI Core", _D58, 1968, 1934, 899840, 1799680, 463),
    ("xcvm1802", ("vmk180",), "Versal Prime", _D58, 1968, 1934, 899840, 1799680, 463),
    ("xcve2802", ("vek280",), "Versal AI Edge", _D58, 1312, 1200, 520704, 1041408, 264),
)


def _part(row: _Row) -> Part:
    power_mw, report = STATIC_POWER.get(row[0], (None, None))
    return Part(*row, power_mw, report, COUNTS[row[0]])


class PartTable(Mapping[str, Part]):
    """Every known part by name, in the order of family and size."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self._parts = {part.name: part for part in parts}
        self._boards = {board: part for part in parts for board in part.boards}

    def __getitem__(self, name: str) -> Part:
        return find_part(name) if name not in self._parts else self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def lookup(self, name: str) -> Part | None:
        """Return the part with this device name, board name or full part number, or None."""
        key = name.strip().lower().replace("_", "-")
        named = {**self._boards, **self._parts}
        if (exact := named.get(key) or named.get(f"xc{key}")) is not None:
            return exact
        if re.match(r"^\d", key):  # Vivado writes `7z020clg400-1`
            key = f"xc{key}"
        devices = [name for name in named if name.startswith("xc") and key.startswith(name)]
        fitting = [name for name in devices if _SUFFIXES.match(key[len(name) :])]
        return named[max(fitting, key=len)] if fitting else None

    def names(self) -> list[str]:
        """Return every device and board name."""
        return [*self._parts, *self._boards]


PARTS = PartTable(tuple(_part(row) for row in _ROWS))


def find_part(name: str) -> Part:
    """Return the part called `name`: a device, a board, or a full part number in any case.

    Args:
        name: e.g. ``xcvu9p-flgb2104-2-e``, ``xc7z020clg400-1``, ``PYNQ-Z2``, ``U250``.

    Raises:
        UnknownNameError: no such part; names the nearest one.
    """
    part = PARTS.lookup(name)
    if part is None:
        device = re.split(r"[-_ ]", name.strip().lower())[0]
        hint = nearest(name.lower(), PARTS.names()) or nearest(device, PARTS.names())
        raise UnknownNameError(
            f"unknown part '{name}'.{hint} `rfprune list parts` shows every part and board."
        )
    return part
