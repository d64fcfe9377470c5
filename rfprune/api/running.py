"""Running a sweep or a trial: what the commands and the functions of Python have in common."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfprune.api.finding import SweepFile, check_writable, naming, writing
from rfprune.api.given import Given
from rfprune.api.progress import Display
from rfprune.api.tracking import Tracking
from rfprune.core.files import write_json
from rfprune.core.progress import saying
from rfprune.errors import RunsError
from rfprune.results import StepRecord, SweepFolder, TrialFolder, TrialResult
from rfprune.results.labels import counted
from rfprune.spec import TrialSpec
from rfprune.spec.yaml_files import changes
from rfprune.study.events import Listener, SweepEvent
from rfprune.study.rebuild import rebuild_study
from rfprune.study.study import free_name, set_aside
from rfprune.study.warm_start import read_warm_start

if TYPE_CHECKING:
    from rich.console import Console

    from rfprune.execution.drive import SweepOutcome
    from rfprune.study.outlook import Outlook

__all__ = ["SweepOptions", "Teller", "run_sweep_file", "run_trial_file"]

#: So many notes of trials are shown at the end of a sweep.
_TRIAL_NOTES = 3


@dataclass(frozen=True)
class Teller:
    """How a run speaks.

    Attributes:
        say: called with each sentence about the run.
        note: called with what the user should know, but need not act on.
        console: for the progress; None shows none.
        busy: makes a context in which a line says what is being done.
    """

    say: Callable[[str], None] = lambda text: None
    note: Callable[[str], None] = lambda text: None
    console: Console | None = None
    busy: Callable[[str], contextlib.AbstractContextManager[Any]] = lambda text: nullcontext()


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is run, beside what it says itself.

    Attributes:
        fresh: begin anew; the earlier run is moved aside.
        again: run complete trials again whose folders are gone or damaged.
        rebuild_study: make a lost or damaged study again from the run folders.
        address: of a Ray cluster; Ray is started on this machine if not set.
        track: write the trials to MLflow.
        listeners: called with every event, beside the progress and MLflow.
    """

    fresh: bool = False
    again: bool = False
    rebuild_study: bool = False
    address: str | None = None
    track: bool = True
    listeners: tuple[Listener, ...] = field(default=())


def run_sweep_file(
    chosen: SweepFile, options: SweepOptions, teller: Teller, given: Given | None = None
) -> SweepOutcome:
    """Run a sweep, or resume one that was cut off, until its trials are complete.

    Args:
        chosen: the sweep.
        options: how.
        teller: says what happens.
        given: objects that its file names.

    Raises:
        InputError: the sweep is wrong; everything is left as it was.
        WorkError: the work failed; what is finished is kept.
    """
    # Torch is loaded where a sweep is run, not where one is found or shown.
    from rfprune.study.outlook import outlook

    check_writable(chosen.folder.path)
    # Before the earlier run is moved: a sweep that is refused must leave everything as it was.
    with teller.busy("Checking the sweep ..."), naming(chosen.source, chosen.spec.name):
        known = outlook(chosen.spec, chosen.base_dir)
    if options.fresh:
        aside = set_aside(chosen.spec, chosen.folder)
        if aside is not None:
            teller.say(f"The earlier run is kept in {aside}.")
    elif options.rebuild_study:
        _rebuild(chosen, known, teller)
    objects = given.installed(chosen.folder.path) if given else nullcontext(chosen.base_dir)
    with writing(chosen.folder.path), objects as base_dir:
        return _run(chosen, known, base_dir, options, teller)


def _rebuild(chosen: SweepFile, known: Outlook, teller: Teller) -> None:
    rebuilt = rebuild_study(chosen.spec, chosen.folder, known.space)
    aside = f"; the earlier one is kept in {rebuilt.aside}" if rebuilt.aside else ""
    left_out = "".join(f"\nTrial {n} is left out: {why}" for n, why in rebuilt.left_out.items())
    teller.say(f"The study is made again from {rebuilt.n_trials} trials{aside}.{left_out}")


def _run(
    chosen: SweepFile, known: Outlook, base_dir: Path, options: SweepOptions, teller: Teller
) -> SweepOutcome:
    from rfprune.execution.drive import run_sweep

    with naming(chosen.source, chosen.spec.name):
        runs = chosen.folder.path.parent
        earlier = read_warm_start(chosen.spec, known.space, runs, chosen.base_dir)

    @functools.cache
    def begin() -> None:
        # With the first event: until then the sweep may still be refused, in a single sentence.
        for text in (*known.notes, *earlier.notes):
            teller.note(text)
        teller.say(
            f"Sweep '{chosen.spec.name}': {chosen.spec.trials} trials into {chosen.folder.path}. "
            f"Sampler: {known.sampler}."
        )

    with contextlib.ExitStack() as stack:
        stack.enter_context(saying(teller.note))
        tracking = stack.enter_context(Tracking(chosen.folder, options.track, teller.note))
        display = None
        if teller.console is not None:
            display = stack.enter_context(Display(chosen.spec, console=teller.console))

        def listen(event: SweepEvent) -> None:
            begin()
            if display is not None:
                display(event)
            tracking(event)
            for listener in options.listeners:
                listener(event)

        outcome = run_sweep(
            chosen.spec,
            chosen.folder,
            known.space,
            base_dir=base_dir,
            progress=listen,
            address=options.address,
            reference_point=known.reference_point,
            again=options.again,
            warm_start=earlier,
        )
    for text in _noted_by_trials(chosen.folder, {*known.notes, *earlier.notes}):
        teller.note(text)
    return outcome


def _noted_by_trials(folder: SweepFolder, told: Collection[str]) -> list[str]:
    """Return what most trials note, and how many do; the first few."""
    found = []
    for trial in folder.trials():
        # The front says which folders are damaged.
        with contextlib.suppress(RunsError):
            found.append(trial.result())
    results = [result for result in found if result is not None]
    noted = Counter(note for result in results for note in dict.fromkeys(result.notes))
    rest = [(note, count) for note, count in noted.most_common() if note not in told]
    return [
        f"{count} of {counted(len(results), 'trial')}: {note}"
        for note, count in rest[:_TRIAL_NOTES]
    ]


def run_trial_file(
    spec: TrialSpec,
    home: Path,
    given: Given,
    source: str,
    *,
    fresh: bool,
    teller: Teller,
    on_step: Callable[[StepRecord], None] | None,
) -> tuple[TrialFolder, TrialResult]:
    """Run one trial without a search, or resume one that was cut off.

    Args:
        spec: the trial.
        home: its run folder.
        given: objects that the trial names, and where its other names are looked for.
        source: for messages.
        fresh: begin anew; the earlier run is moved aside.
        teller: says what happens.
        on_step: called with each step's record.

    Raises:
        InputError: the trial is wrong; nothing was written.
        WorkError: the work failed.
    """
    from rfprune.trial import prepare, run_trial

    folder = TrialFolder(home / "trials" / "0000")
    # Cheapest first: nothing is built or trained for a run that could not be kept.
    check_writable(home)
    if not fresh:
        _refuse_other_spec(home, folder, spec)
    # `run_trial` checks again; here, wrong input has not yet made or moved any folder.
    with naming(source, home.name):
        prepare(spec, given.base_dir)
    if fresh and home.exists():
        teller.say(f"The earlier run is kept in {_aside(home)}.")
    with writing(home), given.installed(home) as base_dir:
        _write_home(home, base_dir)
        result = run_trial(
            spec, folder, dense_dir=home / "dense", base_dir=base_dir, on_step=on_step
        )
    return folder, result


def _aside(home: Path) -> Path:
    try:
        return home.rename(free_name(home))
    except OSError as error:
        raise RunsError(f"{home}: cannot be written ({error.strerror}).") from None


def _write_home(home: Path, base_dir: Path) -> None:
    try:
        write_json(home / "trial.json", {"base_dir": str(base_dir.resolve())})
    except OSError as error:
        raise RunsError(f"{home}: cannot be written ({error.strerror}).") from None


def _refuse_other_spec(home: Path, folder: TrialFolder, spec: TrialSpec) -> None:
    """Raise if the folder belongs to something else: its steps would be mixed with these."""
    way_out = (
        "Use --fresh (the old run is moved aside), another --runs folder, or another file name."
    )
    if (home / "sweep.json").exists():
        raise RunsError(f"{home}: holds a sweep of the same name. {way_out}")
    if not (folder.path / "spec.json").exists():
        return
    changed: list[str] = changes(folder.spec().canonical(), spec.canonical())
    if changed:
        raise RunsError(
            f"{folder.path}: holds a trial with other settings: {'; '.join(changed)}. {way_out}"
        )
