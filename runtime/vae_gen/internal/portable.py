"""The inputs of generator.portable.onnx and latents.portable.onnx, which engines without 64-bit numbers compute.

In these graphs all numbers are float32. A whole number below 2⁶⁴ is given as its four parts of 16 bits, which float32
holds exactly. There is an index for each picture instead of a start and a count (docs/seed-contract.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .model import Session

CHOICES = ("prior", "label", "temperature")


def parts(numbers: Iterable[int]) -> NDArray[np.float32]:
    """Splits whole numbers from 0 to 2⁶⁴−1 into four parts of 16 bits, the lowest first: float32 [n, 4].

    >>> parts([7, 2**32 + 1]).tolist()
    [[7.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]
    """
    return np.array([[number >> shift & 0xFFFF for shift in (0, 16, 32, 48)] for number in numbers], np.float32)


def default_choices(default_prior: str) -> dict[str, float]:
    """The inputs of latents.portable.onnx with which it draws what the generator draws."""
    return {"prior": float(default_prior == "fitted"), "label": -1.0, "temperature": 1.0}


class PortableSession:
    """A session of a portable graph that takes the inputs of generator.onnx or latents.onnx, for comparisons."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> Sequence[Any]:
        """Computes the named outputs from seed, start and count, and perhaps prior, label and temperature."""
        assert output_names is not None
        seed, start, count = (int(input_feed[name]) for name in ("seed", "start", "count"))
        feed = {"index": parts(range(start, start + count)), "seed": parts([seed])}
        feed |= {name: np.array([input_feed[name]], np.float32) for name in CHOICES if name in input_feed}
        found = self._session.run(output_names, feed)
        # Classes are float32 there. A NaN becomes -2, as in latents.onnx.
        return [
            np.where(np.isnan(values), -2, values).astype(np.int64) if name == "labels" else values
            for name, values in zip(output_names, found, strict=True)
        ]
