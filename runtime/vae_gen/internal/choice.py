"""Checks of what callers ask for: whole numbers, a range of a seed, prior, class, temperature and details.

`resolve_choice` returns a `Choice` that is checked against a model, so that functions which take one don't check it
again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._errors import UsageError, shown
from .manifest import Manifest, Prior

LARGEST_TEMPERATURE = 100.0
"""Pictures fall apart far below this temperature, and no sum in a network overflows at it."""

RANDOM_SEED_LIMIT = 2**53
"""A seed that is drawn at random stays below this, so that it is exact as a JavaScript number."""

LIMIT = 2**63
"""Seeds and indices are below this; a range of indices may end at it."""


def whole(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """Checks a whole number and returns it as a Python integer.

    Floats are refused, because they round large whole numbers such as 2**60 + 1; True and False are refused too.

    Args:
        name: the name of the argument, for the error.
        value: an integer of Python or NumPy.
        low: the smallest allowed value.
        high: the largest allowed value; given only with `low`.

    Raises:
        UsageError: the value is not an integer, or out of the range.

    >>> whole("n", np.int32(3), 1)
    3
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UsageError(f"expected {name} as a whole number, got {shown(value)}")
    if low is not None and high is not None and not low <= value <= high:
        raise UsageError(f"expected {name} from {low} to {high}, got {_shown(value)}")
    if low is not None and value < low:
        raise UsageError(f"expected {name} of at least {low}, got {_shown(value)}")
    return int(value)


def as_real(value: object) -> float | None:
    """A real number of Python or NumPy as a float, infinity if it is too large; None for anything else, as for True."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def check_temperature(temperature: object) -> float:
    """Checks the factor of the random part of latents and returns it.

    Raises:
        UsageError: it is no number, or out of its range.
    """
    number = as_real(temperature)
    if number is None:
        raise UsageError(f"expected a temperature as a number, got {shown(temperature)}")
    if not 0 <= number <= LARGEST_TEMPERATURE:  # as NaN and infinity are not
        raise UsageError(f"expected a temperature from 0 to {LARGEST_TEMPERATURE:g}, got {_shown(temperature)}")
    return number


def check_flag(name: str, value: object) -> bool | None:
    """Checks an argument that is True, False or None, and returns it.

    Raises:
        UsageError: it is something else.
    """
    if value is not None and not isinstance(value, bool | np.bool_):
        raise UsageError(f"expected {name} as True or False, got {shown(value)}")
    return None if value is None else bool(value)


def _shown(number: object) -> str:
    """A number or a text for an error, without quotation marks."""
    return str(number) if isinstance(number, str | np.generic | float) else shown(number)


def check_range(seed: int, start: int, count: int) -> None:
    """Checks that the whole numbers of the pictures start … start+count−1 of a seed are in their ranges.

    Raises:
        UsageError: the seed, the start or the count is out of its range.
    """
    if not 0 <= seed < LIMIT:
        raise UsageError(f"expected a seed from 0 to 2^63-1 ({LIMIT - 1}), got {_shown(seed)}")
    if not 0 <= start < LIMIT:
        raise UsageError(f"expected a start from 0 to 2^63-1 ({LIMIT - 1}), got {_shown(start)}")
    if count < 1:
        raise UsageError(f"expected a count of at least 1, got {_shown(count)}")
    if start + count > LIMIT:
        end = f"start {start} and count {_shown(count)}"
        raise UsageError(f"expected a range that ends by 2^63, got {end}; begin earlier")


def draw_seed() -> int:
    """A random seed below 2⁵³, from the operating system's source of randomness."""
    return int.from_bytes(os.urandom(7)) % RANDOM_SEED_LIMIT  # 56 bits, cut to 53


def window(seed: int, start: int, count: int) -> dict[str, NDArray[np.generic]]:
    """The inputs seed, start and count of generator.onnx and latents.onnx, for the pictures start … start+count−1."""
    return {"seed": np.array(seed, np.int64), "start": np.array(start, np.int64), "count": np.array(count, np.int64)}


@dataclass(frozen=True)
class Choice:
    """How samples are made: the caller's options after the model's defaults were filled in.

    `resolve_choice` returns a `Choice` that is checked against a model; the constructor itself checks nothing.

    Attributes:
        prior: "normal" for N(0, I), or "fitted" for the density of the latents of real images.
        label: the index of the class of all samples; None for any class.
        temperature: the factor of the random part of latents, 0 to 100; it does not scale the detail stage's noise.
        detail: whether the detail stage makes the pictures; otherwise the decoder makes mean pictures.
    """

    prior: Prior
    label: int | None = None
    temperature: float = 1.0
    detail: bool = False

    def is_default(self, manifest: Manifest) -> bool:
        """Whether this is the model's own default, which `generator.onnx` makes by itself."""
        is_plain = self.label is None and self.temperature == 1
        return is_plain and self.prior == manifest.latent.default_prior and self.detail == manifest.details_by_default

    @property
    def decoder(self) -> str:
        """The name of the graph that turns latents into pictures: "detail" or "decoder"."""
        return "detail" if self.detail else "decoder"

    def has_labels(self, manifest: Manifest) -> bool:
        """Whether each sample has a class: the prior is fitted, and the model has names of classes."""
        return self.prior == "fitted" and bool(manifest.class_names)

    def feed(self) -> dict[str, NDArray[np.generic]]:
        """The inputs of `latents.onnx` besides seed, start and count."""
        return {
            "prior": np.array(self.prior == "fitted", np.int64),
            "label": np.array(-1 if self.label is None else self.label, np.int64),
            "temperature": np.array(self.temperature, np.float32),
        }


def resolve_choice(
    manifest: Manifest,
    prior: str | None = None,
    label: int | str | None = None,
    temperature: float = 1.0,
    detail: bool | None = None,
) -> Choice:
    """Checks these options against the model and fills in its defaults.

    Args:
        manifest: the model's manifest.
        prior: "normal" or "fitted"; None means fitted with a label, and otherwise the model's default.
        label: a class, as `find_label` reads it.
        temperature: the factor of the random part of latents, 0 to 100; it does not scale the detail stage's noise.
        detail: whether the detail stage makes the pictures; None means the model's default.

    Raises:
        UsageError: an unknown option, one that the model doesn't have, or two that contradict each other.
    """
    if prior is not None and not (isinstance(prior, str) and prior in ("normal", "fitted")):
        raise UsageError(f"expected the prior normal or fitted, got {_shown(prior)}")
    temperature = check_temperature(temperature)
    if label is not None and prior == "normal":
        raise UsageError(f"expected the fitted prior for the label {_shown(label)}, got normal, which has no classes")
    if not manifest.has_fitted_prior and (prior == "fitted" or label is not None or temperature != 1):
        wanted = f"temperature {temperature:g}" if label is None else f"label {_shown(label)}"
        wanted = "fitted prior" if prior == "fitted" and label is None else wanted
        raise UsageError(
            f"expected a model with latents.onnx, which the {wanted} needs, got {manifest.name} {manifest.version} "
            "without it; export the model again with this version"
        )
    index = None if label is None else find_label(manifest.class_names, label)
    chosen: Prior = "fitted" if prior == "fitted" or index is not None else "normal"
    return Choice(
        prior=manifest.latent.default_prior if prior is None and index is None else chosen,
        label=index,
        temperature=temperature,
        detail=resolve_detail(manifest, detail),
    )


def resolve_detail(manifest: Manifest, detail: bool | None) -> bool:
    """Whether the detail stage makes the pictures; None means the model's default.

    Raises:
        UsageError: the model has no detail stage.
    """
    detail = check_flag("detail", detail)
    if detail and manifest.detail is None:
        raise UsageError(
            f"expected a model with a detail stage, got {manifest.name} {manifest.version}, which has no detail.onnx; "
            "train one with vae-detail and export it, or leave detail out"
        )
    return manifest.details_by_default if detail is None else detail


def find_label(class_names: Sequence[str], label: int | str) -> int:
    """Finds a class by its index, its name, the beginning of its name or a word of it, and returns its index.

    Upper and lower case, spaces and punctuation don't matter. A whole name is preferred to the beginning of a name,
    and that to a whole word, or several words in a row, anywhere in a name. If none fits, the plural's "s" or "es" is
    left out.

    Raises:
        UsageError: no class fits, several fit equally well, or the model has no classes.

    >>> find_label(["T-shirt/top", "Shirt", "Ankle boot"], "boot"), find_label(["Shirt", "Shoe", "Bag"], "shi")
    (2, 0)
    """
    known = ", ".join(class_names[:20]) + (f" and {len(class_names) - 20} more" if len(class_names) > 20 else "")
    if not class_names:
        raise UsageError(f"expected a model with classes for the label {_shown(label)}, got one whose data had none")
    if isinstance(label, int | np.integer) and not isinstance(label, bool):
        if not 0 <= label < len(class_names):
            raise UsageError(f"expected a label from 0 to {len(class_names) - 1}, got {_shown(label)}")
        return int(label)
    if not isinstance(label, str):
        raise UsageError(f"expected a label as the name or the index of a class, got {shown(label)}")
    wanted, names = "".join(_words(label)), [_words(name) for name in class_names]
    exactly = [at for at, name in enumerate(class_names) if name.casefold() == label.strip().casefold()]
    whole_names = [at for at, words in enumerate(names) if "".join(words) == wanted]
    beginnings = [at for at, words in enumerate(names) if wanted and "".join(words).startswith(wanted)]
    of_words = [at for at, words in enumerate(names) if _has_words(words, wanted)]
    ways = [exactly, whole_names, beginnings, of_words]
    for singular in (wanted.removesuffix(ending) for ending in ("s", "es") if wanted.endswith(ending)):
        ways.append([at for at, words in enumerate(names) if "".join(words) == singular])
        ways.append([at for at, words in enumerate(names) if _has_words(words, singular)])
    found = next((some for some in ways if some), [])
    if not found:
        raise UsageError(
            f"expected a class ({known}), the beginning of its name or a word of it, got {shown(label)}"
            f"{_nearest(class_names, label)}"
        )
    if len(found) > 1:
        fitting = ", ".join(class_names[at] for at in found)
        raise UsageError(f"expected one class, got {label[:60]}, which fits {fitting}")
    return found[0]


def _nearest(class_names: Sequence[str], label: str) -> str:
    """The end of the error for a misspelt class: the class whose name, or a word of it, is the most similar."""
    from difflib import get_close_matches  # only an error needs it

    words = {word: name for name in class_names for word in (name.casefold(), *_words(name))}
    return "".join(f"; did you mean {words[near]}?" for near in get_close_matches(label[:60].casefold(), words, 1))


def _words(text: str) -> list[str]:
    """The words of a text without case and punctuation: ["t", "shirt", "top"] for "T-shirt/top"."""
    return "".join(letter if letter.isalnum() else " " for letter in text.casefold()).split()


def _has_words(words: Sequence[str], wanted: str) -> bool:
    """Whether one word, or several words in a row written together, equal `wanted`."""
    ends = range(len(words) + 1)
    return any(wanted and "".join(words[low:high]) == wanted for low in ends for high in ends)
