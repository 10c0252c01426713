"""Pictures of a run and of a model's quality, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vae_gen import picture_grid, standard_normals, to_grey_levels
from vae_gen.internal.files import write_file

from .model import VAE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLE_SEED = 0
SAMPLES = 100
COLUMNS = 10
MOST_IN_LEGEND = 20


def png(pixels: NDArray[np.uint8], *, optimize: bool = False) -> bytes:
    """Grey levels [height, width] or colours [height, width, 3] as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=optimize)
    return buffer.getvalue()


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write grey levels [height, width] or colours [height, width, 3] to a PNG file.

    Raises:
        OutputError: the file cannot be written.
    """
    write_file(path, png(pixels))


def sample_grid(vae: VAE) -> NDArray[np.uint8]:
    """A grid of 100 pictures, decoded from the latents that `vae-gen sample --prior normal --seed 0` makes."""
    latent = torch.from_numpy(standard_normals(SAMPLE_SEED, 0, SAMPLES, vae.config.latent_dim))
    with torch.no_grad():
        images = vae.decode(latent.to(next(vae.parameters()).device)).cpu().numpy()  # [100, 1, 28, 28]
    return picture_grid(to_grey_levels(images), COLUMNS)


def curves(history: Sequence[dict[str, Any]]) -> bytes:
    """The lines of metrics.jsonl as four panels over the epochs, as the bytes of a PNG file."""
    figure = _figure(10, 7)
    panels = figure.subplots(2, 2).flat
    epochs = [line["epoch"] for line in history]
    titles = {"neg_elbo": "−ELBO", "reconstruction": "reconstruction", "kl": "KL"}
    for (key, title), panel in zip(titles.items(), panels, strict=False):
        for part in ("train", "validation"):
            if history[0][part] is not None:
                panel.plot(epochs, [line[part][key] for line in history], marker=".", label=part)
        panel.set(title=title)
        panel.legend()
    shown = "train" if history[0]["validation"] is None else "validation"
    for dimension, values in enumerate(zip(*(line[shown]["kl_per_dimension"] for line in history), strict=True)):
        panels[3].plot(epochs, values, marker=".", label=str(dimension))
    panels[3].set(title=f"KL of each dimension ({shown})")
    for panel in panels:
        panel.set(xlabel="epoch", ylabel="nats per image")
        panel.grid(alpha=0.3)
    return _figure_png(figure)


def latent_map(points: NDArray[np.float32], labels: NDArray[np.int64], class_names: Sequence[str]) -> bytes:
    """Points [n, 2] on a plane, coloured by their class, as the bytes of a PNG file.

    Points without a class are grey. With more than 20 classes there is no legend, and classes share colours.
    """
    from matplotlib import colormaps

    figure = _figure(8, 7)
    panel = figure.subplots()
    for label, name in enumerate(class_names):
        own = points[labels == label]
        panel.scatter(own[:, 0], own[:, 1], s=6, color=colormaps["tab10"](label % 10), label=name)
    others = points[labels < 0] if class_names else points
    if len(others):
        panel.scatter(others[:, 0], others[:, 1], s=6, color="grey")
    panel.set(title=f"Posterior means of {len(points)} test images (t-SNE)", xticks=[], yticks=[])
    if 0 < len(class_names) <= MOST_IN_LEGEND:
        panel.legend(markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5))
    return _figure_png(figure)


def _figure(width: float, height: float) -> Figure:
    """An empty figure, in inches of 100 pixels, with a canvas of its own: no pyplot, no display, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
