"""The evidence lower bound in nats for each image (Kingma and Welling 2013, arXiv:1312.6114, eq. 10):

    −ELBO(x) = −log p(x|z) + KL(q(z|x) ‖ p(z)),   z = μ + σ·ε,   ε ~ N(0, I),   p(z) = N(0, I)

Pixels are in [0, 1]. For grey images the first term is their binary cross-entropy, summed over an image. With
a = logits, s(a) = 1/(1 + e⁻ᵃ):

    −log p(x|z) = Σ −x·log s(a) − (1−x)·log(1 − s(a)) = Σ log(1 + eᵃ) − x·a

The KL of two normals has a closed form (appendix B), here with v = log σ²:

    KL(q(z|x) ‖ p(z)) = ½ Σ (e^v + μ² − 1 − v)

For images in colour, p(x|z) is a normal distribution with the mean s(a) and one variance v for all pixels. The
variance follows the error (Rybkin, Daniilidis, Levine 2021, arXiv:2006.13202, section 3: the calibrated decoder):

    −log p(x|z) = Σ (x − s(a))² / 2v + ½ log 2πv,   v = the mean of (x − s(a))² over all pixels of the batch

This is the negative logarithm of a density, so it can be below 0 and can't be compared with a cross-entropy.

The cross-entropy cannot be smaller than the entropy of the grey pixels, H(x) = Σ −x·log x − (1−x)·log(1−x). The mean of
this floor over Fashion-MNIST's test images is 189.86 nats.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_VARIANCE = 1 / (12 * 255**2)
"""The smallest variance: that of the error of rounding to 256 levels. No decoder can be more exact than the pixels."""


def reconstruction_nats(logits: Tensor, image: Tensor) -> Tensor:
    """−log p(x|z) of each image in nats, [batch], from logits and images, both [batch, 1, 28, 28]."""
    return F.binary_cross_entropy_with_logits(logits, image, reduction="none").flatten(1).sum(1)


def gaussian_nats(logits: Tensor, image: Tensor) -> Tensor:
    """−log p(x|z) of each image in nats, [batch], with the calibrated Gaussian, from arrays [batch, 3, 32, 32]."""
    return calibrated_nats(squared_errors(logits, image), image[0].numel())


def squared_errors(logits: Tensor, image: Tensor) -> Tensor:
    """(x − s(a))² of each image, summed over its pixels, [batch], from arrays [batch, 3, 32, 32]."""
    return (torch.sigmoid(logits) - image).square().flatten(1).sum(1)


def calibrated_nats(squared: Tensor, pixels: int) -> Tensor:
    """−log p(x|z) of each image in nats, [batch], with the calibrated Gaussian.

    Args:
        squared: the `squared_errors` of all images of a batch, [batch].
        pixels: how many pixels an image has.
    """
    # This variance minimises the mean of what is returned, so no gradient flows through it.
    variance = (squared.detach().mean() / pixels).clamp(min=SMALLEST_VARIANCE)
    return squared / (2 * variance) + 0.5 * pixels * torch.log(2 * math.pi * variance)


def kl_nats(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q(z|x) ‖ N(0, I)) of each image and each latent dimension in nats, [batch, 12]."""
    return 0.5 * (torch.exp(log_variance) + mean.square() - 1 - log_variance)


def charged_kl(per_dimension: Tensor, free: float) -> Tensor:
    """The KL that the loss charges for, a scalar in nats.

    A dimension is charged at least `free` nats (Kingma et al. 2016, arXiv:1606.04934, appendix C.8: free bits). As long
    as its KL is below that, the loss does not push the dimension towards the prior, so the dimension stays in use.
    If every dimension is at least that large, the result is the KL of the −ELBO.

    Args:
        per_dimension: the mean KL of each dimension over a batch, in nats, [12].
        free: the least that each dimension is charged, in nats.
    """
    return per_dimension.clamp(min=free).sum()


def pixel_entropy_nats(image: Tensor) -> Tensor:
    """H(x) of each image in nats, [batch]: the floor of `reconstruction_nats`."""
    return -(torch.xlogy(image, image) + torch.xlogy(1 - image, 1 - image)).flatten(1).sum(1)
