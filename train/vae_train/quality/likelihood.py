"""The importance-weighted bound on the log-likelihood of the test images, also for binarised ones of Fashion-MNIST.

For k samples z₁ … z_k of q(z|x) (Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519, eq. 8):

    log p(x) ≥ L_k = log (1/k) Σ wⱼ,   wⱼ = p(x|zⱼ) p(zⱼ) / q(zⱼ|x)

L_k rises with k towards log p(x). The mean of L₁ is the ELBO. The figures are −L_k in nats per image. With z = μ + σ·ε
the constants of the two normals cancel: log p(z) − log q(z|x) = ½ Σ (ε² − z² + log σ²).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, standard_normals

from ..evaluation import NOISE_SEED, SMALLEST, gaussian_cost, to_unit_range
from ..images.image_set import ImageSet

IWAE_STREAM = 2**32 - 5
"""The stream of the seed contract's Philox for the samples; sample j of image i has the index i·k + j."""

CHUNK = 4096 * 784
"""How many pixels are decoded at a time, which take 13 MB; the k pictures of one image are never split."""

BINARY_SEED = 777
BINARY_FIRST = 50_000
"""The validation images of the Exemplar-VAE are the training images from this one on, in the order of the file."""


@dataclass(frozen=True)
class Bound:
    """The bound −L_k over a set of images, in nats per image."""

    images: int
    """how many images there were"""
    k: int
    iwae: float
    """−L_k"""
    monte_carlo_error: float
    """the standard error of `iwae` for these very images, from the spread of the k samples (the delta method)"""
    image_error: float
    """the standard error of `iwae` as an estimate for all images like these"""
    neg_elbo: float
    """−L₁, the mean over all samples"""

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def importance_bound(
    model: VAE,
    images: NDArray[np.float32],
    k: int,
    proposal: NDArray[np.float32] | None = None,
    pixel_variance: float | None = None,
) -> Bound:
    """The bound −L_k of images [n, channels, height, width] in [0, 1].

    Args:
        model: encodes and decodes; its prior is N(0, I).
        images: the images x.
        k: the number of samples of q for each image.
        proposal: images to encode in place of `images`, to get another q. The bound holds for every q.
        pixel_variance: the variance of a Gaussian likelihood; None for the Bernoulli likelihood.
    """
    mean, log_variance = model.encode(images if proposal is None else proposal)
    at_once = max(1, CHUNK // (k * images[0].size))  # images
    bounds, errors, elbos = [], [], []
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        log_weights = _log_weights(model, images[part], mean[part], log_variance[part], start, k, pixel_variance)
        bound, error = log_mean_exp(log_weights)
        bounds.append(bound)
        errors.append(error)
        elbos.append(log_weights.mean(1))
    bound, error = np.concatenate(bounds), np.concatenate(errors)
    return Bound(
        images=len(images),
        k=k,
        iwae=-float(bound.mean()),
        monte_carlo_error=float(np.sqrt((error**2).sum())) / len(images),
        image_error=float(bound.std(ddof=1)) / np.sqrt(len(images)) if len(images) > 1 else 0.0,
        neg_elbo=-float(np.concatenate(elbos).mean()),
    )


def log_mean_exp(log_weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The logarithm of the mean weight of each row, [n], and its standard error, [n], from log-weights [n, k].

    The standard error of a logarithm is the relative error of its argument: sd(w) / (√k · mean(w)).
    """
    highest = log_weights.max(1, keepdims=True)
    weights = np.exp(log_weights - highest)  # at most 1, so that none overflows
    mean = weights.mean(1)
    k = weights.shape[1]
    error = weights.std(1, ddof=1) / (np.sqrt(k) * mean) if k > 1 else np.zeros(len(mean))
    return highest[:, 0] + np.log(mean), error


def _log_weights(
    model: VAE,
    images: NDArray[np.float32],
    mean: NDArray[np.float32],
    log_variance: NDArray[np.float32],
    first: int,
    k: int,
    pixel_variance: float | None,
) -> NDArray[np.float64]:
    """The log-weights log wⱼ of each image, float64 [n, k]. `first` is the index of the first image."""
    count, dimensions = mean.shape
    noise = standard_normals(NOISE_SEED, first * k, count * k, dimensions, IWAE_STREAM)
    noise = noise.reshape(count, k, dimensions)
    latents = mean[:, None] + np.exp(np.float32(0.5) * log_variance)[:, None] * noise  # [n, k, dimensions]
    pixels = model.decode(latents.reshape(-1, dimensions), detail=False).reshape(count, k, -1)  # [n, k, pixels]
    wide = latents.astype(np.float64)
    ratio = 0.5 * (noise.astype(np.float64) ** 2 - wide**2 + log_variance.astype(np.float64)[:, None]).sum(2)
    log_weights: NDArray[np.float64] = ratio + log_likelihood(pixels, images.reshape(count, -1), pixel_variance)
    return log_weights


def log_likelihood(
    pixels: NDArray[np.float32], images: NDArray[np.float32], pixel_variance: float | None = None
) -> NDArray[np.float64]:
    """The values log p(x|z) in nats, float64 [n, k], of decoded pixels [n, k, pixels] and images [n, pixels].

    This is −`evaluation.cost_of_probabilities`, or −`evaluation.gaussian_cost` if there is a variance, for many latents
    per image. Logarithms are float32, which changes the result by 1e-3 nats.
    """
    if pixel_variance is not None:
        squared = np.square(pixels - images[:, None]).sum(2, dtype=np.float64)
        density: NDArray[np.float64] = -gaussian_cost(squared, images.shape[1], pixel_variance)
        return density
    probabilities = np.clip(pixels, np.float32(SMALLEST), np.float32(1 - SMALLEST))
    of_black = np.log1p(-probabilities)
    log_odds = np.log(probabilities) - of_black
    total = np.matmul(log_odds, images[:, :, None])[..., 0] + of_black.sum(2)  # x·log p + (1 − x)·log(1 − p)
    wide: NDArray[np.float64] = total.astype(np.float64)
    return wide


def binarised_test_images(data: ImageSet) -> NDArray[np.float32]:
    """The test images with pixels 0 and 1, float32 [n, 1, height, width], as in the table of the Exemplar-VAE.

    Each pixel is 1 with the probability grey level / 255. Norouzi, Fleet, Norouzi 2020 (arXiv:2004.04795) choose the
    pixels in the file utils/load_data of the repository sajadn/Exemplar-VAE: after `numpy.random.seed(777)` first those
    of the validation images, which are the last 10 000 training images, and then those of the test images. NumPy
    promises not to change the results of this generator (NEP 19).
    """
    random = np.random.RandomState(BINARY_SEED)
    for images in (data.train_images[BINARY_FIRST:], data.test_images[:]):
        binary = random.binomial(1, images.numpy() / 255.0)
    result: NDArray[np.float32] = binary.astype(np.float32)
    return result


def measure_likelihood(model: VAE, data: ImageSet, k: int, count: int) -> dict[str, Any]:
    """The bounds of the first `count` test images: grey; binarised; and binarised, with q from the grey images."""
    grey = to_unit_range(data.test_images.numpy()[:count])
    binary = binarised_test_images(data)[:count]
    return {
        "grey": importance_bound(model, grey, k).to_json(),
        "binarised": importance_bound(model, binary, k).to_json(),
        "binarised_grey_encoded": importance_bound(model, binary, k, proposal=grey).to_json(),
    }


def measure_bound(model: VAE, data: ImageSet, k: int, count: int, pixel_variance: float | None) -> dict[str, Any]:
    """The bound of the first `count` test images of any set, with the model's own likelihood.

    Args:
        model: the model.
        data: any image set.
        k: as in `importance_bound`.
        count: how many test images are used.
        pixel_variance: as in `importance_bound`.
    """
    images = to_unit_range(data.test_images.numpy()[:count])
    name = "grey" if pixel_variance is None else "gaussian"
    return {name: importance_bound(model, images, k, pixel_variance=pixel_variance).to_json()}
