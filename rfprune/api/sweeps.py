"""A sweep in Python: run, continued, opened, shown.

::

    import numpy as np, torch, rfprune

    x = np.random.default_rng(0).normal(size=(400, 8)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    found = rfprune.sweep(
        model=net, data=(x, y), hardware={"part": "pynq-z2"}, train={"epochs": 2},
        search={"prune.budget.dsp": {"low": 0.1, "high": 0.5}}, trials=2, name="mine",
    )
    found.front

Networks, also of a notebook's cell, where they are pickled by value:

- a torch module: every trial starts from the weights that it has, random or trained;
- a function or class: called in every trial, with the trial's seed; it gets ``input_shape`` (of one
  row) and ``n_outputs`` if it takes them;
- a name (`rfprune list models`), ``"package.module:function"``, or ``{"name": ..., "args": ...}``.

Data, N rows; what has no test part is split here:

- ``(x, y)`` or ``(x, y, w)``: features (N, ...), targets (N,) or (N, K), weights of rows (N,);
- ``(x_train, y_train, x_test, y_test)``;
- a dict of ``x_train``, ``y_train``, ``x_val``, ``y_val``, ``x_test``, ``y_test``, ``w_train``,
  ..., ``x_train_NAME`` for the argument NAME of ``forward``, and keys of the section ``data``;
- a pandas DataFrame with a column ``label``, ``(DataFrame, column or Series)``, or
  ``{"frame": DataFrame, "target": ..., "features": [...]}``;
- two or three torch Datasets: train and test, or train, validation and test;
- a function that makes one of these; the name of a data set; a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rfprune.api.finding import open_sweep, writing
from rfprune.api.frames import points_frame, trials_frame
from rfprune.api.points import Point
from rfprune.api.running import SweepOptions, Teller, run_sweep_file, run_trial_file
from rfprune.api.showing import picture_page, svg
from rfprune.api.sources import sweep_source, trial_source
from rfprune.core.notebooks import for_notebooks
from rfprune.core.registry import nearest
from rfprune.errors import SpecError, UnknownNameError
from rfprune.results import (
    Candidate,
    Front,
    Ranking,
    TrialFolder,
    build_front,
    choose,
    front_figure,
    front_html,
    hypervolume_figure,
    layers_figure,
    parallel_figure,
    read_front,
    read_single,
)
from rfprune.spec import SweepSpec, TrialSpec, parse_condition
from rfprune.study.events import SweepEvent

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from rfprune.results import StepRecord
    from rfprune.study import Importances

__all__ = ["PICTURES", "Sweep", "open_run", "pareto", "prune", "retarget", "sweep"]

PICTURES = ("front", "layers", "parallel", "hypervolume", "importance")
Picture = Literal["front", "layers", "parallel", "hypervolume", "importance"]
#: What stands below each picture of a page, which nobody is there to explain.
_CAPTIONS: dict[str, str] = {
    "front": "Accepted pruning steps of all trials; the line is the best score for each cost. "
    "Vertical bars are one standard error on the validation rows, horizontal ones hold nine of ten "
    "designs. The line or arrow with a name is what the part has.",
    "layers": "The score over what is left of each layer; blue points are on the front.",
    "parallel": "One line for each trial, blue if it is on the front: objectives first, with the "
    "best value at the top, then what was searched.",
    "hypervolume": "What the front covers, seen from the reference point, over finished trials.",
    "importance": "How much each searched value decided about each objective (PED-ANOVA); the "
    "shares of one colour add up to 1.",
}


class Sweep:
    """A sweep that has run, or runs: its front, its trials, its pictures.

    Made by `rfprune.sweep` and `rfprune.open`. Everything is read from the run folder each time
    `refresh` is called, so that a running sweep can be watched. In a notebook it shows its front.

    Example::

        runs = rfprune.open("mine")
        runs.front[["val_accuracy", "dsp"]]  # pandas, as are points, trials and importance
        runs.trials.groupby("state").size(), runs.points, runs.importance, runs.hypervolume
        runs.best(where="dsp<=150", max="val_accuracy").step
        runs.point(trial=0).metrics["lut"]
        runs = runs.resume(trials=3).refresh()  # refresh: of a sweep that runs elsewhere
        runs.plot("hypervolume").savefig("hypervolume.png")
        runs.html("front.html")
        runs.track()  # to MLflow
        runs.name, runs.path
    """

    def __init__(self, front: Front, usual: Ranking | None = None) -> None:
        self._front, self._usual = front, usual or Ranking()

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self._front.view.name

    @property
    def path(self) -> Path:
        """Its run folder."""
        return self._front.view.folder.path

    @property
    def front(self) -> DataFrame:
        """The Pareto front, one row per point, best first objective first (pandas).

        The dense network is the last row if it is not on the front; the column ``dense`` says so.
        Columns are the searched paths and every quantity by its name; see `rfprune.api.frames`.
        """
        return points_frame(self._front, self._front.shown, self._run_ids())

    @property
    def points(self) -> DataFrame:
        """Every accepted step of every trial, one row each (pandas); columns as of `front`."""
        return points_frame(self._front, self._front.view.candidates, self._run_ids())

    @property
    def trials(self) -> DataFrame:
        """All trials, one row each, at their last accepted step (pandas)."""
        return trials_frame(self._front, self._run_ids())

    @property
    def hypervolume(self) -> float | None:
        """Volume between the front and the reference point, in the product of the units."""
        return self._front.hypervolume

    @property
    def importance(self) -> DataFrame:
        """Share of each searched path in each objective (PED-ANOVA), paths as the index (pandas).

        Empty with fewer than ten complete trials.
        """
        from pandas import DataFrame

        frame: DataFrame = DataFrame(self._importances())
        return frame

    def best(
        self,
        where: str | Sequence[str] = (),
        *,
        max: str | None = None,
        min: str | None = None,
        knee: bool = False,
        allow_larger: bool = False,
    ) -> Point:
        """Return the best point that meets the conditions and fits its part.

        Without `max`, `min` or `knee`: the pruned network of the best score. Test rows never
        select: where a test metric M is named, ``val_M`` decides.

        Args:
            where: conditions like ``"dsp<=60"``.
            max: the quantity to be largest.
            min: the quantity to be smallest.
            knee: the compromise between all objectives.
            allow_larger: take networks that do not fit the part as well.

        Raises:
            RunsError: no point meets the conditions; names the nearest miss.
            UnknownNameError: no such quantity.
            SpecError: a condition that cannot be read.
        """
        given = [n for n, v in (("max", max), ("min", min), ("knee", knee)) if v]
        if len(given) > 1:
            raise SpecError(f"{' and '.join(given)} cannot be combined; give one of them.")
        texts = [where] if isinstance(where, str) else list(where)
        try:
            conditions = [parse_condition(text, self._front.view.quantities) for text in texts]
        except ValueError as error:
            raise SpecError(f"where: {error}.") from None
        ranking = self._usual
        if knee:
            ranking = Ranking("knee")
        elif max or min:
            ranking = Ranking("max", max) if max else Ranking("min", min or "")
        found = choose(self._front, conditions, ranking, allow_larger=allow_larger)
        return Point(self._front, found.candidate, found.explanation)

    def point(self, trial: int, step: int | None = None) -> Point:
        """Return one point by its numbers.

        Args:
            trial: number of a trial.
            step: number of an accepted step, 0 for the dense network; None: the last one.

        Raises:
            UnknownNameError: there is no such trial or step.
        """
        mine = [c for c in self._front.view.candidates if c.trial == trial]
        found: list[Candidate] = [c for c in mine if step is None or c.step == step]
        if not found:
            there = [str(c.step) for c in mine] or [str(t.number) for t in self._front.view.trials]
            what = "steps" if mine else "trials"
            raise UnknownNameError(
                f"{self.name}: no accepted step {'' if step is None else f'{step} '}of trial "
                f"{trial}. There are the {what} {', '.join(there) or '(none)'}."
            )
        return Point(self._front, found[-1])

    def refresh(self) -> Sweep:
        """Read the run folder again; return this object.

        Raises:
            RunsError: the folder is gone, or holds no sweep any more.
        """
        single = (self.path / "trial.json").exists()
        self._front = _single_front(self.path) if single else read_front(self._front.view.folder)
        return self

    def resume(self, trials: int | None = None, **options: Any) -> Sweep:
        """Go on with the sweep, e.g. to more trials in total; return it.

        Args:
            trials: complete trials wanted in total.
            options: as of `rfprune.sweep`.

        Raises:
            InputError: the folder or an option is wrong; nothing was written.
            WorkError: the work failed; what is finished is kept.
        """
        return sweep(str(self.path), runs=self.path.parent, trials=trials, **options)

    def plot(self, kind: Picture = "front") -> Figure:
        """Return a picture as a matplotlib figure.

        Args:
            kind: ``front`` (with standard errors and what the part has), ``layers`` (score over
                what is left of each layer), ``parallel`` (coordinates: objectives, searched
                values), ``hypervolume`` (over trials) or ``importance`` (of searched values).

        Raises:
            UnknownNameError: no such picture.
        """
        if kind == "importance":
            from rfprune.study import importance_figure

            return for_notebooks(importance_figure(self._importances()))
        makers: dict[str, Callable[[Front], Figure]] = {
            "front": front_figure,
            "layers": layers_figure,
            "parallel": parallel_figure,
            "hypervolume": hypervolume_figure,
        }
        if kind not in makers:
            raise UnknownNameError(
                f"plot: unknown picture '{kind}'.{nearest(kind, PICTURES)} "
                f"Known: {', '.join(PICTURES)}."
            )
        return for_notebooks(makers[kind](self._front))

    def html(self, path: str | Path, kinds: Sequence[Picture] | None = None) -> Path:
        """Write a page that works offline; return its path.

        Args:
            path: the file.
            kinds: pictures, drawn as vectors; without them the interactive page of the front, as
                ``rfprune pareto --html`` writes it.

        Raises:
            UnknownNameError: no such picture.
        """
        from rfprune.core.files import write_atomic

        if kinds is None:
            write_atomic(Path(path), front_html(self._front))
        else:
            figures = {kind: self.plot(kind) for kind in kinds}
            shown = {_CAPTIONS[kind]: figure for kind, figure in figures.items()}
            write_atomic(Path(path), picture_page(self.name, shown))
        return Path(path)

    def track(self) -> list[str]:
        """Write the sweep to MLflow, as ``mlflow.yml`` says; return the ids of the trials' runs.

        Raises:
            SpecError: ``mlflow.yml`` is wrong.
            WorkError: MLflow cannot be reached.
        """
        from rfprune.tracking import load_config, project

        return list(project(self._front.view.folder, load_config()).values())

    def _importances(self) -> Importances:
        from rfprune.study import importances

        # A trial without a sweep has no study.
        there = (self.path / "sweep.json").exists()
        return importances(self._front.view.folder) if there else {}

    def _run_ids(self) -> Mapping[int, str]:
        from rfprune.tracking import run_ids

        return run_ids(self._front.view.folder)

    def __len__(self) -> int:
        return len(self._front.points)

    def __repr__(self) -> str:
        counts = self._front.counts
        return (
            f"Sweep('{self.name}': {len(self)} points on the front, {counts.complete} trials "
            f"complete, {self.path})"
        )

    def _repr_html_(self) -> str:
        names = [*self._front.view.objectives, "dense", "trial", "step"]
        front = self.front
        table = front[[name for name in names if name in front]].to_html(index=False)
        return f"<div>{svg(self.plot())}{table}</div>"


def sweep(
    source: str | Path | SweepSpec | Mapping[str, Any] | None = None,
    /,
    *,
    model: Any = None,
    data: Any = None,
    search: Mapping[str, Any] | None = None,
    objectives: Mapping[str, str] | None = None,
    trials: int | None = None,
    name: str | None = None,
    runs: str | Path = "runs",
    on_trial: Callable[[SweepEvent], None] | None = None,
    on_step: Callable[[SweepEvent], None] | None = None,
    progress: bool = True,
    fresh: bool = False,
    again: bool = False,
    rebuild_study: bool = False,
    address: str | None = None,
    track: bool = True,
    **sections: Any,
) -> Sweep:
    """Run a sweep, or continue one that was cut off; return it.

    What was begun here is continued, shown and exported by the commands, and the other way round.
    For the forms of networks and data, and their shapes, see `rfprune.api.sweeps`. Example::

        rfprune.sweep(
            model=net,  # a torch module: 8 inputs, 3 outputs
            data=(x, y),  # arrays: (N, 8) and (N,)
            hardware={"part": "pynq-z2"},
            train={"epochs": 3},
            prune={"steps": 1, "epochs_per_step": 1},
            search={"prune.budget.dsp": {"low": 0.2, "high": 0.7}},
            trials=2,
            name="mine",
        ).front

    Args:
        source: a sweep file, the name of a run or of a shipped sweep, a `SweepSpec` or its mapping;
            keywords are laid over it.
        model: a torch module, a function or class that makes one, a name, or ``{"name", "args"}``.
        data: arrays (N, ...), tables, torch Datasets, a function that makes them, or a name.
        search: what is searched, by dotted path, as in a sweep file.
        objectives: ``"max"`` or ``"min"`` by quantity; the score and the main cost if not given.
        trials: complete trials wanted in total.
        name: of the sweep and of its folder; ``sweep`` if nothing says it.
        runs: folder that holds all runs.
        on_trial: called in this process with each trial that ends.
        on_step: called in this process with each pruning step that was measured.
        progress: show it, in a terminal or a notebook.
        fresh: begin anew; the earlier run is moved aside, not deleted.
        again: run complete trials again whose run folders are gone or damaged.
        rebuild_study: make a lost or damaged study again from the run folders.
        address: of a Ray cluster; Ray is started on this machine if not given.
        track: write the trials to MLflow, as ``mlflow.yml`` says.
        sections: other keys of a sweep file; an object may stand where a file names a function.

    Raises:
        InputError: something is wrong with what was given; everything is left as it was.
        WorkError: the work failed; finished work is kept, the same call continues.
    """
    keywords = {"name": name, "model": model, "data": data, "search": search, **sections}
    keywords |= {"objectives": objectives, "trials": trials}
    listeners = _listeners(on_trial, on_step)
    options = SweepOptions(fresh, again, rebuild_study, address, track, listeners)
    return _run(source, runs, keywords, options, progress)


def _run(
    source: str | Path | SweepSpec | Mapping[str, Any] | None,
    runs: str | Path,
    keywords: Mapping[str, Any],
    options: SweepOptions,
    progress: bool,
) -> Sweep:
    with sweep_source(source, runs, keywords) as found:
        teller = _teller(progress, found.given.notes)
        outcome = run_sweep_file(found.file, options, teller, found.given)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return Sweep(read_front(found.file.folder))


def _listeners(
    on_trial: Callable[[SweepEvent], None] | None, on_step: Callable[[SweepEvent], None] | None
) -> tuple[Callable[[SweepEvent], None], ...]:
    asked = ((_ENDS, on_trial), (_STEPS, on_step))
    return tuple(_only(kinds, call) for kinds, call in asked if call is not None)


_ENDS, _STEPS = ("complete", "stopped", "failed"), ("step",)


def _only(kinds: Sequence[str], call: Callable[[SweepEvent], None]) -> Callable[[SweepEvent], None]:
    def listen(event: SweepEvent) -> None:
        if event.kind in kinds:
            call(event)

    return listen


def _teller(progress: bool, notes: Sequence[str]) -> Teller:
    """Return what speaks in a terminal or a notebook; nothing without progress."""
    import warnings

    for text in notes:
        warnings.warn(text, stacklevel=3)
    if not progress:
        return Teller()
    from rich.console import Console

    console = Console(stderr=True, highlight=False)

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    return Teller(say, lambda text: say(f"Note: {text}"), console)


def prune(
    source: str | Path | TrialSpec | Mapping[str, Any] | None = None,
    /,
    *,
    model: Any = None,
    data: Any = None,
    name: str | None = None,
    runs: str | Path = "runs",
    on_step: Callable[[StepRecord], None] | None = None,
    fresh: bool = False,
    **sections: Any,
) -> Sweep:
    """Prune one network without a search, in this process; return the trial as a sweep of one.

    Its last accepted step is ``.best()``. A trial that was cut off continues from its last accepted
    step::

        trial = rfprune.prune(
            model="mlp",
            data="digits",
            train={"epochs": 2},
            prune={"budget": {"dsp": 0.5}, "steps": 1},
        )
        trial.best().estimate().total

    Args:
        source: a trial file, a `TrialSpec` or its mapping.
        model: as of `rfprune.sweep`.
        data: as of `rfprune.sweep`.
        name: of the run folder; that of the file, or ``trial``.
        runs: folder that holds all runs.
        on_step: called with each step's record, as it happens.
        fresh: begin anew; the earlier run is moved aside.
        sections: any other key of a trial file.

    Raises:
        InputError: something is wrong with what was given; nothing was written.
        WorkError: the work failed.
    """
    keywords = {"model": model, "data": data, **sections}
    with trial_source(source, runs, keywords, name) as found:
        run_trial_file(
            found.spec,
            found.home,
            found.given,
            found.source,
            fresh=fresh,
            teller=Teller(),
            on_step=on_step,
        )
    return Sweep(_single_front(found.home), Ranking("last"))


def open_run(path: str | Path, runs: str | Path = "runs") -> Sweep:
    """Open what has run, or runs: a sweep or a single trial; as `rfprune.open`.

    Nothing in the folder is executed. Example::

        rfprune.open("mine").plot()

    Args:
        path: a run folder, or the name of a run below `runs`, or the sweep file that made it.
        runs: folder that holds all runs.

    Raises:
        RunsError: nothing of that name has run.
    """
    for home in (Path(path), Path(runs) / path):
        if (home / "trial.json").exists():
            return Sweep(_single_front(home), Ranking("last"))
        if (home / "steps.jsonl").exists():
            return Sweep(build_front(read_single(TrialFolder(home))), Ranking("last"))
    return Sweep(read_front(open_sweep(str(path), Path(runs))))


def _single_front(home: Path) -> Front:
    return build_front(read_single(TrialFolder(home / "trials" / "0000")))


def pareto(path: str | Path, runs: str | Path = "runs") -> DataFrame:
    """Return the Pareto front of a sweep, finished or running, one row per point (pandas).

    The same as ``rfprune.open(path, runs).front``::

        rfprune.pareto("mine").sort_values("dsp")

    Args:
        path: as of `rfprune.open`.
        runs: folder that holds all runs.

    Raises:
        RunsError: nothing of that name has run.
    """
    return open_run(path, runs).front


def retarget(
    path: str | Path,
    changes: Mapping[str, Any],
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    run_code: bool = False,
    on_trial: Callable[[int, int], None] = lambda done, of: None,
) -> Sweep:
    """Make a new sweep of a sweep's networks on other hardware, without training.

    Networks whose masks take away whole groups there are measured in its types and estimated
    again; what was left out, and why, is in ``left_out.json`` of the new run folder. As
    ``rfprune retarget`` does, but for MLflow (`Sweep.track`)::

        rfprune.retarget("mine", {"hardware.part": "xcu250", "hardware.clock_ns": 4}).front

    Args:
        path: as of `rfprune.open`; the sweep is only read.
        changes: new values by key of the sweep file; whatever does not decide the networks.
        name: of the new sweep; made of the old one and the part if None.
        runs: folder that holds all runs.
        run_code: import the functions of its user's own that the folder names.
        on_trial: called with the number of trials that are done, and of all.

    Raises:
        InputError: the new sweep file would be wrong, its folder exists, or no network could be
            carried over; nothing is written.
    """
    from rfprune.core.own_code import allowing_code
    from rfprune.study.retarget import retarget as measure_again

    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    with allowing_code(run_code), writing(Path(runs)):
        found = measure_again(
            open_sweep(str(path), Path(runs)), overrides, Path(runs), name, on_trial
        )
    return Sweep(read_front(found.folder))
