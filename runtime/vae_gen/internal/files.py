"""Files that are replaced as a whole or not at all, and JSON that is checked while it is read.

A file or a folder is written beside its place and then renamed, so that a program that is stopped in the middle leaves
the old one as it was.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from .._errors import InputError, OutputError, UsageError, VaeGenError, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

MOST_JSON_BYTES = 64 << 20
"""The largest JSON document that is read."""
MOST_JSON_VALUES = 1_000_000
"""The most values in a JSON document. Each takes up to a hundred bytes of memory, and two in the file are enough."""

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
        prefix = f".{target.name[:60]}."
        remove_leftovers(target.parent, prefix)
        descriptor, aside = _temporary_file(target.parent, prefix)
        with contextlib.ExitStack() as lock:
            if os.name == "posix":  # keeps the lock until the file has its name; Windows can't rename an open file
                lock.callback(os.close, os.dup(descriptor))
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


def remove_leftovers(folder: Path, prefix: str) -> None:
    """Removes temporary files and folders that a killed process has left for an output which is now written again.

    Args:
        folder: where they may lie.
        prefix: how the names of the temporary files begin. They go on with eight random letters, and end in `.part`.
    """
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            rest = entry.name.removeprefix(prefix)
            if len(rest) == 13 and rest.endswith(".part") and entry.name != rest and not entry.is_symlink():
                with _without_owner(entry.path) as free:
                    if free and entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry, ignore_errors=True)
                    elif free:
                        Path(entry).unlink()


@contextlib.contextmanager
def _without_owner(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Whether the process that made a temporary file or folder has ended.

    A process locks what it is writing, and the lock ends with the process. Where there are no such locks (Windows, some
    network file systems) nothing is without an owner.
    """
    try:
        import fcntl  # not on Windows

        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, ImportError):
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError:
            free = False
        with contextlib.suppress(OSError):
            yield free
    finally:
        os.close(descriptor)


def _temporary_file(folder: Path, prefix: str) -> tuple[int, str]:
    """Makes a file that `remove_leftovers` doesn't remove while it is open; returns its descriptor and its path."""
    while True:
        descriptor, path = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=folder)
        if _owned(descriptor, path):
            return descriptor, path
        os.close(descriptor)


def _owned(descriptor: int, path: str) -> bool:
    """Locks a temporary file or folder until it is closed; false if another process removed it before it was locked."""
    with contextlib.suppress(OSError, ImportError):
        import fcntl  # not on Windows

        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return Path(path).exists()


def write_file(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Writes a whole file as `replacing` does; a text is encoded as UTF-8.

    Raises:
        OutputError: the file cannot be written.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing_folder(
    path: str | os.PathLike[str], may_replace: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Makes a new folder that becomes `path` when the block ends, and is deleted when the block raises an error.

    Nothing that appears at `path` while the block runs is lost. A folder that is not empty is replaced only if
    `may_replace` accepts it, which is asked after the folder was renamed, so that nobody adds to it any more. An empty
    folder is filled and stays the same folder, because it may be a mount point, or a shell may stand in it.

    Args:
        path: the folder; its parent must exist.
        may_replace: raises an error if the folder that it is given must not be replaced. By default only an empty
            folder is replaced.

    Raises:
        OutputError: no such parent folder, a file or another folder is in the way, no permission, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    with _naming_failures(path), _folder_aside(path, *_place(target)) as aside:
        yield aside
        appeared = OutputError(f"cannot write {path}: a folder with files appeared there; choose another name")
        if aside.parent == target:
            if any(entry != aside for entry in target.iterdir()):
                raise appeared
            for entry in sorted(aside.iterdir()):
                entry.replace(target / entry.name)
            return
        if _renamed(aside, target):
            return
        if may_replace is None:
            raise appeared
        with _temporary_folder(target.parent, f".{target.name[:60]}.", ".old") as old:
            target.replace(old / target.name)  # a crash before the next renaming leaves the folder here
            try:
                may_replace(old / target.name)
                aside.replace(target)
            except BaseException as error:
                try:
                    (old / target.name).replace(target)
                except OSError:  # so the old folder stays where it is now
                    raise OutputError(f"cannot write {path}: {error}; the old folder is now in {old}") from error
                raise


def check_folder_can_be_made(path: str | os.PathLike[str]) -> None:
    """Tries whether `replacing_folder` can make a folder for `path`, and leaves nothing behind.

    Raises:
        OutputError: as `replacing_folder`.
    """
    with _naming_failures(path), _folder_aside(path, *_place(Path(os.path.realpath(path)))):
        pass


@contextlib.contextmanager
def filling_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Makes a folder to write files into; all of them move to `path` when the block ends without an error.

    Other files of an existing folder stay, also if the folder appears while the block runs. A folder that doesn't exist
    is made, if its parent exists.

    Raises:
        OutputError: no such parent folder, `path` is a file, no permission, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    is_new = not target.is_dir()
    place = _place(target) if is_new else (target, INSIDE)
    with _naming_failures(path), _folder_aside(path, *place) as aside:
        yield aside
        if not (is_new and _renamed(aside, target)):
            for file in sorted(aside.iterdir()):
                file.replace(target / file.name)


INSIDE = ".vae-gen."
"""How the names of temporary folders inside of an output begin."""


def _place(target: Path) -> tuple[Path, str]:
    """Where the folder that becomes `target` is made, and how its name begins."""
    if target.is_dir():
        remove_leftovers(target, INSIDE)
        if not any(target.iterdir()):
            return target, INSIDE
    return target.parent, f".{target.name[:60]}."


@contextlib.contextmanager
def _folder_aside(path: str | os.PathLike[str], place: Path, prefix: str) -> Iterator[Path]:
    """Makes a hidden folder in `place`, which is removed at the end unless it was renamed; `path` is for errors."""
    if not place.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {place}; create it first")
    if Path(path).exists() and not Path(path).is_dir():
        raise OutputError(f"cannot write {path}: a file of that name is in the way; choose another name")
    remove_leftovers(place, prefix)
    _bring_back(Path(os.path.realpath(path)))
    with _temporary_folder(place, prefix, ".part") as aside:
        aside.chmod(0o777 & ~_umask())
        yield aside


@contextlib.contextmanager
def _temporary_folder(place: Path, prefix: str, suffix: str) -> Iterator[Path]:
    """Makes a folder, and removes it at the end if it is still there.

    After an error an `.old` folder is only removed if it is empty, because what is in it may be the only copy.
    """
    while True:
        folder, descriptor = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=place)), None
        with contextlib.suppress(OSError):  # Windows opens no folders
            descriptor = os.open(folder, os.O_RDONLY)
        if descriptor is None or _owned(descriptor, str(folder)):
            break
        os.close(descriptor)
    try:
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        if suffix != ".old":
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _bring_back(target: Path) -> None:
    """Brings back a folder that a process moved out of the way before it was killed, if nothing took its place."""
    name = glob.escape(target.name)
    for old in target.parent.glob(f".{glob.escape(target.name[:60])}.????????.old/{name}"):
        with _without_owner(old.parent) as free:
            if free and not target.exists():
                old.replace(target)
                old.parent.rmdir()


def _renamed(folder: Path, target: Path) -> bool:
    """Renames a folder unless a folder with files has the name `target`, and returns whether it did."""
    with contextlib.suppress(OSError):  # Windows does not rename over an empty folder
        target.rmdir()
    try:
        folder.replace(target)
    except OSError:
        if target.is_dir():
            return False
        raise
    return True


def path_text(value: Any, what: str) -> str:
    """The path that a caller passed, as a text.

    Raises:
        UsageError: it is neither a text nor an object that is a path as a text.
    """
    try:
        text = os.fspath(value)
    except Exception as error:  # a TypeError, or whatever a foreign object raises
        raise UsageError(f"expected the path of {what} as a text, got {shown(value)}") from error
    if not isinstance(text, str):
        raise UsageError(f"expected the path of {what} as a text, got bytes; pass os.fsdecode(path)")
    return text


HUB_LINK = re.compile(r"(\.\./){2,}blobs/[0-9a-f]{40,64}")
"""Where the links in a snapshot of the Hugging Face cache point to; all other links in a folder are refused."""


def read_regular(path: str | os.PathLike[str], most: int, *, links: bool = False) -> bytes:
    """Reads a file that may come from a stranger, if it is an ordinary file of at most `most` bytes.

    A pipe, a device or a file that grows while it is read would hang the program or fill its memory, and a link could
    make it read another file of the user.

    Args:
        path: the file.
        most: the largest number of bytes.
        links: whether the file may be a symbolic link to anywhere.

    Raises:
        OSError: the file can't be read, or is not ordinary; `strerror` is the reason.
    """
    place = Path(path)
    if not links and place.is_symlink() and not HUB_LINK.fullmatch(place.readlink().as_posix()):
        raise OSError(errno.ELOOP, "it is a symbolic link; copy the folder with its links followed, as cp -rL does")
    # A pipe is opened without waiting for its other end.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 - of a descriptor
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, not an ordinary file")
        content = file.read(min(status.st_size, most) + 1)
        if len(content) > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes")
        return content


ADVICE = {
    "check its name": ("ENOENT", "ENOTDIR", "EINVAL"),
    "choose a shorter name": ("ENAMETOOLONG",),
    "name a file, not a folder": ("EISDIR",),
    "check the permissions": ("EACCES", "EPERM"),
    "check where its links lead": ("ELOOP",),
    "choose another place": ("EROFS", "ENXIO", "ENODEV", "EOPNOTSUPP"),
    "choose another place or free some space": ("ENOSPC", "EDQUOT", "EFBIG"),
    "close the program that uses it": ("EBUSY", "ETXTBSY"),
    "close some programs, or open fewer files": ("EMFILE", "ENFILE", "ENOMEM"),
    "check the disk": ("EIO",),
}
"""What a user can do, and the reasons of the system for which it helps."""


def advice(error: OSError) -> str:
    """What a user can do about a file that can't be read or written, by the system's reason.

    >>> advice(OSError(errno.EISDIR, "Is a directory"))
    'name a file, not a folder'
    """
    reason = errno.errorcode.get(error.errno, "") if error.errno else "EINVAL"  # Python's own, for a name
    helps = next((text for text, reasons in ADVICE.items() if reason in reasons), "try again, or choose another place")
    in_use = os.name == "nt" and reason == "EACCES"  # Windows gives this reason for a file that is open elsewhere, too
    return f"{helps}, and close programs that use it" if in_use else helps


def cannot_open(expected: str, error: OSError) -> InputError:
    """The error for a file that can't be opened: what it should be, the system's reason, and what to do about it."""
    return InputError(f"expected {expected}, cannot open it ({error.strerror or error}); {advice(error)}")


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
            error: the text is not JSON, or has more than a million values.
        """
        if not isinstance(text, str | bytes | bytearray):
            raise error(f"{where}: expected JSON as a text or as bytes, got {shown(text)}; {advice}")
        content = text.encode("utf-8", "replace") if isinstance(text, str) else text
        if len(content) > MOST_JSON_BYTES or sum(content.count(sign) for sign in b",[{") > MOST_JSON_VALUES:
            raise error(f"{where}: expected at most {MOST_JSON_VALUES} values in the document, found more; {advice}")
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
        raise OutputError(f"cannot write {path}: {error.strerror or error}; {advice(error)}") from error


def _umask() -> int:
    """The permission bits that this process removes from new files; they can only be read by setting them."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
