"""What vae-train, vae-detail, vae-eval and vae-export share: options, help pages, and the check for the extra "train".

This module is imported for every `--help`, so it imports neither NumPy nor PyTorch.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import typer
from typer.core import TyperCommand

from vae_gen import UnavailableError
from vae_gen.internal.command import CommandPage

from .config import DetailConfig, TrainConfig

RUN, IMAGES, RECIPE, MACHINE, OUTPUT = "Run", "Your own images", "Recipe", "Data and machine", "Output"
"""Panels of the help pages."""


def option(panel: str | None, help: str, *flags: str, metavar: str | None = None, default: str | bool = True) -> Any:
    """An option of a command.

    Args:
        panel: its panel on the help page.
        help: its description.
        flags: its names, if they are not made from the name of the parameter.
        metavar: the placeholder of its value.
        default: what the help page shows as its default; True shows the default of the parameter, False none.
    """
    return typer.Option(*flags, help=help, metavar=metavar, show_default=default, rich_help_panel=panel)


DataDir = Annotated[
    Path | None,
    option(MACHINE, "The folder with the files of Fashion-MNIST, gzipped or not, or of torchvision:NAME.",
           metavar="DIR", default="Debian's dataset-fashion-mnist, else the user's cache, else a download into it"),
]  # fmt: skip
MovedData = Annotated[
    str | None,
    option(MACHINE, "The images that the run was trained on, if they have moved since.", metavar="PATH", default=False),
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, rich_help_panel=MACHINE, show_default="the library's choice",
        help="The number of CPU threads.",
    ),
]  # fmt: skip
Devices = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, rich_help_panel=MACHINE, show_default="1",
        help="Train on N processes of this machine, on a GPU each or on a CPU. They share each batch.",
    ),
]  # fmt: skip
Nodes = Annotated[
    int | None,
    typer.Option(
        metavar="M", min=1, rich_help_panel=MACHINE, show_default="1",
        help="Train on M machines, with --devices processes on each. Run the same command on all of them.",
    ),
]  # fmt: skip
Rendezvous = Annotated[
    str | None,
    option(MACHINE, "Where these machines meet: one of them, and a free port.", metavar="HOST:PORT", default=False),
]
Json = Annotated[bool, option(OUTPUT, "Print the result as JSON on standard output.", "--json")]
Debug = Annotated[bool, option(None, "Print the traceback of an error.", "--debug")]  # run_command reads it


def training_options(default: TrainConfig | DetailConfig) -> dict[str, Any]:
    """The options that vae-train and vae-detail share, by the names of their settings."""
    texts = {
        "epochs": (RECIPE, "The number of passes over the training images.", "--epochs", "N"),
        "batch_size": (RECIPE, "The number of images in a step.", "--batch-size", "N"),
        "learning_rate": (RECIPE, "Adam's highest learning rate.", "--lr", "X"),
        "seed": (RECIPE, "The seed of first weights, image order and noise, from 0 to 2^63-1.", "--seed", "N"),
        "device": (MACHINE, "The device to train on. auto takes cuda, mps or cpu. Of several GPUs, "
                   "CUDA_VISIBLE_DEVICES=1 chooses the second.", "--device", None),
        "micro_batches": (MACHINE, "Cut each batch into N pieces, a power of two, so that 1, 2, 4 or up to N "
                          "processes reach the same weights to the bit. 0 doesn't cut.", "--micro-batches", "N"),
        "precision": (MACHINE, "The network's arithmetic: float32 or bfloat16.", "--precision", None),
    }
    return {
        name: option(panel, help, flag, metavar=metavar, default=str(getattr(default, name)))
        for name, (panel, help, flag, metavar) in texts.items()
    }


class Command(CommandPage, TyperCommand):
    """A command with one-line errors, panels and examples."""


def new_app(function: Callable[..., None], *examples: str) -> typer.Typer:
    """The Typer application of one command, with examples at the end of its help page."""
    app = typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command(cls=Command, epilog="\n".join(examples))(function)
    return app


def given_settings(context: typer.Context, *kinds: type) -> dict[str, Any]:
    """The options that were given on the command line and are settings of one of these dataclasses."""
    names = {field.name for kind in kinds for field in fields(kind)}
    return {name: value for name, value in context.params.items() if name in names and value is not None}


def require_train_extra(*more: str) -> None:
    """Checks that the packages of the extra "train", and `more` packages, are installed, without importing them.

    Raises:
        UnavailableError: a package is missing; the message names the first one, and the command that installs it.
    """
    for package in ("torch", "safetensors", "matplotlib", "rich", *more):
        if importlib.util.find_spec(package) is None:
            raise UnavailableError(
                f'expected the extra "train", found no {package}; install it with: {install_command("train")}'
            )


def install_command(extra: str) -> str:
    """The pip command that adds an extra to this installation of vae-gen.

    vae-gen need not be on a package index, so the command names the folder, wheel or address that vae-gen was installed
    from. pip records it in `direct_url.json` (PEP 610).
    """
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    # A clone holds metadata of its own (egg-info) without that file, which is found first if Python is started there.
    found = (one.read_text("direct_url.json") for one in distributions(name="vae-gen"))
    recorded = next((text for text in found if text is not None), None)
    if recorded is None:
        return f'{pip} "vae-gen[{extra}]"'  # vae-gen came from a package index
    origin = json.loads(recorded)
    url, repository = origin["url"], origin.get("vcs_info")
    if repository:
        return f'{pip} "vae-gen[{extra}] @ {repository["vcs"]}+{url}@{repository["commit_id"]}"'
    if not url.startswith("file:"):
        return f'{pip} "vae-gen[{extra}] @ {url}"'
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return f'{pip} {editable}"{url2pathname(urlsplit(url).path)}[{extra}]"'
