"""All that a stopped detail stage needs to go on, in one file. It is written after each epoch."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel

from vae_gen import InputError, random_words
from vae_gen.internal.files import write_file

from ..checkpoint import running_mean
from ..config import ModelConfig
from .config import DetailConfig
from .networks import Critic, DetailDecoder

FORMAT = 1

WEIGHTS_STREAM = 2**32 - 10
"""The stream of the seed contract's Philox that gives the first weights their seed."""

BETAS = (0.0, 0.99)
"""Adam's: a mean of gradients would point where the other network was, not where it is."""


@dataclass
class DetailState:
    """What changes while training; `epoch` epochs are finished."""

    decoder: DetailDecoder
    critic: Critic
    average: AveragedModel
    """the decoder's running mean"""
    optimizer: torch.optim.Adam
    critic_optimizer: torch.optim.Adam
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    """the lines of metrics.jsonl"""

    @classmethod
    def new(cls, config: DetailConfig, model: ModelConfig, classes: int, device: torch.device) -> DetailState:
        """The state before the first step, a function of the settings alone."""
        (seed, *_) = random_words(config.seed, 0, 1, 1, WEIGHTS_STREAM)[0, 0].tolist()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            decoder, critic = DetailDecoder(model, config), Critic(model, config, classes)
        for network in (decoder, critic):
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(
            decoder=decoder,
            critic=critic,
            average=running_mean(decoder, config.average),
            optimizer=torch.optim.Adam(decoder.parameters(), config.learning_rate, BETAS, fused=True),
            critic_optimizer=torch.optim.Adam(critic.parameters(), config.critic_learning_rate, BETAS, fused=True),
        )

    @property
    def result(self) -> DetailDecoder:
        """What is drawn and saved: the running mean of the decoder's weights."""
        return cast(DetailDecoder, self.average.module)

    def _parts(self) -> dict[str, Any]:
        return {
            "decoder": self.decoder,
            "critic": self.critic,
            "average": self.average,
            "optimizer": self.optimizer,
            "critic_optimizer": self.critic_optimizer,
        }

    def save(self, path: Path) -> None:
        """Write the state aside and rename it into place, so that a kill leaves the old one or this one.

        Raises:
            OutputError: it cannot be written.
        """
        saved = {name: part.state_dict() for name, part in self._parts().items()}
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "epoch": self.epoch, "history": self.history, **saved}, buffer)
        write_file(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Take over what `save` wrote.

        Raises:
            InputError: not a checkpoint, or not one of this stage.
        """
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            if saved["format"] != FORMAT:
                raise ValueError(f"format {saved['format']}, this version reads {FORMAT}")
            for name, part in self._parts().items():
                part.load_state_dict(saved[name])
            self.epoch, self.history = saved["epoch"], saved["history"]
        except Exception as error:  # torch.load has no error of its own: zip, pickle, key and size errors all occur
            raise InputError(
                f"{path}: expected a checkpoint of this detail stage, got {type(error).__name__} "
                f"({' '.join(str(error).split())[:150]}); remove its folder to train the stage from the start"
            ) from error
