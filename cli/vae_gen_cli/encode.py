"""`vae-gen encode`: pictures to the mean and log-variance of their posterior, as .npz or JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .console import Console, counted
from .metadata import model_facts
from .targets import drawn, parse_target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def encode(
    images: Annotated[list[str], typer.Argument(metavar="IMAGES", help="Pictures of any size and mode, or .npy.")],
    output: options.Output = "latents.npz",
    format_name: options.Format = None,
    invert: options.InvertOption = options.Invert.AUTO,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Find the latents of pictures: mean, log_variance and files, to .npz or .json (-o - prints JSON).

    `decode` takes these files, and decodes the mean.
    """
    console = Console(as_json, quiet)
    target = parse_target(output, format_name, ("json", "npz"), console)

    import zipfile

    import numpy as np

    from vae_gen.internal.saving import write_entry

    from .picture_files import read_pictures

    generator = options.ModelChoice(model, threads, provider).load("encoder")
    pictures = read_pictures(images, generator.manifest.image, invert, console)
    with target.open() as file:
        mean, log_variance = generator.encode(pictures.images)
        if target.format == "npz":
            with zipfile.ZipFile(file, "w") as archive:
                write_entry(archive, "mean", mean)
                write_entry(archive, "log_variance", log_variance)
                write_entry(archive, "files", np.array(pictures.names))
        else:
            document: dict[str, Any] = {"mean": _rows(mean), "log_variance": _rows(log_variance)}
            document |= {"files": pictures.names, "model": model_facts(generator.manifest)}
            file.write(f"{json.dumps(document)}\n".encode())

    console.say(f"{counted(len(mean), 'latent')} → {target.name}")
    console.result("encode", generator.manifest, {"count": len(mean), "files": pictures.names, **drawn(target)})


def _rows(values: NDArray[np.float32]) -> list[list[float]]:
    """Numbers with the nine digits that bring a float32 back exactly."""
    return [[float(f"{value:.9g}") for value in row] for row in values.tolist()]
