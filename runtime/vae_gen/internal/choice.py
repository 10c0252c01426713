"""How samples are drawn: prior, perhaps one class, temperature, decoder; checked once, against the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._errors import UsageError
from .manifest import Manifest, Prior

LARGEST_TEMPERATURE = 100.0
"""Far beyond what makes pictures, and low enough that no sum in a network overflows."""


@dataclass(frozen=True)
class Choice:
    """A choice that the model can make."""

    prior: Prior
    label: int | None = None
    """the class of all samples; None for any"""
    temperature: float = 1.0
    detail: bool = False
    """whether the detail stage draws the picture; the decoder otherwise, which gives the mean one"""

    def is_default(self, manifest: Manifest) -> bool:
        """Whether `generator.onnx` makes it."""
        return self == Choice(manifest.latent.default_prior, detail=manifest.details_by_default)

    @property
    def decoder(self) -> str:
        """The graph that makes pictures of its latents."""
        return "detail" if self.detail else "decoder"

    def graphs(self, manifest: Manifest) -> tuple[str, ...]:
        """The graphs that make it."""
        return ("generator",) if self.is_default(manifest) else ("latents", self.decoder)

    def has_labels(self, manifest: Manifest) -> bool:
        """Whether each sample has a class."""
        return self.prior == "fitted" and bool(manifest.class_names)

    def feed(self) -> dict[str, NDArray[np.generic]]:
        """What `latents.onnx` takes beside the range."""
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
    """The draw that these arguments mean to this model.

    Args:
        manifest: the model's.
        prior: normal or fitted; the model's default when None, and fitted when there is a label.
        label: a class's index, its name in any case, or an unambiguous beginning of it.
        temperature: what the noise is multiplied with, 0 to 100.
        detail: whether the detail stage draws; the model's default when None.

    Raises:
        UsageError: an unknown or impossible choice, or two that contradict each other.
    """
    if prior not in (None, "normal", "fitted"):
        raise UsageError(f"expected the prior normal or fitted, got {prior}")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float | np.integer | np.floating):
        raise UsageError(f"expected a temperature as a number, got {temperature!r}")
    if not (math.isfinite(temperature) and 0 <= temperature <= LARGEST_TEMPERATURE):
        raise UsageError(f"expected a temperature from 0 to {LARGEST_TEMPERATURE:g}, got {temperature}")
    if label is not None and prior == "normal":
        raise UsageError(f"expected the fitted prior for the label {label}, got normal, which knows no classes")
    if not manifest.has_fitted_prior and (prior == "fitted" or label is not None or temperature != 1):
        wanted = f"temperature {temperature:g}" if label is None else f"label {label}"
        wanted = "prior fitted" if prior == "fitted" and label is None else wanted
        raise UsageError(
            f"expected a model with a fitted prior for the {wanted}, got {manifest.name} {manifest.version}, "
            "which has no latents.onnx; export it again"
        )
    if detail and manifest.detail is None:
        raise UsageError(
            f"expected a model with a detail stage, got {manifest.name} {manifest.version}, which has no detail.onnx; "
            "train one with vae-detail and export it, or leave detail out"
        )
    index = None if label is None else find_label(manifest.class_names, label)
    chosen: Prior = "fitted" if prior == "fitted" or index is not None else "normal"
    return Choice(
        prior=manifest.latent.default_prior if prior is None and index is None else chosen,
        label=index,
        temperature=float(temperature),
        detail=manifest.details_by_default if detail is None else detail,
    )


def find_label(class_names: Sequence[str], label: int | str) -> int:
    """The index of a class, given as that, by its name in any case, or by an unambiguous beginning of it.

    Raises:
        UsageError: no such class, more than one, or a model without classes.

    >>> find_label(["Shirt", "Shoe", "Bag"], "bAg"), find_label(["Shirt", "Shoe", "Bag"], "shi")
    (2, 0)
    """
    known = ", ".join(class_names)
    if not class_names:
        raise UsageError(f"expected a model with classes for the label {label}, got one whose data had none")
    if isinstance(label, int | np.integer) and not isinstance(label, bool):
        if not 0 <= label < len(class_names):
            raise UsageError(f"expected a label from 0 to {len(class_names) - 1}, got {label}")
        return int(label)
    if not isinstance(label, str):
        raise UsageError(f"expected a label as the name or the index of a class, got {label!r}")
    wanted = label.strip().casefold()
    names = [name.casefold() for name in class_names]
    if wanted in names:
        return names.index(wanted)
    found = [at for at, name in enumerate(names) if wanted and name.startswith(wanted)]
    if len(found) > 1:
        raise UsageError(f"expected one class, got {label}, which begins {', '.join(class_names[at] for at in found)}")
    if not found:
        raise UsageError(f"expected a class ({known}) or its beginning, got {label!r}")
    return found[0]
