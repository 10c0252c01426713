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

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae_gen import FittedPrior, standard_normals
from vae_gen.internal.prior import Mixture

from .data import split
from .evaluation import Encode, encoded
from .images.image_set import ImageSet

NOISE_STREAM = 2**32 - 8
"""The stream of the seed contract's Philox for posterior samples. The seed is the number of the sample of an image."""

VALIDATION_IMAGES = 5000
"""How many images of `vae_train.data.split` are held out of the fit, whatever the run itself held out."""

COMPONENTS = 20
"""The number of Gaussians for each class. docs/quality.md shows what other numbers reach, and why 20 was chosen."""

DRAWS = 4
"""The number of posterior samples of each training image. Several of them keep components from following one image."""

IMAGES_PER_PARAMETER = 1
"""A class has so few components that it has at least this many images for each of their parameters."""

REGULARISATION = 1e-4
"""What is added to variances, which are 0.05 to 1 here. It keeps a component with few images from collapsing."""

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
    """A prior with a mixture of Gaussians for each class; without classes it is a single mixture.

    A class without images gets N(0, I), and is chosen only if the user asks for it.

    Args:
        latents: posterior samples, float32 [draws, n, dimensions].
        labels: the classes of the images, int64 [n], from 0 to classes − 1; ignored without classes.
        classes: the number of classes of the data set, which may be 0.
        components: the number of Gaussians in a mixture.
    """
    groups = [latents[:, labels == label] for label in range(classes)] if classes else [latents]
    mixtures = [fit_mixture(group, components) for group in groups]
    return FittedPrior.of([group.shape[1] for group in groups], mixtures, labelled=classes > 0)


def fit_mixture(latents: Floats, components: int) -> Mixture:
    """A mixture of Gaussians with full covariances, fitted by expectation-maximisation.

    On one machine and version, the same latents give the same mixture: the fit uses one thread, and k-means with a
    fixed seed.

    Args:
        latents: float32 [draws, n, dimensions].
        components: the number of Gaussians; there are fewer if there are few latents.
    """
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    _, count, dimensions = latents.shape
    if count < 2:
        return Mixture(np.ones(1), np.zeros((1, dimensions), np.float32), np.eye(dimensions, dtype=np.float32)[None])
    parameters = dimensions * (dimensions + 3) // 2
    components = max(1, min(components, count // (IMAGES_PER_PARAMETER * parameters)))
    model = GaussianMixture(components, reg_covar=REGULARISATION, max_iter=300, random_state=0)
    with threadpool_limits(1):  # several threads would sum in an order that changes
        model.fit(latents.reshape(-1, dimensions).astype(np.float64))
        factors = np.linalg.cholesky(model.covariances_)
    return Mixture(model.weights_, model.means_.astype(np.float32), factors.astype(np.float32))


def fit_to_training_images(
    encode: Encode, data: ImageSet, components: int = COMPONENTS
) -> tuple[FittedPrior, dict[str, float | int]]:
    """Fit a prior to most training images, and measure it on the others.

    Returns:
        The prior, and facts: the numbers of `images` and `held_out_images`, and mean log-densities of posterior samples
        of held-out images in nats. `held_out_nats_normal` is that of N(0, I), `held_out_nats_fitted` that of the prior,
        and `held_out_nats_fitted_of_class` that of the prior given the class.
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
