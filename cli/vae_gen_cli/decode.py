"""`vae-gen decode`: the pictures of latents, in the same outputs as `sample`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import options
from . import output as out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vae_gen import VAE, Manifest, Pictures
    from vae_gen.internal.files import Json

CHUNK = 1024
"""How many latents are decoded at a time, so that memory does not grow with their number."""
MOST_RECORDED = 100
"""The most latents that a PNG records, so that `repeat` can decode them again."""


@dataclass(frozen=True)
class Size:
    """How pictures lie in a PNG: `single` is one picture alone, and `grid` has a border between pictures."""

    layout: Literal["grid", "single"]
    columns: int
    scale: int


def make_note(
    manifest: Manifest, latents: NDArray[np.float32], noise: NDArray[np.float32] | None, detail: bool, size: Size
) -> str:
    """The text chunk of a PNG: the latents and the noise of its pictures, if there are few enough, and its layout."""
    choices: dict[str, object] = {"count": len(latents), "source": "latents"}
    if len(latents) <= MOST_RECORDED:
        choices |= {"latents": _exact(latents), "detail": detail, **asdict(size)}
        choices |= {} if noise is None else {"noise": _exact(noise)}
    return out.make_note("decode", choices, manifest)


def _exact(values: NDArray[np.float32]) -> list[list[float]]:
    """Numbers as JSON has them, with the nine digits from which each float32 can be read again."""
    return [[float(f"{value:.9g}") for value in row] for row in values.tolist()]


def picture_again(vae: VAE, note: Json) -> tuple[out.Frames, str]:
    """The picture that a PNG's note describes, and its note for this model.

    Raises:
        InputError: the note has no latents or no noise of this model's width, or a value is out of its range.
    """
    from vae_gen import picture_grid, to_grey_levels
    from vae_gen.internal.choice import resolve_detail

    columns, scale = note["columns"].whole(1, out.MAX_PICTURES), note["scale"].whole(1, 64)
    size = Size("grid" if note["layout"].one_of("grid", "single") == "grid" else "single", columns, scale)
    detail = resolve_detail(vae.manifest, note["detail"].flag())
    latents = _recorded(note["latents"], vae.latent_dim)
    stage = vae.manifest.detail
    noise = _recorded(note["noise"], stage.noise, len(latents)) if detail and stage and "noise" in note else None
    images = vae.decode(latents, detail=detail) if noise is None else vae.decode(latents, noise=noise)
    out.check_size(len(latents), vae.manifest.image, scale, columns)
    levels = picture_grid(to_grey_levels(images), columns, scale, out.GAP if size.layout == "grid" else 0)
    return out.Frames.still(levels), make_note(vae.manifest, latents, noise, detail, size)


def _recorded(node: Json, width: int, count: int | None = None) -> NDArray[np.float32]:
    """Rows of numbers out of a note, float32 [n, width]."""
    import numpy as np

    from vae_gen.internal.arrays import LARGEST_LATENT

    values = node.array()
    fits = values.ndim == 2 and values.shape[1] == width and 1 <= len(values) <= MOST_RECORDED
    if not fits or (count is not None and len(values) != count) or not (np.abs(values) <= LARGEST_LATENT).all():
        raise node.wrong(f"{count or 'a few'} rows of {width} numbers")
    return values.astype(np.float32)


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
    gives the same pictures again, with the same details. Latents of another model are refused without --anyway. Parquet
    files, such as encode writes, are not read.
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
    plain = rows.latents if isinstance(rows, Samples) else rows
    noise = rows.noise if isinstance(rows, Samples) and detail else None

    def decoded(done: int) -> Iterator[Pictures]:
        for at in range(done, count, CHUNK):
            part = rows[at : at + CHUNK]
            images = vae.decode(part, detail=detail)
            yield Pictures(images if dtype == "float32" else to_grey_levels(images), plain[at : at + CHUNK])

    def chunks(done: int) -> Iterator[Pictures]:
        return console.watched(decoded(done), count, done)

    kept = 0
    if target.format in out.GRIDS:
        out.check_size(count, vae.manifest.image, scale, columns, target.format)
        with target.open() as file:
            made = list(chunks(0))
            levels = np.concatenate([chunk.images for chunk in made])
            frames = out.Frames.still(picture_grid(levels, columns, scale, out.GAP))
            note = make_note(vae.manifest, plain, noise, detail, Size("grid", columns, scale))
            file.write(out.encoded(frames, target.format, note))
        if show:
            from .sheets import preview

            preview(frames)
    else:
        digest = hashlib.sha256(plain.tobytes() + (b"" if noise is None else noise.tobytes()))
        record = {"command": "decode", "latents": digest.hexdigest()[:12], "detail": detail, "provider": provider}
        bulk = out.Bulk(chunks, count, 0, vae.manifest, {}, record)

        def note_of(index: int) -> str:
            one = slice(index, index + 1)
            size = Size("single", 1, scale or 1)
            return make_note(vae.manifest, plain[one], None if noise is None else noise[one], detail, size)

        kept = out.write_bulk(target, bulk, dtype, scale, note_of, console, resume=resume, show=show)

    console.message(f"{out.counted(count)} of {out.counted(count, 'latent')} → {target.name}")
    facts = {"count": count, **target.facts, "shape": [count, *vae.image_shape], "dtype": dtype, "detail": detail}
    if resume:
        facts["kept"] = kept
    console.result("decode", vae.manifest, facts)
