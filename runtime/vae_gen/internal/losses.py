"""How far pictures are from their reconstructions: nats of the model's likelihood, and decibels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._pictures import Posterior

SMALLEST = 2.0**-24
"""Decoded pixels count as at least this, and as at most 1 minus this, because the logarithm of 0 is infinite."""

HIGHEST_PSNR_DB = 99.0
"""The PSNR of a picture that is reconstructed exactly, where the formula gives infinity."""


class Losses(NamedTuple):
    """What each picture loses in the model: the negative ELBO at the mean of its posterior, in parts, and the PSNR."""

    reconstruction_nats: NDArray[np.float64]
    """float64 [n], the negative logarithm of the likelihood of the pixels; it may be below 0 if it is a density"""
    kl_nats: NDArray[np.float64]
    """float64 [n], KL(q(z|x) ‖ N(0, I))"""
    psnr_db: NDArray[np.float64]
    """float64 [n], the peak signal-to-noise ratio of the reconstruction in decibels, at most 99"""

    @property
    def nats(self) -> NDArray[np.float64]:
        """The whole loss, float64 [n]: `reconstruction_nats` + `kl_nats`."""
        return self.reconstruction_nats + self.kl_nats


def losses_of(
    images: NDArray[np.float32], made: NDArray[np.float32], posterior: Posterior, pixel_variance: float | None
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
    return Losses(pixels.sum(1), kl, psnr)
