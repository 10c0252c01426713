"""Every setting of the model, of its training, of its detail stage and of measuring it, as frozen values.

>>> TrainConfig(epochs=3).epochs
3
>>> TrainConfig.from_json({"epoch": 3})
Traceback (most recent call last):
    ...
vae_gen._errors.UsageError: expected one of the settings model, epochs, steps, epoch_steps, batch_size, learning_rate, schedule, warmup_steps, weight_decay, average, beta, kl_warmup_epochs, free_nats, seed, full, validation_images, device, precision, compile, threads, flip, shift, micro_batches, checkpoint_steps, got epoch
"""  # noqa: E501 - an error is one line

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

from vae_gen import UsageError

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["32", "bf16"]
Schedule = Literal["constant", "cosine"]
Likelihood = Literal["bernoulli", "gaussian"]

QUALITY_PARTS = ("likelihood", "samples", "latent")
"""The parts of what `vae-eval --quality` measures."""

FEWEST_SAMPLES = 6
"""The fewest pictures in a set that it measures: more than the 5 neighbours of precision and recall."""


class Settings:
    """Base of the frozen dataclasses below: turns them into JSON and back, and checks their numbers."""

    def to_json(self) -> dict[str, Any]:
        """All settings as JSON values; a tuple becomes a list, and settings within settings an object."""
        return {entry.name: _as_json(getattr(self, entry.name)) for entry in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The settings from a JSON object; a setting that the object does not name takes its default.

        Raises:
            UsageError: a key is unknown, or a value has another type or is out of its range.
        """
        if not isinstance(value, dict):
            raise UsageError(f"expected settings as a JSON object, got {value!r}")
        known = [entry.name for entry in fields(cls)]  # type: ignore[arg-type]
        for key in value:
            if key not in known:
                raise UsageError(f"expected one of the settings {', '.join(known)}, got {key}")
        hints = get_type_hints(cls)
        return cls(**{key: _typed(hints[key], key, entry) for key, entry in value.items()})

    def _at_least(self, low: int, *names: str) -> None:
        """Refuse a whole number, or a number of a tuple, that is below `low`. None passes."""
        for name in names:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and number < low:
                    raise UsageError(f"expected {name} of at least {low}, got {number}")

    def _at_most(self, high: int, *names: str) -> None:
        """Refuse a whole number, or a number of a tuple, that is above `high`: settings may come from a stranger."""
        for name in names:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if number > high:
                    raise UsageError(f"expected {name} of at most {high}, got {number}")

    def _in_range(self, wanted: str, allowed: bool, name: str) -> None:
        """Refuse the setting `name` unless it is finite and `allowed`; the error names what is `wanted`."""
        value = getattr(self, name)
        if not (allowed and math.isfinite(value)):
            raise UsageError(f"expected {wanted}, got {value:g}")

    def _check_micro_batches(self) -> None:
        count, images = self.micro_batches, self.batch_size  # type: ignore[attr-defined]
        if count < 0 or count & (count - 1):
            raise UsageError(f"expected micro_batches of 1, 2, 4 or another power of two, or 0 for none, got {count}")
        if count > images:
            raise UsageError(f"expected at most as many micro_batches as images in a batch, {images}, got {count}")

    def _check_seed(self) -> None:
        if not 0 <= self.seed < 2**63:  # type: ignore[attr-defined]
            raise UsageError(f"expected a seed from 0 to 2^63-1 ({2**63 - 1}), got {self.seed}")  # type: ignore[attr-defined]


MOST_UNITS, MOST_LAYERS, MOST_WEIGHTS, MOST_WIDTH = 4096, 1000, 1 << 28, 16
"""The largest layer, the most layers and the most weights of a network: far more than this project's networks have, and
few enough to be allocated."""


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The shape of the network. The defaults are those of the reference recipe."""

    channels: int = 1  # 1 for grey images, 3 for colour
    height: int = 28  # pixels
    width: int = 28  # pixels
    latent_dim: int = 12  # numbers that an image is encoded as; all 12 stay in use on Fashion-MNIST
    encoder_channels: tuple[int, ...] = (32, 64)  # feature maps after each convolution; the decoder mirrors them
    kernel_size: int = 4  # pixels; twice the stride, so that transposed convolutions overlap evenly
    stride: int = 2  # pixels; each convolution halves height and width
    padding: int = 1  # pixels of zeros on each side: 28 → 14 → 7
    residual_blocks: tuple[int, ...] = ()  # number after each convolution, in encoder and decoder; empty means none
    encoder_hidden: int = 0  # width of a dense layer before mean and log-variance; 0 means no such layer
    decoder_hidden: int = 0  # width of a dense layer after the latent; 0 means no such layer
    last_kernel: int = 0  # pixels; a convolution at the end that removes the weave of transposed ones; 0 means none
    refinement_steps: int = 0  # Newton steps that refine the encoder's posterior of an image
    likelihood: Likelihood = "bernoulli"  # of the pixels: bernoulli for grey, gaussian for colour (objective.py)

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise UsageError(f"expected 1 channel (grey) or 3 (colour), got {self.channels}")
        self._at_least(1, "height", "width", "latent_dim", "kernel_size", "stride", "encoder_channels")
        self._at_least(0, "padding", "residual_blocks", "encoder_hidden", "decoder_hidden", "refinement_steps")
        self._at_least(0, "last_kernel")
        if self.last_kernel and self.last_kernel % 2 == 0:
            raise UsageError(f"expected last_kernel of 0 or an odd number, got {self.last_kernel}")
        if self.likelihood == "gaussian" and self.refinement_steps:
            raise UsageError(
                "expected refinement_steps of 0 with the gaussian likelihood, whose gradient they don't have, "
                f"got {self.refinement_steps}"
            )
        if not self.encoder_channels:
            raise UsageError("expected encoder_channels with at least one number, got none")
        self._at_most(MOST_UNITS, "height", "width", "latent_dim", "encoder_channels", "kernel_size", "padding")
        self._at_most(MOST_UNITS, "encoder_hidden", "decoder_hidden", "last_kernel")
        self._at_most(MOST_LAYERS, "residual_blocks", "refinement_steps")
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

        if len(self.encoder_channels) > MOST_LAYERS or self._weights() > MOST_WEIGHTS:
            raise UsageError(
                f"expected a network of at most {MOST_WEIGHTS} weights, got about {self._weights()}; use fewer channels"
            )

    def _weights(self) -> int:
        """About how many weights the network has, and at least as many."""
        channels = (self.channels, *self.encoder_channels)
        convolutions = sum(a * b for a, b in pairwise(channels)) * self.kernel_size**2
        blocks = sum(18 * number * width**2 for number, width in zip(self.residual_blocks, channels[1:], strict=False))
        if self.last_kernel:
            convolutions += channels[1] ** 2 * self.kernel_size**2 + channels[0] * channels[1] * self.last_kernel**2
        flat = channels[-1] * math.prod(self.feature_sizes[-1])
        hidden = self.encoder_hidden + self.decoder_hidden
        return 2 * (convolutions + blocks) + (flat + hidden) * (3 * self.latent_dim + hidden)

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


@dataclass(frozen=True)
class TrainConfig(Settings):
    """The settings of one training run. The defaults are the reference recipe."""

    model: ModelConfig = field(default_factory=ModelConfig)
    epochs: int = 30  # passes over the training images; in the 30th the training −ELBO still falls by 0.08 nats
    steps: int = 0  # steps in all, in place of epochs of one pass each; 0 lets epochs decide
    epoch_steps: int = 0  # steps of an epoch, found from steps; 0 means one pass over the training images
    batch_size: int = 128  # images; the last batch of an epoch is smaller
    learning_rate: float = 1e-3  # Adam's highest
    schedule: Schedule = "constant"  # cosine falls from learning_rate to 0 over the epochs
    warmup_steps: int = 0  # the first steps, in which the learning rate rises from 0
    weight_decay: float = 0.0  # decoupled (AdamW), of all weights but biases
    average: float = 0.0  # decay of the running mean of the weights, which is saved in their place; 0 means no mean
    beta: float = 1.0  # weight of the KL in the loss; 1 makes the loss the −ELBO
    kl_warmup_epochs: int = 0  # the first epochs, in which that weight rises from 0; keeps dimensions from collapsing
    free_nats: float = 0.0  # KL of a dimension, as a mean over a batch, that the loss does not charge for
    seed: int = 0  # of the first weights, the order of images and the noise; 0 … 2⁶³−1
    full: bool = False  # train on the validation images too; the run then has no validation figures
    validation_images: int = 5000  # images held out; every seed holds out the same ones
    device: Device = "auto"  # auto takes cuda, then mps, then cpu; the run saves the device it took
    precision: Precision = "32"  # bf16 runs the network in bfloat16; weights and losses stay float32
    compile: bool = False  # torch.compile: takes longer to start, pays on a GPU
    threads: int | None = None  # of PyTorch on the CPU; None takes PyTorch's choice, which the run then saves
    flip: bool = False  # show half of the images mirrored, left to right
    shift: int = 0  # pixels by which images are shown moved at random, in each direction
    micro_batches: int = 0  # pieces of a batch, 2^k, for equal results on 1 … 2^k processes; 0 means no such pieces
    checkpoint_steps: int = 200  # steps between checkpoints inside an epoch: a kill costs up to 9 s of two cores

    def __post_init__(self) -> None:
        self._at_least(1, "epochs", "batch_size", "validation_images", "checkpoint_steps", "threads")
        self._check_micro_batches()
        self._in_range("a learning rate above 0", self.learning_rate > 0, "learning_rate")
        self._in_range("a beta of 0 or more", self.beta >= 0, "beta")
        self._at_least(0, "warmup_steps", "kl_warmup_epochs", "steps", "epoch_steps", "shift")
        self._in_range("free_nats of 0 or more", self.free_nats >= 0, "free_nats")
        low_enough = 0 <= self.weight_decay < 1 / self.learning_rate
        self._in_range("a weight decay from 0 to 1 / learning rate", low_enough, "weight_decay")
        self._in_range("an average's decay from 0 to below 1", 0 <= self.average < 1, "average")
        self._check_seed()


@dataclass(frozen=True)
class DetailConfig(Settings):
    """The settings of one training of a detail stage. The defaults are those of the teacher of the shipped stage."""

    noise_dim: int = 32  # standard normals that a picture is made from, besides its latent
    class_shift: float = 4.0  # what is added to one number of the noise, whose index is the picture's class
    hidden: int = 192  # width of the dense layer after latent and noise
    channels: tuple[int, ...] = (16, 48, 64)  # feature maps at the size of the picture (or 0), then after each halving
    residual_blocks: tuple[int, ...] = (1, 1, 2)  # number at each of these sizes
    block_widths: tuple[int, ...] = ()  # how many times wider an inverted block is inside; 0 and () mean plain blocks
    stretch: float = 0.0  # what is cut off at both ends of the sigmoid's range, of which the picture takes the rest
    critic_channels: tuple[int, ...] = (32, 64, 128)  # the critic's feature maps at the same sizes
    critic_hidden: int = 256  # width of the critic's description of a picture
    imitation_epochs: int = 0  # the first of these passes, in which the decoder imitates a teacher
    imitation_rate: float = 4e-3  # Adam's first learning rate in them, which falls to learning_rate
    feature_matching: float = 0.0  # after them, weight of the difference from the teacher, as the critic sees it
    epochs: int = 40  # passes over the training images
    steps: int = 0  # steps in all, in place of epochs of one pass each; 0 lets epochs decide
    epoch_steps: int = 0  # steps of an epoch, found from steps; 0 means one pass over the training images
    batch_size: int = 64  # images
    learning_rate: float = 3e-4  # Adam's for the detail decoder
    critic_learning_rate: float = 6e-4  # Adam's for the critic, which must stay ahead (Heusel et al. 2017, 1706.08500)
    decay_from: float = 0.5  # the share of the steps after which both learning rates fall linearly to 0
    average: float = 0.999  # decay of the running mean of the decoder's weights, which is saved in their place
    consistency: float = 0.05  # weight of the distance between a picture's posterior mean and its latent
    no_class_share: float = 0.2  # share of the pictures that are made and judged without their class
    seed: int = 0  # of the first weights, the order of images and all noise; 0 … 2⁶³−1
    device: Device = "auto"  # auto takes cuda, then mps, then cpu; the stage saves the device it took
    precision: Precision = "32"  # bf16 runs the networks in bfloat16; weights and losses stay float32
    micro_batches: int = 0  # pieces of a batch, 2^k, for equal results on 1 … 2^k processes; 0 means no such pieces
    threads: int | None = None  # of PyTorch on the CPU; None takes PyTorch's choice, which the stage then saves

    def __post_init__(self) -> None:
        self._at_least(1, "noise_dim", "hidden", "critic_hidden", "epochs", "batch_size", "threads")
        self._check_micro_batches()
        if not len(self.channels) == len(self.residual_blocks) == len(self.critic_channels) > 1:
            raise UsageError(
                "expected as many channels as residual_blocks and critic_channels, one for each of at least two sizes "
                f"of feature map, got {len(self.channels)}, {len(self.residual_blocks)} and {len(self.critic_channels)}"
            )
        self._at_least(1, "critic_channels")
        self._at_least(0, "channels", "residual_blocks", "block_widths", "steps", "epoch_steps", "imitation_epochs")
        if not all(self.channels[1:]) or (not self.channels[0] and self.residual_blocks[0]):
            raise UsageError(
                "expected channels of 0 only at the size of the picture, and no residual_blocks there, "
                f"got channels {self.channels} and residual_blocks {self.residual_blocks}"
            )
        if self.block_widths and len(self.block_widths) != len(self.channels):
            raise UsageError(
                f"expected block_widths for each of {len(self.channels)} channels or none, "
                f"got {len(self.block_widths)} numbers"
            )
        if self.imitation_epochs > self.epochs:
            raise UsageError(
                f"expected at least the {self.imitation_epochs} epochs that imitate a teacher, got {self.epochs}; "
                "give more --epochs or --steps"
            )
        self._at_most(MOST_UNITS, "noise_dim", "hidden", "critic_hidden", "channels", "critic_channels")
        self._at_most(MOST_WIDTH, "block_widths")
        blocks = zip(self.residual_blocks, self.channels, self.critic_channels, strict=True)
        widest = max(self.block_widths, default=0) + 1
        if (
            sum(self.residual_blocks) > MOST_LAYERS
            or sum(18 * (number * widest + 1) * (width**2 + other**2) for number, width, other in blocks) > MOST_WEIGHTS
        ):
            raise UsageError(f"expected a detail stage of at most {MOST_WEIGHTS} weights, got more; use fewer channels")
        for name in ("learning_rate", "critic_learning_rate", "imitation_rate"):
            self._in_range(f"a {name} above 0", getattr(self, name) > 0, name)
        self._in_range("a stretch from 0 to 0.1", 0 <= self.stretch <= 0.1, "stretch")
        for name in ("class_shift", "consistency", "feature_matching"):
            self._in_range(f"{name} of 0 or more", getattr(self, name) >= 0, name)
        for name in ("decay_from", "no_class_share"):
            self._in_range(f"{name} from 0 to 1", 0 <= getattr(self, name) <= 1, name)
        self._in_range("an average's decay from 0 to below 1", 0 <= self.average < 1, "average")
        self._check_seed()


EPOCH_STEPS, MOST_EPOCHS = 250, 20
"""A recipe in steps has an epoch, with its figures, pictures and checkpoint, every 250 steps; but no more than 20."""

Stretched = TypeVar("Stretched", TrainConfig, DetailConfig)


def with_epochs(config: Stretched) -> Stretched:
    """The settings with `epochs` and `epoch_steps` for their number of steps; unchanged where epochs decide.

    An epoch is then a stretch of steps in which each training image is seen equally often, give or take one. The
    epochs that imitate a teacher keep their share.
    """
    if not config.steps:
        return config
    epochs = max(1, min(MOST_EPOCHS, config.steps // EPOCH_STEPS))
    kept: dict[str, Any] = {}
    if isinstance(config, DetailConfig) and config.imitation_epochs:
        kept["imitation_epochs"] = max(1, config.imitation_epochs * epochs // config.epochs)
    return replace(config, **kept, epochs=epochs, epoch_steps=-(-config.steps // epochs))


@dataclass(frozen=True)
class QualitySettings(Settings):
    """What `vae-eval --quality` measures, and how finely."""

    parts: tuple[str, ...] = QUALITY_PARTS
    samples: int = 10_000  # pictures in each set; with fewer the Fréchet distance is larger
    seeds: int = 3  # the seeds 0 … seeds − 1, whose spread is reported for everything random
    iwae_k: int = 100  # latents per image for the importance-weighted bound; published figures take 5000
    iwae_images: int = 1000  # the first test images; a figure to publish takes all 10 000
    cas_epochs: int = 8  # passes of the classifier that learns from samples: 20 s on one core for 10 000 pictures

    def __post_init__(self) -> None:
        for part in self.parts:
            if part not in QUALITY_PARTS:
                raise UsageError(f"expected parts among {', '.join(QUALITY_PARTS)}, got {part}")
        self._at_least(1, "seeds", "iwae_k", "iwae_images", "cas_epochs")
        self._at_least(FEWEST_SAMPLES, "samples")


def _as_json(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.to_json()
    return list(value) if isinstance(value, tuple) else value


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
    if hint is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if type(value) is not hint:  # exactly this type, because True is an int in Python
        names = {int: "a whole number", float: "a number", bool: "true or false"}
        raise UsageError(f"expected {key} as {names[hint]}, got {value!r}")
    return value


PRESETS = {
    "reference": TrainConfig(),
    "quick": TrainConfig(
        steps=1500, batch_size=64, learning_rate=4e-3, schedule="cosine", warmup_steps=50, average=0.99
    ),
    "flagship": TrainConfig(
        model=ModelConfig(
            residual_blocks=(1, 3),
            encoder_hidden=128,
            decoder_hidden=192,
            refinement_steps=4,
        ),
        epochs=50,
        learning_rate=2e-3,
        schedule="cosine",
        warmup_steps=500,
        weight_decay=0.03,
        average=0.999,
        kl_warmup_epochs=5,
        free_nats=0.25,
    ),
}
"""The recipes that have a name. docs/quality.md shows what each setting of the flagship gained."""
