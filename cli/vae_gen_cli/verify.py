"""`vae-gen verify`: a check of the model on this machine, first of its files and then of its results; or of a folder
that `sample` or `encode` has filled with shards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae_gen import InputError, ModelError, UnavailableError, UsageError

from . import options
from .output import Console, counted, excerpt, printable

if TYPE_CHECKING:
    from vae_gen import VAE
    from vae_gen._verify import Check

    from .bulk.place import Place


def verify(
    folder: Annotated[
        str | None, typer.Argument(metavar="[DIR]", help="A folder of shards, or a model folder.", show_default=False)
    ] = None,
    model: options.Model = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Check the model, or a folder of shards, on this machine.

    The SHA-256 of each file must be the one in the manifest, and the graphs must give the values of the golden vectors.

    Of a folder of shards, which sample or encode has filled (--format parquet, webdataset, folder-by-class), the
    size and the SHA-256 of each shard must be those in the JSON file beside it, nothing may be missing or left over,
    and some pictures are made again.
    """
    console = Console(as_json, quiet)
    if folder is None:
        _verify_model(model, provider, console)
        return
    from .bulk.place import open_place
    from .bulk.plan import MANIFEST

    if "://" not in folder and not Path(folder).is_dir():
        found = "a file" if Path(folder).exists() else "none of that name; check it"
        raise InputError(f"{folder}: expected a folder of shards or a model folder, found {found}")
    place = open_place(folder)
    if MANIFEST in place.sizes():
        _verify_shards(place, model, provider, console)
    elif Path(folder, "manifest.json").exists():
        if model is not None:
            raise UsageError(f"expected one model, got {folder} and --model {model}; leave one out")
        _verify_model(folder, provider, console)
    else:
        raise InputError(
            f"{folder}: expected a folder of shards or a model folder, found neither {MANIFEST} nor manifest.json in it"
        )


def _verify_model(model: str | None, provider: str, console: Console) -> None:
    from vae_gen import find_model
    from vae_gen import verify as run_checks

    folder = find_model(model)
    options.import_onnxruntime()
    checks = run_checks(folder, provider=provider)
    failed = _print(checks, console)
    if failed and provider != "cpu" and all(check.passed for check in checks if check.name.startswith("sha256")):
        raise UnavailableError(
            f"expected every check to pass, {failed} of {len(checks)} did not with the execution provider {provider}; "
            "the files are those of the manifest, so leave --provider out"
        )
    if failed:
        raise ModelError(
            f"{folder}: expected every check to pass, {failed} of {len(checks)} did not; "
            "copy or export the model folder again"
        )
    console.message(f"{counted(len(checks), 'check')} passed")


def _verify_shards(place: Place, model: str | None, provider: str, console: Console) -> None:
    from .bulk.check import failure, verify_folder
    from .bulk.run import read_plan

    with console.progress(read_plan(place).count) as advance:
        checks = verify_folder(place, lambda name: _load(place, model, name, provider), advance)
    failed = _print(checks, console)
    if failed:
        raise failure(place, failed, checks)
    console.message(f"{counted(len(checks), 'check')} passed")


def _load(place: Place, model: str | None, name: str, provider: str) -> VAE:
    """The model of --model, or the one of this name. A stranger's folder must not make this download one from the Hub.

    Raises:
        ModelError: there is no such model.
    """
    if model is not None:
        return options.load(model, None, provider)
    from .bulk.plan import MANIFEST

    source = f"{place.name.rstrip('/')}/{MANIFEST}: the pictures were made by the model {excerpt(name)}"
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ModelError(f"{source}, which is no name; give its folder with --model")
    try:
        return options.load(name, None, provider)
    except ModelError as error:
        raise ModelError(f"{source}, which cannot be opened; give its folder with --model ({error})") from error


def _print(checks: Sequence[Check], console: Console) -> int:
    """Prints the checks on standard output, and returns how many did not pass."""
    failed = sum(not check.passed for check in checks)
    if console.as_json:
        print(json.dumps({"command": "verify", "passed": not failed, "checks": [asdict(check) for check in checks]}))
        return failed
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = "✓" if check.passed else "✗"
        print(printable(f"{mark} {check.name:{width}}  {check.detail}"), flush=True)
    return failed
