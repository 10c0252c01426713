"""latents.onnx compared with its NumPy reference: the checks of the proof, and the cases in golden.json.

This module does not import PyTorch, so that tests can make golden vectors without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import DetailSpec, FittedPrior
from vae_gen.internal.choice import Choice
from vae_gen.internal.directions import Directions
from vae_gen.internal.latents import drawn_in_numpy
from vae_gen.internal.model import Session
from vae_gen.internal.prior import ANY_CLASS
from vae_gen.internal.sampling import Drawn, run_latents

from .report import IMAGE_TOLERANCE, ValueCheck, compare

GENERATOR_RANGES = (
    (0, 0, 257), (7, 100, 64), (2**32 + 1, 2**32 - 3, 7), (2**53 - 1, 2**40, 2), (2**63 - 1, 2**63 - 64, 64),
)  # fmt: skip
"""(seed, start, count) of the ranges that are compared. They use both halves of both words, and end at the last picture
that there is."""

TEMPERATURES = (0.0, 0.7, 1.0, 1.5)

GOLDEN_CASES = (
    (0, 0, 4, Choice("normal")),
    (7, 2**32 - 2, 4, Choice("normal", temperature=0.5)),
    (0, 0, 8, Choice("fitted")),
    (2**63 - 1, 2**63 - 4, 4, Choice("fitted", temperature=1.25)),
)
"""(seed, start, count, choice) of the cases in golden.json: both priors, at several temperatures."""

GOLDEN_CASE_OF_CLASS = (3, 10, 4, 0.75)
"""(seed, start, count, temperature) of one more case in golden.json, of the last class, if there are classes."""

MOVED_TO = (-1.5, 1.0)
"""The positions in golden.json to which latents are moved along directions."""
MOVE_TOLERANCE = 1e-4
"""The largest difference of a moved latent: a tanh may differ in its last bit, and twelve steps add up such errors."""


def latent_checks(
    session: Session, prior: FittedPrior, spec: DetailSpec | None, level: str, graph: str = "latents"
) -> Iterator[ValueCheck]:
    """Compare a session of latents.onnx with NumPy: both priors, every class and several temperatures.

    Latents and noise may differ by 1e-5; classes must be equal.

    Args:
        session: at ONNX Runtime's optimisation level `level`.
        prior: the fitted prior, whose tables the graph has.
        spec: the detail stage, if the model has one.
        level: stored in the checks.
        graph: the name of the graph, with which the names of the checks begin.
    """

    def checks(name: str, window: tuple[int, int, int], choices: Sequence[Choice]) -> Iterator[ValueCheck]:
        choices = [replace(choice, detail=spec is not None) for choice in choices]
        found = [run_latents(session, *window, choice) for choice in choices]
        expected = [drawn_in_numpy(*window, choice, prior.dimensions, prior, spec) for choice in choices]
        yield from _compared(name, level, found, expected)

    for seed, start, count in GENERATOR_RANGES:
        for choice in (Choice("normal"), Choice("fitted")):
            name = f"{graph}, {choice.prior}, seed {seed}, pictures {start} to {start + count - 1}"
            yield from checks(name, (seed, start, count), [choice])
    if prior.classes:
        of_each_class = [Choice("fitted", label) for label in range(prior.classes)]
        yield from checks(f"{graph} of each class", (1, 2**32 - 30, 64), of_each_class)
    yield from checks(
        f"{graph} at temperatures", (2, 0, 64), [Choice("fitted", temperature=value) for value in TEMPERATURES]
    )


def _compared(name: str, level: str, found: Sequence[Drawn], expected: Sequence[Drawn]) -> Iterator[ValueCheck]:
    def both(part: str) -> tuple[NDArray[Any], NDArray[Any]]:
        return (
            np.concatenate([np.asarray(getattr(drawn, part)) for drawn in found]),
            np.concatenate([np.asarray(getattr(drawn, part)) for drawn in expected]),
        )

    yield compare(name, "latent", level, *both("latents"), IMAGE_TOLERANCE)
    labels, expected_labels = both("labels")
    check = compare(name, "labels", level, labels, expected_labels, 0)
    yield replace(check, passed=check.passed and labels.dtype == np.int64)
    if expected[0].noise is not None:
        yield compare(name, "noise", level, *both("noise"), IMAGE_TOLERANCE)


def golden_latents(prior: FittedPrior, spec: DetailSpec | None = None) -> list[dict[str, Any]]:
    """The cases of golden.json for latents.onnx, computed in NumPy; with the noise of a detail stage if `spec`."""
    seed, start, count, temperature = GOLDEN_CASE_OF_CLASS
    of_class = [(seed, start, count, Choice("fitted", prior.classes - 1, temperature))] if prior.classes else []
    return [_golden_case(prior, spec, *case) for case in (*GOLDEN_CASES, *of_class)]


def _golden_case(
    prior: FittedPrior, spec: DetailSpec | None, seed: int, start: int, count: int, choice: Choice
) -> dict[str, Any]:
    choice = replace(choice, detail=spec is not None)
    drawn = drawn_in_numpy(seed, start, count, choice, prior.dimensions, prior, spec)
    return {
        "seed": str(seed),
        "start": str(start),
        "count": count,
        "prior": choice.prior,
        "label": ANY_CLASS if choice.label is None else choice.label,
        "temperature": choice.temperature,
        "latents": floats(drawn.latents),
        "labels": drawn.labels.tolist(),
        **({} if drawn.noise is None else {"noise": floats(drawn.noise)}),
    }


def golden_moves(directions: Directions, latents: NDArray[np.float32]) -> dict[str, Any]:
    """The latents [n, dimensions] moved along the first and the last directions, each to a few positions.

    The expected values come from the rounded numbers of the file, which every program reads.
    """
    field, cases = Directions.parse(json.dumps(directions.to_json())).field, []
    chosen = dict.fromkeys((*directions.directions[:2], *directions.directions[-2:]))
    for direction, position in product(chosen, MOVED_TO):
        label = direction.effects[0].label
        labels = np.full(len(latents), label or 0)
        attribute = field.attributes.index(direction.attribute)
        moved = field.move(latents.astype(np.float64), labels, attribute, np.full(len(latents), position))
        cases.append({
            "name": direction.name,
            "label": -1 if label is None else label,
            "position": position,
            "latents": floats(moved.astype(np.float32)),
        })
    return {"latents": floats(latents), "cases": cases}


def floats(values: NDArray[np.float32]) -> list[list[float]]:
    """Rows of numbers, rounded to nine digits, which are enough to restore a float32 exactly."""
    return [[float(f"{value:.9g}") for value in row] for row in values.tolist()]
