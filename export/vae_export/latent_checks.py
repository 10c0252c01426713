"""The proof of latents.onnx against its NumPy reference: latents to 1e-5, classes equal, and the seed contract kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vae_gen import DetailSpec, FittedPrior
from vae_gen.internal.choice import Choice
from vae_gen.internal.latents import drawn_in_numpy
from vae_gen.internal.prior import ANY_CLASS
from vae_gen.internal.sampling import Drawn, run_latents

from .report import IMAGE_TOLERANCE, ValueCheck, compare

GENERATOR_RANGES = (
    (0, 0, 257), (7, 100, 64), (2**32 + 1, 2**32 - 3, 7), (2**53 - 1, 2**40, 2), (2**63 - 1, 2**63 - 64, 64),
)
"""(seed, start, count): both halves of both words, and the last pictures there are."""
TEMPERATURES = (0.0, 0.7, 1.0, 1.5)


def latent_checks(
    session: onnxruntime.InferenceSession, prior: FittedPrior, spec: DetailSpec | None, level: str
) -> Iterator[ValueCheck]:
    """Both priors, every class and several temperatures, at ONNX Runtime's optimisation level `level`."""

    def of(name: str, window: tuple[int, int, int], draws: Sequence[Choice]) -> Iterator[ValueCheck]:
        if draws:  # there are none of classes where there are no classes
            draws = [replace(draw, detail=spec is not None) for draw in draws]
            found = [run_latents(session, *window, draw) for draw in draws]
            expected = [drawn_in_numpy(*window, draw, prior.dimensions, prior, spec) for draw in draws]
            yield from _compared(name, level, found, expected)

    for window in GENERATOR_RANGES:
        seed, start, count = window
        for prior_name in ("normal", "fitted"):
            name = f"latents, {prior_name}, seed {seed}, {count} from {start}"
            yield from of(name, window, [Choice("fitted" if prior_name == "fitted" else "normal")])
    of_each_class = [Choice("fitted", label) for label in range(prior.classes)]
    yield from of("latents of each class", (1, 2**32 - 30, 64), of_each_class)
    warmer = [Choice("fitted", temperature=value) for value in TEMPERATURES]
    yield from of("latents at temperatures", (2, 0, 64), warmer)


def _compared(name: str, level: str, found: Sequence[Drawn], expected: Sequence[Drawn]) -> Iterator[ValueCheck]:
    def both(take: Callable[[Drawn], NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.concatenate([take(drawn) for drawn in found]), np.concatenate([take(drawn) for drawn in expected])

    yield compare(name, "latent", level, *both(lambda drawn: drawn.latents), IMAGE_TOLERANCE)
    yield _equal(name, level, *both(lambda drawn: drawn.labels))
    if expected[0].noise is not None:
        yield compare(name, "noise", level, *both(lambda drawn: np.asarray(drawn.noise)), IMAGE_TOLERANCE)


def _equal(name: str, level: str, found: NDArray[np.int64], expected: NDArray[np.int64]) -> ValueCheck:
    check = compare(name, "labels", level, found, expected, 0)
    return replace(check, passed=check.passed and found.dtype == np.int64)


LATENTS = (  # (seed, start, count, draw): both priors, a given class (the last), other temperatures
    (0, 0, 4, Choice("normal")),
    (7, 2**32 - 2, 4, Choice("normal", temperature=0.5)),
    (0, 0, 8, Choice("fitted")),
    (2**63 - 1, 2**63 - 4, 4, Choice("fitted", temperature=1.25)),
)
OF_CLASS = (3, 10, 4, 0.75)
"""(seed, start, count, temperature) of a case of the last class, where there are classes."""


def golden_latents(prior: FittedPrior, spec: DetailSpec | None = None) -> list[dict[str, Any]]:
    """What latents.onnx gives for a few choices, from NumPy; with the noise of a detail stage."""
    seed, start, count, temperature = OF_CLASS
    of_class = [(seed, start, count, Choice("fitted", prior.classes - 1, temperature))] if prior.classes else []
    return [_latents(prior, spec, *case) for case in (*LATENTS, *of_class)]


def _latents(
    prior: FittedPrior, spec: DetailSpec | None, seed: int, start: int, count: int, draw: Choice
) -> dict[str, Any]:
    draw = replace(draw, detail=spec is not None)
    drawn = drawn_in_numpy(seed, start, count, draw, prior.dimensions, prior, spec)
    return {
        "seed": str(seed),
        "start": str(start),
        "count": count,
        "prior": draw.prior,
        "label": ANY_CLASS if draw.label is None else draw.label,
        "temperature": draw.temperature,
        "latents": floats(drawn.latents),
        "labels": drawn.labels.tolist(),
        **({} if drawn.noise is None else {"noise": floats(drawn.noise)}),
    }


def floats(values: NDArray[np.float32]) -> list[list[float]]:
    """Rows of numbers with the nine digits that bring a float32 back exactly."""
    return [[float(f"{value:.9g}") for value in row] for row in values.tolist()]
