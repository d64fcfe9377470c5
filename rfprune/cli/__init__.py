"""The command line: one module per verb, each importing what it needs only when it runs.

Exit status: 0 done; 1 the work failed; 2 the input is wrong; 130 interrupted.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence

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
        code = app(arguments, prog_name="rfprune", standalone_mode=False)
        if code == _INTERRUPTED:
            # What typer makes of Ctrl-C, without a word.
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
    _say("interrupted; what is finished is kept, and the same command goes on from there.")
    return _INTERRUPTED


def _usage_fault(error: Exception, arguments: Sequence[str]) -> int:
    """Show a wrong option or argument as one sentence; let everything else through."""
    message = getattr(error, "format_message", None)
    if message is None:
        raise error
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "rfprune"
    # Without any argument the help has been shown already, and there is no message.
    text = message().strip() or "no command is given"
    text = text.rstrip(".") + _value_of(error, arguments)
    end = "" if text.endswith("?") else "."
    _say(f"{text}{end} See '{path} --help'.")
    return 2


def _value_of(error: Exception, arguments: Sequence[str]) -> str:
    """Return what the user has given for the option that `error` is about."""
    options = getattr(getattr(error, "param", None), "opts", ())
    for option, value in itertools.pairwise(arguments):
        if option in options:
            return f" (value: {value!r})"
    return ""


def _say(text: str) -> None:
    # Messages of libraries that are passed on may have several lines.
    print(f"rfprune: {' '.join(text.split())}", file=sys.stderr)
