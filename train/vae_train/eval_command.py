"""The command `vae-eval`. It imports PyTorch and ONNX Runtime inside its functions, so that `--help` needs neither."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vae_gen import InputError, UsageError
from vae_gen.internal.command import run_command
from vae_gen.internal.files import write_file

from . import options
from .config import FEWEST_SAMPLES, QUALITY_PARTS, QualitySettings
from .options import MACHINE, OUTPUT, RUN, option

if TYPE_CHECKING:
    from vae_gen import VAE

    from .evaluation import Evaluation
    from .images.image_set import ImageSet

REFERENCE = "fashion-mnist-12d-reference"
"""The shipped model with which --quality compares others."""

Weights = Literal["last", "best"]

QUALITY = "Quality"
QUALITY_OPTIONS = ("only", "report", "reference", "seeds", "samples", "iwae_k", "iwae_images")


def quality_number(name: str, help: str) -> Any:
    """The option for one of the numbers of `QualitySettings`."""
    return option(QUALITY, help, metavar="N", default=str(getattr(QualitySettings(), name)))


def evaluate(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A folder of a run, a model folder, or the name of a shipped model.")
    ],
    weights: Annotated[
        Weights, option(RUN, "The weights of a run: after its last epoch, or with the lowest validation -ELBO.")
    ] = "last",
    output: Annotated[
        str | None, option(OUTPUT, "Also write the figures as JSON to this file.", "--output", "-o", metavar="FILE")
    ] = None,
    as_json: options.Json = False,
    data: Annotated[
        str | None,
        option(MACHINE, "Your own images that a model folder was made from. For a run, only if they have moved.",
               metavar="PATH", default=False),
    ] = None,
    data_dir: options.DataDir = None,
    threads: options.Threads = None,
    quality: Annotated[
        bool,
        option(QUALITY, "Measure likelihood bounds, samples and the latent space of a model folder.", "--quality"),
    ] = False,
    only: Annotated[
        str | None,
        option(QUALITY, "The parts to measure, separated by commas.", metavar="PARTS", default=",".join(QUALITY_PARTS)),
    ] = None,
    report: Annotated[
        Path | None,
        option(QUALITY, "Write metrics.json, report.md and pictures to this folder.", metavar="DIR"),
    ] = None,
    reference: Annotated[
        str | None, option(QUALITY, "A second model to compare with, or none.", metavar="MODEL", default=REFERENCE)
    ] = None,
    seeds: Annotated[int | None, quality_number("seeds", "The number of seeds, whose spread is reported.")] = None,
    samples: Annotated[
        int | None,
        option(QUALITY, "The number of pictures in a set.", metavar="N",
               default=f"{QualitySettings().samples}, or the number of test images if they are your own and fewer"),
    ] = None,
    iwae_k: Annotated[
        int | None, quality_number("iwae_k", "The latents per image for the importance-weighted bound.")
    ] = None,
    iwae_images: Annotated[int | None, quality_number("iwae_images", "The test images for that bound.")] = None,
    debug: options.Debug = False,
) -> None:
    """Measure a model on the test images of its data set.

    This prints the -ELBO, its two parts (reconstruction and KL) in nats per image, the PSNR of reconstructions, and
    the number of active units. A run is measured in PyTorch and a model folder in ONNX Runtime, with the same noise, so
    that a correct export gives the same figures to 0.01 nats. docs/evaluation.md explains the figures of --quality.
    """
    given = {name: value for name in QUALITY_OPTIONS if (value := context.params[name]) is not None}
    if given and not quality:
        option = "--" + next(iter(given)).replace("_", "-")
        raise UsageError(f"{option} only applies to --quality; add --quality, or leave {option} out")
    is_run = _is_run(path)
    if quality and is_run:
        raise InputError(f"expected a model folder for --quality, got the folder of a run, {path}; export it first")
    options.require_train_extra(*(["sklearn"] if quality else []))
    if is_run:
        figures, page = _measure_run(path, data, data_dir, threads, weights)
    elif quality:
        figures, page = _measure_quality(path, data, data_dir, threads, given, report)
    else:
        figures, page = _measure_model(path, data, data_dir, threads)
    text = json.dumps(figures, indent=2, allow_nan=False) + "\n"
    if output is not None and output != "-":
        write_file(output, text)
    typer.echo(text if as_json or output == "-" else page, nl=False)


Figures = tuple[dict[str, Any], str]
"""The figures as JSON values, and as a page for people."""


def _is_run(path: Path) -> bool:
    """Whether the path is the folder of a run; otherwise it may be a model folder or the name of a shipped model."""
    if (path / "config.json").exists():
        return True
    if path.exists() and not (path / "manifest.json").exists():
        raise InputError(
            f"expected a run's folder or a model folder, found neither config.json nor manifest.json in {path}; "
            "give what vae-train or vae-export wrote"
        )
    return False


def _measure_run(
    path: Path, data: str | None, data_dir: Path | None, threads: int | None, weights: Weights
) -> Figures:
    import torch

    from .devices import use_threads
    from .evaluation import evaluate_torch
    from .images.loading import images_of_run
    from .progress import DecodingProgress
    from .run_folder import load_run

    run = load_run(path, weights)
    with DecodingProgress() as progress:
        images = images_of_run(run.record, data=data, root=data_dir, workers=os.cpu_count() or 1, progress=progress)
    header = {
        "model": path.resolve().name,
        "engine": f"PyTorch {torch.__version__}",
        "data": images.name,
        "weights": weights,
        "weights_sha256": run.weights_sha256,
    }
    with use_threads(threads):
        evaluation = evaluate_torch(run.vae, images.test_images.numpy())
    return header | evaluation.to_json(), table(header, evaluation)


def _measure_model(path: Path, data: str | None, data_dir: Path | None, threads: int | None) -> Figures:
    from vae_gen import VAE

    from .evaluation import evaluate_onnx
    from .images.loading import images_of_model
    from .progress import DecodingProgress

    model = VAE(path, threads=threads)
    with DecodingProgress() as progress:
        images = images_of_model(
            model.manifest.document, data=data, root=data_dir, workers=os.cpu_count() or 1, progress=progress
        )
    header, evaluation = _header(model, images), evaluate_onnx(model, images.test_images.numpy())
    return header | evaluation.to_json(), table(header, evaluation)


def _measure_quality(
    path: Path, data: str | None, data_dir: Path | None, threads: int | None, given: dict[str, Any],
    report: Path | None,
) -> Figures:
    from vae_gen import VAE, shipped_models

    from .devices import use_threads
    from .images.loading import images_of_model
    from .progress import DecodingProgress
    from .quality.measure import for_shipped_judges, measure_quality
    from .quality.report import markdown, write_report

    reference = given.get("reference")
    numbers = {name: value for name, value in given.items() if name in ("seeds", "samples", "iwae_k", "iwae_images")}
    parts = tuple(part.strip() for part in given["only"].split(",")) if "only" in given else QUALITY_PARTS
    settings = QualitySettings(parts, **numbers)
    model = VAE(path, threads=threads)
    shipped_judges = for_shipped_judges(model.manifest)
    if reference is None and shipped_judges and REFERENCE in shipped_models():
        reference = REFERENCE
    other = None if reference in (None, "none") else VAE(reference, threads=threads)
    with DecodingProgress() as progress:
        images = images_of_model(
            model.manifest.document, data=data, root=data_dir, workers=os.cpu_count() or 1, progress=progress
        )
    if not shipped_judges and "samples" not in numbers:
        settings = replace(settings, samples=max(FEWEST_SAMPLES, min(settings.samples, len(images.test_images))))
    known = model.manifest.document.get("data", {}).get("sha256", images.sha256)
    if known != images.sha256:
        typer.echo(f"note: {images.name} is not exactly the set that the model was trained on", err=True)
    header = {**_header(model, images), "reference": None if other is None else other.manifest.name}
    with use_threads(threads):
        quality = measure_quality(model, images, settings, other, lambda line: typer.echo(line, err=True))
    figures = header | quality.figures
    if report is not None:
        write_report(report, figures, quality.pictures)
    return figures, markdown(figures)


def _header(model: VAE, data: ImageSet) -> dict[str, Any]:
    """What was measured, and with which engine."""
    import onnxruntime

    return {
        "model": model.manifest.name,
        "engine": f"ONNX Runtime {onnxruntime.__version__}",
        "data": data.name,
        "decoder_sha256": model.manifest.fingerprint,
    }


def table(header: dict[str, Any], evaluation: Evaluation) -> str:
    """The figures for people, in ASCII, with the dimensions in the order of their KL."""
    kl = evaluation.kl_per_dimension
    if evaluation.floor_nats is None:
        note = f"with a Gaussian of variance {evaluation.pixel_variance:.5f}"
    else:
        note = f"no model can be below {evaluation.floor_nats:.3f}"
    lines = [
        f"{header['model']} in {header['engine']}, {evaluation.images} test images of {header['data']}",
        "",
        f"-ELBO           {evaluation.neg_elbo:9.3f} nats per image",
        f"reconstruction  {evaluation.reconstruction:9.3f} ({note})",
        f"KL              {evaluation.kl:9.3f}",
        f"PSNR            {evaluation.psnr_db:9.3f} dB, of the images that posterior means are decoded to",
        f"active units    {evaluation.active_units:5d} of {len(kl)}",
        "",
        "dimension       KL  variance of the posterior mean",
    ]
    for dimension in sorted(range(len(kl)), key=lambda at: -kl[at]):
        lines.append(f"{dimension:9d}  {kl[dimension]:7.4f}  {evaluation.posterior_mean_variance[dimension]:.4f}")
    return "\n".join(lines) + "\n"


app = options.new_app(
    evaluate,
    "vae-eval my-run",
    "vae-eval my-model --json",
    "vae-eval my-model --data my-icons/",
    "vae-eval my-model --quality --data my-icons/ --report my-report",
    "vae-eval my-model --quality --only likelihood --iwae-k 5000",
)


def main() -> int:
    """Runs `vae-eval` on this process's arguments and returns the exit code."""
    return run_command(app, "vae-eval")


if __name__ == "__main__":
    sys.exit(main())
