"""How far what ONNX Runtime gives is from what it has to be: one line of the proof for each output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import to_grey_levels

IMAGE_TOLERANCE = 1e-5
"""On pictures in [0, 1] and on latents; absolute."""


@dataclass(frozen=True)
class ValueCheck:
    """Differences between ONNX Runtime and PyTorch on one output, absolute."""

    name: str
    output: str
    optimisation: str
    values: int
    max: float
    mean: float
    p99_9: float
    grey_levels: int | None
    """worst difference after rounding to grey levels; None where the output is no picture"""
    allowed: float
    passed: bool


def compare(
    name: str, output: str, level: str, found: NDArray[Any], expected: NDArray[Any], allowed: float = IMAGE_TOLERANCE
) -> ValueCheck:
    """The check that `found` is within `allowed` of `expected`, absolutely, everywhere."""
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    grey = None
    if output == "image":
        grey = int(np.abs(to_grey_levels(found).astype(int) - to_grey_levels(expected).astype(int)).max())
    worst = float(difference.max())  # NaN if there is one, and then the comparison below fails
    return ValueCheck(
        name, output, level, difference.size, worst, float(difference.mean()),
        float(np.quantile(difference, 0.999)), grey, allowed, found.shape == expected.shape and worst <= allowed,
    )
