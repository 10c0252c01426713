"""The command `vae-train`. It imports PyTorch inside its function, so that `--help` works without it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vae_gen import UsageError
from vae_gen._errors import printable_text
from vae_gen.internal.files import write_file

from . import launching, options
from .config import PRESETS, DetailConfig, Device, ModelConfig, Precision, TrainConfig
from .images.settings import Fit, ImageSettings
from .options import IMAGES, MACHINE, OUTPUT, RECIPE, RUN, option

if TYPE_CHECKING:
    from .images.image_set import ImageSet
    from .images.loading import Loaded
    from .processes import Processes

DEFAULT = PRESETS["reference"]
SHARED = options.training_options(DEFAULT)
RUNS = Path("runs")


def train(
    context: typer.Context,
    out: Annotated[
        Path | None,
        option(RUN, "The folder of the run. It is made; the folder above it must exist.", "--out", "-o", metavar="DIR",
               default="runs/fashion-mnist-12d, with the name of the images and the --latent-dim"),
    ] = None,
    resume: Annotated[
        bool,
        option(RUN, "Go on with the run in --out, with its images and settings, from its last checkpoint. More "
                    "--epochs extend it. Without a run there, a new one begins.", "--resume"),
    ] = False,
    init: Annotated[
        str | None,
        option(RUN, "Begin with the weights of a shipped model (fashion-mnist-12d, fashion-mnist-12d-reference) or of "
                    "another run, in place of random ones. The network, the size of the pictures and their channels "
                    "are then those of the weights.", metavar="NAME|DIR", default=False),
    ] = None,
    detail: Annotated[
        bool,
        option(RUN, "Train a detail stage too, after the VAE: a second decoder, which adds what the latent can't hold. "
                    "It needs 2000 images, and takes several times as long as the VAE.", "--detail"),
    ] = False,
    dry_run: Annotated[
        bool,
        option(RUN, "Print what training would start with, write contact-sheet.png and data-report.jsonl to the "
                    "current folder, and train nothing.", "--dry-run"),
    ] = False,
    data: Annotated[
        str | None,
        option(IMAGES, "The images: a folder or a zip of pictures, a folder of IDX files, an .npy or .npz file, "
                       "torchvision:NAME (for example torchvision:KMNIST), or fashion-mnist.", metavar="PATH",
               default="fashion-mnist"),
    ] = None,
    image_size: Annotated[
        str | None,
        option(IMAGES, "The size of the model's pictures, from 8 to 128 pixels.", metavar="N|HxW",
               default="from the images, at most 64"),
    ] = None,
    channels: Annotated[
        Literal["auto", "1", "3"],
        option(IMAGES, "1 for grey pictures, 3 for colour. auto decides from the images."),
    ] = "auto",
    fit: Annotated[
        Fit, option(IMAGES, "What happens to an image of another shape: it is padded, cropped or stretched.")
    ] = "pad",
    background: Annotated[
        str,
        option(IMAGES, "The colour behind transparent pixels and around padding: auto, black, white or #rrggbb.",
               metavar="COLOUR"),
    ] = "auto",
    labels: Annotated[
        str,
        option(IMAGES, "Where the classes come from: auto, folders, none, or a CSV or JSON Lines file with the "
                       "columns file_name and label.", metavar="auto|folders|none|FILE"),
    ] = "auto",
    max_images: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, rich_help_panel=IMAGES, show_default="all",
                     help="Use at most this many images, chosen at random."),
    ] = None,
    strict: Annotated[
        bool, option(IMAGES, "Stop with an error at the first file that cannot be used.", "--strict")
    ] = False,
    few: Annotated[bool, option(IMAGES, "Accept fewer than 200 images.", "--few")] = False,
    preset: Annotated[
        Literal["reference", "quick", "flagship"] | None,
        option(RECIPE, "The recipe, whose settings the options below replace. quick takes about a minute on two CPU "
                       "cores. flagship made the shipped model: a deeper network with refined posteriors.",
               default="reference"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, rich_help_panel=RECIPE,
                     show_default="1500 with quick; 10000 or, with flagship, 20000 for your own images",
                     help="The number of training steps."),
    ] = None,
    minutes: Annotated[
        float | None,
        option(RECIPE, "Train for as many steps as fit into this time on this machine. A resumed run keeps its steps.",
               metavar="X", default=False),
    ] = None,
    epochs: Annotated[int | None, SHARED["epochs"]] = None,
    batch_size: Annotated[int | None, SHARED["batch_size"]] = None,
    learning_rate: Annotated[float | None, SHARED["learning_rate"]] = None,
    latent_dim: Annotated[
        str,
        option(RECIPE, "The number of values that an image is encoded as. auto takes 12 for fashion-mnist, and for "
                       "your own images as many principal components as hold 74 % of their variance (in colour 78 %).",
               metavar="auto|N"),
    ] = "auto",
    beta: Annotated[
        float | None,
        option(RECIPE, "The weight of the KL in the loss. With 1 the loss is the -ELBO.", metavar="X",
               default=str(DEFAULT.beta)),
    ] = None,
    flip: Annotated[
        bool | None,
        option(RECIPE, "Mirror half of the images at random, which digits and text do not survive.", "--flip",
               default=False),
    ] = None,
    shift: Annotated[
        int | None,
        option(RECIPE, "Move the images at random, by up to this many pixels in each direction.", metavar="N",
               default="0"),
    ] = None,
    full: Annotated[
        bool | None,
        option(RECIPE, f"Train on the validation images too ({DEFAULT.validation_images}, or a tenth of your own "
                       "images), and report no validation figures.", "--full", default=False),
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
    micro_batches: Annotated[int | None, SHARED["micro_batches"]] = None,
    devices: options.Devices = None,
    nodes: options.Nodes = None,
    rendezvous: options.Rendezvous = None,
    log: Annotated[
        Literal["tensorboard"] | None,
        option(OUTPUT, "Also write the figures of each epoch for TensorBoard, to the folder tensorboard of the run.",
               default=False),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Train the VAE on Fashion-MNIST, or on your own images.

    Without options this trains the reference recipe: 30 epochs, 11 minutes on two CPU cores, with validation on 5000
    images. The folder of the run holds settings, figures, curves, samples, weights and a checkpoint. vae-export turns
    it into a model folder. docs/your-own-images.md explains --data.
    """
    given = options.given_settings(context, TrainConfig)
    if sum(value is not None for value in (steps, minutes, epochs)) > 1:
        raise UsageError("expected one of --steps, --minutes and --epochs, got several; leave all but one out")
    if dry_run and resume:
        raise UsageError("expected one of --dry-run and --resume, got both; a dry run shows what a new run begins with")
    if minutes is not None and not 0 < minutes < float("inf"):
        raise UsageError(f"expected --minutes above 0, got {minutes:g}")
    reading = ImageSettings.of(
        image_size=image_size, channels=channels, fit=fit, background=background, labels=labels,
        max_images=max_images, strict=strict, few=few, latent_dim=latent_dim,
    )  # fmt: skip
    if reading.latent_dim is not None:
        given["latent_dim"] = reading.latent_dim
    config = with_options(PRESETS[preset or "reference"], given)  # before the imports, because it may raise
    count = launching.processes_to_start(devices, nodes, rendezvous)
    launching.check_division(config, count * (nodes or 1) or launching.world())
    options.require_train_extra()
    from .devices import choose_device
    from .processes import join

    chosen = choose_device(config.device)
    if count and not dry_run:
        launching.check_device(chosen, count)
        # Not a typer.Exit: its code 130 would print once more that the command was interrupted.
        raise SystemExit(launching.launch("vae_train", "vae-train", count, nodes or 1, rendezvous))
    processes = join(chosen)
    from . import run_folder
    from .data import load_fashion_mnist
    from .images.loading import FASHION_MNIST, FASHION_SHAPE, images_of_run, load_images
    from .images.report import REPORT, SHEET, contact_sheet
    from .initial import explained, read_initial_weights, recorded_network
    from .progress import DecodingProgress, TensorBoard, shown_progress
    from .recipes import recipe_for, steps_in
    from .training import train as train_run

    _refuse_inside(data, Path() if dry_run else out or RUNS, "the current folder" if dry_run else "--out")
    as_it_is = replace(reading, latent_dim=None, strict=False, few=False) == ImageSettings()
    first, network, origin = None, None, ""
    if init is not None:
        first = processes.from_first(lambda: read_initial_weights(init))
        first.check_options(reading, preset)
        network, origin = first.model, first.origin
    elif resume and out is not None:
        network, origin = processes.from_first(lambda: recorded_network(out))
    if network is not None:
        config = with_options(replace(PRESETS[preset or "reference"], model=network), given)
        reading = replace(
            reading,
            size=reading.size or (network.height, network.width),
            channels=reading.channels or network.channels,
            latent_dim=reading.latent_dim or network.latent_dim,
        )
    of_fashion = network is None or (network.channels, network.height, network.width) == FASHION_SHAPE
    workers, loaded = os.cpu_count() or 1, None
    with processes.in_turn():  # the first process decodes the images, and the others find them in the cache
        if resume and out is not None and (out / run_folder.CONFIG).exists() and data is None and as_it_is:
            _, record = run_folder.read_run_settings(out)
            with DecodingProgress() as progress:
                images = images_of_run(record, root=data_dir, workers=workers, progress=progress)
        elif data in (None, FASHION_MNIST) and as_it_is and of_fashion and not dry_run:
            images = load_fashion_mnist(data_dir)
        else:
            with DecodingProgress() as progress:
                loaded = load_images(
                    data or FASHION_MNIST, reading, root=data_dir, workers=workers, progress=progress,
                    refuse_few=not dry_run,
                )  # fmt: skip
            images = loaded.images
            if network is not None:
                loaded = replace(loaded, report=explained(loaded.report, network, origin))
            config = with_options(recipe_for(preset or "reference", loaded, network), given)
    if loaded is not None and processes.is_first:
        for line in loaded.report.lines():
            print(printable_text(line), file=sys.stderr)
    name = FASHION_MNIST if loaded is None else slug(images.name)
    path = out or RUNS / f"{name}-{config.model.latent_dim}d"
    begun = processes.from_first(lambda: resume and (path / run_folder.CONFIG).exists())
    stage = None
    if begun:
        saved, record = processes.from_first(lambda: run_folder.read_run_settings(path))
        config = with_options(saved, given) if preset is None else config
        stage = run_folder.planned_detail(record)
    if detail and stage is None:
        stage = _detail_stage(config, images, path, processes)
    if minutes is not None:
        seconds = 1.0 if begun else sum(processes.from_first(lambda: _seconds_a_step(config, stage, images, processes)))
        length = saved.steps if begun else steps_in(minutes, seconds)
        config = replace(config, steps=length)
        stage = stage and replace(stage, steps=length)
    if dry_run and loaded is not None:
        if processes.is_first:
            _end_dry_run(config, stage, loaded, processes)
        return
    files = {}
    if loaded is not None and processes.is_first:
        files = {SHEET: contact_sheet(images.train_images.numpy()), REPORT: loaded.report.skipped_lines()}
    if out is None:
        RUNS.mkdir(exist_ok=True)
    with shown_progress(f"vae-train --out {path} --resume", processes.is_first) as reporter:
        shown = TensorBoard(path / "tensorboard", reporter) if log and processes.is_first else reporter
        train_run(
            config, images, path, resume=resume, reporter=shown, extra_files=files, detail=stage, init=first,
            processes=processes,
        )  # fmt: skip
    processes.leave()


def _refuse_inside(data: str | None, place: Path, what: str) -> None:
    """Refuse to write into the folder of the images: what a run writes there would be images for the next one."""
    if data and Path(data).is_dir() and place.resolve().is_relative_to(Path(data).resolve()):
        raise UsageError(
            f"expected {what} outside of the folder of the images, because nothing is written there, got "
            f"{place.resolve()}; {'change to another folder' if what != '--out' else 'choose another --out'}"
        )


def _detail_stage(config: TrainConfig, images: ImageSet, path: Path, processes: Processes) -> DetailConfig | None:
    """The settings of the detail stage that --detail asks for; None, with the reason on the screen, for few images."""
    from .images.settings import FEW
    from .recipes import detail_recipe

    count = len(images.train_images) + len(images.test_images)
    if count < FEW:
        if processes.is_first:
            print(
                f"  detail stage: left out, because it would learn {count} pictures by heart; it needs {FEW}, and "
                f"vae-detail {path} trains it all the same",
                file=sys.stderr,
            )
        return None
    return replace(
        detail_recipe(config, len(images.class_names), DetailConfig()),
        seed=config.seed, device=config.device, precision=config.precision, threads=config.threads,
        micro_batches=config.micro_batches,
    )  # fmt: skip


def _seconds_a_step(
    config: TrainConfig, stage: DetailConfig | None, images: ImageSet, processes: Processes
) -> tuple[float, float]:
    """How long a step takes on this machine: one of the VAE, and one of the detail stage, or 0 without one."""
    from .detail.training import seconds_a_step as seconds_a_detail_step
    from .training import seconds_a_step

    of_detail = 0.0 if stage is None else seconds_a_detail_step(stage, config.model, len(images.class_names), processes)
    return seconds_a_step(config, processes), of_detail


def _end_dry_run(config: TrainConfig, stage: DetailConfig | None, loaded: Loaded, processes: Processes) -> None:
    """Print how long a training would take and whether it would be refused, and write the files of a dry run."""
    from .images.loading import too_few
    from .images.report import REPORT, SHEET, contact_sheet
    from .recipes import minutes_of

    images = loaded.images
    of_vae, of_detail = _seconds_a_step(config, stage, images, processes)
    steps = config.steps or config.epochs * -(-len(images.train_images) // config.batch_size)
    minutes = minutes_of(steps, of_vae)
    print(f"  steps: {steps} of {config.batch_size} images, about {minutes:.1f} minutes here", file=sys.stderr)
    if stage is not None:
        steps = stage.steps or stage.epochs * (len(images.train_images) // stage.batch_size)
        more = minutes_of(steps, of_detail)
        print(
            f"  detail stage: {steps} steps of {stage.batch_size} images, about {more:.1f} minutes more, "
            f"{minutes + more:.1f} in all",
            file=sys.stderr,
        )
    write_file(SHEET, contact_sheet(images.train_images.numpy()))
    write_file(REPORT, loaded.report.skipped_lines())
    print(f"  wrote {SHEET} and {REPORT}; trained nothing, because of --dry-run", file=sys.stderr)
    if refusal := too_few(loaded.report, loaded.settings):
        print(f"  training would be refused: {refusal}", file=sys.stderr)


def slug(name: str) -> str:
    """A data set's name as part of a folder's name: small letters and digits, joined by hyphens.

    >>> slug("Fashion-MNIST"), slug("My Icons (old)")
    ('fashion-mnist', 'my-icons-old')
    """
    return re.sub(r"[^\w]+", "-", name.lower()).strip("-") or "images"


def with_options(config: TrainConfig, given: dict[str, Any]) -> TrainConfig:
    """The settings with those `given`, by their names, in place of their own.

    Raises:
        UsageError: a value is out of its range.
    """
    of_model = {field.name for field in fields(ModelConfig)}
    settings = config.to_json()
    if "epochs" in given:
        settings |= {"steps": 0, "epoch_steps": 0}  # epochs are whole passes
    for name, value in given.items():
        (settings["model"] if name in of_model else settings)[name] = value
    return TrainConfig.from_json(settings)


app = options.new_app(
    train,
    "vae-train",
    "vae-train --data my-icons/ --dry-run",
    "vae-train --data my-icons/ --preset quick --out my-run",
    "vae-train --data my-icons/ --detail --out my-run",
    "vae-train --data my-icons/ --init fashion-mnist-12d --out my-run",
    "vae-train --out my-run --epochs 60 --seed 2",
    "vae-train --out my-run --resume",
    "vae-train --preset flagship --precision bf16 --compile",
)


def main() -> int:
    """Runs `vae-train` on this process's arguments and returns the exit code."""
    return launching.run_process(app, "vae-train")


if __name__ == "__main__":
    sys.exit(main())
