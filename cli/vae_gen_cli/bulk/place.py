"""Where a bulk folder lies: a folder of this machine, or an object store that pyarrow or fsspec can reach.

Both give the same promise: a name appears with its whole content or not at all. On this machine a file is written aside
and renamed. In an object store a file appears when its upload ends; an upload that ended early is found out by the size
and the SHA-256 in the JSON file beside it, which is written last.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from vae_gen import OutputError, UnavailableError
from vae_gen.internal import files


class Place(Protocol):
    """A folder that holds files by their names."""

    name: str
    """the folder as it was given, for messages"""

    def prepare(self) -> bool:
        """Makes the folder if it does not exist, and returns whether it did."""

    def sizes(self) -> dict[str, int]:
        """The size in bytes of each file; empty if there is no such folder."""

    def read(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Opens a file for reading; an OSError if there is none."""

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def inside(self, name: str) -> Place:
        """A folder in this folder."""

    def write(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Opens a file for writing, which appears under its name when the block ends without an error."""

    def create(self, name: str, content: bytes) -> bool:
        """Writes a whole file unless there is one of that name, and returns whether it did."""

    def remove(self, name: str) -> None:
        """Removes a file."""

    def remove_if_empty(self) -> None:
        """Removes the folder, if nothing is in it."""

    def clean(self, names: Collection[str]) -> None:
        """Removes what killed processes have left of these files, but nothing that a running process writes."""


class Folder:
    """A folder of this machine."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    def prepare(self) -> bool:
        """Makes the folder; its parent must exist."""
        with files.naming_failures(self.path):
            folder = files.check_folder(self.path)
            is_new = not folder.exists()
            folder.mkdir(exist_ok=True)
        return is_new

    def sizes(self) -> dict[str, int]:
        """The size of each file, also of hidden ones; folders have the size −1."""
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another command has renamed its temporary file
                    found[entry.name] = -1 if entry.is_dir() else entry.stat().st_size
        return found

    def read(self, name: str) -> BinaryIO:
        """Opens a file for reading."""
        return (self.path / name).open("rb")

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self.path / name).is_file()

    def inside(self, name: str) -> Folder:
        """A folder in this folder."""
        return Folder(self.path / name, f"{self.name}/{name}")

    def write(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Writes a file aside, which is renamed at the end."""
        return files.replacing(self.path / name)

    def create(self, name: str, content: bytes) -> bool:
        """Writes a file aside and gives it its name by a hard link, which fails if another process was faster."""
        target = self.path / name
        with files.naming_failures(target), files.new_folder(self.path, files.beside(target)) as aside:
            try:
                (aside / name).write_bytes(content)
                try:
                    _link(aside / name, target)
                except FileExistsError:
                    return False
                return True
            finally:
                (aside / name).unlink(missing_ok=True)
                aside.rmdir()

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def remove_if_empty(self) -> None:
        """Removes the folder, if nothing is in it."""
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def clean(self, names: Collection[str]) -> None:
        """Removes the temporary files of these names whose process has ended."""
        for entry in self.sizes():
            target = entry[1:-14]  # .NAME.12345678.part
            if entry.endswith(".part") and entry.startswith(".") and target in names:
                files.remove_leftovers(self.path / target)


class Store:
    """A folder in an object store, as a file system of pyarrow."""

    def __init__(self, filesystem: Any, path: str, name: str) -> None:
        self.filesystem, self.path, self.name = filesystem, path, name

    def prepare(self) -> bool:
        """Makes the folder, where the store has folders; an empty one is never removed."""
        with _naming(self.path):
            self.filesystem.create_dir(self.path, recursive=True)
        return False

    def sizes(self) -> dict[str, int]:
        """The size of each object; folders have the size −1."""
        from pyarrow.fs import FileSelector, FileType

        found = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
        return {one.base_name: one.size if one.type == FileType.File else -1 for one in found}

    def read(self, name: str) -> BinaryIO:
        """Opens an object for reading."""
        return cast(BinaryIO, self.filesystem.open_input_file(f"{self.path}/{name}"))

    def has(self, name: str) -> bool:
        """Whether there is an object of this name."""
        from pyarrow.fs import FileType

        return bool(self.filesystem.get_file_info(f"{self.path}/{name}").type == FileType.File)

    def inside(self, name: str) -> Store:
        """A folder in this folder."""
        return Store(self.filesystem, f"{self.path}/{name}", f"{self.name}/{name}")

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """Writes an object, which appears when it is closed."""
        path = f"{self.path}/{name}"
        with _naming(path):
            try:
                with self.filesystem.open_output_stream(path) as file:
                    yield file
            except BaseException:  # closing has made an object of what was written so far
                with contextlib.suppress(OSError):
                    self.filesystem.delete_file(path)
                raise

    def create(self, name: str, content: bytes) -> bool:
        """Writes an object, unless there is one; stores have no atomic way that all of them share."""
        if self.has(name):
            return False
        with self.write(name) as file:
            file.write(content)
        return True

    def remove(self, name: str) -> None:
        """Removes an object, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(f"{self.path}/{name}")

    def remove_if_empty(self) -> None:
        """A store's folder stays."""

    def clean(self, names: Collection[str]) -> None:
        """A store has no temporary files."""


def open_place(address: str) -> Place:
    """The folder at an address: a path, `file:///…`, or the URI of a store, such as `s3://bucket/folder`.

    Raises:
        OutputError: nothing can open such an address.
        UnavailableError: a package that would open it is not installed.
    """
    scheme, separator, _ = address.partition("://")
    if not separator:
        return Folder(Path(address), address)
    if scheme == "file":
        return Folder(Path(unquote(urlsplit(address).path)), address)
    from .parquet import import_pyarrow

    import_pyarrow()
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        filesystem, path = FileSystem.from_uri(address)
        return Store(filesystem, path, address)
    except ValueError:  # an unknown scheme
        pass
    except OSError as error:
        raise OutputError(f"cannot write {address}: {error}") from error
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UnavailableError(
            f"expected the package fsspec, which opens {scheme}://, got none; pip install fsspec"
        ) from error
    try:
        filesystem, path = url_to_fs(address)
    except (ValueError, ImportError) as error:
        raise OutputError(f"cannot write {address}: {error}") from error
    return Store(PyFileSystem(FSSpecHandler(filesystem)), path, address)


def _link(aside: Path, target: Path) -> None:
    """Gives a file a second name. Where there are no hard links it is renamed, unless the name is taken."""
    try:
        os.link(aside, target)
    except FileExistsError:
        raise
    except OSError:
        if not target.exists():
            aside.replace(target)


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turns an error of a store into an OutputError that names the object."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error
