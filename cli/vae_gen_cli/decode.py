"""`vae-gen decode`: latents to pictures, by the same writers as `sample`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from . import options
from .console import Console, counted
from .metadata import make_note
from .targets import GRIDS, PICTURES, parse_target, refuse_idle_picture_options, written

GRID_SCALE, SINGLE_SCALE = 4, 1
CHUNK = 1024
"""Latents decoded at once: whole blocks, few enough for memory not to grow."""


def decode(
    context: typer.Context,
    latents: Annotated[str, typer.Argument(metavar="LATENTS", help="A .npy, .npz or JSON file; - is standard input.")],
    output: Annotated[str | None, options.output("decoded.png", options.PICTURES)] = None,
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
    """Turn latents into pictures.

    LATENTS is a file with an array of shape [n, dimensions]: .npy, .npz, or JSON as a list of rows. A .npz or a JSON
    object, such as encode and sample write, is searched for latents, latent and mean, in this order.
    """
    console = Console(as_json, quiet)
    target = parse_target(output, format_name, PICTURES, console, "decoded")
    refuse_idle_picture_options(context, target)

    import numpy as np

    from vae_gen import Pictures, to_grey_levels

    from .bulk import Bulk
    from .drawing import preview, write_bulk
    from .frames import check_drawing, encode, grid_frames
    from .latent_files import read_latents

    generator = options.ModelChoice(model, threads, provider).load("decoder")
    manifest = generator.manifest
    rows = read_latents(latents, manifest.latent.dimensions)
    note = make_note("decode", {"count": len(rows), "source": "latents"}, manifest)

    def chunk(start: int) -> Pictures:
        part = rows[start : start + CHUNK]
        images = generator.decode(part, detail=False)
        return Pictures(images if dtype == "float32" else to_grey_levels(images), part)

    chunks = (chunk(start) for start in range(0, len(rows), CHUNK))
    if target.format in GRIDS:
        check_drawing(len(rows), manifest.image, scale or GRID_SCALE, columns, target.format)
        with target.open() as file:
            images = np.concatenate([part.images for part in chunks])
            frames = grid_frames(images, columns, scale or GRID_SCALE)
            file.write(encode(frames, target.format, note))
        if show:
            preview(frames)
    else:
        bulk = Bulk(chunks, len(rows))
        write_bulk(target, bulk, scale or SINGLE_SCALE, lambda index: note, console, show=show)

    console.say(f"{counted(len(rows))} of {counted(len(rows), 'latent')} → {target.name}")
    console.result("decode", manifest, written(target, len(rows), manifest.image.shape, dtype))
