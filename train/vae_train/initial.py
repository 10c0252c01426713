"""The weights that `vae-train --init` begins with: those of a shipped model, or of another run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from vae_gen import InputError, UsageError

from . import run_folder
from .config import PRESETS, ModelConfig
from .images.report import DataReport
from .images.settings import ImageSettings
from .model import VAE


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """The weights of a trained VAE, with which another run begins."""

    origin: str
    """the name of a shipped model, or the absolute path of a run's folder"""
    model: ModelConfig
    """the network that they are the weights of, which the new run keeps"""
    sha256: str
    """the SHA-256 of their file"""
    weights: dict[str, Tensor]
    """float32, on the CPU, by their names in the network"""

    def to_json(self) -> dict[str, str]:
        """The record of these weights in the config.json of the run that begins with them."""
        return {"from": self.origin, "weights_sha256": self.sha256}

    def check_network(self, model: ModelConfig) -> None:
        """Refuses another network than that of the weights.

        Raises:
            UsageError: a setting differs; the error names the first one, with both values.
        """
        if difference := run_folder.first_difference(self.model.to_json(), model.to_json()):
            name, value, other = difference
            raise UsageError(f"expected {name} {value}, as in the weights of {self.origin}, got {other}; {REMEDY}")

    def check_options(self, reading: ImageSettings, preset: str | None) -> None:
        """Refuses options that ask for another network than that of the weights.

        Args:
            reading: the options of reading images, as they were given.
            preset: the preset that was given. Only flagship names a network; the others are recipes for any.

        Raises:
            UsageError: an option differs.
        """
        model = self.model
        asked = (
            ("--image-size", reading.size and _by(*reading.size), _by(model.height, model.width)),
            ("--channels", reading.channels, model.channels),
            ("--latent-dim", reading.latent_dim, model.latent_dim),
        )
        for option, value, own in asked:
            if value not in (None, own):
                raise UsageError(f"expected {option} {own}, as in the weights of {self.origin}, got {value}; {REMEDY}")
        wanted = PRESETS[preset or "reference"].model
        if wanted.residual_blocks and _depth(wanted) != _depth(model):
            raise UsageError(
                f"expected --preset reference or quick, because the weights of {self.origin} are those of another "
                f"network, got {preset}; choose another preset, or train without --init"
            )


REMEDY = "leave it out, or train without --init"


def shipped_weights() -> tuple[str, ...]:
    """The names of the models whose weights this installation has.

    >>> "fashion-mnist-12d" in shipped_weights()
    True
    """
    return tuple(sorted(file.parent.name for file in _shipped().glob(f"*/{run_folder.WEIGHTS['last']}")))


def read_initial_weights(name_or_path: str) -> InitialWeights:
    """The weights of a shipped model, or those of a run after its last epoch.

    Args:
        name_or_path: the name of a shipped model, or the folder of a run. A folder with a run goes before a name.

    Raises:
        InputError: there is no such model or run, or its files are damaged.
    """
    path = Path(name_or_path).expanduser()
    if not (path / run_folder.CONFIG).exists() and name_or_path in shipped_weights():
        path, origin = _shipped() / name_or_path, name_or_path
    elif path.is_dir():
        origin = str(path.resolve())
    else:
        raise InputError(
            f"expected --init with {', '.join(shipped_weights())}, or with the folder of a run, got {name_or_path}"
        )
    config, _ = run_folder.read_run_settings(path)
    vae = VAE(config.model)
    sha256 = run_folder.load_weights(vae, path / run_folder.WEIGHTS["last"], f"vae-train --out {path} --resume")
    return InitialWeights(origin, config.model, sha256, vae.state_dict())


def recorded_network(path: Path) -> tuple[ModelConfig | None, str]:
    """The network of the run in a folder, and the origin of its first weights; None if it is no run with --init.

    Raises:
        InputError: the run's config.json is damaged.
    """
    if not (path / run_folder.CONFIG).exists():
        return None, ""
    config, record = run_folder.read_run_settings(path)
    return (config.model, record[run_folder.INIT]["from"]) if run_folder.INIT in record else (None, "")


def recorded_weights(path: Path) -> InitialWeights | None:
    """The weights that the run in a folder begins with; None if they were random, or if the run has a checkpoint.

    Raises:
        InputError: they are no longer where they were, or they have changed.
    """
    _, record = run_folder.read_run_settings(path)
    if run_folder.INIT not in record or (path / run_folder.CHECKPOINT).exists():
        return None
    recorded = record[run_folder.INIT]
    found = read_initial_weights(recorded["from"])
    if found.sha256 != recorded["weights_sha256"]:
        raise InputError(
            f"{path}: expected the weights that the run was started with, SHA-256 {recorded['weights_sha256'][:12]}…, "
            f"found {found.sha256[:12]}… in {found.origin}; start another run with another --out"
        )
    return found


def explained(report: DataReport, model: ModelConfig, origin: str) -> DataReport:
    """The report of an image set, in which the choices that first weights have made name them as the reason.

    Args:
        report: the report.
        model: the network of the weights.
        origin: the model or the run that they come from.
    """
    widths = " and ".join(str(channels) for channels in model.encoder_channels)
    chosen = {
        "image size": _by(model.height, model.width),
        "channels": str(model.channels),
        "latents": str(model.latent_dim),
        "network": f"{len(model.encoder_channels)} convolutions of {widths} channels",
        "likelihood": model.likelihood.capitalize(),
    }
    reason = f"as in the weights of {origin}, which training begins with"
    return replace(report, choices=tuple(
        replace(choice, value=chosen[choice.name], reason=reason, option="") if choice.name in chosen else choice
        for choice in report.choices
    ))  # fmt: skip


def _shipped() -> Path:
    import vae_train.weights  # a package of its own, because it lies elsewhere in a checkout

    return Path(vae_train.weights.__path__[0])


def _by(height: int, width: int) -> str:
    """Height and width in pixels, as --image-size takes them."""
    return f"{height}x{width}"


def _depth(model: ModelConfig) -> tuple[bool, int, int]:
    """The settings in which the networks of the presets differ, apart from those that follow from the image size."""
    return bool(model.residual_blocks), model.encoder_hidden, model.decoder_hidden
