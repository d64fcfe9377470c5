"""One trial in a worker process: threads, imports, the trial function, and an honest end.

Runs inside Tune's function thread, on whatever node Ray chose; knows the run folder and nothing of
the study. Whatever the trial function does short of killing its process becomes an `Ended`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfprune.core.full_disk import is_full_disk
from rfprune.core.locks import take
from rfprune.core.registry import resolve
from rfprune.errors import BudgetError, TrialError
from rfprune.results import StepRecord, SweepFolder, TrialFolder, TrialResult
from rfprune.study.record import Ended
from rfprune.study.trials import UNREACHABLE

__all__ = [
    "DEFAULT_FUNCTION",
    "OnStep",
    "Reporter",
    "StoppedError",
    "WorkerContext",
    "execute",
    "full_disk",
    "read_report",
    "run_slot",
]

DEFAULT_FUNCTION = "rfprune.trial:run_trial"

OnStep = Callable[[StepRecord], None]

#: Steps that follow each other faster than this reach the driver together.
_TOGETHER_SECONDS = 0.5

#: A worker whose driver was killed may live a few seconds longer than the driver's next start.
_PREDECESSOR_SECONDS = 60.0


class StoppedError(BaseException):
    """The driver stops: not an end of the trial, which resumes under the next driver.

    Not an Exception, so that no trial function mistakes it for an error of its own.
    """


@dataclass(frozen=True)
class WorkerContext:
    """What all trials of a sweep share; travels to the workers once.

    Attributes:
        sweep: absolute path of the sweep's folder.
        base_dir: absolute folder of the sweep file: relative paths and the user's own modules.
        function: ``module:function`` that runs a trial, as `rfprune.trial.run_trial` does.
        threads: compute threads of one trial.
    """

    sweep: Path
    base_dir: Path
    function: str = DEFAULT_FUNCTION
    threads: int = 1


def execute(context: WorkerContext, folder: int, attempt: int, on_step: OnStep) -> Ended:
    """Run the trial whose spec lies in run folder number `folder`, and say how it ended.

    Raises:
        StoppedError: `on_step` raised it; the run folder is left for the next driver.
    """
    began = time.monotonic()
    trial = SweepFolder(context.sweep).trial(folder)
    try:
        _set_threads(context.threads)
        # A worker is used again for the next trial.
        if str(context.base_dir) not in sys.path:
            # At the end: a user's `numbers.py` must not hide the standard library's.
            sys.path.append(str(context.base_dir))
        with _alone_in(trial.path):
            function = resolve(context.function)
            result = function(
                trial.spec(),
                trial,
                dense_dir=SweepFolder(context.sweep).dense_dir,
                base_dir=context.base_dir,
                attempt=attempt,
                on_step=on_step,
            )
        ended = _end_of(trial, result)
    except BudgetError as error:
        ended = _unreachable(trial, attempt, str(error))
    except (Exception, SystemExit) as error:
        ended = _failure(trial, attempt, error)
    return dataclasses.replace(ended, seconds=time.monotonic() - began)


def _set_threads(threads: int) -> None:
    """Give the trial as many threads as it has CPUs, whether torch is loaded already or not."""
    # Read when a library is loaded, which in a new worker is still to come.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep a second worker out of a run folder while the first still writes there."""
    with (folder / ".worker.lock").open("w") as file:
        if not take(file, _PREDECESSOR_SECONDS):
            raise TrialError(
                f"{folder}: another worker has held this trial's folder for "
                f"{_PREDECESSOR_SECONDS:.0f} s."
            )
        yield


def _end_of(trial: TrialFolder, result: object) -> Ended:
    if not isinstance(result, TrialResult):
        kind = type(result).__name__
        return Ended("missing", f"the trial function returned {kind} instead of a TrialResult")
    if result.state == "failed":
        if is_full_disk(OSError(result.error)):
            return full_disk(str(result.error))
        return Ended("error", result.error or "no reason given")
    if result.state == "stopped":
        return Ended(result.stopped, result.error or "")
    accepted = [step for step in trial.steps() if step.accepted]
    if result.final_step not in [step.step for step in accepted]:
        return Ended("missing", f"the run folder has no step {result.final_step}")
    return Ended(steps=[step.facts() for step in accepted], stopped=result.stopped)


def _unreachable(trial: TrialFolder, attempt: int, words: str) -> Ended:
    """Record that the trial was not begun, which is known before anything is trained."""
    trial.write_result(
        TrialResult(
            trial=trial.number, attempt=attempt, state="stopped", stopped=UNREACHABLE, error=words
        )
    )
    return Ended(UNREACHABLE, words)


def _failure(trial: TrialFolder, attempt: int, error: BaseException) -> Ended:
    """Keep the traceback in the trial's log, and its last line as the reason."""
    words = str(error).strip()
    words = f"{type(error).__name__}: {words}" if words else type(error).__name__
    # A full disk is the likeliest reason for the failure itself.
    with contextlib.suppress(OSError), (trial.path / "log.txt").open("a") as log:
        log.write("".join(traceback.format_exception(error)))
    # These two say nothing about the point: the driver decides whether it is retried.
    if is_full_disk(error):
        return full_disk(words)
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return Ended("memory", words)
    with contextlib.suppress(OSError):
        trial.write_result(
            TrialResult(trial=trial.number, attempt=attempt, state="failed", error=words)
        )
    return Ended("error", words)


def full_disk(words: str) -> Ended:
    """Return the end of a trial whose disk is full, whoever noticed it."""
    return Ended("disk", f"{words}. Free some space there and run the same command to resume.")


class Reporter:
    """Tells the driver of a trial's steps and of its end.

    Every report costs the driver some milliseconds, and the trial waits for its answer. So a step
    that follows the last report at once goes with the next one.

    Args:
        send: sends a report; returns False if the driver stops the trial.
        at_once: whether the driver judges the trial by each step, so that none may wait.
        folder: number of the trial's run folder.
        clock: seconds, of which only differences matter.
    """

    def __init__(
        self,
        send: Callable[[dict[str, str]], bool],
        at_once: bool,
        folder: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._patience = 0.0 if at_once else _TOGETHER_SECONDS
        self._folder = folder
        self._clock = clock
        self._sent_at = clock()
        self._events: list[dict[str, Any]] = []

    def step(self, record: StepRecord) -> None:
        """Tell of a pruning step, now or with what comes next.

        Raises:
            StoppedError: the driver stops the trial.
        """
        self._events.append({"kind": "step", **record.facts(), "accepted": record.accepted})
        if self._clock() - self._sent_at >= self._patience:
            self._report()

    def end(self, ended: Ended) -> None:
        """Tell how the trial ended.

        Raises:
            StoppedError: the driver has taken note, and wants the worker for the next trial.
        """
        self._events.append({"kind": "end", **dataclasses.asdict(ended)})
        self._report()

    def _report(self) -> None:
        # One string, which Tune neither flattens nor averages.
        report = {"events": json.dumps([self._folder, self._events])}
        self._events = []
        if not self._send(report):
            raise StoppedError
        self._sent_at = self._clock()


def read_report(result: dict[str, Any] | None) -> list[tuple[int, dict[str, Any] | Ended]]:
    """Return what a `Reporter` sent, out of Tune's result: steps and an end, by folder."""
    folder, events = json.loads(result["events"]) if result and "events" in result else (0, [])
    return [(folder, Ended(**event) if event.pop("kind") == "end" else event) for event in events]


def run_slot(
    trials: Sequence[Sequence[int]],
    execute: Callable[[int, int, OnStep], Ended],
    send: Callable[[dict[str, str]], bool],
    at_once: bool = False,
) -> None:
    """Run the trials of one slot, one or several together, and report on each.

    Args:
        trials: (number of the run folder, attempt) of each.
        execute: runs one of them, as `execute` does.
        send: as of `Reporter`.
        at_once: likewise.

    Raises:
        StoppedError: the driver wants the worker, now or for the next trials.
    """
    stopped = False

    def report(facts: dict[str, str]) -> bool:
        nonlocal stopped
        # The driver stops all of them, and says so once.
        stopped = stopped or not send(facts)
        return not stopped

    def run(folder: int, attempt: int) -> None:
        reporter = Reporter(report, at_once, folder)
        reporter.end(execute(folder, attempt, reporter.step))

    if len(trials) == 1:
        run(*trials[0])
        return
    # Not before it is needed: it loads torch.
    from rfprune.training import in_turns

    raised = in_turns([functools.partial(run, *trial) for trial in trials])
    unforeseen = [e for e in raised if e is not None and not isinstance(e, StoppedError)]
    if unforeseen:
        raise unforeseen[0]
    if any(raised):
        raise StoppedError
