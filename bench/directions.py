"""Measures what directions do to pictures: `python -m bench.directions [--samples 500] [--model NAME] [--each]`.

Samples of each class are moved from −1.5 to +1.5 along each direction that is for the class, in seven steps. The
attributes are measured with a threshold and whole pixels, not as the export measures them to find the directions, and
two classifiers that have seen no picture of a VAE read the class, of mean pictures and of pictures with details.

A row is a direction, with the medians of its classes; `--each` prints every class, too. Its columns are, of the
samples of a class: the share of the three standard deviations that was reached (the median); the largest change among
the other plain attributes, in their standard deviations (the median); the share that is read as their class at both
ends, of those that were before, of all, and of all with details; and the rank correlation along the steps (the median).
"""

from __future__ import annotations

import warnings
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from vae_gen import VAE, Direction
from vae_train.quality.classifiers import NETWORKS, load_classifier

from .machine import machine_line

STEPS = np.linspace(-1.5, 1.5, 7)
FAINT = 0.15
"""A brighter pixel belongs to the garment."""
PLAIN = {"shade": "shade", "width": "width", "height": "height", "reach": "reach", "contrast": "contrast"}
"""The plain attribute that shows what a direction moves; the others have none."""
LEAST_VARIATION = 0.25
"""An attribute that varies within a class less than this share of its deviation over all classes counts not there."""

Doubles = NDArray[np.float64]


def plainly(images: NDArray[np.float32]) -> dict[str, Doubles]:
    """Attributes of grey images as anyone would measure them."""
    grey = images.mean(1, dtype=np.float64)
    inside = grey > FAINT
    area = np.maximum(inside.sum((1, 2)), 1)
    columns, rows = inside.any(1), inside.any(2)
    first, last = columns.argmax(1), columns.shape[1] - 1 - columns[:, ::-1].argmax(1)
    top, bottom = rows.argmax(1), rows.shape[1] - 1 - rows[:, ::-1].argmax(1)
    fifth, place = (last - first + 1) / 5, np.arange(columns.shape[1])
    sides = columns & ((place < (first + fifth)[:, None]) | (place > (last - fifth)[:, None]))
    edge = rows.shape[1] - 1 - inside[:, ::-1].argmax(1)  # the lowest row of the garment in each column
    lower = (sides * edge).sum(1) / np.maximum(sides.sum(1), 1)
    shade = (grey * inside).sum((1, 2)) / area
    spread = np.sqrt((((grey - shade[:, None, None]) ** 2) * inside).sum((1, 2)) / area)
    return {
        "shade": shade,
        "width": (last - first + 1).astype(float),
        "height": (bottom - top + 1).astype(float),
        "reach": (lower - top) / np.maximum(bottom - top + 1, 1),
        "contrast": spread / np.maximum(shade, 0.05),
    }


def main(
    samples: Annotated[int, typer.Option(help="Samples of each class.")] = 500,
    model: Annotated[str, typer.Option(help="A model of Fashion-MNIST: its name or its folder.")] = "fashion-mnist-12d",
    each: Annotated[bool, typer.Option("--each", help="Print a row for each class, too.")] = False,
) -> None:
    """Measure what the directions of a model do to its pictures."""
    print(f"{machine_line()}\n")
    vae = VAE(model)
    judges = [load_classifier(name) for name in NETWORKS]
    drawn = [vae.sample(samples, seed=11, label=label, detail=False) for label in range(len(vae.class_names))]
    measured = [plainly(one.images) for one in drawn]
    overall = {key: np.concatenate([one[key] for one in measured]).std() for key in measured[0]}
    print("| direction | class | reached | others | kept of read | kept of all | with details | monotone |")
    print("|---|---|---|---|---|---|---|---|")
    table: list[list[float]] = []
    for direction in vae.directions:
        rows = [
            _row(vae, direction, label, drawn[label].latents, measured[label], overall, judges)
            for label in direction.labels or ()
        ]
        table += rows
        names = [vae.class_names[label] for label in direction.labels or ()]
        if each:
            for name, row in zip(names, rows, strict=True):
                print(f"| {direction.name} | {name} | {_cells(row)} |")
        classes = names[0] if len(names) == 1 else f"{len(names)} classes"
        print(f"| {direction.name} | {classes} | {_cells(_median(rows))} |")
    print(f"| all | {len(table)} pairs | {_cells(_median(table))} |")


def _median(rows: list[list[float]]) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a column without any figure
        return [float(value) for value in np.nanmedian(rows, 0)]


def _cells(row: list[float]) -> str:
    return " | ".join("–" if np.isnan(value) else f"{value:.2f}" for value in row)


def _row(
    vae: VAE, direction: Direction, label: int, latents: NDArray[np.float32], before: dict[str, Doubles],
    overall: dict[str, float], judges: list[torch.nn.Module],
) -> list[float]:
    way = [vae.move(latents, direction.name, position, label=label) for position in STEPS]
    made = [vae.decode(one, detail=False) for one in way]
    found = [plainly(images) for images in made]
    varying = [key for key, values in before.items() if values.std() >= LEAST_VARIATION * overall[key]]
    changes = {key: (found[-1][key] - found[0][key]) / before[key].std() for key in varying}
    own = PLAIN.get(direction.attribute, "")
    others = {key: np.abs(values) for key, values in changes.items() if key != own}
    reached = monotone = float("nan")
    if own in changes:
        reached = float(np.median(changes[own])) / (STEPS[-1] - STEPS[0])
        ranks = np.stack([one[own] for one in found]).argsort(0, kind="stable").argsort(0)
        monotone = float(np.median([np.corrcoef(row, np.arange(len(STEPS)))[0, 1] for row in ranks.T]))
    noise = None if vae.manifest.detail is None else vae.detail_noise(len(latents), 11, labels=label)
    detailed = [vae.decode(one, noise=noise) if noise is not None else images
                for one, images in zip((way[0], way[-1]), (made[0], made[-1]), strict=True)]  # fmt: skip
    kept, of_all, with_details = np.mean([
        _kept(judge, label, vae.decode(latents, detail=False), (made[0], made[-1]), detailed) for judge in judges
    ], 0)  # fmt: skip
    largest = float(np.median(np.max(list(others.values()), 0)))
    return [reached, largest, float(kept), float(of_all), float(with_details), monotone]


def _kept(
    judge: torch.nn.Module, label: int, at_first: NDArray[np.float32], ends: tuple[NDArray[np.float32], ...],
    detailed: list[NDArray[np.float32]],
) -> tuple[float, float, float]:
    """The share that is read as the class at both ends: of those that were before, of all, and of all with details."""

    def read(images: NDArray[np.float32]) -> NDArray[np.bool_]:
        with torch.inference_mode():
            right: NDArray[np.bool_] = judge(torch.from_numpy(images)).logits.argmax(1).numpy() == label
        return right

    known, moved = read(at_first), [read(images) for images in ends]
    return (
        float(np.mean([one[known].mean() for one in moved])), float(np.mean(moved)),
        float(np.mean([read(images) for images in detailed])),
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
