"""Energy counters in the format of Linux, in a folder."""

from __future__ import annotations

from pathlib import Path

RANGE_UJ = 262_143_328_850


class Powercap:
    """The tree that Linux shows under /sys/class/powercap, laid down in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.zone("intel-rapl:0", "package-0", 1_000_000)
        self.zone("intel-rapl:0/intel-rapl:0:0", "core", 700_000)
        self.zone("intel-rapl:0/intel-rapl:0:1", "dram", 50_000)
        self.zone("intel-rapl:1", "package-1", 2_000_000)
        self.zone("intel-rapl:2", "psys", 9_000_000)

    def zone(self, path: str, name: str, energy_uj: int) -> None:
        folder = self.root / path
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        (folder / "energy_uj").write_text(f"{energy_uj}\n")

    def count(self, path: str, energy_uj: int) -> None:
        # Replaced, as a reader of the real counters never meets an empty file.
        file = self.root / path / "energy_uj"
        file.with_suffix(".new").write_text(f"{energy_uj}\n")
        file.with_suffix(".new").replace(file)
