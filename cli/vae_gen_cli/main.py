"""The entry point of `vae-gen`: its commands in the order of the help page.

Nothing here, nor at the top of a command's file, imports NumPy, ONNX Runtime or Pillow: they are a third of a
second together, and `vae-gen --help` needs none of them. Where the first word is a command, no other command's file is
imported, and for the page of all commands none is: with their options they would cost 40 ms more.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from vae_gen import __version__
from vae_gen.internal.boundary import run_command

COMMANDS = {
    "sample": "Make pictures of a seed: a grid (.png, .webp), a folder of PNGs (ending in /), arrays (.npy, .npz).",
    "traverse": "Show what latent dimensions do: a row for each, ordered by KL, in which only that one changes.",
    "interpolate": "Go from one picture to the next: between seeds, latents or images.",
    "reconstruct": "Show each picture over its reconstruction, with the loss in nats below.",
    "encode": "Find the latents of pictures: mean, log_variance and files, to .npz or .json (-o - prints JSON).",
    "decode": "Make the pictures of latents: a grid (.png, .webp), a folder of PNGs (ending in /), arrays (.npy, .npz).",
    "info": "Say what the model is: its manifest in short, or the whole of it with --json.",
    "verify": "Prove that the model's files are whole and give, on this machine, the values that they promise.",
    "repeat": "Make a picture again from its PNG: the same bytes, with the same model and version.",
    "kit": "Make a folder to embed the model from: model, golden vectors, licence, examples in Python, Node and a page.",
    "play": "Play with the model on a page: sliders for its latents, a wall of samples, your own pictures.",
    "bench": "Measure this machine in some ten seconds: start-up, one picture, bulk work by threads; and advise --threads.",
}
"""Each is a function in a file of its name, with the line that the page of all commands shows of its help."""


def application(arguments: Sequence[str]) -> typer.Typer:
    """The command line with the one command that the arguments begin with, or with all of them."""
    # Typer's rich help and tracebacks double the start-up (0.20 s against 0.08 s), and its errors are ours to print.
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False, no_args_is_help=True)
    app.callback()(_vae_gen)
    first = next((word for word in arguments if word != "--debug"), None)
    if first in (None, "--help"):
        for name, line in COMMANDS.items():
            app.command(name, help=line)(_not_called)
        return app
    for name in (first,) if first in COMMANDS else COMMANDS:
        app.command()(getattr(importlib.import_module(f".{name}", __package__), name))
    return app


def _not_called() -> None:
    """What stands for a command where only its line of help is shown."""


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


def run() -> None:
    """The whole process: `main`, and out at once. What it sets is a process's own, which is why `main` does not.

    On the usual way out Python takes NumPy and ONNX Runtime apart, 20 ms after all is written. Nothing here waits for
    the end of the process: files are closed and renamed where they are written, streams are flushed below.
    """
    # NumPy's BLAS would start a thread for each core while it is imported, 20 ms of CPU, and nothing here needs them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Imports make a hundred thousand objects and hardly any garbage: by default it is looked for after each 700.
    gc.set_threshold(20_000)
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a reader that has gone away, a stream that is closed
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
