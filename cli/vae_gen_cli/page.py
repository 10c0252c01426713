"""`vae-gen page`: writes the playground as a static page, which runs a model in the browser, for any web server."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from vae_gen import InputError, OutputError, UnavailableError

from . import options
from .output import Console, counted


def page(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to make. It must be new, empty, or an earlier page.")
    ],
    packages: Annotated[
        Path | None,
        typer.Option(
            "--packages", metavar="DIR", rich_help_panel=options.OUTPUT, show_default="npm gets them",
            help="npm's folder node_modules, with the packages that the page needs.",
        ),
    ] = None,
    model: options.Model = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Write the playground as a static page for any web server.

    The page is the one of `vae-gen play`, but the model runs in the browser, in WebAssembly. The folder can be copied
    to any web server, under any path. The page needs ONNX Runtime for browsers and two small libraries, which npm
    downloads. Without npm, run `npm install` on another machine and give its folder node_modules with --packages.
    """
    from vae_gen import ModelFolder, find_model
    from vae_gen.internal.files import check_folder_can_be_made, replacing_folder

    from . import site

    console = Console(as_json, quiet)
    source = ModelFolder.open(find_model(model))
    site.check_channels(source.manifest)
    check_folder_can_be_made(folder)
    if folder.is_dir():
        refuse_foreign(folder, folder)
    with _packages(packages) as found:
        files = site.static_site(source, read_libraries(found))
    with replacing_folder(folder, lambda old: refuse_foreign(old, folder)) as aside:
        for name, content in files.items():
            place = aside / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    megabytes = sum(len(content) for name, content in files.items() if not name.endswith(".gz")) / 1e6
    console.message(
        f"{counted(len(files), 'file')} → {folder}; the page has {megabytes:.0f} MB. "
        f"To see it: python3 -m http.server -d {folder}"
    )
    console.result("page", source.manifest, {"output": str(folder), "files": sorted(files)})


def refuse_foreign(folder: Path, name: Path) -> None:
    """Refuses to replace a folder with a file in it that no earlier `vae-gen page` has written, or that was edited.

    Args:
        folder: where the folder is.
        name: how an error calls it.

    Raises:
        OutputError: there is such a file, or it can't be read.
    """
    import hashlib

    from vae_gen.internal.files import INSIDE, Json, advice

    from .site import RECORD

    try:
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
        files = {one: path for one, path in files.items() if not one.startswith(INSIDE)}
        record: dict[str, Any] = {}
        if RECORD in files:
            with contextlib.suppress(OutputError):
                document = Json.parse(files[RECORD].read_bytes(), RECORD, OutputError, "")
                record = document["files"].mapping()
        for one, path in files.items():
            own = one in (RECORD, ".nojekyll") and record
            if not own and (one not in record or record[one] != hashlib.sha256(path.read_bytes()).hexdigest()):
                what = "a changed file" if one in record else "a file of something else"
                raise OutputError(
                    f"expected {name} not to exist, to be empty or to be an earlier page, found {one} in it, which is "
                    f"{what}; name a new folder"
                )
    except OSError as error:
        raise OutputError(f"cannot read the folder {name}: {error.strerror}; {advice(error)}") from error


def wanted_packages() -> dict[str, str]:
    """The npm packages that the page needs, with their versions."""
    document = importlib.resources.files("vae_gen_cli.web").joinpath("package.json").read_text("utf-8")
    dependencies: dict[str, str] = json.loads(document)["dependencies"]
    return dependencies


@contextlib.contextmanager
def _packages(given: Path | None) -> Iterator[Path]:
    """The folder with npm's packages: the given one, that of a checkout, or one that npm fills for the block.

    Raises:
        UnavailableError: there is no npm, or it could not get the packages.
    """
    web = importlib.resources.files("vae_gen_cli.web")
    if given is not None:
        yield given
        return
    if isinstance(web, Path) and (web / "node_modules" / "onnxruntime-web").is_dir():
        yield web / "node_modules"
        return
    names = " ".join(f"{name}@{version}" for name, version in wanted_packages().items())
    by_hand = f"`npm install {names}` and give its folder node_modules with --packages"
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError(
            f"expected npm, which gets ONNX Runtime for the page, found none; install Node.js, or run {by_hand}"
        )
    with tempfile.TemporaryDirectory(prefix="vae-gen-page-") as folder:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            (Path(folder) / name).write_bytes(web.joinpath(name).read_bytes())
        done = subprocess.run(
            [npm, "ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=folder, capture_output=True, text=True, errors="replace", check=False,
            env={**os.environ, "NO_UPDATE_NOTIFIER": "1"},
        )  # fmt: skip
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("npm error")] or [done.stderr]
            reason = lines[0].removeprefix("npm error ").strip() or f"exit code {done.returncode}"
            raise UnavailableError(f"expected npm to get the page's packages, it said: {reason}; or run {by_hand}")
        yield Path(folder) / "node_modules"


def read_libraries(folder: Path) -> dict[str, bytes]:
    """The contents of the npm packages' files that the page needs.

    Raises:
        InputError: a package is missing or has another version.
    """
    from .site import LIBRARIES

    wanted = wanted_packages()
    advice = f"run `npm install {' '.join(f'{name}@{version}' for name, version in wanted.items())}` there"
    for name, version in wanted.items():
        try:
            found = json.loads((folder / name / "package.json").read_bytes())["version"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"expected the package {name} {version} in {folder}, found none; {advice}") from error
        if found != version:
            raise InputError(f"expected the package {name} {version} in {folder}, found {str(found)[:40]}; {advice}")
    try:
        return {place: (folder / name).read_bytes() for place, name in LIBRARIES.items()}
    except OSError as error:
        raise InputError(
            f"expected {error.filename}, cannot read it ({error.strerror}); {advice}"
        ) from error
