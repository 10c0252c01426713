"""Two distances between sets of features, each [n, features]: how far apart, as a whole, are two kinds of pictures?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]


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
