"""``rfprune calibrate-device``: a profile of the machine at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["calibrate_device"]


def calibrate_device(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.yml", help="Profile to write; must be new.", show_default=False
        ),
    ],
    like: Annotated[
        str,
        typer.Option(
            metavar="DEVICE", help="Device whose constants stand for what cannot be measured here."
        ),
    ] = "x86_server",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch; default: as many as it takes.")
    ] = None,
    meter: Annotated[
        str,
        typer.Option(
            metavar="auto|rapl|nvml|ina|none",
            help="What energy is read from; auto: whatever can be read, else none.",
        ),
    ] = "auto",
) -> None:
    """Measure a handful of layers on this machine, and write a device profile for `edge.device`.

    Takes some seconds on an idle machine. Every constant says whether it was measured here.

    Example: rfprune calibrate-device mine.yml --like raspberry_pi_4
    """
    from rfprune.api.calibrating import calibrate_device as measure
    from rfprune.cli.common import say, stderr

    with stderr().status("measuring") as status:
        found = measure(
            out,
            like=like,
            threads=threads,
            meter=meter,
            say=lambda text: status.update(f"{text} ..."),
        )
    for probe in found.probes:
        say(f"{probe.name}: {probe.seconds * 1e6:.0f} us, {probe.rate / 1e9:.3g} GMAC/s")
    say(f"energy: {found.counter or f'as {like}, no counter could be read'}")
    say(f"Written: {out} (edge.device: {out})")
