"""Where exceptions become exit codes: the one place that all four commands share.

It imports neither numpy nor Typer, so that `--help` stays quick and the library stays free of Typer.
Typer's own errors are recognised by their shape (`format_message` and `exit_code`): they are click's classes in
older releases and a vendored copy of them in newer ones.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from .._errors import OutputError, VaeGenError

INTERRUPTED = 130
BUG = 1


def run_command(app: Callable[..., Any], name: str) -> int:
    """The exit code of a Typer application run on this process's arguments.

    An error of ours prints as one line on standard error; anything else prints as one line that asks for a
    report, with its traceback if `--debug` is among the arguments. It is no error if the reader of our standard
    output has gone away (`| head`).
    """
    debug = "--debug" in sys.argv
    try:
        # Called outside Typer's standalone mode, it returns the code of a `typer.Exit` and raises the rest.
        code = app(args=sys.argv[1:], prog_name=name, standalone_mode=False)
        if code == INTERRUPTED:  # newer Typers turn Ctrl-C into this, and say nothing
            _say(f"{name}: interrupted")
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as error:
        # Typer answers a broken pipe by itself, with sys.exit(1).
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        _silence_stdout()
        return 0
    except KeyboardInterrupt:
        _say(f"{name}: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except VaeGenError as error:
        if debug:
            traceback.print_exc()
        _say(f"{name}: {error}")
        return error.exit_code
    except OSError as error:
        # Reading errors are caught where the file is opened, so what arrives here is a failed write.
        if debug:
            traceback.print_exc()
        where = f" to {error.filename or 'standard output'}"
        _say(f"{name}: cannot write{where}: {error.strerror or error}; choose another place or free some space")
        _silence_stdout()
        return OutputError.exit_code
    except Exception as error:
        message, typer_code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
        if callable(message) and isinstance(typer_code, int):
            text, context = message(), getattr(error, "ctx", None)
            page = name if context is None else context.command_path
            is_help = type(error).__name__ == "NoArgsIsHelpError"  # its message is the page of all commands
            _say(text if is_help else f"{name}: {text}{'' if text.endswith(('.', '?')) else '.'} See {page} --help")
            return typer_code
        if type(error).__name__ == "Abort":  # Typer's word for Ctrl-C and Ctrl-D at a prompt
            _say(f"{name}: interrupted")
            return INTERRUPTED
        if debug:
            traceback.print_exc()
        detail = " ".join(str(error).split())[:300]
        _say(f"{name}: internal error: {type(error).__name__}: {detail}. This is a bug: please report it "
             "with the output of the same command and --debug")
        return BUG


def _say(line: str) -> None:
    """One line on standard error, whatever that stream can encode."""
    encoding = sys.stderr.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding), file=sys.stderr)


def _silence_stdout() -> None:
    """Keep the interpreter from complaining at exit about data that nobody reads any more."""
    try:
        sys.stdout.flush()
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
