"""Where to train, and with what compiled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vae_gen import UnavailableError

from .config import Device, TrainConfig
from .model import VAE
from .objective import kl_nats, reconstruction_nats

Costs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Images and noise to reconstruction, [batch], and KL of each dimension, [batch, 12], in nats."""


def choose_device(name: Device) -> Device:
    """The same name, where there is such a device; for auto the first there is of cuda, mps and cpu.

    Raises:
        UnavailableError: this machine, or this PyTorch, does not have it.
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


def costs(vae: VAE, config: TrainConfig) -> Costs:
    """The VAE with both parts of its loss as one function, in the settings' precision, compiled where they say so.

    Compiled with the network, what follows it costs next to nothing. It is tried once, so that a missing compiler
    shows before the first step.

    Raises:
        UnavailableError: PyTorch finds nothing to compile with.
    """
    model, device = config.model, next(vae.parameters()).device

    def both(image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            logits, mean, log_variance = vae(image, noise)
        return reconstruction_nats(logits.float(), image), kl_nats(mean.float(), log_variance.float())

    if not config.compile:
        return both
    compiled: Costs = torch.compile(both)
    image = torch.zeros(config.batch_size, model.channels, model.height, model.width, device=device)
    try:
        reconstruction, kl = compiled(image, torch.zeros(config.batch_size, model.latent_dim, device=device))
        (reconstruction.sum() + kl.sum()).backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever the compiler's back end says
        raise UnavailableError(
            f"expected --compile to work with PyTorch {torch.__version__}, got {type(error).__name__} "
            f"({' '.join(str(error).split())[:150]}); install a C++ compiler or leave --compile out"
        ) from error
    vae.zero_grad()
    return compiled
