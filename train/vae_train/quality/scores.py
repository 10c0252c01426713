"""The figures of one set of pictures: how judges see it, and how near it is to the training images.

A judge is a network in whose features pictures are compared. Fashion-MNIST has two, the shipped classifiers; `own`
makes those of any other set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..evaluation import to_unit_range
from ..images.image_set import ImageSet
from .classifiers import (
    NETWORKS,
    RECIPES,
    WEIGHTS,
    Described,
    accuracy,
    describe,
    load_classifier,
    new_classifier,
    train_classifier,
)
from .distances import NUMBERS, frechet_distance, kernel_distance, manifold, nearest, squared_radii

SURE = 0.9
"""A judge is sure of a picture if it gives some class a higher probability than this."""

NEIGHBOURS = 5
"""The k of precision, recall, density and coverage. Naeem et al. 2020 take 5, Kynkäänniemi et al. 2019 take 3."""

LOOKED_UP = 1000
"""The number of pictures of a set whose nearest training image is searched, unless there are very many of these."""

LOOKUPS = 1000 * 60_000 * 784 * 2
"""The most products that such a search may take: twice those of Fashion-MNIST. So 200 000 colour pictures of 64 × 64
pixels take seconds, and not a minute."""

FEWEST_LOOKED_UP = 100
"""The number of pictures that are searched at least. With fewer test images there is no share `closer`."""

CAS_CLASSIFIER = "residual"
"""The network that learns from samples for the classification accuracy score."""

Figures = dict[str, float | list[float]]


@dataclass(frozen=True, eq=False)
class Judge:
    """A network that compares pictures, with its features of the real pictures, which are computed once."""

    name: str
    network: nn.Module
    """makes a `Prediction` of images: a classifier, or a network that only has features"""
    test: Described
    """the features and probabilities of the test images"""
    test_radii: Tensor
    """float32 [test images], the squared radii of their balls, see `distances`"""
    train_features: NDArray[np.float32]
    """float32 [training images, features]"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for the report: how the network was made, and its accuracy if it is a classifier"""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """the figures of `figures_of` that this judge can't give, and why"""

    @classmethod
    def load(cls, name: str, data: ImageSet) -> Judge:
        """The shipped classifier of this name, and its features of the data set."""
        facts = json.loads((WEIGHTS / f"{name}.json").read_text("utf-8"))
        return cls.of(name, load_classifier(name), data, facts)

    @classmethod
    def of(
        cls, name: str, network: nn.Module, data: ImageSet, facts: Mapping[str, Any],
        left_out: Mapping[str, str] | None = None,
    ) -> Judge:
        """A judge with this network, and its features of the data set."""
        test = describe(network, data.test_images[:].numpy())
        train_features = describe(network, data.train_images[:].numpy()).features
        radii = squared_radii(test.features, NEIGHBOURS)
        return cls(name, network, test, radii, train_features, facts, left_out or {})

    @property
    def classes(self) -> int:
        """The number of classes that the judge knows; 0 for one that only has features."""
        return int(self.test.probabilities.shape[1])


def judges(data: ImageSet) -> list[Judge]:
    """Both shipped classifiers."""
    return [Judge.load(name, data) for name in NETWORKS]


def figures_of(described: Described, labels: NDArray[np.int64] | None, judge: Judge) -> Figures:
    """The figures that compare a set of pictures with the test images, by one judge.

    Args:
        described: the features and probabilities of the set by this judge.
        labels: the class that each picture was made for, int64 [n], −1 for none; or None.
        judge: the judge.
    """
    shares = asdict(manifold(judge.test.features, described.features, NEIGHBOURS, judge.test_radii))
    figures: Figures = {
        "frechet": frechet_distance(judge.test.features, described.features),
        "kernel": kernel_distance(judge.test.features, described.features),
        **shares,
    }
    if judge.classes:
        found = described.probabilities.argmax(1)
        classes = np.bincount(found, minlength=judge.classes) / len(found)
        figures["sure"] = float((described.probabilities.max(1) > SURE).mean())
        figures |= {"classes": classes.tolist(), "rarest": float(classes.min())}
        if labels is not None and (labels >= 0).any():
            figures |= read_as_label(found[labels >= 0], labels[labels >= 0])
    return {name: figure for name, figure in figures.items() if name not in judge.left_out}


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
    return accuracy(network, data.test_images[:], data.test_labels)


@dataclass(frozen=True, eq=False)
class Lookup:
    """The nearest training image of each of n pictures, in one space."""

    distances: NDArray[np.float64]
    """float64 [n], the Euclidean distance to it"""
    indices: NDArray[np.int64]
    """int64 [n], its index among the training images"""


def nearest_training(images: NDArray[np.uint8], features: Sequence[NDArray[np.float32]], space: Space) -> list[Lookup]:
    """The nearest training image of each picture: in pixels first, then in the features of each judge."""
    pixels = flat_pixels(images)
    found = [Lookup(*nearest(pixels, space.train_pixels))]
    found += [Lookup(*nearest(own, train)) for own, train in zip(features, space.train_features, strict=True)]
    return found


@dataclass(frozen=True, eq=False)
class Space:
    """The training images in pixels and in features, and the distances of test images to them."""

    names: list[str]
    """pixels, then the names of the judges"""
    train_pixels: NDArray[np.float32] | NDArray[np.uint8]
    """[training images, pixels]: float32 in [0, 1], or grey levels if there are too many to convert"""
    train_features: list[NDArray[np.float32]]
    """float32 [training images, features] by each judge"""
    test_distances: list[NDArray[np.float64]]
    """float64 [looked up], the distances of the first test images to the nearest training image, in each space"""

    @classmethod
    def measure(cls, data: ImageSet, all_judges: Sequence[Judge]) -> Space:
        """The training images as these judges see them; the first test images are looked up among them."""
        features = [judge.train_features for judge in all_judges]
        train = data.train_images[:].numpy()
        pixels = flat_pixels(train) if train.size <= NUMBERS else train.reshape(len(train), -1)
        space = cls(["pixels", *(judge.name for judge in all_judges)], pixels, features, [])
        count = space.looked_up
        looked_up = [judge.test.features[:count] for judge in all_judges]
        for lookup in nearest_training(data.test_images.numpy()[:count], looked_up, space):
            space.test_distances.append(lookup.distances)
        return space

    @property
    def looked_up(self) -> int:
        """How many pictures of a set are looked up."""
        return int(np.clip(LOOKUPS // max(1, self.train_pixels.size), FEWEST_LOOKED_UP, LOOKED_UP))


def memorised(lookups: Sequence[Lookup], space: Space) -> dict[str, Figures]:
    """Whether pictures are copies of training images: their distances to these, compared with those of test images.

    Test images were certainly not memorised. In each space, `median` and `test_median` are the median distances of the
    pictures and of the test images to the nearest training image. `closer` is the share of the pictures that are nearer
    to a training image than 99 % of the test images are. It is 0.01 for pictures like the test images, and much more
    for copies, but also for blurred pictures, which are near to everything. With fewer than 100 test images, of which
    one hundredth is less than an image, it is left out.
    """
    result: dict[str, Figures] = {}
    for name, lookup, test in zip(space.names, lookups, space.test_distances, strict=True):
        result[name] = {
            "median": float(np.median(lookup.distances)),
            "test_median": float(np.median(test)),
        }
        if len(test) >= FEWEST_LOOKED_UP:
            result[name]["closer"] = float((lookup.distances < np.quantile(test, 0.01)).mean())
    return result


def flat_pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures as rows of pixels in [0, 1], float32 [n, pixels]."""
    return to_unit_range(images.reshape(len(images), -1))


def spread(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several seeds as one dictionary: each number becomes its mean and its standard deviation.

    The deviation divides by n − 1, and is None for a single seed. A list becomes a list of means and one of deviations.
    What not all seeds have is left out, as are lists of different lengths: a rare class may be in one sample only.
    """
    result: dict[str, Any] = {}
    for key, first in runs[0].items():
        values = [run[key] for run in runs if key in run]
        if len(values) < len(runs):
            continue
        if isinstance(first, dict):
            result[key] = spread(values)
        elif len({np.shape(value) for value in values}) == 1:
            numbers = np.array(values, np.float64)
            deviation = numbers.std(0, ddof=1).tolist() if len(runs) > 1 else None
            result[key] = {"mean": numbers.mean(0).tolist(), "deviation": deviation}
    return result
