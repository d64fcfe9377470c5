"""``rfprune calibrate-device``: a profile of the machine at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rfprune.errors import MissingExtraError, SpecError

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
    from rfprune.cli.common import say, stderr
    from rfprune.edge.monitor import find_device, open_counter
    from rfprune.edge.monitor.calibration import calibrate, write_profile

    if out.suffix not in (".yml", ".yaml"):
        raise SpecError(f"{out}: is no name of a profile. Allowed: a name that ends in .yml.")
    if out.exists():
        raise SpecError(f"{out}: is there already. Allowed: a new file.")
    meters = ("auto", "rapl", "nvml", "ina", "none")
    if meter not in meters:
        raise SpecError(f"--meter: '{meter}'. Allowed: {', '.join(meters)}.")
    base = find_device(like)
    try:
        counter = open_counter(meter)
    except MissingExtraError:
        if meter not in ("auto", "none"):
            raise
        counter = None
    with stderr().status("measuring") as status:
        found = calibrate(
            out.stem, base, counter, threads, lambda text: status.update(f"{text} ...")
        )
    write_profile(out, found)
    for probe in found.probes:
        say(f"{probe.name}: {probe.seconds * 1e6:.0f} us, {probe.rate / 1e9:.3g} GMAC/s")
    say(f"energy: {found.counter or f'as {base.name}, no counter could be read'}")
    say(f"Written: {out} (edge.device: {out})")
