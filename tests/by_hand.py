"""Training written again in plain lines, for tests that compare it with the product's.

Nothing here calls the product's networks, losses, schedules, optimisers or averages: the formulas are written out with
PyTorch's functions, on the weights by the names that a run's files give them. It covers networks of tiny_training.py's
size (two convolutions, 12 by 10 pixels).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vae_gen import random_words, standard_normals
from vae_train.config import ModelConfig, TrainConfig
from vae_train.images.image_set import ImageSet
from vae_train.model import VAE

Weights = Mapping[str, Tensor]


def residual(weights: Weights, name: str, features: Tensor) -> Tensor:
    """x + convolution(ReLU(convolution(ReLU(x)))), if the weights have a block of this name, else x."""
    if f"{name}.first.weight" not in weights:
        return features
    first, second = (
        (weights[f"{name}.{layer}.weight"], weights[f"{name}.{layer}.bias"]) for layer in ("first", "second")
    )
    return features + F.conv2d(F.relu(F.conv2d(F.relu(features), *first, padding=1)), *second, padding=1)


def dense(weights: Weights, name: str, features: Tensor) -> Tensor:
    return features @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def encode(weights: Weights, image: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder's mean and log-variance, each [batch, latent]."""
    features = image
    for at in range(2):
        name = f"encoder.convolutions.{at}"
        features = F.conv2d(features, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2, padding=1)
        features = F.relu(residual(weights, f"encoder.residuals.{at}.0", features))
    features = features.flatten(1)
    if "encoder.hidden.weight" in weights:
        features = F.relu(dense(weights, "encoder.hidden", features))
    return dense(weights, "encoder.mean", features), dense(weights, "encoder.log_variance", features)


def decode(weights: Weights, latent: Tensor) -> Tensor:
    """The decoder's logits, [batch, 1, 12, 10]."""
    features = latent
    if "decoder.hidden.weight" in weights:
        features = F.relu(dense(weights, "decoder.hidden", features))
    features = dense(weights, "decoder.linear", features).view(len(latent), -1, 3, 2)
    for at, extra in enumerate([(0, 1), (0, 0)]):  # 3 by 2, 6 by 5, 12 by 10: 5 is odd
        features = F.relu(residual(weights, f"decoder.residuals.{at}.0", features))
        name = f"decoder.convolutions.{at}"
        features = F.conv_transpose2d(
            features, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2, padding=1, output_padding=extra
        )
    return features


def costs(weights: Weights, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The cross-entropy of each image's pixels, [batch], and the KL of each dimension, [batch, latent], in nats."""
    mean, log_variance = encode(weights, image)
    logits = decode(weights, mean + torch.sqrt(torch.exp(log_variance)) * noise)
    crossentropy = torch.log1p(torch.exp(-logits.abs())) + logits.clamp(min=0) - image * logits
    kl = (torch.exp(log_variance) + mean**2 - 1 - log_variance) / 2
    return crossentropy.sum((1, 2, 3)), kl


class Adam:
    """Kingma and Ba 2014, algorithm 1; with decay, Loshchilov and Hutter's AdamW for tensors with two axes or more."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        decay: float = 0.0,
    ) -> None:
        self.weights, self.betas, self.epsilon, self.decay, self.steps = weights, betas, epsilon, decay, 0
        self.first = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.second = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    def step(self, loss: Tensor, rate: float) -> None:
        gradients = torch.autograd.grad(loss, list(self.weights.values()))
        self.steps += 1
        one, two = self.betas
        with torch.no_grad():
            for (name, weight), gradient in zip(self.weights.items(), gradients, strict=True):
                if weight.ndim > 1:
                    weight -= rate * self.decay * weight
                self.first[name] = one * self.first[name] + (1 - one) * gradient
                self.second[name] = two * self.second[name] + (1 - two) * gradient**2
                mean = self.first[name] / (1 - one**self.steps)
                square = self.second[name] / (1 - two**self.steps)
                weight -= rate * mean / (torch.sqrt(square) + self.epsilon)


class RunningMean:
    """w̄ ← d·w̄ + (1−d)·w after each step, where d = min(decay, (2+n)/(11+n)) after n earlier steps; first, w̄ = w."""

    def __init__(self, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.mean: dict[str, Tensor] = {}

    def update(self, weights: Mapping[str, Tensor]) -> None:
        d = min(self.decay, (2 + self.updates) / (11 + self.updates)) if self.updates else 0.0
        for name, weight in weights.items():
            value = weight.detach().clone()
            self.mean[name] = d * self.mean[name] + (1 - d) * value if self.updates else value
        self.updates += 1


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def first_weights(model: ModelConfig, seed: int) -> dict[str, Tensor]:
    """PyTorch's default weights of the network, drawn after its generator was given the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = VAE(model).state_dict()
    return {name: weight.clone().requires_grad_() for name, weight in weights.items()}


def split(count: int, held_out: int) -> tuple[list[int], list[int]]:
    """Images to train on and images held out: those whose 64-bit word of stream 2³²−2 is among the smallest."""
    words = random_words(0, 0, count, 1, 2**32 - 2)[:, 0].tolist()
    order = sorted(range(count), key=lambda at: words[at][0] << 32 | words[at][1])
    return sorted(order[held_out:]), sorted(order[:held_out])


def figures(weights: Weights, images: Tensor) -> dict[str, Any]:
    """What an evaluation reports, with the noise of stream 2³²−1."""
    image = images.float() / 255
    with torch.no_grad():
        mean, _ = encode(weights, image)
        noise = torch.from_numpy(standard_normals(0, 0, len(image), mean.shape[1], stream=2**32 - 1))
        reconstruction, kl = costs(weights, image, noise)
        error = ((1 / (1 + torch.exp(-decode(weights, mean))) - image) ** 2).double().mean().item()
    variance = mean.var(0, correction=0).tolist()
    return {**summary(reconstruction, kl), "psnr_db": -10 * math.log10(error), "posterior_mean_variance": variance}


def summary(reconstruction: Tensor, kl: Tensor) -> dict[str, Any]:
    """Means over images of a cost, [n], and of a KL per dimension, [n, latent]."""
    mean, per_dimension = reconstruction.double().mean().item(), kl.double().mean(0)
    return {
        "neg_elbo": mean + per_dimension.sum().item(),
        "reconstruction": mean,
        "kl": per_dimension.sum().item(),
        "kl_per_dimension": per_dimension.tolist(),
    }


@dataclass
class RunByHand:
    """What a run must come to."""

    history: list[dict[str, Any]] = field(default_factory=list)
    """the lines of metrics.jsonl"""
    weights: list[dict[str, Tensor]] = field(default_factory=list)
    """those that are saved after each epoch"""
    losses: list[float] = field(default_factory=list)
    """of the last batch of each epoch, as it is reported while training, in nats an image"""
    charged: list[Tensor] = field(default_factory=list)
    """for each step, which dimensions cost more than their free nats, [latent]"""


def train_by_hand(config: TrainConfig, data: ImageSet) -> RunByHand:
    """A run, from its settings and data."""
    for_weights, for_order, for_noise, _ = random_words(config.seed, 0, 1, 1, 2**32 - 3)[0, 0].tolist()
    weights = first_weights(config.model, for_weights)
    order_generator, noise_generator = generator(for_order), generator(for_noise)
    count = len(data.train_images)
    training, held_out = (list(range(count)), []) if config.full else split(count, config.validation_images)
    optimizer, average = Adam(weights, decay=config.weight_decay), RunningMean(config.average)
    run, done = RunByHand(), 0
    steps = math.ceil(len(training) / config.batch_size)
    for epoch in range(1, config.epochs + 1):
        shuffled = [training[at] for at in torch.randperm(len(training), generator=order_generator).tolist()]
        seen = []
        for start in range(0, len(shuffled), config.batch_size):
            image = data.train_images[shuffled[start : start + config.batch_size]].float() / 255
            noise = torch.randn(len(image), config.model.latent_dim, generator=noise_generator)
            reconstruction, kl = costs(weights, image, noise)
            seen.append((reconstruction.detach(), kl.detach()))
            run.charged.append(kl.detach().mean(0) > config.free_nats)
            charged = sum(torch.maximum(nats, torch.tensor(config.free_nats)) for nats in kl.mean(0))
            warmth = min(1, done / (config.kl_warmup_epochs * steps)) if config.kl_warmup_epochs else 1
            rate = config.learning_rate * min(1, (done + 1) / (config.warmup_steps + 1))
            if config.schedule == "cosine":
                rate *= (1 + math.cos(math.pi * done / (config.epochs * steps))) / 2
            optimizer.step(reconstruction.mean() + config.beta * warmth * charged, rate)
            average.update(weights)
            done += 1
        saved = average.mean if config.average else {name: weight.detach() for name, weight in weights.items()}
        saved = {name: weight.clone() for name, weight in saved.items()}
        reconstructions, kls = (torch.cat(parts) for parts in zip(*seen, strict=True))
        line = {"epoch": epoch, "learning_rate": rate, "train": summary(reconstructions, kls), "validation": None}
        if held_out:
            line["validation"] = figures(saved, data.train_images[held_out])
            del line["validation"]["posterior_mean_variance"]
        run.history.append(line)
        run.weights.append(saved)
        run.losses.append((seen[-1][0].mean() + config.beta * seen[-1][1].mean(0).sum()).item())
    return run


def flat(value: Any) -> list[float]:
    """All numbers of nested JSON values, in order."""
    if isinstance(value, Mapping):
        return [number for entry in value.values() for number in flat(entry)]
    if isinstance(value, list):
        return [number for entry in value for number in flat(entry)]
    return [] if value is None else [float(value)]


def assert_same_figures(found: Any, expected: Any, tolerance: float = 1e-3) -> None:
    """The same keys with the same numbers, but for rounding."""
    assert shape(found) == shape(expected)
    np.testing.assert_allclose(flat(found), flat(expected), rtol=tolerance, atol=tolerance * 0.01)


def shape(value: Any) -> Any:
    """The keys of nested JSON values, without their numbers."""
    if isinstance(value, Mapping):
        return {key: shape(entry) for key, entry in value.items()}
    return [shape(entry) for entry in value] if isinstance(value, list) else value is None
