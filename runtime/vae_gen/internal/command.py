"""What all five commands share: exceptions become exit codes, options are checked, and help pages have panels.

This module imports neither NumPy nor Typer, so that `--help` is quick and the library doesn't depend on Typer. Typer's
own errors are recognised by their attributes `format_message` and `exit_code`, because they are classes of click in
older releases and of Typer's own copy of click in newer ones. `CommandPage` is mixed into Typer's class of a command by
each command line itself. Typer's own help needs the package rich, which doubles the time of a start (0.20 s against
0.08 s).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from .._errors import OutputError, UsageError, VaeGenError

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


LAST_PANEL = "Messages and help"
"""The panel of the options that are in no other one."""


class CommandPage:
    """Refuses options given twice, answers bad values in one line, and shows options in panels, with examples.

    Mix it into Typer's class: `class Command(CommandPage, TyperCommand)`. The panel of an option is its
    `rich_help_panel`; the examples are the lines of the command's `epilog`.
    """

    params: list[Any]
    epilog: str | None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments into `ctx.params` and returns those left over.

        Raises:
            UsageError: an option is given twice, or a value is not one that the option takes.
        """
        typer_command: Any = self
        given, _, order = typer_command.make_parser(ctx).parse_args(list(args))
        if not ctx.resilient_parsing and not any(param.is_eager for param in order):
            for param in order:
                if order.count(param) > 1 and param.param_type_name == "option" and not param.multiple:
                    names = " or ".join((_parameter_name(param), *param.secondary_opts))
                    raise UsageError(f"expected {names} once, got it {order.count(param)} times; leave out all but one")
        try:
            left: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
            return left
        except Exception as error:  # Typer's BadParameter has the parameter that is wrong
            wrong: Any = getattr(error, "param", None)
            if wrong is None:
                raise
            name, value = _parameter_name(wrong), given.get(wrong.name)
            if type(error).__name__ == "MissingParameter":
                raise UsageError(f"expected {name}, got nothing; see {ctx.command_path} --help") from error
            if value is None:
                name, value = wrong.envvar, wrong.resolve_envvar_value(ctx)
            raise UsageError(f"expected {expected(wrong.type)} for {name}, got {_shown(value)}") from error

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command's name on the usage line."""
        return ["[OPTIONS]", *(str(param.metavar) for param in self.params if param.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the options of the help page, a section for each panel."""
        for panel, params in panels(self, ctx).items():
            with formatter.section(panel):
                formatter.write_dl([described(param) for param in params])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes the examples at the end of the help page."""
        write_examples(self.epilog, formatter)


def write_examples(lines: str | None, formatter: Any) -> None:
    """Writes the section of examples, whose lines are not wrapped."""
    with formatter.section("Examples"):
        formatter.write("".join(f"  {line}\n" for line in (lines or "").splitlines()))


def panels(command: Any, ctx: Any) -> dict[str, list[Any]]:
    """The parameters that the help page of a command shows, by panel, in the order in which the panels appear."""
    found: dict[str, list[Any]] = {}
    last: list[Any] = []
    for param in command.get_params(ctx):
        if not getattr(param, "hidden", False):
            panel = "Arguments" if param.param_type_name == "argument" else getattr(param, "rich_help_panel", None)
            (found.setdefault(panel, []) if panel else last).append(param)
    return found | {LAST_PANEL: last}


def described(param: Any) -> tuple[str, str]:
    """The names of a parameter with its placeholder, and its help with its default and environment variable."""
    value = param.metavar or "|".join(getattr(param.type, "choices", ()))
    if param.param_type_name == "argument":
        return value, param.help or ""
    names = ", ".join((*sorted(param.opts, key=len), *param.secondary_opts)) + (f" {value}" if value else "")
    facts = []
    if isinstance(param.show_default, str):
        facts.append(f"default: {param.show_default}")
    elif param.show_default and not param.is_flag and param.default is not None and not param.required:
        facts.append(f"default: {param.default}")
    elif param.required:
        facts.append("required")
    if param.envvar:
        facts.append(f"environment: {param.envvar}")
    return names, (param.help or "") + (f"  [{'; '.join(facts)}]" if facts else "")


def _parameter_name(param: Any) -> str:
    """The name of a parameter in an error: its long option, or the placeholder of an argument."""
    return str(param.metavar if param.param_type_name == "argument" else max(param.opts, key=len))


def expected(kind: Any) -> str:
    """What a parameter of this type takes, in words."""
    if hasattr(kind, "choices"):
        words = list(kind.choices)
        return " or ".join(words) if len(words) == 2 else f"one of {', '.join(words)}"
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if low is None:
        return "a number" if "float" in kind.name else "a whole number" if "int" in kind.name else "a text"
    if high is None:
        return f"a whole number of at least {low}"
    return f"a whole number from {low} to {'2^63-1' if high == 2**63 - 1 else high}"


def _shown(value: Any) -> str:
    """A value that was given, as one short line."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
