"""Ways through the latent space: along one dimension, and from one latent to another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import UsageError, shown
from .arrays import LARGEST_LATENT
from .choice import as_real, whole
from .manifest import LatentSpec

MOST_STEPS = 1_000_000
"""The most pictures of a path."""

METHODS = ("linear", "spherical")


def read_dimensions(dimensions: Any, latent: LatentSpec) -> tuple[int, ...]:
    """The latent dimensions that a caller names.

    Args:
        dimensions: an index such as 5, "5" or "z5"; several as a list or separated by commas; "all" or None for all
            dimensions, the one with the highest KL first.
        latent: the model's latent space.

    Raises:
        UsageError: an index that the model doesn't have, or something else.

    >>> read_dimensions("z1, 0", LatentSpec(3, (0.1, 0.2, 0.3), (2, 1, 0)))
    (1, 0)
    """
    if dimensions is None or (isinstance(dimensions, str) and dimensions.strip().casefold() == "all"):
        return latent.order
    if isinstance(dimensions, np.ndarray):
        dimensions = dimensions.tolist()
    if isinstance(dimensions, str):
        wanted: list[Any] = dimensions.split(",")
    else:
        try:
            wanted = list(dimensions) if isinstance(dimensions, Iterable) else [dimensions]
        except Exception as error:  # an object of a foreign type
            raise UsageError(f"expected dimensions as whole numbers, got {shown(dimensions)}") from error
    if not wanted:
        raise UsageError("expected at least one dimension, got none; leave them out for all")
    return tuple(_dimension(one, latent.dimensions) for one in wanted)


def _dimension(value: Any, width: int) -> int:
    if isinstance(value, str):
        digits = value.strip().casefold().removeprefix("z")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
            raise UsageError(f"expected a dimension such as 5 or z5, or all, got {shown(value)}")
        value = int(digits)
    return whole("a dimension", value, 0, width - 1)


def read_method(method: str) -> str:
    """Checks the name of a path between two latents; "slerp" is another name for "spherical".

    Raises:
        UsageError: another word.
    """
    if not isinstance(method, str) or method not in (*METHODS, "slerp"):
        found = method[:60] if isinstance(method, str) else shown(method)
        raise UsageError(f"expected the method linear, spherical or slerp, got {found}")
    return "spherical" if method == "slerp" else method


def traversal_values(span: float, steps: int) -> NDArray[np.float32]:
    """The values that a dimension takes in a traversal, ascending and symmetric about 0, float32 [steps].

    Args:
        span: from 1 on, the largest value in standard deviations of the prior, with equal steps from −span to
            +span. Below 1, the central share of the prior, with equal steps of probability: each picture then stands
            for the same number of random latents.
        steps: the number of values, at least 2.

    Raises:
        UsageError: the span is not positive and finite, or there are fewer than two steps.

    >>> traversal_values(2, 5).tolist()
    [-2.0, -1.0, 0.0, 1.0, 2.0]
    """
    number = as_real(span)
    if number is None or not 0 < number < LARGEST_LATENT:
        found = f"a {type(span).__name__}" if number is None else shown(span)
        raise UsageError(f"expected a span above 0 (below 1 a share of the prior, else deviations), got {found}")
    span, steps = number, whole("steps", steps, 2, MOST_STEPS)
    if span >= 1:
        return np.linspace(-span, span, steps).astype(np.float32)
    shares = np.linspace((1 - span) / 2, (1 + span) / 2, steps)
    from statistics import NormalDist  # imported here because it brings fractions and decimal

    values: NDArray[np.float64] = np.array([NormalDist().inv_cdf(share) for share in shares])
    symmetric: NDArray[np.float64] = (values - values[::-1]) / 2  # exactly symmetric, with exactly 0 in the middle
    return symmetric.astype(np.float32)


def interpolation_path(
    a: NDArray[np.float32], b: NDArray[np.float32], steps: int, method: str
) -> NDArray[np.float32]:
    """The latents on the way from a to b, both included, float32 [steps, dimensions].

    "linear" is a straight line. "spherical" follows the arc between the two (Shoemake 1985, eq. for Slerp; White
    2016, arXiv:1609.04468), because most latents of the prior lie near a sphere and a straight line passes inside it.
    If the two directions are equal or opposite the arc is not defined, and the line is used.

    Args:
        a: the first latent, float32 [dimensions].
        b: the last latent, float32 [dimensions].
        steps: the number of latents, at least 2.
        method: "linear", "spherical" or "slerp".

    Raises:
        UsageError: fewer than two steps, or another method.
    """
    steps = whole("steps", steps, 2, MOST_STEPS)
    method = read_method(method)
    t = np.linspace(0, 1, steps)[:, None]
    first, last = a.astype(np.float64), b.astype(np.float64)
    weight_a, weight_b = 1 - t, t
    lengths = float(np.linalg.norm(first) * np.linalg.norm(last))
    if method == "spherical" and lengths > 0:
        angle = np.arccos(np.clip(first @ last / lengths, -1, 1))
        if np.sin(angle) > 1e-6:
            weight_a, weight_b = np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)
    path = (weight_a * first + weight_b * last).astype(np.float32)
    path[0], path[-1] = a, b
    return path
