"""What all five commands share: exceptions become exit codes, options are checked, and help pages have panels.

This module imports neither NumPy nor Typer, so that `--help` is quick and the library doesn't depend on Typer. Typer's
own errors are recognised by their attributes `format_message` and `exit_code`, because they are classes of click in
older releases and of Typer's own copy of click in newer ones. `CommandPage` is mixed into Typer's class of a command by
each command line itself. Typer's own help needs the package rich, which doubles the time of a start (0.20 s against
0.08 s).
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TextIO

from .._errors import InputError, OutputError, UnavailableError, UsageError, VaeGenError, one_line

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of the signal, as shells have it."""
BUG = 1
"""The exit code after an error that the program did not expect."""


def run_command(app: Callable[..., Any], name: str) -> int:
    """Runs a Typer application on this process's arguments and returns its exit code.

    An error that this project raises on purpose prints one line on standard error. Any other error prints one line
    that asks for a report. With `--debug` among the arguments both also print their traceback. It is not an error if
    the reader of standard output stops early (`| head`), or if there is no standard error to print messages to.

    A signal that asks the process to end (Ctrl-C, SIGTERM, SIGHUP) ends the work where it stands, temporary files are
    removed, and the exit code is 128 and the number of the signal.

    Args:
        app: the Typer application.
        name: the name of the command, with which each line begins.
    """
    debug = "--debug" in sys.argv
    signals: list[int] = []
    with _usable_streams(), _raising_at_signals(signals):
        try:
            # Outside its standalone mode, Typer returns the code of a `typer.Exit` and raises every other error.
            code = app(args=sys.argv[1:], prog_name=name, standalone_mode=False)
            if code == INTERRUPTED:  # newer Typers return this code after Ctrl-C, and print nothing
                raise KeyboardInterrupt
            sys.stdout.flush()
            return code if isinstance(code, int) else 0
        except SystemExit as error:
            # Typer handles a broken pipe itself, by sys.exit(1).
            if not isinstance(error.__context__, BrokenPipeError):
                raise
            _silence(sys.stdout)
            return 0
        except BrokenPipeError:
            _silence(sys.stdout)
            return 0
        except (Exception, KeyboardInterrupt) as error:
            # Libraries in C turn an interruption into errors of their own, such as ImportError.
            if signals or isinstance(error, KeyboardInterrupt):
                _print_line(f"{name}: interrupted")
                return 128 + signals[0] if signals else INTERRUPTED
            return _report(error, name, debug)


def end_at_once(code: int) -> NoReturn:
    """Ends this process without Python's clean-up, with this exit code. What the streams hold is written before."""
    for stream in (sys.stdout, sys.stderr):
        # A reader may have gone away, and a stream may be closed, full or missing.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _report(error: Exception, name: str, debug: bool) -> int:
    """Prints an error in one line, with its traceback if `debug` is true, and returns the exit code for it."""
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
        for line in traceback.format_exc().splitlines():
            _print_line(line)
    if isinstance(error, VaeGenError):
        _print_line(f"{name}: {error}")
        return error.exit_code
    detail = " ".join(str(error).split())[:300]
    if isinstance(error, MemoryError):
        _print_line(f"{name}: expected enough memory, got too little ({detail or 'no details'}); ask for less at once")
        return BUG
    if isinstance(error, ImportError) and not (error.name or "").startswith("vae_"):
        _print_line(f"{name}: expected packages that can be imported, got: {detail}; install vae-gen again")
        return UnavailableError.exit_code
    if isinstance(error, OSError):
        # Errors of reading are caught where the file is opened, so this is a failed write.
        from .files import advice

        is_name = error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENOENT, errno.ENOTDIR)
        what = f"use {error.filename}" if is_name else f"write to {error.filename or 'standard output'}"
        _print_line(f"{name}: cannot {what}: {error.strerror or error}; {advice(error)}")
        _silence(sys.stdout)
        return OutputError.exit_code
    _print_line(f"{name}: internal error: {type(error).__name__}: {detail}. This is a bug: please report it "
                "with the output of the same command and --debug")
    return BUG


def _print_line(line: str) -> None:
    print(one_line(line), file=sys.stderr)


# Streams.


SPELT = {"→": "->", "×": "x", "✓": "ok", "✗": "FAILED", "−": "-", "–": "-", "…": "...", "≤": "<=", "≥": ">=",
         "±": "+-", "é": "e"}  # fmt: skip
"""How the signs in messages and help pages are spelt for a stream that can't encode them."""


def _spell_out(error: UnicodeError) -> tuple[str, int]:
    """Spells out what a stream can't encode, or replaces it by question marks; for `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(SPELT.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


codecs.register_error("vae-gen", _spell_out)


class _Nowhere(io.TextIOWrapper):
    """Takes the place of a standard output or a standard error that is missing (None), and drops what is written."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull).open("wb"), encoding="utf-8", errors="replace")  # noqa: SIM115 - closed with this object


class _Forgiving:
    """Standard error, whose failures end nothing: a message that can't be written is no reason to lose the result."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._forgiven():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._forgiven():
            self._stream.flush()

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # a full disk, a reader that has gone away, a closed stream
            _silence(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _usable_streams() -> Iterator[None]:
    """Gives the block a standard output and a standard error that take every text.

    Cron jobs, services, `>&-` and programs without a console have none, and then Python sets them to None. The encoding
    of many consoles, and of files and pipes on Windows, lacks some letters of messages and help pages.
    """
    for _ in range(3):  # a closed descriptor would become that of the next file, and messages would be written into it
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            break
    before: tuple[Any, Any] = sys.stdout, sys.stderr
    with _Nowhere() as nowhere, _encoding_every_letter(before[0]), _encoding_every_letter(before[1]):
        stderr: Any = nowhere if sys.stderr is None else _Forgiving(sys.stderr)
        sys.stdout, sys.stderr = nowhere if sys.stdout is None else sys.stdout, stderr
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _encoding_every_letter(stream: Any) -> Iterator[None]:
    """Lets a stream spell out what it can't encode; a stream that is missing or made by an app stays as it is."""
    errors = getattr(stream, "errors", None)
    if errors is None or not hasattr(stream, "reconfigure"):
        yield
        return
    with contextlib.suppress(OSError, ValueError):  # this also writes what waits in the stream
        stream.reconfigure(errors="vae-gen")
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(errors=errors)


def standard_input() -> BinaryIO:
    """Standard input as bytes.

    Raises:
        InputError: the process was started without one.
    """
    if sys.stdin is None:
        raise InputError("expected data on standard input, which is closed; give the name of a file")
    return sys.stdin.buffer


def standard_output() -> BinaryIO:
    """Standard output as bytes.

    Raises:
        OutputError: the process was started without one.
    """
    if isinstance(sys.stdout, _Nowhere):
        raise OutputError("cannot write to standard output, which is closed; name a file")
    return sys.stdout.buffer


def _silence(stream: TextIO) -> None:
    """Redirects a stream to nowhere if it can't be written, so that Python prints no error at exit about it."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, stream.fileno())


# Signals.


@contextlib.contextmanager
def _raising_at_signals(received: list[int]) -> Iterator[None]:
    """Turns the signals that ask a process to end into KeyboardInterrupt, so that the work cleans up behind itself.

    Signals that are ignored, as SIGHUP is under nohup, stay so. Only the first signal raises: `timeout` sends it twice,
    and the second must not interrupt the cleaning up.

    Args:
        received: takes the numbers of the signals that arrived.
    """

    def handle(number: int, frame: object) -> None:
        received.append(number)
        if len(received) == 1 or len(received) > 3:
            raise KeyboardInterrupt

    before: dict[int, Any] = {}
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    before[number] = signal.signal(number, handle)
                    stack.callback(signal.signal, number, before[number])
            if os.name == "posix":  # only sockets can wake Windows up
                stack.enter_context(_stopping_graphs_at(before))
        yield


@contextlib.contextmanager
def _stopping_graphs_at(numbers: Collection[int]) -> Iterator[None]:
    """Ends graphs that run in the block when one of these signals arrives.

    A handler is only called when the main thread is back from ONNX Runtime, which may take minutes. But the number of
    the signal is written to a pipe at once, where another thread waits for it.
    """
    receiving, sending = os.pipe()
    os.set_blocking(sending, False)

    def wait() -> None:
        while number := os.read(receiving, 1):
            if number[0] in numbers:
                _stop_graphs(True)

    waiting = threading.Thread(target=wait, daemon=True)
    before = signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    waiting.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(sending)
        waiting.join()
        os.close(receiving)
        _stop_graphs(False)


def _stop_graphs(stop: bool) -> None:
    """Calls `stop_running` of the module that runs graphs, if a command has imported it."""
    model = sys.modules.get(f"{__package__}.model")
    if model is not None and hasattr(model, "stop_running"):
        model.stop_running(stop)


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
