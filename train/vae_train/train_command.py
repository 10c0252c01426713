"""The command `vae-train`. It imports PyTorch inside its function, so that `--help` works without it."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vae_gen.internal.command import run_command

from . import options
from .config import PRESETS, Device, ModelConfig, Precision, TrainConfig
from .options import MACHINE, RECIPE, RUN, option

DEFAULT = PRESETS["reference"]
SHARED = options.training_options(DEFAULT)
RUNS = Path("runs")


def train(
    context: typer.Context,
    out: Annotated[
        Path | None,
        option(RUN, "The folder of the run. It is made; the folder above it must exist.", "--out", "-o", metavar="DIR",
               default="runs/fashion-mnist-12d, where 12 is the --latent-dim"),
    ] = None,
    resume: Annotated[
        bool,
        option(RUN, "Go on with the run in --out, with its settings, from its last checkpoint. More --epochs extend "
                    "it. Without a run there, a new one begins.", "--resume"),
    ] = False,
    preset: Annotated[
        Literal["reference", "flagship"] | None,
        option(RECIPE, "The recipe, whose settings the options below replace. flagship made the shipped model: a "
                       "deeper network with refined posteriors.", default="reference"),
    ] = None,
    epochs: Annotated[int | None, SHARED["epochs"]] = None,
    batch_size: Annotated[int | None, SHARED["batch_size"]] = None,
    learning_rate: Annotated[float | None, SHARED["learning_rate"]] = None,
    latent_dim: Annotated[
        int | None,
        option(RECIPE, "The number of values that an image is encoded as.", metavar="N",
               default=str(DEFAULT.model.latent_dim)),
    ] = None,
    beta: Annotated[
        float | None,
        option(RECIPE, "The weight of the KL in the loss. With 1 the loss is the -ELBO.", metavar="X",
               default=str(DEFAULT.beta)),
    ] = None,
    full: Annotated[
        bool | None,
        option(RECIPE, f"Train on the {DEFAULT.validation_images} validation images too, and report no validation "
                       "figures.", "--full", default=False),
    ] = None,
    seed: Annotated[int | None, SHARED["seed"]] = None,
    data_dir: options.DataDir = None,
    device: Annotated[Device | None, SHARED["device"]] = None,
    precision: Annotated[Precision | None, SHARED["precision"]] = None,
    compile: Annotated[
        bool | None,
        option(MACHINE, "Compile the network with torch.compile: a slower start, and faster steps, above all on a GPU.",
               "--compile", default=False),
    ] = None,
    threads: options.Threads = None,
    debug: options.Debug = False,
) -> None:
    """Train the VAE on Fashion-MNIST.

    Without options this trains the reference recipe: 30 epochs, 11 minutes on two CPU cores, with validation on 5000
    images. The folder of the run holds settings, figures, curves, samples, weights and a checkpoint. vae-export turns
    it into a model folder.
    """
    given = options.given_settings(context, TrainConfig, ModelConfig)
    config = with_options(PRESETS[preset or "reference"], given)  # before the imports, because it may raise
    options.require_train_extra()
    from . import run_folder
    from .data import load_fashion_mnist
    from .devices import choose_device
    from .progress import shown_progress
    from .training import train as train_run

    path = out or RUNS / f"fashion-mnist-{config.model.latent_dim}d"
    if resume and preset is None and (path / run_folder.CONFIG).exists():
        config = with_options(run_folder.read_run_settings(path)[0], given)
    choose_device(config.device)
    data = load_fashion_mnist(data_dir)
    if out is None:
        RUNS.mkdir(exist_ok=True)
    with shown_progress(f"vae-train --out {path} --resume") as reporter:
        train_run(config, data, path, resume=resume, reporter=reporter)


def with_options(config: TrainConfig, given: dict[str, Any]) -> TrainConfig:
    """The settings with those `given`, by their names, in place of their own.

    Raises:
        UsageError: a value is out of its range.
    """
    of_model = {field.name for field in fields(ModelConfig)}
    settings = config.to_json()
    for name, value in given.items():
        (settings["model"] if name in of_model else settings)[name] = value
    return TrainConfig.from_json(settings)


app = options.new_app(
    train,
    "vae-train",
    "vae-train --out my-run --epochs 60 --seed 2",
    "vae-train --out my-run --resume",
    "vae-train --preset flagship --precision bf16 --compile",
)


def main() -> int:
    """Runs `vae-train` on this process's arguments and returns the exit code."""
    return run_command(app, "vae-train")


if __name__ == "__main__":
    sys.exit(main())
