"""Pictures and latents from files and standard input. Files are untrusted, and their content decides their format."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, ImageSpec, InputError, Samples
from vae_gen.internal.array_files import NPY, NPZ, Npz, damage_as_input_error, read_npy
from vae_gen.internal.arrays import as_latents
from vae_gen.internal.choice import Choice, check_range
from vae_gen.internal.command import standard_input
from vae_gen.internal.files import cannot_open
from vae_gen.internal.fitting import Fitted, fit_pictures

from .output import Console

KEYS = ("latents", "latent", "mean")
"""The names under which an archive or a JSON object may have latents; the first one that is there counts."""

MOST_NAMES = 5
"""How many names an error lists."""

MOST_WARNINGS = 10
"""The most pictures that get a warning of their own; of the others only the number is printed."""

PNG = b"\x89PNG"
"""The first bytes of a PNG."""
PICKLE = b"\x80"
"""The first byte of a pickle."""

MOST_PIPED_BYTES = 512 << 20
"""The most bytes that are read from a pipe or a device, which may have no end."""
MOST_JSON_VALUES = 5_000_000
"""The most values in a JSON document of latents; each takes up to a hundred bytes of memory."""


def read_pictures(paths: Sequence[str], spec: ImageSpec, invert: str, trim: bool, console: Console) -> Fitted:
    """Reads all pictures of all files in order, and prints what was done to fit them to the model.

    Raises:
        InputError: a file cannot be read, is not a picture, or is too large.
    """
    pictures = fit_pictures([_piped() if path == "-" else path for path in paths], spec, invert, trim)
    for name, steps in pictures.steps:
        console.message(f"{name}: {', '.join(steps)}")
    return pictures


def warn_of_unfamiliar(names: Sequence[str], familiar: NDArray[np.bool_], console: Console) -> None:
    """Prints a warning for each picture that does not resemble the training images, or for ten and their number."""
    strange = [name for name, fits in zip(names, familiar.tolist(), strict=True) if not fits]
    for name in strange[:MOST_WARNINGS]:
        console.message(
            f"{name}: warning: this picture does not resemble those that the model was trained on, "
            "so its latent and its loss mean little"
        )
    if len(strange) > MOST_WARNINGS:
        console.message(f"warning: {len(strange) - MOST_WARNINGS} more of the {len(names)} pictures do not, either")


def _piped() -> io.BytesIO:
    """Standard input as a file with a name."""
    piped = io.BytesIO(_limited(standard_input()))
    piped.name = "standard input"
    return piped


def read_one_latent(
    path: str, vae: VAE, invert: Literal["auto", "yes", "no"], trim: bool, console: Console
) -> NDArray[np.float32]:
    """Reads the one picture in a file, and returns the mean of its posterior, float32 [dimensions].

    Raises:
        InputError: the file cannot be read, or has several pictures.
    """
    pictures = read_pictures([path], vae.manifest.image, invert, trim, console)
    if len(pictures.images) != 1:
        raise InputError(f"{path}: expected one picture, got {len(pictures.images)}")
    mean: NDArray[np.float32] = vae.encode(pictures.images).mean[0]
    return mean


def read_latents(
    path: str, dimensions: int, noise: int | None = None
) -> tuple[NDArray[np.float32] | Samples, dict[str, str]]:
    """Reads the latents of a file, or of standard input for `-`.

    Args:
        path: the file.
        dimensions: the model's latent dimensions.
        noise: the width of the noise of the model's detail stage; None if it has none.

    Returns:
        float32 [n, dimensions]; or, for an .npz that `sample` wrote, samples without their images, which keep the noise
        of the detail stage. Beside it, what the file records of the model that made it: its name, its version, and the
        SHA-256 of its decoder; empty if it records nothing.

    Raises:
        InputError: there is no such file, its format is unknown or unsafe, or its values are not finite or have another
            width.
    """
    name = "standard input" if path == "-" else path
    content = _read(path)
    made_with: dict[str, str] = {}
    try:
        if content.startswith(NPY):
            with damage_as_input_error("; save the latents again"):
                value = read_npy(io.BytesIO(content), len(content))
        elif content.startswith(NPZ):
            with damage_as_input_error("; save the latents again"):
                archive = Npz(content)
                value = archive[only] if (only := _only_array(archive)) else _first(archive, "an array called")
                rows = as_latents(value, dimensions).reshape(-1, dimensions)
                made_with = _made_with(json.loads(str(archive["model"]))) if "model" in archive else {}
                sampled = "seed" in archive and ("start" in archive or "indices" in archive)
                return _as_samples(archive, rows, noise) if sampled else rows, made_with
        elif content.startswith(PICKLE):
            raise InputError("expected .npy, .npz or JSON, got a pickle, which could run code; save as .npy")
        else:
            value, made_with = _from_json(content)
        return as_latents(value, dimensions).reshape(-1, dimensions), made_with
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _read(path: str) -> bytes:
    try:
        if path == "-":
            return _limited(standard_input())
        with Path(path).open("rb") as file:
            return file.read() if Path(path).is_file() else _limited(file)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a ValueError for a path with a null character
        reason = error if isinstance(error, OSError) else OSError(0, str(error))
        raise InputError(f"{path}: {cannot_open('latents', reason)}") from error


def _limited(file: BinaryIO) -> bytes:
    content = file.read(MOST_PIPED_BYTES + 1)
    if len(content) > MOST_PIPED_BYTES:
        raise InputError(f"expected at most {MOST_PIPED_BYTES} bytes from a pipe, got more; use a file")
    return content


def _first(found: Any, what: str) -> Any:
    """The latents of an archive or a JSON object."""
    for key in KEYS:
        if key in found:
            return found[key]
    names = ", ".join(itertools.islice(found, MOST_NAMES)) + (", …" if len(list(found)) > MOST_NAMES else "")
    raise InputError(f"expected {what} {', '.join(KEYS)}, got {names or 'none'}")


def _only_array(archive: Npz) -> str | None:
    """The name of the one array of an archive, which need not have one of our names."""
    names = list(archive)
    return names[0] if len(names) == 1 else None


def _made_with(model: Any) -> dict[str, str]:
    """The name, version and hashes in a file's record of its model; empty if vae-gen did not write the record."""
    if not isinstance(model, dict) or not isinstance(model.get("sha256"), str):
        return {}
    return {key: str(value) for key, value in model.items()}


def _from_json(content: bytes) -> tuple[Any, dict[str, str]]:
    """The latents of a JSON document, and its record of the model that made them."""
    if sum(content.count(sign) for sign in b",[{") > MOST_JSON_VALUES:
        raise InputError(f"expected at most {MOST_JSON_VALUES} numbers in JSON, got more; save them as .npy")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        found = "a picture, whose latents vae-gen encode finds" if content.startswith(PNG) else "another kind of file"
        raise InputError(f"expected .npy, .npz or JSON with latents, got {found}") from error
    if not isinstance(document, dict):
        return document, {}
    return _first(document, "a list of rows, or an object with"), _made_with(document.get("model"))


def _as_samples(archive: Any, rows: NDArray[np.float32], width: int | None) -> Samples:
    """The samples of an .npz that `sample` wrote, so that their pictures are decoded as they were made."""
    noise = None
    if "noise" in archive and width is not None:
        noise = as_latents(archive["noise"], width, "rows of noise").reshape(-1, width)
        if noise.shape != (len(rows), width):
            raise InputError(f"expected a row of noise for each of {len(rows)} latents, got {list(noise.shape)}")
    seed = int(archive["seed"])
    if "indices" in archive:  # samples that don't follow each other
        indices = np.ravel(archive["indices"]).astype(np.int64)
        check_range(seed, int(indices.min()), 1)
        if len(indices) != len(rows):
            raise InputError(f"expected an index for each of {len(rows)} latents, got {len(indices)}")
    else:
        check_range(seed, int(archive["start"]), len(rows))
        indices = int(archive["start"]) + np.arange(len(rows))
    return Samples(
        images=np.broadcast_to(np.float32(0), (len(rows), 1, 1, 1)),
        latents=rows,
        seed=seed,
        indices=indices,
        choice=Choice("normal", detail=noise is not None),
        _noise=noise,
    )
