"""`vae-export`: a run folder in, a proved model folder out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from vae_gen import ExportMismatchError
from vae_gen.internal.boundary import run_command
from vae_train.options import require_train_extra

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The run folder that vae-train wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MODEL_DIR", help="The model folder to write.")],
    name: Annotated[str | None, typer.Option(help="The model's name; MODEL_DIR's own name by default.")] = None,
    version: Annotated[str, typer.Option("--model-version", help="The model's own version.")] = "1.0.0",
    weights: Annotated[
        Literal["last", "best"],
        typer.Option(help="The weights after the last epoch, or those with the lowest validation −ELBO."),
    ] = "last",
    prior: Annotated[
        Literal["normal", "fitted"],
        typer.Option(help="What generator.onnx and vae-gen sample draw from by default; latents.onnx has both."),
    ] = "fitted",
    detail: Annotated[
        Literal["default", "available", "none"],
        typer.Option(help="The run's detail stage, where it has one: what generator.onnx and vae-gen sample draw with, "
                     "or only to be asked for, or left out."),
    ] = "default",
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Fashion-MNIST's IDX files, if they are not found without.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no checklist.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write RUN_DIR's encoder, decoder, generator and latents as ONNX, prove them against PyTorch, and describe them.

    A prior is fitted to the latents of the training images on the way (about half a minute).

    The model folder appears only if every check passes; a miss ends with exit code 6 and nothing written.
    """
    require_train_extra("onnx", "onnxscript", "sklearn")
    from vae_train.data import load_fashion_mnist
    from vae_train.detail.folder import load_detail, saved_settings
    from vae_train.run_folder import load_run

    from .package import export_run, refuse_strangers

    refuse_strangers(out)
    loaded = load_run(run, weights=weights)
    data = load_fashion_mnist(data_dir)
    has_stage = detail != "none" and saved_settings(loaded) is not None
    report, measured = export_run(
        loaded,
        data,
        out,
        name=name or out.resolve().name,
        version=version,
        default_prior=prior,
        detail=load_detail(loaded) if has_stage else None,
        details_by_default=detail == "default",
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
        typer.echo(f"{out}: test −ELBO {measured.neg_elbo:.2f} nats, {measured.active_units} active units", err=True)


def main() -> int:
    """Run `vae-export` on this process's arguments; its exit code."""
    return run_command(app, "vae-export")
