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

from ..evaluation import to_unit_range

Features = NDArray[np.float32]

ROWS = 1000
"""How many rows of the matrix of squared distances exist at a time."""

NUMBERS = 2**26
"""How many pixels or features are searched at a time: 256 MB, more than Fashion-MNIST's training images have."""


def frechet_distance(a: Features, b: Features) -> float:
    """The Fréchet distance of two normals fitted to the features: ‖μₐ − μ_b‖² + tr(Σₐ + Σ_b − 2 (Σₐ Σ_b)^½).

    Heusel et al. 2017 (arXiv:1706.08500) take the features of the Inception network. The unit is that of the features,
    so only the ratio of two distances in the same features means anything. With 10 000 pictures on each side the
    estimate is a little too high; the distance between two sets of real pictures shows by how much.
    """
    mean_a, covariance_a = _moments(a)
    mean_b, covariance_b = _moments(b)
    # (Σₐ Σ_b)^½ has the eigenvalues of (Σₐ^½ Σ_b Σₐ^½)^½, which are real, because this matrix is symmetric.
    root_a = _square_root(covariance_a)
    eigenvalues = np.linalg.eigvalsh(root_a @ covariance_b @ root_a)
    cross = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    spread = float(np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross)
    return float(((mean_a - mean_b) ** 2).sum()) + spread


def kernel_distance(a: Features, b: Features, *, subsets: int = 50, subset_size: int = 1000, seed: int = 0) -> float:
    """The kernel distance: the squared maximum mean discrepancy with the kernel (x·y / features + 1)³.

    It is the mean of unbiased estimates over subsets (Bińkowski et al. 2018, arXiv:1801.01401), and may be a little
    below 0 if the two sets are alike. Each subset has `subset_size` different pictures of either side, or all pictures
    if there are fewer.
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
    """The mean [features] and the covariance [features, features] in float64."""
    wide = features.astype(np.float64)
    return wide.mean(0), np.cov(wide, rowvar=False)


def _square_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric square root of a covariance matrix, whose eigenvalues are negative only by rounding."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = vectors * np.sqrt(np.clip(eigenvalues, 0, None)) @ vectors.T
    return root


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return values


def _off_diagonal_mean(matrix: NDArray[np.float64]) -> float:
    """The mean without the diagonal, which compares each picture with itself and would bias the estimate."""
    size = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (size * (size - 1)))




@dataclass(frozen=True)
class Manifold:
    """The four shares, each from 0 to 1, except that density may be larger."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(real: Features, samples: Features, k: int = 5, real_radii: Tensor | None = None) -> Manifold:
    """Precision, recall, density and coverage of samples, compared with real pictures.

    Args:
        real: the features of real pictures, [n, features].
        samples: the features of samples, [m, features].
        k: a ball reaches to the k-th nearest other picture.
        real_radii: the result of `squared_radii(real, k)`, if it was computed before.
    """
    real_radii = squared_radii(real, k) if real_radii is None else real_radii
    sample_radii = squared_radii(samples, k)
    balls = torch.zeros(len(samples))  # the number of real balls that each sample lies in
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
    """The squared distance of each point to the k-th nearest other point, float32 [n]; k must be below n."""
    parts = []
    for start, squared in distance_rows(points, points):
        rows = torch.arange(len(squared))
        squared[rows, start + rows] = -1.0  # the point itself comes first, whatever rounding did
        parts.append(squared.topk(k + 1, largest=False).values[:, k])
    return torch.cat(parts)


def nearest(
    points: Features, among: Features | NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The distance of each point to the nearest point of `among`, float64 [n], and the index of that one, int64 [n].

    `among` may be grey levels, which count as 0 to 1, so that a memory map is never in memory as a whole.
    """
    rows = max(1, NUMBERS // among.shape[1])
    best = np.full(len(points), np.inf, np.float32)
    indices = np.zeros(len(points), np.int64)
    for start in range(0, len(among), rows):
        block = as_features(among[start : start + rows])
        found = [squared.min(1) for _, squared in distance_rows(points, block)]
        values = np.concatenate([one.values.numpy() for one in found])
        closer = values < best
        indices[closer] = start + np.concatenate([one.indices.numpy() for one in found])[closer]
        best = np.minimum(best, values)
    # Computed again, exactly: the matrix product loses digits for points that nearly coincide.
    differences = points.astype(np.float64) - as_features(among[indices]).astype(np.float64)
    return np.linalg.norm(differences, axis=1), indices


def as_features(rows: Features | NDArray[np.uint8]) -> Features:
    """Rows of grey levels as float32 in [0, 1], and other rows as they are."""
    return to_unit_range(rows) if rows.dtype == np.uint8 else rows  # type: ignore[arg-type, return-value]


def distance_rows(a: Features, b: Features) -> Iterator[tuple[int, Tensor]]:
    """Yields the squared distances of some rows of `a` to all of `b`, float32 [rows, m], with the first row's index."""
    centre = b.mean(0)  # fewer digits cancel near the origin
    left, right = torch.from_numpy(a - centre), torch.from_numpy(b - centre)
    right_squares = right.square().sum(1)  # [m]
    for start in range(0, len(left), ROWS):
        part = left[start : start + ROWS]  # [rows, features]
        squared = torch.addmm(right_squares, part, right.T, alpha=-2)
        yield start, squared.add_(part.square().sum(1, keepdim=True)).clamp_(min=0)
