"""`vae-gen interpolate`: the way from one picture to the next, as a sheet or an animation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_gen import UsageError

from . import options
from .console import Console
from .targets import DRAWINGS, drawn, is_animation, parse_target

if TYPE_CHECKING:
    from vae_gen import VAE

    from .recipe import Floats

SCALE = 3


def interpolate(
    context: typer.Context,
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            "--seed", metavar="N", min=0, max=options.LARGEST_SEED, rich_help_panel=options.MAKE, show_default=False,
            help="Morph between pictures of seeds; give two or more.",
        ),
    ] = None,
    start: options.Start = 0,
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--image", metavar="FILE", rich_help_panel=options.MAKE, show_default=False,
            help="Morph between pictures from files; give two or more.",
        ),
    ] = None,
    invert: options.Invert = "auto",
    latents: Annotated[
        str | None,
        typer.Option(
            "--latents", metavar="FILE", rich_help_panel=options.MAKE, show_default=False,
            help="Morph between two or more latents from a file, as decode takes it.",
        ),
    ] = None,
    prior: options.Prior = None,
    label: options.Label = None,
    temperature: options.Temperature = 1.0,
    detail: options.Detail = None,
    method: Annotated[
        Literal["linear", "spherical", "slerp"],
        typer.Option(
            "--method", rich_help_panel=options.MAKE,
            help="The path between two latents: a straight line, or an arc that keeps the usual distance from the "
                 "prior's centre. slerp is another name for spherical.",
        ),
    ] = "linear",
    loop: Annotated[
        bool, typer.Option("--loop", rich_help_panel=options.MAKE, help="Also morph from the last back to the first.")
    ] = False,
    steps: options.Steps = 11,
    output: Annotated[
        str | None, options.output("interpolation.png", "a sheet (.png, .webp), an animation (.gif, .apng)")
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
    """Morph between seeds, classes, images or latents.

    A sheet has a row for each morph, with both of its ends. An animation goes there and back, or round with --loop.
    """
    console = Console(as_json, quiet)
    target = parse_target(output, format_name, DRAWINGS, console, "interpolation")
    given = [name for name, value in (("--seed", seeds), ("--latents", latents), ("--image", images)) if value]
    if len(given) != 1:
        raise UsageError(
            f"expected one kind of ends, two or more of --seed, --image or rows of --latents, "
            f"got {' and '.join(given) or 'none'}"
        )
    if any(ends is not None and len(ends) == 1 for ends in (seeds, images)):
        raise UsageError(f"expected {given[0]} at least twice, got it once; say where to go")
    if not seeds:
        for option in ("--start", "--prior", "--label", "--temperature"):
            options.refuse_idle(context, option, "pictures of a --seed")
    if not images:
        options.refuse_idle(context, "--invert", "pictures of an --image")
    if not is_animation(target, animate):
        options.refuse_idle(context, "--fps", "animations (.gif, .apng, or --animate)")
    choice = options.DrawChoice(prior, label, temperature, detail)

    from .drawing import draw
    from .interpolate_recipe import InterpolateRecipe
    from .recipe import in_words

    generator = options.ModelChoice(model, threads, provider).load()
    names, ends, source = _ends(latents, images, generator, invert, console)
    recipe = InterpolateRecipe(
        seeds=tuple(seeds or ()),
        start=start,
        steps=steps,
        method="linear" if method == "linear" else "spherical",
        loop=loop,
        scale=scale or SCALE,
        animate=is_animation(target, animate),
        fps=fps,
        draw=choice.resolve_choice(generator.manifest),
        source=source,
        names=names,
        ends=tuple(tuple(end.tolist()) for end in ends),
    )
    draw(recipe, generator, target, show=show)

    way = " → ".join(names or [f"seed {seed}" for seed in seeds or ()])
    way += in_words(recipe.draw, generator.manifest) if seeds else ""
    console.say(f"{way} in {steps} {recipe.method} steps → {target.name}")
    console.result("interpolate", generator.manifest, {**recipe.choices(), **drawn(target)})


def _ends(
    latents: str | None, images: list[str] | None, model: VAE, invert: str, console: Console
) -> tuple[tuple[str, ...], list[Floats], str | None]:
    """Names and latents of the ends that are not seeds, and where they came from."""
    from .latent_files import read_latents
    from .picture_files import read_pictures

    if latents is not None:
        rows = read_latents(latents, model.manifest.latent.dimensions)
        if len(rows) < 2:
            raise UsageError(f"expected at least 2 latents in {latents}, got 1; say where to go")
        return tuple(f"latent {at}" for at in range(len(rows))), list(rows), "latents"
    if images:
        pictures = read_pictures(images, model.manifest.image, invert, console)
        return pictures.names, list(model.encode(pictures.images).mean), "images"
    return (), [], None
