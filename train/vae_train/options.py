"""The packages of the extra "train", asked for before they are needed."""

from __future__ import annotations

import importlib.util

from vae_gen import UnavailableError

PACKAGES = ("torch", "safetensors", "matplotlib", "rich")


def require_train_extra(*more: str) -> None:
    """Nothing, where the extra is installed, and `more` of its packages; it costs no import.

    Raises:
        UnavailableError: naming the first package that is missing and how to install it.
    """
    for package in (*PACKAGES, *more):
        if importlib.util.find_spec(package) is None:
            raise UnavailableError(
                f'expected the extra "train", found no {package}; install it with: pip install "vae-gen[train]"'
            )
