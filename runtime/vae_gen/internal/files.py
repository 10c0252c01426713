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
import sys
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
    Where a file can be written but not renamed (a folder that is read-only, a mounted file), its bytes are replaced.

    Raises:
        OutputError: no such parent folder, `path` is a folder, no permission, or the disk is full.
    """
    with naming_failures(path):
        if is_stream(path):
            with Path(path).open("wb") as file:
                yield file
            return
        target = check_file(path)
        remove_leftovers(target)
        with _temporary_file(target) as (file, aside):
            yield file
            on_disk(file)
            if os.name != "posix":  # where an open file can't be renamed
                file.close()
            take_place(aside, target)


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether this is a pipe or a device, to which bytes are written at once, and of which none can be taken back.

    The path is not resolved first: `>(wc -c)` is a link to a pipe that has no name.
    """
    place = Path(path)
    return place.exists() and not place.is_file() and not place.is_dir()


def check_file(path: str | os.PathLike[str]) -> Path:
    """Checks that `path` may become a file, and returns where it is when links are followed.

    Raises:
        OutputError: there is no such parent folder, or `path` is a folder or a file that is read-only.
    """
    target = followed(path)
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {target.parent}; create it first")
    if target.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; name a file, or end the path in / for a folder")
    check_not_read_only(target, path)
    return target


def check_not_read_only(file: Path, name: str | os.PathLike[str]) -> None:
    """Refuses to replace a file that nobody may write, or that this user may not write.

    Raises:
        OutputError: the file is read-only; the message calls it `name`.
    """
    if file.exists() and (not os.access(file, os.W_OK) or not file.stat().st_mode & 0o222):
        raise OutputError(f"cannot write {name}: the file is read-only; choose another name, or make it writable first")


def followed(path: str | os.PathLike[str]) -> Path:
    """Where an output is when links are followed.

    A link that another user has made in a folder like /tmp is not followed, because it may lead to a file of this
    user; Linux has the same rule for programs that open the file (protected_symlinks).

    Raises:
        OutputError: there is such a link.
    """
    place = Path(path)
    for _ in range(40):
        if os.name != "posix" or not place.is_symlink():
            break
        folder = place.parent.stat()
        is_shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
        if is_shared and place.lstat().st_uid not in (os.geteuid(), folder.st_uid):
            raise OutputError(f"cannot write {path}: {place} is a link that another user has made; choose another name")
        place = place.parent / place.readlink()
    return Path(os.path.realpath(place))


def on_disk(file: BinaryIO) -> None:
    """Waits until what was written to a file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def take_place(aside: Path, target: Path) -> None:
    """Gives a finished file its name. The permission bits of a file that it replaces are kept."""
    if target.exists():
        with contextlib.suppress(OSError):  # some network file systems have no permission bits
            aside.chmod(stat.S_IMODE(target.stat().st_mode))
    try:
        aside.replace(target)
    except OSError as error:
        # A mounted file, another disk, or a folder that is read-only.
        if error.errno not in (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS) or not target.exists():
            raise
        _overwrite(target, aside)
        aside.unlink()


def _overwrite(target: Path, aside: Path) -> None:
    """Writes the bytes of one file into another one, which is left alone if the disk has no space for them."""
    with target.open("r+b") as file, aside.open("rb") as source:
        before, size = file.seek(0, os.SEEK_END), aside.stat().st_size
        try:
            if hasattr(os, "posix_fallocate") and size:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            file.truncate(before)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
        file.seek(0)
        shutil.copyfileobj(source, file, 1 << 20)
        file.truncate()
        on_disk(file)


# Temporary files and folders. The process that makes one locks it, and the lock ends with the process.


INSIDE = ".vae-gen."
"""How the names of temporary folders inside of an output begin."""
CONTENT, COMPLETE = "content", "complete"
"""In a temporary folder whose files move into a folder that exists: where they lie, and a mark that all were made."""


def beside(target: Path) -> str:
    """How the names of temporary files and folders beside an output begin."""
    return f".{target.name[:60]}."


def leftovers(target: Path) -> Iterator[Path]:
    """The temporary files and folders for an output: beside it, and in it if it is a folder.

    Their names continue with eight random letters and end in `.part`. Files of other users are left out.
    """
    for folder, prefix in ((target.parent, beside(target)), (target, INSIDE)):
        with contextlib.suppress(OSError):
            for entry in [entry for entry in os.scandir(folder) if entry.name.startswith(prefix)]:
                is_ours = os.name != "posix" or entry.stat(follow_symlinks=False).st_uid == os.geteuid()
                is_named_so = len(entry.name) == len(prefix) + 13 and entry.name.endswith(".part")
                if is_ours and is_named_so and not entry.is_symlink():
                    yield Path(entry.path)


def remove_leftovers(target: Path) -> None:
    """Removes what killed processes have left for an output which is now written again."""
    for entry in leftovers(target):
        with contextlib.suppress(OSError), without_owner(entry) as free:
            if free:
                discard(entry, target)


def discard(leftover: Path, target: Path) -> None:
    """Removes a temporary file or folder; if all its files were made, the rest of them moves to the output first."""
    if not leftover.is_dir():
        leftover.unlink()
        return
    if (leftover / COMPLETE).exists() and (leftover / CONTENT).is_dir():
        move_files(leftover / CONTENT, target)
    shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def without_owner(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Whether the process that made a temporary file or folder has ended. If so, this one is its owner in the block.

    Where there are no locks (Windows, some network file systems) nothing is without an owner.
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
        yield free
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary_file(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Makes a file beside `target`, open for writing, which is deleted at the end unless it was renamed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    mode = stat.S_IMODE(target.stat().st_mode) | 0o600 if target.exists() else 0o666  # less what the umask takes
    place = target.parent
    while True:
        path = place / f"{beside(target)}{os.urandom(4).hex()}.part"
        try:
            descriptor = os.open(path, flags, mode)
        except FileExistsError:
            continue
        except OSError:
            if not target.exists() or place != target.parent:
                raise
            import tempfile  # seldom needed

            place = Path(tempfile.gettempdir())  # and then the file is overwritten
            continue
        if _owned(descriptor, path):
            break
        os.close(descriptor)
    with open(descriptor, "r+b") as file:  # noqa: PTH123 - of a descriptor
        try:
            yield file, path
        except BaseException:
            if os.name != "posix":
                file.close()
            path.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def new_folder(place: Path, prefix: str, suffix: str = ".part") -> Iterator[Path]:
    """Makes a folder that belongs to this process in the block; it stays."""
    while True:
        folder, descriptor = place / f"{prefix}{os.urandom(4).hex()}{suffix}", None
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            with contextlib.suppress(OSError):  # Windows opens no folders
                descriptor = os.open(folder, os.O_RDONLY)
            if descriptor is None:
                if folder.exists():
                    break
                continue  # another process took it for one that a killed process has left
            if _owned(descriptor, folder):
                break
            os.close(descriptor)
    try:
        yield folder
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _owned(descriptor: int, path: Path) -> bool:
    """Locks a temporary file or folder until it is closed; false if another process removed it before it was locked."""
    with contextlib.suppress(OSError, ImportError):
        import fcntl  # not on Windows

        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return path.exists()


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
    target = _place(path)
    appeared = OutputError(f"cannot write {path}: a folder with files appeared there; choose another name")
    if _is_empty(target):
        with filling_folder(path) as folder:
            yield folder
            if not all(entry.name.startswith(INSIDE) for entry in target.iterdir()):
                raise appeared
        return
    with naming_failures(path), _temporary_folder(target.parent, beside(target), ".part") as aside:
        yield aside
        if _renamed(aside, target):
            return
        if may_replace is None:
            raise appeared
        if _exchanged(aside, target):
            try:
                may_replace(aside)
            except BaseException as error:
                if not _exchanged(aside, target):
                    kept = aside.replace(aside.with_suffix(".old"))
                    raise OutputError(f"cannot write {path}: {error}; the old folder is now {kept}") from error
                raise
            return
        with _temporary_folder(target.parent, beside(target), ".old") as old:
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
    target = _place(path)
    place = (target, INSIDE) if _is_empty(target) else (target.parent, beside(target))
    with naming_failures(path), _temporary_folder(*place, ".part"):
        pass


def _place(path: str | os.PathLike[str]) -> Path:
    """Checks that `path` may become a folder, and removes or brings back what killed processes have left there."""
    with naming_failures(path):
        target = check_folder(path)
        remove_leftovers(target)
        if not target.exists():
            for old in moved_away(target):
                with contextlib.suppress(OSError), without_owner(old.parent) as free:
                    if free:
                        old.replace(target)
                        old.parent.rmdir()
    return target


def moved_away(target: Path) -> list[Path]:
    """Where a folder is that a process has moved away to replace it, if it was killed before it did."""
    return list(target.parent.glob(f"{glob.escape(beside(target))}????????.old/{glob.escape(target.name)}"))


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _exchanged(one: Path, other: Path) -> bool:
    """Exchanges two folders, so that at no moment one of the names is free; false if this system can't."""
    import ctypes  # takes 10 ms, and is seldom needed

    first, second = os.fsencode(one), os.fsencode(other)
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return bool(library.renamex_np(first, second, 2) == 0)  # RENAME_SWAP
        return bool(library.renameat2(-100, first, -100, second, 2) == 0)  # AT_FDCWD, RENAME_EXCHANGE
    except (AttributeError, OSError, TypeError):  # Windows, and Linux without glibc
        return False


@contextlib.contextmanager
def filling_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Makes a folder to write files into; all of them move to `path` when the block ends without an error.

    Other files of an existing folder stay, also if the folder appears while the block runs. A folder that doesn't exist
    is made, if its parent exists. A process that is killed while the files move leaves a mark, so that the next one
    that writes to this folder moves the rest.

    Raises:
        OutputError: no such parent folder, `path` is a file, no permission, or the disk is full.
    """
    with naming_failures(path):
        target = check_folder(path)
        remove_leftovers(target)
        with new_folder(*place_to_fill(target)) as work:
            try:
                (work / CONTENT).mkdir()
                yield work / CONTENT
                fill(path, target, work)
            except BaseException:
                if not (work / COMPLETE).exists():
                    shutil.rmtree(work, ignore_errors=True)
                raise


def check_folder(path: str | os.PathLike[str]) -> Path:
    """Checks that `path` may become a folder, and returns where it is when links are followed.

    Raises:
        OutputError: there is no such parent folder, or `path` is a file.
    """
    target = followed(path)
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {target.parent}; create it first")
    if Path(path).exists() and not Path(path).is_dir():
        raise OutputError(f"cannot write {path}: a file of that name is in the way; choose another name")
    return target


def place_to_fill(target: Path) -> tuple[Path, str]:
    """Where files for a folder are made, and how the name of their temporary folder begins."""
    return (target, INSIDE) if target.is_dir() else (target.parent, beside(target))


def fill(path: str | os.PathLike[str], target: Path, work: Path) -> None:
    """Moves the files of a temporary folder to `target`, and removes it.

    Args:
        path: how `target` is called in errors.
        target: the folder.
        work: the temporary folder.

    Raises:
        OutputError: a file that is there is read-only, and nothing was moved. Or a file can't be moved; the message
            names the folder that the others are in.
    """
    if target.is_dir():
        for file in (work / CONTENT).iterdir():
            check_not_read_only(target / file.name, Path(path) / file.name)
    (work / COMPLETE).touch()
    try:
        try:
            move_files(work / CONTENT, target)
        except KeyboardInterrupt:  # the rest takes a moment, and without it the folder would be half old
            if (work / CONTENT).is_dir():
                move_files(work / CONTENT, target)
            shutil.rmtree(work, ignore_errors=True)
            raise
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}; the rest of its new files is in {work}, and the next command that "
            "writes there moves it"
        ) from error
    shutil.rmtree(work, ignore_errors=True)


def move_files(folder: Path, target: Path) -> None:
    """Moves all files of a folder into another one; if that doesn't exist, the folder is renamed."""
    if not target.is_dir() and _renamed(folder, target):
        return
    for file in sorted(folder.iterdir(), key=lambda file: (file.name == "manifest.json", file.name)):
        file.replace(target / file.name)  # the manifest last, because it makes a model of the folder


@contextlib.contextmanager
def _temporary_folder(place: Path, prefix: str, suffix: str) -> Iterator[Path]:
    """Makes a folder, and removes it at the end if it is still there.

    After an error an `.old` folder is only removed if it is empty, because what is in it may be the only copy.
    """
    with new_folder(place, prefix, suffix) as folder:
        try:
            yield folder
            shutil.rmtree(folder, ignore_errors=True)
        except BaseException:
            if suffix != ".old":
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise


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
"""Pairs of an advice for the user and the error numbers of the system for which it helps."""


def advice(error: OSError) -> str:
    """The advice for a file that can't be read or written, chosen by the system's error number.

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
            raise error(f"{where}: expected JSON, found {_json_fault(reason)}; {advice}") from reason

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


def _json_fault(error: Exception) -> str:
    """Why a text is not JSON, without the words of Python's parser."""
    if isinstance(error, json.JSONDecodeError):
        return f"something else in line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "bytes that are no text"
    return "lists nested too deep" if isinstance(error, RecursionError) else "a number with too many digits"


@contextlib.contextmanager
def naming_failures(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an OSError in the block into an OutputError that names the output and the reason."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has closed the pipe, which is not a failure to write
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; {advice(error)}") from error
