"""Every setting of the model and of its training: frozen values that are saved with the run.

>>> TrainConfig(epochs=3).epochs
3
>>> TrainConfig.from_json({"epoch": 3})
Traceback (most recent call last):
    ...
vae_gen._errors.UsageError: expected one of the settings model, epochs, batch_size, learning_rate, schedule, warmup_steps, weight_decay, average, beta, kl_warmup_epochs, free_nats, seed, full, validation_images, device, precision, compile, threads, checkpoint_steps, got epoch
"""  # noqa: E501 - an error is one line

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from vae_gen import UsageError

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["32", "bf16"]
Schedule = Literal["constant", "cosine"]

LIMIT = 2**63
"""Seeds are below this, as in the seed contract."""


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network. The defaults are the reference recipe's."""

    channels: int = 1  # 1 for grey, 3 for colour
    height: int = 28  # pixels
    width: int = 28  # pixels
    latent_dim: int = 12  # numbers that an image becomes; all 12 stay active on Fashion-MNIST
    encoder_channels: tuple[int, ...] = (32, 64)  # feature maps after each convolution; the decoder mirrors them
    kernel_size: int = 4  # pixels; twice the stride, so that transposed convolutions overlap evenly
    stride: int = 2  # each convolution halves height and width
    padding: int = 1  # pixels of zeros on each side: 28 → 14 → 7
    residual_blocks: tuple[int, ...] = ()  # after each convolution, in encoder and decoder; empty for none at all
    encoder_hidden: int = 0  # width of a dense layer before mean and log-variance; 0 for none
    decoder_hidden: int = 0  # width of a dense layer after the latent; 0 for none
    refinement_steps: int = 0  # Newton steps that refine what the encoder says of an image

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise UsageError(f"expected 1 channel (grey) or 3 (colour), got {self.channels}")
        for name in ("height", "width", "latent_dim", "kernel_size", "stride"):
            at_least(name, getattr(self, name), 1)
        for name in ("padding", "encoder_hidden", "decoder_hidden", "refinement_steps"):
            at_least(name, getattr(self, name), 0)
        if not self.encoder_channels:
            raise UsageError("expected encoder_channels with at least one number, got none")
        for count in self.encoder_channels:
            at_least("encoder_channels", count, 1)
        for count in self.residual_blocks:
            at_least("residual_blocks", count, 0)
        if self.residual_blocks and len(self.residual_blocks) != len(self.encoder_channels):
            raise UsageError(
                f"expected residual_blocks for each of {len(self.encoder_channels)} encoder_channels or none, "
                f"got {len(self.residual_blocks)} numbers"
            )
        if any(min(size) < 1 for size in self.feature_sizes):
            raise UsageError(
                f"expected an image that {len(self.encoder_channels)} convolutions can shrink, "
                f"got {self.height} by {self.width} pixels; use fewer encoder_channels or larger images"
            )

    @property
    def feature_sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the image, then after each convolution: (28, 28), (14, 14), (7, 7)."""
        sizes = [(self.height, self.width)]
        for _ in self.encoder_channels:
            height, width = sizes[-1]
            sizes.append((self._shrunk(height), self._shrunk(width)))
        return tuple(sizes)

    def _shrunk(self, size: int) -> int:
        return (size + 2 * self.padding - self.kernel_size) // self.stride + 1

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        lists = {"encoder_channels": list(self.encoder_channels), "residual_blocks": list(self.residual_blocks)}
        return {**asdict(self), **lists}

    @classmethod
    def from_json(cls, value: object) -> ModelConfig:
        """The settings of `to_json`; those left out take their defaults.

        Raises:
            UsageError: an unknown key, a value of another type or out of its range.
        """
        return from_json(cls, value)


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the reference recipe."""

    model: ModelConfig = field(default_factory=ModelConfig)
    epochs: int = 30  # passes over the training images; training −ELBO still falls by 0.08 nats an epoch there
    batch_size: int = 128  # images; the last batch of an epoch is smaller
    learning_rate: float = 1e-3  # Adam's, at its highest
    schedule: Schedule = "constant"  # cosine falls from learning_rate to 0 over the epochs
    warmup_steps: int = 0  # the first steps, over which the learning rate rises from 0
    weight_decay: float = 0.0  # decoupled (AdamW), of all weights but biases
    average: float = 0.0  # decay of the weights' running mean, which is then what is saved; 0 for none
    beta: float = 1.0  # weight of the KL in the loss; 1 makes the loss the −ELBO
    kl_warmup_epochs: int = 0  # the first epochs, over which that weight rises from 0; keeps dimensions from collapsing
    free_nats: float = 0.0  # nats of KL for which a dimension is not charged, as a mean over a batch; keeps it in use
    seed: int = 0  # of the first weights, the order of images and the noise; 0 … 2⁶³−1
    full: bool = False  # train on the validation images too, and have no validation figures
    validation_images: int = 5000  # images held out, the same ones for every seed
    device: Device = "auto"  # auto takes cuda, then mps, then cpu, and is saved as what it took
    precision: Precision = "32"  # bf16 runs the network in bfloat16; weights and losses stay float32
    compile: bool = False  # torch.compile: slower to start, pays on a GPU
    threads: int | None = None  # of PyTorch on the CPU; None takes PyTorch's choice, which is then saved
    checkpoint_steps: int = 200  # steps between checkpoints inside an epoch: what a kill costs, 9 s on two cores

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validation_images", "checkpoint_steps"):
            at_least(name, getattr(self, name), 1)
        if self.threads is not None:
            at_least("threads", self.threads, 1)
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"expected a learning rate above 0, got {self.learning_rate:g}")
        if not (self.beta >= 0 and math.isfinite(self.beta)):
            raise UsageError(f"expected a beta of 0 or more, got {self.beta:g}")
        at_least("warmup_steps", self.warmup_steps, 0)
        at_least("kl_warmup_epochs", self.kl_warmup_epochs, 0)
        if not (self.free_nats >= 0 and math.isfinite(self.free_nats)):
            raise UsageError(f"expected free_nats of 0 or more, got {self.free_nats:g}")
        if not 0 <= self.weight_decay < 1 / self.learning_rate:
            raise UsageError(f"expected a weight decay from 0 to 1 / learning rate, got {self.weight_decay:g}")
        if not 0 <= self.average < 1:
            raise UsageError(f"expected an average's decay from 0 to below 1, got {self.average:g}")
        if not 0 <= self.seed < LIMIT:
            raise UsageError(f"expected a seed from 0 to 2^63-1 ({LIMIT - 1}), got {self.seed}")

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {**asdict(self), "model": self.model.to_json()}

    @classmethod
    def from_json(cls, value: object) -> TrainConfig:
        """The settings of `to_json`; those left out take their defaults.

        Raises:
            UsageError: an unknown key, a value of another type or out of its range.
        """
        return from_json(cls, value)


Config = TypeVar("Config")


def from_json(kind: type[Config], value: object) -> Config:
    """Settings of a frozen dataclass from their JSON object.

    Raises:
        UsageError: an unknown key, a value of another type or out of its range.
    """
    if not isinstance(value, dict):
        raise UsageError(f"expected settings as a JSON object, got {value!r}")
    known = [entry.name for entry in fields(kind)]  # type: ignore[arg-type]
    for key in value:
        if key not in known:
            raise UsageError(f"expected one of the settings {', '.join(known)}, got {key}")
    hints = get_type_hints(kind)
    return kind(**{key: _typed(hints[key], key, entry) for key, entry in value.items()})


def _typed(hint: Any, key: str, value: object) -> Any:
    """The JSON value as the type that the field `key` is declared with."""
    if hint is ModelConfig:
        return ModelConfig.from_json(value)
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise UsageError(f"expected {key} as one of {', '.join(get_args(hint))}, got {value!r}")
    if hint == tuple[int, ...]:
        if isinstance(value, list) and all(type(entry) is int for entry in value):
            return tuple(value)
        raise UsageError(f"expected {key} as a list of whole numbers, got {value!r}")
    if hint == int | None:
        if value is None or type(value) is int:
            return value
        raise UsageError(f"expected {key} as a whole number or null, got {value!r}")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:  # exactly: True is no number here
        names = {int: "a whole number", float: "a number", bool: "true or false"}
        raise UsageError(f"expected {key} as {names[hint]}, got {value!r}")
    return value


def at_least(name: str, value: int, low: int) -> None:
    """Refuse a setting below `low`."""
    if value < low:
        raise UsageError(f"expected {name} of at least {low}, got {value}")
