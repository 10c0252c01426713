"""`vae-gen traverse`: what each latent dimension changes, as a labelled sheet or an animation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from vae_gen import UsageError

from . import options
from . import output as out

RECORDED = (
    "dimension", "span", "steps", "seed", "start", "scale", "animate", "fps", "prior", "label", "temperature", "detail"
)  # fmt: skip
"""The parameters that a PNG records, and that `repeat` gives back to this command."""

LARGEST_SPAN = 100
CARD_COLUMNS = 4
"""How many dimensions stand side by side in an animation."""


def traverse(
    context: typer.Context,
    dimension: Annotated[
        list[str],
        typer.Option(
            "--dim", metavar="K|all", rich_help_panel=options.MAKE, show_default="all",
            help="The dimensions to change, such as 5, z5 or 1,2; each has a row.",
        ),
    ] = ["all"],  # noqa: B006 - Typer copies it
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
    trim: options.Trim = True,
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
        options.output("traversal.png or traversal-SEED.png", options.SHEETS),
    ] = None,
    format_name: Annotated[Literal["png", "webp", "gif", "apng"] | None, options.FORMAT] = None,
    animate: options.Animate = False,
    fps: options.Fps = 12,
    scale: options.SheetScale = 3,
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
    console = out.Console(as_json, quiet)
    stem = "traversal" if seed is None else f"traversal-{seed}"
    target = out.parse_target(output, format_name, out.SHEETS, console, stem)
    animate = out.is_animation(context, target, animate)
    if seed is not None and image is not None:
        raise UsageError("expected one centre, got --seed and --image; leave one out")
    if seed is None:
        for option in ("--start", "--prior", "--label", "--temperature"):
            options.refuse_idle(context, option, "the picture of a --seed")
    if image is None:
        for option in ("--invert", "--trim"):
            options.refuse_idle(context, option, "the picture of an --image")
    if span > LARGEST_SPAN:
        raise UsageError(f"expected a span of at most {LARGEST_SPAN} standard deviations, got {span:g}")

    from vae_gen.internal.choice import resolve_choice
    from vae_gen.internal.paths import read_dimensions

    from . import sheets
    from .inputs import read_one_latent

    vae = options.load(model, threads, provider)
    latent = vae.manifest.latent
    choice = resolve_choice(vae.manifest, prior, label, temperature, detail)
    rows = read_dimensions(",".join(dimension), latent)
    out.check_size(len(rows) * steps, vae.manifest.image, scale)
    choices = {
        "dimension": None if rows == latent.order else rows[0] if len(rows) == 1 else rows,
        "span": span,
        "steps": steps,
        "seed": None if seed is None else str(seed),
        "start": str(start),
        "image": None if image is None else Path(image).name,
        "scale": scale,
        "animate": animate,
        "fps": fps,
        **asdict(choice),
    }
    vae.open(choice.decoder)
    centre = None if image is None else read_one_latent(image, vae, invert, trim, console)
    with target.open() as file:
        sample = None if seed is None else next(vae._sampler(choice, seed).stream(start, 1))
        made = vae.traverse(
            rows,
            around=centre if sample is None else sample.latents[0],
            span=span,
            steps=steps,
            noise=None if sample is None else sample.noise,
            detail=choice.detail,
        )
        pictures = made.grey_levels()  # [rows, steps, channels, height, width]
        labels = [f"z{row}  {latent.kl_nats[row]:.2f} nats" for row in rows]
        if animate:
            moving = pictures.swapaxes(0, 1)[:, :, None]  # [steps, rows, 1, channels, height, width]
            drawn = [sheets.cards(frame, labels, CARD_COLUMNS, scale) for frame in moving]
            frames = out.Frames.there_and_back(drawn, fps)
        else:
            values = [f"{value + 0.0:.2f}" for value in made.values]  # + 0.0 makes −0 a 0
            frames = out.Frames.still(sheets.table(pictures, labels, values, scale))
        file.write(out.encoded(frames, target.format, out.make_note("traverse", choices, vae.manifest)))
    if show:
        sheets.preview(frames)

    what = "all dimensions" if rows == latent.order else f"dimension{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}"
    around = image or "the prior's centre"
    if seed is not None:
        around = f"seed {seed}{options.unusual(choice, vae.manifest)}"
    console.message(f"{what} in {steps} steps around {around} → {target.name}")
    console.result("traverse", vae.manifest, {**choices, **target.facts})
