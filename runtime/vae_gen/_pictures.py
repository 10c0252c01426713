"""The results of a model: pictures that behave as a NumPy array, keep what they were made from, and can be saved."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._errors import InputError, UsageError, shown
from .internal.arrays import as_numbers, check_unit_range
from .internal.choice import Choice, whole

if TYPE_CHECKING:
    from PIL import Image

    from .internal.model import Graphs

MOST_PIXELS = 1 << 32
"""The most pixels of a grid."""
NOTEBOOK_LIMIT = 200
"""A notebook shows at most 200 pictures of a batch."""

Self = TypeVar("Self", bound="Pictures")


class Posterior(NamedTuple):
    """What the encoder predicts for images: q(z|x) = N(mean, exp(log_variance)) in each latent dimension."""

    mean: NDArray[np.float32]
    """float32 [n, dimensions]"""
    log_variance: NDArray[np.float32]
    """float32 [n, dimensions], natural logarithm of the variance"""


@dataclass(frozen=True, eq=False, repr=False)
class Pictures(np.lib.mixins.NDArrayOperatorsMixin):
    """Pictures and the latents that they were decoded from.

    NumPy, PyTorch and Matplotlib take the value for the array of its images: `np.asarray(pictures)`,
    `pictures * 255`, `pictures.mean()`, `pictures.T` and every other method and attribute of an array give plain arrays
    and numbers. To select pictures, index it as an array:
    `pictures[0]`, `pictures[:10]`, a mask and a list of indices give the same type, with the latents that belong to
    them. A key that reaches into the pixels, such as `pictures[0, 0, 14, 14]`, gives a plain array or number.

    >>> pictures = Pictures(np.zeros((5, 1, 28, 28)), np.zeros((5, 12)))
    >>> pictures[:2].latents.shape, pictures[0].shape, (1 - pictures).shape
    ((2, 12), (1, 28, 28), (5, 1, 28, 28))
    """

    images: NDArray[Any]
    """float32 [..., channels, height, width] in [0, 1], or uint8 grey levels if those were asked for"""
    latents: NDArray[np.float32]
    """float32 [..., dimensions]"""

    def __post_init__(self) -> None:
        for name, axes in (("images", 3), ("latents", 1)):  # latents of no dimensions: pictures that no model made
            values = getattr(self, name)
            if not isinstance(values, np.ndarray) or values.ndim < axes or (axes == 3 and 0 in values.shape[-3:]):
                wanted = "[..., channels, height, width]" if name == "images" else "[..., dimensions]"
                found = f"shape {list(values.shape)}" if isinstance(values, np.ndarray) else shown(values)
                raise UsageError(f"expected {name} as a NumPy array {wanted}, got {found}")

    def __repr__(self) -> str:
        if self.images.ndim == 3:
            return f"<picture of shape {list(self.shape)}>"
        return f"<{len(self)} pictures of shape {list(self.shape[1:])}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `images`."""
        return self.images.shape

    @property
    def ndim(self) -> int:
        """The number of axes of `images`: 4 for a batch, 3 for a single picture, 5 for a traversal."""
        return self.images.ndim

    @property
    def size(self) -> int:
        """The number of values in `images`."""
        return self.images.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of `images`."""
        return self.images.dtype

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self: Self, key: Any) -> Self:
        if _axes(key) > self.images.ndim - 3:  # the key reaches into the pixels
            values: Self = self.images[key]  # a plain array; typed as the common case
            return values
        return self._select(key)

    def __iter__(self: Self) -> Iterator[Self]:
        return (self[at] for at in range(len(self)))

    def _select(self: Self, key: Any) -> Self:
        """The pictures of a key that stays within the leading axes, with everything that belongs to them."""
        return replace(self, images=self.images[key], latents=self.latents[key])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        converts = dtype is not None and np.dtype(dtype) != self.images.dtype
        if converts and copy is False:  # NumPy's protocol asks for an error
            raise ValueError(f"expected {self.images.dtype} where no copy may be made, got {dtype!r}")
        return np.array(self.images, dtype=dtype) if copy or converts else self.images

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" in options:  # `pictures *= 0.5` changes the images in place, as it would an array
            target = options["out"][0]
            options["out"] = tuple(map(_as_array, options["out"]))
            getattr(ufunc, method)(*map(_as_array, inputs), **options)
            return target
        return getattr(ufunc, method)(*map(_as_array, inputs), **options)

    def __dlpack__(self, **options: Any) -> Any:
        return self.images.__dlpack__(**options)  # without this, torch.as_tensor would copy picture by picture

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.images.__dlpack_device__()

    def __getattr__(self, name: str) -> Any:
        """Any other public attribute of a NumPy array: that of `images`, so `pictures.sum()` is `images.sum()`."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.images, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in dir(np.ndarray) if not name.startswith("_"))})

    def grey_levels(self) -> NDArray[np.uint8]:
        """The images as uint8 grey levels 0 … 255, which are ⌊255·x + 0.5⌋, in the shape of `images`.

        >>> Pictures(np.full((1, 1, 2, 2), 0.5), np.zeros((1, 12))).grey_levels().tolist()
        [[[[128, 128], [128, 128]]]]
        """
        return self.images if self.images.dtype == np.uint8 else to_grey_levels(self.images)

    def grid(self, columns: int | None = None, scale: int = 1) -> NDArray[np.uint8]:
        """All pictures side by side as one: uint8 [height, width], or [height, width, 3] for colour.

        Args:
            columns: pictures in a row; by default 10, and a traversal's own rows.
            scale: each pixel becomes scale × scale pixels.

        Raises:
            UsageError: there are no pictures, or a number is out of its range.

        >>> Pictures(np.zeros((20, 1, 28, 28)), np.zeros((20, 12))).grid(columns=5).shape
        (122, 152)
        """
        if columns is None:
            columns = self.images.shape[1] if self.images.ndim == 5 else 10
        return picture_grid(self.grey_levels().reshape(-1, *self.images.shape[-3:]), columns, scale)

    def to_pil(self) -> Image.Image | list[Image.Image]:
        """Converts the pictures to Pillow images of mode L or RGB: one for a single picture, otherwise a list.

        >>> Pictures(np.zeros((3, 1, 28, 28)), np.zeros((3, 12)))[0].to_pil().size
        (28, 28)
        """
        from .internal.saving import to_image

        images = [to_image(levels) for levels in self.grey_levels().reshape(-1, *self.images.shape[-3:])]
        return images[0] if self.images.ndim == 3 else images

    def save(self, path: str | os.PathLike[str], *, columns: int | None = None, scale: int | None = None) -> None:
        """Writes the pictures to a file or a folder, which the ending of the path decides.

        A file is written beside its place and then renamed, so that it is never there by half.

        Args:
            path: `.png` and `.webp` are a grid of all pictures, or a single picture without a border; a path that
                ends in `/`, and a folder that exists, is filled with a PNG for each picture; `.npy` contains `images`;
                `.npz` contains `images`, `latents` and the other arrays of the result (`labels`, `noise`, `seed` …) by
                their names, and for samples `model`, a text in JSON that names the model.
            columns: pictures in a row of a grid, as in `grid`.
            scale: each pixel becomes scale × scale pixels; by default 4 in a grid and 1 elsewhere.

        Raises:
            UsageError: the path has another ending, or `columns` or `scale` is given for a format that doesn't use it.
            OutputError: the file cannot be written.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Pictures(np.zeros((3, 1, 28, 28)), np.zeros((3, 12))).save(f"{folder}/pictures.png")
        """
        from .internal.saving import save

        save(self, path, columns, scale)

    def _rows(self) -> dict[str, NDArray[Any]]:
        """The arrays of an .npz that have a row for each picture, besides the images."""
        return {"latents": self.latents}

    def _facts(self) -> dict[str, NDArray[Any]]:
        """The arrays of an .npz that belong to all pictures together."""
        return {}

    def _numbers(self) -> list[int]:
        """The number of each picture in a folder of PNGs."""
        return list(range(self.images[..., 0, 0, 0].size))

    def _repr_png_(self) -> bytes:
        """The pictures as a notebook shows them: at most 200, in a grid."""
        from PIL import Image

        flat = self.grey_levels().reshape(-1, *self.images.shape[-3:])[:NOTEBOOK_LIMIT]
        columns = self.images.shape[1] if self.images.ndim == 5 else 10
        buffer = io.BytesIO()
        Image.fromarray(picture_grid(flat, columns, 2)).save(buffer, "PNG")
        return buffer.getvalue()


@dataclass(frozen=True, eq=False, repr=False)
class Samples(Pictures):
    """Pictures that a seed made. With the same model, seed and index make a picture again on any machine.

    >>> from vae_gen import VAE
    >>> samples = VAE("fashion-mnist-12d-reference").sample(50, seed=7, prior="fitted")
    >>> samples[10:13].indices.tolist(), samples[10:13].labels.shape, samples[10:13].latents.shape
    ([10, 11, 12], (3,), (3, 12))
    """

    seed: int
    """0 … 2⁶³−1"""
    indices: NDArray[np.int64]
    """int64 [n], each picture's index within the seed"""
    choice: Choice
    """prior, label, temperature and detail, as they were resolved for this model"""
    _labels: NDArray[np.int64] | None = None
    """the labels, if they were computed already"""
    _noise: NDArray[np.float32] | None = None
    """the noise, if it was computed already"""
    _layout: tuple[int, int] | None = None
    """how the pictures were computed (see `Layout` in internal/sampling.py)"""
    _graphs: Graphs | None = None
    """the model's graphs, which compute labels and noise; None in an unpickled copy"""

    @property
    def start(self) -> int:
        """The index of the first picture."""
        return int(np.ravel(self.indices)[0])

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """int64 [n], the class of each picture; None if the prior has no classes.

        The graph that makes default samples doesn't return their classes, so they are computed when first read. A
        model that was made with `VAE.from_sessions` needs the session `latents` for that; without it they are None.

        Raises:
            ModelError: a file of the model folder was changed since.
        """
        if self._labels is None and self._graphs is not None and self.choice.has_labels(self._graphs.manifest):
            from .internal.sampling import find_labels

            found = find_labels(self._graphs, self.seed, np.ravel(self.indices))
            object.__setattr__(self, "_labels", None if found is None else found.reshape(self.indices.shape)[()])
        return self._labels

    @property
    def noise(self) -> NDArray[np.float32] | None:
        """float32 [n, k], the noise of each picture in the detail stage; None for pictures without details.

        The noise is computed when it is first read, under the same conditions as `labels`.
        `vae.decode(samples.latents, noise=samples.noise)` makes the pictures again up to rounding, and
        `vae.decode(samples)` to the byte.

        Raises:
            ModelError: a file of the model folder was changed since.
        """
        if self._noise is None and self._graphs is not None and self.choice.detail:
            from .internal.sampling import find_noise

            found = find_noise(self._graphs, self.choice, self.seed, np.ravel(self.indices), self._layout)
            shaped = None if found is None else found.reshape(*self.indices.shape, found.shape[-1])
            object.__setattr__(self, "_noise", shaped)
        return self._noise

    def _select(self, key: Any) -> Samples:
        return replace(
            self,
            images=self.images[key],
            latents=self.latents[key],
            indices=self.indices[key],
            _labels=None if self._labels is None else self._labels[key],
            _noise=None if self._noise is None else self._noise[key],
        )

    def __getstate__(self) -> dict[str, Any]:
        """A pickle contains the labels and the noise, because the model may be missing where it is loaded."""
        return {**self.__dict__, "_labels": self.labels, "_noise": self.noise, "_graphs": None}

    def __repr__(self) -> str:
        choices = "" if self.choice.prior == "normal" else ", prior='fitted'"
        choices += "" if self.choice.label is None else f", label={self.choice.label}"
        choices += "" if self.choice.temperature == 1 else f", temperature={self.choice.temperature:g}"
        choices += ", detail=True" if self.choice.detail else ""
        if self.images.ndim == 3:
            return f"<sample of shape {list(self.shape)}, seed={self.seed}, index={self.indices}{choices}>"
        some = ", ".join(str(index) for index in np.ravel(self.indices)[:3].tolist())
        where = f", start={some.partition(',')[0]}" if self._is_a_range() else f", indices={some}, …" if some else ""
        return f"<{len(self)} samples of shape {list(self.shape[1:])}, seed={self.seed}{where}{choices}>"

    def _is_a_range(self) -> bool:
        flat = np.atleast_1d(self.indices)
        return flat.ndim == 1 and flat.size > 0 and bool((np.diff(flat) == 1).all())

    def _rows(self) -> dict[str, NDArray[Any]]:
        rows = {"latents": self.latents, "labels": self.labels, "noise": self.noise}
        rows |= {} if self._is_a_range() else {"indices": self.indices}
        return {name: np.asarray(array) for name, array in rows.items() if array is not None}

    def _facts(self) -> dict[str, NDArray[Any]]:
        start = {"start": np.array(self.start, np.int64)} if self._is_a_range() else {}
        return {"seed": np.array(self.seed, np.int64), **start}

    def _numbers(self) -> list[int]:
        return [int(index) for index in np.ravel(self.indices)]


@dataclass(frozen=True, eq=False, repr=False)
class Traversal(Pictures):
    """A row of pictures for each latent dimension, in which only that dimension changes.

    Indexing the first axis selects rows and keeps the type; `traversal[0]` is the first row. A key that also selects
    steps, such as `traversal[0, 3]`, gives `Pictures`.
    """

    dimensions: tuple[int, ...]
    """the latent dimension of each row"""
    values: NDArray[np.float32]
    """float32 [rows, steps], the values that the dimension of each row takes from left to right; [steps] of one row"""

    def _select(self, key: Any) -> Any:
        images, latents = self.images[key], self.latents[key]
        if self.images.ndim != 5 or isinstance(key, tuple):
            return Pictures(images, latents)
        rows = tuple(np.atleast_1d(np.array(self.dimensions)[key]).tolist())
        return Traversal(images, latents, rows, self.values[key])

    def __repr__(self) -> str:
        low, high, steps = float(self.values.min()), float(self.values.max()), self.values.shape[-1]
        return f"<traversal of dimensions {list(self.dimensions)} from {low:.4g} to {high:.4g} in {steps} steps>"

    def _facts(self) -> dict[str, NDArray[Any]]:
        return {"dimensions": np.array(self.dimensions, np.int64), "values": self.values}


def to_grey_levels(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Converts values in [0, 1] to uint8 grey levels 0 … 255, which are ⌊255·x + 0.5⌋ in float32.

    Args:
        images: float of any shape, in [0, 1].

    Returns:
        uint8 of the same shape.

    Raises:
        InputError: values that are no numbers, not finite, or not in [0, 1], apart from rounding.

    >>> to_grey_levels(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    is_plain = type(images) is np.ndarray and images.dtype == np.float32  # as this library's own pictures are
    array = images if is_plain else as_numbers(images, "images")
    if array.dtype.kind == "c":
        raise InputError(f"expected images as real numbers, got {array.dtype}; convert them first")
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 1.0)
    if not (low >= 0 and high <= 1):
        check_unit_range(low, high, "expected images in [0, 1]")
    scaled = array.astype(np.float32, copy=False) * np.float32(255)
    scaled += np.float32(0.5)
    return scaled.astype(np.uint8)  # the cast rounds towards zero, which is the floor of positive numbers


def picture_grid(
    images: NDArray[np.uint8], columns: int = 10, scale: int = 1, gap: int = 2, background: int = 0
) -> NDArray[np.uint8]:
    """Puts pictures side by side into one: uint8 [height, width], or [height, width, 3] for colour.

    Args:
        images: uint8 [n, channels, height, width], with 1 or 3 channels.
        columns: pictures in a row; n if there are fewer.
        scale: each pixel becomes scale × scale pixels.
        gap: pixels between two pictures and around all of them, after scaling.
        background: the grey level, 0 … 255, of the gaps and of places without a picture.

    Raises:
        UsageError: the images have another dtype or shape, there are none, or a number is out of its range.

    >>> picture_grid(np.zeros((5, 1, 28, 28), np.uint8), columns=3, gap=2).shape
    (62, 92)
    """
    if type(images) is not np.ndarray:
        images = as_numbers(images, "pictures")
    if images.ndim == 4 and not len(images):
        raise UsageError("expected at least one picture, got none")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UsageError(
            f"expected pictures as uint8 [n, 1 or 3, height, width], got {images.dtype} {list(images.shape)}"
        )
    columns, scale = whole("columns", columns, 1), whole("scale", scale, 1)
    gap, background = whole("gap", gap, 0), whole("background", background, 0, 255)
    count, channels, height, width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    cell_height, cell_width = height * scale + gap, width * scale + gap
    if (rows * cell_height + gap) * (columns * cell_width + gap) > MOST_PIXELS:
        raise UsageError(f"expected a grid of at most {MOST_PIXELS} pixels, got more; choose a smaller scale or gap")
    canvas = np.full((rows * cell_height + gap, columns * cell_width + gap, channels), background, np.uint8)
    for at in range(count):
        top, left = gap + at // columns * cell_height, gap + at % columns * cell_width
        picture = images[at].transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)
        canvas[top : top + height * scale, left : left + width * scale] = picture
    return canvas[..., 0] if channels == 1 else canvas


def _as_array(value: Any) -> Any:
    return value.images if isinstance(value, Pictures) else value


def _axes(key: Any) -> float:
    """How many axes a key selects from; infinity for a key that only a plain array understands."""
    total = 0.0
    for part in key if isinstance(key, tuple) else (key,):
        if part is None or part is Ellipsis or isinstance(part, bool | np.bool_):
            return float("inf")
        array = None if isinstance(part, int | slice) else np.asarray(part)
        total += array.ndim if array is not None and array.dtype == bool else 1
    return total
