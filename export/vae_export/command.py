"""The command `vae-export`. It imports PyTorch inside its function, so that `--help` works without it."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from vae_gen import ExportMismatchError, find_model
from vae_gen.internal.command import run_command
from vae_train import options
from vae_train.options import OUTPUT, option

CONTENT = "Content of the model folder"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run of vae-train.")],
    out: Annotated[
        Path,
        option(OUTPUT, "The model folder to write. The folder above it must exist.", "--out", "-o", metavar="DIR"),
    ],
    force: Annotated[
        bool, option(OUTPUT, "Replace a model folder that is there. A folder with other files stays.", "--force")
    ] = False,
    as_json: Annotated[bool, option(OUTPUT, "Print the report as JSON on standard output.", "--json")] = False,
    quiet: Annotated[bool, option(OUTPUT, "Print nothing but errors.", "--quiet", "-q")] = False,
    name: Annotated[
        str | None, option(CONTENT, "The name of the model.", metavar="NAME", default="the name of the folder")
    ] = None,
    version: Annotated[str, option(CONTENT, "The version of the model.", "--model-version", metavar="TEXT")] = "1.0.0",
    weights: Annotated[
        Literal["last", "best"] | None,
        option(CONTENT, "The weights of the run: after its last epoch, or with the lowest validation -ELBO.",
               default="last; best if the run has fewer than 2000 images"),
    ] = None,
    licence: Annotated[
        str, option(CONTENT, "The licence of the model, for example MIT.", metavar="TEXT")
    ] = "unspecified",
    data_licence: Annotated[
        str | None,
        option(CONTENT, "The licence of the data set.", metavar="TEXT", default="unspecified; MIT for Fashion-MNIST"),
    ] = None,
    prior: Annotated[
        Literal["normal", "fitted"],
        option(CONTENT, "The prior that samples come from by default. The model has both in any case."),
    ] = "fitted",
    keep_prior: Annotated[
        str | None,
        option(CONTENT, "Take the fitted prior of this model, so that seeds keep their latents.", metavar="NAME|DIR",
               default="a new one is fitted"),
    ] = None,
    trim_prior: Annotated[
        float,
        option(CONTENT, "Take a share of each class out of the fitted prior: latents with the largest details, whose "
               "pictures look broken more often.", metavar="SHARE"),
    ] = 0,
    detail: Annotated[
        Literal["default", "available", "none"],
        option(CONTENT, "Whether the run's detail stage makes samples by default, only on request, or is left out."),
    ] = "default",
    class_shift: Annotated[
        float | None,
        option(CONTENT, "What the detail stage's noise gets at the number of a picture's class. More than in its "
               "training makes pictures more typical of their classes.", metavar="X", default="that of its training"),
    ] = None,
    portable: Annotated[
        bool,
        option(CONTENT, "Also write generator.portable.onnx and latents.portable.onnx, for engines other than ONNX "
               "Runtime that compute with 32 bits.", "--portable"),
    ] = False,
    weight_format: Annotated[
        Literal["float32", "float16", "int8"],
        option(CONTENT, "How the graphs store large weights. They are rounded before anything is measured, and every "
               "engine computes with them in float32. int8 makes the files four times smaller."),
    ] = "float32",
    data: options.MovedData = None,
    data_dir: options.DataDir = None,
    debug: options.Debug = False,
) -> None:
    """Turn a run into a model folder.

    The encoder, the decoder, the generator and its latents become ONNX graphs, together with a prior that is fitted to
    the latents of the training images. Every graph is proved: its results must be those of PyTorch. If one check fails,
    nothing is written, and the exit code is 6.
    """
    options.require_train_extra("onnx", "onnxscript", "sklearn")
    from .place import check_place
    from .stages import Stages

    check_place(out, force=force)  # in the first second: PyTorch is not imported yet
    with Stages(quiet=quiet) as stages:
        stages("loading PyTorch and the run")
        from vae_train.detail.folder import load_detail, saved_settings
        from vae_train.images.loading import images_of_run
        from vae_train.images.settings import FEW
        from vae_train.progress import DecodingProgress
        from vae_train.run_folder import load_run

        from .package import export_run

        loaded = load_run(run, weights=weights or "last")
        with DecodingProgress() as progress:
            images = images_of_run(
                loaded.record, data=data, root=data_dir, workers=os.cpu_count() or 1, progress=progress
            )
        if weights is None and len(images.train_images) < FEW and not loaded.config.full:
            loaded = load_run(run, weights="best")
        has_stage = detail != "none" and saved_settings(loaded) is not None
        report, measured = export_run(
            loaded,
            images,
            out,
            name=name or out.resolve().name,
            version=version,
            default_prior=prior,
            keep_prior=None if keep_prior is None else find_model(keep_prior),
            trim_prior=trim_prior,
            detail=load_detail(loaded) if has_stage else None,
            details_by_default=detail == "default",
            class_shift=class_shift,
            licence=licence,
            data_licence=data_licence,
            portable=portable,
            weight_format=weight_format,
            force=force,
            progress=stages,
        )
    if not quiet:
        for line in report.lines():
            typer.echo(line, err=True)
    if as_json:
        typer.echo(json.dumps({"passed": report.passed, **report.to_json(), "metrics": measured.to_json()}))
    if not report.passed:
        raise ExportMismatchError(
            f"expected graphs that agree with PyTorch, got a miss in {'; '.join(report.misses())}; nothing was written"
        )
    if not quiet:
        typer.echo(
            f"{out}: test −ELBO {measured.neg_elbo:.2f} nats, PSNR {measured.psnr_db:.2f} dB, "
            f"{measured.active_units} active units",
            err=True,
        )
        typer.echo(f"next: vae-gen sample -n 50 --model {shlex.quote(str(out))} -o samples.png", err=True)


app = options.new_app(
    export,
    "vae-export my-run --out my-model",
    "vae-export my-run --out my-model --model-version 2.0.0 --prior normal",
    'vae-export my-run --out my-model --licence MIT --data-licence "CC BY 4.0"',
)


def main() -> int:
    """Runs `vae-export` on this process's arguments and returns the exit code."""
    return run_command(app, "vae-export")
