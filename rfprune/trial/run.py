"""One trial from file to result: data, dense network, groups, pruning steps, conversion, estimate.

The run folder is the truth. A trial that was cut off resumes from its last accepted step and ends
exactly as if it had not been: every random number depends only on the trial and the step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rfprune.core.files import write_json
from rfprune.core.own_code import remember_code
from rfprune.errors import TrialError
from rfprune.pruning import Evaluation, Session, State, Step, dense_step, steps
from rfprune.results import StepRecord, TrialFolder, TrialResult
from rfprune.spec import TrialSpec
from rfprune.tasks import make_task
from rfprune.training import noted_alone, select_device
from rfprune.trial.checkpoints import load_step, save_step
from rfprune.trial.dense import Dense, dense_network, to_device
from rfprune.trial.prepare import Prepared, prepare
from rfprune.trial.provenance import provenance
from rfprune.trial.repeats import averaged
from rfprune.trial.rows import rows
from rfprune.trial.target import NUMBER_ROWS

__all__ = ["run_trial"]

OnStep = Callable[[StepRecord], None]


def run_trial(
    spec: TrialSpec,
    folder: TrialFolder,
    *,
    dense_dir: Path,
    base_dir: Path,
    attempt: int = 0,
    on_step: OnStep | None = None,
) -> TrialResult:
    """Run a trial, or resume one that was cut off; return the stored result of a finished one.

    Example::

        from pathlib import Path

        from rfprune.results import TrialFolder

        spec = rfprune.TrialSpec(
            model={"name": "mlp"},
            data={"name": "digits"},
            train={"epochs": 2},
            prune={"budget": {"dsp": 0.5}, "steps": 1},
        )
        folder = TrialFolder(Path("runs/by_hand"))
        rfprune.run_trial(spec, folder, dense_dir=Path("runs/dense"), base_dir=Path.cwd()).stopped

    Args:
        spec: the trial.
        folder: its run folder.
        dense_dir: where dense networks are shared between trials.
        base_dir: folder that relative paths in the spec refer to.
        attempt: 0, or how often the trial has been tried before.
        on_step: called with each step's record, as it happens.

    Raises:
        InputError: the input is wrong; nothing was written.
        WorkError: the work failed.
    """
    done = folder.result()
    # A failed trial is tried again in its own folder, from its last accepted step.
    if done is not None and done.state != "failed":
        return done
    begun = time.monotonic()
    remember_code(folder.home, base_dir, spec.canonical())
    prepared = prepare(spec, base_dir, rows(spec.data, base_dir, make_task(spec.task, base_dir)))
    folder.path.mkdir(parents=True, exist_ok=True)
    if not (folder.path / "spec.json").exists():  # a sweep's driver has written it already
        folder.write_spec(spec)
    data = to_device(prepared.data, select_device(spec.train.device))
    dense = dense_network(spec, data, prepared.task, dense_dir, base_dir)
    known = TrialResult(
        trial=folder.number,
        attempt=attempt,
        state="complete",
        dense=dense.metrics,
        directions=prepared.task.own_directions,
        rows={"val": len(data.x_val), "test": len(data.x_test)},
        notes=[*prepared.notes(), *_narrow_types(prepared, dense)],
        provenance=provenance(spec.seed, torch.get_num_threads(), prepared.data.sha256, base_dir),
    )
    folder.write_begun(known)
    session = prepared.session(dense, data, folder.path)
    runner = _Runner(prepared, session, folder, base_dir, on_step or (lambda record: None))
    last = runner.run()
    _repeat(spec, folder, dense_dir, base_dir)
    ending = {
        "stopped": _why(last, prepared.method.prunes),
        "budgets_met": last.budgets_met,
        "final_step": runner.last_accepted,
        "seconds": round(time.monotonic() - begun, 3),
        "notes": [*known.notes, *runner.notes, *_trained_alone()],
    }
    result = known.model_copy(update=ending)
    folder.write_result(result)
    return result


def _repeat(spec: TrialSpec, folder: TrialFolder, dense_dir: Path, base_dir: Path) -> None:
    """Run the trial with the seeds after its first one, if any; its steps become means."""
    found = []
    for number in range(1, spec.repeats):
        # Each seed has a folder of its own, so that a repeat that was cut off resumes as well.
        other = spec.model_copy(update={"seed": spec.seed + number, "repeats": 1})
        place = folder.repeat(number)
        run_trial(other, place, dense_dir=dense_dir, base_dir=base_dir)
        found.append(place.steps())
    if found:
        folder.rewrite_steps(averaged(folder.steps(), found))


def _trained_alone() -> list[str]:
    return [
        f"resources.together: trainings of this trial were done apart from the others: {why}."
        for why in noted_alone()
    ]


def _narrow_types(prepared: Prepared, dense: Dense) -> list[str]:
    rows = prepared.data.x_train[:NUMBER_ROWS]
    return prepared.deployment.number_notes(dense.model, rows, trained=True)


def _why(last: Step, prunes: bool) -> str:
    """Return why pruning ended, in the words of `TrialResult.stopped`."""
    if not prunes:
        return "nothing to prune"
    if last.budgets_met:
        return "budgets met"
    # The stride is finite from the first rejected step on.
    return "tolerance broken" if math.isfinite(last.state.schedule.stride) else "steps done"


class _Runner:
    """Drives the loop of one trial and writes what happens."""

    def __init__(
        self,
        prepared: Prepared,
        session: Session,
        folder: TrialFolder,
        base_dir: Path,
        on_step: OnStep,
    ) -> None:
        self.deployment, self.session = prepared.deployment, session
        self.folder, self.base_dir, self.on_step = folder, base_dir, on_step
        self.last_accepted = 0
        self.notes: list[str] = []

    def run(self) -> Step:
        """Run to the end and return the last step."""
        # From the folder alone: whatever else the process knew is gone after a crash.
        state = self._resume()
        begun = time.monotonic()
        if state is None:
            last = dense_step(self.session)
            self._keep(last, begun)
            self._tell_lost_already(last)
        else:
            last = self._step_at(state)
        begun = time.monotonic()
        for step in steps(self.session, last.state):
            self._keep(step, begun)
            last, begun = step, time.monotonic()
        return last

    def _tell_lost_already(self, dense: Step) -> None:
        """Note it if rounding alone takes the dense network below what is accepted."""
        session = self.session
        name, bound = session.task.spec.score_name, session.accepted_from
        score = dense.metrics[name]
        if not session.task.accepts(score, bound):
            self.notes.append(
                f"the dense network has {name} {score:.4g} in the types of the hardware and "
                f"{session.dense_score:.4g} in floats; steps are accepted from {bound:.4g} on, so "
                "only fine-tuning through the rounding (prune.fixed_point: true) or wider types "
                "let one pass."
            )

    def _keep(self, step: Step, begun: float) -> None:
        """Write one step: checkpoint and estimate first, its line last."""
        measured = self.deployment.measure(self.session, self.folder.path / "hls")
        for name, value in step.metrics.items():
            if not math.isfinite(value):
                raise TrialError(f"step {step.index}: the metric {name} is not finite ({value}).")
        found = StepRecord(
            step=step.index,
            accepted=step.accepted,
            fraction=self.session.budget_fractions(step.progress),
            values={**step.metrics, **measured.quantities},
            errors=step.measured.errors,
            constant=step.measured.constant,
            live=measured.live,
            groups=measured.groups,
            reuse_factor=measured.reuse_factor,
            strategy=measured.strategy,
            prices=self.session.price_table(step.choice.prices if step.choice else None),
            gaps=[] if step.choice is None else [float(f"{gap:.3g}") for gap in step.choice.gaps],
            seconds=round(time.monotonic() - begun, 3),
        )
        if step.accepted:
            path, session = self.folder.checkpoint(step.index), self.session
            save_step(path, session.model, step.state, session.spec, session.data, self.base_dir)
            write_json(self.folder.estimate(step.index), measured.costs)
            self.last_accepted = step.index
        # The line is what makes a step count: a crash before it repeats the step.
        self.folder.append_step(found)
        self.on_step(found)

    def _resume(self) -> State | None:
        """Load the last accepted step, if there is one, and drop what came after it."""
        records = self.folder.steps()
        accepted = [
            # A run folder that was copied without its checkpoints starts over.
            r.step
            for r in records
            if r.accepted and self.folder.checkpoint(r.step).exists()
        ]
        if not accepted:
            # Lines without checkpoints cannot be continued from.
            self.folder.rewrite_steps([])
            return None
        self.last_accepted = accepted[-1]
        self.folder.rewrite_steps([r for r in records if r.step <= self.last_accepted])
        state = load_step(self.folder.checkpoint(self.last_accepted), self.session.model)
        self.session.masks = state.masks
        self.session.prunable.take(state.values)
        # Rejected steps after it are run again, with the same seeds and the same result.
        return state

    def _step_at(self, state: State) -> Step:
        """Return the step that a trial resumes from, in case no step follows it."""
        last = self.folder.steps()[-1]
        progress = state.schedule.good if self.last_accepted else 0.0
        return Step(
            self.last_accepted,
            progress,
            True,
            Evaluation(
                {name: value for name, value in last.values.items() if value is not None},
                last.errors,
                last.constant,
            ),
            state.masks or {},
            None,
            state,
        )
