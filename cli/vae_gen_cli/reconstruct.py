"""`vae-gen reconstruct`: pictures above their reconstructions, with the loss."""

from __future__ import annotations

from typing import Annotated, Literal

from . import options
from . import output as out

ROW = ("file", "loss_nats", "reconstruction_nats", "kl_nats", "psnr_db", "unexplained", "familiar")
"""The keys of a picture in the JSON."""


def reconstruct(
    images: options.Images,
    invert: options.Invert = "auto",
    trim: options.Trim = True,
    detail: options.Detail = None,
    output: Annotated[str | None, options.output("reconstruction.png", "a sheet (.png, .webp)")] = None,
    format_name: Annotated[Literal["png", "webp"] | None, options.FORMAT] = None,
    columns: options.Columns = 10,
    scale: options.SheetScale = 4,
    show: options.Show = False,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Show pictures above their reconstructions.

    The numbers below each pair are the loss in nats, which is that of the pixels plus the KL, and the PSNR in decibels,
    both at the mean of the picture's posterior. Nats of grey pictures are a cross-entropy, and nats of pictures in
    colour are those of a Gaussian, which may be below 0. Both numbers are always those of the decoder's mean picture,
    even if details are shown.
    """
    console = out.Console(as_json, quiet)
    target = out.parse_target(output, format_name, out.GRIDS, console, "reconstruction")

    import numpy as np

    from vae_gen import to_grey_levels
    from vae_gen.internal.choice import resolve_detail
    from vae_gen.internal.losses import losses_of

    from .inputs import read_pictures, warn_of_unfamiliar
    from .sheets import cards, preview

    vae = options.load(model, threads, provider, "encoder", "decoder")
    detail = resolve_detail(vae.manifest, detail)
    pictures = read_pictures(images, vae.manifest.image, invert, trim, console)
    count = len(pictures.images)
    out.check_size(2 * count, vae.manifest.image, scale)
    with target.open() as file:
        posterior = vae.encode(pictures.images)
        mean_pictures = vae.decode(posterior.mean, detail=False)
        losses = losses_of(
            pictures.images, mean_pictures, posterior, vae.manifest.pixel_variance, vae.manifest.familiar
        )
        made = vae.decode(posterior.mean, detail=True) if detail else mean_pictures
        stacked = to_grey_levels(np.stack([pictures.images, made], axis=1))  # [n, 2, channels, height, width]
        labels = [f"{nats:.1f} nats\n{psnr:.1f} dB" for nats, psnr in zip(losses.nats, losses.psnr_db, strict=True)]
        frames = out.Frames.still(cards(stacked, labels, columns, scale))
        note = out.make_note("reconstruct", {"count": count, "source": "images"}, vae.manifest)
        file.write(out.encoded(frames, target.format, note))
    if show:
        preview(frames)

    average = f"{losses.nats.mean():.1f} nats and a PSNR of {losses.psnr_db.mean():.1f} dB on average"
    console.message(f"{out.counted(count)}, {average} → {target.name}")
    warn_of_unfamiliar(pictures.names, losses.familiar, console)
    columns_of_row = losses.nats, losses.reconstruction_nats, losses.kl_nats, losses.psnr_db, losses.unexplained
    rows = [
        dict(zip(ROW, (name, *(round(float(number), 3) for number in numbers), bool(familiar)), strict=True))
        for name, familiar, *numbers in zip(pictures.names, losses.familiar, *columns_of_row, strict=True)
    ]
    facts = {"pictures": rows, "count": count, **target.facts, "detail": detail}
    console.result("reconstruct", vae.manifest, facts)
