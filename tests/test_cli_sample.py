"""`vae-gen sample`: formats that other programs read, the same bytes each time and however a range is split."""

from __future__ import annotations

import io
import json
import re
import zipfile
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from vae_gen import VAE, picture_grid, standard_normals, to_grey_levels


def pixels(path: str | Path) -> np.ndarray:
    """A grey picture's pixels."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def levels(cli: Command, seed: int, start: int, count: int) -> np.ndarray:
    """What the library says these pictures are."""
    parts = VAE(cli.model).stream(count, seed, start, dtype="uint8")
    return np.concatenate([part.images for part in parts])


def test_fifty_pictures_of_a_random_seed_are_the_default(cli: Command) -> None:
    outcome = cli.succeed("sample")
    found = re.fullmatch(r"50 pictures of seed (\d+) \(drawn at random\) → samples-\1\.png\n", outcome.err)
    assert found
    assert outcome.out == b""
    assert [path.name for path in Path.cwd().iterdir()] == [f"samples-{found[1]}.png"]
    expected = picture_grid(levels(cli, int(found[1]), 0, 50), columns=10, scale=4)
    np.testing.assert_array_equal(pixels(f"samples-{found[1]}.png"), expected)


def test_a_random_seed_is_another_one_each_time_and_below_2_to_the_53(cli: Command) -> None:
    seeds = {int(json.loads(cli.succeed("sample", "-n", "1", "--json").out)["seed"]) for _ in range(3)}
    assert len(seeds) == 3
    assert max(seeds) < 2**53


@pytest.mark.parametrize("output", ["a.png", "a.webp", "a.npy", "a.npz"])
def test_the_same_command_gives_the_same_bytes(cli: Command, output: str) -> None:
    contents = []
    for _ in range(2):
        cli.succeed("sample", "-n", "30", "--seed", "7", "-o", output)
        contents.append(Path(output).read_bytes())
    assert contents[0] == contents[1]


def test_the_grid_takes_columns_and_scale_and_webp_holds_the_same_pixels(cli: Command) -> None:
    for output in ("a.png", "a.webp"):
        cli.succeed("sample", "-n", "7", "--seed", "7", "--columns", "3", "--scale", "2", "-o", output)
    expected = picture_grid(levels(cli, 7, 0, 7), columns=3, scale=2)
    np.testing.assert_array_equal(pixels("a.png"), expected)
    np.testing.assert_array_equal(pixels("a.webp"), expected)


def test_a_folder_gets_one_png_for_each_picture_named_by_its_index(cli: Command) -> None:
    cli.succeed("sample", "-n", "3", "--seed", "7", "--start", "999999", "-o", "pictures/")
    assert sorted(path.name for path in Path("pictures").iterdir()) == ["0999999.png", "1000000.png", "1000001.png"]
    found = np.stack([pixels(path) for path in sorted(Path("pictures").iterdir())])
    np.testing.assert_array_equal(found, levels(cli, 7, 999_999, 3)[:, 0])


def test_a_folder_keeps_its_other_files_and_replaces_its_pictures(cli: Command) -> None:
    Path("pictures").mkdir()
    Path("pictures/notes.txt").write_text("mine")
    Path("pictures/000001.png").write_text("old")
    cli.succeed("sample", "-n", "2", "--seed", "7", "--scale", "2", "-o", "pictures/")
    assert sorted(path.name for path in Path("pictures").iterdir()) == ["000000.png", "000001.png", "notes.txt"]
    assert Path("pictures/notes.txt").read_text() == "mine"
    assert pixels("pictures/000001.png").shape == (56, 56)


def test_an_npy_holds_grey_levels_or_floats(cli: Command) -> None:
    cli.succeed("sample", "-n", "70", "--seed", "7", "-o", "a.npy")
    cli.succeed("sample", "-n", "70", "--seed", "7", "-o", "b.npy", "--dtype", "float32")
    grey, floats = np.load("a.npy"), np.load("b.npy")
    assert (grey.dtype, grey.shape) == (np.uint8, (70, 1, 28, 28))
    assert (floats.dtype, floats.shape) == (np.float32, (70, 1, 28, 28))
    np.testing.assert_array_equal(grey, levels(cli, 7, 0, 70))
    np.testing.assert_array_equal(to_grey_levels(floats), grey)


def test_an_npz_holds_images_latents_seed_and_start(cli: Command) -> None:
    seed, start = 2**63 - 1, 2**32 - 3
    cli.succeed("sample", "-n", "5", "--seed", str(seed), "--start", str(start), "-o", "a.npz")
    with np.load("a.npz") as archive:
        assert sorted(archive) == ["images", "latents", "model", "seed", "start"]
        assert (int(archive["seed"]), int(archive["start"])) == (seed, start)
        np.testing.assert_array_equal(archive["images"], levels(cli, seed, start, 5))
        np.testing.assert_allclose(archive["latents"], standard_normals(seed, start, 5, 12), atol=1e-5)


@pytest.mark.parametrize("cuts", [(0, 300), (0, 1, 300), (0, 64, 65, 127, 300), (0, 3, 200, 300)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_arrays_are_equal_to_the_byte_however_the_range_is_split(
    cli: Command, cuts: tuple[int, ...], dtype: str
) -> None:
    first = 2**32 - 100
    cli.succeed("sample", "-n", "300", "--seed", "5", "--start", str(first), "--dtype", dtype, "-o", "whole.npy")
    pieces = b""
    for at, (low, high) in enumerate(pairwise(cuts)):
        window = ("-n", str(high - low), "--start", str(first + low))
        cli.succeed("sample", *window, "--seed", "5", "--dtype", dtype, "-o", f"{at}.npy", "--threads", str(1 + at))
        pieces += np.load(f"{at}.npy").tobytes()
    assert np.load("whole.npy").tobytes() == pieces


@pytest.mark.parametrize("format_name", ["png", "webp", "npy", "npz"])
def test_standard_output_carries_the_same_data_as_a_file(cli: Command, format_name: str) -> None:
    cli.succeed("sample", "-n", "3", "--seed", "7", "-o", f"a.{format_name}")
    outcome = cli.succeed("sample", "-n", "3", "--seed", "7", "-o", "-", "--format", format_name)
    assert outcome.err == "3 pictures of seed 7 → standard output\n"
    if format_name == "npz":  # a zip that cannot seek says the sizes elsewhere
        with np.load(io.BytesIO(outcome.out)) as one, np.load("a.npz") as other:
            for key in other:
                np.testing.assert_array_equal(one[key], other[key])
    else:
        assert outcome.out == Path(f"a.{format_name}").read_bytes()


def test_an_npz_holds_no_time_of_day(cli: Command) -> None:
    cli.succeed("sample", "-n", "1", "-o", "a.npz")
    with zipfile.ZipFile("a.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_json_says_all_that_was_done(cli: Command) -> None:
    outcome = cli.succeed("sample", "-n", "3", "--seed", str(2**63 - 1), "-o", "a.npy", "--json", "--quiet")
    manifest = VAE(cli.model).manifest
    assert outcome.err == ""
    document = json.loads(outcome.out)
    assert re.fullmatch(r"\d+\.\d+\.\d+", document.pop("vae_gen"))
    assert document == {
        "command": "sample",
        "seed": "9223372036854775807",
        "start": "0",
        "count": 3,
        "output": "a.npy",
        "format": "npy",
        "shape": [3, 1, 28, 28],
        "dtype": "uint8",
        "prior": "normal",
        "label": None,
        "temperature": 1.0,
        "detail": False,
        "model": {
            "name": "tiny", "version": "1", "sha256": manifest.fingerprint,
            "latents_sha256": manifest.graphs["latents"].sha256,
        },
    }


def test_the_last_pictures_there_are_can_be_made(cli: Command) -> None:
    last = 2**63 - 1
    cli.succeed("sample", "-n", "1", "--seed", str(last), "--start", str(last), "-o", "a.npz")
    with np.load("a.npz") as archive:
        np.testing.assert_allclose(archive["latents"], standard_normals(last, last, 1, 12), atol=1e-5)


def test_the_endings_may_be_in_capitals(cli: Command) -> None:
    cli.succeed("sample", "-n", "1", "-o", "A.PNG")
    assert Path("A.PNG").read_bytes().startswith(b"\x89PNG")


SHOW = ("sample", "-n", "2", "--seed", "7", "--quiet", "--show", "-o")


def is_letters(preview: str) -> bool:
    return set(preview) <= set(" .:-=+*#%@\n") and "@" in preview


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a terminal in colour."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.usefixtures("colours")
def test_a_preview_on_a_terminal_is_half_blocks_in_24_bit_colour(cli: Command) -> None:
    outcome = cli(*SHOW, "-", terminal=True)
    assert outcome.out.startswith(b"\x89PNG")
    lines = outcome.err.splitlines()
    assert all(line.count("▀") == 80 and line.endswith("\x1b[0m") for line in lines)
    assert len(lines) == round(116 * 80 / 230 / 2)  # the grid of two pictures is 230 × 116


@pytest.mark.usefixtures("colours")
@pytest.mark.parametrize(("name", "value", "letters"), [
    ("NO_COLOR", "1", True), ("NO_COLOR", "", False), ("TERM", "dumb", True), ("TERM", "xterm", False),
])  # fmt: skip
def test_a_preview_has_no_colours_where_nobody_wants_them(
    cli: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: str, letters: bool
) -> None:
    monkeypatch.setenv(name, value)
    assert is_letters(cli(*SHOW, "a.npy", terminal=True).err) == letters


@pytest.mark.usefixtures("colours")
@pytest.mark.parametrize("understands", [True, False])
def test_a_preview_has_colours_on_windows_if_the_console_understands_them(
    cli: Command, monkeypatch: pytest.MonkeyPatch, understands: bool
) -> None:
    asked: list[tuple[int, int]] = []

    class Kernel32:
        """The two functions of Windows that switch on colours."""

        def GetStdHandle(self, which: int) -> int:
            return 1000 - which

        def SetConsoleMode(self, handle: int, mode: int) -> int:
            asked.append((handle, mode))
            return int(understands)

    monkeypatch.setattr("ctypes.windll", SimpleNamespace(kernel32=Kernel32()), raising=False)
    monkeypatch.setattr("sys.platform", "win32")
    assert is_letters(cli(*SHOW, "a.npy", terminal=True).err) != understands
    assert asked == [(1012, 7)]


@pytest.mark.usefixtures("colours")
def test_a_preview_in_a_file_or_a_pipe_is_letters(cli: Command) -> None:
    assert is_letters(cli(*SHOW, "a.npy").err)


@pytest.mark.usefixtures("colours")
def test_a_preview_falls_back_to_ascii_and_leaves_no_sign_that_cannot_be_encoded(cli: Command) -> None:
    outcome = cli("sample", "-n", "2", "--seed", "7", "--show", "-o", "a.npy", encoding="ascii", terminal=True)
    assert outcome.code == 0
    *preview, last = outcome.err.splitlines()
    assert last == "2 pictures of seed 7 -> a.npy"
    assert is_letters("\n".join(preview))
