"""Residual networks, the gradient written with forward operators, and the refinement of the posterior."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vae_train.config import ModelConfig
from vae_train.layers import gradient_at_input, record
from vae_train.model import VAE, new_vae
from vae_train.objective import kl_nats, reconstruction_nats
from vae_train.refinement import hadamard_signs, refine


def shaken(config: ModelConfig, seed: int) -> VAE:
    """A VAE whose residual branches are not zero, as after some training."""
    vae = new_vae(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return vae


@settings(max_examples=25, deadline=None)
@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(10, 20),
    width=st.integers(10, 20),
    blocks=st.sampled_from([(), (0, 1), (2, 0), (1, 2)]),
    hidden=st.sampled_from([0, 9]),
    kernel_size=st.sampled_from([3, 4]),
    last_kernel=st.sampled_from([0, 3]),
    seed=st.integers(0, 99),
)
def test_the_reconstruction_gradient_is_autograds(
    channels: int, height: int, width: int, blocks: tuple[int, ...], hidden: int, kernel_size: int, last_kernel: int,
    seed: int,
) -> None:
    config = ModelConfig(
        channels, height, width, 5, (4, 6), kernel_size, residual_blocks=blocks, decoder_hidden=hidden,
        last_kernel=last_kernel,
    )  # fmt: skip
    decoder = shaken(config, seed).decoder.double()
    latent = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    image = torch.rand(3, channels, height, width, dtype=torch.float64)
    (expected,) = torch.autograd.grad(reconstruction_nats(decoder(latent), image).sum(), latent)
    torch.testing.assert_close(decoder.reconstruction_gradient(latent, image), expected, rtol=1e-9, atol=1e-9)


def test_a_layer_that_no_decoder_has_is_refused() -> None:
    _, tape = record([nn.Tanh()], torch.zeros(1, 2))
    with pytest.raises(TypeError, match="got Tanh"):
        gradient_at_input(tape, torch.zeros(1, 2))


def test_new_residual_blocks_change_nothing() -> None:
    config = ModelConfig(height=12, width=12, encoder_channels=(4, 6))
    plain, deep = new_vae(config, 3), new_vae(dataclasses.replace(config, residual_blocks=(1, 2)), 3)
    deep.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(2, 1, 12, 12)
    for ours, theirs in zip(deep.encoder(image), plain.encoder(image), strict=True):
        assert torch.equal(ours, theirs)


@given(
    curvature=st.lists(st.floats(0, 50), min_size=3, max_size=3),
    optimum=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
)
def test_on_a_quadratic_cost_it_goes_to_the_exact_posterior(curvature: list[float], optimum: list[float]) -> None:
    a, b = torch.tensor([curvature]), torch.tensor([optimum])

    def gradient(latent: Tensor) -> Tensor:  # of ½·a·(z − b)²: the posterior is N(ab/(1+a), 1/(1+a))
        return a * (latent - b)

    mean, log_variance = refine(gradient, torch.zeros(1, 3), torch.zeros(1, 3), steps=60)
    torch.testing.assert_close(mean, a * b / (1 + a), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(torch.exp(log_variance), 1 / (1 + a), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("curvature", "optimum"), [(3.0, 0.3), (3.0, 9.0), (3.0, -9.0), (60.0, 0.3), (-0.9, 0.3)],
    ids=["free", "mean held back", "mean held back below", "variance held back", "concave"],
)  # fmt: skip
def test_a_step_in_one_dimension_by_hand(curvature: float, optimum: float) -> None:
    mean, variance = 0.25, 0.64  # a standard deviation of 0.8
    slope_above, slope_below = (curvature * (mean + side * 0.8 - optimum) for side in (1, -1))
    seen = max(0.0, (slope_above - slope_below) / (2 * 0.8))
    precision = 0.8 / variance + 0.2 * (1 + seen)
    move = 0.5 * ((slope_above + slope_below) / 2 + mean) / precision
    new_mean = mean - max(-0.4, min(0.4, move))  # half a standard deviation at most
    growth = max(-0.5, min(0.5, -math.log(precision) - math.log(variance)))

    found, log_variance = refine(
        lambda latent: curvature * (latent - optimum),
        torch.tensor([[mean]], dtype=torch.float64),
        torch.tensor([[variance]], dtype=torch.float64).log(),
        steps=1,
    )
    assert found.item() == pytest.approx(new_mean, abs=1e-12)
    assert log_variance.item() == pytest.approx(math.log(variance) + growth, abs=1e-12)


def test_dimensions_that_depend_on_each_other_are_probed_with_other_signs_in_each_step() -> None:
    assert hadamard_signs(5, 2).tolist() == [[1, 1], [-1, 1], [1, -1], [-1, -1], [1, 1]]
    probes: list[list[float]] = []

    def gradient(latent: Tensor) -> Tensor:
        probes.append(latent[0].tolist())
        return torch.zeros_like(latent)

    refine(gradient, torch.zeros(1, 2), torch.zeros(1, 2), steps=3)
    assert np.sign(probes).tolist() == [[1, 1], [-1, -1], [-1, 1], [1, -1], [1, -1], [-1, 1]]


def test_the_ramp_of_a_relu_by_hand() -> None:
    chain = [nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)]
    with torch.no_grad():
        for layer, weight in ((chain[0], 2.0), (chain[2], 3.0)):
            layer.weight.fill_(weight)
            layer.bias.zero_()
    for value, slope in ((-0.06, 0.0), (-0.02, 0.3), (0.0, 0.5), (0.02, 0.7), (0.06, 1.0)):
        _, tape = record(chain, torch.tensor([[value]]))
        assert gradient_at_input(tape, torch.ones(1, 1), 0.2).item() == pytest.approx(3 * slope * 2)


def test_a_model_refines_with_a_ramp_of_a_fifth_and_as_often_as_its_settings_say() -> None:
    vae = shaken(ModelConfig(1, 8, 8, 4, (8,), residual_blocks=(1,), decoder_hidden=16, refinement_steps=3), 1)
    image = waves(5, seed=2)
    with torch.no_grad():
        by_hand = refine(lambda z: vae.decoder.reconstruction_gradient(z, image, 0.2), *vae.encoder(image), 3)
        for found, expected in zip(vae.encode(image), by_hand, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_curvature_below_zero_never_makes_a_variance_negative() -> None:
    mean, log_variance = refine(lambda latent: -5 * latent, torch.ones(1, 3), torch.zeros(1, 3), 3)
    assert mean.isfinite().all()
    assert log_variance.isfinite().all()


@pytest.mark.parametrize("dimensions", [1, 2, 7, 12, 16, 40])
def test_the_signs_of_two_dimensions_are_uncorrelated_over_a_round(dimensions: int) -> None:
    rows = 1 << dimensions.bit_length()
    signs = hadamard_signs(rows, dimensions)
    assert set(signs.unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(signs.T @ signs, rows * torch.eye(dimensions))


def waves(count: int, seed: int) -> Tensor:
    """Pictures [count, 1, 8, 8] that four numbers each describe."""
    generator = torch.Generator().manual_seed(99)
    basis = 2 * torch.randn(4, 64, generator=generator)
    return torch.sigmoid(torch.randn(count, 4, generator=generator.manual_seed(seed)) @ basis).view(-1, 1, 8, 8)


def test_refinement_lowers_the_bound_of_a_trained_model(small_trained_vae: VAE) -> None:
    vae, image = small_trained_vae, waves(32, seed=1)

    def bound(mean: Tensor, log_variance: Tensor) -> float:
        noise = torch.randn(64, *mean.shape, generator=torch.Generator().manual_seed(0))
        costs = [reconstruction_nats(vae.decoder(mean + torch.exp(0.5 * log_variance) * e), image) for e in noise]
        return float((torch.stack(costs).mean(0) + kl_nats(mean, log_variance).sum(1)).mean())

    with torch.no_grad():
        mean, log_variance = vae.encoder(image)
        refined = vae.refined(image, mean, log_variance, 4)
        assert bound(*refined) < bound(mean, log_variance) - 0.5


@pytest.fixture(scope="module")
def small_trained_vae() -> VAE:
    """A few steps of training: enough for a decoder that depends on its latent, and an encoder that is a bad guess."""
    vae = new_vae(ModelConfig(1, 8, 8, 4, (8,), residual_blocks=(1,), decoder_hidden=16), 0)
    optimizer = torch.optim.Adam(vae.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    images = waves(64, seed=0)
    for _ in range(150):
        output = vae(images, torch.randn(64, 4, generator=generator))
        loss = (reconstruction_nats(output.logits, images).sum() + kl_nats(output.mean, output.log_variance).sum()) / 64
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return vae.eval().requires_grad_(False)


def test_without_steps_the_encoder_has_the_last_word() -> None:
    vae = new_vae(ModelConfig(1, 8, 8, 4, (8,)), 0)
    image = torch.rand(2, 1, 8, 8)
    for ours, encoders in zip(vae.encode(image), vae.encoder(image), strict=True):
        np.testing.assert_array_equal(ours.detach(), encoders.detach())
