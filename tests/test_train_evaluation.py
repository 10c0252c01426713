"""The reported figures: by hand, with the contract's noise, and the same from PyTorch as from sessions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import vae_gen
from tiny_training import MODEL, tiny_data
from vae_gen import InputError, Manifest, standard_normals
from vae_gen.internal.manifest import contract_signatures
from vae_train.config import ModelConfig
from vae_train.evaluation import (
    cost_of_logits,
    cost_of_probabilities,
    evaluate,
    evaluate_onnx,
    evaluate_torch,
)
from vae_train.model import VAE, new_vae
from vae_train.objective import gaussian_nats, kl_nats, pixel_entropy_nats, reconstruction_nats

Floats = NDArray[np.float32]


def grey(images: NDArray[np.uint8]) -> Any:
    """A decoder whose pixels are all one half."""
    return lambda latent: np.full((len(latent), *images.shape[1:]), 0.5, np.float32)


def test_the_gaussian_likelihood_has_the_variance_of_the_error() -> None:
    images = np.array([[0, 255, 0, 255]], np.uint8).reshape(1, 1, 2, 2).repeat(3, 0)

    def encode(image: Floats) -> tuple[Floats, Floats]:
        return np.zeros((len(image), 1), np.float32), np.zeros((len(image), 1), np.float32)

    figures = evaluate(encode, grey(images), None, images)
    assert figures.pixel_variance == pytest.approx(0.25)  # each pixel is off by one half
    assert figures.reconstruction == pytest.approx(4 * (0.5 + 0.5 * math.log(2 * math.pi * 0.25)))
    assert figures.floor_nats is None
    assert figures.psnr_db == pytest.approx(-10 * math.log10(0.25))


def test_the_gaussian_that_is_trained_is_the_one_that_is_reported() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, image = torch.randn(5, 3, 4, 4, generator=generator), torch.rand(5, 3, 4, 4, generator=generator)
    variance = float((torch.sigmoid(logits) - image).square().mean())
    expected = [
        -float(torch.distributions.Normal(torch.sigmoid(a), variance**0.5).log_prob(x).sum())
        for a, x in zip(logits, image, strict=True)
    ]
    assert gaussian_nats(logits, image).tolist() == pytest.approx(expected, rel=1e-5)
    logits.requires_grad_(True)
    gaussian_nats(logits, image).mean().backward()
    flowing = logits.detach().clone().requires_grad_(True)  # the same loss with the variance's gradient in it
    squared = (torch.sigmoid(flowing) - image).square()
    (0.5 * image[0].numel() * torch.log(squared.mean())).backward()
    assert torch.allclose(logits.grad, flowing.grad, rtol=1e-4)


def test_a_model_that_ignores_the_image_costs_what_the_formula_says() -> None:
    images = np.zeros((4, 1, 2, 3), np.uint8)
    images[:2] = 255
    mean, log_variance = np.array([0.5, 0.0], np.float32), np.array([0.0, math.log(4)], np.float32)

    def encode(image: Floats) -> tuple[Floats, Floats]:
        return np.tile(mean, (len(image), 1)), np.tile(log_variance, (len(image), 1))

    figures = evaluate(encode, grey(images), lambda _, image: cost_of_logits(np.zeros_like(image), image), images)
    assert figures.images == 4
    assert figures.reconstruction == pytest.approx(6 * math.log(2), abs=1e-12)
    assert figures.kl_per_dimension == pytest.approx([0.125, 0.5 * (3 - math.log(4))], abs=1e-6)
    assert figures.kl == pytest.approx(sum(figures.kl_per_dimension), abs=1e-12)
    assert figures.neg_elbo == figures.reconstruction + figures.kl
    assert figures.active_units == 0
    assert figures.floor_nats == pytest.approx(0, abs=1e-4)
    assert figures.to_json()["posterior_mean_variance"] == [0.0, 0.0]


def test_a_unit_is_active_where_its_mean_varies_by_more_than_a_hundredth() -> None:
    # Half of the images have mean +a, half -a, which is a variance of a².
    images = np.zeros((2, 1, 1, 1), np.uint8)
    images[1] = 255

    def encode(image: Floats) -> tuple[Floats, Floats]:
        sign = 2 * image.reshape(-1, 1) - 1
        mean = sign * np.array([[0.099, 0.101, 1.0]], np.float32)
        return mean, np.zeros_like(mean)

    figures = evaluate(encode, grey(images), lambda _, image: cost_of_logits(np.zeros_like(image), image), images)
    assert figures.active_units == 2
    assert figures.posterior_mean_variance == pytest.approx([0.099**2, 0.101**2, 1.0], rel=1e-5)


def test_the_noise_of_each_image_is_the_seed_contracts_whatever_the_batch() -> None:
    latents: list[Floats] = []

    def cost(latent: Floats, image: Floats) -> NDArray[np.float64]:
        latents.append(latent)
        return np.zeros(len(image))

    def encode(image: Floats) -> tuple[Floats, Floats]:
        return np.ones((len(image), 3), np.float32), np.full((len(image), 3), math.log(4), np.float32)

    images = np.zeros((1201, 1, 28, 28), np.uint8)
    evaluate(encode, grey(images), cost, images)
    assert len(latents) > 1
    noise = standard_normals(0, 0, 1201, 3, stream=2**32 - 1)
    np.testing.assert_allclose(np.concatenate(latents), 1 + 2 * noise, atol=1e-6)


def test_the_figures_are_those_of_the_objective_that_is_trained() -> None:
    data, vae = tiny_data(), new_vae(MODEL, seed=1)
    figures = evaluate_torch(vae, data.test_images.numpy())
    image = data.test_images.float() / 255
    noise = torch.from_numpy(standard_normals(0, 0, len(image), MODEL.latent_dim, stream=2**32 - 1))
    with torch.no_grad():
        logits, mean, log_variance = vae(image, noise)
    assert figures.reconstruction == pytest.approx(reconstruction_nats(logits, image).mean().item(), abs=1e-3)
    assert figures.kl_per_dimension == pytest.approx(kl_nats(mean, log_variance).mean(0).tolist(), abs=1e-5)
    assert figures.floor_nats == pytest.approx(pixel_entropy_nats(image).mean().item(), abs=1e-3)


@pytest.mark.parametrize("extreme", [0.0, 4.0, 12.0])
def test_probabilities_cost_what_their_logits_do_on_average(extreme: float) -> None:
    random = np.random.default_rng(0)
    logits = random.uniform(-extreme, extreme, (100, 1, 28, 28)).astype(np.float32)
    image = random.uniform(0, 1, logits.shape).astype(np.float32)
    probabilities = torch.sigmoid(torch.from_numpy(logits)).numpy()
    expected = cost_of_logits(logits, image).mean()
    assert cost_of_probabilities(probabilities, image).mean() == pytest.approx(expected, abs=0.01)


def test_probabilities_of_exactly_0_and_1_cost_a_finite_amount() -> None:
    wrong = cost_of_probabilities(np.array([[0, 1]], np.float32), np.array([[1, 0]], np.float32))
    assert wrong.tolist() == pytest.approx([2 * 24 * math.log(2)])


class TorchSession:
    """A session with the graphs' names that runs PyTorch."""

    def __init__(self, vae: VAE) -> None:
        self.vae = vae

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> Sequence[Any]:
        with torch.no_grad():
            if "image" in input_feed:
                return [value.numpy() for value in self.vae.encode(torch.from_numpy(input_feed["image"]))]
            return [self.vae.decode(torch.from_numpy(input_feed["latent"])).numpy()]


def as_sessions(vae: VAE, tiny_model_folder: Path) -> vae_gen.VAE:
    """The VAE behind the runtime's interface, of which only pixels come out."""
    model, manifest = vae.config, Manifest.parse((tiny_model_folder / "manifest.json").read_bytes())
    image = dataclasses.replace(manifest.image, channels=model.channels, height=model.height, width=model.width)
    latent = dataclasses.replace(manifest.latent, dimensions=model.latent_dim)
    graphs = {
        name: dataclasses.replace(manifest.graphs[name], inputs=inputs, outputs=outputs)
        for name, (inputs, outputs) in contract_signatures(image, latent).items()
        if name in manifest.graphs
    }
    manifest = dataclasses.replace(manifest, image=image, latent=latent, graphs=graphs)
    return vae_gen.VAE.from_sessions(manifest, encoder=TorchSession(vae), decoder=TorchSession(vae))


def test_pytorch_and_onnx_give_the_same_figures(tiny_model_folder: Path) -> None:
    data, vae = tiny_data(), new_vae(MODEL, seed=1)
    with torch.no_grad():
        vae.decoder.convolutions[-1].weight.mul_(20)  # confident pixels, as a trained model has
        vae.encoder.mean.weight.mul_(20)
    images = data.test_images.numpy()
    run, model = evaluate_torch(vae, images), evaluate_onnx(as_sessions(vae, tiny_model_folder), images)
    assert model.neg_elbo == pytest.approx(run.neg_elbo, abs=0.01)
    assert model.kl_per_dimension == pytest.approx(run.kl_per_dimension, abs=1e-4)
    assert (model.active_units, model.floor_nats) == (run.active_units, run.floor_nats)


def test_images_of_another_size_are_refused() -> None:
    vae = new_vae(ModelConfig(height=20, width=33, channels=3), seed=0)
    with pytest.raises(InputError) as caught:
        evaluate_torch(vae, tiny_data().test_images.numpy())
    assert str(caught.value) == (
        "expected images of shape [3, 20, 33], got [1, 12, 10]; "
        "evaluate the model on the data set that it was trained on"
    )
