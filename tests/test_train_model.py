"""The network's shapes, and the objective against literal numbers and PyTorch's own distributions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_gen import UsageError
from vae_train.config import ModelConfig
from vae_train.model import new_vae
from vae_train.objective import kl_nats, pixel_entropy_nats, reconstruction_nats


@settings(max_examples=30)
@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(10, 40),
    width=st.integers(10, 40),
    latent_dim=st.integers(1, 20),
    encoder_channels=st.sampled_from([(4,), (4, 6), (4, 6, 8)]),
    kernel_size=st.sampled_from([3, 4, 5]),
    stride=st.sampled_from([1, 2, 3]),
    last_kernel=st.sampled_from([0, 1, 3]),
)
def test_every_image_size_comes_back_as_it_went_in(
    channels: int, height: int, width: int, latent_dim: int, encoder_channels: tuple[int, ...], kernel_size: int,
    stride: int, last_kernel: int,
) -> None:
    if stride == 3 or (stride == 2 and kernel_size == 5):
        encoder_channels = encoder_channels[:2]  # 10 pixels cannot be made so much smaller three times
    config = ModelConfig(
        channels, height, width, latent_dim, encoder_channels, kernel_size, stride, last_kernel=last_kernel
    )
    vae = new_vae(config, seed=0)
    image = torch.rand(2, channels, height, width)
    logits, mean, log_variance = vae(image, torch.zeros(2, latent_dim))
    assert logits.shape == image.shape
    assert mean.shape == log_variance.shape == (2, latent_dim)


def test_the_reference_network_has_the_layers_of_its_recipe() -> None:
    shapes = {name: tuple(value.shape) for name, value in new_vae(ModelConfig(), seed=0).named_parameters()}
    assert {name: shape for name, shape in shapes.items() if name.endswith("weight")} == {
        "encoder.convolutions.0.weight": (32, 1, 4, 4),
        "encoder.convolutions.1.weight": (64, 32, 4, 4),
        "encoder.mean.weight": (12, 3136),
        "encoder.log_variance.weight": (12, 3136),
        "decoder.linear.weight": (3136, 12),
        "decoder.convolutions.0.weight": (64, 32, 4, 4),
        "decoder.convolutions.1.weight": (32, 1, 4, 4),
    }


def test_a_last_convolution_reads_the_features_of_the_last_transposed_one() -> None:
    decoder = new_vae(ModelConfig(height=12, width=10, encoder_channels=(4, 6), last_kernel=3), seed=0).decoder
    assert [tuple(layer.weight.shape) for layer in (*decoder.convolutions, decoder.last)] == [
        (6, 4, 4, 4), (4, 4, 4, 4), (1, 4, 3, 3)
    ]  # fmt: skip
    features: list[torch.Tensor] = []
    decoder.convolutions[-1].register_forward_hook(lambda _, given, made: features.append(made))
    logits = decoder(torch.randn(2, 12, generator=torch.Generator().manual_seed(0)))
    expected = torch.nn.functional.conv2d(features[0].clamp(min=0), decoder.last.weight, decoder.last.bias, padding=1)
    torch.testing.assert_close(logits, expected)
    with pytest.raises(UsageError, match="expected last_kernel of 0 or an odd number, got 2"):
        ModelConfig(last_kernel=2)


def test_decoding_is_the_sigmoid_of_the_decoders_logits() -> None:
    vae = new_vae(ModelConfig(height=12, width=10, encoder_channels=(4, 6)), seed=0)
    latent = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(vae.decode(latent), torch.sigmoid(vae.decoder(latent)))


def test_the_latent_is_the_mean_and_the_noise_times_the_standard_deviation() -> None:
    vae = new_vae(ModelConfig(height=12, width=10, latent_dim=3, encoder_channels=(4, 6)), seed=0)
    image = torch.rand(1, 1, 12, 10, generator=torch.Generator().manual_seed(0))
    noise = torch.tensor([[1.0, -2.0, 0.5]])
    mean, log_variance = vae.encode(image)
    latent = mean + log_variance.exp().sqrt() * noise
    assert torch.allclose(vae(image, noise).logits, vae.decoder(latent), atol=1e-6)


def test_first_weights_are_a_function_of_the_seed_and_leave_pytorchs_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (new_vae(ModelConfig(), seed).decoder.linear.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_reconstruction_of_three_pixels_by_hand() -> None:
    # logits 0, ln 3, -ln 3 are the probabilities 1/2, 3/4, 1/4
    logits = torch.tensor([[[[0.0, math.log(3), -math.log(3)]]]])
    image = torch.tensor([[[[1.0, 0.0, 0.5]]]])
    by_hand = math.log(2) + math.log(4) + (0.5 * math.log(4) + 0.5 * math.log(4 / 3))
    assert reconstruction_nats(logits, image).tolist() == pytest.approx([by_hand], abs=1e-6)
    assert by_hand == pytest.approx(2.9164297, abs=1e-6)


def test_the_kl_of_two_dimensions_by_hand() -> None:
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(4)]])
    assert kl_nats(mean, log_variance)[0].tolist() == pytest.approx([0.5, 0.5 * (4 - 1 - math.log(4))])


@given(st.floats(-5, 5), st.floats(-6, 3))
def test_the_kl_is_that_of_pytorchs_normals(mean: float, log_variance: float) -> None:
    m, v = torch.tensor(mean, dtype=torch.float64), torch.tensor(log_variance, dtype=torch.float64)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(m, (v / 2).exp()), normal(0.0, 1.0))
    assert kl_nats(m, v).item() == pytest.approx(expected.item(), abs=1e-9)


def test_the_floor_of_grey_pixels_by_hand() -> None:
    image = torch.tensor([[[[0.0, 1.0, 0.5, 0.25]]]])
    by_hand = math.log(2) + 0.25 * math.log(4) + 0.75 * math.log(4 / 3)
    assert pixel_entropy_nats(image).tolist() == pytest.approx([by_hand], abs=1e-6)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.lists(st.floats(-20, 20), min_size=4, max_size=4)
)
def test_no_reconstruction_is_below_the_floor(pixels: list[float], logits: list[float]) -> None:
    image = torch.tensor(pixels, dtype=torch.float64).view(1, 1, 2, 2)
    cost = reconstruction_nats(torch.tensor(logits, dtype=torch.float64).view(1, 1, 2, 2), image)
    assert cost.item() >= pixel_entropy_nats(image).item() - 1e-9
