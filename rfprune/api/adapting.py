"""One network with several levels of pruning, of which each batch gets one at run time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rfprune.api.finding import open_sweep
from rfprune.core.registry import nearest
from rfprune.errors import SpecError

if TYPE_CHECKING:
    from rfprune.edge.adaptive.adapting import Adaptable, Adapted

__all__ = ["adapt"]


def adapt(
    source: str | Path,
    out: str | Path,
    *,
    levels: Sequence[float] | Sequence[Mapping[str, float]] | None = None,
    epochs: int | None = None,
    policy: str = "table",
    onnx: bool = False,
    run_code: bool = False,
    runs: str | Path = "runs",
    say: Callable[[str], None] = lambda text: None,
) -> Adapted:
    """Give a network for an edge device several levels of pruning, and a policy that picks one.

    A sweep contributes its best dense network, an export the smaller network that was exported. All
    levels share one set of weights. As ``rfprune adapt`` does::

        found = rfprune.adapt("runs/edge", "adaptive", levels=(0, 0.5), epochs=1, onnx=True)
        found.validation.accuracy  # (conditions, levels)

    Args:
        source: a finished sweep, the folder of one trial, or an exported folder.
        out: the folder to create; must be new or empty.
        levels: fractions of each layer's kernels to prune, ascending from 0; or a mapping from
            patterns of layers to fractions per level. None: those below 1 in ``edge.levels``.
        epochs: of fitting all levels together; None: ``train.epochs``.
        policy: ``table`` of what each level achieves, or an ``agent`` that learns on it.
        onnx: also write every level as ONNX, with a runner that needs no torch.
        run_code: import what the folder needs of its user's own code.
        runs: folder of all runs.
        say: called with one line per stage.

    Returns:
        The levels, what each prunes, draws (mW) and achieves under each condition.

    Raises:
        SpecError: levels that do not rise from 0, or an unknown policy.
        RunsError: no such sweep, or `out` is in use.
        NetworkError: the network cannot have levels.
    """
    from rfprune.core.own_code import allowing_code
    from rfprune.edge.adaptive.adapting import POLICIES
    from rfprune.edge.adaptive.adapting import adapt as write

    named = next((name for name in POLICIES if name == policy), None)
    if named is None:
        raise SpecError(
            f"policy: '{policy}'.{nearest(policy, POLICIES)} Allowed: {', '.join(POLICIES)}."
        )
    chosen = None if levels is None else _checked(list(levels))
    with allowing_code(run_code):
        return write(_base(str(source), Path(runs)), Path(out), chosen, epochs, named, onnx, say)


def _base(source: str, runs: Path) -> Adaptable:
    from rfprune.edge.adaptive.adapting import base_of_export, base_of_sweep, base_of_trial
    from rfprune.results import TrialFolder

    path = Path(source)
    # Told apart by the files that each kind of folder has, as a user gives only a path.
    if (path / "model.pt").exists():
        return base_of_export(path)
    singles = [home for home in (path, runs / source) if (home / "trial.json").exists()]
    for folder in (path, *(home / "trials" / "0000" for home in singles)):
        if (folder / "steps.jsonl").exists():
            return base_of_trial(TrialFolder(folder))
    return base_of_sweep(open_sweep(source, runs))


def _checked(levels: list[float | Mapping[str, float]]) -> list[float] | list[dict[str, float]]:
    """Return levels as fractions of every layer, or by patterns of layers; refuse what is none."""
    numbers = [float(level) for level in levels if isinstance(level, int | float)]
    by_layer = [dict(level) for level in levels if isinstance(level, Mapping)]
    if levels and len(by_layer) == len(levels):
        flat = [f for level in by_layer for f in level.values()]
        if all(isinstance(f, int | float) and 0 <= f <= 1 for f in flat):
            return [{str(name): float(f) for name, f in level.items()} for level in by_layer]
        raise SpecError(
            "levels: is not a list of layers and fractions. Allowed: e.g. [{}, {features.*: 0.25}, "
            "{features.*: 0.5, classifier.*: 0.25}]."
        )
    rising = all(a < b for a, b in itertools.pairwise(numbers))
    whole = len(numbers) == len(levels) >= 2
    if not whole or numbers[0] != 0 or not rising or not numbers[-1] < 1:
        shown = ",".join(
            f"{level:g}" if isinstance(level, float) else str(level) for level in levels
        )
        raise SpecError(
            f"levels: '{shown}' is not a list of levels. Allowed: ascending fractions that begin "
            "with 0 and stay below 1, e.g. 0,0.25,0.5."
        )
    return numbers
