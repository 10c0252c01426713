"""What two classifiers and the training images say of one set of pictures, as plain figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import FashionMnist
from ..evaluation import to_unit_range
from .classifiers import (
    CLASSES,
    NETWORKS,
    RECIPES,
    Classifier,
    Described,
    accuracy,
    describe,
    load_classifier,
    new_classifier,
    train_classifier,
)
from .distances import frechet_distance, kernel_distance, manifold, nearest, squared_radii

SURE = 0.9
"""A classifier is sure of a picture that it gives some class more than this."""

NEIGHBOURS = 5
"""k of precision, recall, density and coverage; Naeem et al. 2020 take 5, Kynkäänniemi et al. 2019 take 3."""

LOOKED_UP = 1000
"""Pictures of a set whose nearest training image is searched."""

CAS_CLASSIFIER = "residual"
CAS_EPOCHS = 8
"""Passes over the samples in the classification accuracy score; 10 000 pictures take 20 s on one core."""

Figures = dict[str, float | list[float]]


@dataclass(frozen=True, eq=False)
class Judge:
    """One classifier with what it says of the real pictures, computed once."""

    name: str
    network: Classifier
    test: Described
    """of the test images"""
    test_radii: Tensor
    """squared, float32 [test images], of their balls"""
    train_features: NDArray[np.float32]
    """float32 [training images, features]"""

    @classmethod
    def load(cls, name: str, data: FashionMnist) -> Judge:
        """The shipped classifier of this name, which has looked at the data set."""
        network = load_classifier(name)
        test = describe(network, data.test_images.numpy())
        train_features = describe(network, data.train_images.numpy()).features
        return cls(name, network, test, squared_radii(test.features, NEIGHBOURS), train_features)


def judges(data: FashionMnist) -> list[Judge]:
    """Both shipped classifiers."""
    return [Judge.load(name, data) for name in NETWORKS]


def figures_of(described: Described, labels: NDArray[np.int64] | None, judge: Judge) -> Figures:
    """How a set, as one judge sees it, compares with the test images.

    Args:
        described: the set's features and probabilities.
        labels: what each picture is meant to be, int64 [n]; None where there is no such thing.
        judge: the classifier that described it.
    """
    shares = asdict(manifold(judge.test.features, described.features, NEIGHBOURS, judge.test_radii))
    found = described.probabilities.argmax(1)
    classes = np.bincount(found, minlength=CLASSES) / len(found)
    figures: Figures = {
        "frechet": frechet_distance(judge.test.features, described.features),
        "kernel": kernel_distance(judge.test.features, described.features),
        **shares,
        "sure": float((described.probabilities.max(1) > SURE).mean()),
        "classes": classes.tolist(),
        "rarest": float(classes.min()),
    }
    if labels is not None:
        figures |= read_as_label(found, labels)
    return figures


def read_as_label(found: NDArray[np.int64], labels: NDArray[np.int64]) -> Figures:
    """Of the pictures of each label, the share that the classifier gives that label; and the mean over the labels."""
    per_class = [float((found[labels == label] == label).mean()) for label in np.unique(labels)]
    return {"read_as_label": float(np.mean(per_class)), "read_as_label_per_class": per_class}


def classification_accuracy(
    images: NDArray[np.uint8], labels: NDArray[np.int64], data: FashionMnist, seed: int, epochs: int = CAS_EPOCHS
) -> float:
    """The classification accuracy score of labelled pictures: trained on them alone, right on so many test images.

    Ravuri and Vinyals 2019 (arXiv:1905.10887), with a network of our own in the place of a ResNet-50: the residual
    classifier, new weights, and its recipe with fewer epochs.
    """
    network = new_classifier(CAS_CLASSIFIER, seed)
    recipe = replace(RECIPES[CAS_CLASSIFIER], epochs=epochs, seed=seed)
    train_classifier(network, torch.from_numpy(images.copy()), torch.from_numpy(labels.copy()), recipe)
    return accuracy(network, data.test_images, data.test_labels)


@dataclass(frozen=True, eq=False)
class Lookup:
    """The nearest training image of some pictures in one space."""

    distances: NDArray[np.float64]
    """float64 [n], Euclidean"""
    indices: NDArray[np.int64]
    """int64 [n], into the training images"""


def nearest_training(images: NDArray[np.uint8], features: Sequence[NDArray[np.float32]], space: Space) -> list[Lookup]:
    """The nearest training image of each picture, in pixels and then in each judge's features."""
    pixels = flat_pixels(images)
    found = [Lookup(*nearest(pixels, space.train_pixels))]
    found += [Lookup(*nearest(own, train)) for own, train in zip(features, space.train_features, strict=True)]
    return found


@dataclass(frozen=True, eq=False)
class Space:
    """The training images in pixels and features, and how far the test images are from them."""

    names: list[str]
    """pixels, then the judges"""
    train_pixels: NDArray[np.float32]
    """float32 [training images, pixels] in [0, 1]"""
    train_features: list[NDArray[np.float32]]
    test_distances: list[NDArray[np.float64]]
    """float64 [looked up], in each space"""

    @classmethod
    def measure(cls, data: FashionMnist, all_judges: Sequence[Judge]) -> Space:
        """The space of these judges; the first test images are looked up in it."""
        features = [judge.train_features for judge in all_judges]
        space = cls(
            ["pixels", *(judge.name for judge in all_judges)], flat_pixels(data.train_images.numpy()), features, []
        )
        looked_up = [judge.test.features[:LOOKED_UP] for judge in all_judges]
        for lookup in nearest_training(data.test_images.numpy()[:LOOKED_UP], looked_up, space):
            space.test_distances.append(lookup.distances)
        return space


def memorised(lookups: Sequence[Lookup], space: Space) -> dict[str, Figures]:
    """In each space, the median distance to the nearest training image, and of the test images; and a share.

    A test image was surely not memorised. `closer` is the share of pictures that are nearer to some training image
    than 99 % of the test images are: 0.01 for pictures like them, much more for copies, but also for blurred
    pictures, since those are near to everything.
    """
    result: dict[str, Figures] = {}
    for name, lookup, test in zip(space.names, lookups, space.test_distances, strict=True):
        result[name] = {
            "median": float(np.median(lookup.distances)),
            "test_median": float(np.median(test)),
            "closer": float((lookup.distances < np.quantile(test, 0.01)).mean()),
        }
    return result


def flat_pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures as rows of pixels in [0, 1], float32 [n, pixels]."""
    return to_unit_range(images.reshape(len(images), -1))


def spread(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The same figures of several seeds as one: each number becomes its mean and its standard deviation.

    The deviation is the sample's (n − 1), and None for a single run. Lists are taken number by number.
    """
    result: dict[str, Any] = {}
    for key, first in runs[0].items():
        values = [run[key] for run in runs]
        if isinstance(first, dict):
            result[key] = spread(values)
        else:
            numbers = np.array(values, np.float64)
            deviation = numbers.std(0, ddof=1).tolist() if len(runs) > 1 else None
            result[key] = {"mean": numbers.mean(0).tolist(), "deviation": deviation}
    return result
