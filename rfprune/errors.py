"""Every error that rfprune raises on purpose, as one tree.

::

    RfpruneError
    ├── InputError            the user's input is wrong             exit status 2
    │   ├── SpecError         a sweep, trial, design or profile file
    │   │   └── ReuseFactorError   a reuse factor that hls4ml would silently round
    │   ├── UnknownNameError  a name that is in no table (model, data set, part, ...)
    │   ├── DataError         arrays that are missing, misshapen or not finite
    │   ├── NetworkError      a network that hls4ml cannot take, or that does not fit its data
    │   ├── OptionError       what was asked of a folder, not the folder itself
    │   ├── BudgetError       a budget that no pruning can reach
    │   ├── ReportError       a damaged report, or the report of another tool
    │   └── RunsError         a run folder or study that is absent, foreign, changed or in use
    └── WorkError             the work failed although the input is fine   exit status 1
        ├── ConversionError   hls4ml did something else than it was asked
        ├── SimulationError   the C++ simulation could not be built, or disagrees with torch
        ├── SolverError       a selection that breaks its budget (a defect of ours)
        ├── TrialError        a trial that raised, returned NaN or died
        ├── MissingExtraError a package or program that the request needs is not installed
        └── ClusterError      a cluster that cannot be reached or refuses the job

A message is one sentence or two: what is wrong, where (file and key), which value, what is allowed,
and the nearest valid choice. `exit_code` is the status the command line ends with.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "ClusterError",
    "ConversionError",
    "DataError",
    "InputError",
    "MissingExtraError",
    "NetworkError",
    "OptionError",
    "ReportError",
    "ReuseFactorError",
    "RfpruneError",
    "RunsError",
    "SimulationError",
    "SolverError",
    "SpecError",
    "TrialError",
    "UnknownNameError",
    "WorkError",
]


class RfpruneError(Exception):
    """Root of the tree; catch it to catch everything rfprune raises on purpose."""

    exit_code = 1


class InputError(RfpruneError, ValueError):
    """The user's input is wrong; nothing was written."""

    exit_code = 2


class SpecError(InputError):
    """A file (sweep, trial, design, profile) breaks its schema or contradicts itself."""


class ReuseFactorError(SpecError):
    """A reuse factor that hls4ml would silently replace by another one."""


class UnknownNameError(InputError):
    """A name that is in none of the tables."""


class DataError(InputError):
    """A data set whose arrays are missing, misshapen, not finite or out of range."""


class NetworkError(InputError):
    """A network that hls4ml cannot take, or that does not fit its data."""


class OptionError(InputError):
    """What was asked of a folder cannot be done with it, or was not allowed; the folder is fine."""


class BudgetError(InputError):
    """A resource budget that cannot be reached."""


class ReportError(InputError):
    """A synthesis report that is damaged, truncated or of another tool."""


class RunsError(InputError):
    """A run folder or study that is absent, foreign, changed or in use by another driver."""


class WorkError(RfpruneError, RuntimeError):
    """The work failed although the input is fine."""

    exit_code = 1


class ConversionError(WorkError):
    """hls4ml built something else than it was asked for."""


class SimulationError(WorkError):
    """The C++ simulation could not be built or disagrees with torch."""


class SolverError(WorkError):
    """A selection breaks its budget or its floors."""


class TrialError(WorkError):
    """A trial raised, returned values that are not finite, or its process died."""


class MissingExtraError(WorkError, ImportError):
    """A package or program that the request needs is not installed."""


class ClusterError(WorkError):
    """A cluster that cannot be reached or that refuses the job."""
