"""Fitting a prior: densities against SciPy's, known mixtures found again, classes few or empty."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, truncnorm

import by_hand
from tiny_training import tiny_data
from vae_export.card import _prior
from vae_gen import FittedPrior, standard_normals
from vae_gen.internal.prior import Mixture
from vae_train.prior import (
    NOISE_STREAM,
    NORMAL,
    fit_mixture,
    fit_prior,
    fit_to_training_images,
    log_density,
    measure_again,
    normal_log_density,
    posterior_samples,
    shrunk_gaussian,
    trimmed,
)

WIDTH = 3


def known_prior() -> FittedPrior:
    """Two classes, 3 : 1, the first of two components far apart."""
    lower = np.array([[0.5, 0, 0], [0.2, 0.4, 0], [-0.1, 0.1, 0.3]], np.float32)
    first = Mixture(np.array([0.25, 0.75]), np.array([[-3, 0, 0], [3, 0, 0]], np.float32), np.stack([lower] * 2))
    second = Mixture(np.ones(1), np.array([[0, 5, 0]], np.float32), 2 * lower[None])
    return FittedPrior.of([3, 1], [first, second])


def test_densities_are_those_of_scipy() -> None:
    prior, z = known_prior(), 3 * standard_normals(1, 0, 50, WIDTH)
    covariances = prior.factors.astype(float) @ prior.factors.transpose(0, 2, 1)
    components = np.stack([
        multivariate_normal(mean, covariance).pdf(z)
        for mean, covariance in zip(prior.means, covariances, strict=True)
    ])
    np.testing.assert_allclose(normal_log_density(z), np.log(components[0]), atol=1e-5)
    first, second = 0.25 * components[1] + 0.75 * components[2], components[3]
    np.testing.assert_allclose(log_density(prior, z), np.log(0.75 * first + 0.25 * second), atol=1e-5)
    labels = np.arange(50) % 2
    np.testing.assert_allclose(log_density(prior, z, labels), np.log(np.where(labels, second, first)), atol=1e-5)


def test_the_log_density_of_the_origin_under_the_normal_is_known() -> None:
    value = normal_log_density(np.zeros((1, 12), np.float32))[0]
    assert value == pytest.approx(-11.02726)  # −6·ln 2π


def test_a_fit_to_many_samples_is_as_likely_as_what_drew_them() -> None:
    prior = known_prior()
    train, labels = prior.latents(1, 0, 6000)
    held_out, own = prior.latents(2, 0, 2000)
    fitted = fit_prior(train[None], labels, 2, components=2)
    assert fitted.sizes == (2, 2)
    gap = log_density(prior, held_out).mean() - log_density(fitted, held_out).mean()
    assert -0.01 < gap < 0.02
    shares = np.diff(fitted.class_thresholds, prepend=0) / 2**32
    np.testing.assert_allclose(shares, np.bincount(labels) / 6000, atol=1e-6)
    assert log_density(fitted, held_out, own).mean() > log_density(fitted, held_out).mean()


def test_one_gaussian_has_the_mean_and_the_covariance_of_all_draws() -> None:
    stretched = standard_normals(5, 0, 80, WIDTH) @ np.array([[2, 1, 0], [0, 0.5, 0], [0, 0.3, 1]], np.float32)
    latents = np.stack([stretched[:40], stretched[40:] + 1])
    mixture = fit_mixture(latents, 1)
    flat = latents.reshape(80, WIDTH).astype(float)
    assert mixture.weights.tolist() == [1]
    np.testing.assert_allclose(mixture.means[0], flat.mean(0), atol=1e-5)
    covariance = np.cov(flat.T, bias=True) + 1e-4 * np.eye(WIDTH)
    np.testing.assert_allclose(mixture.factors[0] @ mixture.factors[0].T, covariance, atol=1e-5)


def test_groups_that_lie_apart_get_a_gaussian_each_by_their_share() -> None:
    groups = [center + 0.3 * standard_normals(seed, 0, count, WIDTH)
              for seed, (center, count) in enumerate([(-9, 30), (0, 60), (9, 90)])]  # fmt: skip
    mixture = fit_mixture(np.concatenate(groups)[None], 3)
    order = np.argsort(mixture.means[:, 0])
    np.testing.assert_allclose(mixture.weights[order], [1 / 6, 2 / 6, 3 / 6], atol=1e-6)
    for at, group in zip(order, groups, strict=True):
        np.testing.assert_allclose(mixture.means[at], group.mean(0), atol=1e-4)


def test_a_class_is_described_by_its_own_images_and_drawn_as_often_as_they_are() -> None:
    centers = np.array([-5, 0, 5])
    labels = np.arange(160) % 4 % 3  # class 0 twice as often
    latents = (centers[labels][:, None] + 0.5 * standard_normals(6, 0, 160, WIDTH)).astype(np.float32)
    prior = fit_prior(np.stack([latents, latents + 0.1]), labels, 3)
    assert prior.sizes == (80 // 9, 40 // 9, 40 // 9)  # images, and not draws, over a component's 9 parameters
    for label, center in enumerate(centers):
        first, size = prior.first[label], prior.sizes[label]
        assert np.abs(prior.means[first : first + size] - center).max() < 2.5
    np.testing.assert_allclose(np.diff(prior.class_thresholds, prepend=0) / 2**32, [1 / 2, 1 / 4, 1 / 4], atol=1e-6)


def test_twenty_components_are_fitted_unless_told_otherwise() -> None:
    assert fit_prior(standard_normals(4, 0, 300, WIDTH)[None], np.zeros(300, np.int64), 1).sizes == (20,)


def test_the_same_latents_give_the_same_mixture() -> None:
    latents = standard_normals(3, 0, 500, WIDTH)[None]
    one, other = fit_mixture(latents, 4), fit_mixture(latents, 4)
    assert one.means.tobytes() == other.means.tobytes()
    assert one.factors.tobytes() == other.factors.tobytes()
    assert (np.triu(one.factors, 1) == 0).all()


def test_few_images_get_few_components_and_none_the_standard_normal() -> None:
    latents = standard_normals(4, 0, 100, WIDTH)[None]
    labels = np.array([0] * 98 + [2] * 2)
    prior = fit_prior(latents, labels, 3, components=20)
    assert prior.sizes == (98 // 9, 1, 1)  # 9 parameters in a component of 3 dimensions
    assert not (prior.draw_labels(1, 0, 5000) == 1).any()
    drawn, _ = prior.latents(1, 0, 10, label=1)
    np.testing.assert_array_equal(drawn, standard_normals(1, 0, 10, WIDTH))
    assert np.isfinite(prior.factors).all()


def test_data_without_classes_get_one_mixture() -> None:
    prior = fit_prior(standard_normals(4, 0, 100, WIDTH)[None], np.zeros(100, np.int64), 0, components=2)
    assert (prior.classes, prior.sizes) == (0, (2,))
    assert set(prior.draw_labels(1, 0, 50)) == {-1}


def test_an_image_takes_the_noise_of_its_index_whatever_stands_before_it() -> None:
    images = np.zeros((1203, 1, 28, 28), np.uint8)  # three batches of an evaluation

    def encode(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ones((len(image), WIDTH), np.float32), np.full((len(image), WIDTH), 2 * np.log(3), np.float32)

    drawn = posterior_samples(encode, images, draws=2)
    for draw in range(2):
        noise = standard_normals(draw, 0, 1203, WIDTH, NOISE_STREAM)
        np.testing.assert_allclose(drawn[draw], 1 + 3 * noise, rtol=1e-5, atol=1e-5)


def test_what_a_fit_reaches_is_measured_on_images_it_has_not_seen() -> None:
    data = tiny_data(train=200)
    seen: list[int] = []

    def encode(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append(len(image))
        flat = image.reshape(len(image), -1)
        mean = np.stack([flat.mean(1), flat[:, :60].mean(1), flat[:, ::2].mean(1)], 1).astype(np.float32)
        return mean, np.full(mean.shape, -2, np.float32)

    prior, facts = fit_to_training_images(encode, data, components=2)
    assert sum(seen) == 200
    assert prior.classes == 1
    assert (facts["images"], facts["held_out_images"]) == (150, 50)
    assert facts["held_out_nats_fitted"] > facts["held_out_nats_normal"]
    assert facts["held_out_nats_fitted"] == pytest.approx(facts["held_out_nats_fitted_of_class"])


def test_the_fit_to_a_data_set_by_hand() -> None:
    plain = tiny_data(train=200)
    dark = plain.train_images.float().mean((1, 2, 3)) < 80
    data = dataclasses.replace(plain, train_labels=dark.long(), class_names=("bright", "dark"))

    def encode(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.stack([image[:, 0, row].mean(1) for row in (1, 5, 9)], 1).astype(np.float32)
        return mean, np.full(mean.shape, 2 * np.log(0.3), np.float32)

    prior, facts = fit_to_training_images(encode, data, components=2)

    training, held_out = by_hand.split(200, 50)
    mean, _ = encode(data.train_images.numpy() / np.float32(255))
    latents = np.stack([mean + 0.3 * standard_normals(seed, 0, 200, WIDTH, 2**32 - 8) for seed in range(4)])
    labels = data.train_labels.numpy()
    z = latents[0, held_out].astype(np.float32)
    choices = [fit_prior(latents[:, training].astype(np.float32), labels[training], 2, size) for size in (2, 1)]
    expected = max(choices, key=lambda choice: log_density(choice, z).mean())
    np.testing.assert_allclose(prior.means, expected.means, atol=1e-3)
    np.testing.assert_allclose(prior.factors, expected.factors, atol=1e-3)
    np.testing.assert_array_equal(prior.class_thresholds, expected.class_thresholds)
    assert facts == {
        "family": "Gaussian mixtures, full covariances",
        "images": 150,
        "held_out_images": 50,
        "measured_images": 50,
        "held_out_nats_normal": pytest.approx(-0.5 * (z**2 + np.log(2 * np.pi)).sum(1).mean(), abs=1e-4),
        "held_out_nats_fitted": pytest.approx(log_density(prior, z).mean(), abs=1e-4),
        "held_out_nats_fitted_of_class": pytest.approx(log_density(prior, z, labels[held_out]).mean(), abs=1e-4),
    }
    assert facts["held_out_nats_fitted_of_class"] > facts["held_out_nats_fitted"]


def test_at_most_5000_images_are_held_out_of_the_fit() -> None:
    images = torch.arange(20_400, dtype=torch.int32).remainder(256).to(torch.uint8).view(-1, 1, 1, 1)
    data = dataclasses.replace(tiny_data(), train_images=images, train_labels=torch.zeros(20_400, dtype=torch.int64))
    _, facts = fit_to_training_images(lambda x: (x.reshape(-1, 1), np.zeros((len(x), 1), np.float32)), data, 1)
    assert (facts["images"], facts["held_out_images"], facts["measured_images"]) == (15_400, 5000, 5000)


def test_a_prior_is_measured_with_a_slow_encoder_on_every_third_of_5000_held_out_images() -> None:
    images = torch.arange(20_400, dtype=torch.int32).remainder(256).to(torch.uint8).view(-1, 1, 1, 1)
    data = dataclasses.replace(tiny_data(), train_images=images, train_labels=torch.zeros(20_400, dtype=torch.int64))
    seen: list[float] = []

    def encode(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return image.reshape(-1, 1) - 9, np.full((len(image), 1), -20, np.float32)

    def slow(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.extend(image.ravel().tolist())
        return image.reshape(-1, 1), np.full((len(image), 1), -20, np.float32)

    _, facts = fit_to_training_images(encode, data, 1, measure_with=slow)
    _, held_out = by_hand.split(20_400, 5000)
    expected = images.numpy().ravel()[held_out[::3]] / np.float32(255)
    np.testing.assert_allclose(seen, expected, rtol=1e-6)
    assert (facts["held_out_images"], facts["measured_images"]) == (5000, 1667)
    density = -0.5 * (expected.astype(float) ** 2 + np.log(2 * np.pi)).mean()
    assert facts["held_out_nats_normal"] == pytest.approx(density, abs=1e-4)


def of_two_pictures(size: Any, seen: list[np.ndarray]) -> Any:
    """The sizes of two pictures of each latent, whose mean is the size that is given for it."""

    def detail_size(latents: np.ndarray, labels: np.ndarray) -> np.ndarray:
        half = len(latents) // 2
        np.testing.assert_array_equal(latents[:half], latents[half:])
        seen.append(labels)
        apart = 9 * standard_normals(5, 0, half, 1)[:, 0]
        found = size(latents[:half])
        return np.concatenate([found + apart, found - apart])

    return detail_size


def test_trimming_leaves_a_normal_cut_off_at_its_quantile() -> None:
    prior, seen = known_prior(), []
    factor = prior.factors[3].astype(float)  # the only Gaussian of class 1
    along = np.linalg.inv(factor)[0]  # its first ε
    rest = trimmed(prior, of_two_pictures(lambda z: np.where(z[:, 1] > 2.5, z @ along, 0), seen), 0.1)
    assert [set(labels) for labels in seen] == [{0}, {0}, {1}]
    cut = truncnorm(-np.inf, truncnorm.ppf(0.9, -np.inf, np.inf))
    np.testing.assert_allclose(rest.means[3], prior.means[3] + factor[:, 0] * cut.mean(), atol=0.01)
    shrunk = rest.factors[3].astype(float) @ rest.factors[3].T
    expected = factor @ np.diag([cut.var(), 1, 1]) @ factor.T
    np.testing.assert_allclose(shrunk, expected, atol=0.03 * np.abs(expected).max())
    np.testing.assert_array_equal(rest.class_thresholds, prior.class_thresholds)
    np.testing.assert_array_equal(rest.means[:3], prior.means[:3])  # of equal sizes, none is above the limit
    np.testing.assert_allclose(rest.factors[:3], prior.factors[:3], atol=1e-6)


def test_trimming_takes_weight_from_the_gaussian_with_the_largest_details() -> None:
    rest = trimmed(known_prior(), of_two_pictures(lambda z: np.where(z[:, 0] < 0, 9 + z[:, 0], 0), []), 0.1)
    assert rest.weights[1] / rest.weights[2] == pytest.approx(0.15 / 0.75, rel=1e-3)
    assert rest.means[1, 0] < -3.1
    rest = trimmed(known_prior(), of_two_pictures(lambda z: np.where(z[:, 0] < 0, 9 + z[:, 0], 0), []), 0.4)
    assert rest.sizes == (1, 1)
    assert rest.means[1, 0] > 2


def test_trimming_of_a_prior_without_classes_has_none_either_and_nothing_changes_nothing() -> None:
    prior, seen = fit_prior(standard_normals(4, 0, 100, WIDTH)[None], np.zeros(100, np.int64), 0, components=2), []
    rest = trimmed(prior, of_two_pictures(lambda z: z[:, 0], seen), 0.2)
    assert rest.classes == 0
    assert set(np.concatenate(seen)) == {-1}
    assert trimmed(prior, of_two_pictures(lambda z: z[:, 0], seen), 0) is prior


def test_trimming_leaves_a_class_without_images_and_refines_a_gaussian_with_many_dimensions() -> None:
    wide = Mixture(np.ones(1), np.zeros((1, 64), np.float32), np.eye(64, dtype=np.float32)[None])
    rest = trimmed(FittedPrior.of([1, 0], [wide, wide]), of_two_pictures(lambda z: z[:, 0], []), 0.5)
    np.testing.assert_allclose(rest.means[1:, 0], -np.sqrt(2 / np.pi), atol=0.02)
    assert rest.factors[1, 0, 0] ** 2 == pytest.approx(1 - 2 / np.pi, abs=0.02)
    assert np.diff(rest.class_thresholds, prepend=0).tolist() == [2**32, 0]


def test_a_prior_is_measured_again_as_after_its_fit() -> None:
    data = tiny_data(train=200)

    def encode(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.stack([image[:, 0, row].mean(1) for row in (1, 5, 9)], 1).astype(np.float32)
        return mean, np.full(mean.shape, 2 * np.log(0.3), np.float32)

    prior, facts = fit_to_training_images(encode, data, components=2, measure_with=encode)
    again = measure_again(prior, encode, data)
    assert again == {name: facts[name] for name in again}
    assert len(again) == 4


def covariances(prior: FittedPrior) -> np.ndarray:
    """The covariance of each Gaussian of the classes, without that of N(0, I), float64 [n, latent, latent]."""
    factors = prior.factors[1:].astype(float)
    return factors @ factors.transpose(0, 2, 1)


def latents_of_classes(sizes: list[int], width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four draws of latents, [4, n, width], around a centre for each class, and the labels: together about N(0, I)."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    means = random.normal(0, 0.6, (len(sizes), width))[labels] + random.normal(0, 0.7, (len(labels), width))
    return (means + random.normal(0, 0.4, (4, len(labels), width))).astype(np.float32), labels


def test_a_class_of_three_images_borrows_the_spread_of_the_others() -> None:
    width = 40
    sizes = [60] * 20 + [3]
    latents, labels = latents_of_classes(sizes, width)
    prior = fit_prior(latents, labels, len(sizes))
    assert prior.sizes == (1,) * 21
    assert np.isfinite(prior.factors).all()
    own = np.linalg.eigvalsh(covariances(prior)[20])
    assert own[0] > 0.2  # not flat where three images say nothing
    # Other images of the same class are described better than by N(0, I), and far better than by the three alone.
    random = np.random.default_rng(0)
    centre = random.normal(0, 0.6, (21, width))[20]
    others = (centre + random.normal(0, np.hypot(0.7, 0.4), (500, width))).astype(np.float32)
    nats, of_normal = log_density(prior, others, np.full(500, 20)).mean(), normal_log_density(others).mean()
    alone = FittedPrior.of([1], [fit_mixture(latents[:, labels == 20], 1)], labelled=False)
    assert nats > of_normal + 0.5 > log_density(alone, others).mean() + 100


def test_a_shrunk_gaussian_lies_between_its_images_and_what_is_typical() -> None:
    latents = (standard_normals(5, 0, 12, WIDTH) + 2).reshape(3, 4, WIDTH)
    centre, typical = np.array([1.0, 0, -1]), np.diag([1.0, 2, 3])
    mixture = shrunk_gaussian(latents, centre, typical)
    flat = latents.reshape(12, WIDTH).astype(float)
    own = np.cov(flat.T, bias=True)
    np.testing.assert_allclose(mixture.means[0], (4 * flat.mean(0) + centre) / 5, atol=1e-5)
    expected = (4 * own + 3 * typical) / 7 * 1.2 + 1e-4 * np.eye(3)
    np.testing.assert_allclose(mixture.factors[0] @ mixture.factors[0].T, expected, atol=1e-5)


@pytest.mark.parametrize(("classes", "width", "most"), [(10, 12, 20), (200, 40, 1), (200, 12, 16), (3, 40, 20)])
def test_tables_of_many_classes_stay_small(
    classes: int, width: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def fit(latents: np.ndarray, components: int) -> Mixture:
        asked.append(components)
        return Mixture(np.ones(1), np.zeros((1, width), np.float32), np.eye(width, dtype=np.float32)[None])

    monkeypatch.setattr("vae_train.prior.fit_mixture", fit)
    fit_prior(np.zeros((1, classes * 900, width), np.float32), np.arange(classes * 900) % classes, classes)
    assert set(asked) == {most}


def coded(latents: np.ndarray, labels: np.ndarray, classes: int) -> tuple[Any, Any]:
    """An encoder that gives these means [n, width] with narrow posteriors, and the set that it belongs to."""
    count, width = latents.shape
    index = np.arange(count)
    images = np.stack([index % 256, index // 256], 1).astype(np.uint8).reshape(count, 1, 1, 2)
    data = dataclasses.replace(
        tiny_data(), train_images=torch.from_numpy(images), train_labels=torch.from_numpy(labels),
        class_names=tuple(map(str, range(classes))),
    )  # fmt: skip

    def encode(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = np.round(image.reshape(-1, 2) * 255).astype(int) @ [1, 256]
        return latents[at], np.full((len(at), width), -2, np.float32)

    return encode, data


@pytest.mark.parametrize(
    ("sizes", "labelled"), [([150], False), ([3] * 50, True), ([40, 40, 3], True), ([12] * 200, True), ([900], False)]
)
def test_forty_dimensions_fit_few_images_and_many_classes_no_worse_than_the_normal(
    sizes: list[int], labelled: bool
) -> None:
    latents, labels = latents_of_classes(sizes, 40)
    encode, data = coded(latents[0], labels if labelled else labels * 0 - 1, len(sizes) if labelled else 0)
    prior, facts = fit_to_training_images(encode, data)
    assert np.isfinite([value for value in facts.values() if not isinstance(value, str)]).all()
    assert facts["held_out_nats_fitted"] >= facts["held_out_nats_normal"] - 1e-9
    assert np.isfinite(prior.latents(0, 0, 500)[0]).all()
    assert prior.classes == (len(sizes) if labelled else 0)
    assert FittedPrior.parse(json.dumps(prior.to_json(data.class_names))).sizes == prior.sizes


def test_what_is_no_better_than_the_normal_is_replaced_by_it_and_said() -> None:
    # Eight training images in a narrow place, held-out ones all around: whatever is fitted misses them.
    _, held_out = by_hand.split(32, 8)
    latents = np.full((32, 2), 3, np.float32) + 0.01 * standard_normals(0, 0, 32, 2)
    latents[held_out] = standard_normals(1, 0, 8, 2)
    encode, data = coded(latents.astype(np.float32), np.arange(32) % 2, 2)
    prior, facts = fit_to_training_images(encode, data)
    assert facts["family"] == NORMAL
    assert facts["held_out_nats_fitted"] == pytest.approx(facts["held_out_nats_normal"], abs=1e-6)
    assert (prior.means == 0).all()
    assert set(prior.draw_labels(0, 0, 100)) == {0, 1}


def test_one_gaussian_is_kept_where_a_mixture_describes_new_images_worse() -> None:
    latents = standard_normals(0, 0, 60, 2) @ np.array([[1, 0.5], [0, 0.5]], np.float32)
    encode, data = coded(latents.astype(np.float32), np.full(60, -1), 0)
    prior, facts = fit_to_training_images(encode, data, components=9)
    assert prior.sizes == (1,)
    assert facts["held_out_nats_fitted"] > facts["held_out_nats_normal"]


def test_images_without_a_class_are_left_out_of_the_figure_given_the_class() -> None:
    latents, labels = latents_of_classes([40, 40], 2)
    encode, data = coded(latents[0], np.where(np.arange(80) % 3 == 0, -1, labels), 2)
    prior, facts = fit_to_training_images(encode, data, components=1)
    held_out = by_hand.split(80, 20)[1]
    z = posterior_samples(encode, data.train_images.numpy())[0, held_out]
    y = data.train_labels.numpy()[held_out]
    expected = log_density(prior, z[y >= 0], y[y >= 0]).mean()
    assert facts["held_out_nats_fitted_of_class"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("family", "components", "text"),
    [
        (NORMAL, [1], f"Here it is {NORMAL}."),
        ("Gaussian mixtures", [1, 1], "For each class it is one Gaussian with a full covariance,\nfitted to posterior"),
        ("Gaussian mixtures", [3, 5], "For each class it is a mixture of 3 to 5 Gaussians with full covariances,"),
        ("Gaussian mixtures", [4], "It is a mixture of 4 Gaussians with full covariances,\nfitted to posterior"),
    ],
)
def test_the_card_names_the_family_of_the_prior(family: str, components: list[int], text: str) -> None:
    facts = {"family": family, "components": components, "images": 9, "held_out_images": 3, "measured_images": 3}
    nats = dict.fromkeys(("held_out_nats_normal", "held_out_nats_fitted", "held_out_nats_fitted_of_class"), -1.5)
    assert text in _prior(facts | nats)
