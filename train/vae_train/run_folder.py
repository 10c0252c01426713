"""The files of a run. Each file is written under another name and then renamed, so that no file is ever incomplete.

- config.json          every setting, versions, the git commit, the checksums of the data, and with --init what the run
                       began from; written first
- metrics.jsonl        a line for each epoch: −ELBO, reconstruction, KL, KL per dimension, in nats per image
- weights.safetensors  the weights after the last finished epoch
- best.safetensors     the weights after the epoch with the lowest validation −ELBO (not with --full)
- checkpoint.pt        the state from which --resume goes on
- curves.png           metrics.jsonl as a picture
- samples/             a grid of pictures after each epoch, always of the same latents
- timing.json          seconds per epoch; in a file of its own, since all other files depend on the settings alone
- evaluation.json      the figures over the test images, written at the end
- contact-sheet.png    64 of the images, if they are your own; data-report.jsonl then names the files that were skipped
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import nn

from vae_gen import InputError, UsageError
from vae_gen.internal.files import MOST_JSON_BYTES, Json, read_regular, remove_leftovers, replacing_folder, write_file

from .config import DetailConfig, Settings, TrainConfig
from .images.image_set import ImageSet
from .model import VAE

FORMAT = 1
"""The version of the folder of a run, and of that of a detail stage."""

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.pt"
CURVES = "curves.png"
SAMPLES = "samples"
TIMING = "timing.json"
EVALUATION = "evaluation.json"
DETAIL = "detail"
"""The key of config.json with the settings of the detail stage that follows."""
INIT = "init"
"""The key of config.json with the origin and the SHA-256 of the weights that the run began with, if not random ones."""

Weights = Literal["last", "best"]
MOST_WEIGHT_BYTES = 4 << 30
"""The largest file of weights, and the largest checkpoint, that is read."""
WEIGHTS: dict[Weights, str] = {"last": "weights.safetensors", "best": "best.safetensors"}


@dataclass(frozen=True, eq=False)
class Run:
    """A trained run, read from its folder."""

    path: Path
    config: TrainConfig
    vae: VAE
    """in evaluation mode, on the CPU, float32"""
    weights_sha256: str
    """the SHA-256 of the file of the weights"""
    metrics: list[dict[str, Any]]
    """the entries of metrics.jsonl, one for each epoch"""
    record: dict[str, Any]
    """the content of config.json: format, settings, versions, git_commit, data, and perhaps init and detail"""


@contextlib.contextmanager
def alone_in(path: Path) -> Iterator[None]:
    """Keeps any other training out of the folder of a run while the `with` block runs.

    It locks a hidden file beside the folder; the system frees the lock when the process ends, however it ends. Where
    nothing can be locked (on Windows, or in a folder that cannot be written), nothing is kept out.

    Raises:
        UsageError: another process trains in the folder.
    """
    target = Path(os.path.realpath(path))
    lock = target.with_name(f".{target.name[:60]}.lock")
    try:
        file = _locked(lock)
    except BlockingIOError as error:
        raise UsageError(
            f"expected a folder that no other program trains in, got {path}, where one is at work; "
            "wait for its end, or choose another --out"
        ) from error
    except (ImportError, OSError):
        yield
        return
    with file:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _locked(lock: Path) -> IO[str]:
    """Makes a file, locks it and returns it, open. A file that was removed before the lock came is made again."""
    import fcntl  # not on Windows

    while True:
        file = lock.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise
        except OSError:  # some network file systems have no locks
            return file
        if _is_at(lock, file.fileno()):
            return file
        file.close()


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def load_run(path: Path, weights: Weights = "last") -> Run:
    """The run in a folder, with its last or its best weights.

    Raises:
        InputError: there is no run, none of its epochs is finished, or a file is damaged or of another model.
    """
    path = Path(path)
    config, record = read_run_settings(path)
    if weights == "best" and config.full:
        raise InputError(f"{path}: expected a run with validation figures, got one with --full; use the last weights")
    vae = VAE(config.model)
    sha256 = load_weights(vae, path / WEIGHTS[weights], f"vae-train --out {path} --resume")
    return Run(path, config, vae, sha256, read_metrics(path / METRICS), record)


def load_weights(network: nn.Module, file: Path, resume_command: str) -> str:
    """Load weights into a network, set it up for evaluation without gradients, and return the SHA-256 of the file.

    Raises:
        InputError: the file is missing or damaged, or belongs to another network.
    """
    try:
        content = read_regular(file, MOST_WEIGHT_BYTES, links=True)
    except OSError as error:
        raise InputError(
            f"{file}: expected the weights of a finished epoch, found none ({error.strerror}); "
            f"train on with: {resume_command}"
        ) from error
    try:
        weights = safetensors.torch.load(content)
        check_weights(weights, network)
        network.load_state_dict(weights)
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{file}: expected the weights of the model in config.json, got {' '.join(str(error).split())[:200]}; "
            f"remove {file.parent} and train it again"
        ) from error
    network.eval().requires_grad_(False)
    return hashlib.sha256(content).hexdigest()


def check_weights(weights: Mapping[str, torch.Tensor], network: nn.Module) -> None:
    """Refuses weights of another type than a network's, which PyTorch would convert, and weights that are not finite.

    Raises:
        ValueError: the name of the first such weight, and what is wrong with it.
    """
    wanted = network.state_dict()
    for name, values in weights.items():
        if name in wanted and values.dtype != wanted[name].dtype:
            raise ValueError(f"{name} as {values.dtype}, where {wanted[name].dtype} is right")
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise ValueError(f"{name} with values that are not finite")


def open_folder(
    path: Path,
    config: TrainConfig,
    data: ImageSet,
    *,
    resume: bool,
    extra_files: Mapping[str, bytes] | None = None,
    detail: DetailConfig | None = None,
    init: Mapping[str, str] | None = None,
) -> TrainConfig:
    """Make the folder of a run, or compare the run in it with the settings; returns the settings to train with.

    Args:
        path: the folder; the folder above it must exist.
        config: the wanted settings. The device "auto" and the threads None agree with any that were saved.
        data: the data set to train on.
        resume: whether to go on with a run in the folder. More epochs than it was started with extend it.
        extra_files: names and contents of further files for a new folder.
        detail: the settings of the detail stage that follows, which are kept for a resumed run.
        init: the record of the weights that a new run begins with; None for random ones. A resumed run needs none, and
            goes on only if one that is given has the SHA-256 of the weights that it began with.

    Raises:
        UsageError: a run is there and `resume` is false, or it has other settings or began with other weights.
        InputError: the folder holds something else, or a run on other data.
        OutputError: the folder cannot be made.
    """
    planned = {} if detail is None else {DETAIL: detail.to_json()}
    remove_leftovers(path.resolve())
    try:
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise InputError(f"{path}: expected a readable folder ({error.strerror}); choose another --out") from error
    if not taken:
        with replacing_folder(path) as aside:  # so that no run is without its config.json
            write_json(aside / CONFIG, _record(config, data) | ({} if init is None else {INIT: dict(init)}) | planned)
            (aside / SAMPLES).mkdir()
            for name, content in (extra_files or {}).items():
                write_file(aside / name, content)
        return config
    if not resume:
        raise UsageError(f"expected a new folder, got {path}, which exists; add --resume or choose another --out")
    saved, record = read_run_settings(path)
    if init is not None:
        _check_init(record.get(INIT), init)
    if record.get("data", {}).get("sha256") != data.sha256:
        raise InputError(f"{path}: expected the data that the run began with, got other {data.name}; use that again")
    settled = _settled(saved, config)
    if settled != saved:
        (path / EVALUATION).unlink(missing_ok=True)  # of fewer epochs; removed first, so that a kill cannot keep it
    if (kept := record | {"settings": settled.to_json()} | planned) != record:
        write_json(path / CONFIG, kept)
    for leftover in [*path.glob(".*.part"), *(path / SAMPLES).glob(".*.part")]:  # left by a kill during a write
        with contextlib.suppress(OSError):
            leftover.unlink()
    return settled


def _check_init(saved: Mapping[str, str] | None, wanted: Mapping[str, str]) -> None:
    """Refuses other weights than those that a run began with.

    Raises:
        UsageError: the SHA-256 of the weights differs, or the run began with random weights.
    """
    if saved is None or saved["weights_sha256"] != wanted["weights_sha256"]:
        named = f"--init {saved['from']} ({saved['weights_sha256'][:12]}…)" if saved else "no --init"
        raise UsageError(
            f"expected {named}, as the run was started, got --init {wanted['from']} "
            f"({wanted['weights_sha256'][:12]}…); leave it out, or start another run with another --out"
        )


OPTIONS = {
    "learning_rate": "--lr",
    "batch_size": "--batch-size",
    "validation_images": "validation_images",
    "checkpoint_steps": "checkpoint_steps",
}
"""The names of settings on the command line, if they are not -- and the name of the setting."""


def _settled(saved: TrainConfig, wanted: TrainConfig) -> TrainConfig:
    """The saved settings, with the wanted number of epochs if that is larger.

    Raises:
        UsageError: another setting differs; the error names the first one, with both values.
    """
    if wanted.device == "auto":
        wanted = replace(wanted, device=saved.device)
    if wanted.threads is None:
        wanted = replace(wanted, threads=saved.threads)
    have, want = ({**value.to_json(), **value.model.to_json(), "model": None} for value in (saved, wanted))
    if want["epochs"] > have["epochs"]:
        have["epochs"] = want["epochs"]  # more epochs extend the run
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
    """The option of the first setting that differs, and both values as text; None if all settings agree."""
    for name, value in have.items():
        if want[name] != value:
            return OPTIONS.get(name, "--" + name.replace("_", "-")), _shown(value), _shown(want[name])
    return None


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_run_settings(path: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """The settings of a run, and the whole content of its config.json.

    Raises:
        InputError: there is no run, or its config.json is damaged.
    """
    return read_settings(path, TrainConfig, "a run folder", "give the --out of a vae-train")


Kind = TypeVar("Kind", bound=Settings)


def read_settings(folder: Path, kind: type[Kind], what: str, remedy: str) -> tuple[Kind, dict[str, Any]]:
    """The settings in the config.json of a folder, and its whole content.

    Args:
        folder: the folder of a run or of a detail stage.
        kind: the class of the settings.
        what: the name of such a folder, for errors.
        remedy: what to do if there is no config.json, for errors.

    Raises:
        InputError: there is no config.json, or it is damaged or of another version.
    """
    file = folder / CONFIG
    try:
        content = read_regular(file, MOST_JSON_BYTES, links=True)
    except OSError as error:
        raise InputError(
            f"{folder}: expected {what}, found no readable {CONFIG} in it ({error.strerror}); {remedy}"
        ) from error
    document = Json.parse(content, str(file), InputError, "train it again")
    document["format"].whole(FORMAT, FORMAT)
    document["versions"]["torch"].text()
    if kind is TrainConfig:
        document["data"].mapping()
        if INIT in document:
            for key in ("from", "weights_sha256"):
                document[INIT][key].text()
    try:
        return kind.from_json(document["settings"].value), document.mapping()
    except UsageError as error:
        raise InputError(f"{file}: {error}") from error


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        lines = read_regular(file, MOST_JSON_BYTES, links=True).decode("utf-8").splitlines()
        return [Json.parse(line, str(file), InputError, "train it again").mapping() for line in lines]
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected a line of JSON for each epoch, got {error}; train it again") from error


def write_weights(path: Path, network: nn.Module) -> None:
    """Write the weights of a network as safetensors; the same weights give the same bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_file(path, safetensors.torch.save(tensors))


def write_metrics(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write all lines of metrics.jsonl anew, so that no line can be in it twice.

    Raises:
        OutputError: the file cannot be written.
    """
    write_file(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in history))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object as an indented JSON file.

    Raises:
        OutputError: the file cannot be written.
    """
    write_file(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def planned_detail(record: Mapping[str, Any]) -> DetailConfig | None:
    """The settings of the detail stage that a run was begun with, from its config.json; None for a run without one."""
    return DetailConfig.from_json(record[DETAIL]) if DETAIL in record else None


def _record(config: TrainConfig, data: ImageSet) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "settings": config.to_json(),
        "versions": versions(),
        "git_commit": _git_commit(),
        "data": {"name": data.name, "class_names": list(data.class_names), "sha256": data.sha256, **data.origin},
    }


def versions() -> dict[str, str]:
    """The versions that the last digits of a run depend on: Python, PyTorch, NumPy and vae-gen."""
    numbers = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in ("numpy", "vae-gen"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # if vae-gen is not installed
            numbers[package] = importlib.metadata.version(package)
    return numbers


def _git_commit() -> str | None:
    """The commit of the checkout that this file is in, with -dirty added if files were changed; None outside of one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed, perhaps in a folder of another repository
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
