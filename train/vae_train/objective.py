"""The evidence lower bound in nats for each image (Kingma and Welling 2013, arXiv:1312.6114, eq. 10):

    −ELBO(x) = −log p(x|z) + KL(q(z|x) ‖ p(z)),   z = μ + σ·ε,   ε ~ N(0, I),   p(z) = N(0, I)

Pixels are in [0, 1] and the first term is their binary cross-entropy, summed over an image. With a = logits,
s(a) = 1/(1 + e⁻ᵃ):

    −log p(x|z) = Σ −x·log s(a) − (1−x)·log(1 − s(a)) = Σ log(1 + eᵃ) − x·a

The KL of two normals has a closed form (appendix B), here with v = log σ²:

    KL(q(z|x) ‖ p(z)) = ½ Σ (e^v + μ² − 1 − v)

Grey pixels cannot be predicted better than their own entropy, so no model of this kind has a first term below
the floor H(x) = Σ −x·log x − (1−x)·log(1−x), which is 189.86 nats a test image of Fashion-MNIST.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reconstruction_nats(logits: Tensor, image: Tensor) -> Tensor:
    """−log p(x|z) of each image, [batch], of logits and images [batch, 1, 28, 28]."""
    return F.binary_cross_entropy_with_logits(logits, image, reduction="none").flatten(1).sum(1)


def kl_nats(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q(z|x) ‖ N(0, I)) of each image and dimension, [batch, 12]."""
    return 0.5 * (torch.exp(log_variance) + mean.square() - 1 - log_variance)


def charged_kl(per_dimension: Tensor, free: float) -> Tensor:
    """The KL that the loss charges for, [], of the batch's mean KL of each dimension, [12], in nats.

    Each dimension has `free` nats for nothing (Kingma et al. 2016, arXiv:1606.04934, appendix C.8: free bits). Below
    them the KL does not pull it to the prior, so it stays in use; above them the loss is the −ELBO.
    """
    return per_dimension.clamp(min=free).sum()


def pixel_entropy_nats(image: Tensor) -> Tensor:
    """H(x) of each image, [batch]: the floor under `reconstruction_nats`."""
    return -(torch.xlogy(image, image) + torch.xlogy(1 - image, 1 - image)).flatten(1).sum(1)
