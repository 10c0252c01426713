"""Arrays that callers pass in: any float or uint8 dtype, with or without leading axes, checked once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._errors import InputError, shown
from .manifest import ImageSpec

LARGEST_LATENT = 1e6
ROUNDING = 1e-3
"""How far pixels may lie outside of [0, 1], a quarter of a grey level; beyond it they are no fault of rounding."""
OVERSHOOT = 0.5
"""Pixels up to this far outside of [0, 1] come from scaling by bicubic or Lanczos curves, and are to be clipped."""


def as_images(images: ArrayLike, spec: ImageSpec) -> NDArray[np.float32]:
    """Checks pictures and returns them as float32 [n, channels, height, width] in [0, 1].

    Args:
        images: uint8 in 0 … 255, or any float dtype in [0, 1]; one picture or many; the channel axis may be left
            out if the model has one channel.
        spec: the model's images.

    Raises:
        InputError: another dtype or shape, or a value that is not finite or outside [0, 1].
    """
    array = _array(images, "images", "; pass the path of a picture, a Pillow image or an array")
    channels, height, width = spec.shape
    if channels == 1 and array.ndim in (2, 3) and array.shape[-2:] == (height, width):
        array = array.reshape(-1, 1, height, width)
    elif array.ndim >= 3 and array.shape[-3:] == spec.shape:
        array = array.reshape(-1, *spec.shape)
    if array.ndim != 4 or array.shape[1:] != spec.shape or len(array) == 0:
        raise InputError(
            f"expected images of shape [n, {channels}, {height}, {width}], got shape {list(array.shape)}; "
            f"{_advice(array, spec)}"
        )
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"expected images as uint8 (0 to 255) or floats (0 to 1), got {array.dtype}; convert them")
    check_unit_range(float(array.min()), float(array.max()), "expected float images in [0, 1]")
    return np.clip(array.astype(np.float32), 0, 1)


def check_unit_range(low: float, high: float, expected: str) -> None:
    """Refuses pixels that don't lie in [0, 1], apart from rounding, with the advice that fits their range.

    Args:
        low: the smallest pixel.
        high: the largest pixel.
        expected: the beginning of the error.

    Raises:
        InputError: they are not finite, or lie outside.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("expected images with finite values, got NaN or infinity; clean them first")
    if low >= -ROUNDING and high <= 1 + ROUNDING:
        return
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        what = "clip them with numpy.clip(images, 0, 1)"
    elif low >= -1 - ROUNDING and high <= 1 + ROUNDING:
        what = "pass (images + 1) / 2"
    elif low < 0:
        what = "undo their normalisation, so that black is 0 and white is 1"
    elif high <= 255 + OVERSHOOT:
        what = "divide by 255 or pass uint8"
    else:
        what = "divide them by the value of white, such as 65535"
    raise InputError(f"{expected}, got values from {low:.7g} to {high:.7g}; {what}")


def _advice(array: NDArray[Any], spec: ImageSpec) -> str:
    """The end of the error for an array of another shape: what the caller can do."""
    channels, height, width = spec.shape
    if array.size == 0:
        return "pass at least one picture"
    if array.shape[-3:] == (height, width, channels):
        return "move the channel axis to the front with numpy.moveaxis(images, -1, -3)"
    if array.shape[-1] == channels * height * width:
        return f"reshape them with images.reshape(-1, {channels}, {height}, {width})"
    return "to fit a picture of another size, pass PIL.Image.fromarray(array) or the path of its file"


def as_latents(latents: ArrayLike, dimensions: int, what: str = "latents") -> NDArray[np.float32]:
    """Checks latents, or other rows called `what`, and returns them as float32 [..., dimensions].

    Raises:
        InputError: another width, no rows, not numbers, or a value that is not finite or beyond ±1e6.
    """
    array = _array(latents, what)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"expected {what} as numbers, got {array.dtype}; convert them to float32 first")
    if array.size == 0:
        raise InputError(f"expected {what} for at least one picture, got an empty array of shape {list(array.shape)}")
    if array.shape[-1] != dimensions:
        raise InputError(
            f"expected {what} of shape [n, {dimensions}], got {list(array.shape)}; "
            f"this model's {what} have that width"
        )
    with np.errstate(over="ignore"):
        rows = array.astype(np.float32)
    if not np.isfinite(rows).all():
        raise InputError(f"expected finite {what}, got NaN or infinity; remove those rows first")
    largest = float(np.abs(rows).max())
    if largest > LARGEST_LATENT:  # beyond it a network's sums overflow, and its pictures hold NaN
        raise InputError(
            f"expected {what} from -{LARGEST_LATENT:g} to {LARGEST_LATENT:g}, got {largest:g}; "
            "the prior's are hardly ever beyond 5"
        )
    return rows


def as_latent(latent: ArrayLike, dimensions: int) -> NDArray[np.float32]:
    """Checks a single latent, [dimensions] or [1, dimensions], and returns it as float32 [dimensions].

    Raises:
        InputError: as `as_latents`, or more than one row.
    """
    rows = as_latents(latent, dimensions).reshape(-1, dimensions)
    if len(rows) != 1:
        raise InputError(f"expected one latent of {dimensions} numbers, got {len(rows)} of them")
    first: NDArray[np.float32] = rows[0]
    return first


def as_numbers(value: Any, what: str, advice: str = "") -> NDArray[Any]:
    """Converts a value called `what` to an array of numbers, with a plain sentence in place of NumPy's own errors.

    Raises:
        InputError: NumPy can't read the value, some of it is masked, or it has other things than numbers.
    """
    try:
        array = np.asarray(value)
        masked = np.ma.is_masked(value)
    except ValueError as error:
        raise InputError(f"expected {what} as an array, got rows of different lengths; make them equal") from error
    except Exception as error:  # PyTorch's, for a tensor on a GPU or one that requires a gradient, or any object's own
        raise InputError(
            f"expected {what} as an array, got a value of type {type(value).__name__} that NumPy can't read; "
            "for a PyTorch tensor, pass tensor.detach().float().cpu()"
        ) from error
    if masked:
        raise InputError(f"expected {what} as plain numbers, got masked ones; fill them in with array.filled(0)")
    if array.dtype.kind not in "biufc":
        found = f"an array of {array.dtype}" if isinstance(value, np.ndarray) else shown(value)
        raise InputError(f"expected {what} as an array of numbers, got {found}{advice}")
    return array


def _array(value: Any, what: str, advice: str = "") -> NDArray[Any]:
    """As `as_numbers`, and refuses a single number."""
    array = as_numbers(value, what, advice)
    if array.ndim == 0:
        raise InputError(f"expected {what} as an array of numbers, got the single number {array}{advice}")
    return array
