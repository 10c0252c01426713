"""The command `vae-eval`. It imports PyTorch and ONNX Runtime inside its functions, so that `--help` needs neither."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vae_gen import InputError, UsageError
from vae_gen.internal.command import run_command
from vae_gen.internal.files import write_file

from . import options
from .config import QUALITY_PARTS, QualitySettings
from .options import OUTPUT, RUN, option

if TYPE_CHECKING:
    from vae_gen import VAE

    from .data import FashionMnist
    from .evaluation import Evaluation

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
    samples: Annotated[int | None, quality_number("samples", "The number of pictures in a set.")] = None,
    iwae_k: Annotated[
        int | None, quality_number("iwae_k", "The latents per image for the importance-weighted bound.")
    ] = None,
    iwae_images: Annotated[int | None, quality_number("iwae_images", "The test images for that bound.")] = None,
    debug: options.Debug = False,
) -> None:
    """Measure a model on the 10000 test images.

    This prints the -ELBO, its two parts (reconstruction and KL) in nats per image, and the number of active units. A
    run is measured in PyTorch and a model folder in ONNX Runtime, with the same noise, so that a correct export gives
    the same figures to 0.01 nats. docs/evaluation.md explains the figures of --quality.
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
        figures, page = _measure_run(path, data_dir, threads, weights)
    elif quality:
        figures, page = _measure_quality(path, data_dir, threads, given, report)
    else:
        figures, page = _measure_model(path, data_dir, threads)
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


def _measure_run(path: Path, data_dir: Path | None, threads: int | None, weights: Weights) -> Figures:
    import torch

    from .data import load_fashion_mnist
    from .devices import use_threads
    from .evaluation import evaluate_torch
    from .run_folder import load_run

    run, data = load_run(path, weights), load_fashion_mnist(data_dir)
    header = {
        "model": path.resolve().name,
        "engine": f"PyTorch {torch.__version__}",
        "data": data.name,
        "weights": weights,
        "weights_sha256": run.weights_sha256,
    }
    with use_threads(threads):
        evaluation = evaluate_torch(run.vae, data.test_images.numpy())
    return header | evaluation.to_json(), table(header, evaluation)


def _measure_model(path: Path, data_dir: Path | None, threads: int | None) -> Figures:
    from vae_gen import VAE

    from .data import load_fashion_mnist
    from .evaluation import evaluate_onnx

    model, data = VAE(path, threads=threads), load_fashion_mnist(data_dir)
    header, evaluation = _header(model, data), evaluate_onnx(model, data.test_images.numpy())
    return header | evaluation.to_json(), table(header, evaluation)


def _measure_quality(
    path: Path, data_dir: Path | None, threads: int | None, given: dict[str, Any], report: Path | None
) -> Figures:
    from vae_gen import VAE, shipped_models

    from .data import load_fashion_mnist
    from .devices import use_threads
    from .quality.measure import measure_quality
    from .quality.report import markdown, write_report

    reference = given.get("reference")
    numbers = {name: value for name, value in given.items() if name in ("seeds", "samples", "iwae_k", "iwae_images")}
    parts = tuple(part.strip() for part in given["only"].split(",")) if "only" in given else QUALITY_PARTS
    settings = QualitySettings(parts, **numbers)
    if reference is None and REFERENCE in shipped_models():
        reference = REFERENCE
    model = VAE(path, threads=threads)
    other = None if reference in (None, "none") else VAE(reference, threads=threads)
    data = load_fashion_mnist(data_dir)
    header = {**_header(model, data), "reference": None if other is None else other.manifest.name}
    with use_threads(threads):
        quality = measure_quality(model, data, settings, other, lambda line: typer.echo(line, err=True))
    figures = header | quality.figures
    if report is not None:
        write_report(report, figures, quality.pictures)
    return figures, markdown(figures)


def _header(model: VAE, data: FashionMnist) -> dict[str, Any]:
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
    lines = [
        f"{header['model']} in {header['engine']}, {evaluation.images} test images of {header['data']}",
        "",
        f"-ELBO           {evaluation.neg_elbo:9.3f} nats per image",
        f"reconstruction  {evaluation.reconstruction:9.3f} (no model can be below {evaluation.floor_nats:.3f})",
        f"KL              {evaluation.kl:9.3f}",
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
    "vae-eval my-model --quality --report my-report",
    "vae-eval my-model --quality --only likelihood --iwae-k 5000",
)


def main() -> int:
    """Runs `vae-eval` on this process's arguments and returns the exit code."""
    return run_command(app, "vae-eval")


if __name__ == "__main__":
    sys.exit(main())
