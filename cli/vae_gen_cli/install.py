"""`vae-gen install`: checks a model folder or a zip of one, and copies it to the folder of the user's models."""

from __future__ import annotations

import shutil
import stat
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae_gen import InputError, ModelError, OutputError

from . import options
from .output import Console, counted

if TYPE_CHECKING:
    from vae_gen import Manifest

LARGEST_MB, LARGEST_JSON_MB = 1000, 50
"""The most megabytes that a zip unpacks to, and that a JSON file in it has, which takes a multiple when it is read."""
MOST_ENTRIES = 10_000
"""The most entries of a zip."""
LONGEST_NAME = 100
"""The most bytes of a model's name in UTF-8; file systems allow 255, and a name is also the beginning of others."""
LEFT_AFTER = 3600
"""The seconds after which an unfinished installation belongs to a program that was stopped."""


def install(
    source: Annotated[
        str,
        typer.Argument(metavar="DIR|ZIP", help="A model folder, a zip of one, or hf:user/name (Hugging Face Hub)."),
    ],
    replace: Annotated[
        bool, typer.Option("--replace", rich_help_panel=options.OUTPUT, help="Replace an installed model of this name.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Install a model, so that --model finds it by its name.

    The model is copied to the user's folder of models under the name in its manifest, and checked there as `vae-gen
    verify` does, before it appears. `vae-gen models` lists all models and shows where that folder is.
    """
    from vae_gen import Manifest, ModelFolder
    from vae_gen.internal.files import replacing_folder
    from vae_gen.internal.model import installed_models

    console = Console(as_json, quiet)
    place = installed_models()
    with _opened(source) as folder:
        document = _read(folder / "manifest.json")
        manifest = Manifest.parse(document, f"{source}: manifest.json")
        target = place / _checked_name(manifest, source)
        if _is_there(target, document):
            console.message(f"{target.name} {manifest.version} is already installed in {target}")
        else:
            if target.exists() and not replace:
                raise OutputError(
                    f"expected no model called {target.name} in {place}, found {_version(target)}; "
                    "use --replace to replace it"
                )
            _make_place(place)
            with replacing_folder(target, (lambda _: None) if replace else None) as aside:
                _copy(folder, manifest, document, aside)
                checks = _verify(aside, source)
            console.message(f"{target.name} {manifest.version} → {target}; {checks} passed; use --model {target.name}")
    console.result("install", ModelFolder.open(target).manifest, {"name": target.name, "output": str(target)})


@contextmanager
def _opened(source: str) -> Iterator[Path | zipfile.Path]:
    """The model folder on disk or inside a zip, which has a manifest.json and nothing that could do harm.

    Raises:
        InputError: the source is a file but not a zip of a model folder, or could do harm.
        ModelError: the folder is missing or broken.
    """
    from vae_gen import ModelFolder, find_model

    path = Path(source)
    if not path.is_file():
        yield ModelFolder.open(find_model(source)).path
        return
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # of a file that can't be read, or of a damaged one, for which zipfile raises many kinds
        raise InputError(f"{source}: expected a model folder or a zip of one, got another file ({error})") from error
    with archive:
        yield zipfile.Path(archive, _checked_entries(archive, source))


def _checked_entries(archive: zipfile.ZipFile, source: str) -> str:
    """Checks all entries of a zip, and returns the path of the model folder in it: "" or "name/".

    Raises:
        InputError: an entry leads out of the folder, or is a link or encrypted; two have the same name; the zip is too
            large when it is unpacked; or it has not exactly one manifest.json at its top or in a folder there.
    """
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise InputError(f"{source}: expected a zip of at most {MOST_ENTRIES} entries, got {len(entries)}")
    names = [entry.orig_filename for entry in entries]
    for entry, name in zip(entries, names, strict=True):
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if ".." in name.split("/") or name.startswith("/") or set(name) & set("\\:\0"):
            raise InputError(f"{source}: expected files inside a folder, got an entry called {name[:80]}")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{source}: expected files and folders, got a link or a device called {name[:80]}")
        if name.endswith(".json") and entry.file_size > LARGEST_JSON_MB * 10**6:
            raise InputError(f"{source}: expected JSON of at most {LARGEST_JSON_MB} MB, got the larger {name[:80]}")
        if entry.flag_bits & 1:
            raise InputError(f"{source}: expected a zip without a password, got the encrypted entry {name[:80]}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{source}: expected each file once, got two entries called {twice[:80]}")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > LARGEST_MB * 10**6:
        raise InputError(
            f"{source}: expected a zip that unpacks to at most {LARGEST_MB} MB, got one of {unpacked // 10**6} MB"
        )
    folders = [name.removesuffix("manifest.json") for name in names if name.split("/")[-1] == "manifest.json"]
    folders = [folder for folder in folders if folder.count("/") < 2 and folder != "__MACOSX/"]
    if len(folders) != 1:
        raise InputError(
            f"{source}: expected a zip with one manifest.json, at its top or in a folder there, got {len(folders)}; "
            "zip the folder that vae-export wrote"
        )
    return folders[0]


def _checked_name(manifest: Manifest, source: str) -> str:
    """The model's name, which becomes the name of a folder on any system.

    Raises:
        ModelError: it can't, or it is the name of a shipped model.
    """
    from vae_gen import shipped_models

    name = manifest.name
    letters = name.isprintable() and not set(name) & set('/\\:*?"<>|')
    reserved = name.partition(".")[0].upper() in (
        "CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))
    )  # fmt: skip
    if not letters or name[0] in "-.~ " or name[-1] in ". " or reserved or len(name.encode()) > LONGEST_NAME:
        raise ModelError(
            f"{source}: expected a model with a name that a folder can have on any system, of at most {LONGEST_NAME} "
            f"bytes, got {name[:80]!r}; export it with another --name"
        )
    if name in shipped_models():
        raise ModelError(
            f"{source}: expected a name that no shipped model has, got {name}; export it with another --name"
        )
    return name


def _is_there(target: Path, document: bytes) -> bool:
    """Whether the same model is already installed there, whole."""
    from vae_gen import ModelFolder

    try:
        ModelFolder.open(target)
        return (target / "manifest.json").read_bytes() == document
    except (ModelError, OSError):
        return False


def _version(target: Path) -> str:
    from vae_gen import ModelFolder

    try:
        return f"version {ModelFolder.open(target).manifest.version}"
    except ModelError:
        return "a broken one"


def _make_place(place: Path) -> None:
    """Makes the folder of installed models, and removes from it what stopped programs have left."""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror}; set XDG_DATA_HOME to another folder") from error
    for left in place.glob(".*.part"):
        if time.time() - left.stat().st_mtime > LEFT_AFTER:
            shutil.rmtree(left, ignore_errors=True)


def _copy(folder: Path | zipfile.Path, manifest: Manifest, document: bytes, target: Path) -> None:
    """Copies the files that the manifest lists, and no others.

    Raises:
        ModelError: a file is missing or damaged.
    """
    (target / "manifest.json").write_bytes(document)
    for name in manifest.file_names:
        (target / name).write_bytes(_read(folder / name))


def _read(file: Path | zipfile.Path) -> bytes:
    """The content of a file on disk or in a zip.

    Raises:
        ModelError: there is no such file, or it is damaged, a link or a pipe.
    """
    from vae_gen.internal.files import read_regular

    try:
        return read_regular(file, LARGEST_MB * 10**6) if isinstance(file, Path) else file.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{file}: expected a file that manifest.json lists, found none; export it again") from error
    except Exception as error:  # a link, a pipe; and unpacking a damaged zip raises almost anything
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:100]
        raise ModelError(f"{file}: expected an undamaged file, got {type(error).__name__}: {reason}") from error


def _verify(folder: Path, source: str) -> str:
    """Checks the copy, and returns the number of checks in words.

    Raises:
        ModelError: a check did not pass.
    """
    from vae_gen import verify

    options.import_onnxruntime()
    checks = verify(folder)
    failed = [check for check in checks if not check.passed]
    if failed:
        raise ModelError(
            f"{source}: expected every check to pass, {len(failed)} of {len(checks)} did not, the first is "
            f"{failed[0].name}: {failed[0].detail.replace(str(folder), source)}"
        )
    return counted(len(checks), "check")
