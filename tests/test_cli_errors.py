"""Bad commands and bad files: each ends with its exit code and one line that helps, and writes nothing."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from vae_gen.internal import saving
from vae_gen_cli import output as out


def invalid(option: str, message: str) -> str:
    """The line for a value that an option doesn't take."""
    expected, _, got = message.rpartition(", got ")
    return f"{expected} for {option}, got {got}"


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels at all: whoever decodes it finds it damaged."""
    content = b"IHDR" + struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    end = b"IEND"
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (content, end)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture
def bad(cli: Command) -> Command:
    """`vae-gen` in a folder with files that cannot be used."""
    np.save("wide.npy", np.zeros((2, 13), np.float32))
    np.save("nan.npy", np.array([[np.nan] * 12], np.float32))
    np.save("infinite.npy", np.array([[1e39] * 12], np.float64))
    np.save("objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.save("one.npy", np.zeros((1, 12), np.float32))
    np.savez("other.npz", something=np.zeros(3))
    Path("latents.pkl").write_bytes(pickle.dumps([[0.0] * 12]))
    Path("ragged.json").write_text("[[1, 2], [3]]")
    Path("words.json").write_text('["a", "b"]')
    Path("deep.json").write_text("[" * 100_000)
    Path("cut.npy").write_bytes(Path("wide.npy").read_bytes()[:150])
    Path("cut.npz").write_bytes(Path("other.npz").read_bytes()[:100])
    Path("notes.txt").write_text("These are notes.\n")
    Path("empty.png").write_bytes(b"")
    whole = png(Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)))
    Path("truncated.png").write_bytes(whole[: len(whole) // 2])
    Path("plain.png").write_bytes(whole)
    Path("huge.png").write_bytes(png_header(10_000, 10_000))
    Path("gigantic.png").write_bytes(png_header(2**31 - 1, 2**31 - 1))
    Path("folder").mkdir()
    return cli


def state(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder, with what is in it."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


COMMANDS: list[tuple[str, int, str]] = [
    ("sample -n 0", 2, invalid("--count", "expected a whole number from 1 to 2^63-1, got 0")),
    ("sample -n -3", 2, invalid("--count", "expected a whole number from 1 to 2^63-1, got -3")),
    ("sample -n many", 2, invalid("--count", "expected a whole number from 1 to 2^63-1, got many")),
    ("sample -n 1.5", 2, invalid("--count", "expected a whole number from 1 to 2^63-1, got 1.5")),
    ("sample --seed -1", 2, invalid("--seed", "expected a whole number from 0 to 2^63-1, got -1")),
    (
        "sample --seed 9223372036854775808",
        2,
        invalid("--seed", "expected a whole number from 0 to 2^63-1, got 9223372036854775808"),
    ),
    ("sample --seed seven", 2, invalid("--seed", "expected a whole number from 0 to 2^63-1, got seven")),
    ("sample --seed 1e3", 2, invalid("--seed", "expected a whole number from 0 to 2^63-1, got 1e3")),
    ("sample --seed 1 --seed 2", 2, "expected --seed once, got it 2 times; leave out all but one"),
    ("sample -n 1 --count 2 -n 3", 2, "expected --count once, got it 3 times; leave out all but one"),
    ("sample --detail --no-detail", 2, "expected --detail or --no-detail once, got it 2 times; leave out all but one"),
    ("sample -q --quiet", 2, "expected --quiet once, got it 2 times; leave out all but one"),
    ("sample --prior uniform", 2, invalid("--prior", "expected normal or fitted, got uniform")),
    ("sample --temperature hot", 2, invalid("--temperature", "expected a number, got hot")),
    ("sample --start -1", 2, invalid("--start", "expected a whole number from 0 to 2^63-1, got -1")),
    (
        "sample --start 9223372036854775807 --seed 1 -n 2",
        2,
        "expected a range that ends by 2^63, got start 9223372036854775807 and count 2; begin earlier",
    ),
    ("sample --threads 0", 2, invalid("--threads", "expected a whole number from 1 to 1024, got 0")),
    (
        "sample --format gif", 2,
        invalid("--format", "expected one of png, webp, npy, npz, parquet, webdataset, folder-by-class, got gif"),
    ),
    ("sample --dtype float16", 2, invalid("--dtype", "expected uint8 or float32, got float16")),
    (
        "sample --dtype float32",
        2,
        "--dtype only applies to arrays (.npy, .npz); leave it out",
    ),
    (
        "sample -o pictures.jpg",
        2,
        "expected an output that ends in .png, .webp, .npy, .npz, or in / for a folder of pictures, got "
        "'pictures.jpg'; give it one of these endings, or add --format parquet for a folder of shards",
    ),
    (
        "sample -o pictures",
        2,
        "expected an output that ends in .png, .webp, .npy, .npz, or in / for a folder of pictures, got "
        "'pictures'; give it one of these endings, or add --format parquet for a folder of shards",
    ),
    (
        "sample -o a.folder",
        2,
        "expected an output that ends in .png, .webp, .npy, .npz, or in / for a folder of pictures, got 'a.folder'; "
        "give it one of these endings, or add --format parquet for a folder of shards",
    ),
    (
        "sample -o folder",
        2,
        "expected an output that ends in .png, .webp, .npy, .npz, or in / for a folder of pictures, got "
        "'folder'; give it one of these endings, or add --format parquet for a folder of shards",
    ),
    ("sample -o a.png --format npy", 2, "expected one format, got a.png and --format npy; leave one out"),
    ("sample -o a.npy --scale 3", 2, "--scale only applies to pictures, not to arrays (.npy, .npz); leave it out"),
    ("sample -o - --json", 2, "expected standard output for one thing, got -o - and --json; name a file with -o"),
    (
        "sample -n 10001",
        2,
        "expected at most 10000 pictures in one image, got 10001; write them to a folder (-o pictures/) or "
        "an array (-o pictures.npy), or make fewer pictures",
    ),
    (
        "traverse --steps 10000",
        2,
        "expected at most 10000 pictures in one image, got 120000; make fewer pictures",
    ),
    (
        "sample -n 10000 --scale 64",
        2,
        "expected at most 250 megapixels in all frames together, got 32185 (rounded up); choose a smaller --scale or "
        "make fewer pictures",
    ),
    (
        "sample -n 5000 -o a.webp",
        2,
        "expected sides of at most 16383 pixels in a .webp, got 1142 × 57002; write a .png, or choose a "
        "smaller --scale",
    ),
    ("sample --columns 0", 2, invalid("--columns", "expected a whole number from 1 to 10000, got 0")),
    ("sample --scale 0", 2, invalid("--scale", "expected a whole number from 1 to 64, got 0")),
    ("traverse --dim 12", 2, "expected a dimension from 0 to 11, got 12"),
    ("traverse --dim -1", 2, "expected a dimension such as 5 or z5, or all, got '-1'"),
    ("traverse --dim x", 2, "expected a dimension such as 5 or z5, or all, got 'x'"),
    ("traverse --dim 1,z12", 2, "expected a dimension from 0 to 11, got 12"),
    ("traverse --dim 1 --dim all", 2, "expected a dimension such as 5 or z5, or all, got 'all'"),
    ("traverse --start 4", 2, "--start only applies to the picture of a --seed; leave it out"),
    ("traverse --temperature 1", 2, "--temperature only applies to the picture of a --seed; leave it out"),
    ("traverse --invert yes", 2, "--invert only applies to the picture of an --image; leave it out"),
    ("traverse --no-trim", 2, "--trim only applies to the picture of an --image; leave it out"),
    ("traverse --fps 12", 2, "--fps only applies to animations (.gif, .apng, .mp4, .webm, or --animate); leave it out"),
    ("interpolate --image plain.png --image plain.png --start 0", 2,
     "--start only applies to pictures of a --seed or a --label; leave it out"),
    ("interpolate --seed 1 --seed 2 --invert no", 2,
     "--invert only applies to pictures of an --image; leave it out"),
    ("interpolate --seed 1 --seed 2 --fps 9", 2,
     "--fps only applies to animations (.gif, .apng, .mp4, .webm, or --animate); leave it out"),
    ("sample -n 2 -o a.npy --columns 2", 2, "--columns only applies to grids (.png, .webp); leave it out"),
    ("sample -n 2 -o a/ --columns 2", 2, "--columns only applies to grids (.png, .webp); leave it out"),
    ("traverse --span 0", 2, "expected a span above 0 (below 1 a share of the prior, else deviations), got 0.0"),
    ("traverse --span nan", 2, "expected a span above 0 (below 1 a share of the prior, else deviations), got nan"),
    ("traverse --span inf", 2, "expected a span of at most 100 standard deviations, got inf"),
    ("traverse --span wide", 2, invalid("--span", "expected a number, got wide")),
    ("traverse --steps 1", 2, invalid("--steps", "expected a whole number from 2 to 10000, got 1")),
    ("traverse --seed 1 --image plain.png", 2, "expected one centre, got --seed and --image; leave one out"),
    (
        "interpolate --seed 1 --seed 2 -o a.npy",
        2,
        "expected an output that ends in .png, .webp, .gif, .apng, .mp4, .webm, got 'a.npy'; give it one of these "
        "endings",
    ),
    ("traverse -o a.npy --animate", 2, "--animate only applies to pictures, not to arrays (.npy); leave it out"),
    ("traverse -o a.npy --scale 2", 2, "--scale only applies to pictures, not to arrays (.npy); leave it out"),
    ("traverse --no-values", 2,
     "--values only applies to animations (.gif, .apng, .mp4, .webm, or --animate); leave it out"),
    ("traverse --seed 1 --around centre", 2, "expected one centre, got --around and --seed; leave one out"),
    ("traverse --image plain.png --around typical", 2, "expected one centre, got --around and --image; leave one out"),
    ("traverse --image plain.png --label blob", 2,
     "--label only applies to the picture of a --seed, a typical latent, or directions; leave it out"),
    ("traverse --no-fade", 2, "--fade only applies to pictures with details; leave it out"),
    ("interpolate --seed 1 --seed 2 --fade", 2, "--fade only applies to pictures with details; leave it out"),
    ("traverse --around middle", 2, invalid("--around", "expected typical or centre, got middle")),
    ("traverse --spacing even", 2, invalid("--spacing", "expected seen or latent, got even")),
    ("interpolate", 2,
     "expected one kind of ends: two or more of --seed, --label or --image, or a file of --latents; got none"),
    ("interpolate --image plain.png", 2, "expected two or more of --image, got one; name the picture to morph to"),
    ("interpolate --label blob", 2,
     "expected two or more pictures to morph between, got 0 of --seed and 1 of --label; add another --seed or "
     "another --label"),
    ("interpolate --label blob --label other --label blob --seed 1 --seed 2", 2,
     "expected one --seed for all 3 classes, or 3 of them, one for each class, got 2; give one, or one for each"),
    ("interpolate --label blob --label other --image plain.png", 2,
     "expected one kind of ends: two or more of --seed, --label or --image, or a file of --latents; "
     "got --seed or --label and --image"),
    ("interpolate --label blob --label other --prior normal", 2,
     "expected the fitted prior for the label blob, got normal, which has no classes"),
    ("interpolate --seed 1", 2,
     "expected two or more pictures to morph between, got 1 of --seed and 0 of --label; add another --seed or "
     "another --label"),
    (
        "interpolate --seed 1 --seed 2 --image plain.png",
        2,
        "expected one kind of ends: two or more of --seed, --label or --image, or a file of --latents; "
        "got --seed or --label and --image",
    ),
    ("interpolate --latents one.npy", 2, "expected at least 2 latents in one.npy, got 1; name another end"),
    (
        "interpolate --seed 1 --seed 2 --method curved",
        2,
        invalid("--method", "expected one of likely, linear, spherical, slerp, got curved"),
    ),
    (
        "sample --provider tensorrt",
        3,
        "expected an execution provider that is installed (AzureExecutionProvider, CPUExecutionProvider), "
        "got tensorrt; run pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu, or leave "
        "--provider out",
    ),
    (
        "sample --provider banana",
        3,
        "expected an execution provider that is installed (AzureExecutionProvider, CPUExecutionProvider), "
        "got banana; choose one, or leave --provider out",
    ),
    (
        "sample --model folder",
        4,
        "expected a model folder, found no manifest.json in folder; give a folder that vae-export wrote",
    ),
    (
        "reconstruct nothing.png",
        5,
        "nothing.png: expected a picture, cannot open it (No such file or directory); check its name",
    ),
    ("reconstruct folder", 5,
     "folder: expected the file of a picture, got a folder; pass a list of the pictures in it"),
    (
        "reconstruct notes.txt",
        5,
        "notes.txt: expected a picture (PNG, JPEG, WebP, GIF, TIFF, …), got a file that cannot be opened as one",
    ),
    (
        "reconstruct empty.png",
        5,
        "empty.png: expected a picture (PNG, JPEG, WebP, GIF, TIFF, …), got a file that cannot be opened as one",
    ),
    (
        "reconstruct truncated.png",
        5,
        "truncated.png: expected an undamaged picture, got one that cannot be decoded (image file is truncated); "
        "get the file again",
    ),
    (
        "reconstruct huge.png",
        5,
        "huge.png: expected a picture of at most 25 megapixels, got 10000 × 10000; make it smaller first",
    ),
    (
        "reconstruct gigantic.png",
        5,
        "gigantic.png: expected a picture of at most 25 megapixels, got far more; make it smaller first",
    ),
    (
        "encode truncated.png -o -",
        5,
        "truncated.png: expected an undamaged picture, got one that cannot be decoded (image file is truncated); "
        "get the file again",
    ),
    (
        "traverse --image huge.png",
        5,
        "huge.png: expected a picture of at most 25 megapixels, got 10000 × 10000; make it smaller first",
    ),
    (
        "reconstruct wide.npy",
        5,
        "wide.npy: expected images of shape [n, 1, 28, 28], got shape [2, 13]; "
        "to fit a picture of another size, pass PIL.Image.fromarray(array) or the path of its file",
    ),
    (
        "decode nothing.npy",
        5,
        "nothing.npy: expected latents, cannot open it (No such file or directory); check its name",
    ),
    ("decode folder", 5, "folder: expected latents, cannot open it (Is a directory); name a file, not a folder"),
    (
        "decode wide.npy",
        5,
        "wide.npy: expected latents of shape [n, 12], got [2, 13]; this model's latents have that width",
    ),
    ("decode nan.npy", 5, "nan.npy: expected finite latents, got NaN or infinity; remove those rows first"),
    ("decode infinite.npy", 5, "infinite.npy: expected finite latents, got NaN or infinity; remove those rows first"),
    (
        "decode objects.npy",
        5,
        "objects.npy: expected an array of numbers, but it holds pickled objects, which could run code; save "
        "numbers",
    ),
    (
        "decode latents.pkl",
        5,
        "latents.pkl: expected .npy, .npz or JSON, got a pickle, which could run code; save as .npy",
    ),
    (
        "decode ragged.json",
        5,
        "ragged.json: expected latents as an array, got rows of different lengths; make them equal",
    ),
    ("decode words.json", 5, "words.json: expected latents as an array of numbers, got ['a', 'b']"),
    ("decode deep.json", 5, "deep.json: expected .npy, .npz or JSON with latents, got another kind of file"),
    ("decode cut.npy", 5, "cut.npy: expected an array of numbers, but it is damaged; save the latents again"),
    ("decode cut.npz", 5, "cut.npz: expected an array of numbers, but it is damaged; save the latents again"),
    (
        "decode other.npz",
        5,
        "other.npz: expected latents of shape [n, 12], got [3]; this model's latents have that width",
    ),
    ("decode notes.txt", 5, "notes.txt: expected .npy, .npz or JSON with latents, got another kind of file"),
    (
        "repeat nothing.png",
        5,
        "nothing.png: expected a PNG, cannot open it (No such file or directory); check its name",
    ),
    ("repeat notes.txt", 5, "notes.txt: expected a PNG that vae-gen made, found another kind of file"),
    (
        "repeat plain.png",
        5,
        "plain.png: expected a PNG with a vae-gen chunk, found none; only PNGs that vae-gen made, and that "
        "no other program has saved again, can be repeated",
    ),
    ("repeat plain.png -o plain.png", 2, "expected another file than the one that is repeated, got plain.png twice"),
    (
        "repeat plain.png -o a.webp",
        2,
        "expected an output that ends in .png, .apng, got 'a.webp'; give it one of these endings",
    ),
    ("sample -o notes.txt/", 7, "cannot write notes.txt/: a file of that name is in the way; choose another name"),
]


@pytest.mark.parametrize(("line", "code", "message"), COMMANDS, ids=[line for line, _, _ in COMMANDS])
def test_a_bad_command_says_why_and_writes_nothing(bad: Command, line: str, code: int, message: str) -> None:
    before = state(Path.cwd())
    outcome = bad(*line.split())
    assert (outcome.err, outcome.code, outcome.out) == (f"vae-gen: {message}\n", code, b"")
    assert state(Path.cwd()) == before


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ("sample --bogus", "No such option"),
        ("sample extra", "Got unexpected extra argument"),
        ("sample --model", "Option '--model' requires an argument. See vae-gen"),
        ("reconstruct", "expected IMAGE..., got nothing; see vae-gen reconstruct --help"),
        ("nonsense", "No such command 'nonsense'. See vae-gen --help"),
        ("samples", "No such command 'samples'. Did you mean 'sample'?"),
    ],
)
def test_what_typer_itself_refuses_ends_with_2(bad: Command, line: str, fragment: str) -> None:
    before = state(Path.cwd())
    outcome = bad(*line.split())
    assert (outcome.code, outcome.out) == (2, b"")
    assert fragment in outcome.err
    assert outcome.err.startswith("vae-gen: ")
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err
    assert state(Path.cwd()) == before


@pytest.mark.parametrize("output", ["nowhere/samples.png", "nowhere/samples.npy", "nowhere/folder/", "notes.txt/a.npz"])
def test_an_output_in_a_folder_that_is_not_there_ends_with_7(bad: Command, output: str) -> None:
    before = state(Path.cwd())
    outcome = bad("sample", "-n", "3", "-o", output)
    parent = Path(output.rstrip("/")).resolve().parent
    message = f"vae-gen: cannot write {output}: there is no folder {parent}; create it first\n"
    assert (outcome.err, outcome.code) == (message, 7)
    assert state(Path.cwd()) == before


@pytest.mark.parametrize(
    "line",
    [
        "sample -o nowhere/a.png",
        "sample -o nowhere/a.npy",
        "sample -o nowhere/a/",
        "traverse -o nowhere/a.png",
        "interpolate --seed 1 --seed 2 -o nowhere/a.gif",
        "reconstruct plain.png -o nowhere/a.png",
        "encode plain.png -o nowhere/a.npz",
        "decode one.npy -o nowhere/a.png",
    ],
)
def test_nothing_is_computed_for_an_output_that_cannot_be_written(
    bad: Command, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    def refuse(*arguments: object) -> None:
        pytest.fail("a graph was run")

    monkeypatch.setattr("onnxruntime.InferenceSession.run", refuse)
    assert bad(*line.split()).code == 7


def test_a_folder_where_a_file_should_go_ends_with_7(bad: Command) -> None:
    Path("samples.png").mkdir()
    outcome = bad("sample", "-n", "3", "-o", "samples.png")
    message = "cannot write samples.png: it is a folder; name a file, or end the path in / for a folder"
    assert (outcome.err, outcome.code) == (f"vae-gen: {message}\n", 7)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a Linux device that is always full")
@pytest.mark.parametrize(
    "line",
    [
        "sample --format npy",
        "sample --format npz -n 300",
        "sample --format png",
        "sample --format webp",
        "traverse --format gif",
        "encode black.png --format json",
        "encode black.png --format npz",
        "decode one.npy --format npz",
        "reconstruct black.png --format png",
    ],
)
def test_a_full_disk_ends_with_7(bad: Command, line: str) -> None:
    Image.new("L", (28, 28)).save("black.png")
    before = state(Path.cwd())
    outcome = bad(*line.split(), "-o", "/dev/full")
    message = "cannot write /dev/full: No space left on device; choose another place or free some space"
    assert (outcome.err, outcome.code) == (f"vae-gen: {message}\n", 7)
    assert state(Path.cwd()) == before


@pytest.mark.parametrize("output", ["locked/samples.png", "locked/"])
def test_a_folder_without_permission_ends_with_7(bad: Command, output: str) -> None:
    Path("locked").mkdir(mode=0o500)
    if os.access("locked", os.W_OK):
        pytest.skip("this user may write anywhere")
    outcome = bad("sample", "-n", "3", "-o", output)
    assert outcome.code == 7
    assert outcome.err == f"vae-gen: cannot write {output}: Permission denied; check the permissions\n"


def _without(folder: Path, name: str) -> None:
    (folder / name).unlink()


def _truncated(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def _edited(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def _swapped(folder: Path, name: str) -> None:
    shutil.copy(folder / "encoder.onnx", folder / name)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["graphs"][Path(name).stem]["bytes"] = (folder / name).stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _emptied(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"{}")


AGAIN = "copy or export the model folder again"


@pytest.mark.parametrize(
    ("damage", "name", "message"),
    [
        (_without, "generator.onnx", "bytes, found none (No such file or directory); "),
        (_truncated, "generator.onnx", " bytes, found "),
        (_edited, "generator.onnx", "the file was changed or swapped; "),
        (_swapped, "generator.onnx", "the file was changed or swapped; "),
        (_truncated, "manifest.json", "expected JSON, found "),
        (_emptied, "manifest.json", "schema_version is missing; "),
    ],
)
def test_a_damaged_model_folder_ends_with_4(
    bad: Command, tmp_path: Path, damage: Callable[[Path, str], None], name: str, message: str
) -> None:
    folder = Path(shutil.copytree(bad.model, tmp_path / "model"))
    damage(folder, name)
    before = state(Path.cwd())
    outcome = bad("sample", "--model", folder)
    assert outcome.code == 4
    assert outcome.err.startswith(f"vae-gen: {folder / name}: ")
    assert message in outcome.err
    assert outcome.err.endswith(f"{AGAIN}\n")
    assert outcome.err.count("\n") == 1
    assert state(Path.cwd()) == before


def test_a_model_that_is_not_there_ends_with_4(bad: Command) -> None:
    for name in ("nowhere", "notes.txt"):
        outcome = bad("sample", "--model", name)
        assert outcome.code == 4
        assert outcome.err.startswith("vae-gen: expected a model folder or one of ")
        assert outcome.err.endswith(f", got {name}\n")


def test_a_traceback_shows_only_when_asked_for(bad: Command) -> None:
    assert "Traceback" not in bad("decode", "nan.npy").err
    outcome = bad("decode", "nan.npy", "--debug")
    assert outcome.code == 5
    assert outcome.err.startswith("Traceback")
    last = outcome.err.splitlines()[-1]
    assert last == "vae-gen: nan.npy: expected finite latents, got NaN or infinity; remove those rows first"


@pytest.mark.parametrize("output", ["samples.npy", "samples.npz", "pictures/", "other/"])
def test_an_interruption_in_mid_run_leaves_the_old_files(
    bad: Command, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    bad.succeed("sample", "-n", "3", "--seed", "1", "-o", "samples.npy")
    bad.succeed("sample", "-n", "3", "--seed", "1", "-o", "pictures/")
    before = state(Path.cwd())
    calls = 0

    def interrupted_at_the_second(real: Callable[..., bytes]) -> Callable[..., bytes]:
        def call(*arguments: object) -> bytes:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise KeyboardInterrupt
            return real(*arguments)

        return call

    monkeypatch.setattr(saving, "_bytes", interrupted_at_the_second(saving._bytes))
    monkeypatch.setattr(out, "encoded", interrupted_at_the_second(out.encoded))
    outcome = bad("sample", "-n", "1100", "--seed", "2", "-o", output)
    assert (outcome.err, outcome.code, calls) == ("vae-gen: interrupted\n", 130, 2)
    assert state(Path.cwd()) == before


@pytest.mark.parametrize(("reason", "advice"), [
    (errno.EACCES, "check the permissions"),
    (errno.EBUSY, "close the program that uses it"), (errno.EROFS, "choose another place"),
    (errno.EMFILE, "close some programs, or open fewer files"), (errno.EIO, "check the disk"),
    (errno.ENOSPC, "choose another place or free some space"), (errno.ECHILD, "try again, or choose another place"),
])  # fmt: skip
def test_the_advice_fits_the_systems_reason(
    cli: Command, monkeypatch: pytest.MonkeyPatch, reason: int, advice: str
) -> None:
    Image.new("L", (28, 28)).save("a.png")
    opened = Path.open

    def fail(path: Path, *arguments: Any, **keywords: Any) -> Any:
        if path.name == "a.png":
            raise OSError(reason, os.strerror(reason))
        return opened(path, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        outcome = cli("encode", "a.png", "-o", "a.json")
    assert outcome.err == f"vae-gen: a.png: expected a picture, cannot open it ({os.strerror(reason)}); {advice}\n"
    assert outcome.code == 5
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(reason, os.strerror(reason))))
        outcome = cli("sample", "-o", "b.png")
    assert outcome.err.endswith(f"vae-gen: cannot write b.png: {os.strerror(reason)}; {advice}\n")
    assert outcome.code == 7
