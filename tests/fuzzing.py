"""Odd arguments, odd options and damaged files. Each must give a result, or one short error of this project.

`tests/test_fuzz.py` tries some thousands of them. As a program this file goes on for as long as it is told, each round
in a process of its own, and prints what happened:

    python tests/fuzzing.py --minutes 60 --seed 1 --out fuzzing.json
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import datetime
import faulthandler
import functools
import hashlib
import importlib
import io
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import vae_gen
from cli_runner import Command, call
from tiny_model import write_tiny_model
from vae_gen import VAE, DetailSpec, FittedPrior, Manifest, ModelFolder, Pictures, UsageError, VaeGenError
from vae_gen.internal.array_files import NPY
from vae_gen.internal.manifest import DIRECTIONS_FILE

CASES: Counter[str] = Counter()
"""How many cases of each kind were tried in this process."""

LONGEST_ERROR = 600
HANGS_S = 300
"""A case that takes longer hangs. On a quiet machine hardly any takes a second."""


@dataclass
class World:
    """The files and objects that all cases use. They lie in a temporary folder, which is the working directory."""

    place: Path
    model: Path
    vae: VAE
    files: dict[str, bytes]


@functools.cache
def world() -> World:
    """Makes the folder when the first case needs it."""
    place = Path(tempfile.mkdtemp(prefix="fuzzing."))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    model = write_tiny_model(
        place / "model", detail=DetailSpec(5, 4.0, True), default_prior="fitted", with_directions=True
    )
    (place / "work").mkdir()
    os.chdir(place / "work")
    os.environ["XDG_DATA_HOME"] = str(place / "data")
    vae = VAE(model)
    picture = Image.fromarray(np.kron(np.eye(8, dtype=np.uint8) * 200 + 20, np.ones((5, 5), np.uint8)))
    pillow = {
        "p.png": picture, "q.png": picture.convert("P"), "r.png": picture.convert("LA"), "s.jpg": picture,
        "w.png": Image.fromarray(np.asarray(picture).astype(np.uint16) * 200), "t.tif": picture.convert("F"),
        "u.webp": picture, "v.gif": picture, "x.bmp": picture, "y.ico": picture, "z.ppm": picture, "a.tga": picture,
        "b.pcx": picture, "c.jp2": picture, "d.avif": picture, "e.tif": picture.convert("CMYK"),
    }  # fmt: skip
    for name, image in pillow.items():
        image.save(name)
    picture.save("pages.tif", save_all=True, append_images=[picture, picture])
    picture.save("frames.webp", save_all=True, append_images=[picture.transpose(Image.Transpose.ROTATE_90)])
    np.save("images.npy", vae.sample(2, seed=1).images)
    vae.sample(3, seed=1).save("samples.npz")
    np.save("latents.npy", vae.sample(2, seed=1).latents)
    command = Command(model)
    command.succeed("sample", "-n", "2", "--seed", "1", "-o", "note.png")
    command.succeed("encode", "p.png", "q.png", "-o", "latents.npz")
    command.succeed("encode", "p.png", "-o", "latents.json")
    files = {path.name: path.read_bytes() for path in (*model.iterdir(), *Path().iterdir()) if path.is_file()}
    return World(place, model, vae, files)


def check(call: Callable[[], object], kind: str) -> None:
    """Makes one call, which may fail with a short error of this project alone, and print no warning."""
    CASES[kind] += 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            call()
        except VaeGenError as error:
            text = str(error)
            assert text, "an error without a message"
            assert text.isprintable(), f"an error that is not one plain line: {text!r}"
            assert len(text) <= LONGEST_ERROR, f"an error of {len(text)} letters"


# Odd arguments of the library.


class Broken:
    """An object that fails whatever is asked of it, as foreign types may."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def fail(self, *_: object, **__: object) -> Any:
        raise self.error

    __array__ = __index__ = __float__ = __int__ = __fspath__ = __iter__ = __len__ = __repr__ = __eq__ = fail
    __hash__ = object.__hash__


class Wordy:
    """An object whose description is long and has control characters."""

    def __repr__(self) -> str:
        return "\x1b[31mx\n" * 5000


class BytesPath:
    """A path in bytes, which the os module takes."""

    def __fspath__(self) -> bytes:
        return b"none.png"


def inside_itself() -> list[Any]:
    """A list that is its own item."""
    found: list[Any] = []
    found.append(found)
    return found


ODD: list[Callable[[], Any]] = [
    *(functools.partial(lambda value: value, value) for value in (
        None, True, False, -1, 0, 1, 2, 3, 7, 12, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 10**400, -(10**5000),
        0.0, 0.5, -0.0, 1.5, 2.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf"), 1j, Decimal("0.5"),
        Decimal("NaN"), Fraction(1, 2), Ellipsis, NotImplemented, "", " ", "a", "z5", "1,2", "all", "blob", "blobs",
        "normal", "fitted", "uint8", "float32", "linear", "slerp", "auto", "yes", "no", "decoder", "encoder", "a\0b",
        "\ud800", "a\nb\x1b[2J\u202e", "x" * 5000, "-", "none.png", "p.png", "pages.tif", "images.npy", "samples.npz",
        "latents.npz", "latents.json", "model", ".", "/", "~", "~nobody", "/dev/null", "out.png", "out.npz", "out/",
        "none/out.png", "{}", "[]", '{"schema_version": 1}', "0" * 64, b"x", b"p.png", bytearray(b"x"), b"\xff" * 9,
        datetime.date(2020, 1, 1), int, len, range(3), slice(1, 2), (), (1, 2), (1, "a", None), frozenset({1}),
    )),
    *(functools.partial(kind, 3) for kind in (np.int8, np.uint8, np.int16, np.uint64, np.float16, np.float64,
                                              np.longdouble, np.bool_, np.str_, np.complex64)),
    lambda: np.uint64(2**64 - 1), lambda: np.float64("nan"), lambda: np.float32("inf"), lambda: np.datetime64("2020"),
    lambda: np.str_("blob"), list, dict, set, lambda: [1, 2], lambda: [0.5] * 12, lambda: [[0.5] * 12] * 2,
    lambda: [[1], [1, 2]], lambda: ["p.png", "none.png"], lambda: ["p.png", None, 3],
    lambda: [None, np.zeros((28, 28))], inside_itself, lambda: iter([1, 2]), lambda: (value for value in [1]),
    lambda: {"images": 1}, object,
    lambda: Path("p.png"), lambda: Path("none.png"), BytesPath, io.BytesIO, lambda: io.BytesIO(b"\x89PNG\r\n\x1a\n"),
    lambda: io.BytesIO(NPY), io.StringIO, lambda: memoryview(b"x" * 12), Wordy, lambda: [Wordy()] * 3,
    *(functools.partial(Broken, error) for error in (TypeError("x"), ValueError("x\ny"), RuntimeError("x" * 5000),
                                                     OverflowError(), KeyError(3), OSError(5, "x"), AttributeError())),
    *(functools.partial(lambda shape, dtype: np.zeros(shape, dtype), shape, dtype) for shape, dtype in (
        ((), "f4"), ((0,), "f4"), ((12,), "f4"), ((3, 12), "f8"), ((0, 12), "f4"), ((28, 28), "u1"), ((28, 28), "f2"),
        ((28, 28), "i8"), ((28, 28), "?"), ((28, 28), "c8"), ((28, 28), "O"), ((28, 28), "U1"), ((28, 28), "S1"),
        ((28, 28), "M8[s]"), ((28, 28), "i4,f4"), ((1, 1, 28, 28), "f4"), ((2, 1, 28, 28), "u1"), ((28, 28, 1), "u1"),
        ((5, 3, 9, 7), "u1"), ((1, 3, 28, 28), "f4"), ((0, 1, 28, 28), "u1"), ((1, 1, 0, 5), "u1"), ((5,), "f4"),
        ((2, 5), "f4"), ((3,), "i8"), ((2, 2, 2, 1, 28, 28), "f4"), ((1,) * 30, "f4"), ((28, 28), "g"),
        ((28, 28), ">f4"),
    )),
    *(functools.partial(np.full, shape, value) for shape in ((28, 28), (1, 1, 28, 28), 12, (2, 12), 5) for value in
      (np.nan, np.inf, -1e-9, 1 + 1e-7, 1.01, -0.05, 255.0, 1e6, 1e30, 1e300, -3)),
    lambda: np.ma.masked_array(np.zeros((28, 28)), mask=True), lambda: np.ma.masked_array([0.5] * 12, [True] * 12),
    lambda: np.matrix(np.zeros((28, 28))), lambda: np.zeros((56, 56))[::2, ::2], lambda: np.zeros((28, 28)).T[::-1],
    lambda: np.broadcast_to(np.float32(0.5), (2, 1, 28, 28)), lambda: np.array([None] * 12),
    lambda: np.array(["x"] * 12),
    *(functools.partial(Image.new, mode, size) for size in ((28, 28), (1, 1), (0, 0), (3, 90))
      for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I", "F", "LAB", "I;16")),
    lambda: world().vae.sample(2, seed=1), lambda: world().vae.sample(2, seed=1)[0], lambda: world().vae,
    lambda: world().vae.sample(2, seed=1)[:0], lambda: world().vae.traverse(0, steps=2), lambda: world().vae.manifest,
    lambda: world().vae.encode(np.zeros((28, 28))), lambda: world().vae.fitted_prior(),
    lambda: world().vae.sample(1).choice, lambda: world().vae.manifest.image,
]  # fmt: skip
"""Makers of values that an argument may have by mistake. None of them makes a call take long if it is accepted."""


def first(chunks: Any) -> Any:
    """The first chunk of a stream, which may be endless."""
    return next(iter(chunks))


def saved(pictures: Pictures, path: Any, **options: Any) -> None:
    """Saves pictures unless the path leads out of the working directory."""
    if not isinstance(path, str) or not path.startswith(("/", "~", ".")):
        pictures.save(path, **options)


GOOD: dict[str, list[Any]] = {
    "seed": [0, 7, None], "n": [1, 3, 70], "start": [0, 40], "prior": ["normal", "fitted"], "label": ["blob", 1, None],
    "temperature": [1.0, 0.5], "detail": [True, False, None], "chunk": [32], "dtype": ["uint8"], "count": [1, 3],
    "images": ["p.png"], "latents": [np.zeros((2, 12))], "noise": [np.zeros(5), None], "steps": [2, 5],
    "span": [2.5, None], "dimensions": ["z5", None], "around": [np.zeros(12), "typical", "centre", None],
    "a": [np.zeros(12)], "b": [np.ones(12)], "method": ["slerp", "likely"],
    "spacing": ["seen", "latent", None], "fade": [True, False], "index": [-1, 1],
    "invert": ["auto"], "trim": [True], "columns": [3, None], "scale": [2, None], "path": ["out.png", "out.npz"],
    "blocks": [2], "stream": [1], "width": [5], "gap": [1], "background": [9],
    "grid_images": [np.zeros((2, 1, 4, 4), "u1")],
    "values": [np.linspace(0, 1, 9)], "model": [None], "threads": [1, 2, None], "provider": ["cpu"],
    "name": ["decoder"], "direction": ["shade", "SIZE"], "position": [1, np.array([0.5, 1.0])],
    "labels": [1, [0, 1, 1], None], "text": ["{}"], "manifest": [True, "../model/manifest.json"], "session": [None],
    "picture_latents": [np.zeros((2, 12))], "picture_images": [np.zeros((2, 1, 28, 28))], "sha256": ["0" * 64],
    "file": ["golden.json"],
}  # fmt: skip
"""Values that are right, by the names of arguments. A case mixes them with odd ones."""

CALLS: dict[str, tuple[Callable[..., object], tuple[str, ...]]] = {
    "VAE": (lambda model, **o: VAE(model, **o).open("decoder"), ("model", "threads", "provider")),
    "VAE.from_sessions": (lambda manifest, threads, session: VAE.from_sessions(
        Manifest.parse(world().files["manifest.json"]) if manifest is True else manifest, decoder=session,
        threads=threads
    ).decode(np.zeros(12)), ("manifest", "threads", "session")),
    "sample": (lambda **o: world().vae.sample(**o),
               ("n", "seed", "start", "prior", "label", "temperature", "detail")),
    "stream": (lambda **o: first(world().vae.stream(**o)),
               ("n", "seed", "start", "chunk", "dtype", "prior", "label", "temperature", "detail")),
    "decode": (lambda **o: world().vae.decode(**o), ("latents", "noise", "detail")),
    "detail_noise": (lambda **o: world().vae.detail_noise(**o), ("n", "seed", "start", "labels")),
    "encode": (lambda **o: world().vae.encode(**o), ("images", "invert", "trim")),
    "reconstruct": (lambda **o: world().vae.reconstruct(**o), ("images", "noise", "detail", "invert", "trim")),
    "losses": (lambda **o: world().vae.losses(**o), ("images", "invert", "trim")),
    "traverse": (lambda **o: world().vae.traverse(**o),
                 ("dimensions", "around", "span", "steps", "spacing", "noise", "detail", "fade")),
    "interpolate": (lambda **o: world().vae.interpolate(**o), ("a", "b", "steps", "method", "noise", "detail", "fade")),
    "log_density": (lambda latents, index: world().vae.fitted_prior().log_density(latents, index),
                    ("latents", "index")),
    "medoid": (lambda index: world().vae.fitted_prior().medoid(index), ("index",)),
    "open": (lambda name: world().vae.open(name), ("name",)),
    "attributes": (lambda **o: world().vae.attributes(**o), ("latents", "label")),
    "move": (lambda direction, **o: world().vae.move(name=direction, **o),
             ("latents", "direction", "position", "label")),
    "Pictures": (lambda picture_images, picture_latents, columns, scale: (
        lambda pictures: (repr(pictures), pictures.grid(columns, 1 if scale is None else scale), pictures.to_pil()))(
            Pictures(picture_images, picture_latents)), ("picture_images", "picture_latents", "columns", "scale")),
    "Samples.save": (lambda path, **o: saved(world().vae.sample(2, seed=1), path, **o), ("path", "columns", "scale")),
    "Samples.grid": (lambda **o: world().vae.sample(2, seed=1).grid(**o), ("columns", "scale")),
    "find_model": (lambda model: vae_gen.find_model(model), ("model",)),
    "verify": (lambda model, provider: vae_gen.verify("model" if model is None else model, provider=provider),
               ("model", "provider")),
    "standard_normals": (lambda width, **o: vae_gen.standard_normals(dimensions=width, **o),
                         ("seed", "start", "count", "width", "stream")),
    "random_words": (vae_gen.random_words, ("seed", "start", "count", "blocks", "stream")),
    "picture_grid": (lambda grid_images, **o: vae_gen.picture_grid(grid_images, **o),
                     ("grid_images", "columns", "scale", "gap", "background")),
    "to_grey_levels": (lambda values: vae_gen.to_grey_levels(values), ("values",)),
    "Manifest.parse": (lambda text: Manifest.parse(text), ("text",)),
    "ModelFolder.open": (lambda model: ModelFolder.open("." if model is None else model), ("model",)),
    "ModelFolder.read_graph": (lambda name: ModelFolder.open(world().model).read_graph(name), ("name",)),
    "ModelFolder.read_checked": (lambda **o: ModelFolder.open(world().model).read_checked(**o), ("file", "sha256")),
    "FittedPrior.parse": (lambda text: FittedPrior.parse(text), ("text",)),
    "FittedPrior.components": (lambda **o: world().vae.fitted_prior().components(**o),
                               ("seed", "start", "count", "label")),
    "FittedPrior.draw_labels": (lambda **o: world().vae.fitted_prior().draw_labels(**o),
                                ("seed", "start", "count", "label")),
    "FittedPrior.latents": (lambda **o: world().vae.fitted_prior().latents(**o),
                            ("seed", "start", "count", "label", "temperature")),
}  # fmt: skip
"""The public callables, and the names of their arguments."""

FREE = {"n", "count", "width", "blocks"}
"""Arguments for which a large number is right, but would take long or much memory."""


@st.composite
def calls(draw: Any) -> tuple[str, dict[str, int | None]]:
    """A public callable, and for each of its arguments the number of an odd value, or None for a good one."""
    name = draw(st.sampled_from(sorted(CALLS)))
    odd = st.one_of(st.none(), st.integers(0, len(ODD) - 1))
    return name, {argument: draw(odd) for argument in CALLS[name][1]}


def call_case(case: tuple[str, dict[str, int | None]]) -> None:
    """Calls a public callable with odd arguments."""
    name, chosen = case
    os.chdir(world().place / "work")
    function, _ = CALLS[name]
    arguments = {}
    for at, (argument, odd) in enumerate(chosen.items()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's about old types of its own
            value = GOOD[argument][(at + sum(map(ord, name))) % len(GOOD[argument])] if odd is None else ODD[odd]()
        is_long = argument in FREE and isinstance(value, int | np.integer) and 300 < value < 2**53
        arguments[argument] = 3 if is_long else value
    check(lambda: function(**arguments), "calls of the library")


# Odd options of the commands.

WORDS = [
    "", "-1", "0", "1", "2", "3", "7", "64", "0.5", "1e3", "1e400", "-0.5", "nan", "inf", "0x10",
    "9223372036854775807", "9223372036854775808", "1" * 5000, "a", "boot", "blob", "other", "blob,other", "z1,z2",
    "z99", "all", "a\nb",
    "\x1b[2J", "x" * 5000, "-", "--", "-x", "none.png", "p.png", "q.png", "w.png", "t.tif", "pages.tif", "images.npy",
    "samples.npz", "latents.npz", "latents.npy", "latents.json", "note.png", "/dev/null", ".", "..", "none/x.png",
    "o.png",
    "o.webp", "o.gif", "o.apng", "o.npy", "o.npz", "o.json", "o/", "o.txt", "normal", "fitted", "uint8", "float32",
    "png", "o.mp4", "likely", "centre", "seen", "shade",
    "npz", "yes", "auto", "slerp", "cpu", "cuda", "AzureExecutionProvider", "é", "\udcff", "~", "${HOME}", "%s", "{0}",
]  # fmt: skip
"""Words of a command line. None of them alone asks for work that takes long."""
COMMANDS = ("sample", "traverse", "interpolate", "reconstruct", "encode", "decode", "directions", "info", "verify",
            "models", "install", "repeat", "kit")  # fmt: skip
"""All commands of vae-gen but play, which waits, and bench, which measures."""


@functools.cache
def options_of(name: str) -> list[tuple[str, bool]]:
    """The options of a command, and whether each takes no value; "" stands for an argument without an option."""
    import typer

    from vae_gen_cli.main import app

    group: Any = typer.main.get_command(app)
    found: list[tuple[str, bool]] = []
    for param in group.get_command(None, name).params:
        opts = [*param.opts, *param.secondary_opts]
        found += [(opt, param.is_flag) for opt in opts] if opts[0].startswith("-") else [("", False)] * 4
    return [(opt, flag) for opt, flag in found if opt not in ("--help", "--model", "--debug")]


@st.composite
def command_lines(draw: Any) -> tuple[str, ...]:
    """A command of vae-gen with some of its options, and words that may or may not fit them."""
    name = draw(st.sampled_from(COMMANDS))
    words = [name]
    for opt, is_flag in draw(st.lists(st.sampled_from(options_of(name)), max_size=5)):
        words += [opt] if opt else []
        words += [] if is_flag else [draw(st.sampled_from(WORDS))]
    return tuple(words)


def command_case(words: tuple[str, ...]) -> None:
    """Runs a command in this process: its exit code is one of the documented ones, and errors are one short line."""
    CASES["command lines"] += 1
    place = world().place / "work"
    is_long = any(flag == "-n" and value.startswith("92") for flag, value in itertools.pairwise(words))
    if is_long or (words[0] in ("kit", "install") and {".", "..", "~"} & set(words)):
        return
    os.chdir(place)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = Command(world().model)(*words, stdin=b"[[0,0,0,0,0,0,0,0,0,0,0,0]]")
    lines = outcome.err.splitlines()
    assert outcome.code in (0, 2, 3, 4, 5, 6, 7), outcome.err
    assert "Traceback" not in outcome.err
    assert "bug" not in outcome.err, outcome.err
    plain = all(len(line) < LONGEST_ERROR + 50 and line.isprintable() for line in lines)
    assert plain or "--show" in words, outcome.err
    if outcome.code:
        errors = [line for line in lines if line.startswith("vae-gen")]
        assert len(errors) == 1 or (outcome.code, words[0]) == (4, "verify"), outcome.err


# Damaged files.

Mutation = tuple[str, float, float, int]
"""A change to the bytes of a file: its name, two places as shares of the length, and a number."""

MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(("flip", "set", "cut", "delete", "double", "insert", "extreme", "zero", "splice")),
        st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.integers(0, 255),
    ), min_size=1, max_size=4,
)  # fmt: skip
EXTREMES = (b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\x80" * 8, b"\xff" * 8 + b"\x7f",
            bytes(4))


def mutated(content: bytes, mutations: list[Mutation], donor: bytes) -> bytes:
    """The bytes after these mutations; `donor` is another file, whose end may be put in."""
    found = bytearray(content)
    for word, where, other, number in mutations:
        at, end = sorted((int(where * (len(found) + 1)), int(other * (len(found) + 1))))
        near = min(end, at + 64)
        if word == "flip" and at < len(found):
            found[at] ^= 1 << number % 8
        elif word == "set" and at < len(found):
            found[at] = number
        elif word == "cut":
            del found[at:]
        elif word == "delete":
            del found[at:near]
        elif word == "double":
            found[at:at] = found[at:near] * (1 + number % 50)
        elif word == "insert":
            found[at:at] = random.Random(number).randbytes(1 + number % 40)
        elif word == "extreme":
            some = EXTREMES[number % len(EXTREMES)]
            found[at : at + len(some)] = some
        elif word == "zero":
            found[at:near] = bytes(near - at)
        elif word == "splice":
            found[at:] = donor[int(other * len(donor)) :]
    return bytes(found)


ODD_JSON = ("null", "true", "0", "-1", "1e300", "-1e-300", "1e999", "NaN", "-Infinity", "1" * 400, str(2**63),
            '""', '"x"', '"\\ud800"', '"\\u0000"', '"../x"', f'"{"x" * 700}"', "[]", "[[]]", "{}", "[" * 2000,
            '{"a": 1, "a": 2}', "[1, 2, 3]", '"AAAA"', "1.5", "12", "4096")  # fmt: skip


def mutated_json(content: bytes, mutations: list[Mutation]) -> bytes:
    """A document in which values were replaced, removed or moved to other places."""
    document = json.loads(content)
    late: list[str] = []
    for word, where, other, number in mutations:
        places: list[tuple[Any, Any]] = []
        waiting = [document]
        while waiting and len(places) < 5000:
            node = waiting.pop()
            keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
            places += [(node, key) for key in keys]
            waiting += [node[key] for key in keys]
        if not places:
            break
        (node, key), (source, name) = places[int(where * len(places))], places[int(other * len(places))]
        if word in ("cut", "delete"):
            del node[key]
        elif word in ("double", "splice"):
            node[key] = json.loads(json.dumps(source[name]))
        else:
            late.append(ODD_JSON[number % len(ODD_JSON)])
            node[key] = f"ODD {len(late) - 1} ODD"
    text = json.dumps(document)
    for at, odd in enumerate(late):
        text = text.replace(f'"ODD {at} ODD"', odd)
    return text.encode()


def mutated_graph(content: bytes, mutations: list[Mutation]) -> bytes:
    """An ONNX model with other operators, edges, attributes, sizes or types, which ONNX itself can still read."""
    model = onnx.load_from_string(content)
    graph = model.graph
    for word, where, other, number in mutations:
        if not graph.node:
            break
        node, second = graph.node[int(where * len(graph.node))], graph.node[int(other * len(graph.node))]
        if word == "flip":
            node.op_type = second.op_type
        elif word in ("set", "extreme") and node.attribute:
            attribute = node.attribute[number % len(node.attribute)]
            attribute.i, attribute.f = (number - 128) * 10 ** (number % 12), number / 3
            attribute.ints[:] = [number - 128] * len(attribute.ints)
        elif word == "cut":
            graph.node.remove(node)
        elif word == "delete" and node.input:
            del node.input[number % len(node.input)]
        elif word == "double":
            graph.node.add().CopyFrom(node)
        elif word == "insert" and node.input and second.output:
            node.input[number % len(node.input)] = second.output[0]
        elif word == "zero" and graph.initializer:
            tensor = graph.initializer[int(where * len(graph.initializer))]
            tensor.dims[:] = [number * 1000, *tensor.dims][: number % 4]
        elif word == "splice" and graph.initializer:
            graph.initializer[int(where * len(graph.initializer))].data_type = number % 25
    return model.SerializeToString()


@st.composite
def damages(draw: Any) -> tuple[str, list[Mutation], str, bool]:
    """A file of the world, what happens to it, another file, and whether its structure stays readable."""
    names = sorted(name for name in world().files if name != "README.md")
    return draw(st.sampled_from(names)), draw(MUTATIONS), draw(st.sampled_from(names)), draw(st.booleans())


def damage_case(case: tuple[str, list[Mutation], str, bool]) -> None:
    """Damages a file, mends its size and hash in the manifest, and opens it in every way that it can be opened."""
    name, mutations, other, readable = case
    files, place = world().files, world().place
    os.chdir(place / "work")
    if readable and name.endswith(".json"):
        content = mutated_json(files[name], mutations)
    elif readable and name.endswith(".onnx"):
        content = mutated_graph(files[name], mutations)
    else:
        content = mutated(files[name], mutations, files[other])
    if not (world().model / name).exists():
        _open_file(name, content)
        return
    folder = place / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world().model, folder)
    (folder / name).write_bytes(content)
    if name != "manifest.json":
        document = json.loads((folder / "manifest.json").read_text())
        entries = [graph for graph in document["graphs"].values() if graph["file"] == name]
        entry = entries[0] if entries else document["files"][name]
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(document))
    kind = "model folders"

    def use() -> None:
        vae = VAE(folder)
        for verb in (
            lambda: vae.sample(2, seed=1), lambda: vae.sample(2, seed=1, label=0, temperature=0.5, detail=False),
            lambda: vae.decode(np.zeros(12)), lambda: vae.losses(np.zeros((28, 28))), vae.fitted_prior,
            lambda: vae.detail_noise(2, 1), lambda: vae.move(np.ones((3, 12)), "shade", 1),
            lambda: vae.move(np.ones(12), vae.directions[-1].name, -1, label=1), lambda: vae.attributes(np.ones(12)),
        ):  # fmt: skip
            check(verb, kind)
            CASES[kind] -= 1  # the folder is one case

    check(use, kind)
    commands = ("directions",) if name == DIRECTIONS_FILE else ("info", "verify")
    command_case((commands[len(content) % len(commands)], "--model", str(folder)))
    CASES["command lines"] -= 1


def _open_file(name: str, content: bytes) -> None:
    """Opens a damaged file of pictures, arrays or latents."""
    path = Path(f"damaged{Path(name).suffix}")
    path.write_bytes(content)
    vae = world().vae
    check(lambda: vae.encode(str(path)), "pictures and arrays")
    check(lambda: vae.encode(str(path), trim=False, invert="yes"), "pictures and arrays")
    CASES["pictures and arrays"] -= 1
    if name in ("note.png", "latents.json", "latents.npy", "latents.npz", "samples.npz"):
        command_case(("repeat" if name == "note.png" else "decode", str(path), "-o", "o.png", "--anyway"))
        CASES["command lines"] -= 1


# Training: odd options, and damaged folders of runs.

TRAINERS = ("train_command", "detail_command", "eval_command", "export")
"""The modules of vae-train, vae-detail, vae-eval and vae-export."""


@functools.cache
def trainer(name: str) -> tuple[Any, list[tuple[str, bool]]]:
    """The module of a command, and its options as in `options_of`."""
    import typer

    module = importlib.import_module("vae_export.command" if name == "export" else f"vae_train.{name}")
    params = typer.main.get_command(module.app).params
    found = [(getattr(param, "is_flag", False), opt) for param in params for opt in param.opts + param.secondary_opts]
    return module, [(opt, flag) for flag, opt in found if opt.startswith("-") and opt not in ("--help", "--debug")]


@st.composite
def trainer_lines(draw: Any) -> tuple[str, ...]:
    """A command of training with odd options. Its run folder or data set can't be used, so that nothing takes long."""
    name = draw(st.sampled_from(TRAINERS))
    words = ["--dry-run", "--data"] if name == "train_command" else []
    words.append(draw(st.sampled_from(("none", "p.png", "x" * 5000, "a\nb", "", "/dev/null", "latents.npy"))))
    for opt, is_flag in draw(st.lists(st.sampled_from(trainer(name)[1]), max_size=4)):
        words += [opt] if is_flag or opt == "--data" else [opt, draw(st.sampled_from(WORDS))]
    return name, *words


def trainer_case(words: tuple[str, ...]) -> None:
    """Runs a command of training in this process. It starts no others, which would be as many as a number says."""
    CASES["command lines of training"] += 1
    world()
    os.chdir(world().place / "work")
    out, err = io.StringIO(), io.StringIO()
    alone = mock.patch("vae_train.launching.launch", side_effect=UsageError("expected one process"))
    with alone, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = call(trainer(words[0])[0], *words[1:])
    assert 0 <= code <= 8, err.getvalue()
    assert "Traceback" not in err.getvalue(), err.getvalue()
    assert "bug" not in err.getvalue(), err.getvalue()


@functools.cache
def finished_run() -> dict[str, bytes]:
    """The files of a run of a second."""
    from tiny_training import CONFIG, tiny_data
    from vae_train.training import train

    train(CONFIG, tiny_data(), world().place / "run")
    return {path.name: path.read_bytes() for path in (world().place / "run").iterdir() if path.is_file()}


@st.composite
def run_damages(draw: Any) -> tuple[str, list[Mutation], bool]:
    """A file of a run, what happens to it, and whether its structure stays readable."""
    names = ("checkpoint.pt", "config.json", "metrics.jsonl", "weights.safetensors", "best.safetensors")
    return draw(st.sampled_from(names)), draw(MUTATIONS), draw(st.booleans())


def mutated_checkpoint(content: bytes, mutations: list[Mutation]) -> bytes:
    """A checkpoint in which values were replaced or removed."""
    import torch

    saved = torch.load(io.BytesIO(content), weights_only=True)
    odd = [None, True, -1, 10**9, 2**70, 1.5, float("nan"), "a", [], {}, [1], {"a": 1}, torch.zeros(0), torch.zeros(3),
           torch.tensor(float("nan")), torch.zeros(2, 2, dtype=torch.int8), torch.zeros(5).double()]  # fmt: skip
    for word, where, other, number in mutations:
        node: Any = saved
        while True:  # down to a random depth
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = keys[int(where * len(keys))]
            if not isinstance(node[key], dict | list) or other < 0.3:
                if word == "delete":
                    del node[key]
                else:
                    node[key] = odd[number % len(odd)]
                break
            node, where = node[key], (where * len(keys)) % 1
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    return buffer.getvalue()


def run_case(case: tuple[str, list[Mutation], bool]) -> None:
    """Damages a file of a run, then loads the run and trains on."""
    from dataclasses import replace

    from tiny_training import CONFIG, tiny_data
    from vae_train.run_folder import load_run
    from vae_train.training import train

    name, mutations, readable = case
    files, folder = finished_run(), world().place / "damaged run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world().place / "run", folder)
    if readable and name == "checkpoint.pt":
        content = mutated_checkpoint(files[name], mutations)
    elif readable and name == "config.json":
        content = mutated_json(files[name], mutations)
    else:
        content = mutated(files[name], mutations, files["metrics.jsonl"])
    (folder / name).write_bytes(content)
    check(lambda: load_run(folder), "run folders")
    check(lambda: train(replace(CONFIG, epochs=3), tiny_data(), folder, resume=True), "run folders")
    CASES["run folders"] -= 1


# Running the cases.


def run(case: Callable[[Any], None], strategy: st.SearchStrategy[Any], examples: int, seed: int | None = None) -> None:
    """Tries many cases. Without a seed Hypothesis takes its own, or that of --hypothesis-seed."""

    def watched(value: Any) -> None:
        if seed is not None:  # a case that hangs, perhaps in native code, ends the process with 1
            faulthandler.dump_traceback_later(HANGS_S, exit=True)
        case(value)

    before = Path.cwd()
    test = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
        given(strategy)(watched)
    )
    try:
        (test if seed is None else hypothesis.seed(seed)(test))()
    finally:
        os.chdir(before)


SHARES: tuple[tuple[Callable[[Any], None], Callable[[], st.SearchStrategy[Any]], float], ...] = (
    (call_case, calls, 0.5), (command_case, command_lines, 0.2), (damage_case, damages, 0.25),
    (trainer_case, trainer_lines, 0.04), (run_case, run_damages, 0.01),
)  # fmt: skip
"""The kinds of cases, and each kind's share of all."""


def _round(seed: int, examples: int) -> None:
    """Tries cases of all kinds in this process, and prints what happened as JSON."""
    faults = []
    for case, strategy, share in SHARES:
        try:
            run(case, strategy(), int(share * examples), seed)
        except BaseException:
            faults.append(traceback.format_exc()[-3000:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"cases": CASES, "faults": faults, "peak_mb": round(peak)}))


def main() -> None:
    """Tries cases for some minutes, each round with a seed of its own, and writes the sums as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=2000, help="cases in a round")
    parser.add_argument("--out", type=Path, help="a file for the sums")
    parser.add_argument("--round", action="store_true", help="one round, in this process")
    chosen = parser.parse_args()
    if chosen.round:
        _round(chosen.seed, chosen.examples)
        return
    began = time.monotonic()
    sums: dict[str, Any] = {
        "minutes": 0.0, "first_seed": chosen.seed, "rounds": 0, "cases": {}, "crashes": 0, "hangs": 0, "tracebacks": 0,
        "peak_mb": 0, "faults": [],
    }  # fmt: skip
    while time.monotonic() - began < 60 * chosen.minutes:
        command = [sys.executable, __file__, "--round", "--seed", str(chosen.seed + sums["rounds"])]
        command += ["--examples", str(chosen.examples)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        sums["rounds"] += 1
        if done.returncode:
            sums["crashes" if done.returncode < 0 else "hangs"] += 1
            sums["faults"].append(done.stderr[-3000:])
        else:
            found = json.loads(done.stdout.splitlines()[-1])
            sums["cases"] = dict(Counter(sums["cases"]) + Counter(found["cases"]))
            sums["tracebacks"] += len(found["faults"])
            sums["faults"] += found["faults"]
            sums["peak_mb"] = max(sums["peak_mb"], found["peak_mb"])
        sums["minutes"] = round((time.monotonic() - began) / 60, 1)
        if chosen.out is not None:
            chosen.out.write_text(json.dumps(sums, indent=1) + "\n", "utf-8")
    print(json.dumps({**sums, "faults": len(sums["faults"])}))
    for fault in sums["faults"]:
        print(fault, file=sys.stderr)
    sys.exit(1 if sums["faults"] else 0)


if __name__ == "__main__":
    main()
