"""The command line: one module per verb, each importing what it needs only when it runs.

Exit status: 0 done; 1 the work failed; 2 the input is wrong; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Sequence

from rfprune.core.addresses import masked
from rfprune.core.signals import termination_as_interrupt
from rfprune.errors import RfpruneError

__all__ = ["main"]

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: what follows ``rfprune``; those of this process if None.
    """
    from rfprune.cli.app import app

    try:
        with termination_as_interrupt():
            code = app(arguments, prog_name="rfprune", standalone_mode=False)
        if code == _INTERRUPTED:
            # typer turns Ctrl-C into this status and prints nothing.
            code = _interrupted()
    except RfpruneError as error:
        _say(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        code = _interrupted()
    except BrokenPipeError:
        # The reader of a pipe (head, less) has gone; nothing is wrong. Python would say so once
        # more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        _say(f"{error.filename or 'the system'}: {error.strerror or error}.")
        code = 1
    except Exception as error:
        code = _usage_fault(error, sys.argv[1:] if arguments is None else arguments)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupted() -> int:
    _say("interrupted; finished work is kept. Run the same command to resume.")
    return _INTERRUPTED


def _usage_fault(error: Exception, arguments: Sequence[str]) -> int:
    """Show a wrong option or argument as one sentence; let everything else through."""
    message = getattr(error, "format_message", None)
    if message is None:
        raise error
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "rfprune"
    # Without any argument the help has been shown already, and there is no message.
    text = message().strip() or "no command was given"
    options = getattr(getattr(error, "param", None), "opts", ())
    # The libraries name the option at fault, but not always the value that was given for it.
    given = next((v for option, v in itertools.pairwise(arguments) if option in options), None)
    text = text.rstrip(".") + ("" if given is None else f" (value: {given!r})")
    end = "" if text.endswith("?") else "."
    _say(f"{text}{end} See '{path} --help'.")
    return 2


def _say(text: str) -> None:
    # Messages that are passed on from libraries may have several lines.
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"rfprune: {masked(' '.join(text.split()))}", file=sys.stderr)
