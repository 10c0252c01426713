"""Measures everything that `vae-eval --quality` reports: figures as JSON values, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae_gen import VAE, InputError, Manifest, UsageError, picture_grid

from ..config import QualitySettings
from ..data import NAME
from ..evaluation import evaluate_onnx, psnr_db, to_unit_range
from ..images.image_set import ImageSet
from ..images.loading import data_name
from ..plots import latent_map, png
from .classifiers import describe
from .latent_space import PATHS, path_length, posterior_map, traversal_smoothness
from .likelihood import measure_bound, measure_likelihood
from .own import own_judges
from .sample_sets import SampleSet, sample_sets
from .scores import (
    FEWEST_LOOKED_UP,
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

    Fashion-MNIST has shipped classifiers, and figures that other work publishes. For other sets there are judges of
    their own, and `left_out` has the name of each figure that is missing with the reason.

    Raises:
        InputError: a model was not trained on this data set, or the file of a classifier is missing.
        UsageError: the reference model makes pictures of another shape.
    """
    own_set, whole = not for_shipped_judges(model.manifest), data
    data = data.in_memory()
    if len(data.train_images) < len(whole.train_images):
        note(f"comparing with {len(data.train_images)} training images, chosen at random, which memory can hold")
    if own_set:
        _check_classes(model.manifest, data)
    if reference is not None and reference.manifest.image.shape != model.manifest.image.shape:
        raise UsageError(
            f"expected a reference model for pictures of shape {list(model.manifest.image.shape)}, "
            f"got {reference.manifest.name} for {list(reference.manifest.image.shape)}; leave --reference out"
        )
    quality = Quality({"settings": settings.to_json()})
    left_out: dict[str, str] = {}
    models = {"model": model} if reference is None else {"model": model, "reference": reference}
    if "likelihood" in settings.parts:
        quality.figures["likelihood"] = {}
        for role, one in models.items():
            note(f"likelihood of {one.manifest.name}: {settings.iwae_images} test images, k = {settings.iwae_k}")
            quality.figures["likelihood"][role] = _measure_likelihood(one, data, settings, own_set)
        if own_set:
            quality.figures["mean_image_psnr_db"] = mean_image_psnr(data)
            left_out["bounds of binarised images, and published values"] = "they exist for Fashion-MNIST alone"
    if set(settings.parts) != {"likelihood"}:
        note("features of the real images")
        all_judges, missing = own_judges(data, note) if own_set else (judges(data), {})
        left_out |= missing
        quality.figures["classifiers"] = {judge.name: dict(judge.facts) for judge in all_judges}
    if "samples" in settings.parts:
        sets = sample_sets(model, data, settings.samples, reference)
        if own_set:
            sets = [replace(one, teaches=False) for one in sets]
            left_out |= _left_out_of_samples(model, data, settings.samples, reference)
        quality.figures["samples"] = _measure_samples(sets, data, settings, all_judges, quality.pictures, note)
    if "latent" in settings.parts:
        quality.figures["latent"] = {}
        for role, one in models.items():
            note(f"latent space of {one.manifest.name}")
            quality.figures["latent"][role] = _measure_latent_space(one, data, settings, all_judges)
        quality.pictures["latent-map"] = latent_map(*posterior_map(model, data), data.class_names)
        traversals = model.traverse(around="centre", span=2.5, steps=TRAVERSAL_STEPS, detail=False)
        quality.pictures["traversals"] = png(traversals.grid(scale=2))
    if left_out:
        quality.figures["left_out"] = left_out
    return quality


def for_shipped_judges(manifest: Manifest) -> bool:
    """Whether a model makes pictures that the shipped classifiers can judge: those of Fashion-MNIST as it is."""
    return data_name(manifest.document) == NAME and manifest.image.shape == (1, 28, 28)


def _check_classes(manifest: Manifest, data: ImageSet) -> None:
    """Refuses images with other classes than the model has."""
    if manifest.class_names and data.class_names and manifest.class_names != data.class_names:
        raise InputError(
            f"expected images with the classes of the model, {_few(manifest.class_names)}, "
            f"got {_few(data.class_names)}; name the images that the model was trained on with --data"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def mean_image_psnr(data: ImageSet) -> float:
    """The PSNR of the mean training image as the reconstruction of every test image, in decibels.

    It is what a model reaches that has learned nothing about single images.
    """
    total = sum(part.numpy().sum(0, dtype=np.float64) for part in torch.split(data.train_images[:], 1000))
    mean = total / len(data.train_images) / 255
    squares = sum(((to_unit_range(part.numpy()) - mean) ** 2).sum() for part in torch.split(data.test_images[:], 1000))
    return psnr_db(float(squares) / data.test_images.numel())


def _measure_likelihood(model: VAE, data: ImageSet, settings: QualitySettings, own_set: bool) -> dict[str, Any]:
    """The figures of all test images with one latent each, and the importance-weighted bounds of the first ones."""
    figures = evaluate_onnx(model, data.test_images.numpy())
    if own_set:
        bounds = measure_bound(model, data, settings.iwae_k, settings.iwae_images, figures.pixel_variance)
    else:
        bounds = measure_likelihood(model, data, settings.iwae_k, settings.iwae_images)
    return {**figures.to_json(), "iwae": bounds}


def _left_out_of_samples(model: VAE, data: ImageSet, samples: int, reference: VAE | None) -> dict[str, str]:
    """The figures of samples that an image set of one's own does not get, with the reasons."""
    left_out = {"the classification accuracy score": "it would train a classifier for each set of pictures and seed"}
    classes = len(model.manifest.class_names)
    if not classes:
        left_out["samples of each label"] = "the model has no classes"
    elif not model.manifest.has_fitted_prior:
        left_out["samples of each label"] = "the model has no fitted prior"
    elif samples < classes:
        left_out["samples of each label"] = f"there are {classes} classes and {samples} pictures; --samples takes more"
    if reference is None:
        left_out["shares of a reference model's Fréchet distance"] = "no model was named with --reference"
    if len(data.test_images) < FEWEST_LOOKED_UP:
        left_out["pictures nearer to a training image than 99 % of the test images"] = (
            f"there are {len(data.test_images)} test images, and one hundredth of them is less than an image"
        )
    return left_out


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
            looked_up = [own.features[: space.looked_up] for own in described]
            lookups = nearest_training(images[: space.looked_up], looked_up, space)
            figures["nearest_training"] = memorised(lookups, space)
            if seed == 0:
                pairs = nearest_pairs(images, lookups[0], data.train_images[:].numpy())
                pictures[f"nearest-{sample_set.name}"] = png(pairs)
        return figures

    found: dict[str, Any] = {}
    for sample_set in sets:
        runs = [measured(sample_set, seed) for seed in range(settings.seeds if sample_set.random else 1)]
        found[sample_set.name] = {"title": sample_set.title, "runs": len(runs), **spread(runs)}
    _add_shares(found, all_judges)
    tested = data.test_labels.numpy() >= 0
    test = {
        judge.name: {
            "sure": float((judge.test.probabilities.max(1) > SURE).mean()),
            "accuracy": float((judge.test.probabilities.argmax(1) == data.test_labels.numpy())[tested].mean()),
        }
        for judge in all_judges if judge.classes
    }
    return {
        "neighbours": NEIGHBOURS,
        "sure_above": SURE,
        "looked_up": space.looked_up,
        "class_names": list(data.class_names),
        "test_images": test,
        "sets": found,
    }


def _add_shares(sets: dict[str, Any], all_judges: Sequence[Judge]) -> None:
    """Add each Fréchet distance as a share of that of the reference model's N(0, I) samples, if these were measured."""
    if "reference_normal" not in sets:
        return
    for judge in all_judges:
        if "frechet" in judge.left_out:
            continue
        whole = sets["reference_normal"]["classifiers"][judge.name]["frechet"]["mean"]
        for entry in sets.values():
            own = entry["classifiers"][judge.name]
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
