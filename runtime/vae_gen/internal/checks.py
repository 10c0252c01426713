"""Numbers that callers give, checked where they come in, so that no error is NumPy's own."""

from __future__ import annotations

import numpy as np

from .._errors import UsageError


def whole(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """The value as a Python integer; floats are refused, because a seed of 2**60 would lose digits in one.

    Args:
        name: what it is called in the error.
        value: an integer of Python or NumPy.
        low: the least it may be.
        high: the most it may be; given only with `low`.

    Raises:
        UsageError: something else, or out of the range.

    >>> whole("n", np.int32(3), 1)
    3
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UsageError(f"expected {name} as a whole number, got {value!r}")
    if low is not None and high is not None and not low <= value <= high:
        raise UsageError(f"expected {name} from {low} to {high}, got {value}")
    if low is not None and value < low:
        raise UsageError(f"expected {name} of at least {low}, got {value}")
    return int(value)
