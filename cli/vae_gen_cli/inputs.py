"""The error that every command gives for a file it cannot open."""

from __future__ import annotations

import os

from vae_gen import InputError


def cannot_open(path: str | os.PathLike[str], expected: str, error: OSError) -> InputError:
    """What was expected at a path, and the system's reason why it cannot be read."""
    return InputError(f"{path}: expected {expected}, cannot open it ({error.strerror or error}); check its name")
