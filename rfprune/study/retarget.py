"""A new sweep for other hardware, from the networks of one that has run: nothing is trained.

The new folder is a sweep like any other: its trials have their own records, its study is made from
them, and ``rfprune sweep`` resumes there.
"""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rfprune.core.files import link_or_copy, synced_at_the_end, write_json
from rfprune.core.own_code import check_code, remember_code
from rfprune.errors import RfpruneError, RunsError, SpecError
from rfprune.results import SweepFolder, TrialFolder
from rfprune.results.points import raw_spec
from rfprune.spec import TARGETS, SweepSpec, TrialSpec
from rfprune.spec.yaml_files import apply_override, parse_spec
from rfprune.study.outlook import Outlook, outlook
from rfprune.study.rebuild import point_of, rebuild_locked, rebuild_study
from rfprune.study.sampler import choose_sampler
from rfprune.study.space import Space
from rfprune.study.study import lock
from rfprune.tasks import make_task
from rfprune.trial.retarget import Carried, carry_over
from rfprune.trial.rows import rows

__all__ = ["LEFT_OUT", "Retargeted", "retarget", "retargeted_spec"]

#: Sections that decide the networks themselves, which are taken as they are.
_OF_THE_NETWORKS = ("model", "data", "task", "train", "prune", "seed", "repeats")
#: Where what was not carried over is written down.
LEFT_OUT = "left_out.json"
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")

#: Called after each trial with its number, and how many there are.
OnTrial = Callable[[int, int], None]


@dataclass(frozen=True)
class Retargeted:
    """What came of it.

    Attributes:
        folder: of the new sweep.
        trials: what was carried over, by number.
        left_out: why trials were not, by number.
        seconds: wall time.
    """

    folder: SweepFolder
    trials: Mapping[int, Carried]
    left_out: Mapping[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def n_networks(self) -> int:
        """How many networks were measured again."""
        return sum(len(carried.steps) for carried in self.trials.values())

    def reasons(self) -> list[str]:
        """Return one line per trial or step that was not carried over."""
        whole = {number: f"trial {number}: {why}" for number, why in self.left_out.items()}
        parts = {
            number: f"trial {number}, {why}"
            for number, carried in self.trials.items()
            for why in carried.left_out.values()
        }
        return [line for _, line in sorted([*whole.items(), *parts.items()])]


def retargeted_spec(spec: SweepSpec, overrides: Sequence[str], name: str | None) -> SweepSpec:
    """Return the sweep file of a sweep on other hardware.

    Args:
        spec: the sweep that has run.
        overrides: ``KEY=VALUE`` each; a searched path that is given a value is searched no more.
        name: of the new sweep; made of the old one and the part if None.

    Raises:
        SpecError: nothing is changed, a key decides the networks themselves, or the new file is
            wrong.
    """
    if not overrides:
        raise SpecError(
            "nothing to change: give what is new, e.g. --set hardware.part=pynq-z2 or "
            "--set hardware.clock_ns=10."
        )
    values = spec.canonical()
    for text in overrides:
        _refuse_other_networks(text, spec)
        apply_override(values, text, SweepSpec)
        _search_no_more(values, text.partition("=")[0].strip())
    section = values.get(spec.target.section) or {}
    place = section.get("part") or section.get("device") or "retargeted"
    same = name is None and place == _place(spec)
    values["name"] = name or f"{spec.name}-{'retargeted' if same else _NAME.sub('-', str(place))}"
    return parse_spec(SweepSpec, values, f"{spec.name}: retargeted")


def _place(spec: TrialSpec) -> str:
    section = getattr(spec, spec.target.section)
    return str(getattr(section, "part", None) or getattr(section, "device", ""))


def _refuse_other_networks(text: str, spec: SweepSpec) -> None:
    key = text.partition("=")[0].strip()
    section = key.split(".")[0]
    if section in TARGETS and section != spec.target.section:
        raise SpecError(
            f"--set {text}: is for {TARGETS[section].title}, and the masks of '{spec.name}' are "
            f"for {spec.target.title}. Allowed: {spec.target.section}."
        )
    if section in _OF_THE_NETWORKS:
        allowed = [
            name
            for name in SweepSpec.model_fields
            if name not in (*_OF_THE_NETWORKS, "name", "search")
        ]
        raise SpecError(
            f"--set {text}: '{key}' decides the networks, which are taken as they are; train them "
            f"with: rfprune sweep. Allowed here: {', '.join(allowed)}."
        )


def _search_no_more(values: dict[str, Any], path: str) -> None:
    """Take a path that now has one value out of the search, and out of the points tried first."""
    layers = re.sub(r"\.layers\.[^.]+\.", ".layers.*.", path)
    if layers in values["search"] and layers != path:
        raise SpecError(
            f"--set {path}: is searched by '{layers}', so every trial has a value of its own there."
        )
    if path in values["search"]:
        del values["search"][path]
        for point in values["start"]:
            point.pop(path, None)
        if not values["search"]:
            raise SpecError(f"--set {path}: is all that the sweep searches; nothing would be left.")


def retarget(
    source: SweepFolder,
    overrides: Sequence[str],
    runs: Path,
    name: str | None = None,
    on_trial: OnTrial = lambda done, of: None,
) -> Retargeted:
    """Measure the networks of a sweep on other hardware, and make a sweep of them.

    Args:
        source: the sweep, which is only read.
        overrides: ``KEY=VALUE`` each, e.g. ``hardware.part=pynq-z2``.
        runs: folder of the new sweep's folder.
        name: of the new sweep; made of the old one and the part if None.
        on_trial: told after each trial.

    Raises:
        InputError: the new sweep file is wrong, its folder exists, no network could be carried
            over, or the folder names functions that were not run here; nothing is written.
    """
    begun = time.monotonic()
    spec = retargeted_spec(source.spec(), overrides, name)
    base_dir = Path(source.facts().get("base_dir", "."))
    check_code(source.path, base_dir, source.facts()["spec"])
    folder = SweepFolder(runs / spec.name)
    if folder.path.exists():
        raise RunsError(f"{folder.path}: exists already. Give the new sweep another --name.")
    known = outlook(spec, base_dir)
    with synced_at_the_end(), _all_or_nothing(folder) as partial:
        trials, left_out = _carry(source, spec, known.space, partial, base_dir, on_trial)
        if not trials:
            reason = next(iter(left_out.values()), "it has no trials")
            raise RunsError(
                f"{source.path}: nothing can be carried over to '{spec.name}': {reason}."
            )
        _write_sweep(source, partial, spec, known, base_dir)
        found = Retargeted(folder, trials, left_out)
        write_json(partial.path / LEFT_OUT, found.reasons())
        if spec.storage is None:
            # With the folder, so that a kill leaves both or neither.
            rebuild_locked(spec, partial, known.space)
    remember_code(folder.path, base_dir, spec.canonical())
    if spec.storage is not None:
        with synced_at_the_end():
            rebuild_study(spec, folder, known.space)
    return Retargeted(folder, trials, left_out, time.monotonic() - begun)


@contextmanager
def _all_or_nothing(folder: SweepFolder) -> Iterator[SweepFolder]:
    """Yield a folder that takes the place of `folder` if all goes well, and else is removed."""
    partial = SweepFolder(folder.path.with_name(f".{folder.path.name}.partial"))
    with lock(partial):
        try:
            # Left behind by a process that was killed; the lock, a hidden file, is held now.
            for path in partial.path.glob("[!.]*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield partial
            partial.path.rename(folder.path)
        except BaseException:
            shutil.rmtree(partial.path, ignore_errors=True)
            raise


def _carry(
    source: SweepFolder,
    spec: SweepSpec,
    space: Space,
    target: SweepFolder,
    base_dir: Path,
    on_trial: OnTrial,
) -> tuple[dict[int, Carried], dict[int, str]]:
    """Carry every trial over that can be; return them, and why others cannot."""
    trials: dict[int, Carried] = {}
    left_out: dict[int, str] = {}
    keys: dict[str, int] = {}
    task = make_task(spec.task, base_dir)
    folders = list(source.trials())
    for done, trial in enumerate(folders, start=1):
        try:
            trial.refuse_links_out()
            new = _new_trial(trial, spec, space)
            if new.key in keys:
                # They differed in what is no longer searched.
                raise RunsError(f"has the values of trial {keys[new.key]} now")
            data = rows(new.data, base_dir, task)
            carried = carry_over(trial, new, target.trial(trial.number), base_dir, data)
            trials[trial.number], keys[new.key] = carried, trial.number
        except RfpruneError as error:
            left_out[trial.number] = str(error).removesuffix(".")
        on_trial(done, len(folders))
    return trials, left_out


def _new_trial(trial: TrialFolder, spec: SweepSpec, space: Space) -> TrialSpec:
    """Return a trial with the same searched values, of the new sweep."""
    values = point_of(raw_spec(trial), space, trial)
    space.encode(values, f"{trial.path / 'spec.json'}")
    return space.resolve(spec, values)


def _write_sweep(
    source: SweepFolder, target: SweepFolder, spec: SweepSpec, known: Outlook, base_dir: Path
) -> None:
    origin = source.facts()
    target.write_spec(
        spec,
        {
            "sweep_id": uuid.uuid4().hex,
            "base_dir": str(base_dir),
            "reference_point": known.reference_point,
            "sampler": choose_sampler(spec, known.space)._asdict(),
            "retargeted_from": {"sweep": source.path.name, "sweep_id": origin.get("sweep_id")},
        },
    )
    if source.dense_dir.is_dir():
        for path in source.dense_dir.glob("*/dense.*"):
            link_or_copy(path, target.dense_dir / path.parent.name / path.name)
