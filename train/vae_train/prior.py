"""A prior fitted after training: what the encoder makes of each class, as a mixture of Gaussians.

The decoder was trained on z ~ q(z|x) of real images. Their density, the aggregate posterior q(z) = mean of q(z|x)
(Hoffman and Johnson 2016, "ELBO surgery"), is not N(0, I): samples of N(0, I) fall where no image ever was. So q(z) is
described once more, class by class, from a few posterior samples of each training image; nothing else of the model
changes. The mean of log p(z) over held-out posterior samples says how well: each nat it is above that of N(0, I) is a
nat off the model's −ELBO.

`vae_train.quality.priors` compares families of densities; docs/quality.md has its table, by which the default was
chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae_gen import FittedPrior, standard_normals
from vae_gen.internal.prior import Mixture

from .data import FashionMnist, split
from .evaluation import Encode, encoded

NOISE_STREAM = 2**32 - 8
"""The stream of the seed contract's Philox for posterior samples; the seed counts draws, the index is the image's."""

VALIDATION_IMAGES = 5000
"""Held out of the fit, the images of `vae_train.data.split`, whatever the run itself held out."""

COMPONENTS = 20
"""Of each class; docs/quality.md says what other numbers reach, and why 20."""

DRAWS = 4
"""Posterior samples of each training image: the same image through other noise keeps components from following single
images."""

IMAGES_PER_PARAMETER = 1
"""A class with fewer images gets fewer components: a full covariance of 12 dimensions alone has 78 parameters."""

REGULARISATION = 1e-4
"""Added to variances, which are about 0.05 to 1 here: keeps a component on few images from collapsing."""

Floats = NDArray[np.float32]


def posterior_samples(encode: Encode, images: NDArray[np.uint8], draws: int = 1) -> Floats:
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
    """A mixture of Gaussians with full covariances for each class, or one for all where there are no classes.

    A class without images gets N(0, I) and is never drawn unless asked for.

    Args:
        latents: posterior samples, float32 [draws, n, dimensions].
        labels: of the images, int64 [n], in 0 … classes−1; not looked at without classes.
        classes: how many the data set has.
        components: of each mixture.
    """
    groups = [latents[:, labels == label] for label in range(classes)] if classes else [latents]
    mixtures = [fit_mixture(group, components) for group in groups]
    return FittedPrior.of([group.shape[1] for group in groups], mixtures, labelled=classes > 0)


def fit_mixture(latents: Floats, components: int) -> Mixture:
    """Gaussians with full covariances fitted to latents, float32 [draws, n, dimensions], by expectation-maximisation.

    The same latents give the same mixture on one machine and version: one thread, k-means from a fixed seed.
    """
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    _, count, dimensions = latents.shape
    if count < 2:
        return Mixture(np.ones(1), np.zeros((1, dimensions), np.float32), np.eye(dimensions, dtype=np.float32)[None])
    parameters = dimensions * (dimensions + 3) // 2
    components = max(1, min(components, count // (IMAGES_PER_PARAMETER * parameters)))
    model = GaussianMixture(components, reg_covar=REGULARISATION, max_iter=300, random_state=0)
    with threadpool_limits(1):  # several threads sum in whatever order they end
        model.fit(latents.reshape(-1, dimensions).astype(np.float64))
        factors = np.linalg.cholesky(model.covariances_)
    return Mixture(model.weights_, model.means_.astype(np.float32), factors.astype(np.float32))


def fit_to_training_images(
    encode: Encode, data: FashionMnist, components: int = COMPONENTS
) -> tuple[FittedPrior, dict[str, float | int]]:
    """The prior of a model on the training part of its data, and what it reaches on the part held out.

    Returns:
        The prior, and the number of images it was fitted to and held out, with the mean log-densities of the held-out
        posterior samples in nats: `normal` under N(0, I), `fitted` under the prior, `fitted_of_class` given the class.
    """
    latents, labels = posterior_samples(encode, data.train_images.numpy(), DRAWS), data.train_labels.numpy()
    train, held_out = (part.numpy() for part in split(len(labels), min(VALIDATION_IMAGES, len(labels) // 4)))
    prior = fit_prior(latents[:, train], labels[train], len(data.class_names), components)
    z, y = latents[0, held_out], labels[held_out]
    return prior, {
        "images": len(train),
        "held_out_images": len(held_out),
        "held_out_nats_normal": float(normal_log_density(z).mean()),
        "held_out_nats_fitted": float(log_density(prior, z).mean()),
        "held_out_nats_fitted_of_class": float(log_density(prior, z, y if prior.classes else None).mean()),
    }


def log_density(
    prior: FittedPrior, latents: Floats, labels: Sequence[int] | NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Densities log p(z), or log p(z|class) where labels are given, in nats: float64 [n].

    It is the density of what is drawn: weights are those that the integer thresholds make.
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
    with np.errstate(divide="ignore"):  # a class without images has no share
        total: NDArray[np.float64] = np.logaddexp.reduce(by_mixture + np.log(shares), axis=1)
    return total


def normal_log_density(latents: Floats) -> NDArray[np.float64]:
    """Densities log N(z; 0, I) in nats, float64 [n]."""
    width = latents.shape[1]
    return _gaussian_log_density(latents, np.zeros(width, np.float32), np.eye(width, dtype=np.float32))


def _gaussian_log_density(latents: Floats, mean: Floats, factor: Floats) -> NDArray[np.float64]:
    lower = factor.astype(np.float64)
    standard = np.linalg.solve(lower, (latents.astype(np.float64) - mean).T)  # [dimensions, n], N(0, I) if it is right
    log_determinant = np.log(np.diag(lower)).sum()
    result: NDArray[np.float64] = -0.5 * (standard**2 + np.log(2 * np.pi)).sum(0) - log_determinant
    return result
