"""The entry point of `vae-gen`: its commands in the order of the help page.

Nothing here, nor at the top of a command's file, imports NumPy, ONNX Runtime or Pillow: they are a third of a
second together, and `vae-gen --help` needs none of them. Where the first word is a command, no other command's file is
imported: all of them with their options would cost 40 ms more.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from vae_runtime._boundary import run_command

from . import __version__

COMMANDS = (
    "sample", "traverse", "interpolate", "reconstruct", "encode", "decode", "info", "verify", "repeat", "kit", "play",
    "bench",
)  # fmt: skip
"""Each is a function in a file of its name."""


def application(arguments: Sequence[str]) -> typer.Typer:
    """The command line with the one command that the arguments begin with, or with all of them."""
    # Typer's rich help and tracebacks double the start-up (0.20 s against 0.08 s), and its errors are ours to print.
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False, no_args_is_help=True)
    app.callback()(_vae_gen)
    first = next((word for word in arguments if word != "--debug"), None)
    for name in (first,) if first in COMMANDS else COMMANDS:
        app.command()(getattr(importlib.import_module(f".{name}", __package__), name))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vae-gen {__version__}")
        raise typer.Exit


def _vae_gen(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Pictures from a small VAE, the same everywhere: a seed and an index make the same picture on every machine."""


def main() -> int:
    """The exit code of the command line on this process's arguments."""
    return run_command(application(sys.argv[1:]), "vae-gen")


if __name__ == "__main__":
    sys.exit(main())
