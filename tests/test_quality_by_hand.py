"""The measurement of a model's quality, on a few numbers whose figures one can work out, and as laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import log_ndtr, logsumexp, ndtr
from scipy.stats import norm
from torch import Tensor, nn

from vae_gen import Posterior, random_words, standard_normals
from vae_train.data import CLASS_NAMES, NAME
from vae_train.images.image_set import ImageSet
from vae_train.quality import classifiers, scores
from vae_train.quality.classifiers import Described, Prediction, accuracy, describe, make
from vae_train.quality.distances import frechet_distance, kernel_distance, manifold, squared_radii
from vae_train.quality.latent_space import path_length, posterior_map, spherical, traversal_smoothness
from vae_train.quality.likelihood import binarised_test_images, importance_bound, measure_likelihood
from vae_train.quality.scores import Judge, Space, classification_accuracy, figures_of, memorised, nearest_training

Floats = NDArray[np.float32]


def data_of(train: Any, test: Any, train_labels: Any = None, test_labels: Any = None) -> ImageSet:
    """A data set of these grey levels, [n, 1, height, width]."""
    images = [torch.as_tensor(np.asarray(part, np.uint8)) for part in (train, test)]
    labels = [torch.zeros(len(part), dtype=torch.int64) if own is None else torch.as_tensor(own)
              for part, own in zip(images, (train_labels, test_labels), strict=True)]  # fmt: skip
    return ImageSet(images[0], labels[0], images[1], labels[1], {"made-up": "0" * 64}, NAME, CLASS_NAMES)


def random_pictures(count: int, seed: int, height: int = 2, width: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, height, width), np.uint8)


class Eye(nn.Module):
    """A classifier whose features are a picture's pixels times `scale`, and whose logits are its first ten pixels."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> Prediction:
        self.seen.append(image)
        flat = image.flatten(1)
        return Prediction(self.scale * flat, flat[:, :10])


def judge_of(test: Described, name: str = "eye", network: Any = None, train: Floats | None = None) -> Judge:
    features = np.zeros((1, 1), np.float32) if train is None else train
    return Judge(name, network or Eye(), test, squared_radii(test.features, 5), features)


# Distances between two sets


def with_moments(count: int, mean: Any, root: Any, seed: int) -> Floats:
    """Points whose mean is `mean` and whose covariance is root · rootᵀ, to float32."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(mean)))
    drawn -= drawn.mean(0)
    white = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False))).T
    return np.asarray(white @ np.asarray(root, float).T + mean, np.float32)


@pytest.mark.parametrize(
    ("root_a", "root_b"),
    [
        ([[2, 0], [0, 1]], [[1, 0], [0, 3]]),
        ([[2, 0], [0, 1]], [[1, 1], [0, 2]]),  # covariances that do not commute
        ([[3, 0], [0, 0.1]], [[0.6, -2.4], [0.8, 1.8]]),
    ],
)
def test_the_frechet_distance_of_two_gaussians_in_a_plane_is_that_of_their_moments(root_a: Any, root_b: Any) -> None:
    a, b = with_moments(50, [1, -2], root_a, 1), with_moments(70, [4, 2], root_b, 2)
    of_a, of_b = (np.array(root) @ np.array(root).T for root in (root_a, root_b))
    # A root of a 2 × 2 matrix has the trace √(tr M + 2 √det M).
    cross = math.sqrt(np.trace(of_a @ of_b) + 2 * math.sqrt(np.linalg.det(of_a @ of_b)))
    expected = 3**2 + 4**2 + np.trace(of_a) + np.trace(of_b) - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_a_distance_is_about_0_between_halves_of_a_set_and_grows_as_pictures_get_worse(
    distance: Callable[[Floats, Floats], float],
) -> None:
    random = np.random.default_rng(0)
    real, other = random.normal(1, 1, (2, 150, 3)).astype(np.float32)
    noise = random.normal(0, 1, other.shape).astype(np.float32)
    found = [distance(real, other + np.float32(amount) * noise) for amount in (0.0, 1.0, 2.0, 4.0)]
    assert found == sorted(found)
    assert abs(found[0]) < 0.3 * found[1]
    shuffled = real[random.permutation(len(real))]
    assert frechet_distance(real, shuffled) == pytest.approx(0, abs=1e-9)


def test_the_kernel_distance_of_two_pairs_of_numbers_is_what_one_counts_by_hand() -> None:
    # The kernel is (x·y + 1)³. Within {0, 1} the one pair of different numbers has 1, within {1, 3} it has 4³ = 64;
    # between them are 1, 1, 8 and 64.
    a, b = np.array([[0], [1]], np.float32), np.array([[1], [3]], np.float32)
    assert kernel_distance(a, b) == pytest.approx(1 + 64 - 2 * (1 + 1 + 8 + 64) / 4)
    # With two features, of which one is always 0, x·y is halved.
    a, b = (np.hstack([part, np.zeros_like(part)]) for part in (a, b))
    assert kernel_distance(a, b) == pytest.approx(1 + 2.5**3 - 2 * (1 + 1 + 1.5**3 + 2.5**3) / 4)


def test_a_set_against_itself_is_precise_and_covers_itself_and_one_far_away_does_neither() -> None:
    real = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    itself = manifold(real, real[::-1].copy())
    assert (itself.precision, itself.recall, itself.coverage) == (1, 1, 1)
    assert 1 <= itself.density < 1.21  # each lies in its own ball and about five others; rounding may lose the furthest
    away = manifold(real, real + np.float32(100))
    assert (away.precision, away.recall, away.density, away.coverage) == (0, 0, 0, 0)


def test_precision_asks_for_the_samples_and_recall_for_the_real_pictures() -> None:
    # Real pictures at 0 … 9 and at 100 … 109; samples only at 0.5 … 9.5, and one more at 50.
    real = np.concatenate([np.arange(10), np.arange(100, 110)]).astype(np.float32)[:, None]
    samples = np.append(np.arange(10) + 0.5, 50).astype(np.float32)[:, None]
    found = manifold(real, samples, k=3)
    assert found.precision == pytest.approx(10 / 11)
    # The ball of the sample at 50 reaches to its third neighbour, 7.5, and so to 92.5 on the other side.
    assert found.recall == found.coverage == 0.5
    # Samples that lie far apart have wide balls, in which all real pictures lie, but lie in no ball themselves.
    wide = manifold(real, np.array([-500, 500, 1500], np.float32)[:, None], k=1)
    assert (wide.precision, wide.recall, wide.density, wide.coverage) == (0, 1, 0, 0)


# What one classifier says of a set


def probabilities(*highest: tuple[int, float]) -> Floats:
    """Rows that give a class so much, and the others the rest in equal parts."""
    rows = np.array([[(1 - share) / 9] * 10 for _, share in highest], np.float32)
    for row, (label, share) in zip(rows, highest, strict=True):
        row[label] = share
    return rows


def test_the_figures_of_a_set_are_shares_of_its_pictures() -> None:
    random = np.random.default_rng(3)
    test = Described(random.normal(size=(60, 2)).astype(np.float32), probabilities(*[(0, 0.99)] * 60))
    found = probabilities((0, 0.95), (0, 0.91), (1, 0.89), (1, 0.5), (2, 0.97), (3, 0.3), (3, 0.8), (9, 0.4))
    features = random.normal(0.7, 2, (8, 2)).astype(np.float32)
    figures = figures_of(Described(features, found), np.array([0, 1, 1, 1, 2, 3, 0, 0]), judge_of(test))
    assert figures["sure"] == 3 / 8  # 0.95, 0.91, 0.97
    assert figures["classes"] == [0.25, 0.25, 0.125, 0.25, 0, 0, 0, 0, 0, 0.125]
    assert figures["rarest"] == 0
    assert figures["read_as_label_per_class"] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1, 1]
    assert figures["read_as_label"] == pytest.approx(0.75)
    assert figures["frechet"] == pytest.approx(frechet_distance(test.features, features))
    assert figures["kernel"] == pytest.approx(kernel_distance(test.features, features))
    shares = manifold(test.features, features, k=5)
    assert {name: figures[name] for name in ("precision", "recall", "density", "coverage")} == vars(shares)
    assert shares.precision != shares.recall
    assert "read_as_label" not in figures_of(Described(features, found), None, judge_of(test))


def test_the_rarest_class_is_the_one_with_the_smallest_share() -> None:
    features = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    found = probabilities(*[(label % 10, 0.9) for label in range(12)])
    figures = figures_of(Described(features, found), None, judge_of(Described(features, found)))
    assert figures["rarest"] == pytest.approx(1 / 12)
    assert figures["sure"] == 0  # more than 0.9, not 0.9 itself


def test_pictures_are_described_in_their_order_and_classes_share_one() -> None:
    pictures = random_pictures(1203, 0, 2, 6)  # three batches
    described = describe(Eye(), pictures)  # type: ignore[arg-type]
    flat = pictures.reshape(1203, 12).astype(np.float64) / 255
    np.testing.assert_allclose(described.features, flat, atol=1e-6)
    expected = np.exp(flat[:, :10]) / np.exp(flat[:, :10]).sum(1, keepdims=True)
    np.testing.assert_allclose(described.probabilities, expected, atol=1e-6)


def test_accuracy_is_the_share_of_labels_that_are_found() -> None:
    pictures = np.zeros((5, 1, 2, 6), np.uint8)
    for row, label in zip(pictures.reshape(5, 12), [3, 1, 4, 1, 5], strict=True):
        row[label] = 255
    labels = torch.tensor([3, 1, 4, 2, 6])
    assert accuracy(Eye(), torch.from_numpy(pictures), labels) == 0.6  # type: ignore[arg-type]


def test_a_judge_describes_test_images_for_comparison_and_training_images_for_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scores, "load_classifier", lambda name: Eye())
    train, test = random_pictures(30, 1), random_pictures(20, 2)
    judge = Judge.load("residual", data_of(train, test))
    assert judge.name == "residual"
    np.testing.assert_allclose(judge.test.features, test.reshape(20, 6) / 255, atol=1e-6)
    np.testing.assert_allclose(judge.train_features, train.reshape(30, 6) / 255, atol=1e-6)
    flat = test.reshape(20, 6) / 255
    fifth = np.sort(cdist(flat, flat), axis=1)[:, 5]  # column 0 is the picture itself
    np.testing.assert_allclose(judge.test_radii.sqrt(), fifth, rtol=1e-4)


def test_the_classification_accuracy_score_learns_from_the_set_alone_and_is_tested_on_test_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}

    def learn(network: Any, images: Tensor, labels: Tensor, recipe: Any) -> None:
        seen.update(network=network, images=images.numpy(), labels=labels.numpy(), recipe=recipe)

    def judged(network: Any, images: Tensor, labels: Tensor) -> float:
        assert network is seen["network"]
        assert torch.equal(images, data.test_images)
        assert labels is data.test_labels
        return 0.625

    made: list[tuple[str, int]] = []
    monkeypatch.setattr(scores, "new_classifier", lambda *name_and_seed: made.append(name_and_seed) or "network")
    monkeypatch.setattr(scores, "train_classifier", learn)
    monkeypatch.setattr(scores, "accuracy", judged)
    data = data_of(random_pictures(30, 1), random_pictures(20, 2))
    images, labels = random_pictures(7, 3), np.arange(7)
    assert classification_accuracy(images, labels, data, seed=4, epochs=3) == 0.625
    np.testing.assert_array_equal(seen["images"], images)
    np.testing.assert_array_equal(seen["labels"], labels)
    assert made == [("residual", 4)]
    assert seen["recipe"] == replace(classifiers.RECIPES["residual"], epochs=3, seed=4)


def test_a_classifier_learns_from_the_training_part_and_its_figures_name_what_they_were_measured_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of(random_pictures(30, 1, 28, 28), random_pictures(20, 2, 28, 28))
    monkeypatch.setattr(classifiers, "VALIDATION_IMAGES", 10)
    learnt: list[Tensor] = []
    monkeypatch.setattr(classifiers, "train_classifier", lambda _, images, *__, **___: learnt.append(images))
    monkeypatch.setattr(classifiers, "accuracy", lambda _, images, labels: images.float().mean().item())
    facts = make("plain", data, classifiers.RECIPES["plain"], tmp_path)
    train, validation = classifiers.split(30, 10)
    torch.testing.assert_close(learnt[0], data.train_images[train])
    assert facts["train_images"] == 20
    assert facts["validation_accuracy"] == pytest.approx(data.train_images[validation].float().mean().item())
    assert facts["test_accuracy"] == pytest.approx(data.test_images.float().mean().item())


# The nearest training image


def space_of(train: NDArray[np.uint8], test: NDArray[np.uint8], *scales: float) -> Space:
    """The space of a judge for each scale, whose features are the pixels times it."""
    flat_train, flat_test = (part.reshape(len(part), -1).astype(np.float32) / 255 for part in (train, test))
    all_judges = [
        judge_of(Described(np.float32(scale) * flat_test, np.zeros((len(test), 10), np.float32)), f"eye {scale:g}",
                 train=np.float32(scale) * flat_train)
        for scale in scales
    ]  # fmt: skip
    return Space.measure(data_of(train, test), all_judges)


def test_the_space_of_neighbours_is_that_of_the_training_images_and_its_measure_that_of_the_test_images() -> None:
    train, test = random_pictures(30, 1), random_pictures(20, 2)
    space = space_of(train, test, 3.0, 10.0)
    assert space.names == ["pixels", "eye 3", "eye 10"]
    table = cdist(test.reshape(20, 6) / 255, train.reshape(30, 6) / 255)
    for distances, scale in zip(space.test_distances, (1, 3, 10), strict=True):
        np.testing.assert_allclose(distances, scale * table.min(1), rtol=1e-4)
    samples = random_pictures(5, 3)
    flat = samples.reshape(5, 6).astype(np.float32) / 255
    lookups = nearest_training(samples, [3 * flat, 10 * flat], space)
    table = cdist(flat, train.reshape(30, 6) / 255)
    for lookup, scale in zip(lookups, (1, 3, 10), strict=True):
        np.testing.assert_array_equal(lookup.indices, table.argmin(1))
        np.testing.assert_allclose(lookup.distances, scale * table.min(1), rtol=1e-4)


def test_closer_is_the_share_below_the_lowest_hundredth_of_the_test_images() -> None:
    test = np.arange(1.0, 102.0)  # 1 … 101, of which a hundredth is at most 2
    lookups = [scores.Lookup(np.array(distances), np.zeros(4, np.int64))
               for distances in ([1.9, 2.1, 50.0, 99.0], [0.0, 1.0, 1.5, 60.0])]  # fmt: skip
    space = Space(["pixels", "eye"], np.zeros((1, 1), np.float32), [], [test, 10 + test])
    found = memorised(lookups, space)
    assert found == {
        "pixels": {"median": pytest.approx(26.05), "test_median": 51.0, "closer": 0.25},
        "eye": {"median": 1.25, "test_median": 61.0, "closer": 0.75},
    }


def test_copies_of_training_images_are_closer_and_other_test_images_are_not() -> None:
    random = np.random.default_rng(5)
    train, test, fresh = (random.integers(0, 256, (count, 1, 2, 3), np.uint8) for count in (300, 400, 400))
    space = space_of(train, test, 2.0)
    of_copies, of_fresh = (
        memorised(nearest_training(part, [part.reshape(len(part), 6).astype(np.float32) / 127.5], space), space)
        for part in (train[:50], fresh)
    )
    for name in space.names:
        assert of_copies[name]["closer"] == 1
        assert of_fresh[name]["closer"] < 0.05
        assert of_fresh[name]["median"] == pytest.approx(of_fresh[name]["test_median"], rel=0.1)


# Likelihood


class OnePixel:
    """A model whose log p(x) is known: z ~ N(0, 1), and p(white|z) = Φ(b + a·z) in each pixel, one latent for each.

    ∫ Φ(b + a·z) φ(z) dz = Φ(b / √(1 + a²)), and a picture of several pixels is a product of those.
    """

    a, b = 1.5, 0.4

    def __init__(self, mean: float = 0.0, log_variance: float = 0.0, pixels: int = 1) -> None:
        self.mean, self.log_variance, self.pixels = mean, log_variance, pixels
        self.encoded: list[Floats] = []

    def encode(self, images: Floats) -> Posterior:
        self.encoded.append(images)
        sign = 2 * images.reshape(len(images), -1) - 1
        return Posterior(np.float32(self.mean) * sign, np.full_like(sign, self.log_variance))

    def decode(self, latents: Floats, *, detail: bool | None = None) -> Floats:
        assert detail is False  # the density is one of the decoder's pictures
        return ndtr(self.b + self.a * latents).astype(np.float32).reshape(-1, 1, 1, self.pixels)

    def log_likelihood(self, images: Floats) -> NDArray[np.float64]:
        edge = self.b / math.sqrt(1 + self.a**2)
        white = images.reshape(len(images), -1)
        each: NDArray[np.float64] = (white * log_ndtr(edge) + (1 - white) * log_ndtr(-edge)).sum(1)
        return each


def bits(*rows: list[int]) -> Floats:
    return np.array(rows, np.float32)[:, None, None, :]


def bound_of(model: Any, images: Floats, k: int, proposal: Floats | None = None) -> Any:
    return importance_bound(model, images, k, proposal)


def test_the_bound_with_many_draws_is_the_log_likelihood_where_that_is_known() -> None:
    model, images = OnePixel(mean=0.6, log_variance=-0.3, pixels=2), bits([0, 1], [1, 1], [0, 0])
    found = bound_of(model, images, 20_000)
    assert found.iwae == pytest.approx(-model.log_likelihood(images).mean(), abs=0.02)
    assert found.monte_carlo_error < 0.01


def test_the_bound_is_exact_with_one_draw_where_the_posterior_is_the_true_one() -> None:
    flat = OnePixel()
    flat.a = 0.0  # the picture says nothing of the latent, whose posterior is the prior
    found = bound_of(flat, bits([1], [0]), 1)
    exact = -(math.log(ndtr(0.4)) + math.log(ndtr(-0.4))) / 2
    assert found.iwae == pytest.approx(exact, abs=1e-6)
    assert found.neg_elbo == pytest.approx(exact, abs=1e-6)
    many = bound_of(flat, bits([1], [0]), 50)
    assert (many.iwae, many.neg_elbo) == (pytest.approx(exact, abs=1e-6), pytest.approx(exact, abs=1e-6))
    assert many.monte_carlo_error == pytest.approx(0, abs=1e-6)


def test_the_bound_falls_with_more_draws_from_the_elbo_towards_the_log_likelihood() -> None:
    model, images = OnePixel(mean=0.2, log_variance=0.5), bits(*[[at % 2] for at in range(2000)])
    found = [bound_of(model, images, k) for k in (1, 4, 64)]
    assert found[0].iwae == pytest.approx(found[0].neg_elbo)
    # The −ELBO, integrated: Gauss and Hermite's sum over the posterior.
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = 0.2 + math.exp(0.25) * nodes
    cost = -(weights / weights.sum() * (log_ndtr(0.4 + 1.5 * z) + log_ndtr(1.5 * z - 0.4)) / 2).sum()
    neg_elbo = cost + 0.5 * (math.exp(0.5) + 0.04 - 1 - 0.5)
    for one in found:
        assert one.neg_elbo == pytest.approx(neg_elbo, abs=0.06)
    bounds = [one.iwae for one in found]
    assert bounds[0] - bounds[1] > 0.1
    assert bounds[1] - bounds[2] > 0.03
    assert bounds[2] == pytest.approx(-model.log_likelihood(images).mean(), abs=0.03)
    assert bounds[2] > -model.log_likelihood(images).mean() - 0.01


@pytest.mark.parametrize("chunk", [4096, 36])  # all images at once, and two
def test_weights_are_the_ratio_of_the_joint_density_to_the_proposal_with_the_contracts_noise(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_train.quality.likelihood.CHUNK", chunk)
    model, k = OnePixel(mean=0.7, log_variance=-0.8, pixels=3), 6
    images = bits([0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 1])
    noise = standard_normals(0, 0, 4 * k, 3, 2**32 - 5).reshape(4, k, 3).astype(np.float64)
    mean, deviation = 0.7 * (2 * images.reshape(4, 1, 3) - 1), math.exp(-0.4)
    z = mean + deviation * noise
    white = images.reshape(4, 1, 3)
    of_picture = white * log_ndtr(0.4 + 1.5 * z) + (1 - white) * log_ndtr(-0.4 - 1.5 * z)
    log_weights = (of_picture + norm.logpdf(z) - norm.logpdf(z, mean, deviation)).sum(2)
    bounds = logsumexp(log_weights, axis=1) - math.log(k)
    weights = np.exp(log_weights)
    errors = weights.std(1, ddof=1) / math.sqrt(k) / weights.mean(1)
    found = bound_of(model, images, k)
    assert (found.images, found.k) == (4, k)
    assert found.iwae == pytest.approx(-bounds.mean(), abs=1e-4)
    assert found.neg_elbo == pytest.approx(-log_weights.mean(), abs=1e-4)
    assert found.monte_carlo_error == pytest.approx(math.sqrt((errors**2).sum()) / 4, rel=1e-3)
    assert found.image_error == pytest.approx(bounds.std(ddof=1) / 2, rel=1e-3)


def test_each_row_of_the_likelihood_names_what_was_encoded_and_what_was_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    explained: list[Floats] = []
    inner = importance_bound

    def watched(model: Any, images: Floats, k: int, proposal: Floats | None = None) -> Any:
        explained.append(images)
        return inner(model, images, k, proposal)

    monkeypatch.setattr("vae_train.quality.likelihood.importance_bound", watched)
    grey = random_pictures(6, 0, 1, 2)
    data, model = data_of(random_pictures(3, 1, 1, 2), grey), OnePixel(mean=0.5, pixels=2)
    found = measure_likelihood(model, data, 3, 4)  # type: ignore[arg-type]
    unit, binary = grey[:4].astype(np.float32) / 255, binarised_test_images(data)[:4]
    assert list(found) == ["grey", "binarised", "binarised_grey_encoded"]
    for at, (shown, encoded) in enumerate(((unit, unit), (binary, binary), (binary, unit))):
        np.testing.assert_array_equal(explained[at], shown)
        np.testing.assert_allclose(model.encoded[at], encoded)
    assert [one["images"] for one in found.values()] == [4, 4, 4]
    assert [one["k"] for one in found.values()] == [3, 3, 3]


def test_test_images_are_binarised_after_the_validation_images_from_50_000_on() -> None:
    train, test = random_pictures(50_003, 0, 1, 2), random_pictures(5, 1, 1, 2)
    random = np.random.RandomState(777)
    random.binomial(1, train[50_000:] / 255)
    np.testing.assert_array_equal(binarised_test_images(data_of(train, test)), random.binomial(1, test / 255))


# The latent space


class Identity:
    """A model whose picture of a latent is the latent, and which encodes a picture as twice its pixels."""

    def __init__(self, width: int, bend: Callable[[Floats], Floats] = lambda latents: latents) -> None:
        self.manifest = SimpleNamespace(latent=SimpleNamespace(dimensions=width))
        self.width, self.bend = width, bend
        self.traversed: list[tuple[list[int], Floats, float, int]] = []

    def encode(self, images: Any) -> Posterior:
        flat = np.asarray(images).reshape(len(images), -1).astype(np.float32) * 2
        return Posterior(flat, np.zeros_like(flat))

    def decode(self, latents: Any, *, detail: bool | None = None) -> Floats:
        assert detail is False  # as in the paper, the noise-free picture
        rows = np.asarray(latents, np.float32)
        return self.bend(rows).reshape(len(rows), 1, 1, -1)

    def traverse(self, dimensions: Any, *, around: Any, span: float, steps: int, detail: bool | None = None) -> Any:
        assert detail is False
        rows = list(dimensions)
        self.traversed.append((rows, np.asarray(around), span, steps))
        latents = np.tile(np.asarray(around, np.float32), (len(rows), steps, 1))
        for at, row in enumerate(rows):
            latents[at, :, row] = np.linspace(-span, span, steps)
        images = self.decode(latents.reshape(-1, self.width), detail=False).reshape(len(rows), steps, 1, 1, -1)
        return SimpleNamespace(images=images, latents=latents)


def test_a_path_length_is_the_mean_square_of_the_speed_on_arcs_without_the_outer_hundredths() -> None:
    model: Any = Identity(3)
    judge = judge_of(Described(np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32), np.zeros((9, 10))),
                     network=Eye(scale=10.0))  # fmt: skip
    paths, step = 300, 1e-3
    found = path_length(model, judge, 5, paths)
    ends = standard_normals(5, 0, 2 * paths, 3, 2**32 - 6).astype(np.float64)
    places = random_words(5, 0, paths, 1, 2**32 - 7)[:, 0, 0] / 2**32
    lengths = []
    for a, b, t in zip(ends[0::2], ends[1::2], places, strict=True):
        angle = math.acos(a @ b / math.sqrt((a @ a) * (b @ b)))
        before, after = (
            (math.sin((1 - at) * angle) * a + math.sin(at * angle) * b) / math.sin(angle) for at in (t, t + step)
        )
        lengths.append(100 * ((after - before) ** 2).sum() / step**2)
    inner = sorted(lengths)[3:-3]
    assert found["mean"] == pytest.approx(np.mean(inner), rel=2e-3)  # float32 leaves three digits of such a step
    assert found["median"] == pytest.approx(np.median(lengths), rel=2e-3)
    assert np.mean(lengths) > 1.02 * np.mean(inner)  # so that leaving them out is seen
    doubled: Any = Identity(3, lambda latents: 2 * latents)
    assert path_length(doubled, judge, 5, paths)["mean"] == pytest.approx(4 * found["mean"], rel=2e-3)


def test_on_an_arc_between_latents_of_one_length_the_length_stays_and_the_angle_grows_evenly() -> None:
    a, b = np.array([[3.0, 0, 0]]), np.array([[0, 3.0, 0]])
    for t in (0.0, 0.25, 0.5, 1.0):
        angle = t * math.pi / 2
        np.testing.assert_allclose(spherical(a, b, np.array([t])), [[3 * math.cos(angle), 3 * math.sin(angle), 0]],
                                   atol=1e-12)  # fmt: skip


def test_traversals_start_from_the_priors_mean_and_from_the_first_test_image_of_each_class() -> None:
    test = np.array([[7, 7], [1, 2], [9, 9], [3, 5]], np.uint8).reshape(4, 1, 1, 2)
    data = data_of(random_pictures(3, 0, 1, 2), test, test_labels=np.array([4, 0, 0, 2]))
    # Dimension 1 is even; dimension 0 moves only where it is above 0, and twice as far on the base of the third class.
    model: Any = Identity(2, lambda z: np.stack([np.maximum(z[:, 0], 0), z[:, 1]], axis=1))
    judge = judge_of(Described(np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32), np.zeros((9, 10))),
                     network=Eye(scale=3.0))  # fmt: skip
    found = traversal_smoothness(model, data, [judge])
    bases = [around.tolist() for _, around, _, _ in model.traversed]
    assert bases == [[0, 0], [2, 4], [6, 10], [14, 14]]  # the images' means, by class: 0, 2 and 4
    assert {(tuple(rows), span, steps) for rows, _, span, steps in model.traversed} == {((0, 1), 2.5, 41)}
    for space in ("pixels", "eye"):
        assert found[space]["per_dimension"] == pytest.approx([2.0, 1.0], rel=1e-4)  # half of the steps are 0
        assert found[space]["mean"] == pytest.approx(1.5, rel=1e-4)
        assert found[space]["worst"] == pytest.approx(2.0, rel=1e-4)


def test_smoothness_is_the_mean_over_the_bases_and_the_worst_of_all_rows() -> None:
    test = np.array([[2, 0]], np.uint8).reshape(1, 1, 1, 2)
    data = data_of(random_pictures(3, 0, 1, 2), test)
    # From the image's mean (4, 0), dimension 1 jumps once, at 0; from the prior's mean both are even.
    model: Any = Identity(2, lambda z: np.stack([z[:, 0], np.where(z[:, 0] == 4, z[:, 1] > 0, z[:, 1])], axis=1))
    found = traversal_smoothness(model, data, [])["pixels"]
    assert found["per_dimension"] == pytest.approx([1.0, (1 + 40) / 2], rel=1e-4)
    assert found["mean"] == pytest.approx((1 + 1 + 1 + 40) / 4, rel=1e-4)
    assert found["worst"] == pytest.approx(40, rel=1e-4)


def test_the_map_shows_the_first_test_images_with_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plane:
        def __init__(self, **_: object) -> None: ...

        def fit_transform(self, means: Floats) -> Floats:
            return means[:, :2]

    monkeypatch.setattr("sklearn.manifold.TSNE", Plane)
    test = random_pictures(9, 1, 1, 2)
    data = data_of(random_pictures(8, 0, 1, 2), test, np.zeros(8, np.int64), np.arange(9))
    points, labels = posterior_map(Identity(2), data, 5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(points, 2 * test[:5].reshape(5, 2).astype(np.float32))
    assert labels.tolist() == [0, 1, 2, 3, 4]
