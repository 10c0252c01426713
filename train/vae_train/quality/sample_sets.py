"""The sets of pictures that are measured, each by name. A set is made from a seed.

All pictures are grey levels, uint8, as files hold them. A new kind of sample, from another prior or another stage after
the decoder, is a new entry of `sample_sets`. Nothing else depends on their names, except that the Fréchet distances of
all sets are divided by that of `reference_normal`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, random_words, standard_normals, to_grey_levels
from vae_gen.internal.choice import Choice

from ..evaluation import NOISE_STREAM
from ..images.image_set import ImageSet

REAL_STREAM = 2**32 - 4
"""The stream of the seed contract's Philox that chooses the training images of the set `real`."""

AT_ONCE = 1024
"""How many images are reconstructed at a time: 32 blocks, so that the result is that of all at once."""

Made = tuple[NDArray[np.uint8], NDArray[np.int64] | None]
"""Pictures uint8 [n, 1, height, width], and the classes that they were made for, int64 [n], or None."""


@dataclass(frozen=True)
class SampleSet:
    """A set of pictures, which is a row of the tables of the report."""

    name: str
    """its key in the JSON, and part of the names of its picture files"""
    title: str
    """its name in the report"""
    make: Callable[[int], Made]
    """makes the pictures of a seed"""
    random: bool = True
    """whether another seed gives other pictures"""
    teaches: bool = False
    """whether the classification accuracy score is measured on it; never true for a set made from test images"""
    from_training_images: bool = False
    """whether the pictures are training images, so that looking for the nearest training image makes no sense"""


def sample_sets(model: VAE, data: ImageSet, count: int, reference: VAE | None) -> list[SampleSet]:
    """The sets of a model with `count` pictures in each, and the N(0, I) samples of the reference model, if given."""
    images = data.test_images.numpy()[:count]
    labels = data.test_labels.numpy()[:count] if data.class_names else None

    def real(seed: int) -> Made:
        return _real(data, count, seed)

    def from_mean(_: int) -> Made:
        parts = [images[at : at + AT_ONCE] for at in range(0, len(images), AT_ONCE)]
        return np.concatenate([to_grey_levels(model.reconstruct(part, detail=False)) for part in parts]), labels

    def from_posterior(seed: int, detail: bool = False) -> Made:
        return _sampled_reconstructions(model, images, seed, detail), labels

    sets = [
        SampleSet("real", "real training images", real, teaches=True, from_training_images=True),
        SampleSet("reconstruction_mean", "reconstructions, posterior mean", from_mean, random=False),
        SampleSet("reconstruction_sampled", "reconstructions, posterior sample", from_posterior),
        *_prior_sets(model, count, detail=False),
    ]
    if model.manifest.detail is not None:
        sets += [
            SampleSet(
                "reconstruction_detail",
                "reconstructions, posterior sample, with details",
                lambda seed: from_posterior(seed, True),
            ),
            *_prior_sets(model, count, detail=True),
        ]
    if reference is not None:
        title = f"N(0, I) samples of {reference.manifest.name}"
        sets.append(
            SampleSet("reference_normal", title, lambda seed: _samples(reference, count, seed, Choice("normal")))
        )
    return sets


def _prior_sets(model: VAE, count: int, *, detail: bool) -> list[SampleSet]:
    """The samples of each prior of the model, and if it has classes, a set with as many pictures of each class."""
    key, words = ("_detail", ", with details") if detail else ("", "")
    normal, fitted = Choice("normal", detail=detail), Choice("fitted", detail=detail)
    sets = [SampleSet(f"normal{key}", f"N(0, I) samples{words}", lambda seed: _samples(model, count, seed, normal))]
    if not model.manifest.has_fitted_prior:
        return sets
    title = f"fitted prior samples{words}"
    sets.append(SampleSet(f"fitted{key}", title, lambda seed: _samples(model, count, seed, fitted)))
    classes = len(model.manifest.class_names)

    def labelled(seed: int) -> Made:
        choices = [Choice("fitted", label, detail=detail) for label in range(classes)]
        parts = [_samples(model, count // classes, seed, choice)[0] for choice in choices]
        return np.concatenate(parts), np.repeat(np.arange(classes), count // classes)

    if classes and count >= classes:
        title = f"fitted prior, {count // classes} of each label{words}"
        sets.append(SampleSet(f"labelled{key}", title, labelled, teaches=True))
    return sets


def _samples(model: VAE, count: int, seed: int, choice: Choice) -> Made:
    """Pictures 0 … count−1 of a seed, and the classes that the prior chose for them, if it has classes."""
    chunks = list(
        model.stream(count, seed, dtype="uint8", prior=choice.prior, label=choice.label, detail=choice.detail)
    )
    drawn = [chunk.labels for chunk in chunks if chunk.labels is not None]
    labels = np.concatenate(drawn) if drawn else None
    return np.concatenate([chunk.images for chunk in chunks]), None if labels is None or labels.min() < 0 else labels


def _real(data: ImageSet, count: int, seed: int) -> Made:
    """Different training images: the first ones in the order of a random 64-bit word that each image gets."""
    words = random_words(seed, 0, len(data.train_images), 1, REAL_STREAM)[:, 0].astype(np.uint64)  # [n, 4]
    chosen = np.argsort(words[:, 0] << np.uint64(32) | words[:, 1], kind="stable")[:count]
    return data.train_images.numpy()[chosen], data.train_labels.numpy()[chosen] if data.class_names else None


def _sampled_reconstructions(
    model: VAE, images: NDArray[np.uint8], seed: int, detail: bool
) -> NDArray[np.uint8]:
    """Each image decoded from one sample of its posterior. The detail stage, if it is used, does not get the class."""
    mean, log_variance = model.encode(images)
    noise = standard_normals(seed, 0, len(images), mean.shape[1], NOISE_STREAM)
    latents = mean + np.exp(np.float32(0.5) * log_variance) * noise
    own_noise = model.detail_noise(len(images), seed) if detail else None
    return to_grey_levels(model.decode(latents, noise=own_noise, detail=detail))
