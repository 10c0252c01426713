"""The formulas behind the quality figures: against libraries, slow computations, and by hand."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.metrics.pairwise import polynomial_kernel

from vae_gen import VAE, to_grey_levels
from vae_train.evaluation import cost_of_probabilities
from vae_train.quality import report
from vae_train.quality.classifiers import augmented
from vae_train.quality.distances import frechet_distance, kernel_distance, manifold, nearest, squared_radii
from vae_train.quality.latent_space import spherical, step_ratio
from vae_train.quality.likelihood import log_likelihood, log_mean_exp
from vae_train.quality.priors import Flow
from vae_train.quality.scores import read_as_label, spread

Floats = NDArray[np.float32]


def features(count: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> Floats:
    """Correlated made-up features, [count, 7], with a mean far from 0, as features after a ReLU have."""
    mixing = np.random.default_rng(99).normal(size=(7, 7))
    drawn = np.random.default_rng(seed).normal(size=(count, 7)) @ mixing
    return (scale * drawn + shift + 5).astype(np.float32)


def test_the_frechet_distance_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = features(300, 0), features(200, 1, shift=0.7, scale=1.3)
    identity = torch.nn.Identity()
    identity.num_features = 7
    metric = FrechetInceptionDistance(feature=identity)
    metric.update(torch.from_numpy(a).double(), real=True)
    metric.update(torch.from_numpy(b).double(), real=False)
    assert frechet_distance(a, b) == pytest.approx(metric.compute().item(), rel=1e-5)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_the_frechet_distance_of_two_normals_of_one_variance_is_the_square_of_their_shift() -> None:
    a = features(100, 0)
    assert frechet_distance(a, a + np.float32(2)) == pytest.approx(7 * 4, rel=1e-5)


def test_a_frechet_distance_exists_where_a_feature_never_changes() -> None:
    a, b = features(100, 0), features(100, 1)
    a[:, 3], b[:, 3] = 1, 2
    assert math.isfinite(frechet_distance(a, b))


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_the_kernel_distance_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = features(200, 0), features(200, 1, shift=0.7)
    metric = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=1, subset_size=200)
    metric.update(torch.from_numpy(a).double(), real=True)
    metric.update(torch.from_numpy(b).double(), real=False)
    assert kernel_distance(a, b, subsets=1) == pytest.approx(metric.compute()[0].item(), rel=1e-6)


def test_the_kernel_distance_of_subsets_is_the_mean_of_unbiased_estimates() -> None:
    a, b = features(60, 0), features(50, 1, shift=0.2)
    random = np.random.default_rng(3)
    estimates = []
    for _ in range(4):
        x, y = a[random.choice(60, 20, replace=False)], b[random.choice(50, 20, replace=False)]
        kernel = polynomial_kernel(np.concatenate([x, y]).astype(np.float64), degree=3, coef0=1)
        others = ~np.eye(20, dtype=bool)
        within = kernel[:20, :20][others].mean() + kernel[20:, 20:][others].mean()
        estimates.append(within - 2 * kernel[:20, 20:].mean())
    assert kernel_distance(a, b, subsets=4, subset_size=20, seed=3) == pytest.approx(np.mean(estimates), rel=1e-9)


@pytest.mark.parametrize("k", [1, 5])
def test_precision_recall_density_and_coverage_are_those_of_a_slow_computation(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_train.quality.distances.ROWS", 17)  # several chunks, the last one shorter
    real, samples = features(80, 0), features(70, 1, shift=1.0, scale=0.8)
    between = cdist(real, samples)
    real_radii = np.sort(cdist(real, real), axis=1)[:, k]  # column 0 is the picture itself
    sample_radii = np.sort(cdist(samples, samples), axis=1)[:, k]
    found = manifold(real, samples, k)
    inside = between <= real_radii[:, None]
    assert found.precision == pytest.approx(inside.any(0).mean())
    assert found.density == pytest.approx(inside.sum(0).mean() / k)
    assert found.coverage == pytest.approx(inside.any(1).mean())
    assert found.recall == pytest.approx((between <= sample_radii).any(1).mean())
    assert 0 < found.recall < 1
    np.testing.assert_allclose(squared_radii(real, k).sqrt().numpy(), real_radii, rtol=1e-4)


def test_four_points_on_a_line_have_the_shares_that_one_counts_by_hand() -> None:
    # Real at 0, 1, 2, 10, the balls of k = 1 reach 1, 1, 1 and 8. The samples at 1.5 and 30 lie in two of them and in
    # none; each sample's ball reaches 28.5, which takes in all real pictures but none from 30.
    real = np.array([[0], [1], [2], [10]], np.float32)
    samples = np.array([[1.5], [30]], np.float32)
    found = manifold(real, samples, k=1)
    assert (found.precision, found.recall, found.density, found.coverage) == (0.5, 1.0, 1.0, 0.5)


def test_copies_of_the_real_pictures_are_covered_whatever_float32_loses() -> None:
    real = features(50, 0) + np.float32(1000)
    found = manifold(real, real.copy(), k=3)
    assert (found.precision, found.recall, found.coverage) == (1.0, 1.0, 1.0)


def test_the_nearest_point_and_its_distance_are_exact() -> None:
    points, among = features(40, 0), features(60, 1)
    distances, indices = nearest(points, among)
    table = cdist(points, among)
    np.testing.assert_array_equal(indices, table.argmin(1))
    np.testing.assert_allclose(distances, table.min(1), rtol=1e-12)
    assert nearest(points, points)[0].max() == 0


def test_the_logarithm_of_a_mean_weight_does_not_overflow() -> None:
    log_weights = np.random.default_rng(0).normal(-2000, 3, (5, 50))
    value, error = log_mean_exp(log_weights)
    np.testing.assert_allclose(value, logsumexp(log_weights, axis=1) - math.log(50), rtol=1e-12)
    weights = np.exp(log_weights + 2000)
    np.testing.assert_allclose(error, weights.std(1, ddof=1) / math.sqrt(50) / weights.mean(1), rtol=1e-9)
    assert log_mean_exp(np.full((1, 1), -7.0))[0].tolist() == [-7.0]


def test_the_log_likelihood_of_many_draws_is_the_cost_of_each() -> None:
    random = np.random.default_rng(0)
    pixels = random.uniform(0, 1, (3, 4, 50)).astype(np.float32)
    pixels[0, 0, :2] = 0, 1
    images = random.uniform(0, 1, (3, 50)).astype(np.float32)
    expected = [-cost_of_probabilities(pixels[:, at], images) for at in range(4)]
    np.testing.assert_allclose(log_likelihood(pixels, images), np.stack(expected, axis=1), atol=1e-3)


def test_equal_steps_have_the_ratio_1_and_one_jump_as_many_as_there_are_steps() -> None:
    points = np.zeros((3, 5, 2))
    points[0, :, 0] = [0, 1, 2, 3, 4]
    points[1, 3:] = 7
    assert step_ratio(points).tolist() == [1.0, 4.0, 1.0]  # the last one does not move at all


def test_an_arc_begins_and_ends_at_its_ends_and_is_the_runtimes(tiny_model_folder: object) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 6, 12))
    np.testing.assert_allclose(spherical(a, b, np.zeros(6)), a, atol=1e-12)
    np.testing.assert_allclose(spherical(a, b, np.ones(6)), b, atol=1e-12)
    path = VAE(str(tiny_model_folder)).interpolate(a[0], b[0], 5, "spherical").latents
    np.testing.assert_allclose(spherical(a[:1], b[:1], np.array([0.25])), path[1:2], atol=1e-6)


def test_a_label_counts_as_much_as_another_however_many_pictures_it_has() -> None:
    found, labels = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 0, 0, 2, 1])
    figures = read_as_label(found, labels)
    assert figures == {"read_as_label": pytest.approx((0.75 + 0 + 1) / 3), "read_as_label_per_class": [0.75, 0.0, 1.0]}


def test_several_seeds_become_a_mean_and_a_deviation_and_one_seed_has_none() -> None:
    runs = [{"a": 1.0, "b": {"c": [1.0, 5.0]}}, {"a": 3.0, "b": {"c": [2.0, 5.0]}}]
    assert spread(runs) == {
        "a": {"mean": 2.0, "deviation": pytest.approx(math.sqrt(2))},
        "b": {"c": {"mean": [1.5, 5.0], "deviation": [pytest.approx(math.sqrt(0.5)), 0.0]}},
    }
    assert spread(runs[:1])["a"] == {"mean": 1.0, "deviation": None}


def test_augmentation_moves_and_mirrors_pictures_and_nothing_else() -> None:
    image = torch.zeros(200, 1, 6, 5)
    image[:, 0, 2, 1] = 1
    moved = augmented(image, 1, torch.Generator().manual_seed(0))
    assert moved.shape == image.shape
    assert moved.flatten(1).sum(1).tolist() == [1.0] * 200
    places = {(int(row), int(column)) for _, _, row, column in moved.nonzero()}
    assert places == {(row, column) for row in (1, 2, 3) for column in (0, 1, 2, 3, 4)}  # mirrored, 1 becomes 3


def test_the_examples_in_the_reports_docstrings_are_true() -> None:
    result = doctest.testmod(report)
    assert result.attempted > 0
    assert result.failed == 0


def test_grey_levels_are_what_is_measured() -> None:
    from vae_train.quality.classifiers import as_tensor

    levels = to_grey_levels(np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 1, 16, 16))
    np.testing.assert_allclose(as_tensor(levels).numpy().ravel(), np.arange(256) / 255, atol=1e-7)


def test_a_flows_density_is_that_of_its_latents_by_the_change_of_variables() -> None:
    torch.manual_seed(0)
    flow = Flow(dimensions=5, classes=3, layers=4, hidden=8)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    noise, label = torch.randn(2, 5), torch.tensor([0, 2])
    latents = flow.latents(noise, label)
    back = latents
    for layer in flow.layers:
        back, _ = layer(back, torch.nn.functional.one_hot(label, 3).float())
    torch.testing.assert_close(back, noise, rtol=0, atol=1e-5)
    for at in range(2):

        def to_latent(one: torch.Tensor, at: int = at) -> torch.Tensor:
            condition = torch.nn.functional.one_hot(label[at : at + 1], 3).float()
            for layer in reversed(flow.layers):
                one = layer.inverse(one, condition)
            return one

        jacobian = torch.autograd.functional.jacobian(to_latent, noise[at : at + 1]).reshape(5, 5)
        normal = -0.5 * (noise[at].square() + math.log(2 * math.pi)).sum()
        expected = normal - torch.linalg.slogdet(jacobian).logabsdet
        found = flow.log_density(latents[at : at + 1], label[at : at + 1])
        torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-4)
