"""How smoothly pictures change along paths in the latent space, and a map of the classes in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, random_words, standard_normals

from ..images.image_set import ImageSet
from .classifiers import describe
from .scores import Judge

MOST_BASES = 10
"""How many test images traversals start from at most: one of each of the first classes."""

Floats = NDArray[np.float32]

PATH_STREAM = 2**32 - 6
"""The stream of the seed contract's Philox for the ends of paths. The next lower stream gives the places on them."""

PATHS = 2000
"""How many paths the perceptual path length is a mean over."""

EPSILON = 1e-3
"""The step along a path, as a share of it. StyleGAN takes 1e-4, for which float32 features have too few digits."""

SPAN, STEPS = 2.5, 41
"""A traversal goes from −2.5 to 2.5 standard deviations of the prior, in steps of 1/8."""

MAPPED = 2000
"""How many test images the map shows."""

FEWEST_MAPPED = 5
"""With fewer points than this, t-SNE has no neighbourhoods to keep."""

TSNE_STEPS, TSNE_ANGLE = 500, 0.8
"""These take a third of the time of scikit-learn's 1000 and 0.5 (7 against 21 CPU-seconds for 2000 points), and the
trustworthiness of neighbourhoods of 12 stays at 0.978."""


def step_ratio(points: NDArray[Any]) -> NDArray[np.float64]:
    """The length of the largest step divided by that of the mean step of each row, float64 [rows].

    It is 1 for a row of equal steps or without any movement, and `steps − 1` for a row that jumps once.

    Args:
        points: [rows, steps, features].
    """
    steps = np.linalg.norm(np.diff(points.astype(np.float64), axis=1), axis=2)  # [rows, steps − 1]
    mean = steps.mean(1)
    ratio: NDArray[np.float64] = np.where(mean > 0, steps.max(1) / np.where(mean > 0, mean, 1), 1.0)
    return ratio


def traversal_smoothness(model: VAE, data: ImageSet, judges: Sequence[Judge]) -> dict[str, Any]:
    """The `step_ratio` of traversals along each latent dimension, in pixels and in the features of each judge.

    The traversals start from the mean of the prior, and from the posterior mean of the first test image of each class,
    or of the first test images if there are no classes; at most ten of them.
    """
    width = model.manifest.latent.dimensions
    labels = data.test_labels.numpy() if data.class_names else np.arange(len(data.test_images))
    first = [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels)[:MOST_BASES]]
    bases = [np.zeros(width, np.float32), *model.encode(data.test_images[:].numpy()[first]).mean]
    ratios: dict[str, list[NDArray[np.float64]]] = {}
    for base in bases:
        images = model.traverse(range(width), around=base, span=SPAN, steps=STEPS, detail=False).images
        rows, steps = images.shape[:2]
        spaces = {"pixels": images} | {judge.name: _features(judge, images) for judge in judges}
        for name, points in spaces.items():
            ratios.setdefault(name, []).append(step_ratio(points.reshape(rows, steps, -1)))
    return {
        name: {
            "mean": float(np.mean(rows)),
            "worst": float(np.max(rows)),
            "per_dimension": np.mean(rows, axis=0).tolist(),
        }
        for name, rows in ratios.items()
    }


def path_length(model: VAE, judge: Judge, seed: int, paths: int = PATHS) -> dict[str, float]:
    """The perceptual path length in a judge's features f (Karras et al. 2019, arXiv:1812.04948, section 4.1).

    E[‖f(slerp(a, b; t + ε)) − f(slerp(a, b; t))‖² / ε²] over a, b ~ N(0, I) and t in [0, 1), with the decoder's mean
    picture before any rounding to grey levels. As in the paper, `mean` leaves out the lowest and the highest hundredth;
    `median` is over all paths. The unit is that of the features, so only the ratio of two models means anything.
    """
    width = model.manifest.latent.dimensions
    ends = standard_normals(seed, 0, 2 * paths, width, PATH_STREAM).astype(np.float64)
    words = random_words(seed, 0, paths, 1, PATH_STREAM - 1)[:, 0, 0]
    t = words.astype(np.float64) / 2**32
    places = [spherical(ends[::2], ends[1::2], at) for at in (t, t + EPSILON)]
    before, after = (
        describe(judge.network, model.decode(place.astype(np.float32), detail=False)).features for place in places
    )
    lengths = ((after.astype(np.float64) - before) ** 2).sum(1) / EPSILON**2
    low, high = np.quantile(lengths, [0.01, 0.99])
    return {
        "mean": float(lengths[(lengths >= low) & (lengths <= high)].mean()),
        "median": float(np.median(lengths)),
    }


def spherical(a: NDArray[np.float64], b: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [n, dimensions] on the arcs from rows of a to rows of b, at the places t [n] (slerp, Shoemake 1985)."""
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    angle = np.arccos(np.clip(cosine, -1, 1))
    weight_a, weight_b = np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)
    points: NDArray[np.float64] = weight_a[:, None] * a + weight_b[:, None] * b
    return points


def posterior_map(model: VAE, data: ImageSet, count: int = MAPPED) -> tuple[Floats, NDArray[np.int64]]:
    """The posterior means of the first test images on a plane, float32 [n, 2], and their labels, int64 [n]."""
    return tsne(model.encode(data.test_images.numpy()[:count]).mean), data.test_labels.numpy()[:count]


def tsne(points: Floats) -> Floats:
    """Points [n, dimensions] on a plane, float32 [n, 2], by t-SNE (van der Maaten and Hinton 2008).

    It starts from the first two principal components. Neighbours on the plane were neighbours; the distances between
    groups and the sizes of groups mean little. On one machine and version the same points give the same plane. Too few
    points for t-SNE, and points that do not differ in two directions, keep their first two dimensions.
    """
    if len(points) < FEWEST_MAPPED or np.linalg.matrix_rank(points - points.mean(0)) < 2:
        return np.pad(points[:, :2], ((0, 0), (0, max(0, 2 - points.shape[1])))).astype(np.float32)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30, (len(points) - 1) / 3)
    with threadpool_limits(1):  # several threads would sum in an order that changes
        cost = {"max_iter": TSNE_STEPS, "angle": TSNE_ANGLE}
        plane = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1, **cost).fit_transform(points)
    return np.asarray(plane, np.float32)


def _features(judge: Judge, images: Floats) -> Floats:
    return describe(judge.network, images.reshape(-1, *images.shape[-3:])).features
