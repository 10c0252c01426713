"""Judges of any image set, for which no classifier was shipped.

- `patches` compares pictures of every set, with labels or without: how much each place of a picture looks like each of
  some small pieces of the training images. Nothing is downloaded and nothing is trained; the pieces are drawn at random
  (Coates, Lee, Ng 2011, "An analysis of single-layer networks in unsupervised feature learning", whose features with
  random pieces are nearly as good as with learned ones). docs/quality.md compares these features with others.
- `labels` is a classifier of the set's own classes, trained in at most a minute on two cores. Its weights are kept in
  the user's cache.

What a set is too small for, or has no labels for, is left out, and named with its reason.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vae_gen import OutputError
from vae_gen.internal.files import write_file

from ..images.cache import cache_root
from ..images.image_set import ImageSet
from ..images.report import random_rows
from ..layers import seeded
from .classifiers import Prediction, Recipe, ResidualClassifier, accuracy, train_classifier
from .scores import Judge

PATCHES, LABELS = "patches", "labels"
"""The names of the two judges."""

SEEN = "what a classifier sees in the samples (sure, rarest, read as label)"

FEWEST_TEST = 50
"""With fewer test images than this no set of pictures is compared with them."""

IMAGES_PER_FEATURE = 2
"""The Fréchet distance needs this many test images for each feature: else its covariance is mostly noise."""

PIECES, FEATURES = 128, 64
"""How many pieces there are, and how many principal components of their places are kept as features."""

FITTED_IMAGES, FITTED_PIECES = 4000, 40_000
"""How many training images the components are found from, and how many pieces the whitening."""

PIECE_SEED = 3
"""Chooses the images, and the pieces of them."""

LARGEST_SIDE = 64
"""The classifier sees larger pictures reduced to at most this many pixels a side, which shows classes well enough."""

FEWEST_LABELLED = 100
"""With fewer labelled training images than this no classifier is trained."""

SHOWN_PIXELS = 80_000_000
"""How many pixels the classifier is shown while it learns, which takes at most a minute on two cores."""

EPOCHS, SHOWN_IMAGES, FEWEST_EPOCHS = 16, 20_000, 2
"""The classifier sees all images this often, and this many images at least, unless that is too many pixels."""

JUDGE_VERSION = 1
"""Goes up when the same data would give another classifier."""

Note = Callable[[str], None]


class Patches(nn.Module):
    """Features of images of any size: how much each ninth of the picture looks like each of some small pieces.

    A place looks like a piece if their pixels agree after the mean is taken out, the contrast is made equal, and the
    correlations that all pieces share are taken out (whitening). Agreement and opposition above a threshold are
    averaged over each ninth of the picture, and principal components of all this are the features.
    """

    CONTRAST = 0.04
    """Added to the deviation of a piece, so that noise on a plain ground is not taken for structure."""
    WHITENING = 0.1
    """Added to the variances that are made equal, for the same reason."""
    THRESHOLD = 0.25
    GRID = 3
    AT_ONCE = 16
    """Images whose responses are computed at a time, because those of 500 take hundreds of megabytes."""

    def __init__(self, images: NDArray[np.uint8], seed: int = PIECE_SEED) -> None:
        """Draws the pieces.

        Args:
            images: uint8 [n, channels, height, width], in random order.
            seed: chooses the pieces.
        """
        super().__init__()
        side = min(images.shape[2:])
        self.size = 6 if side >= 16 else 4
        self.stride = max(1, max(images.shape[2:]) // 14)
        generator = torch.Generator().manual_seed(seed)
        pieces = self._pieces(images[:FITTED_IMAGES], generator)
        pieces = pieces - pieces.mean(1, keepdim=True)
        pieces = pieces / (pieces.std(1, correction=0, keepdim=True) + self.CONTRAST)
        centre = pieces.mean(0)
        variances, axes = torch.linalg.eigh(torch.cov((pieces - centre).T))
        whitening = axes @ torch.diag((variances.clamp(min=0) + self.WHITENING).rsqrt()) @ axes.T
        whitened = (pieces - centre) @ whitening
        lengths = whitened.norm(dim=1)
        full = torch.nonzero(lengths >= lengths.median()).flatten()  # pieces with something in them
        chosen = whitened[full[torch.randperm(len(full), generator=generator)[:PIECES]]]
        kernel = whitening @ (chosen / chosen.norm(dim=1, keepdim=True).clamp(min=1e-6)).T  # [numbers, pieces]
        self.offset = centre @ kernel  # [pieces]
        kernel = kernel - kernel.mean(0)  # so that the mean of a place doesn't count
        self.kernel = kernel.T.reshape(-1, images.shape[1], self.size, self.size)
        self.components: Tensor | None = None
        responses = self(torch.from_numpy(np.array(images[:FITTED_IMAGES])).float() / 255).features
        self.mean = responses.mean(0)
        with seeded(seed):
            _, _, components = torch.pca_lowrank(responses, min(FEATURES, *responses.shape), niter=3)
        self.components = components  # [responses, features]

    def _pieces(self, images: NDArray[np.uint8], generator: torch.Generator) -> Tensor:
        """Pieces from random places, float32 [pieces, numbers]."""
        height, width = images.shape[2:]
        which = torch.randint(len(images), (FITTED_PIECES,), generator=generator).numpy()
        top = torch.randint(height - self.size + 1, (FITTED_PIECES, 1, 1), generator=generator).numpy()
        left = torch.randint(width - self.size + 1, (FITTED_PIECES, 1, 1), generator=generator).numpy()
        within = np.arange(self.size)
        pieces = images[which[:, None, None], :, top + within[:, None], left + within]  # [pieces, size, size, channels]
        flat = np.ascontiguousarray(pieces.transpose(0, 3, 1, 2)).reshape(FITTED_PIECES, -1)
        return torch.from_numpy(flat).float() / 255

    def forward(self, image: Tensor) -> Prediction:
        """Features [batch, 64] of images [batch, channels, height, width] in [0, 1], and no logits."""
        responses = torch.cat([self._responses(part) for part in torch.split(image, self.AT_ONCE)])
        features = responses if self.components is None else (responses - self.mean) @ self.components
        return Prediction(features, features[:, :0])

    def _responses(self, image: Tensor) -> Tensor:
        """How much each ninth is like each piece and unlike it, [batch, 2 · pieces · 9]."""
        grey, squares = image.mean(1, keepdim=True), image.square().mean(1, keepdim=True)
        mean, square = (F.avg_pool2d(values, self.size, self.stride) for values in (grey, squares))
        contrast = (square - mean.square()).clamp(min=0).sqrt() + self.CONTRAST
        alike = F.conv2d(image, self.kernel, stride=self.stride) / contrast - self.offset[:, None, None]
        both = torch.cat([F.relu(alike - self.THRESHOLD), F.relu(-alike - self.THRESHOLD)], 1)
        return F.adaptive_avg_pool2d(both, self.GRID).flatten(1)


class OwnClassifier(ResidualClassifier):
    """The residual classifier for images of any size, which are reduced first if they are large."""

    def __init__(self, shape: tuple[int, int, int], classes: int, mean: float, deviation: float) -> None:
        super().__init__(shape[0], classes, mean, deviation)
        self.reduced_by = -(-max(shape[1:]) // LARGEST_SIDE)

    def forward(self, image: Tensor) -> Prediction:
        """Features [batch, 96] and logits [batch, classes] of images [batch, channels, height, width] in [0, 1]."""
        return super().forward(F.avg_pool2d(image, self.reduced_by) if self.reduced_by > 1 else image)


def own_judges(data: ImageSet, note: Note) -> tuple[list[Judge], dict[str, str]]:
    """The judges of an image set, and what is left out because of the set: figures with their reasons.

    Args:
        data: any image set.
        note: receives a line about work that takes seconds.
    """
    tests = len(data.test_images)
    if tests < FEWEST_TEST:
        reason = f"the set has {tests} test images, and fewer than {FEWEST_TEST} say little"
        return [], {"comparisons with the test images": reason}
    note("features of random pieces of the training images")
    rows = np.sort(random_rows(len(data.train_images), PIECE_SEED)[:FITTED_IMAGES])
    patches = Patches(data.train_images.numpy()[rows])
    found = [_judge(PATCHES, patches, data, {"features": FEATURES, "pieces": PIECES})]
    left_out: dict[str, str] = {}
    if (refused := why_no_classifier(data)) is not None:
        left_out[SEEN] = refused
    else:
        classifier, facts = own_classifier(data, note)
        guessed = facts["most_frequent"]
        if facts["test_accuracy"] > guessed + 2 * math.sqrt(guessed * (1 - guessed) / facts["test_images"]):
            found.append(_judge(LABELS, classifier, data, facts))
        else:
            left_out[SEEN] = (
                f"a classifier that learned from the labels recognises {facts['test_accuracy']:.1%} of the test "
                f"images, not clearly more than always guessing the most frequent class would, {guessed:.1%}"
            )
    for judge in found:
        left_out |= {f"{figure}, in the features of {judge.name}": reason for figure, reason in judge.left_out.items()}
    return found, left_out


def _judge(name: str, network: nn.Module, data: ImageSet, facts: Mapping[str, Any]) -> Judge:
    needed, tests = IMAGES_PER_FEATURE * int(facts["features"]), len(data.test_images)
    left_out = {}
    if tests < needed:
        left_out["frechet"] = f"it needs {needed} test images for {facts['features']} features, and the set has {tests}"
    return Judge.of(name, network, data, facts, left_out)


def why_no_classifier(data: ImageSet) -> str | None:
    """Why a set has no classifier of its own, or None if it can have one."""
    labels = data.train_labels.numpy()
    labelled, tested = int((labels >= 0).sum()), int((data.test_labels >= 0).sum())
    if not data.class_names:
        return "the set has no labels"
    if len(np.unique(labels[labels >= 0])) < 2:
        return "the set has a single class"
    if labelled < FEWEST_LABELLED or tested < FEWEST_TEST:
        return (
            f"the set has {labelled} labelled training images and {tested} labelled test images, "
            f"and a classifier needs {FEWEST_LABELLED} and {FEWEST_TEST}"
        )
    return None


def own_classifier(data: ImageSet, note: Note) -> tuple[OwnClassifier, dict[str, Any]]:
    """A classifier of the set's own classes, from the cache if it is there, and facts about it.

    Returns:
        The classifier in evaluation mode, and its facts: `test_accuracy` is its accuracy on the test images, which it
        never saw, and `most_frequent` the accuracy of always guessing the most frequent class.
    """
    rows = np.flatnonzero(data.train_labels.numpy() >= 0)
    pixels = math.prod(data.shape[1:])
    rows = np.sort(rows[random_rows(len(rows), PIECE_SEED)[: SHOWN_PIXELS // (FEWEST_EPOCHS * pixels)]])
    recipe = own_recipe(len(rows), data.shape)
    images = data.train_images[rows]
    unit = images[:FITTED_IMAGES].float() / 255
    mean, deviation = float(unit.mean()), max(0.05, float(unit.std()))
    with seeded(recipe.seed):
        network = OwnClassifier(data.shape, len(data.class_names), mean, deviation)
    described = {
        "version": JUDGE_VERSION, "data_sha256": data.sha256, "shape": list(data.shape),
        "class_names": list(data.class_names), "recipe": asdict(recipe), "train_images": len(rows),
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:24]
    path = cache_root() / "judges" / f"{key}.safetensors"
    if (facts := _from_cache(path, network)) is None:
        note(f"training a classifier of {len(data.class_names)} classes: {recipe.epochs} epochs of {len(rows)} images")
        network.to(memory_format=torch.channels_last)
        train_classifier(network, images, data.train_labels[rows], recipe)
        network.to(memory_format=torch.contiguous_format)  # as a cached one, so that the features are the same
        tested = data.test_labels >= 0
        test_labels = data.test_labels[tested]
        facts = {
            **described,
            "features": network.features,
            "test_images": len(test_labels),
            "test_accuracy": accuracy(network, data.test_images[tested], test_labels),
            "most_frequent": float(torch.bincount(test_labels).max()) / len(test_labels),
        }
        _to_cache(path, network, facts, note)
    return network.eval(), facts


def own_recipe(images: int, shape: tuple[int, int, int]) -> Recipe:
    """How a classifier of this many images of one shape is trained.

    Images are not mirrored, because digits and text must not be. What moves in is a copy of the edge, because grounds
    have any colour.
    """
    _, height, width = shape
    wanted = max(EPOCHS, -(-SHOWN_IMAGES // images))
    epochs = int(np.clip(SHOWN_PIXELS // (images * height * width), FEWEST_EPOCHS, wanted))
    batch, shift = 128 if images >= 5000 else 32, 2 if min(height, width) >= 24 else 1
    return Recipe(epochs, 4e-3, shift, batch, flip=False, border="replicate")


def _from_cache(path: Path, network: nn.Module) -> dict[str, Any] | None:
    """Loads the weights of a cached classifier and returns its facts; None if there is no whole file."""
    try:
        with safe_open(path, "pt") as file:
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError):
        return None
    return facts


def _to_cache(path: Path, network: nn.Module, facts: Mapping[str, Any], note: Note) -> None:
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, save(state, {"facts": json.dumps(facts)}))
    except (OSError, OutputError) as error:
        note(f"the classifier can't be kept in the cache, and is trained again next time: {error}")
