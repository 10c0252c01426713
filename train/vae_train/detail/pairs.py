"""What a detail stage is trained on: images with the posterior of their latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vae_gen.internal.files import write_file

from ..data import FashionMnist, split
from ..run_folder import Run

BATCH = 500


@dataclass(frozen=True)
class Pairs:
    """Images with their posterior and class, on the device that trains."""

    images: Tensor
    """uint8 [n, 1, 28, 28]"""
    mean: Tensor
    """[n, 12]"""
    log_variance: Tensor
    """[n, 12]"""
    labels: Tensor
    """int64 [n]"""

    @classmethod
    def of(cls, run: Run, data: FashionMnist, device: torch.device, kept: Path) -> Pairs:
        """The images that the run trained on, encoded as `encoder.onnx` will encode them, in float32.

        Args:
            run: the trained VAE.
            data: what it was trained on.
            device: where to.
            kept: a file for the posteriors, which take minutes where the encoder refines them. It belongs to the run's
                weights, as the folder that it lies in does.

        Raises:
            OutputError: the file cannot be written.
        """
        chosen = torch.arange(len(data.train_images))
        if not run.config.full:
            chosen, _ = split(len(chosen), run.config.validation_images)
        images = data.train_images[chosen].to(device)
        posterior = _read(kept, len(images))
        if posterior is None:
            vae = run.vae.to(device)
            with torch.no_grad():
                parts = [vae.encode(images[at : at + BATCH].float() / 255) for at in range(0, len(images), BATCH)]
            mean, log_variance = (torch.cat(part).cpu().contiguous() for part in zip(*parts, strict=True))
            posterior = {"mean": mean, "log_variance": log_variance}
            write_file(kept, safetensors.torch.save(posterior))
        labels = data.train_labels[chosen].to(device)
        return cls(images, posterior["mean"].to(device), posterior["log_variance"].to(device), labels)


def _read(kept: Path, count: int) -> dict[str, Tensor] | None:
    """The posteriors in a file, or None where they must be computed."""
    try:
        posterior = safetensors.torch.load(kept.read_bytes())
    except (OSError, safetensors.SafetensorError):
        return None
    return posterior if len(posterior.get("mean", ())) == len(posterior.get("log_variance", ())) == count else None
