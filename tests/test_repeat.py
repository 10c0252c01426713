"""`vae-gen repeat`: the same bytes from what a PNG says, and no trust in what it says."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cli_runner import Command

REPEATABLE = [
    "sample -n 20 --seed 7 --start 4294967290 --columns 7 --scale 3 -o a.png",
    "sample -n 3 -o a.png",
    "traverse -o a.png",
    "traverse --dim 3 --seed 9 --start 100 --span 0.9 --steps 5 --scale 2 -o a.png",
    "traverse --dim 3 --animate --fps 7 -o a.png",
    "traverse --seed 2 --steps 3 -o a.apng",
    "interpolate --seed 1 --seed 9223372036854775807 -o a.png",
    "interpolate --seed 1 --seed 2 --seed 3 --start 5 --loop --method spherical --steps 4 --scale 1 -o a.png",
    "interpolate --seed 1 --seed 2 --animate --fps 20 -o a.png",
    "sample -n 70 --seed 7 --prior fitted -o a.png",
    "sample -n 5 --seed 7 --label other --temperature 0.5 -o a.png",
    "sample -n 5 --seed 7 --temperature 0 -o a.png",
    "traverse --dim 3 --seed 9 --label blob -o a.png",
    "interpolate --seed 1 --seed 2 --prior fitted --temperature 1.5 -o a.png",
    "traverse --dim z3,1 --dim 7 --steps 3 -o a.png",
    "interpolate --seed 1 --seed 2 --label other --method slerp -o a.png",
    "interpolate --label blob --label other --seed 3 -o a.png",
    "interpolate --label blob --label other --label blob -o a.png",
    "interpolate --label blob --label other --seed 3 --seed 4 --animate -o a.png",
    "traverse --label other --dim 2 --spacing latent --steps 4 -o a.png",
    "traverse --around centre --span 2 --spacing seen --dim 2,3 --steps 4 --animate --no-values -o a.png",
    "interpolate --seed 1 --seed 2 --method linear --animate --no-values --steps 4 -o a.png",
]


@pytest.mark.parametrize("line", REPEATABLE)
def test_a_picture_is_made_again_to_the_byte(cli: Command, line: str) -> None:
    cli.succeed(*line.split())
    source = line.split()[-1]
    cli.succeed("repeat", source, "-o", "b.png")
    assert Path("b.png").read_bytes() == Path(source).read_bytes()


def test_a_picture_out_of_a_folder_is_made_again(cli: Command) -> None:
    cli.succeed("sample", "-n", "70", "--seed", "7", "--start", "30", "--scale", "2", "-o", "in/")
    for name in ("000030.png", "000099.png"):
        outcome = cli.succeed("repeat", f"in/{name}", "-o", "-")
        assert outcome.out == Path(f"in/{name}").read_bytes()


def test_the_default_name_stands_beside_the_file(cli: Command) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "in.png")
    outcome = cli.succeed("repeat", "in.png", "--json")
    assert outcome.err == "in.png again → in-again.png\n"
    document = json.loads(outcome.out)
    assert document["output"] == "in-again.png"
    assert document["repeated"]["seed"] == "7"
    assert Path("in-again.png").read_bytes() == Path("in.png").read_bytes()


def test_another_model_stops_unless_told_otherwise(cli: Command, other_model_folder: Path) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "a.png")
    outcome = cli("repeat", "a.png", model=other_model_folder)
    assert outcome.code == 4
    assert outcome.err.startswith("vae-gen: a.png: expected the model that made this file, tiny 1 (SHA-256 ")
    assert outcome.err.endswith("…); give its folder with --model, or add --anyway to use this model\n")
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["a.png"]
    cli.succeed("repeat", "a.png", "--anyway", model=other_model_folder)
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "b.png", model=other_model_folder)
    assert Path("a-again.png").read_bytes() == Path("b.png").read_bytes()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("traverse --image in.png -o a.png", "traverse made from in.png, which is"),
        ("interpolate --image in.png --image in.png -o a.png", "interpolate made from images, which are"),
        ("interpolate --latents l.npy -o a.png", "interpolate made from latents, which are"),
        ("reconstruct in.png -o a.png", "reconstruct made from images, which are"),
        ("decode l.npy -o a.png", "decode made from latents, which are"),
    ],
)
def test_what_was_not_made_from_seeds_cannot_be_repeated(cli: Command, line: str, reason: str) -> None:
    cli.succeed("sample", "-n", "1", "-o", "in.png")
    np.save("l.npy", np.zeros((101, 12)))  # more than a PNG records
    cli.succeed(*line.split())
    outcome = cli("repeat", "a.png")
    assert outcome.code == 5
    assert outcome.err == (
        f"vae-gen: a.png: expected a picture made from seeds, got one that {reason} not in the PNG; "
        "run the original command again\n"
    )
    assert not Path("a-again.png").exists()


@pytest.mark.parametrize(
    "line", ["decode l.npy -o a.png", "decode l.npy --detail --columns 2 --scale 3 -o a.png", "decode l.npz -o a.png",
             "decode l.npz --no-detail -o a.png", "decode l.npz --scale 2 -o a/"],
)  # fmt: skip
def test_the_pictures_of_a_few_latents_are_made_again_to_the_byte(
    cli: Command, detailed_model_folder: Path, line: str
) -> None:
    np.save("l.npy", np.random.default_rng(0).normal(size=(3, 12)))
    cli.succeed("sample", "-n", "3", "--seed", "7", "-o", "l.npz", model=detailed_model_folder)
    cli.succeed(*line.split(), model=detailed_model_folder)
    source = "a/000001.png" if line.endswith("/") else "a.png"
    Path("l.npy").unlink()
    outcome = cli.succeed("repeat", source, "-o", "b.png", "--json", model=detailed_model_folder)
    assert Path("b.png").read_bytes() == Path(source).read_bytes()
    assert json.loads(outcome.out)["repeated"]["command"] == "decode"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("latents", [[0.0] * 11], "latents: expected a few rows of 12 numbers, found "),
        ("latents", [[1e9] * 12], "latents: expected a few rows of 12 numbers, found "),
        ("latents", "l.npy", "latents: expected lists of numbers, all of the same length, found \"l.npy\""),
        ("latents", [], "latents: expected a few rows of 12 numbers, found []"),
        ("noise", [[0.0] * 5] * 4, "noise: expected 3 rows of 5 numbers, found "),
        ("scale", 65, "scale: expected a whole number from 1 to 64, found 65"),
        ("layout", "pile", "layout: expected grid or single, found \"pile\""),
        ("detail", None, "detail: expected true or false, found null"),
        ("columns", 0, "columns: expected a whole number from 1 to 10000, found 0"),
    ],
)
def test_edited_latents_are_refused(
    cli: Command, detailed_model_folder: Path, key: str, value: object, expected: str
) -> None:
    cli.succeed("sample", "-n", "3", "--seed", "7", "-o", "l.npz", model=detailed_model_folder)
    cli.succeed("decode", "l.npz", "-o", "a.png", model=detailed_model_folder)
    rewritten("a.png", "b.png", json.dumps(note_of("a.png") | {key: value}))
    outcome = cli("repeat", "b.png", model=detailed_model_folder)
    assert outcome.code == 5
    assert outcome.err.startswith(f"vae-gen: b.png: {expected}")
    assert outcome.err.endswith("; its vae-gen chunk was edited\n")
    outcome = cli("repeat", "a.png")  # with another model
    assert outcome.code == 4


KNOWN = "sample or traverse or interpolate or decode or reconstruct"


def rewritten(source: str, target: str, text: str) -> None:
    """The same picture with another note."""
    chunk = PngInfo()
    chunk.add_text("vae-gen", text)
    with Image.open(source) as image:
        image.save(target, pnginfo=chunk)


def note_of(path: str) -> dict[str, Any]:
    with Image.open(path) as image:
        document: dict[str, Any] = json.loads(image.text["vae-gen"])
        return document


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("command", "encode", f"expected {KNOWN}, found \"encode\""),
        ("command", ["sample"], f"expected {KNOWN}, found [\"sample\"]"),
        ("seed", "-1", "expected a whole number from 0 to 2^63-1, found \"-1\""),
        ("seed", None, "expected a whole number from 0 to 2^63-1, found null"),
        ("seed", ["1", "2"], "expected a whole number from 0 to 2^63-1, found [\"1\", \"2\"]"),
        ("seed", str(2**63), f"expected a whole number from 0 to 2^63-1, found \"{2**63}\""),
        ("start", None, "expected a whole number from 0 to 2^63-1, found null"),
        ("count", 0, "expected a whole number from 1 to 2^63-1, found 0"),
        ("count", True, "expected a whole number from 1 to 2^63-1, found true"),
        ("scale", 65, "expected a whole number from 1 to 64, found 65"),
        ("columns", 1.5, "expected a whole number from 1 to 10000, found 1.5"),
        ("layout", "pile", "expected grid or single, found \"pile\""),
        ("prior", "uniform", "expected normal or fitted, found \"uniform\""),
        ("temperature", "hot", "expected a number, found \"hot\""),
        ("detail", "perhaps", "expected true or false, found \"perhaps\""),
        ("label", {"a": 1}, "expected a text or a number, found {\"a\": 1}"),
    ],
)
def test_an_edited_note_is_refused(cli: Command, key: str, value: object, expected: str) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "a.png")
    rewritten("a.png", "b.png", json.dumps(note_of("a.png") | {key: value}))
    outcome = cli("repeat", "b.png")
    assert (outcome.err, outcome.code) == (f"vae-gen: b.png: {key}: {expected}; its vae-gen chunk was edited\n", 5)
    assert not Path("b-again.png").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("count", 10_001, "expected at most 10000 pictures in one image, got 10001; write them to a folder "
                          "(-o pictures/) or an array (-o pictures.npy), or make fewer pictures"),
        ("label", -1, "expected the fitted prior for the label -1, got normal, which has no classes"),
        ("temperature", 101, "expected a temperature from 0 to 100, got 101.0"),
    ],
)
def test_an_edited_note_meets_the_checks_of_the_command(cli: Command, key: str, value: object, message: str) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "a.png")
    rewritten("a.png", "b.png", json.dumps(note_of("a.png") | {key: value}))
    outcome = cli("repeat", "b.png")
    assert (outcome.err, outcome.code) == (f"vae-gen: {message}\n", 2)
    assert not Path("b-again.png").exists()


@pytest.mark.parametrize(
    "line", ["traverse --seed 1 --steps 2 -o a.png", "interpolate --label blob --label other --steps 2 -o a.png"]
)
def test_a_note_cannot_choose_files_or_models(cli: Command, line: str) -> None:
    """Only the parameters that a command records are read; what a stranger added is ignored."""
    cli.succeed(*line.split())
    more = {"output": "stolen.png", "model": note_of("a.png")["model"], "latents": "l.npy", "images": ["in.png"],
            "show": True, "provider": "cuda", "format_name": "gif"}  # fmt: skip
    rewritten("a.png", "b.png", json.dumps(note_of("a.png") | more))
    cli.succeed("repeat", "b.png")
    assert {path.name for path in Path.cwd().iterdir()} == {"a.png", "b.png", "b-again.png"}
    assert Path("b-again.png").read_bytes() == Path("a.png").read_bytes()


@pytest.mark.parametrize("key", ["seed", "start", "count", "layout", "columns", "scale", "command", "model"])
def test_a_note_that_lacks_a_parameter_is_refused(cli: Command, key: str) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "a.png")
    note = note_of("a.png")
    del note[key]
    rewritten("a.png", "b.png", json.dumps(note))
    outcome = cli("repeat", "b.png")
    assert (outcome.err, outcome.code) == (f"vae-gen: b.png: {key} is missing; its vae-gen chunk was edited\n", 5)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 50_000, '{"command":"sample","model":3}'])
def test_a_malformed_note_is_refused(cli: Command, text: str) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "a.png")
    rewritten("a.png", "b.png", text)
    outcome = cli("repeat", "b.png")
    assert outcome.code == 5
    assert outcome.err.startswith("vae-gen: b.png: ")
    assert outcome.err.count("\n") == 1


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.text(max_size=3))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_other_value_anywhere_is_repeated_or_refused_in_one_line(cli: Command, data: st.DataObject) -> None:
    line = data.draw(st.sampled_from([REPEATABLE[1], REPEATABLE[3], REPEATABLE[7], "decode l.npy -o a.png"]))
    if not Path("base.png").exists():
        cli.succeed("sample", "-n", "1", "-o", "base.png")
        np.save("l.npy", np.zeros((2, 12)))
    cli.succeed(*line.split())
    note = note_of("a.png")
    key = data.draw(st.sampled_from(sorted(note)))
    rewritten("base.png", "b.png", json.dumps(note | {key: data.draw(VALUES)}))
    outcome = cli("repeat", "b.png")
    assert outcome.code in (0, 2, 4, 5), outcome.err
    assert outcome.err.count("\n") == 1


def test_control_characters_in_a_note_do_not_reach_the_terminal(cli: Command) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "a.png")
    rewritten("a.png", "b.png", json.dumps(note_of("a.png") | {"label": "x\ny\x1b[31m"}))
    outcome = cli("repeat", "b.png")
    message = "expected the fitted prior for the label x y?[31m, got normal, which has no classes"
    assert (outcome.err, outcome.code) == (f"vae-gen: {message}\n", 2)


def test_a_damaged_chunk_is_refused(cli: Command) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "a.png")
    content = Path("a.png").read_bytes()
    Path("b.png").write_bytes(content.replace(b'"seed":"7"', b'"seed":"8"'))
    outcome = cli("repeat", "b.png")
    assert (outcome.err, outcome.code) == (
        "vae-gen: b.png: expected an intact vae-gen chunk, found a wrong checksum\n", 5,
    )
    for end in (10, 20, 40, 60):
        Path("b.png").write_bytes(content[:end])
        assert cli("repeat", "b.png").code == 5


def test_a_copy_by_another_name_or_a_link_is_not_overwritten(cli: Command) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "a.png")
    Path("link.png").symlink_to("a.png")
    assert cli("repeat", "a.png", "-o", "link.png").code == 2
    shutil.copy("a.png", "copy.png")
    cli.succeed("repeat", "a.png", "-o", "copy.png")


def test_the_note_says_who_what_and_with_which_model(cli: Command) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "a.png")
    note = note_of("a.png")
    assert set(note.pop("model")) == {"name", "version", "sha256", "latents_sha256"}
    assert note.pop("vae_gen")
    assert note == {
        "command": "sample", "seed": "7", "start": "0", "count": 2, "layout": "grid", "columns": 10, "scale": 4,
        "prior": "normal", "label": None, "temperature": 1.0, "detail": False,
    }


def test_a_note_from_before_there_were_priors_means_the_normal_one(cli: Command, fitted_model_folder: Path) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "--prior", "normal", "-o", "a.png", model=fitted_model_folder)
    later = ("prior", "label", "temperature", "detail")
    note = {key: value for key, value in note_of("a.png").items() if key not in later}
    note["model"].pop("latents_sha256")
    rewritten("a.png", "b.png", json.dumps(note))
    cli.succeed("repeat", "b.png", model=fitted_model_folder)
    assert Path("b-again.png").read_bytes() == Path("a.png").read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        "traverse --around centre --span 2.5 --steps 4",
        "traverse --seed 3 --start 2 --span 0.9 --steps 3 --dim 2",
        "traverse --around centre --span 2.5 --steps 4 --dim 2,3 --animate --no-values --fps 12 --scale 3",
        "interpolate --seed 1 --seed 2 --method linear --steps 4",
        "interpolate --seed 1 --seed 2 --method slerp --steps 4 --animate --no-values --fps 12 --scale 3",
    ],
)
def test_a_note_from_before_likely_paths_means_the_pictures_of_that_time(
    cli: Command, detailed_model_folder: Path, line: str
) -> None:
    cli.succeed(*line.split(), "--no-fade", "-o", "a.png", model=detailed_model_folder)
    later = ("around", "spacing", "values", "fade")
    note = {key: value for key, value in note_of("a.png").items() if key not in later}
    content = Path("a.png").read_bytes()
    Path("b.png").write_bytes(with_note(content, json.dumps(note)))
    cli.succeed("repeat", "b.png", model=detailed_model_folder)
    assert with_note(Path("b-again.png").read_bytes(), "") == with_note(content, "")


def with_note(png: bytes, text: str) -> bytes:
    """The same PNG, still or moving, with another note."""
    at = png.index(b"tEXtvae-gen")
    length = int.from_bytes(png[at - 4 : at])
    data = b"tEXtvae-gen\0" + text.encode()
    chunk = (len(data) - 4).to_bytes(4) + data + zlib.crc32(data).to_bytes(4)
    return png[: at - 4] + chunk + png[at + 4 + length + 4 :]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("traverse --dim 1", 4),
        ("traverse --dim 1 --around centre", 4),
        ("traverse --dim 1 --around centre --span 2", 0),
        ("interpolate --seed 1 --seed 2 --prior normal", 4),
        ("interpolate --seed 1 --seed 2 --prior normal --method linear", 0),
    ],
)
def test_a_picture_that_depends_on_the_fitted_prior_needs_the_same_tables(
    cli: Command, line: str, code: int
) -> None:
    cli.succeed(*line.split(), "-o", "a.png")
    note = note_of("a.png")
    note["model"]["latents_sha256"] = "0" * 64
    rewritten("a.png", "b.png", json.dumps(note))
    assert cli("repeat", "b.png").code == code


def test_a_picture_of_the_default_prior_says_which_that_was(cli: Command, fitted_model_folder: Path) -> None:
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "a.png", model=fitted_model_folder)
    assert note_of("a.png")["prior"] == "fitted"
    cli.succeed("repeat", "a.png", model=fitted_model_folder)
    assert Path("a-again.png").read_bytes() == Path("a.png").read_bytes()


def test_a_fitted_picture_needs_the_same_tables_and_a_normal_one_does_not(
    cli: Command, old_model_folder: Path
) -> None:
    for prior, code in (("normal", 0), ("fitted", 4)):
        cli.succeed("sample", "-n", "2", "--seed", "7", "--prior", prior, "-o", "a.png")
        note = note_of("a.png")
        note["model"]["latents_sha256"] = "0" * 64
        rewritten("a.png", "b.png", json.dumps(note))
        outcome = cli("repeat", "b.png")
        assert outcome.code == code, outcome.err
    assert "the model that made this file, tiny 1 (SHA-256 000000000000…), got tiny 1 (SHA-256 " in outcome.err
    outcome = cli("repeat", "b.png", "--anyway", model=old_model_folder)
    assert (outcome.code, outcome.err.splitlines()[-1]) == (
        2,
        "vae-gen: b.png: expected a model with latents.onnx, which the fitted prior needs, got old 1 without it; "
        "name the model that made the picture with --model",
    )


@pytest.mark.parametrize("line", ["sample -n 2 -o a.png", "interpolate --seed 1 --seed 2 -o a.png"])
def test_a_model_without_details_cannot_repeat_a_picture_with_details(
    cli: Command, detailed_model_folder: Path, line: str
) -> None:
    cli.succeed(*line.split(), model=detailed_model_folder)
    outcome = cli("repeat", "a.png", "--anyway")
    assert (outcome.code, outcome.err.splitlines()[-1]) == (
        2,
        "vae-gen: a.png: expected a model with a detail stage, got tiny 1, which has no detail.onnx; name the model "
        "that made the picture with --model",
    )
