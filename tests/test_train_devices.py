"""The choice of a device, and the loss as one function: the same compiled as not, and about the same in bfloat16."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tiny_training import CONFIG, tiny_data
from vae_gen import UnavailableError
from vae_train.config import DetailConfig
from vae_train.detail.training import train_detail
from vae_train.devices import choose_device, costs
from vae_train.model import new_vae
from vae_train.objective import kl_nats, reconstruction_nats
from vae_train.training import train


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes PyTorch report GPUs that this machine need not have."""

    def has(*, cuda: bool, mps: bool) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_fastest_device_of_the_machine(
    machine: Callable[..., None], cuda: bool, mps: bool, chosen: str
) -> None:
    machine(cuda=cuda, mps=mps)
    assert choose_device("auto") == chosen
    assert choose_device("cpu") == "cpu"
    for name, there in (("cuda", cuda), ("mps", mps)):
        if there:
            assert choose_device(name) == name
        else:
            with pytest.raises(UnavailableError, match=f"expected a device {name} that PyTorch .* can use, found only"):
                choose_device(name)


def test_training_takes_the_gpu_that_auto_finds(
    machine: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_train.training.curves", lambda _: b"")  # drawing them takes longer than training
    missing = not torch.cuda.is_available()
    run = train(dataclasses.replace(CONFIG, epochs=1), tiny_data(), tmp_path / "run")
    machine(cuda=True, mps=False)
    found = pytest.raises((RuntimeError, AssertionError)) if missing else contextlib.nullcontext()
    with found:  # PyTorch's complaint that there is no GPU after all
        train(dataclasses.replace(CONFIG, epochs=1, device="auto"), tiny_data(), tmp_path / "on a GPU")
    stage = DetailConfig(
        noise_dim=4, channels=(3, 4, 5), critic_channels=(4, 5, 6), epochs=1, batch_size=80, device="auto"
    )
    with found:
        train_detail(stage, run, tiny_data())
    for folder in (tmp_path / "on a GPU", run.path / "detail"):
        assert json.loads((folder / "config.json").read_text())["settings"]["device"] == "cuda"


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
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)  # processors round bfloat16 in different places
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
