"""The figures that are reported of a model, computed in the same way for PyTorch and for ONNX Runtime.

Each engine only encodes and decodes, through NumPy arrays; `evaluate` does the rest in float64. The noise of image i is
that of the seed contract (seed 0, index i, a stream of its own). So every evaluation of a model uses the same latents,
and so does the validation during training.

The cost of an image is exact to different degrees. PyTorch's decoder gives logits. ONNX Runtime's gives pixels in
[0, 1], which are rounded to float32; they are kept 2⁻²⁴ (one such rounding) away from 0 and 1, where the cost would be
infinite. On trained models the two agree to 0.01 nats per image.

Several processes may share an evaluation. Each measures whole batches, and the figures are computed from the rows of
all images in their order, so the number of processes does not change them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import vae_gen
from vae_gen import InputError, standard_normals
from vae_gen.internal.manifest import Familiar

from .images.streamed import Pictures

if TYPE_CHECKING:
    from .model import VAE
    from .processes import Processes

NOISE_SEED = 0
NOISE_STREAM = 2**32 - 1
"""The seed and the stream of the seed contract's Philox that give an evaluation its noise."""

ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if the variance of its posterior mean over the images is larger than this.

Burda, Grosse, Salakhutdinov 2015 (arXiv:1509.00519), section 5.2.
"""

BATCH = 500 * 784
"""How many pixels are evaluated at a time, which take 3 MB of float64; at 28 × 28 pixels these are 500 images."""

SMALLEST = 2.0**-24
"""Decoded pixels count as at least this, and as at most 1 minus this."""

SMALLEST_VARIANCE = 1 / (12 * 255**2)
"""The smallest variance of the Gaussian likelihood: that of rounding to 256 levels, as in objective.py."""

OUTSIDE = 0.005
"""The share of the images beyond each limit of `Familiar`, so that at most 1.5 % of them would get a warning."""

Encode = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Maps images, float32 [n, channels, height, width] in [0, 1], to mean and log-variance, each [n, latent]."""

Decode = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Maps latents [n, latent] to images, float32 [n, channels, height, width] in [0, 1]."""

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
    """−log p(x|z) for one random latent of each image; for grey images the binary cross-entropy of the pixels"""
    kl: float
    """KL(q(z|x) ‖ N(0, I))"""
    kl_per_dimension: list[float]
    active_units: int
    """the number of dimensions whose posterior mean has a variance above 0.01 over the images"""
    posterior_mean_variance: list[float]
    """this variance of each dimension"""
    floor_nats: float | None
    """the entropy of the pixels, below which no reconstruction can be; None with the Gaussian likelihood"""
    psnr_db: float
    """the peak signal-to-noise ratio of the images that posterior means are decoded to, from the mean squared error"""
    familiar: Familiar
    """the limits between which the loss and the unexplained share of nearly all images lie, at their posterior means"""
    pixel_variance: float | None = None
    """the variance of the Gaussian likelihood: the mean squared error of one random latent of each image; or None"""

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def evaluate(
    encode: Encode,
    decode: Decode,
    cost: Cost | None,
    images: Pictures,
    processes: Processes | None = None,
) -> Evaluation:
    """The figures of a model over images.

    Args:
        encode: the encoder of the model.
        decode: the decoder of the model.
        cost: the Bernoulli cost of an image. None stands for the Gaussian likelihood, whose variance is then the mean
            squared error over all these images.
        images: uint8 [n, channels, height, width].
        processes: those that share the work, each of which has all images; None for this process alone.
    """
    rows = None  # [n, 5 + 2 · latent]: what is known of each image
    for start, image, mean, log_variance in encoded(encode, images, processes):
        part = _measured(decode, cost, start, image, mean, log_variance)
        if rows is None:
            rows = np.zeros((len(images), part.shape[1]))
        rows[start : start + len(image)] = part
    if processes is not None:
        rows = processes.merged(rows)
    assert rows is not None, "an evaluation needs an image"
    costs, floors, errors, at_mean, variations = rows[:, :5].T.copy()
    kls, means = (part.copy() for part in np.hsplit(rows[:, 5:], 2))
    kl_per_dimension = kls.mean(0)
    variance = means.var(0)
    reconstruction, kl = float(costs.mean()), float(kl_per_dimension.sum())
    pixels, pixel_variance = images[0].size, None
    if cost is None:
        pixel_variance = max(reconstruction / pixels, SMALLEST_VARIANCE)
        reconstruction = gaussian_cost(reconstruction, pixels, pixel_variance)
        at_mean = gaussian_cost(at_mean, pixels, pixel_variance)
    return Evaluation(
        images=len(images),
        neg_elbo=reconstruction + kl,
        reconstruction=reconstruction,
        kl=kl,
        kl_per_dimension=kl_per_dimension.tolist(),
        active_units=int((variance > ACTIVE_VARIANCE).sum()),
        posterior_mean_variance=variance.tolist(),
        floor_nats=float(floors.mean()) if cost is not None else None,
        psnr_db=psnr_db(float(errors.mean()) / pixels),
        familiar=_limits((at_mean + kls.sum(1)) / pixels, errors / np.maximum(variations, SMALLEST)),
        pixel_variance=pixel_variance,
    )


def _measured(
    decode: Decode,
    cost: Cost | None,
    start: int,
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    log_variance: NDArray[np.float32],
) -> NDArray[np.float64]:
    """What the figures are computed from, float64 [n, 5 + 2 · latent], of images whose first one has the index `start`.

    The columns are the cost, the entropy of the pixels, the squared error at the mean, the cost at the mean, the
    squared differences from the image's own mean, then the KL and the mean of each dimension.
    """
    noise = standard_normals(NOISE_SEED, start, len(image), mean.shape[1], NOISE_STREAM)
    latent = mean + np.exp(np.float32(0.5) * log_variance) * noise
    costs = cost(latent, image) if cost is not None else squared_errors(decode(latent), image)
    made = decode(mean)
    errors = squared_errors(made, image)
    at_mean = errors if cost is None else cost_of_probabilities(made, image)
    variations = _sums((image - image.mean((1, 2, 3), np.float64, keepdims=True)) ** 2)
    mean, log_variance = mean.astype(np.float64), log_variance.astype(np.float64)
    kls = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance)  # the formula is in objective.py
    return np.column_stack([costs, cost_of_probabilities(image, image), errors, at_mean, variations, kls, mean])


def _limits(nats_per_pixel: NDArray[np.float64], unexplained: NDArray[np.float64]) -> Familiar:
    """The limits between which nearly all images lie, rounded to six digits after the point."""
    lowest, highest = (round(float(value), 6) for value in np.quantile(nats_per_pixel, [OUTSIDE, 1 - OUTSIDE]))
    return Familiar((lowest, highest), round(float(np.quantile(unexplained, 1 - OUTSIDE)), 6))


def encoded(
    encode: Encode, images: Pictures, processes: Processes | None = None
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
    """Yields images in batches, encoded: the index of the first image, the images in [0, 1], mean and log-variance.

    Args:
        encode: the encoder.
        images: uint8 [n, channels, height, width].
        processes: those that share the batches; None for this process alone.
    """
    batch = max(1, BATCH // math.prod(images.shape[1:]))
    starts = range(0, len(images), batch)
    for start in starts if processes is None else starts[processes.rank :: processes.world]:
        image = to_unit_range(images[start : start + batch])
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


def squared_errors(decoded: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
    """The squared difference of each image, summed over its pixels, [n]."""
    return _sums((decoded.astype(np.float64) - image) ** 2)


Numbers = TypeVar("Numbers", float, NDArray[np.float64])


def gaussian_cost(squared_error: Numbers, pixels: int, variance: float) -> Numbers:
    """−log p(x|z) in nats of images with this squared error, summed over pixels, for this variance."""
    return squared_error / (2 * variance) + 0.5 * pixels * math.log(2 * math.pi * variance)


def psnr_db(mean_squared_error: float) -> float:
    """The peak signal-to-noise ratio in decibels for an error of pixels in [0, 1]. It is never above 99.

    >>> round(psnr_db(0.01), 6)
    20.0
    """
    return min(99.0, -10 * math.log10(max(mean_squared_error, 1e-12)))


def evaluate_torch(
    vae: VAE,
    images: Pictures,
    posteriors: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]] | None = None,
    processes: Processes | None = None,
) -> Evaluation:
    """The figures of a VAE in PyTorch over images.

    Args:
        vae: the model.
        images: uint8 [n, channels, height, width].
        posteriors: the means and log-variances of the images in the batches of `encoded`; None computes them.
        processes: those that share the work; None for this process alone.

    Raises:
        InputError: the model is for images of another size.
    """
    import torch

    model, device = vae.config, next(vae.parameters()).device
    _check_size((model.channels, model.height, model.width), images)

    made = None if posteriors is None else iter(posteriors)

    def encode(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if made is not None:
            return next(made)
        mean, log_variance = vae.encode(torch.from_numpy(image).to(device))
        return mean.cpu().numpy(), log_variance.cpu().numpy()

    def logits(latent: NDArray[np.float32]) -> torch.Tensor:
        decoded: torch.Tensor = vae.decoder(torch.from_numpy(latent).to(device)).cpu()
        return decoded

    def decode(latent: NDArray[np.float32]) -> NDArray[np.float32]:
        return torch.sigmoid(logits(latent)).numpy()

    def cost(latent: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
        return cost_of_logits(logits(latent).numpy(), image)

    with torch.no_grad():
        return evaluate(encode, decode, cost if model.likelihood == "bernoulli" else None, images, processes)


def evaluate_onnx(model: vae_gen.VAE, images: Pictures) -> Evaluation:
    """The figures of an exported model in ONNX Runtime over images, uint8 [n, channels, height, width].

    Raises:
        InputError: the model is for images of another size.
    """
    _check_size(model.manifest.image.shape, images)

    def encode(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        posterior = model.encode(image)
        return posterior.mean, posterior.log_variance

    def decode(latent: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(model.decode(latent, detail=False))

    return evaluate(encode, decode, bernoulli_cost(decode, likelihood_of(model.manifest.document)), images)


def bernoulli_cost(decode: Decode, likelihood: str) -> Cost | None:
    """The cost of decoded pixels with the Bernoulli likelihood; None with the Gaussian one, as `evaluate` takes it."""
    if likelihood == "gaussian":
        return None
    return lambda latent, image: cost_of_probabilities(decode(latent), image)


def likelihood_of(manifest: Mapping[str, Any]) -> str:
    """The likelihood of a model's pixels. Manifests of older models have no such entry, and mean bernoulli."""
    return str(manifest.get("likelihood", "bernoulli"))


def _check_size(expected: tuple[int, int, int], images: Pictures) -> None:
    if images.shape[1:] != expected:
        raise InputError(
            f"expected images of shape {list(expected)}, got {list(images.shape[1:])}; "
            "evaluate the model on the data set that it was trained on"
        )


def _sums(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over all axes but the first."""
    sums: NDArray[np.float64] = pixels.reshape(len(pixels), -1).sum(1)
    return sums
