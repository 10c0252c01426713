"""A few Newton steps that make the posterior of one image better than the encoder alone can.

An encoder guesses q(z|x) in one go and pays for it: the amortisation gap (Cremer, Li, Duvenaud 2018,
arXiv:1801.03558), 2.1 nats of the reference model's test −ELBO. Here its guess is where the search begins that
minimises the −ELBO of that very image over mean μ and variance σ², the decoder being fixed. Any q gives a bound, so
the figure stays honest whatever the steps do.

The steps are variational online Newton's (Khan et al. 2018, arXiv:1806.04854, eq. 7 and 8) with the diagonal of the
Hessian from gradients alone (Price's theorem). With g(z) = ∂(−log p(x|z))/∂z at the pair z± = μ ± σ·s, s one of ±1 in
each dimension,

    gradient   ĝ = (g(z+) + g(z−)) / 2
    curvature  h = max(0, s·(g(z+) − g(z−)) / 2σ)
    1/σ² ← (1−r)/σ² + r·(1 + h),   μ ← μ − ρ·(ĝ + μ)·σ²      with the new σ²

Both rates are damped, since one pair sees curvature badly, and no step moves μ by more than half a σ or log σ² by
more than a half: far from where the gradients were taken they mean nothing.

The signs are rows of a Hadamard matrix, others in each step, so that the curvature between two dimensions, which a
single pair mistakes for that of one, changes its sign from step to step. Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MEAN_RATE = 0.5
"""ρ. At 1 the steps diverge."""

PRECISION_RATE = 0.2
"""r. Low, so that it averages the curvatures that several pairs saw."""

FURTHEST = 0.5
"""The longest step, in standard deviations for the mean and in nats for the log-variance."""

RAMP = 0.2
"""Width of the ramp that stands for the jump of a ReLU's derivative, so that every runtime finds the same posterior:
without it float32 differs from float64 by 4e-4, with it by 1e-6, and the bound is the same."""

Gradient = Callable[[Tensor], Tensor]
"""Latents [batch, 12] to ∂(−log p(x|z))/∂z, [batch, 12], each with the image that it belongs to."""


def refine(gradient: Gradient, mean: Tensor, log_variance: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """A better mean and log-variance, each [batch, 12].

    Args:
        gradient: of the reconstruction's cost, in nats, by the latent.
        mean: [batch, 12], where to begin.
        log_variance: [batch, 12].
        steps: how many; each costs two passes through the decoder and back.
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
    """One row of ±1 for each step, [steps, dimensions], float32; they repeat when the matrix has no more rows."""
    matrix = torch.ones(1, 1)
    while len(matrix) <= dimensions:  # Sylvester's construction; the first column, all ones, is left out
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix[torch.arange(steps) % len(matrix), 1 : 1 + dimensions]
