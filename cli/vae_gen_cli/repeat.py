"""`vae-gen repeat`: makes a picture again, byte for byte, from the note in its PNG.

The note has the parameters of the command that made the picture. They go through the checks of that command's own
options, and the same function makes the picture.
"""

from __future__ import annotations

import importlib
import io
import os
import struct
import zlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vae_gen import InputError, UsageError
from vae_gen.internal.command import expected, standard_input

from . import options
from . import output as out

if TYPE_CHECKING:
    from vae_gen import VAE, Manifest
    from vae_gen.internal.files import Json

REPEATABLE = ("sample", "traverse", "interpolate")
SOURCES = {"decode": "latents", "reconstruct": "images"}
"""Commands that make pictures from these things. The notes of PNGs have at most a hundred latents, and no images."""

LEGACY = {"prior": "normal", "label": None, "temperature": 1.0, "detail": False}
"""The values of parameters that PNGs of the first versions do not record, because there were no others."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS = 100_000
"""The most chunks of a PNG that are looked at."""
LONGEST_NOTE = 1_000_000
"""The longest text chunk that is read, in bytes. A note is far shorter, even if it lists thousands of seeds."""


def repeat(
    context: typer.Context,
    picture: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A PNG made by sample, decode, traverse or interpolate; - is stdin."),
    ],
    anyway: options.Anyway = False,
    output: Annotated[str | None, options.output(
        "FILE without its ending, with -again.png", "a picture (.png, .apng)"
    )] = None,
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
    model. So does one that decode, or the page of `vae-gen play`, made from up to a hundred latents. The bytes are
    equal if the model, the provider, the kind of processor, and the versions of vae-gen, ONNX Runtime and Pillow are
    the same. The bytes of the page's PNGs differ, but the pictures are equal to one grey level.
    """
    from vae_gen import ModelFolder, find_model

    console = out.Console(as_json, quiet)
    name = "picture" if picture == "-" else picture
    stem = f"{os.path.splitext(name)[0]}-again"  # noqa: PTH122 - also for a path without a name
    target = out.parse_target(output, None, ("png", "apng"), console, stem)
    if os.path.exists(picture) and os.path.exists(target.path) and os.path.samefile(picture, target.path):  # noqa: PTH110, PTH121
        raise UsageError(f"expected another file than the one that is repeated, got {target.path} twice")
    note = read_note(picture)
    command = note["command"].one_of(*REPEATABLE, *SOURCES)
    if command == "decode" and "latents" in note:
        _decode_again(picture, note, target, anyway, show, console, options.load(model, threads, provider))
        return
    source = f"{SOURCES[command]}, which are" if command in SOURCES else None
    for key, verb in (("image", "is"), ("source", "are")):  # the path of an image; the word images or latents
        if source is None and key in note and note[key].value is not None:
            source = f"{out.excerpt(note[key].text())}, which {verb}"
    if source is not None:
        raise InputError(
            f"{picture}: expected a picture made from seeds, got one that {command} made from {source} not in the PNG; "
            "run the original command again"
        )
    module = importlib.import_module(f".{command}", __package__)
    legacy = {**LEGACY, **getattr(module, "LEGACY", {})}
    recorded = {name: note[name] for name in module.RECORDED if name in note or name not in legacy}
    values = {**legacy, **_checked(context, command, recorded)}
    if "around" in legacy and "around" not in note and values.get("seed") is not None:
        values["around"] = None  # earlier versions went around the prior's centre only without a seed
    manifest = ModelFolder.open(find_model(model)).manifest
    if not _check_model(note, values, manifest, anyway, console):
        _check_choice(picture, values, manifest)
    getattr(module, command)(
        context, **values, output=target.path, show=show, model=model, threads=threads, provider=provider, quiet=True
    )
    console.message(f"{picture} again → {target.name}")
    repeated = {"command": command, **{name: note[name].value for name in module.RECORDED if name in note}}
    console.result("repeat", manifest, {"repeated": repeated, **target.facts})


def _decode_again(
    picture: str, note: Json, target: out.Target, anyway: bool, show: bool, console: out.Console, vae: VAE
) -> None:
    """Makes a picture from the latents that its note contains."""
    from .decode import picture_again

    keys = ["sha256", *(["detail_sha256"] if note["detail"].flag() else [])]
    made_with = {key: note["model"][key].text() for key in ("name", "version", *keys)}
    out.check_model(note.where, made_with, vae.manifest, keys, anyway, console)
    frames, text = picture_again(vae, note)
    with target.open() as file:
        file.write(out.encoded(frames, target.format, text))
    if show:
        from .sheets import preview

        preview(frames)
    console.message(f"{picture} again → {target.name}")
    recorded = ("latents", "noise", "detail", "layout", "columns", "scale")
    repeated = {"command": "decode", **{name: note[name].value for name in recorded if name in note}}
    console.result("repeat", vae.manifest, {"repeated": repeated, **target.facts})


def _checked(context: typer.Context, name: str, recorded: dict[str, Json]) -> dict[str, Any]:
    """Checks the recorded parameters as the options of the command called `name` do, and returns their values.

    Raises:
        InputError: the option does not accept a value.
    """
    root: Any = context.find_root().command
    command = root.get_command(context, name)
    nullable = ("label", "dimension", "along", "seed", "around", "span") if name == "traverse" else ("label",)
    values: dict[str, Any] = {}
    for param in command.params:
        node = recorded.get(param.name)
        if node is None:
            continue
        if node.value is None and param.name in nullable:
            if param.name == "around":  # the picture of a seed; left out, it would be that of earlier versions
                values["around"] = None
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


def _check_model(note: Json, values: dict[str, Any], manifest: Manifest, anyway: bool, console: out.Console) -> bool:
    """Compares the graphs that the picture depends on with those of the model that made it.

    Returns:
        Whether they are equal.

    Raises:
        ModelError: one of them differs, and `--anyway` was not given.
    """
    uses_prior = values["prior"] == "fitted" or values.get("around") == "typical" or values.get("method") == "likely"
    if values.get("along"):  # their values are recorded as spacing "latent", which is the only one along directions
        values["spacing"] = None
    elif values.get("spacing") is not None and values.get("span") is None and manifest.has_fitted_prior:
        uses_prior = True  # its likely range was shown
    keys = ["sha256", *(["latents_sha256"] if uses_prior else [])]
    keys += ["detail_sha256"] if values["detail"] else []
    keys += ["directions_sha256"] if values.get("along") else []
    made_with = {key: note["model"][key].text() for key in ("name", "version", *keys)}
    return out.check_model(note.where, made_with, manifest, keys, anyway, console)


def _check_choice(picture: str, values: dict[str, Any], manifest: Manifest) -> None:
    """Checks that a different model has the prior, the classes and the detail stage that the picture was made with.

    Raises:
        UsageError: one of them is missing. The advice of the command that made the picture is left out, because it
            names options that `repeat` does not have.
    """
    from vae_gen.internal.choice import resolve_choice

    labels = values["label"] if isinstance(values["label"], list) else [values["label"]]
    try:
        for label in labels:
            resolve_choice(manifest, values["prior"], label, values["temperature"], values["detail"])
    except UsageError as error:
        reason = str(error).partition(";")[0]
        raise UsageError(f"{picture}: {reason}; name the model that made the picture with --model") from error


def read_note(path: str) -> Json:
    """The text chunk of a PNG as JSON. The picture itself is not decoded.

    Raises:
        InputError: the file is not a readable PNG, has no text chunk of vae-gen, or the chunk is not JSON.
    """
    from vae_gen.internal.files import Json

    return Json.parse(_find_chunk(path), path, InputError, f"its {out.NOTE} chunk was edited")


def _find_chunk(path: str) -> bytes:
    """The text of the first tEXt chunk with the keyword vae-gen (PNG specification, third edition, 11.3.3.2)."""
    from vae_gen.internal.fitting import MOST_PIPED_BYTES, opened

    source = io.BytesIO(standard_input().read(MOST_PIPED_BYTES)) if path == "-" else path
    try:
        with opened(source, "a PNG") as file:
            if file.read(8) != SIGNATURE:
                raise InputError("expected a PNG that vae-gen made, found another kind of file")
            for _ in range(MOST_CHUNKS):
                head = file.read(8)
                if len(head) < 8 or head[4:] == b"IEND" or not head[4:].isalpha():
                    break
                length, kind = struct.unpack(">I4s", head)
                if kind != b"tEXt" or length > LONGEST_NOTE:
                    file.seek(length + 4, os.SEEK_CUR)
                    continue
                content, checksum = file.read(length), file.read(4)
                keyword, _, text = content.partition(b"\0")
                if keyword == out.NOTE.encode():
                    if checksum != struct.pack(">I", zlib.crc32(kind + content)):
                        raise InputError(f"expected an intact {out.NOTE} chunk, found a wrong checksum")
                    return text
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    raise InputError(
        f"{path}: expected a PNG with a {out.NOTE} chunk, found none; "
        "only PNGs that vae-gen made, and that no other program has saved again, can be repeated"
    )
