"""What a run leaves on disk. Every file is written aside and renamed, so none is ever half there:

- config.json          every setting, versions, git commit, the data's checksums; there from the first moment
- metrics.jsonl        a line an epoch: −ELBO, reconstruction, KL, KL per dimension, in nats an image
- weights.safetensors  after the last finished epoch
- best.safetensors     after the epoch with the lowest validation −ELBO (none with --full)
- checkpoint.pt        what --resume goes on from
- curves.png           metrics.jsonl as a picture
- samples/             a grid an epoch, always of the same latents
- timing.json          seconds an epoch; apart, because all else is the same in every run of the same settings
- evaluation.json      the figures over the test images, at the end
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import nn

from vae_gen import InputError, UsageError
from vae_gen.internal.files import Json, replacing_folder, write_file

from .config import TrainConfig
from .data import FashionMnist
from .model import VAE

FORMAT = 1

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.pt"
CURVES = "curves.png"
SAMPLES = "samples"
TIMING = "timing.json"
EVALUATION = "evaluation.json"

Weights = Literal["last", "best"]
WEIGHTS: dict[Weights, str] = {"last": "weights.safetensors", "best": "best.safetensors"}


@dataclass(frozen=True, eq=False)
class Run:
    """A trained run, read back."""

    path: Path
    config: TrainConfig
    vae: VAE
    """in evaluation mode, on the CPU, float32"""
    weights_sha256: str
    """of the file that the weights came from"""
    metrics: list[dict[str, Any]]
    """an entry an epoch, as in metrics.jsonl"""
    record: dict[str, Any]
    """config.json: format, settings, versions, git_commit, data"""


def load_run(path: Path, weights: Weights = "last") -> Run:
    """The run in a folder, with its last or its best weights.

    Raises:
        InputError: no run there, no epoch finished yet, a file that is damaged or of another model.
    """
    path = Path(path)
    record = read_record(path)
    config = read_config(path)
    file = path / WEIGHTS[weights]
    if weights == "best" and config.full:
        raise InputError(f"{path}: expected a run with validation figures, got one with --full; use the last weights")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file}: expected the weights of a finished epoch, found none ({error.strerror}); "
            f"train on with: vae-train --out {path} --resume"
        ) from error
    vae = VAE(config.model)
    try:
        vae.load_state_dict(safetensors.torch.load(content))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{file}: expected the weights of the model in config.json, got {' '.join(str(error).split())[:200]}; "
            "train the run again"
        ) from error
    return Run(
        path=path,
        config=config,
        vae=vae.eval().requires_grad_(False),
        weights_sha256=hashlib.sha256(content).hexdigest(),
        metrics=_read_metrics(path / METRICS),
        record=record,
    )


def open_folder(path: Path, config: TrainConfig, data: FashionMnist, *, resume: bool) -> TrainConfig:
    """The settings to train with, after the run's folder was made, or found and compared.

    Args:
        path: where the run is to be; the folder above it must exist.
        config: the wanted settings, with device and threads as they really are ("auto" and None when they do
            not matter, which agree with any that were saved).
        data: what it trains on.
        resume: whether a run that is there may go on. More epochs than were saved extend it.

    Raises:
        UsageError: a run is there and `resume` is false, or it has other settings.
        InputError: what is there is no run, or one on other data.
        OutputError: the folder cannot be made.
    """
    try:
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise InputError(f"{path}: expected a readable folder ({error.strerror}); choose another --out") from error
    if not taken:
        with replacing_folder(path) as aside:  # so there is no run without its config.json
            _write_record(aside / CONFIG, config, data)
            (aside / SAMPLES).mkdir()
        return config
    if not resume:
        raise UsageError(f"expected a new folder, got {path}, which exists; add --resume or choose another --out")
    saved = read_config(path)
    record = read_record(path)
    if record.get("data", {}).get("sha256") != data.sha256:
        raise InputError(f"{path}: expected the data that the run began with, got other {data.name}; use that again")
    settled = _settled(saved, config)
    if settled != saved:
        (path / EVALUATION).unlink(missing_ok=True)  # of fewer epochs; goes first, so that a kill cannot leave it
        write_json(path / CONFIG, record | {"settings": settled.to_json()})
    for leftover in [*path.glob(".*.part"), *(path / SAMPLES).glob(".*.part")]:  # of a kill while writing
        with contextlib.suppress(OSError):
            leftover.unlink()
    return settled


OPTIONS = {
    "learning_rate": "--lr",
    "batch_size": "--batch-size",
    "validation_images": "validation_images",
    "checkpoint_steps": "checkpoint_steps",
}
"""What settings are called on the command line, where that is not -- and their name."""


def _settled(saved: TrainConfig, wanted: TrainConfig) -> TrainConfig:
    """The saved settings, with more epochs where wanted.

    Raises:
        UsageError: naming the first setting that differs, with both values.
    """
    if wanted.device == "auto":
        wanted = replace(wanted, device=saved.device)
    if wanted.threads is None:
        wanted = replace(wanted, threads=saved.threads)
    have, want = ({**value.to_json(), **value.model.to_json(), "model": None} for value in (saved, wanted))
    if want["epochs"] > have["epochs"]:
        have["epochs"] = want["epochs"]  # which extends it
    if difference := first_difference(have, want):
        name, value, other = difference
        raise UsageError(
            f"expected {name} {value}, which the run was started with, got {other}; "
            "leave it out, or start another run with another --out"
        )
    if wanted.epochs != saved.epochs and saved.schedule != "constant":
        raise UsageError(
            f"expected --epochs {saved.epochs}, over which this run's {saved.schedule} learning rate falls to 0, "
            f"got {wanted.epochs}; start another run with another --out"
        )
    return replace(saved, epochs=wanted.epochs)


def first_difference(have: dict[str, Any], want: dict[str, Any]) -> tuple[str, str, str] | None:
    """The first setting that differs, by its option's name, with both values as text; None where all agree."""
    for name, value in have.items():
        if want[name] != value:
            return OPTIONS.get(name, "--" + name.replace("_", "-")), _shown(value), _shown(want[name])
    return None


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_record(path: Path) -> dict[str, Any]:
    """config.json as it is.

    Raises:
        InputError: no run there, or not JSON.
    """
    try:
        content = (path / CONFIG).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: expected a run folder, found no readable config.json in it ({error.strerror}); "
            "give the --out of a vae-train"
        ) from error
    record = read_json(content, path / CONFIG)
    if record.get("format") != FORMAT:
        raise InputError(f"{path / CONFIG}: expected a run of format {FORMAT}, got another one; train the run again")
    return record


def read_json(content: bytes | str, where: Path) -> dict[str, Any]:
    """Reads the object in a JSON file of a run.

    Raises:
        InputError: the file does not hold a JSON object.
    """
    return Json.parse(content, str(where), InputError, "train the run again").mapping()


def read_config(path: Path) -> TrainConfig:
    """The settings in config.json.

    Raises:
        InputError: as `read_record`, or a setting that is unknown or out of its range.
    """
    try:
        return TrainConfig.from_json(read_record(path).get("settings"))
    except UsageError as error:
        raise InputError(f"{path / CONFIG}: {error}") from error


def write_weights(path: Path, network: nn.Module) -> None:
    """The weights as safetensors, the same bytes for the same weights.

    Raises:
        OutputError: they cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_file(path, safetensors.torch.save(tensors))


def write_metrics(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """All lines of metrics.jsonl, so that none can be there twice.

    Raises:
        OutputError: they cannot be written.
    """
    write_file(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in history))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """A JSON file for people and programs.

    Raises:
        OutputError: it cannot be written.
    """
    write_file(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    try:
        return [read_json(line, path) for line in path.read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a line of JSON for each epoch, got {error}; train the run again") from error


def _write_record(path: Path, config: TrainConfig, data: FashionMnist) -> None:
    record = {
        "format": FORMAT,
        "settings": config.to_json(),
        "versions": versions(),
        "git_commit": _git_commit(),
        "data": {"name": data.name, "class_names": list(data.class_names), "sha256": data.sha256},
    }
    write_json(path, record)


def versions() -> dict[str, str]:
    """What decides the last digits of a run: Python, PyTorch, NumPy, and us."""
    numbers = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in ("numpy", "vae-gen"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # run from a checkout
            numbers[package] = importlib.metadata.version(package)
    return numbers


def _git_commit() -> str | None:
    """The commit of the checkout that this file lies in, with -dirty after it where files were changed; else None."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed, perhaps inside somebody else's repository
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
