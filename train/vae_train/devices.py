"""The device and the number of threads that training uses, and the loss as one function, compiled if wanted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from vae_gen import UnavailableError

from .config import DetailConfig, Device, TrainConfig
from .model import VAE
from .objective import kl_nats, reconstruction_nats, squared_errors

Costs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A function of images and noise: the reconstruction, [batch], and the KL of each dimension, [batch, 12], in nats.

With the Gaussian likelihood the reconstruction is its `squared_errors`, because its nats depend on the whole batch."""

Config = TypeVar("Config", TrainConfig, DetailConfig)


def settled_for_this_machine(config: Config) -> Config:
    """The settings with the device that "auto" stands for here, and with a number of threads for None.

    That number is PyTorch's, or 1 with micro-batches, because another one changes the last digits of convolutions.

    Raises:
        UnavailableError: this machine, or this build of PyTorch, does not have the device.
    """
    threads = config.threads or (1 if config.micro_batches else torch.get_num_threads())
    return replace(config, device=choose_device(config.device), threads=threads)


@contextlib.contextmanager
def use_threads(count: int | None) -> Iterator[None]:
    """Let PyTorch use this many threads in the `with` block; with None, as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(name: Device) -> Device:
    """The device of this name, if it exists here; for auto, the first existing one of cuda, mps and cpu.

    Raises:
        UnavailableError: this machine, or this build of PyTorch, does not have the device.
    """
    there: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, is_there in there.items() if is_there)
    if not there[name]:
        found = ", ".join(device for device, is_there in there.items() if is_there)
        raise UnavailableError(
            f"expected a device {name} that PyTorch {torch.__version__} can use, found only {found}; "
            "choose one of these with --device, or install another build of PyTorch"
        )
    return name


def typical_seconds(step: Callable[[], object]) -> float:
    """The median time of a step, measured on at least two and at most 49 steps in about two seconds."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 2 and len(times) < 50):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return sorted(times[1:])[len(times[1:]) // 2]


def costs(vae: VAE, config: TrainConfig, images: int | None = None) -> Costs:
    """Both parts of a VAE's loss as one function, in the precision of the settings, and compiled if `config.compile`.

    The loss is compiled together with the network, because then it costs next to nothing. A compiled function is
    called once here, so that a missing compiler is reported before the first step.

    Args:
        vae: the network, on the device that trains.
        config: the settings.
        images: how many images the function gets at a time; by default a batch.

    Raises:
        UnavailableError: PyTorch finds no compiler.
    """
    model, device = config.model, next(vae.parameters()).device
    images = images or config.batch_size
    of_pixels = squared_errors if model.likelihood == "gaussian" else reconstruction_nats

    def both(image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            logits, mean, log_variance = vae(image, noise)
        return of_pixels(logits.float(), image), kl_nats(mean.float(), log_variance.float())

    if not config.compile:
        return both
    compiled: Costs = torch.compile(both)
    image = torch.zeros(images, model.channels, model.height, model.width, device=device)
    try:
        reconstruction, kl = compiled(image, torch.zeros(images, model.latent_dim, device=device))
        (reconstruction.sum() + kl.sum()).backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # the compiler's back ends have no error in common
        raise UnavailableError(
            f"expected --compile to work with PyTorch {torch.__version__}, got {type(error).__name__} "
            f"({' '.join(str(error).split())[:150]}); install a C++ compiler or leave --compile out"
        ) from error
    vae.zero_grad()
    return compiled
