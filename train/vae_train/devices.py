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
from .objective import gaussian_nats, kl_nats, reconstruction_nats

Costs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A function of images and noise: the reconstruction, [batch], and the KL of each dimension, [batch, 12], in nats."""

Config = TypeVar("Config", TrainConfig, DetailConfig)


def settled_for_this_machine(config: Config) -> Config:
    """The settings with the device that "auto" stands for here, and with PyTorch's number of threads for None.

    Raises:
        UnavailableError: this machine, or this build of PyTorch, does not have the device.
    """
    return replace(config, device=choose_device(config.device), threads=config.threads or torch.get_num_threads())


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


def costs(vae: VAE, config: TrainConfig) -> Costs:
    """Both parts of a VAE's loss as one function, in the precision of the settings, and compiled if `config.compile`.

    The loss is compiled together with the network, because then it costs next to nothing. A compiled function is
    called once here, so that a missing compiler is reported before the first step.

    Raises:
        UnavailableError: PyTorch finds no compiler.
    """
    model, device = config.model, next(vae.parameters()).device
    pixel_nats = gaussian_nats if model.likelihood == "gaussian" else reconstruction_nats

    def both(image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            logits, mean, log_variance = vae(image, noise)
        return pixel_nats(logits.float(), image), kl_nats(mean.float(), log_variance.float())

    if not config.compile:
        return both
    compiled: Costs = torch.compile(both)
    image = torch.zeros(config.batch_size, model.channels, model.height, model.width, device=device)
    try:
        reconstruction, kl = compiled(image, torch.zeros(config.batch_size, model.latent_dim, device=device))
        (reconstruction.sum() + kl.sum()).backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # the compiler's back ends have no error in common
        raise UnavailableError(
            f"expected --compile to work with PyTorch {torch.__version__}, got {type(error).__name__} "
            f"({' '.join(str(error).split())[:150]}); install a C++ compiler or leave --compile out"
        ) from error
    vae.zero_grad()
    return compiled
