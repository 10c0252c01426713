"""`vae-gen models`: lists the models that have a name, whether they are shipped, installed or on VAE_GEN_MODEL_PATH."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from . import options
from .output import Console, printable

PLACES = ("shipped", "installed")
"""The names of the first two folders of `model_places`; all others come from the environment variable."""


def models(as_json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False) -> None:
    """List the models that --model finds by their names.

    A model is shipped with vae-gen, installed by `vae-gen install`, or lies in a folder that the environment variable
    VAE_GEN_MODEL_PATH lists. If two have the same name, the first one is used.
    """
    from vae_gen.internal.model import DEFAULT_MODEL, installed_models, model_places

    console = Console(as_json, quiet)
    chosen = os.environ.get("VAE_GEN_MODEL") or DEFAULT_MODEL
    found: list[dict[str, Any]] = []
    for at, place in enumerate(model_places()):
        kind = PLACES[at] if at < len(PLACES) else str(place)
        for folder in _folders(place):
            taken = any(model["name"] == folder.name for model in found)
            found.append({"name": folder.name, "place": kind, "path": str(folder), **_facts(folder, taken)})
    for model in found:
        model["default"] = chosen == model["name"] and not model["hidden"]
    if as_json:
        facts = {"default": chosen, "installed": str(installed_models()), "models": found}
        print(json.dumps({"command": "models", **facts}))
        return
    width = max(len(model["name"]) for model in found)
    for model in found:
        print(printable(f"{'*' if model['default'] else ' '} {model['name']:{width}}  {_line(model)}"))
    is_named = any(model["default"] for model in found)
    console.message(
        ("* is the default" if is_named else f"the default is {chosen}, from VAE_GEN_MODEL")
        + f"; `vae-gen install` puts models into {installed_models()}"
    )


def _folders(place: Path) -> list[Path]:
    """The model folders of a place, broken ones included; other folders and hidden ones are left out."""
    try:
        entries = sorted(entry for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
    # Path.exists would fail for a folder that may not be read.
    return [entry for entry in entries if os.path.exists(entry / "manifest.json") or any(entry.glob("*.onnx"))]  # noqa: PTH110


def _facts(folder: Path, hidden: bool) -> dict[str, Any]:
    """The facts of a model from its manifest, or the reason why its folder cannot be used."""
    from vae_gen import ModelError, ModelFolder

    try:
        manifest = ModelFolder.open(folder).manifest
    except ModelError as error:
        return {"hidden": hidden, "broken": str(error)}
    return {
        "hidden": hidden, "broken": None, "version": manifest.version, "licence": manifest.licence,
        "image": list(manifest.image.shape), "latent": manifest.latent.dimensions, "classes": len(manifest.class_names),
    }  # fmt: skip


def _line(model: dict[str, Any]) -> str:
    """A model in words, without its name."""
    if model["broken"]:
        return f"{model['place']}; broken: {model['broken']}"
    channels, height, width = model["image"]
    kind = {1: " grey", 3: " colour"}.get(channels, f" {channels} channels")
    classes = {0: "no classes", 1: "1 class"}.get(model["classes"], f"{model['classes']} classes")
    note = "; hidden by the first model of this name" if model["hidden"] else ""
    return (
        f"{model['place']}; version {model['version']}, {width} × {height}{kind}, "
        f"{model['latent']} latent dimensions, {classes}, licence: {model['licence']}{note}"
    )
