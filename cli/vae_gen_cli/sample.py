"""`vae-gen sample`: pictures of a seed, to a grid, a folder, an array, standard output or a folder of shards."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import options
from . import output as out

if TYPE_CHECKING:
    from vae_gen import Pictures

    from .bulk.command import Request

RECORDED = ("seed", "start", "count", "layout", "columns", "scale", "prior", "label", "temperature", "detail")
"""The parameters that a PNG records, and that `repeat` gives back to this command."""


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
    output: Annotated[str | None, options.output("samples-SEED.png", options.SAMPLES, "--out")] = None,
    format_name: Annotated[options.SampleFormat | None, options.FORMAT] = None,
    columns: options.Columns = 10,
    scale: options.Scale = None,
    layout: Annotated[Literal["grid", "single"], typer.Option("--layout", hidden=True)] = "grid",  # for `repeat`
    dtype: options.Dtype = "uint8",
    resume: options.Resume = False,
    shard: options.Shard = None,
    shard_size: options.ShardSize = 262_144,
    engine: options.Engine = "local",
    address: options.Address = None,
    workers: options.Workers = None,
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
    import numpy as np

    from vae_gen import UsageError
    from vae_gen._pictures import picture_grid
    from vae_gen.internal.choice import check_range, draw_seed, resolve_choice

    console = out.Console(as_json, quiet)
    if format_name not in options.SHARDED:
        options.refuse_idle_shard_options(context)
    if (resume or shard is not None) and seed is None:
        wanted, whose = ("--resume", "interrupted") if resume else ("--shard", "given for the other shares")
        raise UsageError(f"expected --seed for {wanted}, got none; give the options of the command that was {whose}")
    seed_was_drawn = seed is None
    seed = draw_seed() if seed is None else seed
    check_range(seed, start, count)
    request: Request | None = None
    if format_name in options.SHARDED:
        from .bulk import command as in_bulk

        idle = ("--columns", "--scale", "--dtype", "--show")
        request = in_bulk.parse_request(context, output, format_name, shard, shard_size, resume, idle)
        make = in_bulk.choose_engine(context, engine, address, workers, console)
        target = out.Target(request.address, request.format)
    else:
        target = out.parse_target(output, format_name, out.PICTURES, console, f"samples-{seed}", True)
        out.refuse_idle_picture_options(context, target)
    is_grid = target.format in out.GRIDS and layout == "grid"
    scale = scale or (4 if is_grid else 1)

    vae = options.load(model, threads, provider)
    choice = resolve_choice(vae.manifest, prior, label, temperature, detail)
    if request is not None:
        in_bulk.check_classes(request, choice, vae.manifest)
    sampler = vae._sampler(choice, seed)
    sampler.open()

    def chunks(done: int) -> Iterator[Pictures]:
        made = sampler.stream(start + done, count - done, grey=dtype == "uint8")
        return console.watched(made, count, done)

    def note(first: int, number: int, layout: str) -> str:
        size = {"count": number, "layout": layout, "columns": columns if layout == "grid" else 1, "scale": scale}
        choices = {"seed": str(seed), "start": str(first), **size, **asdict(choice)}
        return out.make_note("sample", choices, vae.manifest)

    kept = 0
    facts_in_bulk: dict[str, object] = {}
    if request is not None:
        chosen = {"seed": str(seed), **asdict(choice), "provider": provider}
        plan = in_bulk.make_plan(request, "sample", start, count, chosen, vae.manifest)
        if seed_was_drawn:
            console.message(f"seed {seed} (drawn at random); if interrupted, go on with --seed {seed} --resume")
        facts_in_bulk = in_bulk.run(request, plan, vae, threads, provider, console, make)
    elif target.format in out.GRIDS:
        out.check_size(count, vae.manifest.image, scale, columns, target.format)
        with target.open() as file:
            made = list(chunks(0))
            levels = np.concatenate([chunk.images for chunk in made])
            frames = out.Frames.still(picture_grid(levels, columns, scale, out.GAP if is_grid else 0))
            file.write(out.encoded(frames, target.format, note(start, count, layout)))
        if show:
            from .sheets import preview

            preview(frames)
    else:
        singles = functools.partial(note, number=1, layout="single")
        facts = {"seed": np.array(seed, np.int64), "start": np.array(start, np.int64)}
        record = {"command": "sample", "seed": seed, **asdict(choice), "provider": provider}
        bulk = out.Bulk(chunks, count, start, vae.manifest, facts, record)
        kept = out.write_bulk(target, bulk, dtype, scale, singles, console, resume=resume, show=show)

    origin = f"seed {seed}{' (drawn at random)' if seed_was_drawn else ''}{f', from index {start}' if start else ''}"
    made_here = out.counted(count) if request is None else in_bulk.part_made(request, plan)
    console.message(f"{made_here} of {origin}{options.unusual(choice, vae.manifest)} → {target.name}")
    if as_json:
        result = {"seed": str(seed), "start": str(start), "count": count, **target.facts, **asdict(choice)}
        result |= {"shape": [count, *vae.image_shape], "dtype": dtype}
        if resume:
            result["kept"] = kept
        result |= facts_in_bulk
        if request is None and choice.has_labels(vae.manifest) and count <= out.MAX_PICTURES:
            result["labels"] = vae.fitted_prior().draw_labels(seed, start, count, choice.label).tolist()
        console.result("sample", vae.manifest, result)
