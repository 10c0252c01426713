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
    "dimension", "along", "around", "span", "spacing", "steps", "seed", "start", "scale", "animate", "fps", "values",
    "prior", "label", "temperature", "detail", "fade",
)  # fmt: skip
"""The parameters that a PNG records, and that `repeat` gives back to this command."""
LEGACY = {"along": None, "around": "centre", "spacing": "latent", "values": False, "fade": False}
"""The values of parameters that PNGs of earlier versions do not record, because there were no others."""

LARGEST_SPAN = 100
SPAN_ALONG = 1.5
"""The span along directions if none is given, in standard deviations of the attribute within the class."""
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
    along: Annotated[
        list[str] | None,
        typer.Option(
            "--along", metavar="NAME", rich_help_panel=options.MAKE, show_default=False,
            autocompletion=options.complete_direction,
            help="Go along a direction of the model instead of a dimension, such as \"sleeve length\": its name, or a "
                 "beginning that fits no other one. Repeat the option for more rows. `vae-gen directions` lists them.",
        ),
    ] = None,
    around: Annotated[
        Literal["typical", "centre"] | None,
        typer.Option(
            "--around", rich_help_panel=options.MAKE, show_default="typical, if the model has a fitted prior",
            help="Without --seed and --image: change a typical latent (the medoid of the fitted prior, or of the class "
                 "of --label), or the prior's centre, which lies between the classes.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", min=0, max=options.LARGEST_SEED, rich_help_panel=options.MAKE, show_default=False,
            help="Change the latent of this seed's picture.",
        ),
    ] = None,
    start: options.Start = 0,
    image: Annotated[
        str | None,
        typer.Option(
            "--image", metavar="FILE", rich_help_panel=options.MAKE, show_default=False,
            help="Change the latent of this picture.",
        ),
    ] = None,
    invert: options.Invert = "auto",
    trim: options.Trim = True,
    prior: options.Prior = None,
    label: options.Label = None,
    temperature: options.Temperature = 1.0,
    detail: options.Detail = None,
    span: Annotated[
        float | None,
        typer.Option(
            "--span", metavar="X", rich_help_panel=options.MAKE,
            show_default="what the fitted prior finds likely; 2.5 without one; 1.5 with --along",
            help="How far the values go. From 1 on: standard deviations of the prior to either side. Below 1: the "
                 "central share of the prior. With --along: standard deviations of the attribute within the class, but "
                 "not further than all but 1 in 100 of its pictures go.",
        ),
    ] = None,
    spacing: Annotated[
        Literal["seen", "latent"] | None,
        typer.Option(
            "--spacing", rich_help_panel=options.MAKE, show_default="seen; latent with --span",
            help="seen: the picture changes equally from step to step. latent: equal steps of the dimension, or of "
                 "probability for a span below 1.",
        ),
    ] = None,
    fade: options.Fade = True,
    steps: options.Steps = None,
    output: Annotated[
        str | None,
        options.output("traversal.png or traversal-SEED.png", f"{options.SHEETS}, an array (.npy)"),
    ] = None,
    format_name: Annotated[Literal["png", "webp", "gif", "apng", "mp4", "webm", "npy"] | None, options.FORMAT] = None,
    animate: options.Animate = False,
    fps: options.Fps = 30,
    values: options.Values = True,
    scale: options.PathScale = None,
    show: options.Show = False,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Show what each latent dimension changes.

    Each row changes one dimension of a latent and keeps the others, or goes along a direction in which one attribute of
    the picture changes. Dimensions are ordered by their information, in nats of KL. An animation shows the rows side by
    side and goes through the values there and back.
    """
    console = out.Console(as_json, quiet)
    stem = "traversal" if seed is None else f"traversal-{seed}"
    target = out.parse_target(output, format_name, (*out.SHEETS, "npy"), console, stem)
    animate = out.is_animation(context, target, animate)
    if target.format == "npy":
        for option in ("--animate", "--scale"):
            options.refuse_idle(context, option, "pictures, not to arrays (.npy)")
    if seed is not None and image is not None:
        raise UsageError("expected one centre, got --seed and --image; leave one out")
    if around is not None and (seed is not None or image is not None):
        given = "--seed" if image is None else "--image"
        raise UsageError(f"expected one centre, got --around and {given}; leave one out")
    if seed is None:
        for option in ("--start", "--prior", "--temperature"):
            options.refuse_idle(context, option, "the picture of a --seed")
        if (image is not None or around == "centre") and not along:
            options.refuse_idle(context, "--label", "the picture of a --seed, a typical latent, or directions")
    if image is None:
        for option in ("--invert", "--trim"):
            options.refuse_idle(context, option, "the picture of an --image")
    if along:
        if dimension != ["all"]:
            raise UsageError("expected rows of one kind, got --along and --dim; leave one out")
        options.refuse_idle(context, "--spacing", "rows of dimensions, not to those of --along")
    if span is not None and span > LARGEST_SPAN:
        raise UsageError(f"expected a span of at most {LARGEST_SPAN} standard deviations, got {span:g}")

    import numpy as np

    from vae_gen.internal.choice import resolve_choice
    from vae_gen.internal.paths import read_dimensions

    from . import sheets
    from .directions import find_directions, traverse_along
    from .inputs import read_one_latent

    vae = options.load(model, threads, provider)
    latent = vae.manifest.latent
    choice = resolve_choice(vae.manifest, prior, label, temperature, detail)
    if not choice.detail:
        options.refuse_idle(context, "--fade", "pictures with details")
    rows = () if along else read_dimensions(",".join(dimension), latent)
    number = len(along or rows)
    if seed is None and image is None:
        around = around or ("typical" if vae.manifest.has_fitted_prior else "centre")
    steps = steps or (out.MOVING_STEPS if animate else out.STEPS)
    if scale is None:
        scale = out.moving_scale(vae.manifest.image, -(-number // CARD_COLUMNS)) if animate else out.SHEET_SCALE
    if target.format != "npy":
        out.check_size(number * steps, vae.manifest.image, scale)
    choices = {
        "dimension": None if along or rows == latent.order else rows[0] if len(rows) == 1 else rows,
        "along": along,
        "around": around,
        "span": SPAN_ALONG if along and span is None else span,
        "spacing": spacing or ("seen" if span is None and not along else "latent"),
        "steps": steps,
        "seed": None if seed is None else str(seed),
        "start": str(start),
        "image": None if image is None else Path(image).name,
        "scale": scale,
        "animate": animate,
        "fps": fps,
        "values": values,
        **asdict(choice),
        "fade": fade,
    }
    vae.open(choice.decoder)
    centre = None if image is None else read_one_latent(image, vae, invert, trim, console)
    with target.open() as file:
        sample = None if seed is None else next(vae._sampler(choice, seed).stream(start, 1))
        if sample is not None:
            centre = sample.latents[0]
        elif around == "typical" and choice.label is not None:
            centre = vae.fitted_prior().medoid(choice.label)
        base = vae._traversal_base(around if centre is None else centre)
        noise = None if sample is None else sample.noise
        if along:
            label_of_base = choice.label
            if label_of_base is None and sample is not None and sample.labels is not None:
                label_of_base = int(sample.labels[0])
            found = find_directions(vae, along, base, label_of_base)
            labels = choices["along"] = [row.name for row in found.rows]
            made = traverse_along(vae, found, base, choices["span"], steps, noise, choice.detail, fade)
        else:
            labels = [f"z{row}  {latent.kl_nats[row]:.2f} nats" for row in rows]
            made = vae.traverse(
                rows, around=base, span=span, steps=steps, spacing=spacing, noise=noise, detail=choice.detail, fade=fade
            )
        pictures = made.grey_levels()  # [rows, steps, channels, height, width]
        texts = [[f"{value + 0.0:.2f}" for value in row] for row in made.values.tolist()]  # + 0.0 makes −0 a 0
        if not animate:
            drawn = (
                sheets.table(pictures, labels, texts[0], scale)
                if choices["spacing"] == "latent" and choices["span"] is not None and texts.count(texts[0]) == number
                else sheets.table_with_values(pictures, labels, texts, scale)
            )
            frames = out.Frames.still(drawn)
        elif values:
            signed = [[f"{value:+.2f}" for value in row] for row in made.values.tolist()]
            frames = out.Frames.there_and_back(sheets.moving_cards(pictures, labels, signed, CARD_COLUMNS, scale), fps)
        else:
            moving = pictures.swapaxes(0, 1)[:, :, None]  # [steps, rows, 1, channels, height, width]
            frames = out.Frames.there_and_back(
                [sheets.cards(frame, labels, CARD_COLUMNS, scale) for frame in moving], fps
            )
        if target.format == "npy":
            np.save(file, pictures)
        else:
            file.write(out.encoded(frames, target.format, out.make_note("traverse", choices, vae.manifest)))
    if show:
        sheets.preview(frames)

    what = "all dimensions" if rows == latent.order else f"dimension{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}"
    what = ", ".join(labels) if along else what
    where = image or ("the prior's centre" if around == "centre" else "a typical latent")
    if seed is not None:
        where = f"seed {seed}{options.unusual(choice, vae.manifest)}"
    elif choice.label is not None and around == "typical":
        where += f" of {vae.class_names[choice.label]}"
    if along and found.label is not None and (choice.label is None or (seed is None and around != "typical")):
        where += f", as {vae.class_names[found.label]}"
    console.message(f"{what} in {steps} steps around {where} → {target.name}")
    shown = [
        {"name": name, "values": [round(value, 4) for value in row]}
        for name, row in zip(labels if along else [f"z{row}" for row in rows], made.values.tolist(), strict=True)
    ]
    console.result("traverse", vae.manifest, {**choices, "rows": shown, **target.facts})
