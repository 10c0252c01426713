"""`vae-detail`: a run to a run with a detail stage. PyTorch is imported inside, so that --help needs none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vae_gen.internal.boundary import run_command

from .config import DetailConfig
from .options import require_train_extra

DEFAULT = DetailConfig()

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def detail(
    run: Annotated[Path, typer.Argument(help="A finished run of vae-train. Its weights and figures stay as they are.")],
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run's detail stage after its last finished epoch, with its own "
                     "settings; begin it where there is none."),
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with the data that the run was trained on. [default: as vae-train]")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help=f"Passes over the training images. [default: {DEFAULT.epochs}]")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help=f"Images a step. [default: {DEFAULT.batch_size}]")] = None,
    lr: Annotated[
        float | None, typer.Option(help=f"Adam's learning rate. [default: {DEFAULT.learning_rate}]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help=f"Of first weights, order and noise; 0 to 2^63-1. [default: {DEFAULT.seed}]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help=f"auto, cpu, cuda or mps. [default: {DEFAULT.device}: the fastest there is]")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help=f"32, or bf16 to run the networks in bfloat16. [default: {DEFAULT.precision}]")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of PyTorch. [default: PyTorch's own choice]")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train a detail stage for a run: a decoder that also takes noise, and draws what the latent cannot hold.

    It is written into the run's folder `detail`, from where vae-export takes it.
    """
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": lr,
        "seed": seed,
        "device": device,
        "precision": precision,
        "threads": threads,
    }
    given = {name: value for name, value in given.items() if value is not None}
    config = DetailConfig.from_json(DEFAULT.to_json() | given)  # first of all, because it may say no
    require_train_extra()
    from .data import load_fashion_mnist
    from .detail.folder import saved_settings
    from .detail.training import train_detail
    from .progress import Bar, PlainLines
    from .run_folder import load_run

    trained = load_run(run)
    if resume and (saved := saved_settings(trained)) is not None:
        config = DetailConfig.from_json(saved.to_json() | given)
    data = load_fashion_mnist(data_dir)
    try:
        if sys.stderr.isatty():
            with Bar() as bar:
                train_detail(config, trained, data, resume=resume, reporter=bar)
        else:
            train_detail(config, trained, data, resume=resume, reporter=PlainLines())
    except KeyboardInterrupt:
        print(f"stopped; go on from the last finished epoch with: vae-detail {run} --resume", file=sys.stderr)
        raise


def main() -> int:
    """The exit code of `vae-detail` run on this process's arguments."""
    return run_command(app, "vae-detail")


if __name__ == "__main__":
    sys.exit(main())
