"""The entry point of `vae-gen`: its commands in the order of the help page.

Nothing here, nor at the top of a command's file, imports NumPy, ONNX Runtime or Pillow: they are a third of a
second together, and `vae-gen --help` needs none of them.
"""

from __future__ import annotations

from typing import Annotated

import typer

from vae_runtime._boundary import run_command

from .decode import decode
from .encode import encode
from .info import info
from .interpolate import interpolate
from .kit import kit
from .play import play
from .reconstruct import reconstruct
from .repeat import repeat
from .sample import sample
from .traverse import traverse
from .verify import verify

# Typer's rich help and tracebacks double the start-up (0.20 s against 0.08 s), and its errors are ours to print.
app = typer.Typer(
    rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False, no_args_is_help=True
)
for command in (sample, traverse, interpolate, reconstruct, encode, decode, info, verify, repeat, kit, play):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .metadata import program_version

        typer.echo(f"vae-gen {program_version()}")
        raise typer.Exit


@app.callback()
def _vae_gen(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Pictures from a small VAE, the same everywhere: a seed and an index make the same picture on every machine."""


def main() -> int:
    """The exit code of the command line on this process's arguments."""
    return run_command(app, "vae-gen")
