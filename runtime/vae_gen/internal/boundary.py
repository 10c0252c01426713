"""The place where exceptions become exit codes, shared by all five commands.

This module imports neither NumPy nor Typer, so that `--help` is quick and the library doesn't depend on Typer. Typer's
own errors are recognised by their attributes `format_message` and `exit_code`, because they are classes of click in
older releases and of Typer's own copy of click in newer ones.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from .._errors import OutputError, VaeGenError

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of the signal, as shells have it."""
BUG = 1
"""The exit code after an error that the program did not expect."""


def run_command(app: Callable[..., Any], name: str) -> int:
    """Runs a Typer application on this process's arguments and returns its exit code.

    An error that this project raises on purpose prints one line on standard error. Any other error prints one line
    that asks for a report. With `--debug` among the arguments both also print their traceback. It is not an error if
    the reader of standard output stops early (`| head`).

    Args:
        app: the Typer application.
        name: the name of the command, with which each line begins.
    """
    debug = "--debug" in sys.argv
    try:
        # Outside its standalone mode, Typer returns the code of a `typer.Exit` and raises every other error.
        code = app(args=sys.argv[1:], prog_name=name, standalone_mode=False)
        if code == INTERRUPTED:  # newer Typers return this code after Ctrl-C, and print nothing
            _print_line(f"{name}: interrupted")
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as error:
        # Typer handles a broken pipe itself, by sys.exit(1).
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        _silence_stdout()
        return 0
    except KeyboardInterrupt:
        _print_line(f"{name}: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except VaeGenError as error:
        if debug:
            traceback.print_exc()
        _print_line(f"{name}: {error}")
        return error.exit_code
    except OSError as error:
        # Errors of reading are caught where the file is opened, so this is a failed write.
        if debug:
            traceback.print_exc()
        where = f" to {error.filename or 'standard output'}"
        _print_line(f"{name}: cannot write{where}: {error.strerror or error}; choose another place or free some space")
        _silence_stdout()
        return OutputError.exit_code
    except Exception as error:
        message, typer_code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
        if callable(message) and isinstance(typer_code, int):
            text, context = message(), getattr(error, "ctx", None)
            page = name if context is None else context.command_path
            stop = "" if text.endswith((".", "?")) else "."
            is_help = type(error).__name__ == "NoArgsIsHelpError"  # its message is the help page
            for line in text.splitlines() if is_help else [f"{name}: {text}{stop} See {page} --help"]:
                _print_line(line)
            return typer_code
        if type(error).__name__ == "Abort":  # Typer's name for Ctrl-C and Ctrl-D at a prompt
            _print_line(f"{name}: interrupted")
            return INTERRUPTED
        if debug:
            traceback.print_exc()
        detail = " ".join(str(error).split())[:300]
        _print_line(f"{name}: internal error: {type(error).__name__}: {detail}. This is a bug: please report it "
             "with the output of the same command and --debug")
        return BUG


def _print_line(line: str) -> None:
    """Prints one line on standard error.

    Question marks replace control characters, which may come from the name or the content of a file, and letters that
    the stream can't encode.
    """
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    encoding = sys.stderr.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding), file=sys.stderr)


def _silence_stdout() -> None:
    """Redirects standard output to nowhere, so that Python prints no error at exit about unread output."""
    try:
        sys.stdout.flush()
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
