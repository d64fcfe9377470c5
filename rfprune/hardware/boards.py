"""Boards by the names that hls4ml users know them by: the device on them, and how data reach it.

Ordering codes as in AMD's board files (``part_name`` of ``board.xml``) and the product briefs of
Alveo cards (DS965, DS978, DS962).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["BOARDS", "Board", "device_of", "find_board", "part_number"]


class Board(NamedTuple):
    """One board.

    Attributes:
        device: its device with package and speed grade, as Vivado takes it.
        host: what hands it data: the processor of a Zynq-7000 or Zynq UltraScale+ beside it, or a
            computer over PCI Express.
    """

    device: str
    host: Literal["zynq", "zynqmp", "pcie"]


BOARDS: dict[str, Board] = {
    "pynq-z1": Board("xc7z020clg400-1", "zynq"),
    "pynq-z2": Board("xc7z020clg400-1", "zynq"),
    "zedboard": Board("xc7z020clg484-1", "zynq"),
    "zcu102": Board("xczu9eg-ffvb1156-2-e", "zynqmp"),
    "alveo-u50": Board("xcu50-fsvh2104-2-e", "pcie"),
    "alveo-u55c": Board("xcu55c-fsvh2892-2L-e", "pcie"),
    "alveo-u200": Board("xcu200-fsgd2104-2-e", "pcie"),
    "alveo-u250": Board("xcu250-figd2104-2L-e", "pcie"),
    "alveo-u280": Board("xcu280-fsvh2892-2L-e", "pcie"),
}


def find_board(name: str) -> Board | None:
    """Return a board by its name, with or without ``alveo-``; None if it is not in the table."""
    key = name.lower()
    return BOARDS.get(key) or BOARDS.get(f"alveo-{key}")


def device_of(name: str) -> str:
    """Return the device of a board as Vivado takes it; any other name as it is."""
    board = find_board(name)
    return name if board is None else board.device


def part_number(device: str, asked: str) -> str:
    """Return a part as Vivado takes it: with package and speed grade, where they are known.

    Args:
        device: name in the table of parts.
        asked: what the user wrote: a board, a device, or a full part number.
    """
    return device if "-" in device else device_of(asked)
