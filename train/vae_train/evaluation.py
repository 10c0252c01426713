"""The figures that are reported of a model, computed in the same way for PyTorch and for ONNX Runtime.

Each engine only encodes and decodes, through NumPy arrays; `evaluate` does the rest in float64. The noise of image i is
that of the seed contract (seed 0, index i, a stream of its own). So every evaluation of a model uses the same latents,
and so does the validation during training.

The cost of an image is exact to different degrees. PyTorch's decoder gives logits. ONNX Runtime's gives pixels in
[0, 1], which are rounded to float32; they are kept 2⁻²⁴ (one such rounding) away from 0 and 1, where the cost would be
infinite. On trained models the two agree to 0.01 nats per image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import vae_gen
from vae_gen import InputError, standard_normals

if TYPE_CHECKING:
    from .model import VAE

NOISE_SEED = 0
NOISE_STREAM = 2**32 - 1
"""The seed and the stream of the seed contract's Philox that give an evaluation its noise."""

ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if the variance of its posterior mean over the images is larger than this.

Burda, Grosse, Salakhutdinov 2015 (arXiv:1509.00519), section 5.2.
"""

BATCH = 500
"""How many images are evaluated at a time; they take 3 MB of float64 at 28 × 28 pixels."""

SMALLEST = 2.0**-24
"""Decoded pixels count as at least this, and as at most 1 minus this."""

Encode = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Maps images, float32 [n, channels, height, width] in [0, 1], to mean and log-variance, each [n, latent]."""

Cost = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]
"""Maps latents [n, latent] and images x to −log p(x|z) of each image in nats, [n]."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of a model, as means over a set of images, in nats per image."""

    images: int
    """how many images there were"""
    neg_elbo: float
    """the −ELBO: reconstruction + kl, whatever beta the model was trained with"""
    reconstruction: float
    """−log p(x|z), the binary cross-entropy of the pixels, for one random latent of each image"""
    kl: float
    """KL(q(z|x) ‖ N(0, I))"""
    kl_per_dimension: list[float]
    active_units: int
    """the number of dimensions whose posterior mean has a variance above 0.01 over the images"""
    posterior_mean_variance: list[float]
    """this variance of each dimension"""
    floor_nats: float
    """the entropy of the pixels, below which no reconstruction can be"""

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def evaluate(encode: Encode, cost: Cost, images: NDArray[np.uint8]) -> Evaluation:
    """The figures of a model over images, uint8 [n, channels, height, width], from its encoder and its cost."""
    costs, floors, kls, means = [], [], [], []
    for start, image, mean, log_variance in encoded(encode, images):
        noise = standard_normals(NOISE_SEED, start, len(image), mean.shape[1], NOISE_STREAM)
        latent = mean + np.exp(np.float32(0.5) * log_variance) * noise
        costs.append(cost(latent, image))
        floors.append(cost_of_probabilities(image, image))
        mean, log_variance = mean.astype(np.float64), log_variance.astype(np.float64)
        kls.append(0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance))  # the formula is in objective.py
        means.append(mean)
    kl_per_dimension = np.concatenate(kls).mean(0)
    variance = np.concatenate(means).var(0)
    reconstruction, kl = float(np.concatenate(costs).mean()), float(kl_per_dimension.sum())
    return Evaluation(
        images=len(images),
        neg_elbo=reconstruction + kl,
        reconstruction=reconstruction,
        kl=kl,
        kl_per_dimension=kl_per_dimension.tolist(),
        active_units=int((variance > ACTIVE_VARIANCE).sum()),
        posterior_mean_variance=variance.tolist(),
        floor_nats=float(np.concatenate(floors).mean()),
    )


def encoded(
    encode: Encode, images: NDArray[np.uint8]
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
    """Yields images in batches, encoded: the index of the first image, the images in [0, 1], mean and log-variance.

    Args:
        encode: the encoder.
        images: uint8 [n, channels, height, width].
    """
    for start in range(0, len(images), BATCH):
        image = to_unit_range(images[start : start + BATCH])
        yield start, image, *encode(image)


def to_unit_range(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey levels 0 … 255 as float32 in [0, 1], of the same shape."""
    unit: NDArray[np.float32] = images.astype(np.float32) / np.float32(255)
    return unit


def cost_of_logits(logits: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
    """−log p(x|z) = Σ log(1 + eᵃ) − x·a of each image in nats, [n], from the decoder's logits a."""
    a, x = logits.astype(np.float64), image.astype(np.float64)
    return _sums(np.logaddexp(0, a) - x * a)


def cost_of_probabilities(probabilities: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
    """−log p(x|z) = Σ −x·log p − (1−x)·log(1−p) of each image in nats, [n], from decoded pixels p in [0, 1]."""
    p, x = np.clip(probabilities.astype(np.float64), SMALLEST, 1 - SMALLEST), image.astype(np.float64)
    return _sums(-x * np.log(p) - (1 - x) * np.log1p(-p))


def evaluate_torch(vae: VAE, images: NDArray[np.uint8]) -> Evaluation:
    """The figures of a VAE in PyTorch over images, uint8 [n, channels, height, width].

    Raises:
        InputError: the model is for images of another size.
    """
    import torch

    model, device = vae.config, next(vae.parameters()).device
    _check_size((model.channels, model.height, model.width), images)

    def encode(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mean, log_variance = vae.encode(torch.from_numpy(image).to(device))
        return mean.cpu().numpy(), log_variance.cpu().numpy()

    def cost(latent: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
        return cost_of_logits(vae.decoder(torch.from_numpy(latent).to(device)).cpu().numpy(), image)

    with torch.no_grad():
        return evaluate(encode, cost, images)


def evaluate_onnx(model: vae_gen.VAE, images: NDArray[np.uint8]) -> Evaluation:
    """The figures of an exported model in ONNX Runtime over images, uint8 [n, channels, height, width].

    Raises:
        InputError: the model is for images of another size.
    """
    _check_size(model.manifest.image.shape, images)

    def encode(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        posterior = model.encode(image)
        return posterior.mean, posterior.log_variance

    def cost(latent: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
        return cost_of_probabilities(model.decode(latent, detail=False), image)

    return evaluate(encode, cost, images)


def _check_size(expected: tuple[int, int, int], images: NDArray[np.uint8]) -> None:
    if images.shape[1:] != expected:
        raise InputError(
            f"expected images of shape {list(expected)}, got {list(images.shape[1:])}; "
            "evaluate the model on the data set that it was trained on"
        )


def _sums(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over all axes but the first."""
    sums: NDArray[np.float64] = pixels.reshape(len(pixels), -1).sum(1)
    return sums
