"""What nearest neighbours in feature space say: are samples like real pictures, and are all real pictures covered?

The balls of Kynkäänniemi et al. 2019 (arXiv:1904.06991, eqs. 1 to 3) and Naeem et al. 2020 (arXiv:2002.09797, eqs. 4
and 5): each real picture has a ball that reaches to its k-th nearest other real picture, and each sample one likewise.

- precision: the share of samples inside the ball of some real picture
- recall: the share of real pictures inside the ball of some sample
- density: in how many real balls a sample lies, divided by k; it may pass 1
- coverage: the share of real balls in which some sample lies

Squared distances are a matrix product in float32, a chunk of rows at a time: 40 MB for 1000 × 10 000.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Points = NDArray[np.float32]

ROWS = 1000
"""Rows of the distance matrix that exist at the same time."""


@dataclass(frozen=True)
class Manifold:
    """The four shares; each in 0 … 1 but density, which may be above."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(real: Points, samples: Points, k: int = 5, real_radii: Tensor | None = None) -> Manifold:
    """The four figures of samples [m, features] against real pictures [n, features].

    Args:
        real: features of real pictures.
        samples: features of samples.
        k: which neighbour a ball reaches to, the picture itself not counted.
        real_radii: `squared_radii(real, k)`, where it is known already.
    """
    real_radii = squared_radii(real, k) if real_radii is None else real_radii
    sample_radii = squared_radii(samples, k)
    balls = torch.zeros(len(samples))  # of real pictures that each sample lies in
    recalled, covered = [], []
    for start, squared in distance_rows(real, samples):  # [rows, m]
        radii = real_radii[start : start + len(squared), None]  # [rows, 1]
        inside = squared <= radii
        balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((squared <= sample_radii).any(1))
    return Manifold(
        precision=float((balls > 0).float().mean()),
        recall=float(torch.cat(recalled).float().mean()),
        density=float(balls.mean()) / k,
        coverage=float(torch.cat(covered).float().mean()),
    )


def squared_radii(points: Points, k: int) -> Tensor:
    """The squared distance of each point to its k-th nearest other, float32 [n]; k is below n."""
    parts = []
    for start, squared in distance_rows(points, points):
        rows = torch.arange(len(squared))
        squared[rows, start + rows] = -1.0  # itself comes first, however rounding falls
        parts.append(squared.topk(k + 1, largest=False).values[:, k])
    return torch.cat(parts)


def nearest(points: Points, among: Points) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The distance of each point to the nearest of `among`, float64 [n], and which one that is, int64 [n]."""
    indices = np.concatenate([squared.argmin(1).numpy() for _, squared in distance_rows(points, among)])
    # Again for the winners alone, exactly: the matrix product loses digits where two points nearly coincide.
    differences = points.astype(np.float64) - among[indices].astype(np.float64)
    return np.linalg.norm(differences, axis=1), indices


def distance_rows(a: Points, b: Points) -> Iterator[tuple[int, Tensor]]:
    """Squared distances of `a` [n, features] to `b` [m, features], float32 [rows, m], with the first row's index."""
    centre = b.mean(0)  # nearer to the origin fewer digits cancel
    left, right = torch.from_numpy(a - centre), torch.from_numpy(b - centre)
    right_squares = right.square().sum(1)  # [m]
    for start in range(0, len(left), ROWS):
        part = left[start : start + ROWS]  # [rows, features]
        squared = torch.addmm(right_squares, part, right.T, alpha=-2)
        yield start, squared.add_(part.square().sum(1, keepdim=True)).clamp_(min=0)
