"""Pictures from a small VAE on ONNX Runtime: sample, decode, encode, traverse, with no torch.

>>> from vae_gen import VAE
>>> model = VAE()                       # the model that ships with the package
>>> model.sample(3, seed=7).shape           # float32 in [0, 1]
(3, 1, 28, 28)

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._errors import (
    DivergedError,
    ExportMismatchError,
    InputError,
    ModelError,
    OutputError,
    UnavailableError,
    UsageError,
    VaeGenError,
)

__version__ = "0.1.0"
"""The package's version; pyproject.toml reads it from this line."""

if TYPE_CHECKING:
    from ._folder import ModelFolder, find_model, shipped_models
    from ._grid import picture_grid, to_grey_levels
    from ._manifest import DetailSpec, GraphFile, ImageSpec, LatentSpec, Manifest, TensorSpec
    from ._model import VAE
    from ._philox import random_words, standard_normals
    from ._pictures import Pictures, Posterior, Samples, Traversal
    from ._prior import FittedPrior
    from ._sessions import Session
    from ._verify import Check, verify

_HOMES = {
    "Check": "_verify",
    "DetailSpec": "_manifest",
    "FittedPrior": "_prior",
    "VAE": "_model",
    "GraphFile": "_manifest",
    "ImageSpec": "_manifest",
    "LatentSpec": "_manifest",
    "Manifest": "_manifest",
    "ModelFolder": "_folder",
    "Pictures": "_pictures",
    "Posterior": "_pictures",
    "Samples": "_pictures",
    "Session": "_sessions",
    "TensorSpec": "_manifest",
    "Traversal": "_pictures",
    "find_model": "_folder",
    "picture_grid": "_grid",
    "random_words": "_philox",
    "shipped_models": "_folder",
    "standard_normals": "_philox",
    "to_grey_levels": "_grid",
    "verify": "_verify",
}

__all__ = [  # noqa: RUF022 - errors first, then by what they are about
    "VaeGenError",
    "UsageError",
    "UnavailableError",
    "ModelError",
    "InputError",
    "ExportMismatchError",
    "OutputError",
    "DivergedError",
    "VAE",
    "Session",
    "Pictures",
    "Samples",
    "Traversal",
    "Posterior",
    "Manifest",
    "ImageSpec",
    "LatentSpec",
    "DetailSpec",
    "GraphFile",
    "TensorSpec",
    "ModelFolder",
    "find_model",
    "shipped_models",
    "verify",
    "Check",
    "standard_normals",
    "random_words",
    "FittedPrior",
    "picture_grid",
    "to_grey_levels",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vae_gen' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
