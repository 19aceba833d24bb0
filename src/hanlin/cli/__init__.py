"""The command ``hanlin``: one module per verb, and one place where errors become sentences.

Results go to standard output, everything else to standard error. Bad input is one line and exit 2;
`--debug`, anywhere before a ``--``, shows the traceback.
"""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from hanlin.errors import HanlinError

INTERRUPTED = 130
BROKEN_PIPE = 141


def main() -> NoReturn:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status: 0, 2 for bad input, 130 when interrupted."""
    from hanlin.cli.group import hanlin

    given, debug = _without_debug(list(arguments))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character shows a question mark, not a traceback.
            stream.reconfigure(errors="replace")
    try:
        # Not `hanlin.main`, which has its own idea of interrupts and broken pipes.
        with hanlin.make_context("hanlin", given) as context:
            hanlin.invoke(context)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except click.exceptions.Exit as end:
        return end.exit_code
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except click.ClickException as error:
        return _complain(error.format_message() + _where_to_look(error), debug=debug)
    except HanlinError as error:
        return _complain(str(error), debug=debug)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _silence_stdout()
        place = f"{error.filename}: " if error.filename else ""
        reason = (error.strerror or str(error)).rstrip(".")
        return _complain(f"{place}{reason}. {_remedy(error)}", debug=debug)
    return 0


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [word for word in arguments[:end] if word != "--debug"]
    return kept + arguments[end:], len(kept) < end


def _complain(message: str, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    line = " ".join(message.split())
    with contextlib.suppress(OSError):
        print(f"hanlin: {line}", file=sys.stderr, flush=True)
    return 2


def _where_to_look(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if not isinstance(error, click.UsageError) or context is None or context.parent is None:
        return ""
    return f" See `{context.command_path} --help`."


def _remedy(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "Free some space or write to another disk."
    if isinstance(error, PermissionError):
        return "Check its permissions."
    return "Check the path and try again."


def _silence_stdout() -> None:
    """Point standard output at nothing, so that Python's own flush at exit stays quiet."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
