"""Files that are replaced as a whole or not at all, and JSON that is checked while it is read.

A file or a folder is written beside its place and then renamed, so that a program that is stopped in the middle leaves
the old one as it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from .._errors import InputError, OutputError, VaeGenError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

LARGEST = 1e300
"""No number in a document of this project is nearly so large; whole numbers beyond it don't even fit a float."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a binary file that replaces `path` when the block ends, and is deleted when the block raises an error.

    The file is on disk (fsync) before it is renamed. A symbolic link keeps pointing where it points, a file
    keeps its permission bits, and a device or a pipe is written in place, because renaming over it would remove it.

    Raises:
        OutputError: no such parent folder, `path` is a folder, no permission, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    with _naming_failures(path):
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no folder {target.parent}; create it first")
        if target.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder; name a file, or end the path in / for a folder")
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("wb") as file:
                yield file
            return
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
        descriptor, aside = tempfile.mkstemp(prefix=f".{target.name[:60]}.", suffix=".part", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(OSError):  # some network file systems have no permission bits
                Path(aside).chmod(mode)
            Path(aside).replace(target)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise


def write_file(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Writes a whole file as `replacing` does; a text is encoded as UTF-8.

    Raises:
        OutputError: the file cannot be written.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Makes a new folder that replaces `path` when the block ends, and is deleted when the block raises an error.

    An existing folder is moved out of the way first and removed last. A crash between the two renames leaves it in a
    hidden folder beside `path`; at no other time can it be lost.

    Raises:
        OutputError: no such parent folder, `path` is a file, no permission, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    with _naming_failures(path):
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no folder {target.parent}; create it first")
        if target.exists() and not target.is_dir():
            raise OutputError(f"cannot write {path}: a file of that name is in the way; choose another name")
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name[:60]}.", suffix=".part", dir=target.parent))
        try:
            aside.chmod(0o777 & ~_umask())
            yield aside
            if target.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{target.name[:60]}.", suffix=".old", dir=target.parent))
                target.replace(old / target.name)
                try:
                    aside.replace(target)
                except BaseException as error:
                    try:
                        (old / target.name).replace(target)
                        old.rmdir()
                    except OSError:  # both renames failed, so the old folder stays where it is now
                        raise OutputError(f"cannot write {path}: {error}; the old folder is now in {old}") from error
                    raise
                shutil.rmtree(old, ignore_errors=True)
            else:
                aside.replace(target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


@contextlib.contextmanager
def filling_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Makes a folder to write files into; all of them move to `path` when the block ends without an error.

    Other files of an existing folder stay; a folder that doesn't exist is made, if its parent exists.

    Raises:
        OutputError: no such parent folder, `path` is a file, no permission, or the disk is full.
    """
    if not Path(path).is_dir():
        with replacing_folder(path) as folder:
            yield folder
        return
    aside: Path | None = None
    try:
        with _naming_failures(path):
            aside = Path(tempfile.mkdtemp(prefix=".vae-gen.", suffix=".part", dir=path))
            yield aside
            for file in sorted(aside.iterdir()):
                file.replace(Path(path) / file.name)
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def cannot_open(expected: str, error: OSError) -> InputError:
    """The error for a file that can't be opened: what it should be, and the system's reason."""
    return InputError(f"expected {expected}, cannot open it ({error.strerror or error}); check its name")


@dataclass(frozen=True)
class Json:
    """A value of a JSON document from elsewhere, with its place in the document, so that every error can name it.

    >>> sizes = Json.parse('{"sizes": [3, "x"]}', "a.json", InputError, "write the file again")["sizes"]
    >>> sizes.items(Json.whole)
    Traceback (most recent call last):
    vae_gen._errors.InputError: a.json: sizes[1]: expected a whole number of at least 0, found "x"; write the file again
    """

    value: Any
    where: str
    """the name of the file"""
    error: type[VaeGenError]
    """the class of the errors"""
    advice: str
    """the end of each error: what the user can do"""
    path: str = ""
    """the keys that lead to this value"""

    @classmethod
    def parse(cls, text: str | bytes, where: str, error: type[VaeGenError], advice: str) -> Json:
        """Reads a whole document.

        Raises:
            error: the text is not JSON.
        """
        try:
            return cls(json.loads(text), where, error, advice)
        except (ValueError, RecursionError) as reason:
            raise error(f"{where}: expected JSON, found {reason}; {advice}") from reason

    def wrong(self, expected: str) -> VaeGenError:
        """The error for this value: its place, what was expected, and what was found."""
        found = json.dumps(self.value)
        found = found if len(found) <= 60 else f"{found[:57]}..."
        place = self.path or "the document"
        return self.error(f"{self.where}: {place}: expected {expected}, found {found}; {self.advice}")

    def __contains__(self, key: str) -> bool:
        return key in self.mapping()

    def __getitem__(self, key: str) -> Json:
        path = f"{self.path}.{key}" if self.path else key
        if key not in self.mapping():
            raise self.error(f"{self.where}: {path} is missing; {self.advice}")
        return Json(self.value[key], self.where, self.error, self.advice, path)

    def mapping(self) -> dict[str, Any]:
        """The value as an object, unchecked inside."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return self.value

    def entries(self) -> dict[str, Json]:
        """The members of an object by their keys."""
        return {key: self[key] for key in self.mapping()}

    def items(self, read: Callable[[Json], T]) -> tuple[T, ...]:
        """The items of a list, each as `read` reads it: `node.items(Json.text)`."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        places = ((item, f"{self.path}[{at}]") for at, item in enumerate(self.value))
        return tuple(read(Json(item, self.where, self.error, self.advice, path)) for item, path in places)

    def text(self) -> str:
        """The value as a text that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("a text")
        return self.value

    def one_of(self, *words: str) -> str:
        """The value as one of these words."""
        if self.value not in words:
            raise self.wrong(" or ".join(words))
        return self.text()

    def whole(self, low: int = 0, high: int | None = None) -> int:
        """The value as a whole number from `low` to `high`."""
        is_whole = isinstance(self.value, int) and not isinstance(self.value, bool)
        if not is_whole or self.value < low or (high is not None and self.value > high):
            limits = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise self.wrong(f"the number {low}" if low == high else f"a whole number {limits}")
        return int(self.value)

    def number(self, low: float = -LARGEST, high: float = LARGEST) -> float:
        """The value as a finite number from `low` to `high`."""
        is_number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if not is_number or not low <= self.value <= high:
            limits = "a finite number" if high == LARGEST else f"a number from {low:g} to {high:g}"
            raise self.wrong(limits)
        return float(self.value)

    def decimal(self, limit: int = 2**63) -> int:
        """The value as a whole number below `limit`, written as a text: JavaScript's numbers stop at 2⁵³."""
        plain = isinstance(self.value, str) and self.value.isascii() and self.value.isdigit() and len(self.value) < 20
        if not plain or int(self.value) >= limit:
            raise self.wrong(f"a whole number below {limit} as a text")
        return int(self.value)

    def flag(self) -> bool:
        """The value as true or false."""
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def array(self) -> NDArray[np.float64]:
        """Nested lists of numbers as an array, float64."""
        import numpy as np

        try:
            return np.array(self.value, np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise self.wrong("lists of numbers, all of the same length") from error

    def decoded(self, dtype: str, *shape: int) -> NDArray[Any]:
        """Base64 as an array of this dtype and shape, row by row, little-endian."""
        import base64

        import numpy as np

        try:
            values = np.frombuffer(base64.b64decode(self.text(), validate=True), np.dtype(dtype).newbyteorder("<"))
            return values.astype(dtype).reshape(shape)
        except ValueError as error:
            raise self.wrong(f"base64 of {dtype} {list(shape)}") from error


@contextlib.contextmanager
def _naming_failures(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an OSError in the block into an OutputError that names the output and the reason."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has closed the pipe, which is not a failure to write
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; choose another place or free some space"
        ) from error


def _umask() -> int:
    """The permission bits that this process removes from new files; they can only be read by setting them."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
