"""Counts two faults that a look at samples finds: `python -m bench.look [MODEL …] [--sheets DIR]`.

For the samples of each model, and for as many test images of Fashion-MNIST, it prints

- specks: the share of all pixels with 1 … 15 grey levels, which are seen as dirt around an object;
- doubles: the share of pictures nearer than 2.0 to another one of them, with pixels in [0, 1] (Euclidean distance).

With --sheets it writes the first 500 pictures of each set as a PNG, to be looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from vae_gen import VAE, picture_grid, to_grey_levels
from vae_train.images.loading import fashion_mnist
from vae_train.plots import write_png

from .machine import machine_line

FAINT = 15
"""The highest grey level of a speck."""
DOUBLE = 2.0
SHOWN, COLUMNS = 500, 25


def specks(pictures: NDArray[np.uint8]) -> float:
    """The share of all pixels that are nearly, but not quite, black."""
    return float(((pictures > 0) & (pictures <= FAINT)).mean())


def doubles(pictures: NDArray[np.uint8]) -> float:
    """The share of pictures that have another one nearer than `DOUBLE`."""
    rows = pictures.reshape(len(pictures), -1).astype(np.float64) / 255
    squares = (rows**2).sum(1)
    distances = squares[:, None] + squares - 2 * rows @ rows.T
    np.fill_diagonal(distances, np.inf)
    return float((distances.min(1) < DOUBLE**2).mean())


def main(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL …]", help="Names or folders of models.")] = None,
    count: Annotated[int, typer.Option(help="The number of pictures of each set.")] = 2000,
    seed: Annotated[int, typer.Option(help="The seed of the samples.")] = 11,
    sheets: Annotated[Path | None, typer.Option(help="A folder for sheets of the first 500 pictures.")] = None,
) -> None:
    """Print a table with a row for real images and one for each model."""
    print(machine_line(), end="\n\n")
    sets = {"test images": fashion_mnist().test_images.numpy()[:count]}
    for model in models or ["fashion-mnist-12d"]:
        vae = VAE(model)
        shown = f"{vae.manifest.name} {vae.manifest.version}"
        sets[shown] = to_grey_levels(vae.sample(count, seed=seed).images)
    print(f"| {count} pictures | specks, % | doubles, % |\n|---|---|---|")
    for name, pictures in sets.items():
        print(f"| {name} | {100 * specks(pictures):.1f} | {100 * doubles(pictures):.1f} |")
        if sheets is not None:
            sheets.mkdir(exist_ok=True)
            write_png(sheets / f"{name.replace(' ', '-')}.png", picture_grid(pictures[:SHOWN], COLUMNS))


if __name__ == "__main__":
    typer.run(main)
