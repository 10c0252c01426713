"""The entry point of `vae-gen`: the commands in the order of the help page, each with its summary and examples.

Nothing here, nor at the top of a command's module, imports NumPy, ONNX Runtime or Pillow: together they take a third of
a second, and `vae-gen --help` needs none of them. A command's module is imported when that command is run, described or
completed.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vae_gen import __version__
from vae_gen.internal.command import described, end_at_once, run_command, write_examples

from . import options
from .options import Command

COMMANDS = {
    "sample": "Make pictures from a seed.",
    "traverse": "Show what each latent dimension changes.",
    "interpolate": "Morph between seeds, classes, images or latents.",
    "reconstruct": "Show pictures above their reconstructions.",
    "encode": "Turn pictures into latents.",
    "decode": "Turn latents into pictures.",
    "directions": "List the directions, each of which changes one attribute.",
    "info": "Describe the model.",
    "verify": "Check the model, or a folder of shards, on this machine.",
    "models": "List the models that --model finds by their names.",
    "install": "Install a model, so that --model finds it by its name.",
    "repeat": "Make a picture again from its PNG, byte for byte.",
    "kit": "Make a folder for embedding the model in other programs.",
    "play": "Open the playground in the browser.",
    "page": "Write the playground as a static page for any web server.",
    "bench": "Measure how fast this machine makes pictures.",
}
"""The summary of each command, which is a function in a module of the same name and the first line of its docstring."""

EXAMPLES = {
    "": ("vae-gen sample -n 50", "vae-gen sample --help", "vae-gen --install-completion"),
    "sample": (
        "vae-gen sample -n 50 --seed 7 -o garments.png",
        "vae-gen sample -n 9 --label boot --columns 3",
        "vae-gen sample -n 1000 --seed 7 -o garments.npz",
        "vae-gen sample -n 4 --seed 7 -o pictures/",
        "vae-gen sample -n 1000 --seed 7 --out garments --format folder-by-class",
        "vae-gen sample -n 1000 --seed 7 --out shards --format parquet --shard 0/2",
    ),
    "traverse": (
        "vae-gen traverse",
        "vae-gen traverse --dim z5,z2 --seed 7",
        "vae-gen traverse --dim 3 --label sneaker -o dimension.gif",
        'vae-gen traverse --along "sleeve length" --label pullover --seed 7 --steps 7',
    ),
    "interpolate": (
        "vae-gen interpolate --seed 1 --seed 2 --seed 3 --loop -o way.gif",
        "vae-gen interpolate --label sneaker --label boot",
        "vae-gen interpolate --image shirt.jpg --image shoe.png --method linear",
    ),
    "reconstruct": ("vae-gen reconstruct shirt.jpg shoe.png", "vae-gen reconstruct shoe.png --no-detail -o shoe-again.png"),
    "encode": ("vae-gen encode shirt.jpg shoe.png -o latents.npz", "vae-gen encode shirt.jpg -o - | vae-gen decode -"),
    "decode": ("vae-gen decode latents.npz -o pictures/", "vae-gen decode latents.npz --no-detail"),
    "directions": ("vae-gen directions", "vae-gen directions --label pullover", "vae-gen directions --json"),
    "info": ("vae-gen info", "vae-gen info --json"),
    "verify": ("vae-gen verify", "vae-gen verify --model my-model"),
    "models": ("vae-gen models", "vae-gen models --json"),
    "install": ("vae-gen install my-model", "vae-gen install my-model.zip --replace"),
    "repeat": ("vae-gen repeat garments.png", "vae-gen repeat garments.png -o - > again.png"),
    "kit": ("vae-gen kit my-kit",),
    "play": ("vae-gen play", "vae-gen play --lesson", "vae-gen play --host 0.0.0.0 --port 8000 --no-browser"),
    "page": ("vae-gen page my-page", "vae-gen page my-page --model my-model"),
    "bench": ("vae-gen bench", "vae-gen bench --json"),
}
"""The commands at the end of each help page; "" is the page of all commands."""


class Commands(TyperGroup):
    """The group of all commands, which imports a command's module only when it needs that command."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = dict.fromkeys(COMMANDS)  # only the names are used

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, or None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        function = getattr(importlib.import_module(f".{cmd_name}", __package__), cmd_name)
        app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
        app.command(cmd_name, cls=Command, epilog="\n".join(EXAMPLES[cmd_name]))(function)
        return typer.main.get_command(app)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the program's name on the usage line."""
        return ["[OPTIONS]", "COMMAND ..."]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the options and the commands of the page of all commands."""
        with formatter.section("Options"):
            formatter.write_dl([described(param) for param in self.get_params(ctx)])
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes the examples at the end of the page of all commands."""
        write_examples(self.epilog, formatter)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vae-gen {__version__}")
        raise typer.Exit


def _vae_gen(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Make pictures with a small VAE. The same seed makes the same pictures on every machine."""


# Typer's rich help and tracebacks double the time of a start (0.20 s against 0.08 s), and our errors are one line each.
app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\n".join(EXAMPLES[""]),
)
app.callback()(_vae_gen)


def main() -> int:
    """Runs the command line on this process's arguments and returns the exit code."""
    return run_command(app, "vae-gen")


def run() -> None:
    """Runs the command line as a whole process, and ends it without Python's usual clean-up.

    The clean-up takes NumPy and ONNX Runtime apart, which is a seventh of the CPU time of fifty pictures. Nothing is
    lost without it: files are closed and renamed as soon as they are written, and `end_at_once` flushes the streams.
    """
    end_at_once(main())


if __name__ == "__main__":
    run()
