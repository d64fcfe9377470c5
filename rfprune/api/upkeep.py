"""What is done with a sweep beside running it: space on the disk, MLflow, its page."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rfprune.api.finding import open_sweep
from rfprune.core.registry import nearest
from rfprune.errors import SpecError

if TYPE_CHECKING:
    from rfprune.results.retention import Surplus

__all__ = ["clean", "track", "ui"]


def clean(
    sweep: str | Path,
    *,
    keep: str = "front",
    agreed: Callable[[Surplus], bool] = lambda surplus: True,
    runs: str | Path = "runs",
) -> Surplus:
    """Free checkpoints that are not on the front, and scratch folders of finished trials.

    Checkpoints on the front always stay, and so do the records of all steps: the front, its tables
    and MLflow are the same afterwards. As ``rfprune clean`` does::

        found = rfprune.clean("mine", agreed=lambda surplus: surplus.n_bytes > 1e9)

    Args:
        sweep: name of a sweep that has run, its file or its folder.
        keep: checkpoints that stay: ``front``; ``last`` of every trial as well; ``all`` (then only
            scratch folders go).
        agreed: handed what would be freed, if there is anything; nothing is freed if it says no.
        runs: folder of all runs.

    Returns:
        What could be freed.

    Raises:
        RunsError: no such sweep, or it is running.
    """
    from rfprune.results.retention import Keep, find_surplus, remove
    from rfprune.study.study import lock

    allowed: tuple[Keep, ...] = get_args(Keep)
    kept = next((name for name in allowed if name == keep), None)
    if kept is None:
        raise SpecError(f"keep: '{keep}'.{nearest(keep, allowed)} Allowed: {', '.join(allowed)}.")
    folder = open_sweep(str(sweep), Path(runs))
    with lock(folder):
        surplus = find_surplus(folder, kept)
        if surplus.paths and agreed(surplus):
            remove(surplus.paths)
        return surplus


def track(sweep: str | Path, *, runs: str | Path = "runs") -> dict[int, str]:
    """Write a sweep to MLflow again; return MLflow's run ids by the numbers of the trials.

    Runs that are there already are not written twice. As ``rfprune track`` does::

        rfprune.track("mine")

    Args:
        sweep: name of a sweep that has run, its file or its folder.
        runs: folder of all runs.

    Raises:
        RunsError: no such sweep.
        WorkError: the tracking server cannot be reached.
    """
    from rfprune.tracking import load_config, project

    return project(open_sweep(str(sweep), Path(runs)), load_config())


def ui(
    *sweeps: str | Path,
    port: int | None = None,
    show: Callable[[str], object] = lambda address: None,
    runs: str | Path = "runs",
) -> None:
    """Start the MLflow server as mlflow.yml says, at the trials of sweeps, until Ctrl-C.

    As ``rfprune ui`` does; the address is printed::

        import webbrowser

        rfprune.ui("mine", port=5001, show=webbrowser.open)

    Args:
        sweeps: one that has run, or several, whose fronts are compared; none: the one that was
            begun last.
        port: of the server; None: as mlflow.yml says.
        show: called with the address once the server answers.
        runs: folder of all runs.

    Raises:
        RunsError: no such sweep.
        InputError: the port cannot be used, or the tracking address is itself a server's.
        WorkError: the server ended by itself.
    """
    from rfprune.tracking import load_config, serve, sweep_id, view_path

    config = load_config()
    if port is not None:
        server = config.server.model_copy(update={"port": port})
        config = config.model_copy(update={"server": server})
    named = [sweep_id(open_sweep(str(sweep), Path(runs))) for sweep in sweeps]
    serve(config, path=functools.partial(view_path, config, *named), show=show)
