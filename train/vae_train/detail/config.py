"""The settings of the detail stage: frozen values that are saved beside its weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from vae_gen import UsageError

from ..config import LIMIT, Device, Precision, at_least, from_json


@dataclass(frozen=True)
class DetailConfig:
    """One training of a detail stage. The defaults are the shipped one's; bench/quality.md says what they reach."""

    noise_dim: int = 32  # standard normals that a picture takes besides its latent
    class_shift: float = 4.0  # what is added to the noise of a picture's class, at that class's own number
    hidden: int = 192  # width of the dense layer after latent and noise
    channels: tuple[int, ...] = (16, 48, 64)  # feature maps at the size of the picture, then after each halving
    residual_blocks: tuple[int, ...] = (1, 1, 2)  # at each of these sizes
    critic_channels: tuple[int, ...] = (32, 64, 128)  # the critic's, at the same sizes
    critic_hidden: int = 256  # width of the critic's description of a picture
    epochs: int = 40  # passes over the training images
    batch_size: int = 64  # images a step
    learning_rate: float = 3e-4  # Adam's for the detail decoder
    critic_learning_rate: float = 6e-4  # the critic's, which must stay ahead (Heusel et al. 2017, arXiv:1706.08500)
    decay_from: float = 0.5  # the share of the steps after which both fall linearly to 0
    average: float = 0.999  # decay of the decoder's running mean, which is what is saved
    consistency: float = 0.05  # weight of the distance between a picture's posterior mean and its latent
    no_class_share: float = 0.2  # of the pictures of a step, those that are made and judged without their class
    seed: int = 0  # of the first weights, the order of images and all noise; 0 … 2⁶³−1
    device: Device = "auto"
    precision: Precision = "32"  # bf16 runs the networks in bfloat16; weights and losses stay float32
    threads: int | None = None  # of PyTorch on the CPU; None takes PyTorch's choice

    def __post_init__(self) -> None:
        for name in ("noise_dim", "hidden", "critic_hidden", "epochs", "batch_size"):
            at_least(name, getattr(self, name), 1)
        if self.threads is not None:
            at_least("threads", self.threads, 1)
        if not len(self.channels) == len(self.residual_blocks) == len(self.critic_channels) > 1:
            raise UsageError(
                f"expected channels, residual_blocks and critic_channels of the same sizes of picture, at least two, "
                f"got {len(self.channels)}, {len(self.residual_blocks)} and {len(self.critic_channels)} numbers"
            )
        for name in ("channels", "critic_channels"):
            for count in getattr(self, name):
                at_least(name, count, 1)
        for count in self.residual_blocks:
            at_least("residual_blocks", count, 0)
        for name in ("learning_rate", "critic_learning_rate"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise UsageError(f"expected a {name} above 0, got {value:g}")
        for name in ("class_shift", "consistency"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"expected {name} of 0 or more, got {value:g}")
        for name in ("decay_from", "no_class_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"expected {name} from 0 to 1, got {getattr(self, name):g}")
        if not 0 <= self.average < 1:
            raise UsageError(f"expected an average's decay from 0 to below 1, got {self.average:g}")
        if not 0 <= self.seed < LIMIT:
            raise UsageError(f"expected a seed from 0 to 2^63-1 ({LIMIT - 1}), got {self.seed}")

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: object) -> DetailConfig:
        """The settings of `to_json`; those left out take their defaults.

        Raises:
            UsageError: an unknown key, a value of another type or out of its range.
        """
        return from_json(cls, value)
