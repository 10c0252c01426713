"""`vae-gen sample`: pictures of a seed, to a grid, a folder, arrays or standard output."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from . import options
from .console import Console, counted
from .metadata import make_note
from .targets import GRIDS, PICTURES, parse_target, refuse_idle_picture_options, written

GRID_SCALE, SINGLE_SCALE = 4, 1


def sample(
    context: typer.Context,
    count: Annotated[
        int,
        typer.Option(
            "--count", "-n", metavar="N", min=1, max=options.LARGEST_SEED, rich_help_panel=options.MAKE,
            help="The number of pictures.",
        ),
    ] = 50,
    seed: options.Seed = None,
    start: options.Start = 0,
    prior: options.Prior = None,
    label: options.Label = None,
    temperature: options.Temperature = 1.0,
    detail: options.Detail = None,
    output: Annotated[
        str | None, options.output("samples-SEED.png", options.PICTURES)
    ] = None,
    format_name: Annotated[Literal["png", "webp", "npy", "npz"] | None, options.FORMAT] = None,
    columns: options.Columns = 10,
    scale: options.Scale = None,
    dtype: options.Dtype = "uint8",
    show: options.Show = False,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Make pictures from a seed.

    The same seed and index make the same picture on every machine. The picture does not depend on how many pictures are
    made with it.
    """
    console = Console(as_json, quiet)
    from vae_gen._vae import draw_seed
    from vae_gen.internal.choice import check_range

    seed_was_drawn = seed is None
    seed = draw_seed() if seed is None else seed
    target = parse_target(output, format_name, PICTURES, console, f"samples-{seed}")
    refuse_idle_picture_options(context, target)

    from .ahead import import_drawing_ahead

    check_range(seed, start, count)
    generator = options.ModelChoice(model, threads, provider).load()
    choice = options.DrawChoice(prior, label, temperature, detail).resolve_choice(generator.manifest)
    import_drawing_ahead()
    generator.open(*choice.graphs(generator.manifest))

    from .drawing import draw, write_bulk
    from .frames import MAX_PICTURES
    from .recipe import draw_choices, in_words
    from .sample_recipe import SINGLE, SampleRecipe, samples

    if target.format in GRIDS:
        draw(SampleRecipe(seed, start, count, columns, scale or GRID_SCALE, choice), generator, target, show=show)
    else:
        pixels = scale or SINGLE_SCALE

        def note(index: int) -> str:
            single = SampleRecipe(seed, index, 1, 1, pixels, choice, SINGLE)
            return make_note("sample", single.choices(), generator.manifest)

        bulk = samples(generator, seed, start, count, choice, dtype)
        write_bulk(target, bulk, pixels, note, console, show=show)

    window = f", from index {start}" if start else ""
    drawn = " (drawn at random)" if seed_was_drawn else ""
    console.say(f"{counted(count)} of seed {seed}{drawn}{window}{in_words(choice, generator.manifest)} → {target.name}")
    if as_json:
        facts = {**written(target, count, generator.manifest.image.shape, dtype), **draw_choices(choice)}
        if choice.has_labels(generator.manifest) and count <= MAX_PICTURES:
            facts["labels"] = generator.fitted_prior().draw_labels(seed, start, count, choice.label).tolist()
        console.result("sample", generator.manifest, {"seed": str(seed), "start": str(start), **facts})
