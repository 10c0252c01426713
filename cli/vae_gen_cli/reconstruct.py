"""`vae-gen reconstruct`: pictures through the model and back, with what that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from . import options
from .console import Console, counted
from .targets import drawn, parse_target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vae_gen import Posterior

SCALE = 4


def reconstruct(
    images: options.Images,
    invert: options.Invert = "auto",
    output: Annotated[str | None, options.output("reconstruction.png", "a sheet (.png, .webp)")] = None,
    format_name: Annotated[Literal["png", "webp"] | None, options.FORMAT] = None,
    columns: options.Columns = 10,
    scale: options.Scale = None,
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
    picture's posterior.
    """
    console = Console(as_json, quiet)
    target = parse_target(output, format_name, ("png", "webp"), console, "reconstruction")

    import numpy as np

    from vae_gen import to_grey_levels

    from .drawing import preview
    from .frames import Frames, check_drawing, encode
    from .metadata import make_note
    from .picture_files import read_pictures
    from .sheets import cards

    generator = options.ModelChoice(model, threads, provider).load("encoder", "decoder")
    manifest = generator.manifest
    pictures = read_pictures(images, manifest.image, invert, console)
    check_drawing(2 * len(pictures.images), manifest.image, scale or SCALE)
    with target.open() as file:
        posterior = generator.encode(pictures.images)
        made = generator.decode(posterior.mean, detail=False)
        reconstruction, kl = losses(pictures.images, made, posterior)
        stacked = to_grey_levels(np.stack([pictures.images, made], axis=1))  # [n, 2, channels, height, width]
        labels = [f"{loss:.1f} nats" for loss in reconstruction + kl]
        frames = Frames.still(cards(stacked, labels, columns, scale or SCALE))
        note = make_note("reconstruct", {"count": len(labels), "source": "images"}, manifest)
        file.write(encode(frames, target.format, note))
    if show:
        preview(frames)

    mean = float((reconstruction + kl).mean())
    console.say(f"{counted(len(labels))}, {mean:.1f} nats on average → {target.name}")
    rows = [
        {"file": name, "loss_nats": round(a + b, 3), "reconstruction_nats": round(a, 3), "kl_nats": round(b, 3)}
        for name, a, b in zip(pictures.names, reconstruction.tolist(), kl.tolist(), strict=True)
    ]
    console.result("reconstruct", manifest, {"pictures": rows, "count": len(rows), **drawn(target)})


def losses(
    images: NDArray[np.float32], made: NDArray[np.float32], posterior: Posterior
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reconstruction and KL of each picture, in nats, float64 [n] each.

    With x the picture and p the decoder's output at the posterior's mean:

        reconstruction = −Σ x ln p + (1 − x) ln(1 − p)          over pixels
        KL             = ½ Σ mean² + exp(log_variance) − log_variance − 1      over dimensions

    p is kept 2⁻²⁴ away from 0 and 1, the last float32 below 1, where its logarithm would be infinite.
    """
    import numpy as np

    x, p = images.astype(np.float64), np.clip(made.astype(np.float64), 2**-24, 1 - 2**-24)
    reconstruction = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=(1, 2, 3))
    mean, log_variance = posterior.mean.astype(np.float64), posterior.log_variance.astype(np.float64)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).sum(axis=1)
    return reconstruction, kl
