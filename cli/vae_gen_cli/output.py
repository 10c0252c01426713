"""What a command writes: messages and JSON, and pictures in a file, a folder or standard output.

Commands import this module at their top, so it imports nothing heavy there.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import typer

from vae_gen import ModelError, UsageError, __version__
from vae_gen.internal.command import standard_output
from vae_gen.internal.manifest import DIRECTIONS_FILE

from .options import refuse_idle

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from vae_gen import ImageSpec, Manifest, Pictures

    Chunk = TypeVar("Chunk", bound=Pictures)

FOLDER = "folder"
SHARDS = "_manifest.json"
"""The file that each folder of shards has, and no folder of pictures."""
ARRAYS = ("npy", "npz")
GRIDS = ("png", "webp")
PICTURES = (*GRIDS, *ARRAYS, FOLDER)
"""The formats of `sample` and `decode`."""
VIDEOS = ("mp4", "webm")
SHEETS = ("png", "webp", "gif", "apng", *VIDEOS)
"""The formats of `traverse` and `interpolate`."""
STEPS, MOVING_STEPS = 11, 45
"""The steps of a sheet, and those of an animation: at 30 frames a second it takes 1.5 seconds from end to end."""
SHEET_SCALE = 3
MOVING_HEIGHT = 280
"""The pictures of an animation are at least so many pixels high together, if no scale is given."""
LEAST_MOVING_HEIGHT = 112
"""Each of the pictures is at least so high, also if they stand in several rows."""
STANDARD_OUTPUT = "-"

MAX_PICTURES = 10_000
"""The most pictures of a grid, a sheet or an animation."""
MAX_PIXELS = 250_000_000
"""The most pixels of all frames together. They take 250 MB in grey and 750 MB in colour, and few image viewers open
more."""
LONGEST_SIDE = {"webp": 16_383, "gif": 65_535}
PREVIEW = 50
"""How many pictures of an array or a folder `--show` previews."""
GAP = 2
"""Pixels between two pictures."""
NOTE = "vae-gen"
"""The keyword of the text chunk in the PNGs that vae-gen makes."""

PROGRESS_AFTER = 1.0
"""How many seconds work takes before a progress bar appears."""


# Messages and JSON.


def counted(count: int, what: str = "picture") -> str:
    """A number with its noun: `1 picture`, `2 pictures`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def printable(text: str) -> str:
    """The text with question marks in place of control characters, except for line breaks."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def model_facts(manifest: Manifest) -> dict[str, str]:
    """The name and version of a model, and the SHA-256 of each graph that a picture may depend on.

    `sha256` is that of `decoder.onnx` and counts for every picture. `latents_sha256` counts for pictures of the fitted
    prior, `detail_sha256` for pictures that the detail stage made, and `directions_sha256` for traversals along
    directions.
    """
    facts = {"name": manifest.name, "version": manifest.version, "sha256": manifest.fingerprint}
    if manifest.has_fitted_prior:
        facts["latents_sha256"] = manifest.graphs["latents"].sha256
    if manifest.detail is not None:
        facts["detail_sha256"] = manifest.graphs["detail"].sha256
    if DIRECTIONS_FILE in manifest.other_files:
        facts["directions_sha256"] = manifest.other_files[DIRECTIONS_FILE][0]
    return facts


def check_model(
    where: str,
    made_with: Mapping[str, str],
    manifest: Manifest,
    keys: Sequence[str],
    anyway: bool,
    console: Console,
) -> bool:
    """Compares the graphs that a file depends on with those of the model that made it.

    Args:
        where: the name of the file.
        made_with: the facts in the file about its model: `model_facts`, or a part of them.
        manifest: the model that this command uses.
        keys: the names of the hashes that must be equal.
        anyway: print a difference, instead of raising an error.
        console: where it is printed.

    Returns:
        Whether the hashes are equal.

    Raises:
        ModelError: a hash differs, and `anyway` is false.
    """
    present = model_facts(manifest)
    differing = [key for key in keys if made_with.get(key) != present.get(key)]
    if not differing:
        return True
    key = differing[0]
    file = DIRECTIONS_FILE if key == "directions_sha256" else key.replace("_sha256", ".onnx")
    found = f"SHA-256 {present[key][:12]}…" if key in present else f"no {file}"
    name, version, sha256 = (excerpt(made_with.get(one, "?")) for one in ("name", "version", key))
    was = f"{name} {version} (SHA-256 {sha256[:12]}…)"
    now = f"{manifest.name} {manifest.version} ({found})"
    if not anyway:
        raise ModelError(
            f"{where}: expected the model that made this file, {was}, got {now}; "
            "give its folder with --model, or add --anyway to use this model"
        )
    console.message(f"{where} was made with {was}; this command uses {now}")
    return False


def excerpt(text: str) -> str:
    """The first 60 characters of a text in a file, for a message of one line; unprintable characters become `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:60])


@dataclass(frozen=True)
class Console:
    """Prints messages and results of a command, as its options --json and --quiet ask."""

    as_json: bool
    quiet: bool

    def message(self, line: str) -> None:
        """Prints a line for people on standard error, unless --quiet was given."""
        if not self.quiet:
            print(printable(line), file=sys.stderr, flush=True)

    def result(self, command: str, manifest: Manifest, facts: Mapping[str, Any]) -> None:
        """Prints the result as one JSON object on standard output, if --json was given."""
        if self.as_json:
            both = {"model": model_facts(manifest), "vae_gen": __version__}
            print(json.dumps({"command": command, **facts, **both}))

    def watched(self, chunks: Iterable[Chunk], total: int, done: int = 0) -> Iterator[Chunk]:
        """Yields the chunks, and shows a progress bar on the terminal once the work has taken a second.

        Args:
            chunks: pictures that are made while they are read.
            total: the number of pictures in all chunks, and those that an earlier command has made.
            done: the number of those.
        """
        with self.progress(total, done) as advance:
            for chunk in chunks:
                yield chunk
                advance(len(chunk))

    @contextmanager
    def progress(self, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """Shows a progress bar on the terminal once the work has taken a second.

        Args:
            total: the number of pictures in all, and those that an earlier command has made.
            done: the number of those.

        Yields:
            a function to call with the number of pictures whenever some are done.
        """
        visible = not self.quiet and sys.stderr.isatty()
        bar: Any = None
        began = time.monotonic()

        def advance(count: int) -> None:
            nonlocal bar, done
            done += count
            if bar is None and visible and time.monotonic() - began > PROGRESS_AFTER:
                bar = _progress_bar(total)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)

        try:
            yield advance
        finally:
            if bar is not None:
                bar.stop()


def _progress_bar(total: int) -> Any:
    from rich.console import Console as RichConsole  # takes 0.1 s to import, which is little for long work
    from rich.progress import Progress

    bar = Progress(console=RichConsole(stderr=True), transient=True)
    bar.add_task("pictures", total=total)
    bar.start()
    return bar


# Where pictures go.


@dataclass(frozen=True)
class Target:
    """A place and a format for pictures; `parse_target` has checked that they fit each other."""

    path: str
    """as it was given; `-` is standard output"""
    format: str
    """png, webp, gif, apng, npy, npz, json or folder"""

    @property
    def name(self) -> str:
        """The place in words."""
        return "standard output" if self.path == STANDARD_OUTPUT else self.path

    @property
    def is_stream(self) -> bool:
        """Whether the output is standard output, a device or a pipe, of which nothing can be taken back."""
        from vae_gen.internal.files import is_stream

        return self.path == STANDARD_OUTPUT or is_stream(self.path)

    @property
    def is_alone(self) -> bool:
        """Whether the output is a file in a folder that is read-only, so that there can't be another one beside it."""
        path = Path(os.path.realpath(self.path))
        return path.is_file() and not os.access(path.parent, os.W_OK)

    @property
    def facts(self) -> dict[str, Any]:
        """What `--json` prints about the output."""
        return {"output": self.path, "format": self.format}

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Opens the output for writing.

        A file takes the place of an old one when the block succeeds. When the block fails, the new file is deleted
        and the old one stays as it was. Standard output, devices and pipes are written to directly.
        """
        if self.path == STANDARD_OUTPUT:
            file = standard_output()
            yield file
            file.flush()
        else:
            from vae_gen.internal.files import replacing

            with replacing(self.path) as file:
                yield file


def parse_target(
    output: str | None, chosen: str | None, formats: Sequence[str], console: Console, default_stem: str,
    shards: bool = False,
) -> Target:  # fmt: skip
    """Decides where pictures go, and in which format, from the options -o and --format.

    Args:
        output: the value of -o: a path, `-` for standard output, or None for a new file called `default_stem`.
        chosen: the value of --format, or None.
        formats: the formats that the command can write, its default first.
        console: the command's console, which prints JSON on standard output if --json was given.
        default_stem: the path of the new file without its ending; a number is added if that name is taken.
        shards: whether the command also fills folders of shards, which an error then names.

    Raises:
        UsageError: the ending is not one of the formats, --format contradicts it, or standard output is a terminal or
            is also needed for JSON.
    """
    if output is None:
        return Target(_unused(default_stem, chosen or formats[0]), chosen or formats[0])
    if output in (STANDARD_OUTPUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        target = Target(STANDARD_OUTPUT, chosen or formats[0])
        if console.as_json:
            raise UsageError("expected standard output for one thing, got -o - and --json; name a file with -o")
        if target.format != "json" and sys.stdout.isatty():
            raise UsageError(f"expected a file or a pipe for {target.format} data, got a terminal; name a file with -o")
        return target
    found = _by_ending(output)
    if chosen is not None and found in formats and found != chosen:
        raise UsageError(f"expected one format, got {output} and --format {chosen}; leave one out")
    if found == FOLDER and os.path.exists(os.path.join(output, SHARDS)):  # noqa: PTH110, PTH118
        raise UsageError(f"expected a folder of pictures, got {output}, which has shards; name another folder")
    if found in formats or (chosen is not None and found != FOLDER):
        return Target(output, chosen or found)
    known = ", ".join(f".{name}" for name in formats if name != FOLDER)
    folder = ", or in / for a folder of pictures" if FOLDER in formats else ""
    sharded = ", or add --format parquet for a folder of shards" if shards else ""
    raise UsageError(
        f"expected an output that ends in {known}{folder}, got {output!r}; give it one of these endings{sharded}"
    )


def _unused(stem: str, ending: str) -> str:
    """A file name that is not taken yet: stem.ending, else stem-2.ending, stem-3.ending, …"""
    names = (f"{stem}{f'-{number}' if number > 1 else ''}.{ending}" for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def _by_ending(output: str) -> str:
    if output.endswith(("/", os.sep, os.altsep or "/")):
        return FOLDER
    ending = Path(output).suffix.lower().removeprefix(".")
    return "" if ending == FOLDER else ending  # "folder" is our own word, and not an ending


def refuse_idle_picture_options(context: typer.Context, target: Target) -> None:
    """Refuses options of `sample` and `decode` that have no effect on this target.

    Raises:
        UsageError: such an option was given.
    """
    if target.format not in GRIDS:
        refuse_idle(context, "--columns", "grids (.png, .webp)")
    if target.format in GRIDS or target.is_stream:
        refuse_idle(context, "--resume", "arrays and folders on disk (.npy, .npz, /)")
    if target.format in ARRAYS:
        refuse_idle(context, "--scale", "pictures, not to arrays (.npy, .npz)")
    else:
        refuse_idle(context, "--dtype", "arrays (.npy, .npz)")


def is_animation(context: typer.Context, target: Target, animate: bool) -> bool:
    """Whether to write an animation: always to .gif and .apng, otherwise if --animate was given.

    Raises:
        UsageError: --fps was given for a still picture.
    """
    moves = animate or target.format in ("gif", "apng", *VIDEOS)
    if not moves:
        for option in ("--fps", "--values"):
            refuse_idle(context, option, "animations (.gif, .apng, .mp4, .webm, or --animate)")
    if target.format in VIDEOS:
        from .video import check_encoder

        check_encoder(target.format)
    return moves


def moving_scale(image: ImageSpec, rows: int) -> int:
    """By how much an animation enlarges pictures that stand in so many rows, so that it is large enough to show."""
    return min(64, max(-(-LEAST_MOVING_HEIGHT // image.height), -(-MOVING_HEIGHT // (image.height * rows))))


# Pictures as bytes.


@dataclass(frozen=True)
class Frames:
    """One picture, or the frames of an animation."""

    images: tuple[Image.Image, ...]
    duration_ms: int = 0
    """how long each frame of an animation stays"""

    @classmethod
    def still(cls, pixels: NDArray[np.uint8] | Image.Image) -> Frames:
        """One picture, from uint8 [height, width] or [height, width, 3]."""
        from PIL import Image

        return cls((Image.fromarray(pixels) if hasattr(pixels, "shape") else pixels,))

    @classmethod
    def there_and_back(cls, images: Sequence[Image.Image], fps: int) -> Frames:
        """All frames, and then all but the two ends backwards, so that the repeated animation has no jump."""
        return cls((*images, *images[-2:0:-1]), round(1000 / fps))


def check_size(pictures: int, image: ImageSpec, scale: int, columns: int = 0, format_name: str = "png") -> None:
    """Refuses a grid, a sheet or an animation that would be too large, before anything is computed.

    Args:
        pictures: the number of pictures in all frames together.
        image: the size of one picture.
        scale: each pixel of a picture becomes scale × scale pixels.
        columns: pictures in a row of the grid; 0 for a sheet or an animation, which has no folder or array instead.
        format_name: the format, which may limit the sides of a grid.

    Raises:
        UsageError: it would be too large.
    """
    if pictures > MAX_PICTURES:
        elsewhere = "write them to a folder (-o pictures/) or an array (-o pictures.npy), or " if columns else ""
        raise UsageError(
            f"expected at most {MAX_PICTURES} pictures in one image, got {pictures}; {elsewhere}make fewer pictures"
        )
    width, height = image.width * scale + GAP, image.height * scale + GAP
    if pictures * width * height > MAX_PIXELS:
        found = -(-pictures * width * height // 10**6)  # rounded up, so that it is never the limit itself
        raise UsageError(
            f"expected at most {MAX_PIXELS // 10**6} megapixels in all frames together, "
            f"got {found} (rounded up); choose a smaller --scale or make fewer pictures"
        )
    if columns:
        across = min(columns, pictures)
        _check_sides(across * width + GAP, -(-pictures // across) * height + GAP, format_name)


def _check_sides(width: int, height: int, format_name: str) -> None:
    longest = LONGEST_SIDE.get(format_name)
    if longest is not None and max(width, height) > longest:
        raise UsageError(
            f"expected sides of at most {longest} pixels in a .{format_name}, got {width} × {height}; "
            "write a .png, or choose a smaller --scale"
        )


def make_note(command: str, choices: Mapping[str, Any], manifest: Manifest) -> str:
    """The text chunk of a PNG, as JSON in ASCII: the command, its parameters, the model and the version of vae-gen.

    A picture that was made from seeds can be repeated from it. `choices` are the parameters by their names.
    """
    note = {"command": command, **choices, "model": model_facts(manifest), "vae_gen": __version__}
    return json.dumps(note, separators=(",", ":"))


def encoded(frames: Frames, format_name: str, note: str) -> bytes:
    """The content of an image file. With one version of Pillow, equal frames and notes give equal bytes.

    Args:
        frames: a still picture or an animation; .gif and .apng are always animations.
        format_name: png, apng, webp, gif, mp4 or webm.
        note: the text chunk from `make_note`, for png and apng; the other formats have none.

    Raises:
        UsageError: a side is longer than the format allows.
        UnavailableError: the encoder of videos is not installed.
    """
    if format_name in VIDEOS:
        from .video import encoded_video

        return encoded_video(frames, format_name)
    first, rest = frames.images[0], frames.images[1:]
    _check_sides(*first.size, format_name)
    options: dict[str, Any] = {}
    if frames.duration_ms:
        options = {"save_all": True, "append_images": rest, "duration": frames.duration_ms, "loop": 0}
    if format_name in ("png", "apng"):
        from PIL.PngImagePlugin import PngInfo

        chunk = PngInfo()
        chunk.add_text(NOTE, note)
        options |= {"pnginfo": chunk, "compress_level": 6}
    elif format_name == "webp":
        options |= {"lossless": True, "method": 4}
    buffer = io.BytesIO()
    buffer.name = f"x.{format_name}"  # for a name Pillow imports one format, and for a format five
    first.save(buffer, **options)
    return buffer.getvalue()


@dataclass(frozen=True)
class Bulk:
    """Any number of pictures, which are written to an array or a folder while they are made."""

    make: Callable[[int], Iterator[Pictures]]
    """makes the pictures from this one on, counted from 0; grey levels for a folder"""
    count: int
    start: int
    """the index of the first picture, which names the files of a folder"""
    manifest: Manifest
    """the model that makes the pictures, which an .npz file records"""
    facts: Mapping[str, NDArray[Any]]
    """the arrays of an .npz file that belong to all pictures"""
    record: Mapping[str, object]
    """the options that the bytes of the output depend on"""


def write_bulk(
    target: Target, bulk: Bulk, dtype: str, scale: int, note: Callable[[int], str], console: Console, *,
    resume: bool, show: bool,
) -> int:  # fmt: skip
    """Writes pictures to a .npy, a .npz or a folder, and returns how many an interrupted command had made.

    Args:
        target: where to.
        bulk: the pictures.
        dtype: the dtype of an array: uint8 or float32.
        scale: in a folder, each pixel becomes scale × scale pixels.
        note: returns the text chunk for the PNG of the picture with this index.
        console: prints how many pictures are kept.
        resume: continue what an interrupted command has left.
        show: also preview the first fifty pictures that are made now in the terminal.
    """
    from vae_gen import Pictures
    from vae_gen.internal.saving import Part, to_image, write_npy, write_npz
    from vae_gen.internal.unfinished import unfinished

    first: list[Pictures] = []

    def made(kept: int) -> Iterator[Pictures]:
        if resume:
            found = f"kept {counted(kept)} of" if kept else "found nothing to continue from"
            console.message(f"{found} an interrupted command; {counted(bulk.count - kept)} to make")
        for chunk in bulk.make(kept) if kept < bulk.count else ():
            if not first:
                first.append(Pictures(chunk.images[:PREVIEW], chunk.latents[:PREVIEW]))
            yield chunk

    def parts(kept: int) -> Iterator[Part]:
        return (Part(chunk.images, chunk._rows() if target.format == "npz" else {}) for chunk in made(kept))

    def files(kept: int) -> Iterator[Iterator[bytes]]:
        index = itertools.count(bulk.start + kept)
        for chunk in made(kept):
            yield (encoded(Frames.still(to_image(one, scale)), "png", note(next(index))) for one in chunk.images)

    def write_array(file: BinaryIO, parts: Iterable[Part], near: Path | None) -> None:
        if target.format == "npy":
            write_npy(file, parts, bulk.count)
        else:
            write_npz(file, parts, bulk.facts, bulk.count, near, bulk.manifest)

    is_folder = target.format == FOLDER
    kept = 0
    if target.is_stream or target.is_alone:
        with target.open() as file:
            write_array(file, parts(0), None)
    else:
        record = _record(target, bulk, scale if is_folder else dtype)
        with unfinished(target.path, record, is_folder=is_folder, resume=resume) as work:
            if is_folder:
                work.write_files(bulk.start, bulk.start + bulk.count - 1, files)
            else:
                with work.open() as file:
                    image = bulk.manifest.image
                    shape = (image.channels, image.height, image.width)
                    write_array(file, work.parts(shape, dtype, file, parts), work.folder)
            kept = work.kept
    if show and first:
        from .sheets import preview

        preview(Frames.still(first[0].grid(10)))
    return kept


def _record(target: Target, bulk: Bulk, how: int | str) -> dict[str, str]:
    """The options, model and versions that the bytes of a bulk output depend on; only equal ones continue it."""
    import hashlib

    import onnxruntime

    graphs = hashlib.sha256("".join(graph.sha256 for graph in bulk.manifest.graphs.values()).encode())
    record = {
        "output": Path(os.path.realpath(target.path)).name, "format": target.format, **bulk.record,
        "scale" if target.format == FOLDER else "dtype": how, "start": bulk.start, "count": bulk.count,
        "model": f"{bulk.manifest.name} {bulk.manifest.version} ({graphs.hexdigest()[:12]})",
        "vae-gen": __version__, "ONNX Runtime": onnxruntime.__version__,
    }  # fmt: skip
    return {key: str(value) for key, value in record.items()}
