"""Files and folders that are either the old ones or the new ones, never half: written aside, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .._errors import InputError, OutputError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends well, and vanishes when it does not.

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
    """Write a whole file (text as UTF-8) the same way as `replacing`, with the same errors."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder beside `path` that takes its place when the block ends well, and vanishes when it does not.

    An existing folder is moved out of the way first and removed last: a crash between the two renames leaves it in a
    hidden folder beside `path`, and nothing else can lose it.

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
                    except OSError:  # both renames failed: the old content stays where it is, and we say where
                        raise OutputError(f"cannot write {path}: {error}; what was there is in {old}") from error
                    raise
                shutil.rmtree(old, ignore_errors=True)
            else:
                aside.replace(target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


@contextlib.contextmanager
def filling_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write files into, which come to `path` together when the block ends well.

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


@contextlib.contextmanager
def _naming_failures(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say which output failed and why, in place of a bare OSError."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has gone away, which is no failure to write
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; choose another place or free some space"
        ) from error


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
