"""``rfprune quantize``: an exported network in 8-bit integers, measured beside the float one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["quantize"]


def quantize(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="EXPORT", help="A folder made by rfprune export.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder to create; must be new or empty.", show_default=False)
    ],
    rows: Annotated[
        int, typer.Option(min=1, help="Training rows that give the ranges of the activations.")
    ] = 256,
    seed: Annotated[int, typer.Option(help="Of the draw of these rows.")] = 0,
    reduce_range: Annotated[
        bool,
        typer.Option("--reduce-range", help="Weights in 7 bits, for x86 processors without VNNI."),
    ] = False,
) -> None:
    """Write an exported network in 8-bit integers, statically and dynamically quantized.

    Accuracy, size and time of both are measured here, beside those of the float network. Nothing is
    trained.

    Example: rfprune quantize best --out best_int8
    """
    from rfprune.api.exports import quantize as write
    from rfprune.cli.common import say, stderr

    with stderr().status("loading") as status:
        found = write(
            folder,
            out,
            rows=rows,
            seed=seed,
            reduce_range=reduce_range,
            say=lambda text: status.update(f"{text} ..."),
        )
    for form in found.forms:
        score = f"test {found.score} {form.scores[found.score]:.4f}"
        say(f"{form.name}: {score}, {form.bytes / 1024:.1f} kB, {form.ms:.3f} ms per row")
    say(f"Written: {out} (begin with {out / 'report.html'})")
