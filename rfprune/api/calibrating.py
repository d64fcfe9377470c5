"""What makes later figures truer: the user's own synthesis reports, and his own machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rfprune.errors import MissingExtraError, SpecError

if TYPE_CHECKING:
    from rfprune.edge.monitor.calibration import Calibration
    from rfprune.fpga.estimators.design import Design

__all__ = ["Calibrated", "calibrate", "calibrate_device"]

_DESIGN_FILES = ("design.yml", "design.yaml", "design.json")
_METERS = ("auto", "rapl", "nvml", "ina", "none")


class Calibrated(NamedTuple):
    """What later estimates are corrected by.

    Attributes:
        file: where it is kept.
        read: what was read of each design: name, family, tool, and estimate beside report by
            quantity.
        corrections: (factor, designs) by family and quantity, drawn towards 1 while there are few.
    """

    file: Path
    read: list[dict[str, Any]]
    corrections: dict[str, dict[str, tuple[float, int]]]


def calibrate(*reports: str | Path, forget: bool = False, run_code: bool = False) -> Calibrated:
    """Correct later estimates by your own reports of Vivado HLS, Vitis HLS and Vivado.

    Compares what the reports say with the estimate of the design beside them, and keeps the ratios
    in your own folder; later estimates of the same family say that they were corrected. As
    ``rfprune calibrate`` does::

        found = rfprune.calibrate("projects")
        found.corrections  # (factor, designs) by family and quantity
        rfprune.calibrate(forget=True)

    Args:
        reports: folders with a design file (design.yml) or an exported network, and the tools'
            reports below; or folders of such folders.
        forget: remove what was kept before; then `reports` may be none.
        run_code: run functions that a folder names.

    Raises:
        SpecError: no folder is given, or one without a design or report.
    """
    from rfprune.core.own_code import allowing_code
    from rfprune.fpga.estimators import calibration

    given = [Path(path) for path in reports]
    with allowing_code(run_code):
        # Read before anything is forgotten: a wrong folder changes nothing.
        rows = [_row(folder, run_code) for folder in _folders(given, forget)]
    if forget:
        calibration.forget()
    if rows:
        calibration.remember(rows)
    families = dict.fromkeys(row["family"] for row in rows)
    kept = calibration.kept()
    found = {name: dict(calibration.corrections(kept, name)) for name in families}
    return Calibrated(calibration.calibration_file(), rows, found)


def _folders(given: list[Path], maybe_none: bool) -> Iterator[Path]:
    """Yield the folders that hold a design, each once.

    Raises:
        SpecError: nothing is given, no such folder, or one without a design.
    """
    if not given and not maybe_none:
        raise SpecError(
            "calibrate: no reports are given. Allowed: folders that hold a design file "
            "(design.yml) or an exported network with the tools' reports below, or --forget."
        )
    seen: set[Path] = set()
    for path in given:
        if not path.is_dir():
            fault = "is a file" if path.exists() else "no such folder"
            raise SpecError(
                f"{path}: {fault}. Allowed: a folder with a design file (design.yml) or an "
                "exported network, and the tools' reports below."
            )
        named = [p.parent for name in (*_DESIGN_FILES, "spec.json") for p in path.rglob(name)]
        if not named:
            raise SpecError(
                f"{path}: holds no design. Allowed: a design file ({', '.join(_DESIGN_FILES)}) "
                "or an exported network beside the reports."
            )
        for folder in sorted(set(named)):
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                yield folder


def _row(folder: Path, run_code: bool) -> dict[str, Any]:
    """Return what is kept of one design and its reports."""
    from rfprune.fpga.estimators.analytic import estimate_many
    from rfprune.fpga.estimators.calibration import measured
    from rfprune.fpga.estimators.families import family
    from rfprune.fpga.estimators.layer_columns import tool_of

    design = _design(folder, run_code)
    said = measured(design, folder)
    table = estimate_many([design])
    values = {name: float(column[0]) for name, column in table.total.items()}
    values |= {
        "latency_cycles": float(table.latency_cycles[0]),
        "ii_cycles": float(table.ii_cycles[0]),
    }
    return {
        "design": design.name,
        "reports": str(folder.resolve()),
        "family": family(design),
        "tool": " ".join(map(str, tool_of(design))),
        "ratios": {q: [round(values[q], 3), value] for q, value in said.items()},
    }


def _design(folder: Path, run_code: bool) -> Design:
    from rfprune.fpga.estimating import design_of_folder
    from rfprune.fpga.estimators.design import parse_design
    from rfprune.spec.yaml_files import read_yaml

    for name in _DESIGN_FILES:
        path = folder / name
        if path.is_file():
            return parse_design(read_yaml(path), str(path))
    return design_of_folder(folder, None, run_code)


def calibrate_device(
    out: str | Path,
    *,
    like: str = "x86_server",
    threads: int | None = None,
    meter: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> Calibration:
    """Measure a handful of layers on this machine, and write a device profile for ``edge.device``.

    Takes some seconds on an idle machine. Every constant says whether it was measured here. As
    ``rfprune calibrate-device`` does::

        found = rfprune.calibrate_device("mine.yml", like="raspberry_pi_4")
        [(probe.name, probe.rate) for probe in found.probes]  # multiplications per second

    Args:
        out: profile to write (.yml); must be new.
        like: device whose constants stand for what cannot be measured here.
        threads: of torch; None: as many as it takes.
        meter: what energy is read from: auto (whatever can be read, else none), rapl, nvml, ina or
            none.
        say: called with one line per stage.

    Raises:
        SpecError: a file that is there already, or an unknown meter.
        UnknownNameError: no such device.
    """
    from rfprune.edge.monitor import find_device, open_counter
    from rfprune.edge.monitor.calibration import calibrate as measure
    from rfprune.edge.monitor.calibration import write_profile

    path = Path(out)
    if path.suffix not in (".yml", ".yaml"):
        raise SpecError(f"{path}: is not the name of a profile. Allowed: a name that ends in .yml.")
    if path.exists():
        raise SpecError(f"{path}: is there already. Allowed: a new file.")
    if meter not in _METERS:
        raise SpecError(f"meter: '{meter}'. Allowed: {', '.join(_METERS)}.")
    base = find_device(like)
    try:
        counter = open_counter(meter)
    except MissingExtraError:
        if meter not in ("auto", "none"):
            raise
        counter = None
    found = measure(path.stem, base, counter, threads, say)
    write_profile(path, found)
    return found
