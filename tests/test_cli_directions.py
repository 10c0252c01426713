"""`traverse --along` and `vae-gen directions`: the rows that a name asks for, and errors that list the names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from tiny_model import tiny_directions, write_tiny_model
from vae_gen import VAE, find_model, to_grey_levels
from vae_gen.internal.directions import Directions

PULLOVER = ("--label", "pullover", "--seed", "7")


@pytest.fixture(scope="module")
def vae() -> VAE:
    return VAE("fashion-mnist-12d-reference")


@pytest.fixture
def run(cli: Command) -> Command:
    """The command line with the smaller shipped model."""
    return Command(find_model("fashion-mnist-12d-reference"))


def test_the_rows_are_the_pictures_of_moved_latents(run: Command, vae: VAE) -> None:
    names = ("--along", "sleeve length", "--along", "shade")
    outcome = run.succeed("traverse", *names, *PULLOVER, "--steps", "7", "--json", "-o", "x.npy")
    assert outcome.err == "sleeve length, shade in 7 steps around seed 7, Pullover → x.npy\n"
    assert json.loads(outcome.out)["along"] == ["sleeve length", "shade"]
    rows = json.loads(outcome.out)["rows"]
    np.testing.assert_allclose(rows[1]["values"], np.linspace(-1.5, 1.5, 7), atol=0.01)
    pictures = np.load("x.npy")
    assert (pictures.dtype, pictures.shape) == (np.uint8, (2, 7, 1, 28, 28))
    start = vae.sample(1, seed=7, label="pullover").latents
    for row, name in enumerate(("sleeve length", "shade")):
        moved = vae.move(np.tile(start, (7, 1)), name, rows[row]["values"], label="pullover")
        wanted = to_grey_levels(vae.decode(moved, detail=False))
        assert np.abs(pictures[row].astype(int) - wanted).max() <= 1
    brightness = pictures[1].mean(axis=(1, 2, 3))
    assert (np.diff(brightness) > 0).all()


def test_the_span_is_in_standard_deviations_of_the_attribute(run: Command, vae: VAE) -> None:
    run.succeed("traverse", "--along", "shade", *PULLOVER, "--steps", "3", "--span", "0.5", "-o", "x.npy")
    start = vae.sample(1, seed=7, label="pullover").latents
    moved = vae.move(np.tile(start, (3, 1)), "shade", [-0.5, 0, 0.5], label="pullover")
    assert np.abs(np.load("x.npy")[0].astype(int) - to_grey_levels(vae.decode(moved))).max() <= 1


def test_a_row_ends_where_hardly_any_picture_goes_further(run: Command, vae: VAE) -> None:
    """Otherwise its last pictures would be the same ones under different values."""
    for span in ("1.5", "100"):
        options = ("--along", "sleeve length", "--along", "shade", "--steps", "5", "--span", span)
        document = json.loads(run.succeed("traverse", *options, *PULLOVER, "--json", "-o", "x.npy").out)
        assert len({picture.tobytes() for picture in np.load("x.npy")[0]}) == 5
        values = document["rows"][0]["values"]
        start = vae.sample(1, seed=7, label="pullover").latents
        farther = vae.move(start, "sleeve length", values[-1] + 1, label="pullover")
        assert np.abs(vae.move(start, "sleeve length", values[-1], label="pullover") - farther).max() < 1e-3
        assert 0.5 < values[-1] < 1.5
        assert (values[0] == -1.5) == (span == "1.5")


def test_the_message_names_the_class_if_no_option_does(run: Command) -> None:
    outcome = run.succeed("traverse", "--along", "shade", "--around", "centre", "--steps", "2", "-o", "x.npy")
    assert outcome.err.startswith("shade in 2 steps around the prior's centre, as ")
    outcome = run.succeed(
        "traverse", "--along", "shade", "--around", "centre", "--label", "bag", "--steps", "2", "-o", "x.npy"
    )
    assert outcome.err == "shade in 2 steps around the prior's centre, as Bag → x.npy\n"


def test_details_are_added_and_left_out(cli: Command) -> None:
    whole = Command(find_model())
    for name, options in (("a.npy", ()), ("b.npy", ("--no-detail",))):
        whole.succeed("traverse", "--along", "shade", *PULLOVER, "--steps", "2", "-o", name, *options)
    assert np.abs(np.load("a.npy").astype(int) - np.load("b.npy")).max() > 20


@pytest.mark.parametrize("word", ["SLEEVE LENGTH", "sleeve-length", "slee", " Sleeve  length"])
def test_a_name_is_found_as_people_write_it(run: Command, word: str) -> None:
    outcome = run.succeed("traverse", "--along", word, *PULLOVER, "--steps", "2", "-o", "x.npy", "--json")
    assert json.loads(outcome.out)["along"] == ["sleeve length"]


def names_for(vae: VAE, label: int) -> str:
    return ", ".join(one.name for one in vae.directions if one.labels is None or label in one.labels)


def test_a_wrong_name_lists_those_of_the_class(run: Command, vae: VAE) -> None:
    several = "'s', which fits shade, sleeve length"
    for word, found in (("heel height", "'heel height'"), ("s", several), ("", "nothing")):
        outcome = run("traverse", "--along", word, *PULLOVER, "-o", "x.png")
        assert outcome.code == 2
        assert outcome.err.startswith("vae-gen: expected one of the directions for the class Pullover (shade, ")
        assert f"({names_for(vae, 2)}), got {found}" in outcome.err
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--along shade --dim 3", "expected rows of one kind, got --along and --dim; leave one out"),
        ("--along shade --spacing latent",
         "--spacing only applies to rows of dimensions, not to those of --along; leave it out"),
        ("--along shade --span 0", "expected a span above 0, in standard deviations of the attribute, got 0.0"),
        ("--along shade --span nan", "expected a span above 0, in standard deviations of the attribute, got nan"),
        ("--along shade --span 101", "expected a span of at most 100 standard deviations, got 101"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(run: Command, line: str, message: str) -> None:
    outcome = run("traverse", *line.split(), "-o", "x.png")
    assert (outcome.err, outcome.code) == (f"vae-gen: {message}\n", 2)
    assert list(Path.cwd().iterdir()) == []


def test_a_model_without_directions_says_so(cli: Command) -> None:
    outcome = cli("traverse", "--along", "shade", "-o", "x.png")
    expected = "expected a model with directions for --along, got tiny 1 without any; leave --along out"
    assert (outcome.err, outcome.code) == (f"vae-gen: {expected}\n", 2)
    outcome = cli.succeed("directions")
    assert outcome.out == b""
    assert outcome.err == "tiny 1 has no directions; models that vae-export writes now do\n"
    assert json.loads(cli.succeed("directions", "--json").out)["directions"] == []


def test_directions_for_all_classes_together_or_for_none_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of many classes has directions without classes, and another one may have none for some class."""
    monkeypatch.chdir(tmp_path)
    blobs = Command(write_tiny_model(tmp_path / "blobs", with_directions=True))
    replace_directions(tmp_path / "blobs", tiny_directions(0))
    lines = blobs.succeed("directions").out.decode().splitlines()
    assert [re.split("  +", line)[1] for line in lines[1:]] == ["all pictures"] * 2
    assert blobs.succeed("directions", "--label", "blob").out.decode().splitlines() == lines
    outcome = blobs.succeed("traverse", "--along", "size", "--label", "blob", "--steps", "2", "-o", "x.npy")
    assert outcome.err == "size in 2 steps around a typical latent of blob → x.npy\n"
    two = tiny_directions(2)
    replace_directions(tmp_path / "blobs", dataclasses.replace(two, directions=two.directions[1:]))
    outcome = blobs.succeed("directions", "--label", "blob")
    assert (outcome.out, outcome.err) == (b"", "tiny 1 has no directions for the class blob\n")


def replace_directions(folder: Path, directions: Directions) -> None:
    content = json.dumps(directions.to_json()).encode()
    (folder / "directions.json").write_bytes(content)
    document = json.loads((folder / "manifest.json").read_text())
    document["files"]["directions.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "line",
    [
        "--along shade --along width --label pullover --seed 7 --steps 3",
        "--along shade --steps 3",
        "--along shade --label boot --span 1 --steps 3 --animate",
    ],
)
def test_a_picture_along_directions_is_repeated(run: Command, line: str) -> None:
    run.succeed("traverse", *line.split(), "-o", "a.png")
    run.succeed("repeat", "a.png", "-o", "b.png")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_an_animation_along_a_direction_is_large(run: Command) -> None:
    run.succeed("traverse", "--along", "shade", *PULLOVER, "--steps", "4", "-o", "a.gif")
    with Image.open("a.gif") as image:
        assert min(image.size) >= 280
        assert image.n_frames == 6


def test_a_typical_latent_and_one_of_a_picture_can_be_moved(run: Command, vae: VAE) -> None:
    outcome = run.succeed("traverse", "--along", "shaft height", "--label", "boot", "--steps", "2", "-o", "x.npy")
    assert outcome.err == "shaft height in 2 steps around a typical latent of Ankle boot → x.npy\n"
    base = vae.fitted_prior().medoid(9)
    moved = vae.move(np.stack([base, base]), "shaft height", [-1.5, 1.5], label=9)
    assert np.abs(np.load("x.npy")[0].astype(int) - to_grey_levels(vae.decode(moved))).max() <= 1
    run.succeed("sample", "-n", "1", "--seed", "7", "--label", "boot", "-o", "boot/")
    picture = ("--image", "boot/000000.png", "--label", "boot")
    run.succeed("traverse", "--along", "shaft height", *picture, "--steps", "2", "-o", "y.png")


def test_the_list_has_what_the_model_folder_says(run: Command, vae: VAE) -> None:
    document = json.loads(run.succeed("directions", "--json").out)
    assert [row["name"] for row in document["directions"]] == [one.name for one in vae.directions]
    effects = document["directions"][0]["effects"]
    assert [effect["class"] for effect in effects] == [vae.class_names[at] for at in vae.directions[0].labels]
    assert effects[0]["reached"] == vae.directions[0].effects[0].reached
    lines = run.succeed("directions").out.decode().splitlines()
    assert lines[0].split() == ["direction", "for", "reached", "others", "still", "its", "class", "steady"]
    assert len(lines) == 1 + len(vae.directions)


def test_the_list_of_a_class_has_its_own_directions_and_figures(run: Command, vae: VAE) -> None:
    document = json.loads(run.succeed("directions", "--label", "boot", "--json").out)
    assert document["label"] == 9
    assert ", ".join(row["name"] for row in document["directions"]) == names_for(vae, 9)
    assert all(len(row["effects"]) == 1 for row in document["directions"])
    lines = run.succeed("directions", "--label", "boot").out.decode().splitlines()
    assert len(lines) == 1 + len(document["directions"])
    assert all("Ankle boot" in line for line in lines[1:])
    outcome = run("directions", "--label", "hat")
    assert outcome.code == 2
    assert outcome.err.startswith("vae-gen: expected a class (T-shirt/top, ")
