"""``rfprune submit``, ``status``, ``logs``, ``cancel``: sweeps on clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import JsonOption, SetOption, SweepArgument

if TYPE_CHECKING:
    from rfprune.execution.launch import JobState

__all__ = ["cancel", "logs", "status", "submit"]

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Job, as 'submit' printed it.", show_default=False)
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        help="Dashboard of the Ray cluster, or kubectl's context; default: the profile's.",
        show_default=False,
    ),
]


def submit(
    sweep: SweepArgument,
    on: Annotated[
        str, typer.Option(help="Profile: a name from 'rfprune list profiles', or a file.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print exactly what would be sent, and send nothing.")
    ] = False,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Total number of complete trials wanted.")
    ] = None,
    overrides: SetOption = None,
    address: AddressOption = None,
) -> None:
    """Send a sweep to a cluster.

    Example: rfprune submit sweeps/digits.yml --on ray
    """
    from rfprune.api.jobs import submission
    from rfprune.cli.common import stdout
    from rfprune.execution.launch import render, send

    if trials is not None:
        overrides = [*(overrides or []), f"trials={trials}"]
    job = submission(sweep, on, overrides, address)
    if dry_run:
        typer.echo(render(job))
        return
    handle = send(job)
    stdout().print(
        f"Submitted: {handle}\n\nNext:\n  rfprune status {handle}\n  rfprune logs {handle}\n"
        f"  rfprune cancel {handle}",
        markup=False,
        soft_wrap=True,
    )


def status(job: JobArgument, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Show the state of a job.

    Example: rfprune status ray:rfprune-digits-1a2b3c
    """
    from rfprune.api.jobs import job as find_job
    from rfprune.cli.common import print_json

    state = find_job(job, address).status()
    if as_json:
        print_json({"job": job, "state": state.state, "message": state.message})
    else:
        _show(job, state)


def _show(job: str, state: JobState) -> None:
    from rfprune.cli.common import stdout

    text = f"{job}: {state.state}. {state.message}".rstrip()
    stdout().print(text, markup=False, soft_wrap=True)


def logs(
    job: JobArgument,
    address: AddressOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing until the job ends.")
    ] = False,
) -> None:
    """Print the output of a job.

    Example: rfprune logs ray:rfprune-digits-1a2b3c --follow
    """
    from rfprune.api.jobs import job as find_job

    for text in find_job(job, address).logs(follow=follow):
        typer.echo(text, nl=False)


def cancel(job: JobArgument, address: AddressOption = None) -> None:
    """Stop a job; finished work is kept.

    Example: rfprune cancel ray:rfprune-digits-1a2b3c
    """
    from rfprune.api.jobs import job as find_job

    state = find_job(job, address).cancel()
    _show(job, state)
