"""A run as pictures: curves over the epochs, and what the decoder makes of the same latents after each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vae_gen import picture_grid, standard_normals, to_grey_levels
from vae_gen.internal.files import write_file

from .model import VAE

SAMPLE_SEED = 0
SAMPLES = 100
COLUMNS = 10


def write_samples(path: Path, vae: VAE) -> None:
    """A grid of 100 samples of N(0, I) as PNG, of the latents that `vae-gen sample --seed 0` draws.

    Raises:
        OutputError: it cannot be written.
    """
    from PIL import Image

    latent = torch.from_numpy(standard_normals(SAMPLE_SEED, 0, SAMPLES, vae.config.latent_dim))
    with torch.no_grad():
        images = vae.decode(latent.to(next(vae.parameters()).device)).cpu().numpy()  # [100, 1, 28, 28]
    buffer = io.BytesIO()
    Image.fromarray(picture_grid(to_grey_levels(images), COLUMNS)).save(buffer, "PNG")
    write_file(path, buffer.getvalue())


def write_curves(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """The lines of metrics.jsonl as four panels in a PNG.

    Raises:
        OutputError: it cannot be written.
    """
    # The object interface with its own canvas: no pyplot, no display, no state that outlives the call.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2).flat
    epochs = [line["epoch"] for line in history]
    titles = {"neg_elbo": "−ELBO", "reconstruction": "reconstruction", "kl": "KL"}
    for (key, title), panel in zip(titles.items(), panels, strict=False):
        for part in ("train", "validation"):
            if history[0][part] is not None:
                panel.plot(epochs, [line[part][key] for line in history], marker=".", label=part)
        panel.set(title=title, ylabel="nats an image")
        panel.legend()
    last = panels[3]
    shown = "train" if history[0]["validation"] is None else "validation"
    for dimension, values in enumerate(zip(*(line[shown]["kl_per_dimension"] for line in history), strict=True)):
        last.plot(epochs, values, marker=".", label=str(dimension))
    last.set(title=f"KL of each dimension ({shown})", ylabel="nats an image")
    for panel in panels:
        panel.set(xlabel="epoch")
        panel.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_file(path, buffer.getvalue())
