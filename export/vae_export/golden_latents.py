"""The cases of golden.json that latents.onnx has to meet, from NumPy; apart from the others, which need PyTorch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import DetailSpec, FittedPrior
from vae_gen.internal.choice import Choice
from vae_gen.internal.prior import ANY_CLASS
from vae_gen.internal.reference import drawn_in_numpy

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
