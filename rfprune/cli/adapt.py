"""``rfprune adapt``: one network with several levels of pruning, chosen per batch at run time."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import OutOption, RunCodeOption, RunsOption
from rfprune.core.registry import nearest
from rfprune.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rfprune.edge.adaptive.adapting import Adaptable, Adapted

__all__ = ["adapt"]


LevelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FRACTIONS|FILE.yml",
        help="Fractions of each layer's kernels to prune, ascending from 0: 0,0.25,0.5; or a file "
        "of levels per stage; default: those below 1 in edge.levels of the file.",
    ),
]
OnnxOption = Annotated[
    bool,
    typer.Option(
        "--onnx",
        help="Also write every level as ONNX, with a runner that needs numpy and onnxruntime alone "
        "and keeps learning on the device.",
    ),
]


def adapt(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP_OR_EXPORT",
            help="A finished sweep, the folder of one trial, or an exported folder.",
            show_default=False,
        ),
    ],
    out: OutOption,
    levels: LevelsOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of fitting all levels together; default: train.epochs."),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            metavar="table|agent",
            help="What picks a level for a batch: the table of what each level achieves, or an "
            "agent that learns on this table with the settings of prune.agent.",
        ),
    ] = "table",
    onnx: OnnxOption = False,
    run_code: RunCodeOption = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Give a network for an edge device several levels of pruning, and a policy that picks one.

    A sweep contributes its best dense network, an export the smaller network that was exported.
    All levels share one set of weights. At run time each batch gets the level that its input and
    the power budget call for.

    Example: rfprune adapt akperl_small --levels 0,0.25,0.5,0.75 --out adaptive
    """
    from rfprune.cli.common import say, stderr
    from rfprune.core.own_code import allowing_code
    from rfprune.edge.adaptive.adapting import POLICIES
    from rfprune.edge.adaptive.adapting import adapt as write

    named = next((name for name in POLICIES if name == policy), None)
    if named is None:
        raise SpecError(
            f"--policy: '{policy}'.{nearest(policy, POLICIES)} Allowed: {', '.join(POLICIES)}."
        )
    fractions = None if levels is None else _levels_of(levels)
    loading = stderr().status("loading the network and its data")
    with allowing_code(run_code), loading as status:
        base = _base(source, runs)
        adapted = write(
            base, out, fractions, epochs, named, onnx, lambda text: status.update(f"{text} ...")
        )
    for line in _levels(base, adapted):
        say(line)
    say(f"Written: {out} (begin with {out / 'report.md'})")


def _base(source: str, runs: Path) -> Adaptable:
    from rfprune.cli.common import open_sweep
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


def _levels(base: Adaptable, adapted: Adapted) -> Iterator[str]:
    """Yield what each level prunes, draws and achieves under each condition."""
    table = adapted.validation
    for level, pruned in enumerate(adapted.levels.sparsity):
        scores = ", ".join(
            f"{name} {base.task.merit(value):.4f}"
            for name, value in zip(table.conditions, table.accuracy[:, level], strict=True)
        )
        yield (
            f"level {level}: {pruned:.1%} of the kernels pruned, {table.power_mw[level]:.4g} mW, "
            f"{base.task.spec.score_name} {scores}"
        )


def _levels_of(text: str) -> list[float] | list[dict[str, float]]:
    """Return levels as fractions of every layer, or by patterns of layers from a file."""
    if not text.endswith((".yml", ".yaml")):
        return _fractions(text)
    from rfprune.spec.yaml_files import read_yaml

    found = read_yaml(Path(text)).get("levels")
    fraction = (int, float)
    whole = isinstance(found, list) and all(
        isinstance(level, dict)
        and all(
            isinstance(name, str) and isinstance(f, fraction) and 0 <= f <= 1
            for name, f in level.items()
        )
        for level in found
    )
    if not whole or not found:
        raise SpecError(
            f"{text}: levels: is no list of layers and fractions. Allowed: e.g. levels: [{{}}, "
            "{features.*: 0.25}, {features.*: 0.5, classifier.*: 0.25}]."
        )
    return [{name: float(f) for name, f in level.items()} for level in found]


def _fractions(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    rising = all(a < b for a, b in itertools.pairwise(found))
    if len(found) < 2 or found[0] != 0 or not rising or not found[-1] < 1:
        raise SpecError(
            f"--levels: '{text}' is not a list of levels. Allowed: ascending fractions that begin "
            "with 0 and stay below 1, e.g. 0,0.25,0.5."
        )
    return found
