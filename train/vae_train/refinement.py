"""A few Newton steps that improve the posterior of a single image.

The encoder predicts q(z|x) in a single pass, and is not exact: this amortisation gap (Cremer, Li, Duvenaud 2018,
arXiv:1801.03558) is 2.1 nats of the reference model's test −ELBO. Here the prediction is the start of a search for the
mean μ and the variance σ² with the lowest −ELBO of that image, while the decoder stays fixed. Every q gives a valid
bound, so the −ELBO is comparable whatever the steps do.

The steps are variational online Newton steps (Khan et al. 2018, arXiv:1806.04854, eq. 7 and 8). The diagonal of the
Hessian is estimated from gradients (Price's theorem). With g(z) = ∂(−log p(x|z))/∂z at the pair of points
z± = μ ± σ·s, where s is ±1 in each dimension,

    gradient   ĝ = (g(z+) + g(z−)) / 2
    curvature  h = max(0, s·(g(z+) − g(z−)) / 2σ)
    1/σ² ← (1−r)/σ² + r·(1 + h),   μ ← μ − ρ·(ĝ + μ)·σ²      with the new σ²

Both rates ρ and r are below 1, because one pair of points estimates the curvature badly. No step changes μ by more than
half a σ, or log σ² by more than a half, because the gradients mean nothing far from the points where they were taken.

The signs s are rows of a Hadamard matrix, a different row in each step. With one pair of points, the curvature between
two dimensions is mistaken for the curvature along one of them; with changing signs this error changes its sign, too.
Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MEAN_RATE = 0.5
"""The rate ρ of the mean. With 1 the steps diverge."""

PRECISION_RATE = 0.2
"""The rate r of the precision 1/σ². It is low, so that the curvatures of several steps are averaged."""

FURTHEST = 0.5
"""The longest step: in standard deviations for the mean, in nats for the log-variance."""

RAMP = 0.2
"""The width of the ramp that replaces the jump in a ReLU's derivative, so that all runtimes find the same posterior.
Without it float32 and float64 differ by 4e-4, with it by 1e-6; the −ELBO is the same."""

Gradient = Callable[[Tensor], Tensor]
"""Maps latents [batch, 12] to ∂(−log p(x|z))/∂z [batch, 12], for a batch of images that it holds."""


def refine(gradient: Gradient, mean: Tensor, log_variance: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """A mean and log-variance with a lower −ELBO, each [batch, 12].

    Args:
        gradient: the derivative of the reconstruction's cost by the latent, in nats.
        mean: the mean to start from, [batch, 12].
        log_variance: the log-variance to start from, [batch, 12].
        steps: the number of steps; each takes two forward and two backward passes through the decoder.
    """
    for sign in hadamard_signs(steps, mean.shape[1]).to(mean):
        deviation = torch.exp(0.5 * log_variance) * sign  # σ·s, [batch, 12]
        above = gradient(mean + deviation)
        below = gradient(mean - deviation)
        curvature = torch.relu((above - below) / (2 * deviation))
        precision = (1 - PRECISION_RATE) * torch.exp(-log_variance) + PRECISION_RATE * (1 + curvature)
        change = MEAN_RATE * (0.5 * (above + below) + mean) / precision
        reach = FURTHEST * torch.exp(0.5 * log_variance)
        mean = mean - torch.minimum(torch.maximum(change, -reach), reach)
        log_variance = log_variance + torch.clamp(-torch.log(precision) - log_variance, -FURTHEST, FURTHEST)
    return mean, log_variance


def hadamard_signs(steps: int, dimensions: int) -> Tensor:
    """A row of ±1 for each step, float32 [steps, dimensions]; the rows repeat when the matrix has no more of them."""
    matrix = torch.ones(1, 1)
    while len(matrix) <= dimensions:  # Sylvester's construction; the first column is all ones and is left out
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix[torch.arange(steps) % len(matrix), 1 : 1 + dimensions]
