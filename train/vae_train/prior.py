"""A prior that is fitted after training: the latents of each class as a mixture of Gaussians.

The decoder was trained on latents z ~ q(z|x) of real images. Their density is the aggregate posterior, q(z) = the mean
of q(z|x) over the images (Hoffman and Johnson 2016, "ELBO surgery"), and not N(0, I): some samples of N(0, I) are far
from the latents of all images. So q(z) is described again, class by class, from a few posterior samples of each
training image. Nothing else of the model changes. The mean of log p(z) over posterior samples of held-out images
measures the fit: each nat that it gains over N(0, I) lowers the model's −ELBO by a nat.

`vae_train.quality.priors` compares families of densities; docs/quality.md has its table, by which the default was
chosen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from vae_gen import FittedPrior, InputError, standard_normals
from vae_gen.internal.prior import Mixture

from .data import split
from .evaluation import Encode, encoded
from .images.image_set import ImageSet
from .images.report import random_rows
from .images.streamed import Pictures, taken

NOISE_STREAM = 2**32 - 8
"""The stream of the seed contract's Philox for posterior samples. The seed is the number of the sample of an image."""

VALIDATION_IMAGES = 5000
"""How many images of `vae_train.data.split` are held out of the fit, whatever the run itself held out."""

MOST_IMAGES, MOST_IMAGES_SEED = 60_000, 5
"""How many images, chosen at random, the prior is fitted to and measured on: as many as Fashion-MNIST has. The time and
the memory of the fit grow with them, and with 20 Gaussians for a class more of them hardly change it."""

MEASURED_IMAGES = 2000
"""On how many of them at most the prior is measured if their posteriors are refined, which takes 3 ms for each."""

COMPONENTS = 20
"""The number of Gaussians for each class. docs/quality.md shows what other numbers reach, and why 20 was chosen."""

DRAWS = 4
"""The number of posterior samples of each training image. Several of them keep components from following one image."""

IMAGES_PER_PARAMETER = 1
"""A class has so few components that it has at least this many images for each of their parameters."""

MOST_NUMBERS = 500_000
"""How many numbers all factors of a prior may have, 2 MB of latents.onnx, unless each class has a single Gaussian. With
12 dimensions and ten classes this allows 320 Gaussians for each; with 40 dimensions and 200 classes it allows one."""

TRIM_STREAM = 2**32 - 13
"""The stream of the seed contract's Philox for the draws of `trimmed`. The seed is the row of the component."""

TRIM_DRAWS, TRIM_PICTURES = 200_000, 2
"""About how many latents `trimmed` draws in all, but at least fifty for each dimension of a Gaussian, and how many
pictures it makes of each."""

NORMAL = "N(0, I), because no fitted density was better on held-out images"
"""The family of a prior that was no better than N(0, I), and is replaced by it."""

REGULARISATION = 1e-4
"""What is added to variances, which are 0.05 to 1 here. It keeps a component with few images from collapsing."""

MOST_STEPS, SMALLEST_GAIN = 300, 1e-3
"""Expectation-maximisation ends after so many steps, or when the mean log-density changes by less, in nats."""

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
DetailSize = Callable[[Floats, NDArray[np.int64]], Floats]
"""From latents [n, dimensions] and classes int64 [n], −1 for none, to the sizes of their pictures' details, [n]."""


def posterior_samples(encode: Encode, images: Pictures, draws: int = 1) -> Floats:
    """Samples of q(z|x), float32 [draws, n, dimensions]. The noise of an image depends on its index alone.

    Args:
        encode: float32 images in [0, 1] to mean and log-variance.
        images: uint8 [n, channels, height, width].
        draws: the number of samples of each image.
    """
    return np.concatenate(
        [
            samples_of_posteriors(mean, log_variance, draws, start)
            for start, _, mean, log_variance in encoded(encode, images)
        ],
        axis=1,
    )


def samples_of_posteriors(mean: Floats, log_variance: Floats, draws: int, first: int = 0) -> Floats:
    """Samples of normals, float32 [draws, n, dimensions], from their mean and log-variance [n, dimensions].

    `first` is the index of the first image, which chooses the noise.
    """
    count, width = mean.shape
    noise = np.stack([standard_normals(draw, first, count, width, NOISE_STREAM) for draw in range(draws)])
    samples: Floats = mean + np.exp(np.float32(0.5) * log_variance) * noise
    return samples


def fit_prior(
    latents: Floats, labels: NDArray[np.int64], classes: int, components: int = COMPONENTS
) -> FittedPrior:
    """A prior with a mixture of Gaussians for each class; without classes it is a single mixture.

    A class without images gets N(0, I), and is chosen only if the user asks for it. A class with too few images for the
    parameters of a Gaussian gets one whose covariance is mostly that of the other classes within themselves.

    Args:
        latents: posterior samples, float32 [draws, n, dimensions].
        labels: the classes of the images, int64 [n], from 0 to classes − 1, or −1 for an image that is left out;
            ignored without classes.
        classes: the number of classes of the data set, which may be 0.
        components: the number of Gaussians in a mixture; there are fewer if the tables would become too large.
    """
    from threadpoolctl import threadpool_limits

    groups = [latents[:, labels == label] for label in range(classes)] if classes else [latents]
    dimensions = latents.shape[2]
    components = max(1, min(components, MOST_NUMBERS // (len(groups) * dimensions * (dimensions + 1))))
    few = [0 < group.shape[1] < _parameters(dimensions) for group in groups]
    centre, typical = _typical(groups) if any(few) else (np.zeros(dimensions), np.eye(dimensions))

    def fitted(group: Floats, is_few: bool) -> Mixture:
        return shrunk_gaussian(group, centre, typical) if is_few else fit_mixture(group, components)

    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as threads:  # a class on each core
        mixtures = list(threads.map(fitted, groups, few))
    return FittedPrior.of([group.shape[1] for group in groups], mixtures, labelled=classes > 0)


def _parameters(dimensions: int) -> int:
    """How many numbers describe the mean and the covariance of a Gaussian."""
    return dimensions * (dimensions + 3) // 2


def _typical(groups: Sequence[Floats]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean of all latents, and what the covariance within a class typically is.

    This is the mean over the classes, each with one degree of freedom less than it has images, and besides N(0, I),
    with as many degrees of freedom as there are dimensions. So there is a covariance of full rank for any data.
    """
    dimensions = groups[0].shape[2]
    total, freedom = dimensions * np.eye(dimensions), dimensions
    for group in groups:
        images = group.shape[1]
        if images > 1:
            total += images * np.cov(group.reshape(-1, dimensions), rowvar=False, bias=True).reshape(dimensions, -1)
            freedom += images - 1
    return np.concatenate(groups, axis=1).mean((0, 1), dtype=np.float64), total / freedom


def shrunk_gaussian(latents: Floats, centre: NDArray[np.float64], typical: NDArray[np.float64]) -> Mixture:
    """A single Gaussian for a few images, between what they show and what is typical.

    The typical covariance counts as many images as there are dimensions, and the centre of all latents counts as one
    image. The covariance is a little wider for the mean's own uncertainty.

    Args:
        latents: float32 [draws, n, dimensions].
        centre: the mean of the latents of all classes, [dimensions].
        typical: the typical covariance within a class, [dimensions, dimensions].
    """
    _, count, dimensions = latents.shape
    points = latents.reshape(-1, dimensions).astype(np.float64)
    own = np.cov(points, rowvar=False, bias=True).reshape(dimensions, dimensions)
    covariance = (count * own + dimensions * typical) / (count + dimensions) * (1 + 1 / (count + 1))
    mean = (count * points.mean(0) + centre) / (count + 1)
    factor = np.linalg.cholesky(covariance + REGULARISATION * np.eye(dimensions))
    return Mixture(np.ones(1), mean.astype(np.float32)[None], factor.astype(np.float32)[None])


def fit_mixture(latents: Floats, components: int) -> Mixture:
    """A mixture of Gaussians with full covariances, fitted by expectation-maximisation.

    On one machine and version, the same latents give the same mixture: the fit uses one thread, and k-means with a
    fixed seed.

    Args:
        latents: float32 [draws, n, dimensions].
        components: the number of Gaussians; there are fewer if there are few latents.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    _, count, dimensions = latents.shape
    if count < 2:
        return Mixture(np.ones(1), np.zeros((1, dimensions), np.float32), np.eye(dimensions, dtype=np.float32)[None])
    components = max(1, min(components, count // (IMAGES_PER_PARAMETER * _parameters(dimensions))))
    with threadpool_limits(1):  # several threads would sum in an order that changes
        points = latents.reshape(-1, dimensions).astype(np.float64)
        nearest = KMeans(components, n_init=1, random_state=0).fit(points).labels_
        weights, means, covariances = _expectation_maximisation(points, nearest)
        factors = np.linalg.cholesky(covariances)
    return Mixture(weights, means.astype(np.float32), factors.astype(np.float32))


def _expectation_maximisation(points: Doubles, nearest: NDArray[np.int32]) -> tuple[Doubles, Doubles, Doubles]:
    """Weights [k], means [k, d] and covariances [k, d, d] of the Gaussians that describe points [n, d] best.

    With t(x) = (1, x, all products of two numbers of x), the log-density of every Gaussian is linear in t(x). So a step
    consists of two matrix products: the first gives all log-densities, the second the sums of t(x) over each Gaussian's
    share of the points, from which its mean and covariance follow. scikit-learn's GaussianMixture does the same steps
    one Gaussian after the other, with the same result in three to four times the time.

    Args:
        points: x.
        nearest: the Gaussian that each point belongs to at first, [n], from 0 to k − 1.
    """
    count, width = points.shape
    row, column = np.triu_indices(width)
    components, terms = int(nearest.max()) + 1, 1 + width + len(row)
    block = max(256, 2**18 // terms)  # points at a time, so that t(x) stays in the processor's cache

    def blocks() -> Iterator[tuple[slice, Doubles]]:
        for start in range(0, count, block):
            x = points[start : start + block]
            yield slice(start, start + block), np.hstack([np.ones((len(x), 1)), x, x[:, row] * x[:, column]])

    def maximised(sums: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        sizes = sums[:, 0] + 1e-15  # a Gaussian may have lost all its points
        means = sums[:, 1 : 1 + width] / sizes[:, None]
        covariances = np.zeros((components, width, width))
        covariances[:, row, column] = covariances[:, column, row] = sums[:, 1 + width :] / sizes[:, None]
        covariances += REGULARISATION * np.eye(width) - means[:, :, None] * means[:, None]
        return sizes / sizes.sum(), means, covariances

    sums = np.zeros((components, terms))
    for part, t in blocks():
        sums += (np.arange(components)[:, None] == nearest[part]) @ t
    weights, means, covariances = maximised(sums)
    before = -np.inf
    for _ in range(MOST_STEPS):
        precisions = np.linalg.inv(covariances)
        slopes = (precisions @ means[:, :, None])[:, :, 0]
        constants = np.log(weights) - 0.5 * (
            width * np.log(2 * np.pi) + np.linalg.slogdet(covariances)[1] + (means * slopes).sum(1)
        )
        products = np.where(row == column, -0.5, -1.0) * precisions[:, row, column]
        coefficients = np.hstack([constants[:, None], slopes, products])  # of t(x), [k, terms]
        sums, total = np.zeros((components, terms)), 0.0
        for _, t in blocks():
            shares = coefficients @ t.T  # log-densities, [k, points]
            highest = shares.max(0)
            np.exp(shares - highest, out=shares)
            densities = shares.sum(0)
            total += float((highest + np.log(densities)).sum())
            sums += (shares / densities) @ t
        weights, means, covariances = maximised(sums)
        if abs(total / count - before) < SMALLEST_GAIN:
            break
        before = total / count
    return weights, means, covariances


def fit_to_training_images(
    encode: Encode, data: ImageSet, components: int = COMPONENTS, *, measure_with: Encode | None = None
) -> tuple[FittedPrior, dict[str, float | int | str]]:
    """Fit a prior to most training images, and measure it on the others.

    If a single Gaussian for each class describes the others better than mixtures do, the prior has single ones; and if
    even N(0, I) describes them better, as may be with few images, the prior is N(0, I).

    Of a large set only some images are used, see `MOST_IMAGES`.

    Args:
        encode: float32 images in [0, 1] to mean and log-variance.
        data: the data set.
        components: the number of Gaussians in a mixture.
        measure_with: another encoder for the images that the prior is measured on, which are at most 2000.

    Returns:
        The prior, and facts: the `family`, in words; the numbers of `images`, `held_out_images` and, of the latter,
        `measured_images`; and mean log-densities of posterior samples of the measured images in nats.
        `held_out_nats_normal` is that of N(0, I), `held_out_nats_fitted` that of the prior, and
        `held_out_nats_fitted_of_class` that of the prior given the class.
    """
    images, labels, train, held_out = _split(data)
    classes = len(data.class_names)
    latents = posterior_samples(encode, images, DRAWS)
    prior = fit_prior(latents[:, train], labels[train], classes, components)
    measured = held_out if measure_with is None else _at_most_2000(held_out)
    z, y = latents[0, measured], labels[measured]
    if measure_with is not None:
        z = posterior_samples(measure_with, images[measured])[0]
    nats, family = float(log_density(prior, z).mean()), "Gaussian mixtures, full covariances"
    if max(prior.sizes) > 1:
        simple = fit_prior(latents[:, train], labels[train], classes, 1)
        if (of_simple := float(log_density(simple, z).mean())) > nats:
            prior, nats = simple, of_simple
    if float(normal_log_density(z).mean()) >= nats:
        counts = [int((labels[train] == label).sum()) for label in range(classes)] or [1]
        nothing = fit_mixture(latents[:, :0], 1)
        prior, family = FittedPrior.of(counts, [nothing] * len(counts), labelled=classes > 0), NORMAL
    facts: dict[str, float | int | str] = {"family": family, "images": len(train), "held_out_images": len(held_out)}
    return prior, {**facts, **_nats(prior, z, y, classes)}


def measure_again(prior: FittedPrior, encode: Encode, data: ImageSet) -> dict[str, float | int | str]:
    """Measures a prior on held-out images as `fit_to_training_images` does, but on at most 2000 of them."""
    images, labels, _, held_out = _split(data)
    measured = _at_most_2000(held_out)
    return _nats(prior, posterior_samples(encode, images[measured])[0], labels[measured], len(data.class_names))


def _split(data: ImageSet) -> tuple[Pictures, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Images and labels, and the indices of those that the prior is fitted to and of those that are held out."""
    labels, images = data.train_labels.numpy(), data.train_images.numpy()
    if len(labels) < 2:
        raise InputError(f"expected at least 2 training images to fit a prior to, got {len(labels)}; add images")
    if len(labels) > MOST_IMAGES:
        rows = np.sort(random_rows(len(labels), MOST_IMAGES_SEED)[:MOST_IMAGES])
        labels, images = labels[rows], taken(images, rows)
    train, held_out = split(len(labels), min(VALIDATION_IMAGES, max(1, len(labels) // 4)))
    return images, labels, train.numpy(), held_out.numpy()


def _at_most_2000(held_out: NDArray[np.int64]) -> NDArray[np.int64]:
    return held_out[:: -(-len(held_out) // MEASURED_IMAGES)]


def _nats(prior: FittedPrior, z: Floats, y: NDArray[np.int64], classes: int) -> dict[str, float | int | str]:
    """The mean log-densities of posterior samples z of images of classes y."""
    of_normal = float(normal_log_density(z).mean())
    known = y >= 0 if classes else np.ones(len(y), bool)
    of_class = log_density(prior, z[known], y[known] if classes else None)
    return {
        "measured_images": len(z),
        "held_out_nats_normal": of_normal,
        "held_out_nats_fitted": float(log_density(prior, z).mean()),
        "held_out_nats_fitted_of_class": float(of_class.mean()) if known.any() else of_normal,
    }


def trimmed(prior: FittedPrior, detail_size: DetailSize, share: float) -> FittedPrior:
    """A prior without a share of each class's latents: those whose pictures have the largest details.

    The decoder knows least about such latents, so their pictures look broken more often. Latents are drawn from each
    Gaussian, and those whose details are above the limit of their class are left out. Weight, mean and covariance of
    the Gaussian change by what distinguishes the kept latents from all that were drawn. So a Gaussian of which all are
    kept stays as it is, and one of which none is kept goes. As Gaussians have tails, a part of what was left out comes
    back.

    Args:
        prior: the prior to trim.
        detail_size: the size of the details of one picture; a latent's is the mean of two of its pictures.
        share: how much of each class is left out, from 0 to 0.5.
    """
    if not share:
        return prior
    draws, labels = max(50 * prior.dimensions, TRIM_DRAWS // len(prior.means)), prior.labels

    def normals(row: int) -> Floats:
        return standard_normals(row, 0, draws, prior.dimensions, TRIM_STREAM)

    def sizes_of(row: int) -> Floats:
        latents = prior.means[row] + normals(row) @ prior.factors[row].T
        sizes = detail_size(np.tile(latents, (TRIM_PICTURES, 1)), np.full(TRIM_PICTURES * draws, labels[row]))
        averages: Floats = sizes.reshape(TRIM_PICTURES, draws).mean(0)
        return averages

    mixtures = []
    for at, (first, count) in enumerate(zip(prior.first, prior.sizes, strict=True)):
        rows, weights = range(first, first + count), np.diff(prior.component_thresholds[at, :count], prepend=0)
        sizes = np.stack([sizes_of(row) for row in rows])  # [components, draws]
        order = np.argsort(sizes, axis=None)
        mass = np.cumsum(np.repeat(weights, draws)[order])
        limit = sizes.ravel()[order][np.searchsorted(mass, (1 - share) * mass[-1])]
        kept = sizes <= limit
        changed = [
            _changed(prior.means[row], prior.factors[row], normals(row), own)
            for row, own in zip(rows, kept, strict=True)
        ]
        rest = weights * kept.mean(1)
        means, factors = (np.stack(part)[rest > 0] for part in zip(*changed, strict=True))
        mixtures.append(Mixture(rest[rest > 0] / rest.sum(), means, factors))
    shares = np.diff(prior.class_thresholds, prepend=0).tolist()
    return FittedPrior.of(shares, mixtures, labelled=prior.classes > 0)


def _changed(mean: Floats, factor: Floats, normals: Floats, kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean and factor of a Gaussian m + L·ε, changed as the kept ones among some ε differ from all of them.

    With the Cholesky factors C of the covariance of all ε and K of the kept ones, and the difference μ of the means,
    ε becomes μ + K·C⁻¹·ε. A Gaussian of which too few are kept for a covariance stays as it is.

    Args:
        mean: m, [dimensions].
        factor: L, [dimensions, dimensions].
        normals: ε, [draws, dimensions].
        kept: which of them are kept, [draws].
    """
    every, dimensions = normals.astype(np.float64), len(mean)
    if kept.sum() <= 2 * dimensions:
        return mean, factor
    rest = every[kept]
    c, k = (np.linalg.cholesky(np.cov(part, rowvar=False).reshape(dimensions, -1)) for part in (every, rest))
    shift = rest.mean(0) - every.mean(0)
    return (mean + factor @ shift).astype(np.float32), (factor @ k @ np.linalg.inv(c)).astype(np.float32)


def log_density(
    prior: FittedPrior, latents: Floats, labels: Sequence[int] | NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """The values log p(z), or log p(z|class) if labels are given, in nats, float64 [n].

    This is exactly the density of the prior's samples: the weights are those of its integer thresholds.

    Args:
        prior: the prior.
        latents: z, [n, dimensions].
        labels: the classes, [n].
    """
    shares = np.diff(prior.class_thresholds, prepend=0) / 2.0**32
    by_mixture = np.full((len(latents), len(shares)), -np.inf)
    for at, (first, size) in enumerate(zip(prior.first, prior.sizes, strict=True)):
        weights = np.diff(prior.component_thresholds[at, :size], prepend=0) / 2.0**32
        terms = [
            np.log(weight) + _gaussian_log_density(latents, prior.means[row], prior.factors[row])
            for row, weight in enumerate(weights, first) if weight > 0
        ]
        by_mixture[:, at] = np.logaddexp.reduce(terms, axis=0)
    if labels is not None:
        of_class: NDArray[np.float64] = by_mixture[np.arange(len(latents)), labels]
        return of_class
    with np.errstate(divide="ignore"):  # log 0 for a class without images
        total: NDArray[np.float64] = np.logaddexp.reduce(by_mixture + np.log(shares), axis=1)
    return total


def normal_log_density(latents: Floats) -> NDArray[np.float64]:
    """The values log N(z; 0, I) in nats, float64 [n], of latents z [n, dimensions]."""
    width = latents.shape[1]
    return _gaussian_log_density(latents, np.zeros(width, np.float32), np.eye(width, dtype=np.float32))


def _gaussian_log_density(latents: Floats, mean: Floats, factor: Floats) -> NDArray[np.float64]:
    lower = factor.astype(np.float64)
    standard = np.linalg.solve(lower, (latents.astype(np.float64) - mean).T)  # [dimensions, n]
    log_determinant = np.log(np.diag(lower)).sum()
    result: NDArray[np.float64] = -0.5 * (standard**2 + np.log(2 * np.pi)).sum(0) - log_determinant
    return result
