"""The loss as one function: the same compiled as not, in float32 and, about, in bfloat16."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tiny_training import CONFIG
from vae_gen import UnavailableError
from vae_train.devices import costs
from vae_train.model import new_vae
from vae_train.objective import kl_nats, reconstruction_nats


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = CONFIG.model
    image = torch.rand(CONFIG.batch_size, model.channels, model.height, model.width, generator=generator)
    return image, torch.randn(CONFIG.batch_size, model.latent_dim, generator=generator)


def test_costs_are_the_objectives_own() -> None:
    vae = new_vae(CONFIG.model, 0)
    image, noise = batch()
    logits, mean, log_variance = vae(image, noise)
    reconstruction, kl = costs(vae, CONFIG)(image, noise)
    torch.testing.assert_close(reconstruction, reconstruction_nats(logits, image), rtol=0, atol=0)
    torch.testing.assert_close(kl, kl_nats(mean, log_variance), rtol=0, atol=0)


def test_bfloat16_gives_float32_costs_that_are_near() -> None:
    vae = new_vae(CONFIG.model, 0)
    exact = costs(vae, CONFIG)(*batch())
    rough = costs(vae, dataclasses.replace(CONFIG, precision="bf16"))(*batch())
    for a, b in zip(exact, rough, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.01, atol=0.01)
    assert not torch.equal(exact[0], rough[0])


@pytest.mark.filterwarnings("ignore")  # of the compiler, about its own internals
def test_compiled_costs_and_their_gradients_are_the_same() -> None:
    plain, other = new_vae(CONFIG.model, 0), new_vae(CONFIG.model, 0)
    try:
        compiled = costs(other, dataclasses.replace(CONFIG, compile=True))
    except UnavailableError as error:
        pytest.skip(str(error))
    for vae, of in ((plain, costs(plain, CONFIG)), (other, compiled)):
        reconstruction, kl = of(*batch())
        (reconstruction.mean() + kl.mean(0).sum()).backward()
        assert all(weight.grad is not None for weight in vae.parameters())
    for a, b in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4)
