"""``rfprune adapt``: one network with several levels of pruning, chosen per batch at run time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rfprune.cli.common import OutOption, RunCodeOption, RunsOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rfprune.edge.adaptive.adapting import Adapted

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
    from rfprune.api.adapting import adapt as write
    from rfprune.cli.common import say, stderr

    chosen = None if levels is None else _levels_of(levels)
    with stderr().status("loading the network and its data") as status:
        adapted = write(
            source,
            out,
            levels=chosen,
            epochs=epochs,
            policy=policy,
            onnx=onnx,
            run_code=run_code,
            runs=runs,
            say=lambda text: status.update(f"{text} ..."),
        )
    for line in _told(adapted):
        say(line)
    say(f"Written: {out} (begin with {out / 'report.md'})")


def _told(adapted: Adapted) -> Iterator[str]:
    """Yield what each level prunes, draws and achieves under each condition."""
    table, task = adapted.validation, adapted.task
    for level, pruned in enumerate(adapted.levels.sparsity):
        scores = ", ".join(
            f"{name} {task.merit(value):.4f}"
            for name, value in zip(table.conditions, table.accuracy[:, level], strict=True)
        )
        yield (
            f"level {level}: {pruned:.1%} of the kernels pruned, {table.power_mw[level]:.4g} mW, "
            f"{task.spec.score_name} {scores}"
        )


def _levels_of(text: str) -> list[Any]:
    """Return the levels that an option or a file gives, as they stand there."""
    if not text.endswith((".yml", ".yaml")):
        return [_number(part) for part in text.split(",")]
    from rfprune.spec.yaml_files import read_yaml

    found = read_yaml(Path(text)).get("levels")
    return found if isinstance(found, list) else [{"levels": found}]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
