"""The fitted prior in NumPy: from a seed and an index to the same class, component and latent on every machine.

After training, a mixture of Gaussians is fitted to the latents of the training images of each class. A latent is drawn
from it with the words of the seed contract (`philox`), where w(stream) is the word w0 of block 0 of that stream:

    class      = the number of class thresholds that are ≤ w(2), unless the caller asked for a class
    component  = first[class] + the number of this class's component thresholds that are ≤ w(1)
    z          = m + L·(temperature·ε)                   with ε the normals of stream 0

Thresholds are cumulative weights times 2³², rounded to integers and compared as integers: a comparison of floats could
differ in the last bit between machines, and give another picture. m is the component's mean, and L the
lower-triangular Cholesky factor of its covariance. Component 0 of the tables is N(0, I), with m = 0 and L = I, so that
the normal prior needs no branch.

Every latents.onnx contains the same computation as ONNX operators, and the tests compare the two.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._errors import ModelError, UsageError, shown
from .arrays import as_latents
from .choice import check_temperature, whole
from .files import Json
from .manifest import ADVICE, PRIOR_FILE
from .philox import CLASS_STREAM, COMPONENT_STREAM, random_words, standard_normals

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

SCHEMA_VERSION = 1
"""The version of prior.json."""
ANY_CLASS = -1
"""The label of samples of any class, and of data without classes."""
MOST_DIMENSIONS = 4096
"""More latent dimensions than any model has; a larger number in a file would fill the memory."""
MOST_THRESHOLDS = 10_000_000
"""The most entries of the table of the components' thresholds."""
MOST_MEDOIDS = 512
"""Of how many components, those nearest to the mean of all, the medoid is chosen."""
WORDS = 2**32
"""The number of values that a word can have, and the last threshold, which no word reaches."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of Gaussians over the latents of one class, or of all images of data without classes."""

    weights: NDArray[np.float64]
    """float64 [components], whose sum is 1"""
    means: Floats
    """float32 [components, dimensions]"""
    factors: Floats
    """float32 [components, dimensions, dimensions], lower-triangular matrices L; L·Lᵀ is the covariance"""


@dataclass(frozen=True, eq=False)
class FittedPrior:
    """A fitted prior as tables, which hold N(0, I) first and then the components of each class.

    >>> from vae_gen import VAE
    >>> prior = VAE().fitted_prior()
    >>> latents, labels = prior.latents(seed=7, start=0, count=3)
    >>> latents.shape, labels.shape, prior.classes
    ((3, 12), (3,), 10)
    """

    classes: int
    """the number of classes; 0 for data without classes, which have a single mixture"""
    means: Floats
    """float32 [1 + components, dimensions], the mean of each component"""
    factors: Floats
    """float32 [1 + components, dimensions, dimensions], lower-triangular matrices L; L·Lᵀ is the covariance"""
    first: Integers
    """int64 [mixtures], the position of each mixture's first component in the tables"""
    class_thresholds: Integers
    """int64 [mixtures], ascending to 2³²"""
    component_thresholds: Integers
    """int64 [mixtures, components of the largest one], ascending to 2³², with which shorter rows are filled up"""

    @classmethod
    def of(cls, shares: Sequence[float], mixtures: Sequence[Mixture], *, labelled: bool = True) -> FittedPrior:
        """Builds the tables from one mixture for each class, or from a single one for data without classes.

        Args:
            shares: each class's share of the data; the shares need not add up to 1.
            mixtures: one mixture for each share.
            labelled: False for data without classes.
        """
        dimensions = mixtures[0].means.shape[1]
        sizes = [len(mixture.weights) for mixture in mixtures]
        component_thresholds = np.full((len(mixtures), max(sizes)), WORDS, np.int64)
        for row, mixture in zip(component_thresholds, mixtures, strict=True):
            row[: len(mixture.weights)] = thresholds(mixture.weights)
        return cls(
            classes=len(mixtures) if labelled else 0,
            means=np.concatenate([np.zeros((1, dimensions), np.float32), *(mixture.means for mixture in mixtures)]),
            factors=np.concatenate([np.eye(dimensions, dtype=np.float32)[None], *(item.factors for item in mixtures)]),
            first=1 + np.cumsum([0, *sizes[:-1]], dtype=np.int64),
            class_thresholds=thresholds(shares),
            component_thresholds=component_thresholds,
        )

    @property
    def dimensions(self) -> int:
        """The number of latent dimensions."""
        return int(self.means.shape[1])

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of components of each mixture."""
        return tuple(np.diff([*self.first, len(self.means)]).tolist())

    @property
    def labels(self) -> Integers:
        """The class of each component, int64 [1 + components]; −1 for N(0, I), and for data without classes."""
        of_mixture = np.arange(len(self.first)) if self.classes else np.full(len(self.first), ANY_CLASS)
        return np.concatenate([[ANY_CLASS], np.repeat(of_mixture, self.sizes)]).astype(np.int64)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The share of each component in the whole density, float64 [1 + components]; 0 for N(0, I)."""
        shares = np.diff(self.class_thresholds, prepend=0) / WORDS
        own = [
            share * np.diff(row[:size], prepend=0) / WORDS
            for share, row, size in zip(shares, self.component_thresholds, self.sizes, strict=True)
        ]
        return np.concatenate([[0.0], *own])

    def log_density(self, latents: ArrayLike, label: int = ANY_CLASS) -> NDArray[np.float64]:
        """How likely latents are: the logarithm of the prior's density in nats, float64 [...].

        Densities of different models can't be compared. To judge a value, compare it with those of samples.

        Args:
            latents: [..., dimensions].
            label: −1 for the density over all classes, otherwise the class whose density is meant, log p(z|class).

        Raises:
            InputError: latents of another width, or not finite.
            UsageError: there is no such class.
            ModelError: a covariance of the prior is singular.

        >>> from vae_gen import VAE
        >>> prior = VAE().fitted_prior()
        >>> bool(prior.log_density(np.zeros(12)) > prior.log_density(np.full(12, 5)))
        True
        """
        from .density import Density

        rows = as_latents(latents, self.dimensions)
        chosen = self._of_class(label)
        density = Density(self, chosen, self._weights_within(label))
        logs: NDArray[np.float64] = density.log(rows.reshape(-1, self.dimensions).astype(np.float64))
        return logs.reshape(rows.shape[:-1])

    def medoid(self, label: int = ANY_CLASS) -> Floats:
        """The mean of the component that is the most central: a typical latent, float32 [dimensions].

        It is the mean whose distance from the means of the other components, weighted by their shares, is the
        smallest. The centre of all latents, 0, is no such place: it lies between the classes.

        Args:
            label: −1 for all classes, otherwise the class whose components count.

        Raises:
            UsageError: there is no such class.

        >>> from vae_gen import VAE
        >>> VAE().fitted_prior().medoid().shape
        (12,)
        """
        rows = self._of_class(label)
        means, weights = self.means[rows].astype(np.float64), self._weights_within(label)
        central = np.argsort(np.linalg.norm(means - weights @ means, axis=1), kind="stable")[:MOST_MEDOIDS]
        distances = [float(np.linalg.norm(means - means[at], axis=1) @ weights) for at in central]
        chosen: Floats = self.means[rows[central[int(np.argmin(distances))]]].copy()
        return chosen

    def _of_class(self, label: int) -> Integers:
        """The rows of the tables with the components of a class, or with all components for −1."""
        label = whole("a label", label)
        self._check_label(label)
        return np.arange(1, len(self.means)) if label < 0 else self.first[label] + np.arange(self.sizes[label])

    def _weights_within(self, label: int) -> NDArray[np.float64]:
        """The share of each component in its class, or in the whole density for −1."""
        if label < 0:
            return self.weights[1:]
        own: NDArray[np.float64] = np.diff(self.component_thresholds[label, : self.sizes[label]], prepend=0) / WORDS
        return own

    def _check_label(self, label: int) -> None:
        if not ANY_CLASS <= label < self.classes:
            known = f"from -1 (any) to {self.classes - 1}" if self.classes else "of -1, for data without classes"
            raise UsageError(f"expected a label {known}, got {shown(label)}")

    def components(self, seed: int, start: int, count: int, label: int = ANY_CLASS) -> Integers:
        """Draws the component of each of the indices start … start+count−1, int64 [count].

        Args:
            seed: 0 … 2⁶³−1.
            start: the first index, 0 … 2⁶³−1.
            count: the number of indices.
            label: the class of all of them, or −1 to draw a class for each.

        Raises:
            UsageError: a number is out of its range, or there is no such class.
        """
        label = whole("a label", label)
        self._check_label(label)
        words = [
            random_words(seed, start, count, 1, stream)[:, 0, 0].astype(np.int64)
            for stream in (CLASS_STREAM, COMPONENT_STREAM)
        ]
        chosen = (words[0][:, None] >= self.class_thresholds).sum(1) if label < 0 else np.full(count, label)
        within = (words[1][:, None] >= self.component_thresholds[chosen]).sum(1)
        components: Integers = (self.first[chosen] + within).astype(np.int64)
        return components

    def draw_labels(self, seed: int, start: int, count: int, label: int | None = None) -> Integers:
        """Draws the class of each of the indices start … start+count−1, int64 [count]; −1 for data without classes.

        Args:
            seed: as in `components`.
            start: as in `components`.
            count: as in `components`.
            label: the class of all of them, or None to draw a class for each.

        Raises:
            UsageError: a number is out of its range, or there is no such class.
        """
        return self.labels[self.components(seed, start, count, ANY_CLASS if label is None else label)]

    def latents(
        self, seed: int, start: int, count: int, label: int = ANY_CLASS, temperature: float = 1.0
    ) -> tuple[Floats, Integers]:
        """Draws latents, float32 [count, dimensions], and their classes, int64 [count].

        Args:
            seed: as in `components`.
            start: as in `components`.
            count: as in `components`.
            label: as in `components`.
            temperature: the factor of the noise; at 0 each latent is the mean of its component.

        Raises:
            UsageError: a number is out of its range, or there is no such class.
        """
        component = self.components(seed, start, count, label)
        noise = np.float32(check_temperature(temperature)) * standard_normals(seed, start, count, self.dimensions)
        latents: Floats = self.means[component] + (self.factors[component] @ noise[..., None])[..., 0]
        return latents, self.labels[component]

    def to_json(self, class_names: Sequence[str] = ()) -> dict[str, Any]:
        """The document of a prior.json: thresholds as integers, and tables as float32 in base64, without rounding.

        Args:
            class_names: the names of the classes, which are written beside their labels.
        """
        rows, columns = np.tril_indices(self.dimensions)
        mixtures = []
        for at, (first, size) in enumerate(zip(self.first, self.sizes, strict=True)):
            own = slice(first, first + size)
            mixtures.append({
                "label": at if self.classes else ANY_CLASS,
                "name": class_names[at] if self.classes and class_names else None,
                "threshold": int(self.class_thresholds[at]),
                "component_thresholds": self.component_thresholds[at, :size].tolist(),
                "means": _base64(self.means[own]),
                "factors": _base64(self.factors[own][:, rows, columns]),
            })
        return {"schema_version": SCHEMA_VERSION, "dimensions": self.dimensions, "mixtures": mixtures}

    @classmethod
    def parse(cls, text: str | bytes, where: str = PRIOR_FILE, dimensions: int | None = None) -> FittedPrior:
        """Reads the text of a prior.json. The arrays are read-only, because a model keeps them.

        Args:
            text: the content of the file.
            where: the file's name, for errors.
            dimensions: the number of latent dimensions that it must have; None for any.

        Raises:
            ModelError: the text is not that of a fitted prior; names the key, what was expected and what was found.
        """
        root = Json.parse(text, where, ModelError, ADVICE)
        root["schema_version"].whole(SCHEMA_VERSION, SCHEMA_VERSION)
        low, high = (1, MOST_DIMENSIONS) if dimensions is None else (dimensions, dimensions)
        dimensions, mixtures = root["dimensions"].whole(low, high), root["mixtures"].items(lambda entry: entry)
        labels = [entry["label"].whole(ANY_CLASS) for entry in mixtures]
        if not labels or labels not in ([ANY_CLASS], list(range(len(labels)))):
            raise root["mixtures"].wrong("mixtures whose labels count up from 0, or a single one with the label -1")
        own_thresholds = [_ascending(entry["component_thresholds"]) for entry in mixtures]
        sizes = [len(own) for own in own_thresholds]
        needed = 4 * sum(sizes) * (dimensions + dimensions * (dimensions + 1) // 2)
        # Base64 has four letters for three bytes, and a row of the thresholds has as many as the longest mixture.
        if 3 * needed > 4 * len(text) or len(sizes) * max(sizes) > MOST_THRESHOLDS:
            raise root["mixtures"].wrong(f"{needed} bytes of means and factors")
        means, factors = [np.zeros((1, dimensions), np.float32)], [np.eye(dimensions, dtype=np.float32)[None]]
        component_thresholds = np.full((len(sizes), max(sizes)), WORDS, np.int64)
        rows, columns = np.tril_indices(dimensions)
        for row, own, entry in zip(component_thresholds, own_thresholds, mixtures, strict=True):
            row[: len(own)] = own
            means.append(_finite(entry["means"], len(own), dimensions))
            factor = np.zeros((len(own), dimensions, dimensions), np.float32)
            factor[:, rows, columns] = _finite(entry["factors"], len(own), len(rows))
            factors.append(factor)
        prior = cls(
            classes=0 if labels == [ANY_CLASS] else len(labels),
            means=np.concatenate(means),
            factors=np.concatenate(factors),
            first=1 + np.cumsum([0, *sizes[:-1]], dtype=np.int64),
            class_thresholds=_ascending(root["mixtures"], [entry["threshold"].whole(0, WORDS) for entry in mixtures]),
            component_thresholds=component_thresholds,
        )
        for table in (prior.means, prior.factors, prior.first, prior.class_thresholds, prior.component_thresholds):
            table.flags.writeable = False
        return prior


def thresholds(weights: Sequence[float] | NDArray[np.float64]) -> Integers:
    """Cumulative weights as integers; a random word draws the item k with thresholds[k−1] ≤ word < thresholds[k].

    >>> thresholds([1, 1, 2]).tolist()
    [1073741824, 2147483648, 4294967296]
    """
    cumulative = np.cumsum(np.asarray(weights, np.float64))
    rounded: Integers = np.floor(cumulative / cumulative[-1] * WORDS + 0.5).astype(np.int64)
    rounded[-1] = WORDS
    return rounded


def _ascending(node: Json, values: Sequence[int] | None = None) -> Integers:
    """Checks thresholds: those in the list `node`, or the given values, with an error that names `node`."""
    found = np.array(node.items(lambda item: item.whole(0, WORDS)) if values is None else values, np.int64)
    if not len(found) or (np.diff(found) < 0).any() or found[-1] != WORDS:
        raise node.wrong(f"thresholds that ascend to {WORDS}")
    return found


def _base64(values: Floats) -> str:
    """The values as little-endian float32 in base64, row by row."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _finite(node: Json, *shape: int) -> Floats:
    found: Floats = node.decoded("float32", *shape)
    if not np.isfinite(found).all():
        raise node.wrong("finite values")
    return found
