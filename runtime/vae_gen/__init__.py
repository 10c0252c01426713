"""Pictures from a small variational autoencoder (VAE) on ONNX Runtime, without PyTorch.

>>> from vae_gen import VAE
>>> vae = VAE()                               # the model that ships with the package
>>> samples = vae.sample(50, seed=7)          # behaves as an array: float32 [50, 1, 28, 28] in [0, 1]
>>> samples[:10].shape
(10, 1, 28, 28)
>>> vae.decode(samples[0].latents).shape      # [n, channels, height, width]
(1, 1, 28, 28)

Names other than the errors are imported when they are first used, so that `import vae_gen` is quick.
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
    from ._pictures import Pictures, Posterior, Samples, Traversal, picture_grid, to_grey_levels
    from ._vae import VAE
    from ._verify import Check, verify
    from .internal.choice import Choice
    from .internal.directions import Direction, Effect
    from .internal.losses import Losses
    from .internal.manifest import DetailSpec, GraphFile, ImageSpec, LatentSpec, Manifest, TensorSpec
    from .internal.model import ModelFolder, Session, find_model, shipped_models
    from .internal.philox import random_words, standard_normals
    from .internal.prior import FittedPrior

_HOMES = {
    "Check": "_verify",
    "Choice": "internal.choice",
    "DetailSpec": "internal.manifest",
    "Direction": "internal.directions",
    "Effect": "internal.directions",
    "FittedPrior": "internal.prior",
    "VAE": "_vae",
    "GraphFile": "internal.manifest",
    "ImageSpec": "internal.manifest",
    "LatentSpec": "internal.manifest",
    "Losses": "internal.losses",
    "Manifest": "internal.manifest",
    "ModelFolder": "internal.model",
    "Pictures": "_pictures",
    "Posterior": "_pictures",
    "Samples": "_pictures",
    "Session": "internal.model",
    "TensorSpec": "internal.manifest",
    "Traversal": "_pictures",
    "find_model": "internal.model",
    "picture_grid": "_pictures",
    "random_words": "internal.philox",
    "shipped_models": "internal.model",
    "standard_normals": "internal.philox",
    "to_grey_levels": "_pictures",
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
    "Losses",
    "Choice",
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
    "Direction",
    "Effect",
    "picture_grid",
    "to_grey_levels",
]


def __getattr__(name: str) -> Any:
    """Imports a public name from its module when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vae_gen' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
