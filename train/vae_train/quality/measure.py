"""The whole quality, once: a model and perhaps a reference in, figures as JSON values and pictures out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, UsageError, picture_grid

from ..data import FashionMnist
from ..evaluation import evaluate_onnx
from ..plots import latent_map, png
from .classifiers import NETWORKS, WEIGHTS, describe
from .latent_space import PATHS, path_length, posterior_map, traversal_smoothness
from .likelihood import measure_likelihood
from .sample_sets import SampleSet, sample_sets
from .scores import (
    CAS_EPOCHS,
    LOOKED_UP,
    NEIGHBOURS,
    SURE,
    Judge,
    Lookup,
    Space,
    classification_accuracy,
    figures_of,
    judges,
    memorised,
    nearest_training,
    spread,
)

PARTS = ("likelihood", "samples", "latent")

Note = Callable[[str], None]
"""Takes a line that says what is being done."""


@dataclass(frozen=True)
class QualitySettings:
    """What to measure, and how finely."""

    parts: tuple[str, ...] = PARTS
    samples: int = 10_000  # pictures in each set; fewer make the Fréchet distance larger
    seeds: int = 3  # 0 … seeds − 1, whose spread is reported where something is random
    iwae_k: int = 100  # draws an image; published figures take 5000
    iwae_images: int = 1000  # the first test images; 10 000 for a figure to publish
    cas_epochs: int = CAS_EPOCHS  # passes of the classifier that learns from samples

    def __post_init__(self) -> None:
        for part in self.parts:
            if part not in PARTS:
                raise UsageError(f"expected parts among {', '.join(PARTS)}, got {part}")
        for name, low in (("seeds", 1), ("iwae_k", 1), ("iwae_images", 1), ("cas_epochs", 1)):
            if getattr(self, name) < low:
                raise UsageError(f"expected {name} of at least {low}, got {getattr(self, name)}")
        if self.samples <= NEIGHBOURS:
            raise UsageError(f"expected more than {NEIGHBOURS} samples, got {self.samples}")


@dataclass
class Quality:
    """What was measured so far."""

    figures: dict[str, Any]
    """JSON values: a key for each part"""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """PNG files by name without ending"""


def measure_quality(
    model: VAE, data: FashionMnist, settings: QualitySettings, reference: VAE | None, note: Note
) -> Quality:
    """Measure `model`, with the figures of `reference` beside it.

    Raises:
        InputError: the data set is not what a model was trained on, or a classifier's file is missing.
    """
    quality = Quality({"settings": asdict(settings)})
    models = {"model": model} if reference is None else {"model": model, "reference": reference}
    if "likelihood" in settings.parts:
        quality.figures["likelihood"] = {}
        for role, one in models.items():
            note(f"likelihood of {one.manifest.name}: {settings.iwae_images} test images, k = {settings.iwae_k}")
            quality.figures["likelihood"][role] = {
                **evaluate_onnx(one, data.test_images.numpy()).to_json(),
                "iwae": measure_likelihood(one, data, settings.iwae_k, settings.iwae_images),
            }
    if "samples" in settings.parts or "latent" in settings.parts:
        note("real images, as the classifiers see them")
        all_judges = judges(data)
        quality.figures["classifiers"] = {
            name: json.loads((WEIGHTS / f"{name}.json").read_text("utf-8")) for name in NETWORKS
        }
    if "samples" in settings.parts:
        quality.figures["samples"] = _samples(quality, model, data, settings, reference, all_judges, note)
    if "latent" in settings.parts:
        quality.figures["latent"] = {}
        for role, one in models.items():
            note(f"latent space of {one.manifest.name}")
            quality.figures["latent"][role] = _latent(one, data, settings, all_judges)
        quality.pictures["latent-map"] = latent_map(*posterior_map(model, data), data.class_names)
        quality.pictures["traversals"] = traversals(model)
    return quality


def _samples(
    quality: Quality,
    model: VAE,
    data: FashionMnist,
    settings: QualitySettings,
    reference: VAE | None,
    all_judges: Sequence[Judge],
    note: Note,
) -> dict[str, Any]:
    """The figures of each sample set, and of the test images that they are compared with."""
    note("nearest training images of test images")
    space = Space.measure(data, all_judges)
    sets: dict[str, Any] = {}
    for sample_set in sample_sets(model, data, settings.samples, reference):
        runs = []
        for seed in range(settings.seeds if sample_set.random else 1):
            note(f"{sample_set.title}, seed {seed}")
            images, labels = sample_set.make(seed)
            figures, lookups = _one_run(sample_set, images, labels, data, settings, seed, all_judges, space)
            runs.append(figures)
            if seed == 0:
                quality.pictures[f"samples-{sample_set.name}"] = grid(images)
                if lookups:
                    pairs = nearest_pairs(images, lookups[0], data.train_images.numpy())
                    quality.pictures[f"nearest-{sample_set.name}"] = pairs
        sets[sample_set.name] = {"title": sample_set.title, "runs": len(runs), **spread(runs)}
    _add_shares(sets)
    test = {
        judge.name: {
            "sure": float((judge.test.probabilities.max(1) > SURE).mean()),
            "accuracy": float((judge.test.probabilities.argmax(1) == data.test_labels.numpy()).mean()),
        }
        for judge in all_judges
    }
    return {
        "neighbours": NEIGHBOURS,
        "sure_above": SURE,
        "looked_up": LOOKED_UP,
        "class_names": list(data.class_names),
        "test_images": test,
        "sets": sets,
    }


def _one_run(
    sample_set: SampleSet,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    data: FashionMnist,
    settings: QualitySettings,
    seed: int,
    all_judges: Sequence[Judge],
    space: Space,
) -> tuple[dict[str, Any], list[Lookup]]:
    """The figures of one seed's pictures, and the nearest training images of the first of them."""
    described = [describe(judge.network, images) for judge in all_judges]
    figures: dict[str, Any] = {
        "classifiers": {
            judge.name: figures_of(own, labels, judge) for judge, own in zip(all_judges, described, strict=True)
        }
    }
    if labels is not None and sample_set.teaches:
        score = classification_accuracy(images, labels, data, seed, settings.cas_epochs)
        figures["classification_accuracy"] = score
    if sample_set.from_training_images:
        return figures, []
    lookups = nearest_training(images[:LOOKED_UP], [own.features[:LOOKED_UP] for own in described], space)
    figures["nearest_training"] = memorised(lookups, space)
    return figures, lookups


def _add_shares(sets: dict[str, Any]) -> None:
    """Each Fréchet distance as a share of that of the reference's N(0, I) samples, where there is a reference."""
    if "reference_normal" not in sets:
        return
    for name in NETWORKS:
        whole = sets["reference_normal"]["classifiers"][name]["frechet"]["mean"]
        for entry in sets.values():
            own = entry["classifiers"][name]
            own["frechet_share"] = own["frechet"]["mean"] / whole


def _latent(
    model: VAE, data: FashionMnist, settings: QualitySettings, all_judges: Sequence[Judge]
) -> dict[str, Any]:
    paths = min(PATHS, settings.samples)
    runs = [
        {judge.name: path_length(model, judge, seed, paths) for judge in all_judges} for seed in range(settings.seeds)
    ]
    return {"traversal": traversal_smoothness(model, data, all_judges), "path_length": spread(runs)}


SHOWN, COLUMNS = 500, 25
PAIRS = 25
TRAVERSAL_STEPS = 17

Pixels = NDArray[np.uint8]


def grid(images: Pixels) -> bytes:
    """The first 500 pictures, 25 in a row, in double size."""
    return png(picture_grid(images[:SHOWN], COLUMNS, scale=2))


def nearest_pairs(images: Pixels, lookup: Lookup, training: Pixels) -> bytes:
    """The 25 pictures that are nearest to a training image, each above that image, the nearest first.

    Args:
        images: uint8 [n, channels, height, width], those that were looked up first.
        lookup: of the first of them, in pixels.
        training: the training images.
    """
    order = np.argsort(lookup.distances, kind="stable")[:PAIRS]
    rows = [images[order], training[lookup.indices[order]]]
    return png(picture_grid(np.concatenate(rows), len(order), scale=2))


def traversals(model: VAE) -> bytes:
    """A row for each latent dimension, most KL first, from −2.5 to 2.5 with the others at 0."""
    return png(model.traverse(span=2.5, steps=TRAVERSAL_STEPS, detail=False).grid(scale=2))
