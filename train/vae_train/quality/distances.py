"""How far apart two sets of pictures are, from their features: arrays float32 [n, features].

Two distances compare the sets as wholes: the Fréchet distance and the kernel distance.

Four shares compare them picture by picture, with the balls of Kynkäänniemi et al. 2019 (arXiv:1904.06991, eqs. 1 to 3)
and Naeem et al. 2020 (arXiv:2002.09797, eqs. 4 and 5). Each real picture has a ball that reaches to its k-th nearest
other real picture, and each sample has a ball that reaches to its k-th nearest other sample.

- precision: the share of samples inside the ball of some real picture
- recall: the share of real pictures inside the ball of some sample
- density: the number of real balls that a sample lies in, divided by k; it may pass 1
- coverage: the share of real balls in which some sample lies

Squared distances are a matrix product in float32, computed 1000 rows at a time: 40 MB for 1000 × 10 000.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Features = NDArray[np.float32]

ROWS = 1000
"""How many rows of the matrix of squared distances exist at a time."""


def frechet_distance(a: Features, b: Features) -> float:
    """‖μₐ − μ_b‖² + tr(Σₐ + Σ_b − 2 (Σₐ Σ_b)^½): the Fréchet distance of two normals fitted to the features.

    Heusel et al. 2017 (arXiv:1706.08500), with these features in the place of Inception's. Its unit is the features'
    own, so that only ratios of two distances in the same features mean anything. With 10 000 pictures on each side
    the estimate is biased upwards a little; two draws of real pictures show by how much.
    """
    mean_a, covariance_a = _moments(a)
    mean_b, covariance_b = _moments(b)
    # (Σₐ Σ_b)^½ has the eigenvalues of (Σₐ^½ Σ_b Σₐ^½)^½, which is symmetric, so that none is complex.
    root_a = _square_root(covariance_a)
    eigenvalues = np.linalg.eigvalsh(root_a @ covariance_b @ root_a)
    cross = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    spread = float(np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross)
    return float(((mean_a - mean_b) ** 2).sum()) + spread


def kernel_distance(a: Features, b: Features, *, subsets: int = 50, subset_size: int = 1000, seed: int = 0) -> float:
    """The squared maximum mean discrepancy with the kernel (x·y / features + 1)³, unbiased: the mean over subsets.

    Bińkowski et al. 2018 (arXiv:1801.01401). It may be a little below 0 where the two sets are alike. Each subset
    takes `subset_size` pictures of either side without repetition, or all where there are not so many.
    """
    random = np.random.default_rng(seed)
    size = min(subset_size, len(a), len(b))
    estimates = []
    for _ in range(subsets):
        x = a[random.choice(len(a), size, replace=False)].astype(np.float64)
        y = b[random.choice(len(b), size, replace=False)].astype(np.float64)
        within = _off_diagonal_mean(_kernel(x, x)) + _off_diagonal_mean(_kernel(y, y))
        estimates.append(within - 2 * float(_kernel(x, y).mean()))
    return float(np.mean(estimates))


def _moments(features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [features] and covariance [features, features] in float64."""
    wide = features.astype(np.float64)
    return wide.mean(0), np.cov(wide, rowvar=False)


def _square_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric square root of a symmetric matrix with no negative eigenvalue but by rounding."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = vectors * np.sqrt(np.clip(eigenvalues, 0, None)) @ vectors.T
    return root


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return values


def _off_diagonal_mean(matrix: NDArray[np.float64]) -> float:
    """The mean without the diagonal, on which a picture is compared with itself: this makes the estimate unbiased."""
    size = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (size * (size - 1)))




@dataclass(frozen=True)
class Manifold:
    """The four shares; each in 0 … 1 but density, which may be above."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(real: Features, samples: Features, k: int = 5, real_radii: Tensor | None = None) -> Manifold:
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


def squared_radii(points: Features, k: int) -> Tensor:
    """The squared distance of each point to its k-th nearest other, float32 [n]; k is below n."""
    parts = []
    for start, squared in distance_rows(points, points):
        rows = torch.arange(len(squared))
        squared[rows, start + rows] = -1.0  # itself comes first, however rounding falls
        parts.append(squared.topk(k + 1, largest=False).values[:, k])
    return torch.cat(parts)


def nearest(points: Features, among: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The distance of each point to the nearest of `among`, float64 [n], and which one that is, int64 [n]."""
    indices = np.concatenate([squared.argmin(1).numpy() for _, squared in distance_rows(points, among)])
    # Again for the winners alone, exactly: the matrix product loses digits where two points nearly coincide.
    differences = points.astype(np.float64) - among[indices].astype(np.float64)
    return np.linalg.norm(differences, axis=1), indices


def distance_rows(a: Features, b: Features) -> Iterator[tuple[int, Tensor]]:
    """Squared distances of `a` [n, features] to `b` [m, features], float32 [rows, m], with the first row's index."""
    centre = b.mean(0)  # nearer to the origin fewer digits cancel
    left, right = torch.from_numpy(a - centre), torch.from_numpy(b - centre)
    right_squares = right.square().sum(1)  # [m]
    for start in range(0, len(left), ROWS):
        part = left[start : start + ROWS]  # [rows, features]
        squared = torch.addmm(right_squares, part, right.T, alpha=-2)
        yield start, squared.add_(part.square().sum(1, keepdim=True)).clamp_(min=0)
