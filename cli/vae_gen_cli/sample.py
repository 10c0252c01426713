"""`vae-gen sample`: pictures of a seed, to a grid, a folder, arrays or standard output."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from . import options
from .console import Console, counted
from .metadata import make_note
from .targets import GRIDS, PICTURES, check_choices, parse_target, written

GRID_SCALE, SINGLE_SCALE = 4, 1


def sample(
    context: typer.Context,
    count: Annotated[
        int, typer.Option("-n", "--count", metavar="N", parser=options.read_count, help="How many pictures.")
    ] = 50,
    seed: options.Seed = None,
    start: options.Start = 0,
    output: options.Output = "samples.png",
    format_name: options.Format = None,
    prior: options.PriorOption = None,
    label: options.Label = None,
    temperature: options.Temperature = 1.0,
    detail: options.Detail = None,
    columns: options.Columns = 10,
    scale: options.Scale = None,
    dtype: options.DtypeOption = options.Dtype.UINT8,
    show: options.Show = False,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Make pictures of a seed: a grid (.png, .webp), a folder of PNGs (ending in /), arrays (.npy, .npz).

    Without --seed one is drawn and printed. The same seed and index make the same picture, in any range.
    """
    console = Console(as_json, quiet)
    target = parse_target(output, format_name, PICTURES, console)
    check_choices(target, dtype, scale)
    if target.format not in GRIDS:
        options.refuse_idle(context, "--columns", "a grid")

    from vae_gen._vae import draw_seed
    from vae_gen.internal.choice import check_range

    from .ahead import import_drawing_ahead

    seed_was_drawn = seed is None
    seed = draw_seed() if seed is None else seed
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

        kind: Literal["float32", "uint8"] = "float32" if dtype is options.Dtype.FLOAT32 else "uint8"
        bulk = samples(generator, seed, start, count, choice, kind)
        write_bulk(target, bulk, pixels, note, console, show=show)

    window = f", from index {start}" if start else ""
    drawn = " (drawn at random)" if seed_was_drawn else ""
    console.say(f"{counted(count)} of seed {seed}{drawn}{window}{in_words(choice, generator.manifest)} → {target.name}")
    if as_json:
        facts = {**written(target, count, generator.manifest.image.shape, dtype), **draw_choices(choice)}
        if choice.has_labels(generator.manifest) and count <= MAX_PICTURES:
            facts["labels"] = generator.fitted_prior().draw_labels(seed, start, count, choice.label).tolist()
        console.result("sample", generator.manifest, {"seed": str(seed), "start": str(start), **facts})
