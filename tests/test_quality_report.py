"""What is measured and how it is shown: the sets of pictures, the figures of all seeds together, and the page."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from tiny_model import DIMENSIONS, _weights, decode, decode_detail, tiny_prior
from tiny_training import tiny_data
from vae_gen import VAE, DetailSpec, random_words, standard_normals, to_grey_levels
from vae_gen.internal.latents import detail_noise
from vae_train.config import QualitySettings
from vae_train.evaluation import evaluate_onnx
from vae_train.images.image_set import ImageSet
from vae_train.quality import measure, scores
from vae_train.quality.classifiers import Prediction, describe
from vae_train.quality.distances import frechet_distance
from vae_train.quality.measure import measure_quality, nearest_pairs
from vae_train.quality.report import markdown
from vae_train.quality.sample_sets import SampleSet, sample_sets

Floats = NDArray[np.float32]

COUNT, SEED = 21, 5
SPEC = DetailSpec(5, 4.0, True)
DATA = tiny_data(height=28, width=28, train=40, test=30)
WEIGHTS, PRIOR = _weights(0), tiny_prior()


def labelled_data() -> ImageSet:
    return replace(DATA, train_labels=torch.arange(40) % 7, test_labels=torch.arange(30) % 10)


@pytest.fixture(scope="module")
def sets(detailed_model_folder: Path, other_model_folder: Path) -> dict[str, SampleSet]:
    made = sample_sets(VAE(detailed_model_folder), labelled_data(), COUNT, VAE(other_model_folder))
    return {one.name: one for one in made}


def same_pictures(found: NDArray[np.uint8], expected: Floats) -> None:
    levels = to_grey_levels(expected)
    assert found.dtype == np.uint8
    assert found.shape == levels.shape
    assert np.abs(found.astype(int) - levels).max() <= 1


def posterior(images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    return tuple(flat @ WEIGHTS[name] + WEIGHTS[f"{name}_bias"] for name in ("mean", "log_variance"))  # type: ignore[return-value]


def test_a_model_with_a_detail_stage_has_each_set_with_it_and_without(sets: dict[str, SampleSet]) -> None:
    plain = ["normal", "fitted", "labelled"]
    assert list(sets) == [
        "real", "reconstruction_mean", "reconstruction_sampled", *plain,
        "reconstruction_detail", *(f"{name}_detail" for name in plain), "reference_normal",
    ]  # fmt: skip
    assert [name for name, one in sets.items() if one.teaches] == ["real", "labelled", "labelled_detail"]
    assert [name for name, one in sets.items() if one.from_training_images] == ["real"]
    assert [name for name, one in sets.items() if not one.random] == ["reconstruction_mean"]
    for name, one in sets.items():
        assert ("with details" in one.title) == name.endswith("_detail")


def test_real_pictures_are_training_images_each_at_most_once_with_their_labels(sets: dict[str, SampleSet]) -> None:
    data = labelled_data()
    images, labels = sets["real"].make(SEED)
    words = random_words(SEED, 0, 40, 1, 2**32 - 4)[:, 0].astype(object)
    order = sorted(range(40), key=lambda at: (words[at, 0], words[at, 1]))[:COUNT]
    np.testing.assert_array_equal(images, data.train_images.numpy()[order])
    np.testing.assert_array_equal(labels, data.train_labels.numpy()[order])


@pytest.mark.parametrize("detail", [False, True])
def test_reconstructions_are_of_the_first_test_images(sets: dict[str, SampleSet], detail: bool) -> None:
    data = labelled_data()
    shown = data.test_images.numpy()[:COUNT]
    mean, log_variance = posterior(shown)
    noise = standard_normals(SEED, 0, COUNT, DIMENSIONS, 2**32 - 1)
    latents = mean + np.exp(log_variance / 2) * noise
    if detail:
        images, labels = sets["reconstruction_detail"].make(SEED)
        same_pictures(images, decode_detail(WEIGHTS, latents, detail_noise(SPEC, SEED, 0, COUNT)))
    else:
        images, labels = sets["reconstruction_sampled"].make(SEED)
        same_pictures(images, decode(WEIGHTS, latents))
        of_mean, its_labels = sets["reconstruction_mean"].make(SEED)
        same_pictures(of_mean, decode(WEIGHTS, mean))
        np.testing.assert_array_equal(labels, its_labels)
    np.testing.assert_array_equal(labels, data.test_labels.numpy()[:COUNT])


def made(latents: Floats, labels: NDArray[np.int64], detail: bool, count: int = COUNT) -> Floats:
    if not detail:
        return decode(WEIGHTS, latents)
    return decode_detail(WEIGHTS, latents, detail_noise(SPEC, SEED, 0, count, labels))


@pytest.mark.parametrize("detail", [False, True])
def test_samples_are_of_the_prior_they_are_named_after(sets: dict[str, SampleSet], detail: bool) -> None:
    key = "_detail" if detail else ""
    images, labels = sets[f"normal{key}"].make(SEED)
    same_pictures(images, made(standard_normals(SEED, 0, COUNT, DIMENSIONS), np.full(COUNT, -1), detail))
    assert labels is None
    images, labels = sets[f"fitted{key}"].make(SEED)
    latents, drawn = PRIOR.latents(SEED, 0, COUNT)
    same_pictures(images, made(latents, drawn, detail))
    np.testing.assert_array_equal(labels, drawn)
    images, labels = sets[f"labelled{key}"].make(SEED)
    each = COUNT // 2  # the tiny model has two classes
    expected = [made(PRIOR.latents(SEED, 0, each, label)[0], np.full(each, label), detail, each) for label in (0, 1)]
    same_pictures(images, np.concatenate(expected))
    assert labels is not None
    assert labels.tolist() == [0] * each + [1] * each


def test_the_reference_is_measured_on_its_own_normal_samples(sets: dict[str, SampleSet]) -> None:
    images, labels = sets["reference_normal"].make(SEED)
    same_pictures(images, decode(_weights(1), standard_normals(SEED, 0, COUNT, DIMENSIONS)))
    assert labels is None


def test_an_exported_model_is_evaluated_with_one_latent_an_image_and_its_mean_pictures(
    detailed_model_folder: Path,
) -> None:
    images = DATA.test_images.numpy()
    x = images.reshape(30, -1) / 255
    mean, log_variance = (part.astype(np.float64) for part in posterior(images))
    z = mean + np.exp(log_variance / 2) * standard_normals(0, 0, 30, DIMENSIONS, 2**32 - 1)
    p = np.clip(decode(WEIGHTS, z.astype(np.float32)).reshape(30, -1).astype(np.float64), 2**-24, 1 - 2**-24)
    cost = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1).mean()
    kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1)
    found = evaluate_onnx(VAE(detailed_model_folder), images)
    assert found.images == 30
    assert found.reconstruction == pytest.approx(cost, abs=0.01)
    assert found.kl_per_dimension == pytest.approx(kl.mean(0).tolist(), abs=1e-4)
    assert found.neg_elbo == pytest.approx(cost + kl.sum(1).mean(), abs=0.01)
    assert found.posterior_mean_variance == pytest.approx(mean.var(0).tolist(), rel=1e-3)


# All figures of a model


class FewPixels(nn.Module):
    """A classifier of some pixels, no two of which are alike in all pictures."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, image: Tensor) -> Prediction:
        flat = image.flatten(1)
        return Prediction(flat[:, self.first :: 97], 9 * flat[:, self.first + 29 :: 60][:, :10])


NETWORKS = {"residual": FewPixels(0), "plain": FewPixels(3)}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classifiers of a few pixels, and a score that tells which seed it was made with."""
    monkeypatch.setattr(scores, "load_classifier", NETWORKS.__getitem__)

    def score(images: object, labels: object, data: object, seed: int, epochs: int) -> float:
        return seed + epochs / 8

    monkeypatch.setattr(measure, "classification_accuracy", score)


@pytest.mark.usefixtures("quick", "one_thread")
def test_the_figures_of_all_seeds_become_a_mean_and_a_deviation_beside_those_of_the_test_images(
    detailed_model_folder: Path, other_model_folder: Path
) -> None:
    data, model, reference = labelled_data(), VAE(detailed_model_folder), VAE(other_model_folder)
    notes: list[str] = []
    settings = QualitySettings(parts=("samples",), samples=COUNT, seeds=3, cas_epochs=2)
    quality = measure_quality(model, data, settings, reference, notes.append)
    figures = quality.figures["samples"]
    assert list(quality.figures) == ["settings", "classifiers", "samples"]

    described = {name: describe(network, data.test_images.numpy()) for name, network in NETWORKS.items()}  # type: ignore[arg-type]
    for name, test in described.items():
        own = figures["test_images"][name]
        assert own["sure"] == (test.probabilities.max(1) > 0.9).mean()
        assert own["accuracy"] == (test.probabilities.argmax(1) == data.test_labels.numpy()).mean()

    sets = {one.name: one for one in sample_sets(model, data, COUNT, reference)}
    assert list(figures["sets"]) == list(sets)
    for name, entry in figures["sets"].items():
        seeds = range(3 if sets[name].random else 1)
        assert entry["runs"] == len(seeds)
        found = [sets[name].make(seed)[0] for seed in seeds]
        for judge, network in NETWORKS.items():
            distances = [frechet_distance(described[judge].features, describe(network, images).features)  # type: ignore[arg-type]
                         for images in found]  # fmt: skip
            own = entry["classifiers"][judge]["frechet"]
            assert own["mean"] == pytest.approx(np.mean(distances), rel=1e-6)
            if sets[name].random:
                assert own["deviation"] == pytest.approx(np.std(distances, ddof=1), rel=1e-4)
            else:
                assert own["deviation"] is None
            whole = figures["sets"]["reference_normal"]["classifiers"][judge]["frechet"]["mean"]
            assert entry["classifiers"][judge]["frechet_share"] == pytest.approx(own["mean"] / whole)
        if sets[name].teaches:
            assert entry["classification_accuracy"] == {"mean": 1.25, "deviation": 1.0}  # of seeds 0, 1, 2; 2 epochs
        else:
            assert "classification_accuracy" not in entry
        if name == "real":
            assert "nearest_training" not in entry
            continue
        train, test = data.train_images.numpy().reshape(40, -1) / 255, data.test_images.numpy().reshape(30, -1) / 255
        own = entry["nearest_training"]["pixels"]
        medians = [np.median(cdist(images.reshape(len(images), -1) / 255, train).min(1)) for images in found]
        assert own["median"]["mean"] == pytest.approx(np.mean(medians), rel=1e-4)
        assert own["test_median"]["mean"] == pytest.approx(np.median(cdist(test, train).min(1)), rel=1e-4)
        for judge, network in NETWORKS.items():
            features = describe(network, data.train_images.numpy()).features  # type: ignore[arg-type]
            distances = [cdist(describe(network, images).features, features).min(1) for images in found]  # type: ignore[arg-type]
            expected = np.mean([np.median(one) for one in distances])
            assert entry["nearest_training"][judge]["median"]["mean"] == pytest.approx(expected, rel=1e-3)
        closest = min(found[0], key=lambda image: cdist(image.reshape(1, -1) / 255, train).min())
        pairs = pixels(quality.pictures[f"nearest-{name}"])
        np.testing.assert_array_equal(pairs[2:58:2, 2:58:2], closest[0])  # the nearest first, in double size
        np.testing.assert_array_equal(pixels(quality.pictures[f"samples-{name}"])[2:58:2, 2:58:2], found[0][0, 0])
    assert "N(0, I) samples, with details, seed 2" in notes


@pytest.mark.usefixtures("quick", "one_thread")
def test_paths_are_measured_for_each_seed_and_judge_of_model_and_reference(
    tiny_model_folder: Path, other_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, int, int]] = []

    def length(model: VAE, judge: Any, seed: int, paths: int) -> dict[str, float]:
        asked.append((model.manifest.name, judge.name, seed, paths))
        return {"mean": 10.0 * seed, "median": 1.0}

    monkeypatch.setattr(measure, "path_length", length)
    monkeypatch.setattr(measure, "traversal_smoothness", lambda model, data, judges: {"of": model.manifest.name})
    monkeypatch.setattr(measure, "posterior_map", lambda *_: (np.zeros((2, 2), np.float32), np.zeros(2, np.int64)))
    settings = QualitySettings(parts=("latent",), samples=50, seeds=2)
    model, reference = VAE(tiny_model_folder), VAE(other_model_folder)
    figures = measure_quality(model, labelled_data(), settings, reference, lambda _: None).figures["latent"]
    assert asked == [(name, judge, seed, 50) for name in ("tiny", "other") for seed in (0, 1)
                     for judge in ("residual", "plain")]  # fmt: skip
    assert [role["traversal"]["of"] for role in figures.values()] == ["tiny", "other"]
    assert figures["reference"]["path_length"]["plain"]["mean"] == {"mean": 5.0, "deviation": pytest.approx(50**0.5)}


def test_the_likelihood_has_the_elbo_of_all_test_images_and_bounds_of_the_first_ones(
    tiny_model_folder: Path, other_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "measure_likelihood", lambda model, data, k, count: [model.manifest.name, k, count])
    settings = QualitySettings(parts=("likelihood",), iwae_k=7, iwae_images=11)
    model, reference = VAE(tiny_model_folder), VAE(other_model_folder)
    figures = measure_quality(model, DATA, settings, reference, lambda _: None).figures["likelihood"]
    for role, one, name in (("model", model, "tiny"), ("reference", reference, "other")):
        assert figures[role]["iwae"] == [name, 7, 11]
        assert figures[role]["neg_elbo"] == evaluate_onnx(one, DATA.test_images.numpy()).neg_elbo


def pixels(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def shades(*levels: int) -> NDArray[np.uint8]:
    """Pictures of one pixel."""
    return np.array(levels, np.uint8).reshape(-1, 1, 1, 1)


@pytest.mark.usefixtures("quick", "one_thread")
def test_a_grid_shows_the_first_five_hundred_pictures_in_rows_of_twenty_five(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (600, 1, 28, 28), np.uint8)
    levels[:, 0, 0, 0] = np.arange(600) % 251
    one = SampleSet("a", "a", lambda _: (levels, None), random=False, from_training_images=True)
    monkeypatch.setattr(measure, "sample_sets", lambda *_: [one])
    settings = QualitySettings(parts=("samples",), samples=600)
    quality = measure_quality(VAE(tiny_model_folder), labelled_data(), settings, None, lambda _: None)
    shown = pixels(quality.pictures["samples-a"])
    assert shown.shape == (20 * 58 + 2, 25 * 58 + 2)
    np.testing.assert_array_equal(shown[2::58, 2::58].ravel(), np.arange(500) % 251)


def test_look_alikes_stand_above_their_training_images_the_nearest_first() -> None:
    lookup = scores.Lookup(np.array([0.3, 0.1, 0.2]), np.array([2, 0, 1]))
    shown = nearest_pairs(shades(10, 20, 30), lookup, shades(100, 110, 120))
    assert shown[2::4, 2::4].tolist() == [[20, 30, 10], [100, 110, 120]]


# The page


def figure(mean: Any, deviation: Any = None) -> dict[str, Any]:
    return {"mean": mean, "deviation": deviation}


def figures_of_a_model() -> dict[str, Any]:
    """Made-up figures, no two alike."""
    def of_set(base: float) -> dict[str, Any]:
        one = {
            "frechet": figure(base + 0.01, 0.5), "kernel": figure((base + 0.02) / 1000, 0.0001),
            "precision": figure(0.101), "recall": figure(0.202), "density": figure(0.303), "coverage": figure(0.404),
            "sure": figure(0.505, 0.006), "rarest": figure(0.0071), "frechet_share": 0.808,
            "classes": figure([0.25, 0.75, *[0.0] * 8]), "read_as_label": figure(0.901),
            "read_as_label_per_class": figure([0.86, 0.942]),
        }  # fmt: skip
        other = {key: value for key, value in one.items() if not key.startswith(("read", "frechet_share"))}
        return {
            "title": f"set {base:g}", "runs": 2, "classifiers": {"residual": one, "plain": other},
            "classification_accuracy": figure(0.777, 0.011),
            "nearest_training": {"pixels": {"median": figure(base + 0.5), "test_median": figure(6.25),
                                            "closer": figure(0.033, 0.002)}},
        }  # fmt: skip

    bound = {"iwae": 230.5, "monte_carlo_error": 0.12, "image_error": 1.75, "k": 100, "images": 1000}
    role = {"images": 10_000, "neg_elbo": 241.5, "reconstruction": 226.25, "kl": 15.25, "active_units": 11,
            "iwae": {"grey": bound, "binarised": {**bound, "iwae": 240.75},
                     "binarised_grey_encoded": {**bound, "iwae": 235.25}}}  # fmt: skip
    latent = {"traversal": {"pixels": {"mean": 1.5, "worst": 3.25}},
              "path_length": {"plain": {"mean": figure(88.8, 2), "median": figure(77.7)}}}  # fmt: skip
    return {
        "likelihood": {"model": role, "reference": {**role, "neg_elbo": 251.5}},
        "classifiers": {"residual": {"test_accuracy": 0.9238}, "plain": {"test_accuracy": 0.9304}},
        "samples": {
            "test_images": {"residual": {"sure": 0.871}, "plain": {"sure": 0.882}},
            "class_names": ["Bag", "Shirt"], "sets": {"a": of_set(10), "b": of_set(20)},
        },
        "latent": {"model": latent, "reference": latent},
    }  # fmt: skip


@pytest.fixture
def page() -> str:
    header = {"model": "m", "engine": "ORT", "data": "d", "decoder_sha256": "f" * 64, "reference": "r"}
    return markdown(header | figures_of_a_model(), ["samples-a"])


@pytest.fixture
def tables(page: str) -> Callable[[str], dict[str, dict[str, str]]]:
    """The rows of the table under a heading, by their first cell, each a cell by its column's head."""

    def of(heading: str) -> dict[str, dict[str, str]]:
        lines = page.partition(f"## {heading}")[2].split("\n\n## ")[0].splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        head = cells[0]
        return {row[0]: dict(zip(head, row, strict=True)) for row in cells[2:]}

    return of


def test_each_column_of_the_page_holds_the_figure_that_it_is_named_after(
    page: str, tables: Callable[[str], dict[str, dict[str, str]]]
) -> None:
    rows = tables("Samples, in the features of the residual classifier")
    assert rows["set 20"] == {
        "": "set 20", "Fréchet": "20.01 ± 0.50", "share": "0.808", "kernel ·10³": "20.02 ± 0.10", "precision": "0.101",
        "recall": "0.202", "density": "0.303", "coverage": "0.404", "sure %": "50.5 ± 0.6", "rarest %": "0.7",
        "read as label %": "90.1", "CAS %": "77.7 ± 1.1",
    }  # fmt: skip
    plain = tables("Samples, in the features of the plain classifier")["set 10"]
    assert (plain["Fréchet"], plain["share"], "read as label %" in plain) == ("10.01 ± 0.50", "–", False)
    for name, accuracy, sure in (("residual", "92.38 %", "87.1 %"), ("plain", "93.04 %", "88.2 %")):
        text = page.partition(f"features of the {name} classifier")[2].partition("|")[0]
        assert text.index(accuracy) < text.index(sure)
    assert tables("Share of each class, by the residual classifier, %")["set 10"] == {
        "": "set 10", "Bag": "25.0", "Shirt": "75.0",
    }  # fmt: skip
    assert tables("Share recognised as its label, by the residual classifier, %")["set 10"] == {
        "": "set 10", "Bag": "86.0", "Shirt": "94.2",
    }  # fmt: skip
    assert tables("Nearest training image") == {
        "set 10": {"": "set 10", "pixels: median": "10.50", "closer %": "3.3 ± 0.2"},
        "set 20": {"": "set 20", "pixels: median": "20.50", "closer %": "3.3 ± 0.2"},
        "test images": {"": "test images", "pixels: median": "6.25", "closer %": "1.0"},
    }
    assert "![samples-a](samples-a.png)" in page


def test_likelihood_and_latent_space_stand_beside_those_of_the_reference(
    page: str, tables: Callable[[str], dict[str, dict[str, str]]]
) -> None:
    rows = tables("Likelihood, in nats per image")
    assert {name: (row["model"], row["reference"]) for name, row in rows.items()} == {
        "−ELBO, 10000 images": ("241.50", "251.50"),
        "reconstruction": ("226.25", "226.25"),
        "kl": ("15.25", "15.25"),
        "active units": ("11", "11"),
        "IWAE, grey pixels": ("230.50 ± 0.12", "230.50 ± 0.12"),
        "IWAE, binarised, its own posterior": ("240.75 ± 0.12", "240.75 ± 0.12"),
        "IWAE, binarised, the grey picture's posterior": ("235.25 ± 0.12", "235.25 ± 0.12"),
    }
    assert "k = 100 on the first 1000 test images" in page
    assert "standard error is 1.75" in page
    assert {name: row["model"] for name, row in tables("Latent space").items()} == {
        "largest / mean step, pixels": "1.50 (worst 3.25)",
        "path length, plain": "88.8 ± 2.0",
    }
