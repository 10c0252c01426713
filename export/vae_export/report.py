"""What the proof of an export found: its single checks, and the report that lists them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import to_grey_levels

IMAGE_TOLERANCE = 1e-5
"""The largest difference that is allowed on pictures in [0, 1] and on latents."""


@dataclass(frozen=True)
class StructureCheck:
    """A statement about a graph, and whether it is true."""

    name: str
    passed: bool
    detail: str
    """what was found"""


@dataclass(frozen=True)
class ValueCheck:
    """The absolute differences between ONNX Runtime and a reference in one output."""

    name: str
    output: str
    optimisation: str
    """ONNX Runtime's optimisation level: "default" or "none" """
    values: int
    """how many numbers were compared"""
    max: float
    mean: float
    p99_9: float
    """99.9 % of the differences are at most this"""
    grey_levels: int | None
    """the largest difference after rounding to grey levels; None if the output is no picture"""
    allowed: float
    passed: bool


def compare(
    name: str, output: str, level: str, found: NDArray[Any], expected: NDArray[Any], allowed: float = IMAGE_TOLERANCE
) -> ValueCheck:
    """The check that no value of `found` differs from `expected` by more than `allowed`."""
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    grey = None
    if output == "image":
        grey = int(np.abs(to_grey_levels(found).astype(int) - to_grey_levels(expected).astype(int)).max())
    worst = float(difference.max())  # NaN if one value is NaN, and then the comparison below is false
    return ValueCheck(
        name, output, level, difference.size, worst, float(difference.mean()),
        float(np.quantile(difference, 0.999)), grey, allowed, found.shape == expected.shape and worst <= allowed,
    )  # fmt: skip


@dataclass(frozen=True)
class Report:
    """All checks of a proof."""

    structure: tuple[StructureCheck, ...]
    values: tuple[ValueCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return not self.misses()

    def misses(self) -> list[str]:
        """The names of the checks that failed."""
        checks: list[StructureCheck | ValueCheck] = [*self.structure, *self.values]
        return [check.name for check in checks if not check.passed]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, as the manifest stores it."""
        return {
            "structure": [asdict(check) for check in self.structure],
            "values": [asdict(check) for check in self.values],
        }

    def lines(self) -> Iterator[str]:
        """Yields a line for each check, for people."""
        for check in self.structure:
            yield f"{_mark(check.passed)} {check.name}: {check.detail}"
        for value in self.values:
            grey = "" if value.grey_levels is None else f", grey levels {value.grey_levels}"
            yield (
                f"{_mark(value.passed)} {value.output}, {value.name}, optimisation {value.optimisation}: "
                f"max {value.max:.2g}, mean {value.mean:.2g}, 99.9 % {value.p99_9:.2g}{grey}; "
                f"allowed {value.allowed:.2g}"
            )


def _mark(passed: bool) -> str:
    return "ok  " if passed else "MISS"
