"""Measures everything that `vae-eval --quality` reports: figures as JSON values, and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, picture_grid

from ..config import QualitySettings
from ..evaluation import evaluate_onnx
from ..images.image_set import ImageSet
from ..plots import latent_map, png
from .classifiers import NETWORKS, WEIGHTS, describe
from .latent_space import PATHS, path_length, posterior_map, traversal_smoothness
from .likelihood import measure_likelihood
from .sample_sets import SampleSet, sample_sets
from .scores import (
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

SHOWN_PICTURES, SHOWN_COLUMNS = 500, 25
"""How many pictures of a set a grid shows, and how many of them in a row."""

SHOWN_PAIRS = 25
"""How many pictures are shown above their nearest training image."""

TRAVERSAL_STEPS = 17

Pixels = NDArray[np.uint8]

Note = Callable[[str], None]
"""Receives a line that names the work which begins."""


@dataclass
class Quality:
    """The measured quality of a model."""

    figures: dict[str, Any]
    """JSON values, with a key for each part"""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """the contents of PNG files by their names without the ending"""


def measure_quality(
    model: VAE, data: ImageSet, settings: QualitySettings, reference: VAE | None, note: Note
) -> Quality:
    """Measure the quality of a model, and the parts that allow a comparison of a reference model too.

    Raises:
        InputError: a model was not trained on this data set, or the file of a classifier is missing.
    """
    quality = Quality({"settings": settings.to_json()})
    models = {"model": model} if reference is None else {"model": model, "reference": reference}
    if "likelihood" in settings.parts:
        quality.figures["likelihood"] = {}
        for role, one in models.items():
            note(f"likelihood of {one.manifest.name}: {settings.iwae_images} test images, k = {settings.iwae_k}")
            quality.figures["likelihood"][role] = {
                **evaluate_onnx(one, data.test_images.numpy()).to_json(),
                "iwae": measure_likelihood(one, data, settings.iwae_k, settings.iwae_images),
            }
    if set(settings.parts) == {"likelihood"}:
        return quality
    note("features of the real images")
    all_judges = judges(data)
    quality.figures["classifiers"] = {
        name: json.loads((WEIGHTS / f"{name}.json").read_text("utf-8")) for name in NETWORKS
    }
    if "samples" in settings.parts:
        sets = sample_sets(model, data, settings.samples, reference)
        quality.figures["samples"] = _measure_samples(sets, data, settings, all_judges, quality.pictures, note)
    if "latent" in settings.parts:
        quality.figures["latent"] = {}
        for role, one in models.items():
            note(f"latent space of {one.manifest.name}")
            quality.figures["latent"][role] = _measure_latent_space(one, data, settings, all_judges)
        quality.pictures["latent-map"] = latent_map(*posterior_map(model, data), data.class_names)
        traversals = model.traverse(span=2.5, steps=TRAVERSAL_STEPS, detail=False)
        quality.pictures["traversals"] = png(traversals.grid(scale=2))
    return quality


def _measure_samples(
    sets: Sequence[SampleSet],
    data: ImageSet,
    settings: QualitySettings,
    all_judges: Sequence[Judge],
    pictures: dict[str, bytes],
    note: Note,
) -> dict[str, Any]:
    """The figures of each sample set and of the test images. Adds the pictures of seed 0 to `pictures`."""
    note("nearest training images of test images")
    space = Space.measure(data, all_judges)

    def measured(sample_set: SampleSet, seed: int) -> dict[str, Any]:
        note(f"{sample_set.title}, seed {seed}")
        images, labels = sample_set.make(seed)
        described = [describe(judge.network, images) for judge in all_judges]
        of_judges = zip(all_judges, described, strict=True)
        figures: dict[str, Any] = {
            "classifiers": {judge.name: figures_of(own, labels, judge) for judge, own in of_judges}
        }
        if labels is not None and sample_set.teaches:
            score = classification_accuracy(images, labels, data, seed, settings.cas_epochs)
            figures["classification_accuracy"] = score
        if seed == 0:
            grid = picture_grid(images[:SHOWN_PICTURES], SHOWN_COLUMNS, scale=2)
            pictures[f"samples-{sample_set.name}"] = png(grid)
        if not sample_set.from_training_images:
            looked_up = [own.features[:LOOKED_UP] for own in described]
            lookups = nearest_training(images[:LOOKED_UP], looked_up, space)
            figures["nearest_training"] = memorised(lookups, space)
            if seed == 0:
                pairs = nearest_pairs(images, lookups[0], data.train_images.numpy())
                pictures[f"nearest-{sample_set.name}"] = png(pairs)
        return figures

    found: dict[str, Any] = {}
    for sample_set in sets:
        runs = [measured(sample_set, seed) for seed in range(settings.seeds if sample_set.random else 1)]
        found[sample_set.name] = {"title": sample_set.title, "runs": len(runs), **spread(runs)}
    _add_shares(found)
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
        "sets": found,
    }


def _add_shares(sets: dict[str, Any]) -> None:
    """Add each Fréchet distance as a share of that of the reference model's N(0, I) samples, if these were measured."""
    if "reference_normal" not in sets:
        return
    for name in NETWORKS:
        whole = sets["reference_normal"]["classifiers"][name]["frechet"]["mean"]
        for entry in sets.values():
            own = entry["classifiers"][name]
            own["frechet_share"] = own["frechet"]["mean"] / whole


def nearest_pairs(images: Pixels, lookup: Lookup, training: Pixels) -> Pixels:
    """A grid of the 25 pictures that are nearest to a training image, each above that image; the nearest come first.

    Args:
        images: uint8 [n, channels, height, width].
        lookup: the nearest training images of the first of them, in pixels.
        training: the training images, uint8 [m, channels, height, width].
    """
    order = np.argsort(lookup.distances, kind="stable")[:SHOWN_PAIRS]
    rows = [images[order], training[lookup.indices[order]]]
    return picture_grid(np.concatenate(rows), len(order), scale=2)


def _measure_latent_space(
    model: VAE, data: ImageSet, settings: QualitySettings, all_judges: Sequence[Judge]
) -> dict[str, Any]:
    paths = min(PATHS, settings.samples)
    runs = [
        {judge.name: path_length(model, judge, seed, paths) for judge in all_judges} for seed in range(settings.seeds)
    ]
    return {"traversal": traversal_smoothness(model, data, all_judges), "path_length": spread(runs)}
