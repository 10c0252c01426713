"""`vae-gen reconstruct`: pictures above their reconstructions, with the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from . import options
from . import output as out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vae_gen import Posterior


def reconstruct(
    images: options.Images,
    invert: options.Invert = "auto",
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

    The number below each pair is the loss in nats: the cross-entropy of the pixels plus the KL, both at the mean of the
    picture's posterior. The loss is always that of the decoder's mean picture, even if details are shown.
    """
    console = out.Console(as_json, quiet)
    target = out.parse_target(output, format_name, out.GRIDS, console, "reconstruction")

    import numpy as np

    from vae_gen import to_grey_levels
    from vae_gen.internal.choice import resolve_detail

    from .inputs import read_pictures
    from .sheets import cards, preview

    vae = options.load(model, threads, provider, "encoder", "decoder")
    detail = resolve_detail(vae.manifest, detail)
    pictures = read_pictures(images, vae.manifest.image, invert, console)
    count = len(pictures.images)
    out.check_size(2 * count, vae.manifest.image, scale)
    with target.open() as file:
        posterior = vae.encode(pictures.images)
        mean_pictures = vae.decode(posterior.mean, detail=False)
        reconstruction, kl = losses(pictures.images, mean_pictures, posterior)
        made = vae.decode(posterior.mean, detail=True) if detail else mean_pictures
        stacked = to_grey_levels(np.stack([pictures.images, made], axis=1))  # [n, 2, channels, height, width]
        labels = [f"{loss:.1f} nats" for loss in reconstruction + kl]
        frames = out.Frames.still(cards(stacked, labels, columns, scale))
        note = out.make_note("reconstruct", {"count": count, "source": "images"}, vae.manifest)
        file.write(out.encoded(frames, target.format, note))
    if show:
        preview(frames)

    mean = float((reconstruction + kl).mean())
    console.message(f"{out.counted(count)}, {mean:.1f} nats on average → {target.name}")
    rows = [
        {"file": name, "loss_nats": round(a + b, 3), "reconstruction_nats": round(a, 3), "kl_nats": round(b, 3)}
        for name, a, b in zip(pictures.names, reconstruction.tolist(), kl.tolist(), strict=True)
    ]
    facts = {"pictures": rows, "count": count, **target.facts, "detail": detail}
    console.result("reconstruct", vae.manifest, facts)


def losses(
    images: NDArray[np.float32], made: NDArray[np.float32], posterior: Posterior
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the reconstruction loss and the KL of each picture in nats, float64 [n] each.

    With x the picture and p the decoder's mean picture at the posterior's mean:

        reconstruction = −Σ x ln p + (1 − x) ln(1 − p)          over pixels
        KL             = ½ Σ mean² + exp(log_variance) − log_variance − 1      over dimensions

    p is kept 2⁻²⁴ away from 0 and 1, because its logarithm is infinite there.
    """
    import numpy as np

    x, p = images.astype(np.float64), np.clip(made.astype(np.float64), 2**-24, 1 - 2**-24)
    reconstruction = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=(1, 2, 3))
    mean, log_variance = posterior.mean.astype(np.float64), posterior.log_variance.astype(np.float64)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).sum(axis=1)
    return reconstruction, kl
