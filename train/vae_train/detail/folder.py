"""What a detail stage leaves in the folder `detail` of its run. Every file is written aside and renamed:

- config.json          every setting, the weights of the run that it belongs to, versions
- metrics.jsonl        a line an epoch
- detail.safetensors   the running mean of the detail decoder's weights, after the last finished epoch
- checkpoint.pt        what --resume goes on from
- posterior.safetensors  mean and log-variance of the training images, which take a while to compute
- samples/             a picture an epoch: training images, their mean pictures, and what the stage draws of them
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from vae_gen import InputError, UsageError
from vae_gen.internal.files import replacing_folder

from ..config import DetailConfig
from ..data import FashionMnist
from ..run_folder import Run, first_difference, read_json, versions, write_json
from .networks import DetailDecoder

FORMAT = 1

FOLDER = "detail"
CONFIG = "config.json"
METRICS = "metrics.jsonl"
WEIGHTS = "detail.safetensors"
CHECKPOINT = "checkpoint.pt"
POSTERIOR = "posterior.safetensors"
SAMPLES = "samples"



@dataclass(frozen=True, eq=False)
class Detail:
    """A trained detail stage, read back."""

    config: DetailConfig
    decoder: DetailDecoder
    """in evaluation mode, on the CPU, float32"""
    weights_sha256: str
    """of its weights' file"""
    metrics: list[dict[str, Any]]
    """an entry an epoch, as in metrics.jsonl"""


def path_of(run: Run) -> Path:
    """Where a run's detail stage lies, if it has one."""
    return run.path / FOLDER


def open_folder(run: Run, config: DetailConfig, data: FashionMnist, *, resume: bool) -> DetailConfig:
    """The settings to train with, after the stage's folder was made, or found and compared.

    Raises:
        UsageError: a stage is there and `resume` is false, or it has other settings.
        InputError: what is there is no stage, or one of other weights or data.
        OutputError: the folder cannot be made.
    """
    path = path_of(run)
    if data.sha256 != run.record.get("data", {}).get("sha256"):
        raise InputError(f"{run.path}: expected the data that the run was trained on, got other {data.name}")
    if not path.exists():
        with replacing_folder(path) as aside:
            (aside / SAMPLES).mkdir()
            record = {"settings": config.to_json(), "vae_weights_sha256": run.weights_sha256, "versions": versions()}
            write_json(aside / CONFIG, {"format": FORMAT, **record})
        return config
    if not resume:
        raise UsageError(f"expected a run without a detail stage, got {path}, which exists; add --resume or remove it")
    saved = _read_settings(run)
    wanted = replace(config, device=saved.device, threads=saved.threads)
    if difference := first_difference(saved.to_json(), wanted.to_json()):
        name, have, want = difference
        raise UsageError(
            f"expected {name} {have}, which the detail stage was started with, got {want}; "
            f"leave it out, or remove {path}"
        )
    return saved


def saved_settings(run: Run) -> DetailConfig | None:
    """The settings of the run's detail stage; None where it has none.

    Raises:
        InputError: it is damaged or of other weights.
    """
    return _read_settings(run) if path_of(run).exists() else None


def load_detail(run: Run) -> Detail:
    """A run's detail stage.

    Raises:
        InputError: there is none, none of its epochs is finished, or it is damaged or of other weights.
    """
    config, file = _read_settings(run), path_of(run) / WEIGHTS
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file}: expected the weights of a finished epoch, found none ({error.strerror}); "
            f"train on with: vae-detail {run.path} --resume"
        ) from error
    decoder = DetailDecoder(run.config.model, config)
    try:
        decoder.load_state_dict(safetensors.torch.load(content))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{file}: expected the weights of the stage in config.json, got {' '.join(str(error).split())[:200]}; "
            f"remove {path_of(run)} and train the stage again"
        ) from error
    metrics = (path_of(run) / METRICS).read_text("utf-8").splitlines()
    return Detail(
        config=config,
        decoder=decoder.eval().requires_grad_(False),
        weights_sha256=hashlib.sha256(content).hexdigest(),
        metrics=[read_json(line.encode(), path_of(run) / METRICS) for line in metrics],
    )


def _read_settings(run: Run) -> DetailConfig:
    path = path_of(run) / CONFIG
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: expected the settings of a detail stage ({error.strerror}); train one with: vae-detail {run.path}"
        ) from error
    record = read_json(content, path)
    if record.get("format") != FORMAT:
        raise InputError(f"{path}: expected a detail stage of format {FORMAT}, got another one; train it again")
    if record.get("vae_weights_sha256") != run.weights_sha256:
        raise InputError(
            f"{path}: expected a detail stage of the run's weights, got one of others; remove {path_of(run)} and train "
            f"it again with: vae-detail {run.path}"
        )
    try:
        return DetailConfig.from_json(record.get("settings"))
    except UsageError as error:
        raise InputError(f"{path}: {error}") from error
