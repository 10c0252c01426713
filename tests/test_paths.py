"""Likely paths and traversals: dense places of the fitted prior, steps that one sees, and details that fade in time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tiny_model import write_tiny_model
from vae_gen import VAE, DetailSpec, InputError, ModelError, UsageError
from vae_gen.internal import paths
from vae_gen.internal.density import Density, nearest_components
from vae_gen.internal.prior import FittedPrior, Mixture

PAIRS = 24
STEPS = 11


@pytest.fixture(scope="module", params=["fashion-mnist-12d", "fashion-mnist-12d-reference"])
def vae(request: pytest.FixtureRequest) -> VAE:
    return VAE(request.param)


@pytest.fixture(scope="module")
def small() -> VAE:
    return VAE("fashion-mnist-12d-reference")


def random_ends(vae: VAE) -> NDArray[np.float32]:
    """Latents of samples of different classes, float32 [PAIRS, 2, dimensions]."""
    samples = vae.sample(4 * PAIRS, seed=11, prior="fitted", detail=False)
    labels = samples.labels.reshape(2, -1)
    different = np.flatnonzero(labels[0] != labels[1])[:PAIRS]
    return samples.latents.reshape(2, 2 * PAIRS, -1)[:, different].swapaxes(0, 1)


def torn(vae: VAE, latents: NDArray[np.float32]) -> float:
    """The share of latents that the encoder does not find again in their mean pictures."""
    rows = latents.reshape(-1, vae.latent_dim)
    found = vae.encode(vae.decode(rows, detail=False))
    squared = ((found.mean - rows) ** 2 / np.exp(found.log_variance)).sum(1)
    return float((squared > vae.latent_dim + 3 * np.sqrt(2 * vae.latent_dim)).mean())


def test_likely_paths_are_likely_and_do_not_tear(vae: VAE) -> None:
    prior, ends = vae.fitted_prior(), random_ends(vae)
    ways = {
        method: np.array([paths.interpolation_path(a, b, STEPS, method, prior) for a, b in ends])
        for method in ("linear", "likely")
    }
    lowest = np.quantile(prior.log_density(vae.sample(2000, seed=1, prior="fitted", detail=False).latents), 0.01)
    assert (prior.log_density(ways["likely"]) < lowest).mean() <= 0.05
    assert torn(vae, ways["likely"][:, 1:-1]) < 0.7 * torn(vae, ways["linear"][:, 1:-1])
    for a_to_b, way in zip(ends, ways["likely"], strict=True):
        np.testing.assert_array_equal(way[[0, -1]], a_to_b)
        steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
        assert steps.max() < 1.2 * steps.mean()  # corners are cut, and nothing else is uneven


def test_a_likely_path_does_not_jump(small: VAE) -> None:
    shares = []
    for a, b in random_ends(small):
        pictures = small.interpolate(a, b, 45, "likely", detail=False).images.reshape(45, -1)
        change = np.linalg.norm(np.diff(pictures, axis=0), axis=1)
        shares.append(change.max() / change.sum())
    assert np.median(shares) < 0.15
    assert max(shares) < 0.5


def test_a_likely_path_costs_less_than_the_line_and_is_the_same_every_time(small: VAE) -> None:
    prior = small.fitted_prior()
    density = Density(prior)
    for a, b in random_ends(small)[:6].astype(np.float64):
        line = a + (b - a) * np.linspace(0, 1, paths.SEGMENTS + 1)[:, None]
        found = paths.likely_path(prior, a, b)
        assert found.tobytes() == paths.likely_path(prior, a, b).tobytes()
        assert paths._path_cost(density, found, 0)[0] < paths._path_cost(density, line, 0)[0]
        back = paths.likely_path(prior, b, a)[::-1]
        assert np.abs(back - found).max() < 0.5


def test_the_gradients_are_those_of_finite_differences(small: VAE) -> None:
    density, (a, b) = Density(small.fitted_prior()), random_ends(small)[0].astype(np.float64)
    line = a + (b - a) * np.linspace(0, 1, paths.SEGMENTS + 1)[:, None]
    _, gradient = density.log_and_gradient(line)
    _, pull, _ = paths._path_cost(density, line, -12)
    for corner, axis in ((3, 0), (17, 11), (31, 5)):
        step = np.zeros_like(line)
        step[corner, axis] = 1e-5
        slope = (density.log(line + step) - density.log(line - step)).sum() / 2e-5
        assert gradient[corner, axis] == pytest.approx(slope, abs=1e-4)
        cost = paths._path_cost(density, line + step, -12)[0] - paths._path_cost(density, line - step, -12)[0]
        assert pull[corner, axis] == pytest.approx(cost / 2e-5, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("far", [0.0, 30.0, 1e6])
def test_a_likely_path_between_latents_far_from_the_prior_or_equal_ones_is_finite(small: VAE, far: float) -> None:
    a = np.full(12, far, np.float32)
    for b in (-a, a):
        way = paths.interpolation_path(a, b, 7, "likely", small.fitted_prior())
        assert np.isfinite(way).all()
        np.testing.assert_array_equal(way[[0, -1]], [a, b])


def one_normal(dimensions: int, components: int = 1) -> FittedPrior:
    """A prior of equal components, which together are N(0, I)."""
    means = np.zeros((components, dimensions), np.float32)
    factors = np.tile(np.eye(dimensions, dtype=np.float32), (components, 1, 1))
    return FittedPrior.of([1], [Mixture(np.full(components, 1 / components), means, factors)], labelled=False)


def test_the_log_density_of_a_normal_prior_is_the_formula() -> None:
    prior, latents = one_normal(3, 2), np.array([[0, 0, 0], [1, 2, 2]], np.float32)
    expected = -1.5 * np.log(2 * np.pi) - np.array([0, 4.5])
    np.testing.assert_allclose(prior.log_density(latents), expected, atol=1e-6)
    np.testing.assert_allclose(prior.log_density(latents[1]), expected[1], atol=1e-6)


def test_the_log_density_of_a_class_leaves_out_its_share(small: VAE) -> None:
    prior = small.fitted_prior()
    latents = small.sample(5, seed=2, prior="fitted").latents
    shares = np.diff(prior.class_thresholds, prepend=0) / 2**32
    of_classes = [share * np.exp(prior.log_density(latents, label)) for label, share in enumerate(shares)]
    np.testing.assert_allclose(np.sum(of_classes, axis=0), np.exp(prior.log_density(latents)), rtol=1e-6)
    with pytest.raises(UsageError, match=r"expected a label from -1 \(any\) to 9, got 10"):
        prior.log_density(latents, 10)
    with pytest.raises(InputError, match=r"expected latents of shape \[n, 12\], got \[3\]"):
        prior.log_density(np.zeros(3))


def test_a_class_that_is_never_drawn_has_a_density_and_a_medoid() -> None:
    """A data set of a few images may have a class in no image that it was fitted to."""
    random = np.random.default_rng(3)
    factors = np.tile(np.eye(3, dtype=np.float32), (2, 1, 1))
    means = random.normal(size=(2, 2, 3)).astype(np.float32)
    parts = [Mixture(np.array([0.5, 0.5]), own, factors) for own in means]
    never, often = FittedPrior.of([1.0, 0.0], parts), FittedPrior.of([0.5, 0.5], parts)
    latents = random.normal(size=(4, 3))
    np.testing.assert_allclose(never.log_density(latents, 1), often.log_density(latents, 1), rtol=1e-9)
    np.testing.assert_array_equal(never.medoid(1), often.medoid(1))


def test_a_singular_prior_is_a_broken_model() -> None:
    prior = one_normal(2)
    prior.factors[1, 1, 1] = 0
    with pytest.raises(ModelError, match=r"^prior.json: expected factors without zeros on their diagonals, found some"):
        prior.log_density(np.zeros(2))


def test_a_prior_of_very_many_components_uses_the_nearest() -> None:
    prior = one_normal(2, 70_000)
    prior.means[1:] = np.arange(70_000)[:, None]
    chosen = nearest_components(prior, np.array([[300.0, 300.0]]))
    assert len(chosen) == (1 << 22) // (2 * 2**2 * 8)
    assert chosen[0] == 1
    assert chosen[-1] == len(chosen)
    assert len(nearest_components(one_normal(12, 200), np.zeros((1, 12)))) == 200


def test_the_medoid_is_the_mean_with_the_smallest_distance_to_the_others(small: VAE) -> None:
    prior = small.fitted_prior()
    for label in range(-1, 10):
        rows = np.flatnonzero(prior.labels == label) if label >= 0 else np.arange(1, len(prior.means))
        means, weights = prior.means[rows].astype(np.float64), prior.weights[rows]
        total = [(np.linalg.norm(means - mean, axis=1) * weights).sum() for mean in means]
        np.testing.assert_array_equal(prior.medoid(label), prior.means[rows[np.argmin(total)]])


def test_a_traversal_goes_around_the_medoid_within_what_is_likely(small: VAE) -> None:
    prior, made = small.fitted_prior(), small.traverse(steps=5)
    assert made.values.shape == (12, 5)
    base = prior.medoid()
    for row, dimension in enumerate(made.dimensions):
        np.testing.assert_array_equal(made.latents[row, :, dimension], made.values[row])
        others = np.delete(made.latents[row], dimension, axis=1)
        np.testing.assert_array_equal(others, np.tile(np.delete(base, dimension), (5, 1)))
        assert made.values[row, 0] < base[dimension] < made.values[row, -1]
    lowest = np.quantile(prior.log_density(prior.latents(1, 0, 2000)[0]), 0.01)
    assert (prior.log_density(made.latents) > lowest).all()


def test_the_likely_range_is_the_central_share_of_the_conditional_distribution() -> None:
    low, high = Density(one_normal(3)).likely_range(np.array([0.5, -0.2, 1]), 1, 0.95)
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=0.02)
    assert Density(one_normal(3)).likely_range(np.array([0.5, 7.0, 1]), 1, 0.95)[1] == 7


def test_steps_are_even_in_what_one_sees(small: VAE) -> None:
    seen = small.traverse([5, 2, 4], steps=7)
    even = small.traverse([5, 2, 4], steps=7, spacing="latent")
    np.testing.assert_array_equal(seen.values[:, [0, -1]], even.values[:, [0, -1]])
    for values in even.values:
        np.testing.assert_allclose(np.diff(values), np.diff(values).mean(), rtol=1e-4)

    def unevenness(images: NDArray[np.float32]) -> float:
        change = np.linalg.norm(np.diff(images.reshape(3, 7, -1), axis=1), axis=2)
        return float((change.max(1) / change.mean(1)).mean())

    assert unevenness(seen.images) - 1 < 0.5 * (unevenness(even.images) - 1)


def test_a_span_or_a_place_that_is_given_is_kept(small: VAE) -> None:
    made = small.traverse([1, 2], around="centre", span=2, steps=5)
    np.testing.assert_array_equal(made.values, [[-2, -1, 0, 1, 2]] * 2)
    assert (np.delete(made.latents[0], 1, axis=1) == 0).all()
    assert small.traverse(1, span=2, spacing="seen", steps=3).values[0, [0, -1]].tolist() == [-2, 2]
    with pytest.raises(UsageError, match="expected the spacing seen or latent, got even"):
        small.traverse(spacing="even")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected latents, samples or a posterior, got 'middle'"):
        small.traverse(around="middle")


def test_a_model_without_a_fitted_prior_keeps_the_centre(old_model_folder: Path) -> None:
    old = VAE(old_model_folder)
    made = old.traverse(0, steps=3)
    assert made.values[0, [0, -1]].tolist() == [-2.5, 2.5]
    assert (made.latents[..., 1:] == 0).all()
    with pytest.raises(UsageError) as raised:
        old.traverse(around="typical")
    assert str(raised.value) == (
        "expected a model with a fitted prior for a traversal around a typical latent, got old 1 without one; "
        'pass around="centre"'
    )
    with pytest.raises(UsageError) as raised:
        old.interpolate(np.zeros(12), np.ones(12), method="likely")
    assert str(raised.value) == (
        "expected a model with a fitted prior for the method likely, got old 1 without one; use linear or spherical"
    )


def test_details_fade_where_the_encoder_does_not_find_the_latent(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", default_prior="fitted", detail=DetailSpec(5, 4.0, True))
    model = VAE(folder)
    ends = np.random.default_rng(0).normal(size=(2, 12)) * 2
    faded, whole, mean = (
        model.interpolate(*ends, 30, detail=detail, fade=fade)
        for detail, fade in ((True, True), (True, False), (False, True))
    )
    found = model.encode(mean.images)
    squared = ((found.mean - mean.latents).astype(np.float64) ** 2 / np.exp(found.log_variance.astype(float))).sum(1)
    kept = np.clip((12 + 3 * np.sqrt(24) - squared) / (3 * np.sqrt(24)), 0, 1)
    expected = mean.images + kept[:, None, None, None] * (whole.images - mean.images)
    np.testing.assert_allclose(faded.images, expected, atol=1e-5)
    assert np.array_equal(model.interpolate(*ends, 30).images, faded.images)  # by default, as in a traversal
    assert json.loads((folder / "manifest.json").read_text())["detail"]["default"]
    row = model.traverse(0, around=ends[0], steps=4)
    assert np.abs(row.images - model.traverse(0, around=ends[0], steps=4, fade=False).images).max() > 0.01


def test_details_of_most_samples_do_not_fade() -> None:
    vae = VAE()
    samples = vae.sample(40, seed=3)
    images = vae._decode_path(samples.latents, samples.noise, True, True)
    whole = vae.decode(samples.latents, noise=samples.noise)
    same = (images == whole).all(axis=(1, 2, 3))
    assert same.mean() > 0.8
