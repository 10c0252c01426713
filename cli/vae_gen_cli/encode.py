"""`vae-gen encode`: the mean and log-variance of the posteriors of pictures, as .npz, JSON or a folder of shards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import options
from . import output as out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def encode(
    context: typer.Context,
    images: options.Images,
    invert: options.Invert = "auto",
    trim: options.Trim = True,
    output: Annotated[str | None, options.output("latents.npz", options.LATENTS, "--out")] = None,
    format_name: Annotated[Literal["npz", "json", "parquet"] | None, options.FORMAT] = None,
    resume: options.ResumeShards = False,
    shard: options.Shard = None,
    shard_size: options.ShardSize = 262_144,
    engine: options.Engine = "local",
    address: options.Address = None,
    workers: options.Workers = None,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Turn pictures into latents.

    The output has the mean and the log_variance of each picture's posterior, and the names of the files. The command
    decode takes such a .npz or JSON file and decodes the means; it does not read Parquet. With --format parquet IMAGE
    may also be a folder, an .npz or a Parquet file of pictures.
    """
    console = out.Console(as_json, quiet)
    if format_name in options.SHARDED:
        from .bulk.command import choose_engine, encode_in_bulk, parse_request

        request = parse_request(context, output, format_name, shard, shard_size, resume, ())
        make = choose_engine(context, engine, address, workers, console)
        vae = options.load(model, threads, provider, "encoder", "decoder")
        encode_in_bulk(request, images, invert, trim, vae, threads, provider, console, make)
        return
    options.refuse_idle_shard_options(context, "--resume")
    formats = ("json", "npz") if output == out.STANDARD_OUTPUT else ("npz", "json")
    target = out.parse_target(output, format_name, formats, console, "latents", True)

    import zipfile

    import numpy as np

    from vae_gen.internal.losses import losses_of
    from vae_gen.internal.saving import maker, write_entry

    from .inputs import read_pictures, warn_of_unfamiliar

    vae = options.load(model, threads, provider, "encoder", "decoder")
    pictures = read_pictures(images, vae.manifest.image, invert, trim, console)
    with target.open() as file:
        mean, log_variance = posterior = vae.encode(pictures.images)
        if target.format == "npz":
            with zipfile.ZipFile(file, "w") as archive:
                write_entry(archive, "mean", mean)
                write_entry(archive, "log_variance", log_variance)
                write_entry(archive, "files", np.array(pictures.names))
                write_entry(archive, "model", maker(vae.manifest))
        else:
            document: dict[str, Any] = {"mean": _rows(mean), "log_variance": _rows(log_variance)}
            document |= {"files": pictures.names, "model": out.model_facts(vae.manifest)}
            file.write(f"{json.dumps(document)}\n".encode())

    made, manifest = vae.decode(mean, detail=False), vae.manifest
    losses = losses_of(pictures.images, made, posterior, manifest.pixel_variance, manifest.familiar)
    warn_of_unfamiliar(pictures.names, losses.familiar, console)
    console.message(f"{out.counted(len(mean), 'latent')} → {target.name}")
    facts = {"count": len(mean), "files": pictures.names, "familiar": losses.familiar.tolist(), **target.facts}
    console.result("encode", vae.manifest, facts)


def _rows(values: NDArray[np.float32]) -> list[list[float]]:
    """The values with nine digits each, which are enough to restore a float32 exactly."""
    return [[float(f"{value:.9g}") for value in row] for row in values.tolist()]
