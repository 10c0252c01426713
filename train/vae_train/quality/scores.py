"""The figures of one set of pictures: how two classifiers see it, and how near it is to the training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..evaluation import to_unit_range
from ..images.image_set import ImageSet
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
"""A classifier is sure of a picture if it gives some class a higher probability than this."""

NEIGHBOURS = 5
"""The k of precision, recall, density and coverage. Naeem et al. 2020 take 5, Kynkäänniemi et al. 2019 take 3."""

LOOKED_UP = 1000
"""The number of pictures of a set whose nearest training image is searched."""

CAS_CLASSIFIER = "residual"
"""The network that learns from samples for the classification accuracy score."""

Figures = dict[str, float | list[float]]


@dataclass(frozen=True, eq=False)
class Judge:
    """A classifier, with its features of the real pictures, which are computed once."""

    name: str
    network: Classifier
    test: Described
    """the features and probabilities of the test images"""
    test_radii: Tensor
    """float32 [test images], the squared radii of their balls, see `distances`"""
    train_features: NDArray[np.float32]
    """float32 [training images, features]"""

    @classmethod
    def load(cls, name: str, data: ImageSet) -> Judge:
        """The shipped classifier of this name, and its features of the data set."""
        network = load_classifier(name)
        test = describe(network, data.test_images.numpy())
        train_features = describe(network, data.train_images.numpy()).features
        return cls(name, network, test, squared_radii(test.features, NEIGHBOURS), train_features)


def judges(data: ImageSet) -> list[Judge]:
    """Both shipped classifiers."""
    return [Judge.load(name, data) for name in NETWORKS]


def figures_of(described: Described, labels: NDArray[np.int64] | None, judge: Judge) -> Figures:
    """The figures that compare a set of pictures with the test images, by one classifier.

    Args:
        described: the features and probabilities of the set by this classifier.
        labels: the class that each picture was made for, int64 [n], or None.
        judge: the classifier.
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
    """The share of the pictures of each label that a classifier gives this label, and the mean of these shares."""
    per_class = [float((found[labels == label] == label).mean()) for label in np.unique(labels)]
    return {"read_as_label": float(np.mean(per_class)), "read_as_label_per_class": per_class}


def classification_accuracy(
    images: NDArray[np.uint8], labels: NDArray[np.int64], data: ImageSet, seed: int, epochs: int
) -> float:
    """The classification accuracy score (CAS): the test accuracy of a classifier that learned from these pictures.

    Ravuri and Vinyals 2019 (arXiv:1905.10887) train a ResNet-50. Here it is the residual classifier with new weights,
    trained by its recipe with fewer epochs.
    """
    network = new_classifier(CAS_CLASSIFIER, seed)
    recipe = replace(RECIPES[CAS_CLASSIFIER], epochs=epochs, seed=seed)
    train_classifier(network, torch.from_numpy(images.copy()), torch.from_numpy(labels.copy()), recipe)
    return accuracy(network, data.test_images, data.test_labels)


@dataclass(frozen=True, eq=False)
class Lookup:
    """The nearest training image of each of n pictures, in one space."""

    distances: NDArray[np.float64]
    """float64 [n], the Euclidean distance to it"""
    indices: NDArray[np.int64]
    """int64 [n], its index among the training images"""


def nearest_training(images: NDArray[np.uint8], features: Sequence[NDArray[np.float32]], space: Space) -> list[Lookup]:
    """The nearest training image of each picture: in pixels first, then in the features of each classifier."""
    pixels = flat_pixels(images)
    found = [Lookup(*nearest(pixels, space.train_pixels))]
    found += [Lookup(*nearest(own, train)) for own, train in zip(features, space.train_features, strict=True)]
    return found


@dataclass(frozen=True, eq=False)
class Space:
    """The training images in pixels and in features, and the distances of test images to them."""

    names: list[str]
    """pixels, then the names of the classifiers"""
    train_pixels: NDArray[np.float32]
    """float32 [training images, pixels] in [0, 1]"""
    train_features: list[NDArray[np.float32]]
    """float32 [training images, features] by each classifier"""
    test_distances: list[NDArray[np.float64]]
    """float64 [looked up], the distances of the first test images to the nearest training image, in each space"""

    @classmethod
    def measure(cls, data: ImageSet, all_judges: Sequence[Judge]) -> Space:
        """The training images as these classifiers see them; the first test images are looked up among them."""
        features = [judge.train_features for judge in all_judges]
        space = cls(
            ["pixels", *(judge.name for judge in all_judges)], flat_pixels(data.train_images.numpy()), features, []
        )
        looked_up = [judge.test.features[:LOOKED_UP] for judge in all_judges]
        for lookup in nearest_training(data.test_images.numpy()[:LOOKED_UP], looked_up, space):
            space.test_distances.append(lookup.distances)
        return space


def memorised(lookups: Sequence[Lookup], space: Space) -> dict[str, Figures]:
    """Whether pictures are copies of training images: their distances to these, compared with those of test images.

    Test images were certainly not memorised. In each space, `median` and `test_median` are the median distances of the
    pictures and of the test images to the nearest training image. `closer` is the share of the pictures that are nearer
    to a training image than 99 % of the test images are. It is 0.01 for pictures like the test images, and much more
    for copies, but also for blurred pictures, which are near to everything.
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
    """The figures of several seeds as one dictionary: each number becomes its mean and its standard deviation.

    The deviation divides by n − 1, and is None for a single seed. A list becomes a list of means and one of deviations.
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
