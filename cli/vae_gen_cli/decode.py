"""`vae-gen decode`: the pictures of latents, in the same outputs as `sample`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import options
from . import output as out

if TYPE_CHECKING:
    from vae_gen import Pictures

CHUNK = 1024
"""How many latents are decoded at a time, so that memory does not grow with their number."""


def decode(
    context: typer.Context,
    latents: Annotated[str, typer.Argument(metavar="LATENTS", help="A .npy, .npz or JSON file; - is standard input.")],
    detail: options.Detail = None,
    anyway: options.Anyway = False,
    output: Annotated[str | None, options.output("decoded.png", options.PICTURES)] = None,
    format_name: Annotated[Literal["png", "webp", "npy", "npz"] | None, options.FORMAT] = None,
    columns: options.Columns = 10,
    scale: options.Scale = None,
    dtype: options.Dtype = "uint8",
    resume: options.Resume = False,
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
    object, such as encode and sample write, is searched for latents, latent and mean, in this order. A .npz of sample
    gives the same pictures again, with the same details. Latents of another model are refused without --anyway.
    """
    console = out.Console(as_json, quiet)
    target = out.parse_target(output, format_name, out.PICTURES, console, "decoded")
    out.refuse_idle_picture_options(context, target)

    import numpy as np

    from vae_gen import Pictures, Samples, picture_grid, to_grey_levels
    from vae_gen.internal.choice import resolve_detail

    from .inputs import read_latents

    vae = options.load(model, threads, provider)
    spec = vae.manifest.detail
    rows, made_with = read_latents(latents, vae.latent_dim, None if spec is None else spec.noise)
    out.check_model(latents, made_with, vae.manifest, ["sha256"] if made_with else [], anyway, console)
    if detail is None and isinstance(rows, Samples):
        detail = rows.choice.detail
    detail = resolve_detail(vae.manifest, detail)
    vae.open("detail" if detail else "decoder")
    count = len(rows)
    scale = scale or (4 if target.format in out.GRIDS else 1)
    note = out.make_note("decode", {"count": count, "source": "latents"}, vae.manifest)

    def decoded(done: int) -> Iterator[Pictures]:
        for at in range(done, count, CHUNK):
            part = rows[at : at + CHUNK]
            images = vae.decode(part, detail=detail)
            plain = part.latents if isinstance(part, Samples) else part
            yield Pictures(images if dtype == "float32" else to_grey_levels(images), plain)

    def chunks(done: int) -> Iterator[Pictures]:
        return console.watched(decoded(done), count, done)

    kept = 0
    if target.format in out.GRIDS:
        out.check_size(count, vae.manifest.image, scale, columns, target.format)
        with target.open() as file:
            made = list(chunks(0))
            levels = np.concatenate([chunk.images for chunk in made])
            frames = out.Frames.still(picture_grid(levels, columns, scale, out.GAP))
            file.write(out.encoded(frames, target.format, note))
        if show:
            from .sheets import preview

            preview(frames)
    else:
        noise = rows.noise if isinstance(rows, Samples) and detail else None
        plain = rows.latents if isinstance(rows, Samples) else rows
        digest = hashlib.sha256(plain.tobytes() + (b"" if noise is None else noise.tobytes()))
        record = {"command": "decode", "latents": digest.hexdigest()[:12], "detail": detail, "provider": provider}
        bulk = out.Bulk(chunks, count, 0, vae.manifest, {}, record)
        kept = out.write_bulk(target, bulk, dtype, scale, lambda _: note, console, resume=resume, show=show)

    console.message(f"{out.counted(count)} of {out.counted(count, 'latent')} → {target.name}")
    facts = {"count": count, **target.facts, "shape": [count, *vae.image_shape], "dtype": dtype, "detail": detail}
    if resume:
        facts["kept"] = kept
    console.result("decode", vae.manifest, facts)
