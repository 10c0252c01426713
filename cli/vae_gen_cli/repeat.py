"""`vae-gen repeat`: a picture made again, byte for byte, from what its PNG says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae_gen import InputError, ModelError, UsageError

from . import options
from .console import Console
from .metadata import Fields, model_facts, read_note
from .targets import drawn, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from vae_gen import Manifest

    from .recipe import Recipe

SOURCES = {"decode": "latents", "reconstruct": "images"}
"""Commands whose PNGs say what they are, but do not hold what they were made from."""


def repeat(
    picture: Annotated[str, typer.Argument(metavar="FILE", help="A PNG made by sample, traverse or interpolate.")],
    anyway: Annotated[
        bool,
        typer.Option("--anyway", rich_help_panel=options.MAKE, help="Go on even if the model is a different one."),
    ] = False,
    output: Annotated[str | None, options.output("FILE-again.png", "a picture (.png, .apng)")] = None,
    show: options.Show = False,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Make a picture again from its PNG, byte for byte.

    A PNG made by sample, traverse or interpolate from seeds holds everything that this needs, except for the model. The
    bytes are the same with the same model and the same version of vae-gen.
    """
    console = Console(as_json, quiet)
    stem = f"{os.path.splitext(picture)[0]}-again"  # noqa: PTH122 - also for a path without a name
    target = parse_target(output, None, ("png", "apng"), console, stem)
    if not target.to_stdout and Path(picture).exists() and Path(target.path).exists() and (
        Path(picture).samefile(target.path)
    ):
        raise UsageError(f"expected another file than the one that is repeated, got {target.path} twice")
    fields = read_note(picture)
    recipe = _read_recipe(fields)

    from .drawing import draw

    choice = options.ModelChoice(model, threads, provider)
    generator = choice.load()
    _check_model(fields, recipe, generator.manifest, anyway, console)
    draw(recipe, generator, target, show=show)
    console.say(f"{picture} again → {target.name}")
    repeated = {"command": recipe.command, **recipe.choices()}
    console.result("repeat", generator.manifest, {"repeated": repeated, **drawn(target)})


def _read_recipe(fields: Fields) -> Recipe:
    from .interpolate_recipe import InterpolateRecipe
    from .sample_recipe import SampleRecipe
    from .traverse_recipe import TraverseRecipe

    command = fields.choice("command", ("sample", "traverse", "interpolate", *SOURCES))
    if command in SOURCES:
        raise InputError(
            f"{fields.path}: expected a picture of seeds, got one of {command}, "
            f"whose {SOURCES[command]} a PNG does not hold; give the first command again"
        )
    readers: dict[str, Callable[[Fields], Recipe]] = {
        "sample": SampleRecipe.read,
        "traverse": TraverseRecipe.read,
        "interpolate": InterpolateRecipe.read,
    }
    return readers[command](fields)


def _check_model(fields: Fields, recipe: Recipe, manifest: Manifest, anyway: bool, console: Console) -> None:
    """Stop where the model is another one than the note names.

    Raises:
        ModelError: it is another, and nobody said `--anyway`.
    """
    made_with, now_facts = fields.object("model"), model_facts(manifest)
    # What comes of N(0, I) is the decoder's alone; the rest also depends on the tables of the fitted prior, and details
    # on the detail stage.
    choices = recipe.choices()
    keys = ["sha256", *(["latents_sha256"] if choices["prior"] == "fitted" else [])]
    keys += ["detail_sha256"] if choices["detail"] else []
    differing = [name for name in keys if made_with.text(name) != now_facts.get(name)]
    if not differing:
        return
    was = f"{made_with.text('name')} {made_with.text('version')} ({made_with.text(differing[0])[:12]}…)"
    now = f"{manifest.name} {manifest.version} ({now_facts.get(differing[0], 'none')[:12]}…)"
    if not anyway:
        raise ModelError(f"{fields.path}: expected the model {was}, got {now}; name it with --model, or add --anyway")
    console.say(f"{fields.path} was made with {was}; this is {now}")
