"""The command `vae-detail`. It imports PyTorch inside its function, so that `--help` works without it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from vae_gen import UsageError

from . import launching, options
from .config import DetailConfig, Device, Precision
from .options import RECIPE, RUN, option

DEFAULT = DetailConfig()
SHARED = options.training_options(DEFAULT)


def detail(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The folder of a finished run of vae-train. Its files are not changed."),
    ],
    resume: Annotated[
        bool,
        option(RUN, "Go on with the detail stage of the run, with its settings, after its last finished epoch. "
                    "Without a stage there, a new one begins.", "--resume"),
    ] = False,
    teacher: Annotated[
        Path | None,
        option(RUN, "Train a decoder with 27 % of the multiplications. It learns from the detail stage of this "
                    "other run, which has the same VAE. Needed with --resume, too.", metavar="RUN", default=False),
    ] = None,
    epochs: Annotated[int | None, SHARED["epochs"]] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, rich_help_panel=RECIPE, show_default="those of the run, if it counts steps",
                     help="The number of training steps, in place of --epochs."),
    ] = None,
    batch_size: Annotated[int | None, SHARED["batch_size"]] = None,
    learning_rate: Annotated[float | None, SHARED["learning_rate"]] = None,
    seed: Annotated[int | None, SHARED["seed"]] = None,
    data: options.MovedData = None,
    data_dir: options.DataDir = None,
    device: Annotated[Device | None, SHARED["device"]] = None,
    precision: Annotated[Precision | None, SHARED["precision"]] = None,
    threads: options.Threads = None,
    micro_batches: Annotated[int | None, SHARED["micro_batches"]] = None,
    devices: options.Devices = None,
    nodes: options.Nodes = None,
    rendezvous: options.Rendezvous = None,
    debug: options.Debug = False,
) -> None:
    """Train a detail stage for a run.

    A detail stage is a second decoder, which takes noise besides the latent. It makes pictures with the prints, seams
    and edges that a latent cannot hold. It is written to the folder "detail" of the run, where vae-export finds it.
    """
    given = options.given_settings(context, DetailConfig)
    if epochs is not None and steps is not None:
        raise UsageError("expected one of --steps and --epochs, got both; leave one out")
    if epochs is not None:
        given |= {"steps": 0, "epoch_steps": 0}  # epochs are whole passes
    checked = DetailConfig.from_json(DEFAULT.to_json() | given)  # before the imports, because it may raise
    count = launching.processes_to_start(devices, nodes, rendezvous)
    launching.check_division(checked, count * (nodes or 1) or launching.world())
    options.require_train_extra()
    from .devices import choose_device
    from .processes import join

    chosen = choose_device(checked.device)
    if count:
        launching.check_device(chosen, count)
        # Not a typer.Exit: its code 130 would print once more that the command was interrupted.
        raise SystemExit(launching.launch("vae_train.detail_command", "vae-detail", count, nodes or 1, rendezvous))
    processes = join(chosen)
    from .detail.folder import load_detail, saved_settings
    from .detail.training import train_detail
    from .images.loading import images_of_run
    from .progress import DecodingProgress, shown_progress
    from .recipes import detail_recipe, imitator
    from .run_folder import load_run

    trained = processes.from_first(lambda: load_run(run))
    other = None if teacher is None else processes.from_first(lambda: load_run(teacher))
    with processes.in_turn(), DecodingProgress() as progress:
        images = images_of_run(trained.record, data=data, root=data_dir, workers=os.cpu_count() or 1, progress=progress)
    saved = processes.from_first(lambda: saved_settings(trained)) if resume else None
    suited = detail_recipe(trained.config, len(images.class_names), DEFAULT)
    if other is not None:
        suited = imitator(suited, processes.from_first(lambda: load_detail(other)).config)
    config = DetailConfig.from_json((saved or suited).to_json() | given)
    again = f"vae-detail {run} --resume" + (f" --teacher {teacher}" if teacher else "")
    with shown_progress(again, processes.is_first) as reporter:
        train_detail(config, trained, images, teacher=other, resume=resume, reporter=reporter, processes=processes)
    processes.leave()


app = options.new_app(detail, "vae-detail my-run", "vae-detail my-run --precision bf16", "vae-detail my-run --resume")


def main() -> int:
    """Runs `vae-detail` on this process's arguments and returns the exit code."""
    return launching.run_process(app, "vae-detail")


if __name__ == "__main__":
    sys.exit(main())
