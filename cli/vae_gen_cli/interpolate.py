"""`vae-gen interpolate`: morphs from one picture to the next, as a labelled sheet or an animation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_gen import UsageError

from . import options
from . import output as out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vae_gen import VAE
    from vae_gen.internal.choice import Choice

RECORDED = (
    "seeds", "start", "steps", "method", "loop", "scale", "animate", "fps", "values", "prior", "label", "temperature",
    "detail", "fade",
)  # fmt: skip
"""The parameters that a PNG records, and that `repeat` gives back to this command."""
LEGACY = {"values": False, "fade": False}
"""The values of parameters that PNGs of earlier versions do not record, because there were no others."""

MOST_NAMES = 8
"""How many ends the message names; of more it names the first two and the last."""


def interpolate(
    context: typer.Context,
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            "--seed", metavar="N", min=0, max=options.LARGEST_SEED, rich_help_panel=options.MAKE, show_default=False,
            help="Morph between the pictures of these seeds: repeat the option, once for each picture.",
        ),
    ] = None,
    start: options.Start = 0,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="CLASS", rich_help_panel=options.MAKE, show_default="any class",
            autocompletion=options.complete_label,
            help="Morph between classes: repeat the option, once for each class. Give one --seed for all of them, or "
                 "as many as there are classes; without --seed one is drawn at random. A single --label applies to the "
                 "pictures of all seeds.",
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--image", metavar="FILE", rich_help_panel=options.MAKE, show_default=False,
            help="Morph between pictures from files; give two or more.",
        ),
    ] = None,
    invert: options.Invert = "auto",
    trim: options.Trim = True,
    latents: Annotated[
        str | None,
        typer.Option(
            "--latents", metavar="FILE", rich_help_panel=options.MAKE, show_default=False,
            help="Morph between two or more latents from a file, as decode takes it.",
        ),
    ] = None,
    anyway: options.Anyway = False,
    prior: options.Prior = None,
    temperature: options.Temperature = 1.0,
    detail: options.Detail = None,
    method: Annotated[
        Literal["likely", "linear", "spherical", "slerp"] | None,
        typer.Option(
            "--method", rich_help_panel=options.MAKE, show_default="likely; linear, if the model has no fitted prior",
            help="The path between two latents: through places where the fitted prior is dense, a straight line, or an "
                 "arc that keeps the usual distance from the prior's centre. slerp is another name for spherical.",
        ),
    ] = None,
    fade: options.Fade = True,
    loop: Annotated[
        bool, typer.Option("--loop", rich_help_panel=options.MAKE, help="Also morph from the last back to the first.")
    ] = False,
    steps: options.Steps = None,
    output: Annotated[
        str | None,
        options.output("interpolation.png or interpolation-SEED.png", options.SHEETS),
    ] = None,
    format_name: Annotated[Literal["png", "webp", "gif", "apng", "mp4", "webm"] | None, options.FORMAT] = None,
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
    """Morph between seeds, classes, images or latents.

    A sheet has a row for each morph, with both of its ends. An animation goes there and back, or round with --loop.
    """
    console = out.Console(as_json, quiet)
    given = {"--seed or --label": seeds or label, "--image": images, "--latents": latents}
    kinds = [kind for kind, values in given.items() if values]
    if len(kinds) != 1:
        raise UsageError(
            "expected one kind of ends: two or more of --seed, --label or --image, or a file of --latents; "
            f"got {' and '.join(kinds) or 'none'}"
        )
    if images is not None and len(images) < 2:
        raise UsageError("expected two or more of --image, got one; name the picture to morph to")
    pairs = seeds_and_classes(seeds or [], label or []) if seeds or label else []
    drawn_from = list(dict.fromkeys(seed for seed, _ in pairs))
    stem = f"interpolation-{drawn_from[0]}" if len(drawn_from) == 1 else "interpolation"
    target = out.parse_target(output, format_name, out.SHEETS, console, stem)
    animate = out.is_animation(context, target, animate)
    if not pairs:
        for option in ("--start", "--prior", "--temperature"):
            options.refuse_idle(context, option, "pictures of a --seed or a --label")
    if anyway and latents is None:
        raise UsageError("--anyway only applies to a file of --latents; leave it out")
    if not images:
        for option in ("--invert", "--trim"):
            options.refuse_idle(context, option, "pictures of an --image")

    import numpy as np

    from vae_gen.internal.choice import resolve_choice
    from vae_gen.internal.paths import read_method
    from vae_gen.internal.saving import to_image

    from . import sheets

    vae = options.load(model, threads, provider)
    resolved = [resolve_choice(vae.manifest, prior, one, temperature, detail) for _, one in pairs or [(0, None)]]
    choice = resolved[0]
    if not choice.detail:
        options.refuse_idle(context, "--fade", "pictures with details")
    between_classes = len(label or []) > 1
    vae.open(choice.decoder)
    ends: list[End] = []
    if not pairs:
        if images:
            ends = _of_images(vae, images, invert, trim, console)
        else:
            ends = _of_latents(vae, str(latents), anyway, console)
    number = len(pairs or ends)
    shape = read_method(method or ("likely" if vae.manifest.has_fitted_prior else "linear"))
    steps = steps or (out.MOVING_STEPS if animate else out.STEPS)
    if scale is None:
        scale = out.moving_scale(vae.manifest.image, 1) if animate else out.SHEET_SCALE
    ways = [(at, (at + 1) % number) for at in range(number - (0 if loop else 1))]
    out.check_size(len(ways) * steps, vae.manifest.image, scale)
    choices = {
        "seeds": [str(seed) for seed in seeds or drawn_from],
        "start": str(start),
        "source": "images" if images else "latents" if latents else None,
        "steps": steps,
        "method": shape,
        "loop": loop,
        "scale": scale,
        "animate": animate,
        "fps": fps,
        "values": values,
        **asdict(choice),
        "fade": fade,
    }
    if between_classes:
        choices["label"] = [one.label for one in resolved]
    with target.open() as file:
        if pairs:
            ends = _of_seeds(vae, [seed for seed, _ in pairs], start, resolved, between_classes)
        pictures = []  # uint8 [steps, channels, height, width] for each way
        for a, b in ways:
            first, last = ends[a].noise, ends[b].noise
            noise = None if first is None or last is None else np.linspace(first, last, steps, dtype=np.float32)
            way = vae.interpolate(
                ends[a].latent, ends[b].latent, steps, shape, noise=noise, detail=choice.detail, fade=fade
            )
            pictures.append(way.grey_levels())
        names = [sheets.shortened(end.name) for end in ends]
        shares = np.linspace(0, 1, steps).tolist()
        if not animate:
            labels = [f"{names[a]}\nto {names[b]}" for a, b in ways]
            texts = [f"{share:.2f}" for share in shares]
            frames = out.Frames.still(sheets.table(np.stack(pictures), labels, texts, scale))
        else:
            # Each way ends where the next one begins; that picture is shown once.
            once = np.concatenate([*(way[:-1] for way in pictures), pictures[-1][-1:]])
            if values:
                captions = [f"{names[a]} to {names[b]}\n{share:.0%}" for a, b in ways for share in shares[:-1]]
                captions.append(f"{names[ways[-1][0]]} to {names[ways[-1][1]]}\n100%")
                images_of = sheets.captioned(once, captions, scale)
            else:
                images_of = [to_image(picture, scale) for picture in once]
            duration = round(1000 / fps)
            frames = out.Frames(tuple(images_of[:-1]), duration) if loop else out.Frames.there_and_back(images_of, fps)
        file.write(out.encoded(frames, target.format, out.make_note("interpolate", choices, vae.manifest)))
    if show:
        sheets.preview(frames)

    named = [end.name for end in ends]
    if len(named) > MOST_NAMES:
        named[2:-1] = [f"… {len(named) - 3} more …"]
    route = " → ".join(named)
    if between_classes and len(drawn_from) == 1:
        route += f" of seed {drawn_from[0]}{'' if seeds else ' (drawn at random)'}"
    if pairs:
        route += options.unusual(replace(choice, label=None) if between_classes else choice, vae.manifest)
    console.message(f"{route} in {steps} {shape} steps → {target.name}")
    console.result("interpolate", vae.manifest, {**choices, **target.facts})


def seeds_and_classes(seeds: Sequence[int], classes: Sequence[str]) -> list[tuple[int, str | None]]:
    """Pairs the seeds with the classes: the seed and the class of each end.

    Args:
        seeds: the seeds that were given; none draws one at random for all classes.
        classes: the classes that were given; a single class is that of all seeds.

    Raises:
        UsageError: there are fewer than two ends, or the numbers do not fit each other.

    >>> seeds_and_classes([7], ["bag", "boot"]), seeds_and_classes([1, 2], ["bag"])
    ([(7, 'bag'), (7, 'boot')], [(1, 'bag'), (2, 'bag')])
    """
    from vae_gen.internal.choice import draw_seed

    if len(classes) < 2:
        if len(seeds) < 2:
            raise UsageError(
                "expected two or more pictures to morph between, "
                f"got {len(seeds)} of --seed and {len(classes)} of --label; add another --seed or another --label"
            )
        return [(seed, classes[0] if classes else None) for seed in seeds]
    seeds = list(seeds) or [draw_seed()]
    if len(seeds) not in (1, len(classes)):
        raise UsageError(
            f"expected one --seed for all {len(classes)} classes, or {len(classes)} of them, one for each class, "
            f"got {len(seeds)}; give one, or one for each"
        )
    return list(zip(seeds * len(classes) if len(seeds) == 1 else seeds, classes, strict=True))


@dataclass(frozen=True)
class End:
    """A picture that a morph begins or ends with."""

    name: str
    latent: NDArray[np.float32]
    """float32 [dimensions]"""
    noise: NDArray[np.float32] | None = None
    """float32 [k], the noise of the detail stage; None for mean pictures, or for the noise that the library shares"""


def _of_seeds(
    vae: VAE, seeds: Sequence[int], start: int, choices: Sequence[Choice], between_classes: bool
) -> list[End]:
    """The samples of seeds at the index `start`, each with its own choice.

    They share the noise of the first one, so that details stay while the latent changes. Between classes, the class
    that the noise carries changes too.
    """
    samples = [next(vae._sampler(one, seed).stream(start, 1)) for seed, one in zip(seeds, choices, strict=True)]
    ends = []
    for seed, one, sample in zip(seeds, choices, samples, strict=True):
        name, noise = f"seed {seed}", None
        if between_classes:
            class_name = vae.class_names[one.label or 0]
            name = class_name if len(set(seeds)) == 1 else f"{class_name} of seed {seed}"
        if one.detail and between_classes:
            noise = vae.detail_noise(1, seeds[0], start, labels=one.label)[0]
        elif one.detail and samples[0].noise is not None:
            noise = samples[0].noise[0]
        ends.append(End(name, sample.latents[0], noise))
    return ends


def _of_images(vae: VAE, images: Sequence[str], invert: str, trim: bool, console: out.Console) -> list[End]:
    """The means of the posteriors of pictures."""
    from .inputs import read_pictures

    pictures = read_pictures(images, vae.manifest.image, invert, trim, console)
    return [End(name, mean) for name, mean in zip(pictures.names, vae.encode(pictures.images).mean, strict=True)]


def _of_latents(vae: VAE, path: str, anyway: bool, console: out.Console) -> list[End]:
    """The latents in a file.

    Raises:
        ModelError: they are another model's, and `anyway` is false.
        UsageError: the file has only one.
    """
    from vae_gen import Samples

    from .inputs import read_latents

    found, made_with = read_latents(path, vae.latent_dim)
    out.check_model(path, made_with, vae.manifest, ["sha256"] if made_with else [], anyway, console)
    if len(found) < 2:
        raise UsageError(f"expected at least 2 latents in {path}, got 1; name another end")
    rows = found.latents if isinstance(found, Samples) else found
    return [End(f"latent {at}", row) for at, row in enumerate(rows)]
