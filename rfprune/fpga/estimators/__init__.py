"""Resources and latency of a design: by rule, from generated code, or from a synthesis tool.

`estimate(design, by=NAME)` asks one estimator of the table `ESTIMATORS`, or a function of the
user's own (``package.module:function``); each returns the same `Estimate`. An estimator is a
function ``(design) -> Estimate``, or ``(design, project) -> Estimate``: one that has a parameter
named ``project`` gets the folder of the written hls4ml project. Listing the table imports none.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfprune.core.registry import Entry, Registry, a_type, resolve
from rfprune.errors import RfpruneError, SpecError, WorkError

if TYPE_CHECKING:
    from rfprune.fpga.estimators.design import Design
    from rfprune.fpga.estimators.result import Estimate, LayerEstimate
    from rfprune.fpga.estimators.rtl import Rtl

__all__ = [
    "ESTIMATORS",
    "Estimate",
    "EstimatorEntry",
    "LayerEstimate",
    "check_estimator",
    "estimate",
    "measure_rtl",
    "measures_rtl",
    "needs_project",
]


@dataclass(frozen=True)
class EstimatorEntry(Entry):
    """A row of the table.

    Attributes:
        check: ``module:function`` that raises a MissingExtraError where a package or program that
            the estimator needs is not installed; empty if it needs none, or if only the node that
            runs it can tell.
        builds: the same for a package that makes a graph of adders of layers; not asked for where
            the network is such a graph already (backend alkaid).
        rtl: ``module:function`` that measures RTL, ``(Rtl) -> Estimate``; empty if it cannot.
    """

    check: str = ""
    builds: str = ""
    rtl: str = ""


_DA4ML = "rfprune.fpga.estimators.da4ml:check_installed"
#: A new estimator is one more row here, and the module that it names.
ESTIMATORS = Registry(
    "estimator",
    {
        "analytic": EstimatorEntry(
            "rfprune.fpga.estimators.analytic:estimate", "rules per layer, milliseconds"
        ),
        # No check: where licences are counted, another node of the cluster runs the tool.
        "csynth": EstimatorEntry(
            "rfprune.fpga.estimators.csynth:estimate", "Vitis HLS or Vivado HLS on PATH"
        ),
        "codegen": EstimatorEntry(
            "rfprune.fpga.estimators.codegen:estimate", "multipliers in hls4ml's C++"
        ),
        "rule4ml": EstimatorEntry(
            "rfprune.fpga.estimators.rule4ml:estimate",
            "surrogate (extra 'rule4ml')",
            "rfprune.fpga.estimators.rule4ml:check_installed",
        ),
        "da4ml": EstimatorEntry(
            "rfprune.fpga.estimators.da4ml:estimate",
            "distributed arithmetic of a chain of dense and ReLU layers (extra 'da4ml')",
            _DA4ML,
        ),
        "adders": EstimatorEntry(
            "rfprune.fpga.estimators.da4ml:estimate",
            "the adder graph of strategy distributed_arithmetic (extra 'da4ml', or alkaid's own)",
            builds=_DA4ML,
        ),
        "yosys": EstimatorEntry(
            "rfprune.fpga.estimators.yosys:estimate",
            "logic synthesis of RTL by Yosys: exports of alkaid or distributed_arithmetic, output "
            "of HLS, chains of dense layers as adder graphs (extra 'yosys')",
            "rfprune.fpga.estimators.yosys:check_installed",
            _DA4ML,
            "rfprune.fpga.estimators.yosys:measure",
        ),
        "nextpnr": EstimatorEntry(
            "rfprune.fpga.estimators.nextpnr:estimate",
            "the same RTL placed and routed on an ECP5: LUT4, FF, DSP and clock (extra 'nextpnr')",
            "rfprune.fpga.estimators.nextpnr:check_installed",
            _DA4ML,
            "rfprune.fpga.estimators.nextpnr:measure",
        ),
    },
)


# Loaded when asked for: listing the estimators is to import none of them.
def __getattr__(name: str) -> object:
    if name in ("Estimate", "LayerEstimate"):
        from rfprune.fpga.estimators import result

        return getattr(result, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def check_estimator(by: str, of_adders: bool = False) -> None:
    """Raise if `by` cannot be used here, before anything is trained or converted.

    Args:
        by: name of the estimator.
        of_adders: the networks are graphs of adders already (backend alkaid), and none is built.

    Raises:
        UnknownNameError: no such estimator; names the nearest.
        SpecError: a name of the user's own that is not a function.
        MissingExtraError: the estimator needs a package or program that is not installed.
    """
    _parameters(by)
    row = _own_row(by)
    wanted = () if row is None else (row.check, "" if of_adders else row.builds)
    for check in filter(None, wanted):
        resolve(check)()


def needs_project(by: str) -> bool:
    """Return whether estimator `by` reads the hls4ml project: has a parameter ``project``.

    Raises:
        UnknownNameError: no such estimator; names the nearest.
        SpecError: a name of the user's own that is not a function.
    """
    return "project" in _parameters(by)


def measures_rtl(by: str) -> bool:
    """Return whether estimator `by` measures RTL, see `measure_rtl`.

    Of RTL that is there already it says itself which tool is missing, before it begins; what
    `check_estimator` asks for besides is for networks that have none yet.
    """
    row = _own_row(by)
    return row is not None and bool(row.rtl)


def measure_rtl(rtl: Rtl, by: str) -> Estimate:
    """Return what the open tools of estimator `by` make of RTL: minutes, or what was kept of it.

    Raises:
        MissingExtraError: a tool is not installed.
        ReportError: files are missing.
        WorkError: a tool failed or ran out of time.
    """
    function: Callable[[Rtl], Estimate] = resolve(ESTIMATORS[by].rtl)  # type: ignore[attr-defined]
    return function(rtl)


def _own_row(by: str) -> EstimatorEntry | None:
    """Return the row of an estimator of rfprune; None for those of users and other packages."""
    if by not in ESTIMATORS:
        return None
    row = ESTIMATORS[by]
    return row if isinstance(row, EstimatorEntry) else None


def _parameters(by: str) -> dict[str, inspect.Parameter]:
    function = ESTIMATORS.load(by)
    if not callable(function):
        raise SpecError(
            f"estimator '{by}' is of type {type(function).__name__}. Allowed: a function "
            "(design) or (design, project) that returns a rfprune.fpga.estimators.Estimate."
        )
    try:
        return dict(inspect.signature(function).parameters)
    except ValueError:  # some callables written in C have no signature
        return {}


def estimate(design: Design, by: str = "analytic", project: Path | None = None) -> Estimate:
    """Return what estimator `by` says about `design`.

    Args:
        design: layers and hardware.
        by: a name in `ESTIMATORS`, or ``package.module:function``.
        project: folder of the hls4ml project, for the estimators that read or synthesise one; see
            `needs_project`. None where there is only a design file.

    Raises:
        UnknownNameError: no such estimator; names the nearest.
        MissingExtraError: the estimator needs a package or program that is not installed.
        SpecError: the estimator needs a project and there is none.
        WorkError: an estimator of the user's own raised, or returned something else.
    """
    wanted = _parameters(by).get("project")
    # A default says that the function can do without a project.
    if wanted is not None and wanted.default is inspect.Parameter.empty and project is None:
        raise SpecError(
            f"{design.name}: estimator '{by}' reads the C++ and weights of an hls4ml project, "
            "which a design file does not hold. Allowed: the folder of a trial or of an exported "
            "network, or --by analytic."
        )
    given: dict[str, Any] = {} if wanted is None else {"project": project}
    function: Callable[..., Any] = ESTIMATORS.load(by)
    try:
        found = function(design, **given)
    except RfpruneError:
        raise
    except Exception as error:
        if _own_row(by) is not None:
            raise  # a defect of rfprune: the report needs its traceback
        raise WorkError(f"estimator '{by}' failed: {type(error).__name__}: {error}.") from error
    # After the call: a user's function may return anything, and only then is the class needed.
    from rfprune.fpga.estimators.result import Estimate

    if not isinstance(found, Estimate):
        raise WorkError(
            f"estimator '{by}' returned {a_type(found)}, not a rfprune.fpga.estimators.Estimate."
        )
    # Only the rules have errors that another design of the same family shares.
    if by == "analytic":
        from rfprune.fpga.estimators.calibration import corrected

        return corrected(found, design)
    return found
