"""`vae-eval`: the figures of a run (in PyTorch) or of a model folder (in ONNX Runtime) over the test images.

With `--quality`, everything that `vae_train.quality` measures of a model folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vae_gen import InputError, UsageError
from vae_gen.internal.boundary import run_command
from vae_gen.internal.files import write_file

from .options import require_train_extra

if TYPE_CHECKING:
    from vae_gen import VAE

    from .data import FashionMnist
    from .evaluation import Evaluation

REFERENCE = "fashion-mnist-12d-reference"
"""The shipped model that others are compared with."""

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def evaluate(
    path: Annotated[Path, typer.Argument(help="A run's folder, a model folder, or the name of a shipped model.")],
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder with Fashion-MNIST's four IDX files, gzipped or not. "
                     "[default: Debian's dataset-fashion-mnist, else the user's cache, else a download into it]"),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="A run's weights: those of its last epoch, or best, with the lowest validation -ELBO.")
    ] = "last",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")] = False,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="Write JSON to this file too; - is the same as --json.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads. [default: PyTorch's or the runtime's own choice]")
    ] = None,
    quality: Annotated[
        bool, typer.Option("--quality", help="Measure likelihood bounds, samples and latent space of a model folder.")
    ] = False,
    only: Annotated[
        str | None, typer.Option(help="With --quality: some of likelihood,samples,latent. [default: all]")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="With --quality: write metrics.json, report.md and pictures to this folder.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="With --quality: a model whose figures stand beside; none for no other. "
                     f"[default: {REFERENCE}, if it is shipped]"),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="With --quality: seeds whose spread is reported. [default: 3]")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="With --quality: pictures in a set. [default: 10000]")] = None,
    iwae_k: Annotated[
        int | None, typer.Option(help="With --quality: draws an image for the bound. [default: 100]")
    ] = None,
    iwae_images: Annotated[
        int | None, typer.Option(help="With --quality: test images for the bound. [default: 1000]")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Measure a model on the 10000 test images: -ELBO, reconstruction and KL in nats an image, and active units.

    A run is measured in PyTorch and a model folder in ONNX Runtime, with the same noise: an export that is right
    gives the same figures to 0.01 nats. With --quality a model folder is also measured by importance-weighted bounds,
    by what two classifiers say of its samples, and by how smooth its latent space is.
    """
    if weights not in ("last", "best"):
        raise UsageError(f"expected --weights last or best, got {weights}")
    if threads is not None and threads < 1:
        raise UsageError(f"expected --threads of at least 1, got {threads}")
    settings = {"seeds": seeds, "samples": samples, "iwae_k": iwae_k, "iwae_images": iwae_images}
    chosen: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    if only is not None:
        chosen["parts"] = tuple(part.strip() for part in only.split(","))
    if quality:
        require_train_extra("sklearn")
        text, page = _quality(path, data_dir, threads, chosen, reference, report)
        _put(text, page, as_json, output)
        return
    if chosen or report is not None or reference is not None:
        options = ("only", "report", "reference", "seeds", "samples", "iwae-k", "iwae-images")
        raise UsageError(f"expected --quality with {', '.join(f'--{option}' for option in options)}; add --quality")
    require_train_extra()
    header, evaluation = _run(path, data_dir, weights, threads) if _is_run(path) else _model(path, data_dir, threads)
    text = json.dumps(header | evaluation.to_json(), indent=2, allow_nan=False) + "\n"
    _put(text, table(header, evaluation), as_json, output)


def _put(text: str, page: str, as_json: bool, output: str | None) -> None:
    """JSON to a file where one was named, and JSON or the page for people to standard output."""
    if output is not None and output != "-":
        write_file(output, text)
    typer.echo(text if as_json or output == "-" else page, nl=False)


def table(report: dict[str, Any], evaluation: Evaluation) -> str:
    """The figures for people, in ASCII, the dimensions ordered by their KL."""
    kl = evaluation.kl_per_dimension
    lines = [
        f"{report['model']} in {report['engine']}, {evaluation.images} test images of {report['data']}",
        "",
        f"-ELBO           {evaluation.neg_elbo:9.3f} nats an image",
        f"reconstruction  {evaluation.reconstruction:9.3f} (the floor of these pixels is {evaluation.floor_nats:.3f})",
        f"KL              {evaluation.kl:9.3f}",
        f"active units    {evaluation.active_units:5d} of {len(kl)}",
        "",
        "dimension       KL  variance of the posterior mean",
    ]
    for dimension in sorted(range(len(kl)), key=lambda at: -kl[at]):
        lines.append(f"{dimension:9d}  {kl[dimension]:7.4f}  {evaluation.posterior_mean_variance[dimension]:.4f}")
    return "\n".join(lines) + "\n"


def _is_run(path: Path) -> bool:
    from .run_folder import CONFIG

    if (path / CONFIG).exists():
        return True
    if path.exists() and not (path / "manifest.json").exists():
        raise InputError(
            f"expected a run's folder or a model folder, found neither config.json nor manifest.json in {path}; "
            "give what vae-train or vae-export wrote"
        )
    return False


def _run(path: Path, data_dir: Path | None, weights: str, threads: int | None) -> tuple[dict[str, Any], Evaluation]:
    import torch

    from .data import load_fashion_mnist
    from .evaluation import evaluate_torch
    from .run_folder import load_run

    if threads is not None:
        torch.set_num_threads(threads)
    run = load_run(path, "best" if weights == "best" else "last")
    data = load_fashion_mnist(data_dir)
    report = {
        "model": path.resolve().name,
        "engine": f"PyTorch {torch.__version__}",
        "data": data.name,
        "weights": weights,
        "weights_sha256": run.weights_sha256,
    }
    return report, evaluate_torch(run.vae, data.test_images.numpy())


def _model(path: Path, data_dir: Path | None, threads: int | None) -> tuple[dict[str, Any], Evaluation]:
    from vae_gen import VAE

    from .data import load_fashion_mnist
    from .evaluation import evaluate_onnx

    model = VAE(path, threads=threads)
    data = load_fashion_mnist(data_dir)
    return _header(model, data), evaluate_onnx(model, data.test_images.numpy())


def _header(model: VAE, data: FashionMnist) -> dict[str, Any]:
    """What was measured, and with what."""
    import onnxruntime

    return {
        "model": model.manifest.name,
        "engine": f"ONNX Runtime {onnxruntime.__version__}",
        "data": data.name,
        "decoder_sha256": model.manifest.fingerprint,
    }


def _quality(
    path: Path,
    data_dir: Path | None,
    threads: int | None,
    chosen: dict[str, Any],
    reference: str | None,
    folder: Path | None,
) -> tuple[str, str]:
    """The quality figures as JSON text and as Markdown; and all of it in the folder where one was named."""
    import torch

    from vae_gen import VAE, shipped_models

    from .data import load_fashion_mnist
    from .quality.measure import QualitySettings, measure_quality
    from .quality.report import markdown, to_json, write_report

    settings = QualitySettings(**chosen)
    if _is_run(path):
        raise InputError(f"expected a model folder for --quality, got a run's folder, {path}; run vae-export")
    if threads is not None:
        torch.set_num_threads(threads)
    model = VAE(path, threads=threads)
    if reference is None and REFERENCE in shipped_models():
        reference = REFERENCE
    other = None if reference in (None, "none") else VAE(reference, threads=threads)
    data = load_fashion_mnist(data_dir)
    header = {**_header(model, data), "reference": None if other is None else _header(other, data)["model"]}
    found = measure_quality(model, data, settings, other, lambda line: typer.echo(line, err=True))
    if folder is not None:
        write_report(folder, header, found)
    return to_json(header, found), markdown(header, found)


def main() -> int:
    """The exit code of `vae-eval` run on this process's arguments."""
    return run_command(app, "vae-eval")


if __name__ == "__main__":
    sys.exit(main())
