"""`vae-gen traverse`: what each latent dimension changes, as a labelled sheet or an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    try:
        return str(options.whole_number(0)(text))
    except typer.BadParameter as error:
        raise typer.BadParameter(f"expected the index of a dimension or {ALL}, got {text}") from error


def traverse(
    context: typer.Context,
    dimensions: Annotated[
        list[str],
        typer.Option("--dim", metavar="K|all", parser=_read_dimension, help="The latent's own index, or all."),
    ] = [ALL],  # noqa: B006 - Typer copies it
    seed: options.Seed = None,
    start: options.Start = 0,
    prior: options.PriorOption = None,
    label: options.Label = None,
    temperature: options.Temperature = 1.0,
    detail: options.Detail = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="FILE", show_default=False, help="Centre on this picture's latent.")
    ] = None,
    span: Annotated[
        float,
        typer.Option(
            "--span", metavar="X", parser=options.read_number,
            help="From 1 on prior standard deviations, below 1 the central share of the prior.",
        ),
    ] = 2.5,
    steps: options.Steps = 11,
    output: options.Output = "traversal.png",
    format_name: options.Format = None,
    animate: options.Animate = False,
    fps: options.Fps = 12,
    scale: options.Scale = None,
    invert: options.InvertOption = options.Invert.AUTO,
    show: options.Show = False,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Show what latent dimensions do: a row for each, ordered by KL, in which only that one changes.

    Around the prior's centre, or the latent of --seed, or of --image. A sheet (.png, .webp) or an animation
    (.gif, .apng; .webp and .png with --animate), in which the values go there and back.
    """
    console = Console(as_json, quiet)
    target = parse_target(output, format_name, DRAWINGS, console)
    if seed is not None and image is not None:
        raise UsageError("expected one centre, got --seed and --image; leave one out")
    if len(dimensions) != 1:
        raise UsageError(f"expected --dim once, a dimension or all, got {' and '.join(dimensions)}")
    (dimension,) = dimensions
    if seed is None:
        options.refuse_idle(context, "--start", "a --seed")
    if image is None:
        options.refuse_idle(context, "--invert", "an --image")
    if not is_animation(target, animate):
        options.refuse_idle(context, "--fps", "an animation")
    choice = options.DrawChoice(prior, label, temperature, detail)
    if seed is None:
        choice.refuse_without_seed()

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
