"""Checkpoints: everything that stopped training needs in order to go on as if nothing had happened, in one file.

There is one state for the training of a VAE and one for the training of its detail stage. Neither training uses
PyTorch's global generators, so the states, with the settings, hold all the randomness that there is.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vae_gen import InputError, random_words
from vae_gen.internal.files import read_regular, write_file

from .config import DetailConfig, ModelConfig, TrainConfig
from .detail.networks import Critic, DetailDecoder
from .layers import seeded
from .model import VAE, new_vae
from .run_folder import check_weights

MOST_BYTES = 4 << 30
"""The largest checkpoint that is read."""

FORMAT = 1
"""The version of both kinds of checkpoint."""

SEED_STREAM = 2**32 - 3
"""The stream of the seed contract's Philox from which PyTorch's generators get their seeds when a VAE is trained."""

DETAIL_WEIGHTS_STREAM = 2**32 - 10
"""The stream of the seed contract's Philox from which the first weights of a detail stage get their seed."""

DETAIL_BETAS = (0.0, 0.99)
"""Adam's decay rates for the detail stage. The first is 0, because a mean of past gradients would point to where the
other network was, and not to where it is."""

IMITATION_BETAS = (0.9, 0.99)
"""Adam's decay rates while the decoder imitates a teacher: the teacher stays as it is, so that past gradients help."""


@dataclass
class TrainingState:
    """What changes while a VAE is trained: `epoch` epochs are finished, and `step` steps of the next one."""

    vae: VAE
    average: AveragedModel | None
    """the running mean of the weights; None if the settings ask for none"""
    optimizer: torch.optim.Adam
    order_generator: torch.Generator
    """chooses the order of the images once an epoch, on the CPU"""
    noise_generator: torch.Generator
    """makes the noise of each step, on the device that trains"""
    epoch: int = 0
    step: int = 0
    order: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int32))
    """int32 [images]: the order of the images in this epoch, empty before its first step"""
    sums: Tensor = field(default_factory=lambda: torch.zeros(0))
    """float32 [steps, 1 + latent]: the reconstruction and the KL per dimension of each step, summed over its batch"""
    history: list[dict[str, Any]] = field(default_factory=list)
    """the lines of metrics.jsonl"""
    best: dict[str, Any] | None = None
    """epoch and neg_elbo of the best validation so far"""
    seconds: list[float] = field(default_factory=list)
    """the seconds that each finished epoch took"""
    seconds_in_epoch: float = 0.0
    """the seconds that the steps of this epoch took, before and after a stop"""

    @classmethod
    def new(
        cls, config: TrainConfig, device: torch.device, weights: Mapping[str, Tensor] | None = None
    ) -> TrainingState:
        """The state before the first step. It depends on the settings and the first weights alone.

        Args:
            config: the settings.
            device: the device that trains.
            weights: the first weights, by their names; None draws them from the seed.
        """
        # Each generator has a seed of its own, because PyTorch's CPU generator uses only the lower 32 bits of a seed.
        for_weights, for_order, for_noise, _ = random_words(config.seed, 0, 1, 1, SEED_STREAM)[0, 0].tolist()
        vae = new_vae(config.model, for_weights)
        if weights is not None:
            vae.load_state_dict(weights)
        vae.to(device)
        return cls(
            vae=vae,
            average=running_mean(vae, config.average) if config.average else None,
            optimizer=_optimizer(vae, config),
            order_generator=torch.Generator().manual_seed(for_order),
            noise_generator=torch.Generator(device).manual_seed(for_noise),
        )

    @property
    def result(self) -> VAE:
        """The VAE that is evaluated and saved: the running mean of the weights, or the weights themselves."""
        return self.vae if self.average is None else cast(VAE, self.average.module)

    def save(self, path: Path) -> None:
        """Write the state to a file beside `path` and rename it, so that a kill leaves the old state or the new one.

        Raises:
            OutputError: the file cannot be written.
        """
        saved = {
            "model": self.vae.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order_generator": self.order_generator.get_state(),
            "noise_generator": self.noise_generator.get_state(),
            "sums": self.sums,
        }
        _write(path, saved | {name: getattr(self, name) for name in _PLAIN_FIELDS})

    def load(self, path: Path) -> None:
        """Replace the state by the one that `save` wrote.

        Raises:
            InputError: the file is no checkpoint, or one of another model.
        """
        with _reading(path, "this run", "remove the file to train from the start") as saved:
            check_weights(saved["model"], self.vae)
            self.vae.load_state_dict(saved["model"])
            if self.average is not None:
                check_weights(saved["average"], self.average)
                self.average.load_state_dict(saved["average"])
            _check_optimizer(saved["optimizer"], self.optimizer)
            self.optimizer.load_state_dict(saved["optimizer"])
            self.order_generator.set_state(saved["order_generator"])
            self.noise_generator.set_state(saved["noise_generator"])
            self.sums = saved["sums"].to(next(self.vae.parameters()).device)
            _check_progress(saved, self.vae.config.latent_dim)
            for name in _PLAIN_FIELDS:
                setattr(self, name, saved[name])


def _check_optimizer(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Refuses a state of an optimizer that doesn't fit its weights: PyTorch's fused Adam would write past their ends.

    Raises:
        ValueError: a setting differs, or a tensor has another shape or type, or is not finite.
    """
    for group, own in zip(saved["param_groups"], optimizer.state_dict()["param_groups"], strict=True):
        scheduled = {"lr": own["lr"], "betas": own["betas"]}
        known = group["betas"] in (own["betas"], IMITATION_BETAS) and 0 <= float(group["lr"]) <= 1
        if {**group, **scheduled} != own or not known:
            raise ValueError("other settings of the optimizer")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if saved["state"] and sorted(saved["state"]) != list(range(len(weights))):
        raise ValueError("the optimizer's state of other weights")
    for at, state in saved["state"].items():
        shapes = {"step": torch.Size(), "exp_avg": weights[at].shape, "exp_avg_sq": weights[at].shape}
        fits = set(state) == set(shapes) and all(
            isinstance(values, Tensor) and values.shape == shapes[name] and values.dtype == torch.float32
            and bool(torch.isfinite(values).all())
            for name, values in state.items()
        )  # fmt: skip
        if not fits:
            raise ValueError(f"another state of the optimizer for weight {at}")


def _check_progress(saved: dict[str, Any], latent_dim: int) -> None:
    """Refuse fields that training could not have written, so that it doesn't fail in the middle.

    Raises:
        ValueError: a field is wrong.
    """
    epoch, step, order, best = (saved[name] for name in ("epoch", "step", "order", "best"))
    for name in ("epoch", "step"):
        if type(saved[name]) is not int or saved[name] < 0:
            raise ValueError(f"{name} {saved[name]!r}")
    _check_history(saved)
    figures = {"neg_elbo": True, "reconstruction": True, "kl": True, "kl_per_dimension": [True] * latent_dim}
    for line in saved["history"]:
        known = {"epoch": True, "learning_rate": True, "train": figures}
        if _form(line) not in ({**known, "validation": {**figures, "psnr_db": True}}, {**known, "validation": False}):
            raise ValueError("a history of other figures")
    if order.dtype != torch.int32 or order.ndim != 1 or (len(order) and order.min() < 0) or len(saved["sums"]) < step:
        raise ValueError("another order of images or number of steps")
    if step and (saved["sums"].shape[1:] != (1 + latent_dim,) or not bool(torch.isfinite(saved["sums"]).all())):
        raise ValueError("other sums of the steps")
    if _form(saved["seconds"]) != [True] * epoch or _form(saved["seconds_in_epoch"]) is not True:
        raise ValueError("other seconds")
    if best is not None and not (isinstance(best, dict) and isinstance(best.get("neg_elbo"), float)):
        raise ValueError(f"best {str(best)[:40]}")
    if best is not None and not (type(best.get("epoch")) is int and 1 <= best["epoch"] <= epoch):
        raise ValueError("a best epoch that is not finished")


def _check_history(saved: dict[str, Any]) -> None:
    history = saved["history"]
    if not isinstance(history, list) or len(history) != saved["epoch"] or not all(isinstance(x, dict) for x in history):
        raise ValueError("a history of other epochs")
    if any(line.get("epoch") != number for number, line in enumerate(history, 1)):
        raise ValueError("a history of other epochs")


def _form(value: object) -> Any:
    """The keys and lengths of a value of JSON, with True for each finite number and False for anything else."""
    if isinstance(value, dict):
        return {name: _form(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_form(one) for one in value]
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_PLAIN_FIELDS = ("epoch", "step", "order", "history", "best", "seconds", "seconds_in_epoch")


@dataclass
class DetailState:
    """What changes while a detail stage is trained: `epoch` epochs are finished. It is saved after each epoch."""

    decoder: DetailDecoder
    critic: Critic
    average: AveragedModel
    """the running mean of the decoder's weights"""
    optimizer: torch.optim.Adam
    critic_optimizer: torch.optim.Adam
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    """the lines of metrics.jsonl"""

    @classmethod
    def new(cls, config: DetailConfig, model: ModelConfig, classes: int, device: torch.device) -> DetailState:
        """The state before the first step. It depends on the settings alone."""
        (seed, *_) = random_words(config.seed, 0, 1, 1, DETAIL_WEIGHTS_STREAM)[0, 0].tolist()
        with seeded(seed):
            decoder, critic = DetailDecoder(model, config), Critic(model, config, classes)
        for network in (decoder, critic):
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(
            decoder=decoder,
            critic=critic,
            average=running_mean(decoder, config.average),
            optimizer=torch.optim.Adam(decoder.parameters(), config.learning_rate, DETAIL_BETAS, fused=True),
            critic_optimizer=torch.optim.Adam(
                critic.parameters(), config.critic_learning_rate, DETAIL_BETAS, fused=True
            ),
        )

    @property
    def result(self) -> DetailDecoder:
        """The decoder that makes the sample pictures and is saved: the running mean of the weights."""
        return cast(DetailDecoder, self.average.module)

    def save(self, path: Path) -> None:
        """Write the state to a file beside `path` and rename it, so that a kill leaves the old state or the new one.

        Raises:
            OutputError: the file cannot be written.
        """
        saved = {name: getattr(self, name).state_dict() for name in _DETAIL_PARTS}
        _write(path, saved | {"epoch": self.epoch, "history": self.history})

    def load(self, path: Path) -> None:
        """Replace the state by the one that `save` wrote.

        Raises:
            InputError: the file is no checkpoint, or one of another stage.
        """
        with _reading(path, "this detail stage", "remove its folder to train the stage from the start") as saved:
            for name in _DETAIL_PARTS:
                part = getattr(self, name)
                check = _check_optimizer if isinstance(part, torch.optim.Optimizer) else check_weights
                check(saved[name], part)
                part.load_state_dict(saved[name])
            _check_history(saved)
            if any(_form(line) != dict.fromkeys(line, True) for line in saved["history"]):
                raise ValueError("a history of other figures")
            self.epoch, self.history = saved["epoch"], saved["history"]


_DETAIL_PARTS = ("decoder", "critic", "average", "optimizer", "critic_optimizer")


def running_mean(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of a network that keeps the running mean w̄ ← d·w̄ + (1−d)·w of its weights w.

    At the n-th update, d = min(decay, (1 + n) / (10 + n)). So the first weights soon count for little.
    """

    def update(means: Any, weights: Any, updates: Any) -> None:
        steps = int(updates) + 1
        d = min(decay, (1 + steps) / (10 + steps))
        for mean, weight in zip(means, weights, strict=True):
            mean.lerp_(weight, 1 - d)

    return AveragedModel(network, multi_avg_fn=update)


def _optimizer(vae: VAE, config: TrainConfig) -> torch.optim.Adam:
    """Adam, or with weight decay AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), which does not decay biases.

    `fused` passes over each weight once instead of a dozen times: 0.5 ms instead of 1.1 in a step of 18.9 ms, on two
    cores.
    """
    if not config.weight_decay:
        return torch.optim.Adam(vae.parameters(), config.learning_rate, fused=True)
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in vae.parameters() if weight.ndim > 1]},
        {"params": [bias for bias in vae.parameters() if bias.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay, fused=True)


def _write(path: Path, saved: dict[str, Any]) -> None:
    buffer = io.BytesIO()  # PyTorch's own writer turns a full disk into an error that names no file
    torch.save({"format": FORMAT, **saved}, buffer)
    write_file(path, buffer.getvalue())


@contextlib.contextmanager
def _reading(path: Path, owner: str, remedy: str) -> Iterator[dict[str, Any]]:
    """The content of a checkpoint. Whatever goes wrong with it, here or in the `with` block, becomes an InputError."""
    try:
        content = io.BytesIO(read_regular(path, MOST_BYTES, links=True))
        saved = torch.load(content, map_location="cpu", weights_only=True)
        if saved["format"] != FORMAT:
            raise ValueError(f"format {saved['format']}, this version reads {FORMAT}")
        yield saved
    except Exception as error:  # torch.load has no error of its own: zip, pickle, key and size errors all occur
        raise InputError(
            f"{path}: expected a checkpoint of {owner}, got {type(error).__name__} "
            f"({' '.join(str(error).split())[:150]}); {remedy}"
        ) from error
