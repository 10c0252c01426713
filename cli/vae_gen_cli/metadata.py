"""The text chunk of our PNGs: everything that `vae-gen repeat` needs, and its reading as the untrusted thing it is."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vae_gen import InputError, __version__
from vae_gen.internal.files import cannot_open

if TYPE_CHECKING:
    from vae_gen import Manifest

KEY = "vae-gen"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
LONGEST_NOTE = 1_000_000
"""Bytes: the ten thousand seeds of the largest interpolation fit."""


def model_facts(manifest: Manifest) -> dict[str, str]:
    """Name, version and the SHA-256 of graphs: what pictures depend on.

    `latents_sha256` counts where they are of the fitted prior, `detail_sha256` where they have details.
    """
    facts = {"name": manifest.name, "version": manifest.version, "sha256": manifest.fingerprint}
    if manifest.has_fitted_prior:
        facts["latents_sha256"] = manifest.graphs["latents"].sha256
    if manifest.detail is not None:
        facts["detail_sha256"] = manifest.graphs["detail"].sha256
    return facts


def make_note(command: str, choices: Mapping[str, Any], manifest: Manifest) -> str:
    """The text of the chunk: compact JSON in ASCII, seeds and starts as decimal strings."""
    note = {"command": command, **choices, "model": model_facts(manifest), "vae_gen": __version__}
    return json.dumps(note, separators=(",", ":"))


def read_note(path: str | os.PathLike[str]) -> Fields:
    """What the text chunk of a PNG says. The picture itself is not decoded.

    Raises:
        InputError: not a readable PNG, no chunk of ours in it, or not a JSON object.
    """
    text = _find_chunk(path)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON in its {KEY} chunk, found something else; it was edited") from error
    return Fields(document, str(path))


def _find_chunk(path: str | os.PathLike[str]) -> bytes:
    """The text of the first tEXt chunk with our key (PNG specification, third edition, 11.3.3.2)."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - the name is shown as it was given
            if file.read(8) != SIGNATURE:
                raise InputError(f"{path}: expected a PNG that vae-gen made, found another kind of file")
            while len(head := file.read(8)) == 8:
                length, kind = struct.unpack(">I4s", head)
                if kind != b"tEXt" or length > LONGEST_NOTE:
                    file.seek(length + 4, os.SEEK_CUR)
                    continue
                content, checksum = file.read(length), file.read(4)
                key, _, text = content.partition(b"\0")
                if key == KEY.encode():
                    if checksum != struct.pack(">I", zlib.crc32(kind + content)):
                        raise InputError(f"{path}: expected an intact {KEY} chunk, found a wrong checksum")
                    return text
    except OSError as error:
        raise InputError(f"{path}: {cannot_open('a PNG', error)}") from error
    raise InputError(
        f"{path}: expected a PNG with a {KEY} chunk, found none; "
        "only PNGs that vae-gen made, and that no other program has saved again, can be repeated"
    )


class Fields:
    """An object of the note, whose values are checked as they are taken out."""

    def __init__(self, document: Any, path: str, place: str = "") -> None:
        self.path, self._place = path, place
        if not isinstance(document, dict):
            raise InputError(f"{path}: {place or 'the note'} in its {KEY} chunk: expected an object; it was edited")
        self._document: dict[str, Any] = document

    def __contains__(self, key: str) -> bool:
        return self._document.get(key) is not None

    def wrong(self, key: str, expected: str) -> InputError:
        """The error that names the key, what was expected, and what stands there."""
        found = json.dumps(self._document.get(key))
        found = found if len(found) <= 60 else f"{found[:57]}..."
        place = f"{self._place}.{key}" if self._place else key
        return InputError(f"{self.path}: {place} in its {KEY} chunk: expected {expected}, found {found}")

    def object(self, key: str) -> Fields:
        """An object within this one."""
        return Fields(self._document.get(key), self.path, key)

    def text(self, key: str) -> str:
        """A text of reasonable length."""
        value = self._document.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= 200:
            raise self.wrong(key, "a text")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of a few words."""
        if self._document.get(key) not in allowed:
            raise self.wrong(key, f"one of {', '.join(allowed)}")
        return self.text(key)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._document.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number of a range."""
        value = self._document.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str) -> float:
        """A number above 0, and no larger than makes sense anywhere here."""
        value = self._document.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6:
            raise self.wrong(key, "a number above 0")
        return float(value)

    def number_between(self, key: str, low: float, high: float) -> float:
        """A number of a range, both ends included."""
        value = self._document.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def seed(self, key: str) -> int:
        """A seed or a start: a decimal string."""
        return self._seed(key, self._document.get(key))

    def seeds(self, key: str) -> tuple[int, ...]:
        """Two or more of them."""
        values = self._document.get(key)
        if not isinstance(values, list) or len(values) < 2:
            raise self.wrong(key, "two or more seeds")
        return tuple(self._seed(key, value) for value in values)

    def _seed(self, key: str, value: Any) -> int:
        plain = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19
        if not plain or int(value) >= 2**63:
            raise self.wrong(key, "a whole number from 0 to 2^63-1 as a text")
        return int(value)
