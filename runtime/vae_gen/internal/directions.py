"""Directions of the latent space with a measured meaning: one attribute of the picture changes, and the others stay.

An attribute is something that the picture itself shows: how bright its object is, how wide, how far its sleeves reach.
`vae-export` measures the attributes of the decoder's pictures, and teaches a small network to predict them from the
latent: z → tanh(W₁z + b₁) → tanh(W₂· + b₂) → W₃· + b₃. Its first outputs are the attributes, standardised over all
pictures, and its last ones the evidence for each class. Its derivatives at a latent say in which direction an attribute
changes there, because the same direction means something else elsewhere.

A latent moves by the smallest change that is likely in its class and leaves the other attributes alone. Per standard
deviation of the attribute it is the v that minimises

    vᵀ·P·v + Σₖ wₖ·(jₖ·v)² + w_radius·(r·v)² + w_class·(e·v)²    with j·v = 1

where P is the inverse covariance of the class's latents; j and jₖ are the derivatives of the attribute and of those to
hold, in their standard deviations within the class; r is the direction away from the middle of the class, in its own
metric; and e is the derivative of the evidence for the class. So v = H⁻¹j / (jᵀH⁻¹j), where H is the matrix of the sum.
Where the evidence E is below ½, the last term is w_class·(e·v − ½ + E)² for the whole way, so that a latent between
two classes comes to look more like its own. The way to a position takes twelve steps by the midpoint rule.

All numbers of these formulas are in directions.json. `examples/vae.mjs` computes the same in JavaScript.
"""

from __future__ import annotations

import base64
import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._errors import InputError, ModelError, UsageError, shown
from .arrays import LARGEST_LATENT, as_numbers
from .files import Json
from .manifest import ADVICE, DIRECTIONS_FILE
from .prior import MOST_DIMENSIONS

Doubles = NDArray[np.float64]

SCHEMA_VERSION = 1
"""The version of directions.json."""
STEPS = 12
"""The number of steps on the way to a position."""
LOWEST_SHARE = 0.2
"""A class in which an attribute varies less than this share of its deviation over all pictures counts with this share;
otherwise an attribute that hardly varies would forbid all movement."""
ENOUGH_EVIDENCE = 0.5
"""On its way a latent gathers evidence for its class until it has this much; a unit is 4 nats."""
LONGEST = 1.5
"""The longest step, in the metric of the class's latents. Two samples of a class lie about five units apart."""
FLATTEST = 1e-6
"""Where the attribute changes less than this with any movement, a latent stays where it is."""
MOST_DIRECTIONS, MOST_ATTRIBUTES, MOST_CLASSES, MOST_HIDDEN = 512, 64, 512, 512
"""The most directions, attributes and classes, and the widest layer, that a file may have."""
LONGEST_NAME = 60
"""The longest name of a direction or an attribute, in letters. Names are printed in tables and drawn into pictures."""
LARGEST_NUMBER = 1e6
"""The largest weight and step of a file, so that sums and products of its numbers stay finite."""
SMALLEST_DEVIATION = 1e-6
LARGEST_EFFECT = 1e3
"""The largest measured effect of a file. Those of real directions are about 1."""
ROOM = 1 << 20
"""How many numbers an array may have that is computed while latents move; of more latents some move after others."""
LARGEST_STEP = 32767
"""Numbers are stored as whole multiples of a step, from −32767 to 32767."""


@dataclass(frozen=True)
class Effect:
    """The measured effect of a direction in one class: latents of the fitted prior were moved along it and decoded."""

    label: int | None
    """the index of the class; None for a model without classes"""
    reached: float
    """the share of the way from −1.5 to +1.5 standard deviations that the attribute went, a median"""
    others: float
    """the largest change of the other attributes on that way, in their standard deviations, a median"""
    moved_most: str
    """the other attribute that changed most"""
    kept: float | None
    """the share of latents whose likeliest class by the prior is theirs at both ends, of those where it was before"""
    monotone: float
    """Spearman's rank correlation of position and attribute over seven steps, a median"""


EFFECT_KEYS = tuple(field.name for field in fields(Effect))
"""The keys of an effect, the first of which is the class."""


@dataclass(frozen=True)
class Direction:
    """A way through the latent space along which one attribute of the picture changes."""

    name: str
    """what users call it: `shade`, or `sleeve length`"""
    attribute: str
    """the attribute that it moves; several directions may share one, under a plain name for each class"""
    effects: tuple[Effect, ...]
    """what it does in each class that it is for"""

    @property
    def labels(self) -> tuple[int, ...] | None:
        """The classes that it is for; None for a model without classes."""
        labels = [effect.label for effect in self.effects]
        return None if None in labels else tuple(label for label in labels if label is not None)

    def to_json(self) -> dict[str, Any]:
        """The entry of directions.json: a list of each kind of effect, in the order of `labels`."""
        columns = {key: [getattr(effect, key) for effect in self.effects] for key in EFFECT_KEYS[1:]}
        return {"name": self.name, "attribute": self.attribute, "labels": self.labels, **columns}


@dataclass(frozen=True, eq=False)
class Field:
    """The network and the statistics of each class, with which latents are measured and moved. All arrays are float64.

    A data set without classes has one class for all latents.
    """

    attributes: tuple[str, ...]
    """the names of the K attributes"""
    weights: tuple[Doubles, ...]
    """W₁ [hidden, d], b₁ [hidden], W₂ [hidden, hidden], b₂ [hidden], W₃ [K + C, hidden], b₃ [K + C]"""
    holding: Doubles
    """[K], the weight with which each attribute is held while another one moves"""
    radius: float
    """the weight of the distance from the middle of the class"""
    evidence: float
    """the weight of the evidence for the class"""
    middles: Doubles
    """[C, d], the mean latent of each class"""
    precisions: Doubles
    """[C, d, d], the inverse covariance of the latents of each class"""
    averages: Doubles
    """[C, K], the mean of each attribute in each class, in standard deviations over all pictures"""
    deviations: Doubles
    """[C, K], its standard deviation in the class, in the same unit"""
    lowest: Doubles
    """[C, K], the lowest position to move to: 1 % of the class's pictures lie below"""
    highest: Doubles
    """[C, K], the highest position: 1 % lie above"""

    def predict(self, latents: Doubles) -> Doubles:
        """The outputs [n, K + C] of the network for latents [n, d]: the attributes and the evidence for each class."""
        w1, b1, w2, b2, w3, b3 = self.weights
        return np.tanh(np.tanh(latents @ w1.T + b1) @ w2.T + b2) @ w3.T + b3

    def derivatives(self, latents: Doubles, labels: NDArray[np.int64]) -> tuple[Doubles, Doubles]:
        """The attributes of latents [n, d] and the evidence for their classes [n], together [n, K + 1]; and the
        derivatives of these outputs by the latents, [n, K + 1, d].
        """
        w1, b1, w2, b2, w3, b3 = self.weights
        count = len(self.attributes)
        first = np.tanh(latents @ w1.T + b1)  # [n, hidden]
        second = np.tanh(first @ w2.T + b2)
        of_attributes = np.broadcast_to(w3[:count], (len(latents), *w3[:count].shape))
        last = np.concatenate([of_attributes, w3[count + labels][:, None]], 1)  # [n, K + 1, hidden]
        bias = np.concatenate([np.broadcast_to(b3[:count], (len(latents), count)), b3[count + labels][:, None]], 1)
        slopes = (last * (1 - second**2)[:, None]) @ w2
        return (last @ second[:, :, None])[:, :, 0] + bias, (slopes * (1 - first**2)[:, None]) @ w1

    def classes(self, latents: Doubles) -> NDArray[np.int64]:
        """The class with most evidence at each latent [n, d]."""
        evidence: NDArray[np.int64] = self.predict(latents)[:, len(self.attributes) :].argmax(1)
        return evidence

    def positions(self, latents: Doubles, labels: NDArray[np.int64]) -> Doubles:
        """The attributes [n, K] of latents, in standard deviations within their class from its mean."""
        found = self.predict(latents)[:, : len(self.attributes)]
        positions: Doubles = (found - self.averages[labels]) / self.deviations[labels]
        return positions

    def move(self, latents: Doubles, labels: NDArray[np.int64], attribute: int, positions: Doubles) -> Doubles:
        """Moves latents [n, d] of classes [n] to positions [n] of an attribute.

        Raises:
            ModelError: the numbers of the file lead to none, or to latents that no picture has.
        """
        width, (outputs, hidden) = latents.shape[1], self.weights[4].shape
        at_once = max(1, ROOM // max(width * width, outputs * max(hidden, width)))
        moved = np.empty_like(latents)
        with np.errstate(all="ignore"), contextlib.suppress(np.linalg.LinAlgError):
            moved[:] = np.nan
            for first in range(0, len(latents), at_once):
                part = slice(first, first + at_once)
                moved[part] = self._move(latents[part], labels[part], attribute, positions[part])
        if not (np.abs(moved) <= LARGEST_LATENT).all():  # also false for NaN
            raise ModelError(f"expected {DIRECTIONS_FILE} to lead to finite latents, computed others; {ADVICE}")
        return moved

    def _move(self, latents: Doubles, labels: NDArray[np.int64], attribute: int, positions: Doubles) -> Doubles:
        wanted = np.clip(positions, self.lowest[labels, attribute], self.highest[labels, attribute])
        for left in range(STEPS, 0, -1):
            half = latents + self._step(latents, labels, attribute, wanted, left) / 2
            latents = latents + self._step(half, labels, attribute, wanted, left - 0.5)
        return latents

    def _step(
        self, latents: Doubles, labels: NDArray[np.int64], attribute: int, wanted: Doubles, left: float
    ) -> Doubles:
        """The change [n, d] of latents in one step, if `left` steps are left to the positions wanted."""
        count = len(self.attributes)
        found, derivatives = self.derivatives(latents, labels)
        deviations = np.maximum(self.deviations[labels], LOWEST_SHARE)  # [n, K]
        held = derivatives[:, :count] / deviations[:, :, None]
        weights = self.holding * (self.deviations[labels] >= LOWEST_SHARE)
        weights[:, attribute] = 0
        away = np.einsum("nij,nj->ni", self.precisions[labels], latents - self.middles[labels])
        distance = np.sqrt(np.maximum(((latents - self.middles[labels]) * away).sum(1), 1e-12))
        away /= distance[:, None]
        evidence = derivatives[:, count]
        cost = (
            self.precisions[labels]
            + np.einsum("nki,nk,nkj->nij", held, weights, held)
            + self.radius * away[:, :, None] * away[:, None]
            + self.evidence * evidence[:, :, None] * evidence[:, None]
        )
        own = derivatives[:, attribute] / self.deviations[labels, attribute][:, None]
        change, surer = np.moveaxis(np.linalg.solve(cost, np.stack([own, evidence], 2)), 2, 0)
        surer = surer * (self.evidence * np.maximum(ENOUGH_EVIDENCE - found[:, count], 0) / left)[:, None]
        position = (found[:, attribute] - self.averages[labels, attribute]) / self.deviations[labels, attribute]
        gain = (change * own).sum(1)
        length = ((wanted - position) / left - (surer * own).sum(1)) * np.where(gain > FLATTEST, 1, 0)
        step: Doubles = surer + change * (length / np.maximum(gain, FLATTEST))[:, None]
        far = np.sqrt(np.maximum(np.einsum("ni,nij,nj->n", step, self.precisions[labels], step), 1e-24))
        step *= np.minimum(1, LONGEST / far)[:, None]
        return step


@dataclass(frozen=True, eq=False)
class Directions:
    """The content of a directions.json: the directions, and the field that they follow."""

    directions: tuple[Direction, ...]
    field: Field

    def find(self, name: str, label: int | None, class_names: Sequence[str] = ()) -> Direction:
        """The direction with this name, or with a beginning of it that fits no other one.

        Capitals don't matter, and hyphens are spaces.

        Args:
            name: the name.
            label: the class that it shall be for; None for any.
            class_names: the names of the model's classes, for errors.

        Raises:
            UsageError: there is none, or several fit; the error lists those of the class.
        """
        if not isinstance(name, str):
            raise UsageError(f"expected the name of a direction, got {shown(name)}")
        usable = [item for item in self.directions if label is None or item.labels is None or label in item.labels]
        wanted = _plainly(name)
        fitting = [item for item in usable if wanted and _plainly(item.name).startswith(wanted)]
        exact = [item for item in fitting if _plainly(item.name) == wanted]
        if len(exact or fitting) != 1:
            known = ", ".join(dict.fromkeys(item.name for item in usable)) or "it has none"
            where = "" if label is None or not class_names else f" for the class {class_names[label]}"
            several = ", ".join(item.name for item in fitting)
            found = f"{shown(name)}, which fits {several}" if fitting else shown(name) if wanted else "nothing"
            raise UsageError(f"expected one of the directions{where} ({known}), got {found}")
        return (exact or fitting)[0]

    def limits(self, direction: Direction, label: int | None) -> tuple[float, float]:
        """The lowest and the highest position that a direction leads to in a class."""
        at, group = self.field.attributes.index(direction.attribute), (label or 0) if len(self.field.middles) > 1 else 0
        return float(self.field.lowest[group, at]), float(self.field.highest[group, at])

    def to_json(self) -> dict[str, Any]:
        """The document of a directions.json. `parse` gives numbers that differ by rounding to 16 bits."""
        field = self.field
        rows, columns = np.tril_indices(field.middles.shape[1])
        names = ("averages", "deviations", "lowest", "highest")
        return {
            "schema_version": SCHEMA_VERSION,
            "dimensions": field.middles.shape[1],
            "attributes": list(field.attributes),
            "classes": len(field.middles),
            "hidden": len(field.weights[1]),
            "network": [_packed(values) for values in field.weights],
            "weights": {"held": field.holding.tolist(), "radius": field.radius, "evidence": field.evidence},
            "middles": _packed(field.middles),
            "precisions": _packed(field.precisions[:, rows, columns]),
            **{name: _packed(getattr(field, name)) for name in names},
            "directions": [direction.to_json() for direction in self.directions],
        }

    @classmethod
    def parse(
        cls, text: str | bytes, where: str = DIRECTIONS_FILE, dimensions: int | None = None, classes: int | None = None
    ) -> Directions:
        """Reads the text of a directions.json.

        Args:
            text: the content of the file.
            where: the file's name, for errors.
            dimensions: the number of latent dimensions that it must have; None for any.
            classes: the number of the model's classes, 0 for none; None for any.

        Raises:
            ModelError: the text is not that of directions; names the key, what was expected and what was found.
        """
        root = Json.parse(text, where, ModelError, ADVICE)
        root["schema_version"].whole(SCHEMA_VERSION, SCHEMA_VERSION)
        low, high = (1, MOST_DIMENSIONS) if dimensions is None else (dimensions, dimensions)
        width, hidden = root["dimensions"].whole(low, high), root["hidden"].whole(1, MOST_HIDDEN)
        groups = root["classes"].whole(1, MOST_CLASSES)
        if classes is not None and groups not in (1, classes):
            raise root["classes"].wrong(f"1 or the {classes} classes of the model" if classes else "1 without classes")
        attributes = root["attributes"].items(_name)
        count = len(attributes)
        if not 1 <= count <= MOST_ATTRIBUTES or len(set(attributes)) < count:
            raise root["attributes"].wrong(f"at most {MOST_ATTRIBUTES} names of attributes, each once")
        shapes = ((hidden, width), (hidden,), (hidden, hidden), (hidden,), (count + groups, hidden), (count + groups,))
        network = root["network"].items(lambda node: node)
        if len(network) != len(shapes):
            raise root["network"].wrong(f"{len(shapes)} arrays")
        lower = _unpacked(root["precisions"], groups, width * (width + 1) // 2)
        rows, columns = np.tril_indices(width)
        precisions = np.zeros((groups, width, width))
        precisions[:, rows, columns] = precisions[:, columns, rows] = lower
        try:
            np.linalg.cholesky(precisions)
        except np.linalg.LinAlgError:
            raise root["precisions"].wrong("inverse covariances, which are positive") from None
        names = ("averages", "deviations", "lowest", "highest")
        tables = {name: _unpacked(root[name], groups, count) for name in names}
        if not (tables["deviations"] >= SMALLEST_DEVIATION).all():
            raise root["deviations"].wrong(f"standard deviations of at least {SMALLEST_DEVIATION:g}")
        weights = root["weights"]
        holding = np.array(weights["held"].items(_weight))
        if len(holding) != count:
            raise weights["held"].wrong(f"{count} numbers")
        field = Field(
            attributes=attributes,
            weights=tuple(_unpacked(node, *shape) for node, shape in zip(network, shapes, strict=True)),
            holding=holding,
            radius=_weight(weights["radius"]),
            evidence=_weight(weights["evidence"]),
            middles=_unpacked(root["middles"], groups, width),
            precisions=precisions,
            **tables,
        )
        found = root["directions"].items(lambda node: _direction(node, attributes, groups, classes))
        named = [(_plainly(item.name), effect.label) for item in found for effect in item.effects]
        if len(found) > MOST_DIRECTIONS or len(set(named)) < len(named):
            raise root["directions"].wrong(f"at most {MOST_DIRECTIONS} directions, of each name one in a class")
        return cls(found, field)


def check_position(position: ArrayLike, shape: tuple[int, ...]) -> Doubles:
    """Checks positions, and returns them as float64 of this shape.

    Raises:
        InputError: they are not finite numbers, or don't fit the shape.
    """
    array = as_numbers(position, "positions")
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"expected positions as numbers, got {array.dtype}; convert them to float64 first")
    try:
        positions: Doubles = np.broadcast_to(array.astype(np.float64), shape)
    except ValueError as error:
        raise InputError(
            f"expected one position or an array of shape {list(shape)}, got an array of shape {list(array.shape)}"
        ) from error
    if not np.isfinite(positions).all():
        raise InputError("expected finite positions, got NaN or infinity")
    return positions


def _name(node: Json) -> str:
    """A name that can be printed and typed."""
    name = node.text()
    if len(name) > LONGEST_NAME or not name.isprintable() or not _plainly(name):
        raise node.wrong(f"a name of at most {LONGEST_NAME} printable letters")
    return name


def _plainly(name: str) -> str:
    """A name in small letters with single spaces, by which it is found however it is written."""
    return " ".join(name.casefold().replace("-", " ").replace("_", " ").split())


def _weight(node: Json) -> float:
    return node.number(0, LARGEST_NUMBER)


def _direction(node: Json, attributes: tuple[str, ...], groups: int, classes: int | None) -> Direction:
    labels: tuple[int | None, ...] = (None,)
    if node["labels"].value is not None:
        labels = node["labels"].items(lambda label: label.whole(0, groups - 1))
        if not labels or classes not in (None, groups):
            raise node["labels"].wrong("classes of the model, or null if it has none or many")
    columns = (
        node["reached"].items(lambda value: value.number(-LARGEST_EFFECT, LARGEST_EFFECT)),
        node["others"].items(lambda value: value.number(0, LARGEST_EFFECT)),
        node["moved_most"].items(lambda value: value.one_of(*attributes)),
        node["kept"].items(lambda value: None if value.value is None else value.number(0, 1)),
        node["monotone"].items(lambda value: value.number(-1, 1)),
    )
    if any(len(column) != len(labels) for column in columns):
        raise node.wrong(f"{len(labels)} effects of each kind")
    effects = tuple(Effect(*row) for row in zip(labels, *columns, strict=True))
    return Direction(_name(node["name"]), node["attribute"].one_of(*attributes), effects)


def _packed(values: Doubles) -> dict[str, Any]:
    """Numbers as int16 multiples of a step, little-endian in base64."""
    step = float(f"{max(float(np.abs(values).max()), 1e-9) / LARGEST_STEP:.6g}")
    step *= 1 + 1e-5  # so that rounding the step leaves the largest number in range
    whole = np.rint(values / step).astype("<i2")
    return {"step": step, "values": base64.b64encode(np.ascontiguousarray(whole).tobytes()).decode()}


def _unpacked(node: Json, *shape: int) -> Doubles:
    if 3 * 2 * math.prod(shape) > 4 * len(node["values"].text()):  # before memory is asked for
        raise node["values"].wrong(f"base64 of int16 {list(shape)}")
    values: Doubles = node["values"].decoded("int16", *shape) * _weight(node["step"])
    values.flags.writeable = False
    return values
