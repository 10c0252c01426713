"""`vae-gen repeat`: a picture made again, byte for byte, from the note in its PNG.

The note has the parameters of the command that made the picture. They go through the checks of that command's own
options, and the same function makes the picture.
"""

from __future__ import annotations

import importlib
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vae_gen import InputError, ModelError, UsageError
from vae_gen.internal.command import expected

from . import options
from . import output as out

if TYPE_CHECKING:
    from vae_gen import Manifest
    from vae_gen.internal.files import Json

REPEATABLE = ("sample", "traverse", "interpolate")
SOURCES = {"decode": "latents", "reconstruct": "images"}
"""Commands whose PNGs have a note without what they were made from."""

LEGACY = {"prior": "normal", "label": None, "temperature": 1.0, "detail": False}
"""What the PNGs of the first versions do not record, because there was nothing but N(0, I) and mean pictures."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LONGEST_NOTE = 1_000_000
"""Bytes: the ten thousand seeds of the largest interpolation fit."""


def repeat(
    context: typer.Context,
    picture: Annotated[str, typer.Argument(metavar="FILE", help="A PNG made by sample, traverse or interpolate.")],
    anyway: Annotated[
        bool,
        typer.Option("--anyway", rich_help_panel=options.MAKE, help="Go on even if the model is a different one."),
    ] = False,
    output: Annotated[str | None, options.output("FILE-again.png", "a picture (.png, .apng)")] = None,
    show: options.Show = False,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Make a picture again from its PNG, byte for byte.

    A PNG that sample, traverse or interpolate made from seeds contains everything that this needs, except for the
    model. The bytes are the same with the same model and the same version of vae-gen.
    """
    from vae_gen import ModelFolder, find_model

    console = out.Console(as_json, quiet)
    stem = f"{os.path.splitext(picture)[0]}-again"  # noqa: PTH122 - also for a path without a name
    target = out.parse_target(output, None, ("png", "apng"), console, stem)
    if Path(picture).exists() and Path(target.path).exists() and Path(picture).samefile(target.path):
        raise UsageError(f"expected another file than the one that is repeated, got {target.path} twice")
    note = read_note(picture)
    command = note["command"].one_of(*REPEATABLE, *SOURCES)
    if command in SOURCES:
        raise InputError(
            f"{picture}: expected a picture of seeds, got one of {command}, "
            f"whose {SOURCES[command]} a PNG does not hold; give the first command again"
        )
    for key in ("image", "source"):
        if key in note and note[key].value is not None:
            raise InputError(
                f"{picture}: expected a picture of seeds, found one made from {_line(note[key])}, "
                "which a PNG does not hold; give the first command again"
            )
    module = importlib.import_module(f".{command}", __package__)
    recorded = {name: note[name] for name in module.RECORDED if name in note or name not in LEGACY}
    values = _checked(context, command, recorded)
    manifest = ModelFolder.open(find_model(model)).manifest
    _check_model(note, values, manifest, anyway, console)
    getattr(module, command)(
        context, **values, output=target.path, show=show, model=model, threads=threads, provider=provider, quiet=True
    )
    console.message(f"{picture} again → {target.name}")
    repeated = {"command": command, **{name: note[name].value for name in module.RECORDED if name in note}}
    console.result("repeat", manifest, {"repeated": repeated, **target.facts})


def _checked(context: typer.Context, name: str, recorded: dict[str, Json]) -> dict[str, Any]:
    """The recorded parameters of the command called `name`, after the checks that its options make.

    Raises:
        InputError: a value is not one that the option takes.
    """
    root: Any = context.find_root().command
    command = root.get_command(context, name)
    nullable = ("label", "dimension", "seed") if name == "traverse" else ("label",)
    values: dict[str, Any] = dict(LEGACY)
    for param in command.params:
        node = recorded.get(param.name)
        if node is None or (node.value is None and param.name in nullable):
            continue
        if param.is_flag:
            values[param.name] = node.flag()
            continue
        items = node.value if isinstance(node.value, list) and param.multiple and node.value else [node.value]
        if param.name == "label":  # recorded as an index, which the command line does not take
            if not all(isinstance(item, int | str) for item in items):
                raise node.wrong("a text or a number")
            values["label"] = items if param.multiple else items[0]
            continue
        try:
            words = [str(item) for item in items]
            values[param.name] = param.process_value(context, words if param.multiple else words[0])
        except typer.BadParameter as error:
            raise node.wrong(expected(param.type)) from error
    return values


def _check_model(note: Json, values: dict[str, Any], manifest: Manifest, anyway: bool, console: out.Console) -> None:
    """Compares the model with the one that made the picture.

    Raises:
        ModelError: they differ, and `--anyway` was not given.
    """
    made_with, present = note["model"], out.model_facts(manifest)
    keys = ["sha256", *(["latents_sha256"] if values["prior"] == "fitted" else [])]
    keys += ["detail_sha256"] if values["detail"] else []
    differing = [key for key in keys if made_with[key].text() != present.get(key)]
    if not differing:
        return
    was = f"{_line(made_with['name'])} {_line(made_with['version'])} ({_line(made_with[differing[0]])[:12]}…)"
    now = f"{manifest.name} {manifest.version} ({present.get(differing[0], 'none')[:12]}…)"
    if not anyway:
        raise ModelError(f"{note.where}: expected the model {was}, got {now}; name it with --model, or add --anyway")
    console.message(f"{note.where} was made with {was}; this is {now}")


def _line(node: Json) -> str:
    """A text from a note as a part of one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in node.text()[:60])


def read_note(path: str) -> Json:
    """The text chunk of a PNG as JSON. The picture itself is not decoded.

    Raises:
        InputError: the file is not a readable PNG, it has no chunk of ours, or the chunk is not JSON.
    """
    from vae_gen.internal.files import Json

    return Json.parse(_find_chunk(path), path, InputError, f"its {out.NOTE} chunk was edited")


def _find_chunk(path: str) -> bytes:
    """The text of the first tEXt chunk with our keyword (PNG specification, third edition, 11.3.3.2)."""
    from vae_gen.internal.files import cannot_open

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
                keyword, _, text = content.partition(b"\0")
                if keyword == out.NOTE.encode():
                    if checksum != struct.pack(">I", zlib.crc32(kind + content)):
                        raise InputError(f"{path}: expected an intact {out.NOTE} chunk, found a wrong checksum")
                    return text
    except OSError as error:
        raise InputError(f"{path}: {cannot_open('a PNG', error)}") from error
    raise InputError(
        f"{path}: expected a PNG with a {out.NOTE} chunk, found none; "
        "only PNGs that vae-gen made, and that no other program has saved again, can be repeated"
    )
