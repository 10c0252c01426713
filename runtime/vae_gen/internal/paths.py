"""Ways through the latent space: along one dimension, and from one latent to another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._errors import UsageError, shown
from .arrays import LARGEST_LATENT
from .choice import as_real, whole
from .manifest import LatentSpec

if TYPE_CHECKING:
    from .density import Density
    from .prior import FittedPrior

MOST_STEPS = 1_000_000
"""The most pictures of a path."""

Method = Literal["linear", "spherical", "likely"]
"""The paths from one latent to another."""
METHODS: tuple[Method, ...] = ("linear", "spherical", "likely")

SPACINGS = ("seen", "latent")

DEFAULT_SPAN = 2.5
"""The span of a traversal if none is given, in standard deviations, for a model without a fitted prior."""
LIKELY_SHARE = 0.99
"""A traversal without a span shows the central 99 % of the values that a dimension takes beside the other ones."""
DENSE = 65
"""At how many points of a row the change of the picture is measured, to space its steps."""
FASTEST = 1.5
"""Where a picture changes more than 1.5 times as fast as its row on average, it counts as 1.5 times. Without such a
limit half of a row that goes from a coat to a shoe would show neither."""

SEGMENTS = 32
"""The number of straight parts of a likely path while it is searched."""
MOST_ROUNDS = 40
"""A likely path is searched in at most so many rounds. Half of 200 paths between samples of the shipped model took 19
rounds or fewer."""
SETTLED = 1e-3
"""The search ends when a round lowers the cost by less than this share."""
LARGEST_EXPONENT = 60.0
"""Ratios of densities above e⁶⁰ count as e⁶⁰, so that nothing overflows far away from the prior."""


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


def read_method(method: str) -> Method:
    """Checks the name of a path between two latents; "slerp" is another name for "spherical".

    Raises:
        UsageError: another word.
    """
    if not isinstance(method, str) or method not in (*METHODS, "slerp"):
        found = method[:60] if isinstance(method, str) else shown(method)
        raise UsageError(f"expected the method linear, spherical, slerp or likely, got {found}")
    return "spherical" if method in ("spherical", "slerp") else "likely" if method == "likely" else "linear"


def read_spacing(spacing: str | None, default: str) -> str:
    """Checks the name of a spacing of a traversal's steps; None is the default.

    Raises:
        UsageError: another word.
    """
    if spacing is None:
        return default
    if not isinstance(spacing, str) or spacing not in SPACINGS:
        found = spacing[:60] if isinstance(spacing, str) else shown(spacing)
        raise UsageError(f"expected the spacing seen or latent, got {found}")
    return spacing


def check_span(span: float, expected: str = "span above 0, in standard deviations of the attribute") -> float:
    """Checks how far a traversal goes, and returns it.

    Raises:
        UsageError: it is not positive and finite.
    """
    number = as_real(span)
    if number is None or not 0 < number < LARGEST_LATENT:
        found = f"a {type(span).__name__}" if number is None else shown(span)
        raise UsageError(f"expected a {expected}, got {found}")
    return number


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
    span = check_span(span, "span above 0 (below 1 a share of the prior, else deviations)")
    steps = whole("steps", steps, 2, MOST_STEPS)
    if span >= 1:
        return np.linspace(-span, span, steps).astype(np.float32)
    shares = np.linspace((1 - span) / 2, (1 + span) / 2, steps)
    from statistics import NormalDist  # imported here because it brings fractions and decimal

    values: NDArray[np.float64] = np.array([NormalDist().inv_cdf(share) for share in shares])
    symmetric: NDArray[np.float64] = (values - values[::-1]) / 2  # exactly symmetric, with exactly 0 in the middle
    return symmetric.astype(np.float32)


def seen_values(
    values: NDArray[np.float64], pictures: NDArray[np.float32], steps: int
) -> NDArray[np.float32]:
    """Values between the first and the last one, such that the picture changes as much from each to the next.

    The change from one picture to the next is the distance of their pixels. A place where it is more than `FASTEST`
    times the row's average counts as that much.

    Args:
        values: float64 [n], the values at which the pictures were made, ascending in equal steps.
        pictures: float32 [n, ...].
        steps: the number of values to choose, at least 2.

    Returns:
        float32 [steps], ascending.

    >>> seen_values(np.linspace(0, 4, 5), np.array([0, 0, 0, 1, 2], np.float32), 3).round(3).tolist()
    [0.0, 3.0, 4.0]
    """
    rows = pictures.reshape(len(pictures), -1)
    change = np.sqrt((np.diff(rows, axis=0).astype(np.float64) ** 2).sum(1))
    mean = change.mean()
    change = np.minimum(change, FASTEST * mean) + 1e-6 * mean if mean > 0 else np.ones_like(change)
    travelled = np.concatenate([[0.0], np.cumsum(change)])
    chosen: NDArray[np.float32] = np.interp(np.linspace(0, travelled[-1], steps), travelled, values).astype(np.float32)
    return chosen


def interpolation_path(
    a: NDArray[np.float32], b: NDArray[np.float32], steps: int, method: str, prior: FittedPrior | None = None
) -> NDArray[np.float32]:
    """The latents on the way from a to b, both included, float32 [steps, dimensions].

    "linear" is a straight line. "spherical" follows the arc between the two (Shoemake 1985, eq. for Slerp; White
    2016, arXiv:1609.04468), because most latents of the prior lie near a sphere and a straight line passes inside it.
    If the two directions are equal or opposite the arc is not defined, and the line is used. "likely" goes where the
    fitted prior is dense (`likely_path`).

    Args:
        a: the first latent, float32 [dimensions].
        b: the last latent, float32 [dimensions].
        steps: the number of latents, at least 2.
        method: "linear", "spherical", "slerp" or "likely".
        prior: the fitted prior, which "likely" needs.

    Raises:
        UsageError: fewer than two steps, another method, or no prior for "likely".
    """
    steps = whole("steps", steps, 2, MOST_STEPS)
    method = read_method(method)
    t = np.linspace(0, 1, steps)[:, None]
    first, last = a.astype(np.float64), b.astype(np.float64)
    if method == "likely":
        if prior is None:
            raise UsageError("expected a fitted prior for the method likely, got none; use linear or spherical")
        corners = likely_path(prior, first, last)
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
        places = t[:, 0] * length[-1]
        path = np.stack([np.interp(places, length, axis) for axis in corners.T], axis=1).astype(np.float32)
    else:
        weight_a, weight_b = 1 - t, t
        lengths = float(np.linalg.norm(first) * np.linalg.norm(last))
        if method == "spherical" and lengths > 0:
            angle = np.arccos(np.clip(first @ last / lengths, -1, 1))
            if np.sin(angle) > 1e-6:
                weight_a, weight_b = np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)
        path = (weight_a * first + weight_b * last).astype(np.float32)
    path[0], path[-1] = a, b
    return path


def likely_path(prior: FittedPrior, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners of a path from a to b on which the fitted prior is dense, float64 [SEGMENTS + 1, dimensions].

    It minimises Σ |zᵢ₊₁ − zᵢ|² p(z̄ᵢ)^(−2/√d), where z̄ᵢ is the middle of a segment, p the density of the fitted prior
    and d the number of dimensions. Such a path is a geodesic for the length ∫ p^(−1/√d) |dz|. The logarithm of p varies
    by about √(d/2) nats between samples, so the exponent makes the same detour worth while in any number of dimensions.

    The search starts at the straight line, and takes Gauss–Newton steps for the lengths, which costs one small system
    of linear equations a round. Nothing is random.
    """
    from .density import Density, nearest_components

    line = a + (b - a) * np.linspace(0, 1, SEGMENTS + 1)[:, None]
    density = Density(prior, nearest_components(prior, line[:: SEGMENTS // 4]))
    reference = float(density.log(line).max())
    path, step = line, 1.0
    cost, gradient, weights = _path_cost(density, path, reference)
    difference = np.diff(np.eye(SEGMENTS + 1), axis=0)  # [segments, corners]
    for _ in range(MOST_ROUNDS):
        inner = difference[:, 1:-1]
        move = np.zeros_like(path)
        move[1:-1] = -np.linalg.solve(2 * (inner.T * weights) @ inner, gradient[1:-1])
        slope = float((move * gradient).sum())
        step = min(1.0, 2 * step)
        while True:  # a shorter step until the cost falls
            tried = path + step * move
            new_cost, new_gradient, new_weights = _path_cost(density, tried, reference)
            if new_cost <= cost + 1e-4 * step * slope or step < 1e-3:
                break
            step /= 2
        if not new_cost < cost:
            break
        gain = cost - new_cost
        path, cost, gradient, weights = tried, new_cost, new_gradient, new_weights
        if gain < SETTLED * cost:
            break
    return path


def _path_cost(
    density: Density, path: NDArray[np.float64], reference: float
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The cost of `likely_path`, its gradient [corners, dimensions], and the weight of each segment.

    Args:
        density: the density of the fitted prior.
        path: the corners, float64 [corners, dimensions].
        reference: a log-density in nats, at which the weight is 1.
    """
    parts = np.diff(path, axis=0)
    logs, log_gradient = density.log_and_gradient((path[1:] + path[:-1]) / 2)
    exponent = 2 / np.sqrt(density.dimensions) * (reference - logs)
    weights = np.exp(np.clip(exponent, -LARGEST_EXPONENT, LARGEST_EXPONENT))
    costs = weights * (parts * parts).sum(1)
    pull = -(costs * (np.abs(exponent) < LARGEST_EXPONENT) / np.sqrt(density.dimensions))[:, None] * log_gradient
    gradient = np.zeros_like(path)
    gradient[1:] += 2 * weights[:, None] * parts + pull
    gradient[:-1] += pull - 2 * weights[:, None] * parts
    return float(costs.sum()), gradient, weights
