"""`vae-train`: options to settings, settings to a run. PyTorch is imported inside, so that --help needs none."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from vae_gen import UsageError
from vae_gen.internal.boundary import run_command

from .config import PRESETS, ModelConfig, TrainConfig
from .options import require_train_extra

DEFAULT = TrainConfig()
RUNS = Path("runs")

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def train(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run. Made new; the folder above it must exist. "
                     "[default: runs/fashion-mnist-12d, with the latent's width for 12]"),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="The recipe that other options change: reference, or flagship, a deeper network with refined "
                     "posteriors. [default: reference]"),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in --out from its last checkpoint, with its own settings; "
                     "begin it where there is none. More --epochs than before extend it."),
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder with Fashion-MNIST's four IDX files, gzipped or not. "
                     "[default: Debian's dataset-fashion-mnist, else the user's cache, else a download into it]"),
    ] = None,
    full: Annotated[
        bool | None,
        typer.Option("--full", help="Train on all training images and have no validation figures. "
                     f"[default: hold {DEFAULT.validation_images} images out]"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help=f"Passes over the training images. [default: {DEFAULT.epochs}]")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help=f"Images a step. [default: {DEFAULT.batch_size}]")] = None,
    lr: Annotated[float | None, typer.Option(help=f"Adam's learning rate. [default: {DEFAULT.learning_rate}]")] = None,
    latent_dim: Annotated[
        int | None, typer.Option(help=f"Numbers that an image becomes. [default: {DEFAULT.model.latent_dim}]")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help=f"Weight of the KL in the loss; 1 is the ELBO. [default: {DEFAULT.beta}]")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help=f"Of first weights, order and noise; 0 to 2^63-1. [default: {DEFAULT.seed}]"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help=f"auto, cpu, cuda or mps. [default: {DEFAULT.device}: the fastest there is]")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help=f"32, or bf16 to run the network in bfloat16. [default: {DEFAULT.precision}]"),
    ] = None,
    compile_: Annotated[
        bool | None, typer.Option("--compile", help="Use torch.compile; pays on a GPU. [default: off]")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of PyTorch. [default: PyTorch's own choice]")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train the VAE on Fashion-MNIST.

    With no options this is the reference recipe: 30 epochs, 11 minutes on two CPU cores, validation on 5000 images.
    --preset flagship is the shipped model's.
    The run's folder holds settings, figures, curves, samples, weights and a checkpoint; vae-export turns it into a
    model folder.
    """
    given = {
        "full": full,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": lr,
        "latent_dim": latent_dim,
        "beta": beta,
        "seed": seed,
        "device": device,
        "precision": precision,
        "compile": compile_,
        "threads": threads,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"expected --preset {' or '.join(PRESETS)}, got {preset}")
    config = with_options(PRESETS[preset or "reference"], given)  # first of all, because it may say no
    require_train_extra()
    from . import run_folder
    from .data import load_fashion_mnist
    from .devices import choose_device
    from .progress import Bar, PlainLines
    from .training import train as train_run

    path = out or RUNS / f"fashion-mnist-{config.model.latent_dim}d"
    if resume and preset is None and (path / run_folder.CONFIG).exists():
        config = with_options(run_folder.read_config(path), given)
    choose_device(config.device)
    data = load_fashion_mnist(data_dir)
    if out is None:
        RUNS.mkdir(exist_ok=True)
    try:
        if sys.stderr.isatty():
            with Bar() as bar:
                train_run(config, data, path, resume=resume, reporter=bar)
        else:
            train_run(config, data, path, resume=resume, reporter=PlainLines())
    except KeyboardInterrupt:
        print(f"stopped; go on from the last checkpoint with: vae-train --out {path} --resume", file=sys.stderr)
        raise


def with_options(config: TrainConfig, given: dict[str, Any]) -> TrainConfig:
    """The settings with those of the command line in their place.

    Raises:
        UsageError: a value out of its range.
    """
    of_model = {field.name for field in fields(ModelConfig)}
    settings = config.to_json()
    for name, value in given.items():
        (settings["model"] if name in of_model else settings)[name] = value
    return TrainConfig.from_json(settings)


def main() -> int:
    """The exit code of `vae-train` run on this process's arguments."""
    return run_command(app, "vae-train")


if __name__ == "__main__":
    sys.exit(main())
