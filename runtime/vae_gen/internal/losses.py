"""How far pictures are from their reconstructions: nats of the model's likelihood, and decibels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._pictures import Posterior
from .manifest import Familiar

SMALLEST = 2.0**-24
"""Decoded pixels count as at least this, and as at most 1 minus this, because the logarithm of 0 is infinite."""

HIGHEST_PSNR_DB = 99.0
"""The PSNR of a picture that is reconstructed exactly, where the formula gives infinity."""


class Losses(NamedTuple):
    """What each picture loses in the model: the negative ELBO at the mean of its posterior, in parts, and the PSNR.

    A low loss alone does not show that the model knows a picture: a nearly black one has few nats, whatever it shows.
    `familiar` compares a picture with the test images in two ways: its loss must be neither higher nor lower than
    theirs, and the reconstruction must not miss more of its variation.
    """

    reconstruction_nats: NDArray[np.float64]
    """float64 [n], the negative logarithm of the likelihood of the pixels; it may be below 0 if it is a density"""
    kl_nats: NDArray[np.float64]
    """float64 [n], KL(q(z|x) ‖ N(0, I))"""
    psnr_db: NDArray[np.float64]
    """float64 [n], the peak signal-to-noise ratio of the reconstruction in decibels, at most 99"""
    unexplained: NDArray[np.float64]
    """float64 [n], the share of a picture's variation that its reconstruction misses: Σ (x − p)² / Σ (x − x̄)², where x̄
    is the mean of the picture's pixels"""
    familiar: NDArray[np.bool_]
    """bool [n], whether the picture resembles the images that the model was trained on; True if the manifest does not
    describe them"""

    @property
    def nats(self) -> NDArray[np.float64]:
        """The whole loss, float64 [n]: `reconstruction_nats` + `kl_nats`."""
        return self.reconstruction_nats + self.kl_nats


def losses_of(
    images: NDArray[np.float32],
    made: NDArray[np.float32],
    posterior: Posterior,
    pixel_variance: float | None,
    familiar: Familiar | None = None,
) -> Losses:
    """The losses of pictures. With x the picture and p the decoder's mean picture at the posterior's mean:

        reconstruction = −Σ x ln p + (1 − x) ln(1 − p)                       over pixels, Bernoulli likelihood
        reconstruction = Σ (x − p)² / 2v + ½ ln 2πv                          over pixels, Gaussian of variance v
        KL             = ½ Σ mean² + exp(log_variance) − log_variance − 1    over dimensions
        PSNR           = −10 log₁₀ of the mean of (x − p)²                   over pixels

    Args:
        images: x, float32 [n, channels, height, width] in [0, 1].
        made: p, of the same shape.
        posterior: q(z|x) of the images.
        pixel_variance: v, or None for the Bernoulli likelihood.
        familiar: the limits for pictures that resemble the training images, from the manifest; None if it has none.
    """
    x, p = (pictures.astype(np.float64).reshape(len(pictures), -1) for pictures in (images, made))
    squared = (x - p) ** 2
    if pixel_variance is None:
        p = np.clip(p, SMALLEST, 1 - SMALLEST)
        pixels = -(x * np.log(p) + (1 - x) * np.log1p(-p))
    else:
        pixels = squared / (2 * pixel_variance) + 0.5 * np.log(2 * np.pi * pixel_variance)
    mean, log_variance = (part.astype(np.float64) for part in posterior)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).sum(1)
    psnr = np.minimum(HIGHEST_PSNR_DB, -10 * np.log10(np.maximum(squared.mean(1), 1e-12)))
    variation = ((x - x.mean(1, keepdims=True)) ** 2).sum(1)
    unexplained = squared.sum(1) / np.maximum(variation, SMALLEST)
    nats = (pixels.sum(1) + kl) / x.shape[1]
    return Losses(pixels.sum(1), kl, psnr, unexplained, _within(familiar, nats, unexplained))


def _within(
    limits: Familiar | None, nats_per_pixel: NDArray[np.float64], unexplained: NDArray[np.float64]
) -> NDArray[np.bool_]:
    if limits is None:
        return np.ones(len(nats_per_pixel), np.bool_)
    lowest, highest = limits.nats_per_pixel
    return (nats_per_pixel >= lowest) & (nats_per_pixel <= highest) & (unexplained <= limits.unexplained)
