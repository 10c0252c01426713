"""What is measured: sets of pictures, each by name, made from a seed.

All pictures are grey levels, uint8, as files hold them. A new kind of sample (another prior, another stage after the
decoder) is a new entry of `sample_sets`; nothing else in the bench names them but for `reference_normal`, whose
Fréchet distance the others are measured by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, random_words, standard_normals, to_grey_levels
from vae_gen.internal.choice import Choice

from ..data import FashionMnist
from ..evaluation import NOISE_STREAM

DRAW_STREAM = 2**32 - 4
"""The stream of the seed contract's Philox that draws which training images stand for real pictures."""

Made = tuple[NDArray[np.uint8], NDArray[np.int64] | None]
"""Pictures uint8 [n, 1, height, width], and the label that each is meant to have, int64 [n], where there is one."""


@dataclass(frozen=True)
class SampleSet:
    """One row of the table: how its pictures are made, and what may be said of them."""

    name: str
    """its key in the JSON, and the name of its picture"""
    title: str
    make: Callable[[int], Made]
    """the pictures of a seed"""
    random: bool = True
    """whether another seed gives other pictures"""
    teaches: bool = False
    """whether a classifier learns from it for the classification accuracy score; never where made from test images"""
    from_training_images: bool = False
    """training images themselves, so that the nearest training image says nothing"""


def sample_sets(model: VAE, data: FashionMnist, count: int, reference: VAE | None) -> list[SampleSet]:
    """The sets of a model, `count` pictures in each, and the reference model's N(0, I) samples where there is one."""
    images, labels = data.test_images.numpy()[:count], data.test_labels.numpy()[:count]

    def real(seed: int) -> Made:
        return _real(data, count, seed)

    def from_mean(_: int) -> Made:
        return to_grey_levels(model.reconstruct(images, detail=False)), labels

    def from_posterior(seed: int, detail: bool = False) -> Made:
        return _sampled_reconstructions(model, images, seed, detail), labels

    sets = [
        SampleSet("real", "real training images", real, teaches=True, from_training_images=True),
        SampleSet("reconstruction_mean", "reconstructions, posterior mean", from_mean, random=False),
        SampleSet("reconstruction_sampled", "reconstructions, posterior sample", from_posterior),
        *_drawn_sets(model, count, detail=False),
    ]
    if model.manifest.detail is not None:
        sets += [
            SampleSet(
                "reconstruction_detail",
                "reconstructions, posterior sample, with details",
                lambda seed: from_posterior(seed, True),
            ),
            *_drawn_sets(model, count, detail=True),
        ]
    if reference is not None:
        title = f"N(0, I) samples of {reference.manifest.name}"
        sets.append(
            SampleSet("reference_normal", title, lambda seed: _samples(reference, count, seed, Choice("normal")))
        )
    return sets


def _drawn_sets(model: VAE, count: int, *, detail: bool) -> list[SampleSet]:
    """Samples of each prior that the model has, and, where it has classes, as many of each label."""
    key, words = ("_detail", ", with details") if detail else ("", "")
    normal, fitted = Choice("normal", detail=detail), Choice("fitted", detail=detail)
    sets = [SampleSet(f"normal{key}", f"N(0, I) samples{words}", lambda seed: _samples(model, count, seed, normal))]
    if not model.manifest.has_fitted_prior:
        return sets
    title = f"fitted prior samples{words}"
    sets.append(SampleSet(f"fitted{key}", title, lambda seed: _samples(model, count, seed, fitted)))
    classes = len(model.manifest.class_names)

    def labelled(seed: int) -> Made:
        draws = [Choice("fitted", label, detail=detail) for label in range(classes)]
        parts = [_samples(model, count // classes, seed, draw)[0] for draw in draws]
        return np.concatenate(parts), np.repeat(np.arange(classes), count // classes)

    if classes and count >= classes:
        title = f"fitted prior, {count // classes} of each label{words}"
        sets.append(SampleSet(f"labelled{key}", title, labelled, teaches=True))
    return sets


def _samples(model: VAE, count: int, seed: int, draw: Choice) -> Made:
    """Pictures 0 … count−1 of a seed, and the classes that the prior drew, where it has any."""
    chunks = list(
        model.stream(count, seed, dtype="uint8", prior=draw.prior, label=draw.label, detail=draw.detail)
    )
    drawn = [chunk.labels for chunk in chunks if chunk.labels is not None]
    labels = np.concatenate(drawn) if drawn else None
    return np.concatenate([chunk.images for chunk in chunks]), None if labels is None or labels.min() < 0 else labels


def _real(data: FashionMnist, count: int, seed: int) -> Made:
    """Training images without repetition: those that come first when each draws a 64-bit word."""
    words = random_words(seed, 0, len(data.train_images), 1, DRAW_STREAM)[:, 0].astype(np.uint64)  # [n, 4]
    chosen = np.argsort(words[:, 0] << np.uint64(32) | words[:, 1], kind="stable")[:count]
    return data.train_images.numpy()[chosen], data.train_labels.numpy()[chosen]


def _sampled_reconstructions(
    model: VAE, images: NDArray[np.uint8], seed: int, detail: bool
) -> NDArray[np.uint8]:
    """Each image decoded from one draw of its posterior, its class not being told to the detail stage."""
    mean, log_variance = model.encode(images)
    noise = standard_normals(seed, 0, len(images), mean.shape[1], NOISE_STREAM)
    latents = mean + np.exp(np.float32(0.5) * log_variance) * noise
    own_noise = model.detail_noise(len(images), seed) if detail else None
    return to_grey_levels(model.decode(latents, noise=own_noise, detail=detail))
