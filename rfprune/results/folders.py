"""Run folders: the truth of every sweep. Reports and MLflow are views that can be made again.

::

    runs/digits/
        sweep.json              the sweep as it runs, every default written out
        study.journal           the Optuna study (the record of the search)
        dense/<key>/            dense networks, trained once per distinct setting
        trials/0007/
            spec.json           the resolved trial
            steps.jsonl         one line per pruning step, as it happens
            steps/003.pt        checkpoint of every accepted step (weights and masks)
            steps/003.json      its estimate, layer by layer
            begun.json          what is known of the result before pruning begins
            result.json         written last: the trial is finished
            repeats/1/          the same trial with the next seed, for ``repeats: 2`` and more
            agent/003/          what a step's agent has learned, for methods that learn
            log.txt

A trial without a sweep has the same folders, with ``trial.json`` in place of ``sweep.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rfprune.core.files import read_json, write_json, write_sections
from rfprune.core.json_lines import append_line, read_records, write_records
from rfprune.core.registry import nearest
from rfprune.errors import RunsError
from rfprune.results.records import StepRecord, TrialResult
from rfprune.spec import SweepSpec, TrialSpec
from rfprune.spec.yaml_files import parse_spec

__all__ = ["SweepFolder", "TrialFolder", "find_sweep", "folder_of"]


class TrialFolder:
    """One trial's folder; see the module's docstring for its files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def number(self) -> int:
        """The trial's number in the study; 0 for a trial without a sweep."""
        return int(self.path.name) if self.path.name.isdigit() else 0

    @property
    def home(self) -> Path:
        """The folder of the sweep, or of the single trial, that this folder belongs to."""
        return self.path.parent.parent

    def base_dir(self) -> Path:
        """Return the folder that relative paths in the spec refer to."""
        # A folder that was copied out of its sweep has neither; paths then count from here.
        for name in ("sweep.json", "trial.json"):
            if (self.home / name).exists():
                return Path(read_json(self.home / name).get("base_dir", "."))
        return Path()

    def refuse_links_out(self) -> None:
        """Refuse a folder with a link that leads out of the sweep's folder.

        Its files are shown, copied and sent to MLflow; a folder that came from somewhere else must
        not choose files of this machine for that.

        Raises:
            RunsError: names the link.
        """
        refuse_link(self.path, self.home)
        for pattern in ("*", "steps/*", "agent/*", "agent/*/*"):
            for path in self.path.glob(pattern):
                refuse_link(path, self.home)

    def write_spec(self, spec: TrialSpec) -> None:
        """Write the resolved trial."""
        write_sections(self.path / "spec.json", spec.canonical())

    def spec(self) -> TrialSpec:
        """Return the resolved trial."""
        path = self.path / "spec.json"
        return parse_spec(TrialSpec, read_json(path), str(path))

    def append_step(self, record: StepRecord) -> None:
        """Add one step's metrics."""
        append_line(self.path / "steps.jsonl", record.model_dump(mode="json"))

    def step(self, index: int) -> StepRecord:
        """Return the record of one step.

        Raises:
            RunsError: the trial has no such step.
        """
        records = {record.step: record for record in self.steps()}
        if index not in records:
            known = ", ".join(map(str, records)) or "none yet"
            raise RunsError(f"{self.path}: has no step {index}. Steps: {known}.")
        return records[index]

    def steps(self) -> list[StepRecord]:
        """Return the steps so far; a last line cut off by a crash is left out.

        Raises:
            RunsError: a line is damaged.
        """
        return read_records(self.path / "steps.jsonl", StepRecord)

    def rewrite_steps(self, records: list[StepRecord]) -> None:
        """Replace the step log, when a resumed trial goes back to its last accepted step."""
        write_records(self.path / "steps.jsonl", records)

    def checkpoint(self, step: int) -> Path:
        """Return the path of a step's checkpoint, which exists for accepted steps only."""
        return self.path / "steps" / f"{step:03d}.pt"

    def estimate(self, step: int) -> Path:
        """Return the path of a step's estimate by layer."""
        return self.path / "steps" / f"{step:03d}.json"

    def repeat(self, number: int) -> TrialFolder:
        """Return the folder of the same trial with another seed, 1 for the next one."""
        return TrialFolder(self.path / "repeats" / str(number))

    def files(self) -> list[Path]:
        """Return all files of the trial that are worth keeping; scratch folders are not."""
        inner = ("*", "steps/*", "agent/*/*")
        patterns = (*inner, *(f"repeats/*/{pattern}" for pattern in inner))
        found = (path for pattern in patterns for path in sorted(self.path.glob(pattern)))
        # Names with a dot are locks and files that are still being written.
        return [path for path in found if path.is_file() and not path.name.startswith(".")]

    def write_begun(self, result: TrialResult) -> None:
        """Keep what is known of the result, in case another process ends the trial."""
        write_json(self.path / "begun.json", result.as_json())

    def begun(self) -> TrialResult | None:
        """Return what was known of the result when pruning began, or None before that."""
        return self._result("begun.json")

    def write_result(self, result: TrialResult) -> None:
        """Write the result; from here on the trial is finished."""
        write_json(self.path / "result.json", result.as_json())

    def reopen(self) -> None:
        """Take the result away: the trial continues from its last accepted step."""
        (self.path / "result.json").unlink(missing_ok=True)

    def result(self) -> TrialResult | None:
        """Return the result, or None while the trial is not finished."""
        return self._result("result.json")

    def _result(self, name: str) -> TrialResult | None:
        path = self.path / name
        if not path.exists():
            return None
        try:
            return TrialResult.model_validate(read_json(path))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = ".".join(map(str, fault["loc"]))
            reason = f"{place}: {fault['msg']}" if place else fault["msg"]
            raise RunsError(f"{path}: is damaged ({reason}).") from error


class SweepFolder:
    """One sweep's folder; see the module's docstring for its files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def study_path(self) -> Path:
        """The default store of the study."""
        return self.path / "study.journal"

    @property
    def dense_dir(self) -> Path:
        """Where dense networks are kept."""
        return self.path / "dense"

    def write_spec(self, spec: SweepSpec, extra: dict[str, Any]) -> None:
        """Write the sweep as it runs; `extra` holds facts fixed at its start."""
        write_json(self.path / "sweep.json", {"spec": spec.canonical(), **extra})

    def spec(self) -> SweepSpec:
        """Return the sweep as it was started."""
        return parse_spec(SweepSpec, self.facts()["spec"], str(self.path / "sweep.json"))

    def facts(self) -> dict[str, Any]:
        """Return everything in ``sweep.json``: the spec and what was fixed at the start.

        Raises:
            RunsError: it is absent, unreadable, or not a sweep.
        """
        refuse_link(self.path / "sweep.json", self.path)
        facts = read_json(self.path / "sweep.json")
        if not isinstance(facts, dict) or not isinstance(facts.get("spec"), dict):
            raise RunsError(f"{self.path / 'sweep.json'}: is not a sweep of rfprune.")
        return facts

    def trial(self, number: int) -> TrialFolder:
        """Return the folder of one trial, which need not exist yet."""
        return TrialFolder(self.path / "trials" / f"{number:04d}")

    def trials(self) -> Iterator[TrialFolder]:
        """Yield the folders of all trials that have begun, by number."""
        root = self.path / "trials"
        if root.is_dir():
            for path in sorted(root.iterdir()):
                if path.is_dir() and path.name.isdigit():
                    yield TrialFolder(path)


def refuse_link(path: Path, home: Path) -> None:
    """Refuse a link in a run folder that leads out of it.

    Raises:
        RunsError: `path` is a link to somewhere that is not below `home`.
    """
    if path.is_symlink() and not path.resolve().is_relative_to(home.resolve()):
        raise RunsError(f"{path}: is a link that leads out of {home}; it is not followed.")


def find_sweep(runs: Path, name: str) -> SweepFolder:
    """Return the folder of the sweep `name` under `runs`.

    Raises:
        RunsError: there is none; names those that exist.
    """
    folder = SweepFolder(runs / name)
    if (folder.path / "sweep.json").exists():
        return folder
    if (folder.path / "trial.json").exists():
        raise RunsError(f"{folder.path}: is a single trial. Allowed: a sweep.")
    known = sorted(p.parent.name for p in runs.glob("*/sweep.json"))
    listed = f" Known: {', '.join(known)}." if known else " No sweep has run there yet."
    raise RunsError(f"no sweep '{name}' under {runs}.{nearest(name, known)}{listed}")


def folder_of(sweep: Any) -> SweepFolder:
    """Return the folder of a sweep: of a path, or of anything that has one as ``path``.

    Raises:
        RunsError: it is neither.
    """
    path = getattr(sweep, "path", sweep)
    if not isinstance(path, str | Path):
        raise RunsError(
            f"{type(sweep).__name__}: is not a sweep. Allowed: its folder, or what rfprune.sweep "
            "and rfprune.open return."
        )
    return SweepFolder(Path(path))
