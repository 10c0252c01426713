"""`vae-gen` run inside this process: the public entry point with its own arguments, streams and exit code.

A subprocess costs half a second for imports alone; what only a real process shows (pipes, full devices, memory)
is tested in one.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from vae_gen_cli.main import main


def call(command: Any, *arguments: str) -> int:
    """Runs a command's module, such as `train_command`, in this process, and returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["command", *arguments])
        code: int = command.main()
        return code


class Terminal(io.TextIOWrapper):
    """A stream that says of itself that it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Outcome:
    """What a command left behind, besides files."""

    code: int
    out: bytes
    err: str


@dataclass(frozen=True)
class Command:
    """A call runs `vae-gen ARGUMENTS` with the model of these tests."""

    model: Path

    def __call__(
        self, *arguments: str | Path, stdin: bytes = b"", model: Path | None = None, encoding: str = "utf-8",
        terminal: bool = False,
    ) -> Outcome:  # fmt: skip
        """Run a command; `--model` is added unless the arguments already name one, or the command has none.

        With `terminal` true, standard error is a terminal.
        """
        words = [str(argument) for argument in arguments]
        if words and not words[0].startswith("-") and words[0] not in ("models", "install") and "--model" not in words:
            words += ["--model", str(model or self.model)]
        out, err = io.BytesIO(), io.BytesIO()
        streams = {
            "argv": ["vae-gen", *words],
            "stdin": io.TextIOWrapper(io.BytesIO(stdin)),
            "stdout": io.TextIOWrapper(out, encoding=encoding),
            "stderr": (Terminal if terminal else io.TextIOWrapper)(err, encoding=encoding, write_through=True),
        }
        with mock.patch.multiple(sys, **streams):
            code = main()
            sys.stdout.flush()  # as the interpreter does at its end
        return Outcome(code, out.getvalue(), err.getvalue().decode(encoding))

    def succeed(self, *arguments: str | Path, stdin: bytes = b"", model: Path | None = None) -> Outcome:
        """Run a command that must end with 0."""
        outcome = self(*arguments, stdin=stdin, model=model)
        assert outcome.code == 0, outcome.err
        return outcome
