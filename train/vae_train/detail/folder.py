"""The files of a detail stage, in the folder `detail` of its run. Each is written under another name and then renamed.

- config.json            every setting, the SHA-256 of the run's weights, and versions
- metrics.jsonl          a line for each epoch
- detail.safetensors     the running mean of the detail decoder's weights, after the last finished epoch
- checkpoint.pt          the state from which --resume goes on
- posterior.safetensors  mean and log-variance of the training images, which take minutes to compute
- samples/               a picture after each epoch: training images, their mean pictures, and pictures of the stage
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vae_gen import InputError, UsageError
from vae_gen.internal.files import replacing_folder

from ..config import DetailConfig
from ..images.image_set import ImageSet
from ..run_folder import (
    CONFIG,
    FORMAT,
    METRICS,
    SAMPLES,
    Run,
    first_difference,
    load_weights,
    read_metrics,
    read_settings,
    versions,
    write_json,
)
from .networks import DetailDecoder

WEIGHTS = "detail.safetensors"
POSTERIOR = "posterior.safetensors"
TEACHER = "teacher_weights_sha256"
"""The key of config.json with the SHA-256 of the weights of the stage that was imitated, if one was."""


@dataclass(frozen=True, eq=False)
class Detail:
    """A trained detail stage, read from its folder."""

    config: DetailConfig
    decoder: DetailDecoder
    """in evaluation mode, on the CPU, float32"""
    weights_sha256: str
    """the SHA-256 of the file of its weights"""
    metrics: list[dict[str, Any]]
    """the entries of metrics.jsonl, one for each epoch"""


def path_of(run: Run) -> Path:
    """The folder of a run's detail stage. It may be missing."""
    return run.path / "detail"


def open_folder(
    run: Run, config: DetailConfig, data: ImageSet, *, resume: bool, teacher: Detail | None = None
) -> DetailConfig:
    """Make the folder of a stage, or compare the stage in it with the settings; returns the settings to train with.

    Raises:
        UsageError: a stage is there and `resume` is false, or it has other settings.
        InputError: the run was trained on other data, or the folder holds something else or a stage of other weights.
        OutputError: the folder cannot be made.
    """
    path = path_of(run)
    if data.sha256 != run.record.get("data", {}).get("sha256"):
        raise InputError(f"{run.path}: expected the data that the run was trained on, got other {data.name}")
    if not path.exists():
        with replacing_folder(path) as aside:
            (aside / SAMPLES).mkdir()
            record = {"settings": config.to_json(), "vae_weights_sha256": run.weights_sha256, "versions": versions()}
            taught = {} if teacher is None else {TEACHER: teacher.weights_sha256}
            write_json(aside / CONFIG, {"format": FORMAT, **record, **taught})
        return config
    if not resume:
        raise UsageError(f"expected a run without a detail stage, got {path}, which exists; add --resume or remove it")
    saved, record = _read(run)
    if teacher is not None and teacher.weights_sha256 != record.get(TEACHER):
        raise InputError(
            f"{path}: expected the teacher that the detail stage was started with, got one of other weights; "
            "give the same --teacher"
        )
    wanted = replace(config, device=saved.device, threads=saved.threads)
    if difference := first_difference(saved.to_json(), wanted.to_json()):
        name, have, want = difference
        raise UsageError(
            f"expected {name} {have}, which the detail stage was started with, got {want}; "
            f"leave it out, or remove {path}"
        )
    return saved


def saved_settings(run: Run) -> DetailConfig | None:
    """The settings of the run's detail stage, or None if it has no stage.

    Raises:
        InputError: the stage is damaged, or belongs to other weights.
    """
    return _read(run)[0] if path_of(run).exists() else None


def load_detail(run: Run) -> Detail:
    """The detail stage of a run.

    Raises:
        InputError: there is no stage, none of its epochs is finished, or it is damaged or belongs to other weights.
    """
    (config, _), path = _read(run), path_of(run)
    decoder = DetailDecoder(run.config.model, config)
    sha256 = load_weights(decoder, path / WEIGHTS, f"vae-detail {run.path} --resume")
    return Detail(config, decoder, sha256, read_metrics(path / METRICS))


def _read(run: Run) -> tuple[DetailConfig, dict[str, Any]]:
    """The settings of the stage of a run, and the whole content of its config.json."""
    path = path_of(run)
    config, record = read_settings(path, DetailConfig, "a detail stage", f"train one with: vae-detail {run.path}")
    if record.get("vae_weights_sha256") != run.weights_sha256:
        raise InputError(
            f"{path / CONFIG}: expected a detail stage of the run's weights, got one of others; remove {path} and "
            f"train it again with: vae-detail {run.path}"
        )
    return config, record
