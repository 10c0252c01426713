"""`encode` and `decode`: latents out of pictures and back, in every format, and hostile latents refused."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from cli_runner import Command
from vae_gen import VAE, InputError, Samples, UsageError, to_grey_levels
from vae_gen_cli.inputs import read_latents
from vae_gen_cli.main import app


@pytest.fixture
def pictures(cli: Command) -> list[str]:
    cli.succeed("sample", "-n", "3", "--seed", "1", "-o", "in/")
    return sorted(map(str, Path("in").iterdir()))


def test_encode_writes_mean_log_variance_and_files(cli: Command, pictures: list[str]) -> None:
    cli.succeed("sample", "-n", "3", "--seed", "1", "-o", "in.npy")
    expected = VAE(cli.model).encode(np.load("in.npy"))
    assert cli.succeed("encode", *pictures).err == "3 latents → latents.npz\n"
    with np.load("latents.npz") as archive:
        assert archive["files"].tolist() == pictures
        np.testing.assert_array_equal(archive["mean"], expected.mean)
        np.testing.assert_array_equal(archive["log_variance"], expected.log_variance)
    document = json.loads(cli.succeed("encode", *pictures, "-o", "-").out)
    assert document["files"] == pictures
    np.testing.assert_array_equal(np.array(document["mean"], np.float32), expected.mean)
    np.testing.assert_array_equal(np.array(document["log_variance"], np.float32), expected.log_variance)


def test_encode_gives_the_same_bytes_each_time(cli: Command, pictures: list[str]) -> None:
    for name in ("a.npz", "b.npz", "a.json", "b.json"):
        cli.succeed("encode", *pictures, "-o", name)
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()


@pytest.mark.parametrize("kind", ["npy", "npz", "json", "rows", "sampled"])
@pytest.mark.parametrize("from_stdin", [False, True])
def test_decode_takes_every_format_by_its_content(
    cli: Command, pictures: list[str], kind: str, from_stdin: bool
) -> None:
    cli.succeed("encode", *pictures, "-o", "l.npz")
    with np.load("l.npz") as archive:
        mean = archive["mean"]
    if kind == "npy":
        np.save("l.npy", mean.astype(np.float64))
    elif kind == "json":
        cli.succeed("encode", *pictures, "-o", "l.json")
    elif kind == "rows":
        Path("l.rows").write_text(json.dumps(mean.tolist()))
    elif kind == "sampled":
        cli.succeed("sample", "-n", "3", "--seed", "2", "-o", "l.npz")
        Path("l.npz").rename("l.sampled")
        with np.load("l.sampled") as archive:
            mean = archive["latents"]
    file = f"l.{kind}"
    arguments = ("decode", "-" if from_stdin else file, "-o", "out.npz")
    cli.succeed(*arguments, stdin=Path(file).read_bytes() if from_stdin else b"")
    with np.load("out.npz") as archive:
        np.testing.assert_array_equal(archive["latents"], mean)
        expected = to_grey_levels(VAE(cli.model).decode(mean))
        np.testing.assert_array_equal(archive["images"], expected)


def test_decoding_the_latents_of_samples_gives_their_pictures(cli: Command) -> None:
    cli.succeed("sample", "-n", "200", "--seed", "2", "-o", "a.npz")
    cli.succeed("decode", "a.npz", "-o", "b.npy")
    with np.load("a.npz") as archive:
        assert np.abs(archive["images"].astype(int) - np.load("b.npy").astype(int)).max() <= 1


@pytest.mark.parametrize("line", ["sample -n 2 --seed 1 -o l.npz", "encode in.png in.png -o l.npz",
                                  "encode in.png in.png -o l.json", "decode l.npy -o l.npz"])
def test_latents_of_another_model_are_refused_unless_told_otherwise(
    cli: Command, other_model_folder: Path, line: str
) -> None:
    cli.succeed("sample", "-n", "1", "-o", "in.png")
    np.save("l.npy", np.zeros((2, 12)))
    cli.succeed(*line.split())
    file = line.split()[-1]
    for command in (["decode", file], ["interpolate", "--latents", file]):
        outcome = cli(*command, "-o", "out.png", model=other_model_folder)
        assert outcome.code == 4
        assert re.fullmatch(
            rf"vae-gen: {file}: expected the model that made this file, tiny 1 \(SHA-256 [0-9a-f]{{12}}…\), "
            r"got other 1 \(SHA-256 [0-9a-f]{12}…\); "
            "give its folder with --model, or add --anyway to use this model\n", outcome.err
        ), outcome.err
        assert not Path("out.png").exists()
        outcome = cli.succeed(*command, "--anyway", "-o", "out.png", model=other_model_folder)
        assert outcome.err.startswith(f"{file} was made with tiny 1 (")
        Path("out.png").unlink()
        cli.succeed(*command, "-o", "out.png")
        Path("out.png").unlink()


@pytest.mark.parametrize("model", [None, "mine", {"name": "mine"}, {"sha256": 3}])
def test_latents_without_a_record_of_their_model_decode(cli: Command, model: object) -> None:
    Path("l.json").write_text(json.dumps({"mean": [[0.0] * 12], "model": model}))
    np.savez("l.npz", mean=np.zeros((1, 12)), **({} if model is None else {"model": np.array(json.dumps(model))}))
    for file in ("l.json", "l.npz"):
        assert cli.succeed("decode", file, "-o", "out.npy").err == "1 picture of 1 latent → out.npy\n"


def test_many_latents_are_not_all_named(cli: Command) -> None:
    np.save("l.npy", np.eye(12))
    outcome = cli.succeed("interpolate", "--latents", "l.npy", "--steps", "2", "-o", "a.png")
    assert outcome.err == "latent 0 → latent 1 → … 9 more … → latent 11 in 2 likely steps → a.png\n"


def test_decode_writes_grids_and_folders_too(cli: Command) -> None:
    np.save("l.npy", np.zeros((12, 12)))
    assert cli.succeed("decode", "l.npy").err == "12 pictures of 12 latents → decoded.png\n"
    cli.succeed("decode", "l.npy", "-o", "out/")
    assert len(list(Path("out").iterdir())) == 12
    assert cli.succeed("decode", "l.npy", "-o", "-").out.startswith(b"\x89PNG")


@pytest.mark.parametrize(("key", "value"), [("mean", 3), ("latent", 2), ("latents", 1)])
def test_latents_come_before_latent_before_mean(tmp_path: Path, key: str, value: int) -> None:
    all_keys = {"mean": 3, "latent": 2, "latents": 1}
    rest = {name: [[number] * 4] for name, number in all_keys.items() if number >= value}
    path = tmp_path / "l.json"
    path.write_text(json.dumps(rest))
    assert read_latents(str(path), 4)[0][0].tolist() == [value] * 4, key


def test_an_array_that_claims_to_be_enormous_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**15, 12)})
    path.write_bytes(header.getvalue() + b"\0" * 480)
    with pytest.raises(InputError, match="it is damaged"):
        read_latents(str(path), 12)


def test_an_archive_with_a_pickle_inside_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.npz"
    np.savez(path, latents=np.array([{"a": 1}], object))
    with pytest.raises(InputError, match="pickled objects, which could run code"):
        read_latents(str(path), 12)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("latents.npy", "not an array")
    with pytest.raises(InputError, match=r"l\.npz: expected "):
        read_latents(str(path), 12)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["latents", "mean", "x"]), inner),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(document=JSON)
def test_any_json_is_latents_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(document))
    try:
        rows, _ = read_latents(str(path), 2)
    except InputError as error:
        assert str(error).startswith(f"{path}: expected ")
        assert "\n" not in str(error)
    else:
        assert rows.ndim == 2
        assert rows.shape[1] == 2
        assert np.isfinite(rows).all()


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_good_rows_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]) -> None:
    path = tmp_path_factory.getbasetemp() / "good.json"
    path.write_text(json.dumps({"latents": rows}))
    assert read_latents(str(path), 3)[0].tolist() == rows


@given(content=st.binary(max_size=200))
def test_any_bytes_are_latents_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    for start in (b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04"):
        path.write_bytes(start + content)
        try:
            read_latents(str(path), 2)
        except InputError as error:
            assert "\n" not in str(error)


def parsed_seed(text: str) -> int:
    """The seed that `vae-gen sample --seed TEXT` uses."""
    sample = typer.main.get_command(app).get_command(None, "sample")
    seed = sample.make_context("sample", [f"--seed={text}"]).params["seed"]
    assert isinstance(seed, int)
    return seed


@given(number=st.integers(0, 2**63 - 1))
def test_every_seed_there_is_can_be_given(number: int) -> None:
    assert parsed_seed(str(number)) == number


@given(text=st.text() | (st.integers(max_value=-1) | st.integers(min_value=2**63) | st.floats()).map(str))
def test_anything_else_is_no_seed(text: str) -> None:
    try:
        expected = int(text)
    except ValueError:
        expected = -1
    if 0 <= expected < 2**63:
        assert parsed_seed(text) == expected
        return
    with pytest.raises(UsageError, match=r"^expected a whole number from 0 to 2\^63-1 for --seed, got .{0,40}"):
        parsed_seed(text)


@pytest.mark.parametrize("count", [5, 70])
def test_an_archive_of_samples_decodes_to_the_same_pictures_to_the_bit(
    cli: Command, detailed_model_folder: Path, count: int
) -> None:
    for extra in ((), ("--no-detail",)):
        line = ("sample", "-n", str(count), "--seed", "7", "--start", "30", "--dtype", "float32", "-o", "a.npz", *extra)
        cli.succeed(*line, model=detailed_model_folder)
        again = ("decode", "a.npz", "--dtype", "float32", "-o", "b.npy", "--json")
        outcome = cli.succeed(*again, model=detailed_model_folder)
        assert json.loads(outcome.out)["detail"] is (extra == ())
        with np.load("a.npz") as archive:
            assert ("noise" in archive) == (extra == ())
            np.testing.assert_array_equal(np.load("b.npy"), archive["images"])
        read, _ = read_latents("a.npz", 12, 5)  # on some processors a picture depends on its place in a block
        assert isinstance(read, Samples)
        assert (read.seed, read.indices.tolist()) == (7, list(range(30, 30 + count)))


def test_decode_shows_details_or_mean_pictures(cli: Command, detailed_model_folder: Path) -> None:
    model = VAE(detailed_model_folder)
    rows = np.random.default_rng(0).standard_normal((3, 12)).astype(np.float32)
    np.save("l.npy", rows)
    for extra, detail in (((), True), (("--detail",), True), (("--no-detail",), False)):
        cli.succeed("decode", "l.npy", "-o", "a.npy", *extra, model=detailed_model_folder)
        made = to_grey_levels(model.decode(rows, detail=detail))
        np.testing.assert_array_equal(np.load("a.npy"), made)
    cli.succeed("sample", "-n", "3", "--seed", "7", "-o", "s.npz", model=detailed_model_folder)
    cli.succeed("decode", "s.npz", "--no-detail", "-o", "b.npy", model=detailed_model_folder)
    with np.load("s.npz") as archive:
        made = to_grey_levels(model.decode(archive["latents"], detail=False))
    assert np.abs(np.load("b.npy").astype(int) - made.astype(int)).max() <= 1
    outcome = cli("decode", "l.npy", "--detail")
    assert outcome.code == 2
    assert outcome.err.startswith("vae-gen: expected a model with a detail stage, got tiny 1, which has no detail.onnx")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"noise": np.zeros((2, 5))}, "expected a row of noise for each of 3 latents, got [2, 5]"),
        ({"noise": np.zeros(())}, "expected rows of noise as an array of numbers, got the single number 0.0"),
        ({"noise": np.full((3, 5), np.nan)}, "expected finite rows of noise, got NaN or infinity; remove those rows "
                                             "first"),
        ({"seed": -1}, "expected an array of numbers, but it is damaged; save the latents again"),
        ({"seed": np.zeros(3)}, "expected an array of numbers, but it is damaged; save the latents again"),
        ({"start": 2**63 - 1}, "expected an array of numbers, but it is damaged; save the latents again"),
    ],
)
def test_a_spoilt_archive_of_samples_is_refused(
    cli: Command, detailed_model_folder: Path, arrays: dict[str, object], message: str
) -> None:
    np.savez("a.npz", **({"latents": np.zeros((3, 12)), "seed": 7, "start": 0, "noise": np.zeros((3, 5))} | arrays))
    outcome = cli("decode", "a.npz", model=detailed_model_folder)
    assert (outcome.err, outcome.code) == (f"vae-gen: a.npz: {message}\n", 5)


def test_a_model_without_a_detail_stage_ignores_the_noise_of_samples(cli: Command) -> None:
    np.savez("a.npz", latents=np.zeros((3, 12)), seed=7, start=0, noise=np.zeros((3, 5)))
    assert json.loads(cli.succeed("decode", "a.npz", "--json").out)["detail"] is False


@pytest.mark.parametrize("key", [slice(None, None, 2), [4, 1, 1], 3, slice(2, 5)])
def test_decode_makes_any_samples_of_the_library_again(cli: Command, detailed_model_folder: Path, key: Any) -> None:
    samples = VAE(detailed_model_folder).sample(6, seed=3)[key]
    samples.save("s.npz")
    cli.succeed("decode", "s.npz", "-o", "again.npy", model=detailed_model_folder)
    np.testing.assert_array_equal(np.load("again.npy").reshape(samples.shape), samples.grey_levels())


def test_own_files_are_read_by_every_command_that_takes_such_things(cli: Command) -> None:
    for name in ("a.npy", "a.npz", "a.png"):
        cli.succeed("sample", "-n", "1", "--seed", "1", "-o", name)
        cli.succeed("encode", name, "-o", "l.npz")
        cli.succeed("reconstruct", name, "-o", "r.png")
        cli.succeed("decode", "l.npz", "-o", "d.png")
    np.savez("one.npz", np.load("a.npy"))
    cli.succeed("encode", "one.npz", "-o", "l.npz")
    np.savez("two.npz", np.zeros((2, 12)))
    cli.succeed("decode", "two.npz", "-o", "d.png")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("decode a.png", "a.png: expected .npy, .npz or JSON with latents, got a picture, whose latents vae-gen encode "
         "finds"),
        ("encode l.npz", "l.npz: expected an archive with an array called images, got one with mean, log_variance, "
         "files, model; vae-gen decode and vae.decode read latents"),
        ("encode many.npz", "many.npz: expected an archive with an array called images, got one with a, b"),
    ],
)  # fmt: skip
def test_files_of_the_other_kind_are_named(cli: Command, line: str, message: str) -> None:
    cli.succeed("sample", "-n", "1", "-o", "a.png")
    cli.succeed("encode", "a.png", "-o", "l.npz")
    np.savez("many.npz", a=np.zeros(3), b=np.zeros(3))
    outcome = cli(*line.split())
    assert (outcome.code, outcome.err) == (5, f"vae-gen: {message}\n")


@pytest.mark.parametrize(
    ("line", "is_sheet"),
    [("sample -n 4 -o a.png", True), ("sample -n 1 -o a.png", False), ("traverse --dim 1 -o a.png", True)],
)
def test_a_sheet_of_our_own_is_named(cli: Command, line: str, is_sheet: bool) -> None:
    cli.succeed(*line.split())
    said = cli.succeed("encode", "a.png", "-o", "l.npz").err
    assert ("a.png: a sheet of several pictures by vae-gen was taken as one picture" in said) == is_sheet
