"""The proof of latents.onnx against its NumPy reference: latents to 1e-5, classes equal, and the seed contract kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vae_runtime import FittedPrior, standard_normals
from vae_runtime._draws import Draw
from vae_runtime._sampling import run_latents

from .differences import IMAGE_TOLERANCE, ValueCheck, compare

GENERATOR_RANGES = (
    (0, 0, 257), (7, 100, 64), (2**32 + 1, 2**32 - 3, 7), (2**53 - 1, 2**40, 2), (2**63 - 1, 2**63 - 64, 64),
)
"""(seed, start, count): both halves of both words, and the last pictures there are."""
TEMPERATURES = (0.0, 0.7, 1.0, 1.5)


def latent_checks(session: onnxruntime.InferenceSession, prior: FittedPrior, level: str) -> Iterator[ValueCheck]:
    """Both priors, every class and several temperatures, at ONNX Runtime's optimisation level `level`."""
    for seed, start, count in GENERATOR_RANGES:
        window = f"seed {seed}, {count} from {start}"
        found, labels = run_latents(session, seed, start, count, Draw("normal"))
        reference = standard_normals(seed, start, count, prior.dimensions)
        yield compare(f"latents, normal, {window}", "latent", level, found, reference)
        yield _equal(f"latents, normal, {window}", level, labels, np.full(count, -1))
        yield from _fitted(session, prior, level, f"latents, fitted, {window}", (seed, start, count), [Draw("fitted")])
    draws = [Draw("fitted", label) for label in range(prior.classes)]
    yield from _fitted(session, prior, level, "latents of each class", (1, 2**32 - 30, 64), draws)
    draws = [Draw("fitted", temperature=temperature) for temperature in TEMPERATURES]
    yield from _fitted(session, prior, level, "latents at temperatures", (2, 0, 64), draws)


def _fitted(
    session: onnxruntime.InferenceSession, prior: FittedPrior, level: str, name: str, window: tuple[int, int, int],
    draws: Sequence[Draw],
) -> Iterator[ValueCheck]:
    if not draws:  # no classes
        return
    found = [run_latents(session, *window, draw) for draw in draws]
    expected = [prior.latents(*window, -1 if draw.label is None else draw.label, draw.temperature) for draw in draws]
    latents, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    expected_latents, expected_labels = (np.concatenate(parts) for parts in zip(*expected, strict=True))
    yield compare(name, "latent", level, latents, expected_latents, IMAGE_TOLERANCE)
    yield _equal(name, level, labels, expected_labels)


def _equal(name: str, level: str, found: NDArray[np.int64], expected: NDArray[np.int64]) -> ValueCheck:
    check = compare(name, "labels", level, found, expected, 0)
    return replace(check, passed=check.passed and found.dtype == np.int64)
