"""What the model gives back: frozen values that behave as arrays and show themselves as pictures in a notebook."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._grid import picture_grid, to_grey_levels
from .internal.manifest import Prior

NOTEBOOK_LIMIT = 200
"""A notebook shows at most so many pictures of a batch."""


class Posterior(NamedTuple):
    """What the encoder says of images: q(z|x) = N(mean, exp(log_variance)) for each latent dimension."""

    mean: NDArray[np.float32]
    """float32 [n, dimensions]"""
    log_variance: NDArray[np.float32]
    """float32 [n, dimensions], natural logarithm"""


@dataclass(frozen=True, eq=False, repr=False)
class Pictures:
    """Decoded pictures and the latents they came from. NumPy takes it for its `images`."""

    images: NDArray[Any]
    """float32 [..., channels, height, width] in [0, 1], or uint8 grey levels where those were asked for"""
    latents: NDArray[np.float32]
    """float32 [..., dimensions]"""

    def __post_init__(self) -> None:
        self.images.flags.writeable = False
        self.latents.flags.writeable = False

    def __repr__(self) -> str:
        return f"<{len(self)} pictures of shape {list(self.shape[1:])}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `images`."""
        return self.images.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of `images`."""
        return self.images.dtype

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        result: NDArray[Any] = self.images[key]
        return result

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter(self.images)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        # As NumPy's protocol has it: with copy=False, an array of its own is an error.
        converts = dtype is not None and np.dtype(dtype) != self.images.dtype
        if converts and copy is False:
            raise ValueError(f"expected {self.images.dtype} where no copy may be made, got {dtype!r}")
        return np.array(self.images, dtype=dtype) if copy or converts else self.images

    def grey_levels(self) -> NDArray[np.uint8]:
        """The images as uint8, ⌊255·x + 0.5⌋."""
        return self.images if self.images.dtype == np.uint8 else to_grey_levels(self.images)

    def grid(self, columns: int | None = None, scale: int = 1) -> NDArray[np.uint8]:
        """All pictures as one: uint8 [height, width], or [height, width, 3] for colour.

        Args:
            columns: pictures in a row; by default one row for each row of a traversal, else ten.
            scale: each pixel becomes scale × scale.
        """
        if columns is None:
            columns = self.images.shape[1] if self.images.ndim == 5 else 10
        return picture_grid(self.grey_levels().reshape(-1, *self.images.shape[-3:]), columns, scale)

    def _repr_png_(self) -> bytes:
        from PIL import Image  # only a notebook asks for this

        flat = self.grey_levels().reshape(-1, *self.images.shape[-3:])[:NOTEBOOK_LIMIT]
        columns = self.images.shape[1] if self.images.ndim == 5 else 10
        buffer = io.BytesIO()
        Image.fromarray(picture_grid(flat, columns, 2)).save(buffer, "PNG")
        return buffer.getvalue()


@dataclass(frozen=True, eq=False, repr=False)
class Samples(Pictures):
    """Pictures start … start+n−1 of a seed: the same call gives them again, anywhere."""

    seed: int
    start: int
    find_labels: Callable[[], NDArray[np.int64] | None] | None = None
    """gives `labels` once they are asked for; None where the prior knows no classes"""
    prior: Prior = "normal"
    label: int | None = None
    """the class that was asked for"""
    temperature: float = 1.0
    detail: bool = False
    """whether the detail stage drew them"""

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        """int64 [n], each sample's class; None where the prior knows none, or a session to tell them is missing.

        Found when first asked for: that takes as long as a picture does, and most callers never look.

        Raises:
            ModelError: the model's table of classes was changed since.
        """
        found = self.find_labels() if self.find_labels else None
        if found is not None:
            found.flags.writeable = False
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "labels": self.labels, "find_labels": None}  # a copy elsewhere has no model to ask

    def __repr__(self) -> str:
        choices = "" if self.prior == "normal" else ", prior='fitted'"
        choices += "" if self.label is None else f", label={self.label}"
        choices += "" if self.temperature == 1 else f", temperature={self.temperature:g}"
        choices += ", detail=True" if self.detail else ""
        return f"<{len(self)} samples of shape {list(self.shape[1:])}, seed={self.seed}, start={self.start}{choices}>"


@dataclass(frozen=True, eq=False, repr=False)
class Traversal(Pictures):
    """One row of pictures for each latent dimension, in which only that dimension changes."""

    dimensions: tuple[int, ...]
    """the latent's own index of each row"""
    values: NDArray[np.float32]
    """float32 [steps], what the dimension is set to in each column"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.values.flags.writeable = False

    def __repr__(self) -> str:
        low, high = float(self.values[0]), float(self.values[-1])
        return f"<traversal of dimensions {list(self.dimensions)} from {low:g} to {high:g} in {len(self.values)} steps>"
