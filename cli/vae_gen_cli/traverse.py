"""`vae-gen traverse`: what each latent dimension changes, as a labelled sheet or an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vae_gen import UsageError

from . import options
from .console import Console
from .targets import DRAWINGS, drawn, is_animation, parse_target

ALL = "all"
SCALE = 3


def _read_dimension(text: str) -> str:
    if text == ALL:
        return text
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"expected the index of a dimension or {ALL} for --dim, got {text}")
    return text


def traverse(
    context: typer.Context,
    dimensions: Annotated[
        list[str],
        typer.Option(
            "--dim", metavar="K|all", rich_help_panel=options.MAKE, show_default="all",
            help="The dimensions to change, by its index.",
        ),
    ] = [ALL],  # noqa: B006 - Typer copies it
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", min=0, max=options.LARGEST_SEED, rich_help_panel=options.MAKE, show_default=False,
            help="Change the latent of this seed's picture in place of the prior's centre.",
        ),
    ] = None,
    start: options.Start = 0,
    image: Annotated[
        str | None,
        typer.Option(
            "--image", metavar="FILE", rich_help_panel=options.MAKE, show_default=False,
            help="Change the latent of this picture in place of the prior's centre.",
        ),
    ] = None,
    invert: options.Invert = "auto",
    prior: options.Prior = None,
    label: options.Label = None,
    temperature: options.Temperature = 1.0,
    detail: options.Detail = None,
    span: Annotated[
        float,
        typer.Option(
            "--span", metavar="X", rich_help_panel=options.MAKE,
            help="How far the values go. From 1 on: standard deviations of the prior to either side. Below 1: the "
                 "central share of the prior, in steps of equal probability.",
        ),
    ] = 2.5,
    steps: options.Steps = 11,
    output: Annotated[
        str | None,
        options.output("traversal.png or traversal-SEED.png", "a sheet (.png, .webp), an animation (.gif, .apng)"),
    ] = None,
    format_name: Annotated[Literal["png", "webp", "gif", "apng"] | None, options.FORMAT] = None,
    animate: options.Animate = False,
    fps: options.Fps = 12,
    scale: options.Scale = None,
    show: options.Show = False,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Show what each latent dimension changes.

    Each row changes one dimension and keeps the others. Rows are ordered by the information in their dimensions, in
    nats of KL. An animation shows the rows side by side and goes through the values there and back.
    """
    console = Console(as_json, quiet)
    stem = "traversal" if seed is None else f"traversal-{seed}"
    target = parse_target(output, format_name, DRAWINGS, console, stem)
    if seed is not None and image is not None:
        raise UsageError("expected one centre, got --seed and --image; leave one out")
    if len(dimensions) != 1:
        raise UsageError(f"expected --dim once, a dimension or all, got {' and '.join(dimensions)}")
    dimension = _read_dimension(dimensions[0])
    if seed is None:
        for option in ("--start", "--prior", "--label", "--temperature"):
            options.refuse_idle(context, option, "the picture of a --seed")
    if image is None:
        options.refuse_idle(context, "--invert", "the picture of an --image")
    if not is_animation(target, animate):
        options.refuse_idle(context, "--fps", "animations (.gif, .apng, or --animate)")
    choice = options.DrawChoice(prior, label, temperature, detail)

    from .drawing import draw
    from .picture_files import read_one_latent
    from .recipe import in_words
    from .traverse_recipe import TraverseRecipe

    generator = options.ModelChoice(model, threads, provider).load()
    recipe = TraverseRecipe(
        dimension=None if dimension == ALL else int(dimension),
        span=span,
        steps=steps,
        seed=seed,
        start=start,
        scale=scale or SCALE,
        animate=is_animation(target, animate),
        fps=fps,
        draw=choice.resolve_choice(generator.manifest),
        image=None if image is None else Path(image).name,
    )
    recipe.check(generator.manifest, target.format)
    if image is not None:
        recipe = recipe.centred_on(read_one_latent(image, generator, invert, console))
    draw(recipe, generator, target, show=show)

    centre = image or "the prior's centre"
    if seed is not None:
        centre = f"seed {seed}{in_words(recipe.draw, generator.manifest)}"
    what = "all dimensions" if dimension == ALL else f"dimension {dimension}"
    console.say(f"{what} in {steps} steps around {centre} → {target.name}")
    console.result("traverse", generator.manifest, {**recipe.choices(), **drawn(target)})
