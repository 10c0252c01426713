"""The detail stage in use: its noise, the library's calls, the command line, and folders that contradict themselves."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from tiny_model import _weights, decode, decode_detail, tiny_prior, write_tiny_model
from vae_gen import (
    VAE,
    DetailSpec,
    InputError,
    Manifest,
    ModelError,
    UsageError,
    picture_grid,
    standard_normals,
    to_grey_levels,
    verify,
)
from vae_gen.internal.latents import detail_noise
from vae_gen.internal.philox import DETAIL_STREAM

SPEC = DetailSpec(5, 4.0, True)


@pytest.fixture(scope="module")
def model(detailed_model_folder: Path) -> VAE:
    return VAE(detailed_model_folder)


def test_noise_is_of_a_stream_of_its_own_and_says_the_class() -> None:
    plain = standard_normals(7, 2**32 - 1, 3, 5, DETAIL_STREAM)
    np.testing.assert_array_equal(detail_noise(SPEC, 7, 2**32 - 1, 3), plain)
    assert not np.isclose(plain, standard_normals(7, 2**32 - 1, 3, 5)).any()
    shifted = detail_noise(SPEC, 7, 2**32 - 1, 3, np.array([1, -1, 4]))
    expected = np.zeros((3, 5))
    expected[0, 1] = expected[2, 4] = 4
    np.testing.assert_allclose(shifted - plain, expected, atol=1e-6)
    with pytest.raises(UsageError, match="expected a label for each of 3 pictures, got labels of shape \\[2\\]"):
        detail_noise(SPEC, 7, 0, 3, np.zeros(2, np.int64))


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("prior", ["normal", "fitted"])
def test_a_folder_with_a_detail_stage_verifies(tmp_path: Path, default: bool, prior: str) -> None:
    folder = write_tiny_model(tmp_path / "m", default_prior=prior, detail=DetailSpec(5, 4.0, default))
    checks = verify(folder)
    assert [check.detail for check in checks if not check.passed] == []
    assert {"sha256 of detail.onnx", "their noise of the graph", "details, grey levels"} <= {c.name for c in checks}


def test_wrong_golden_details_do_not_verify(tmp_path: Path, detailed_model_folder: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(detailed_model_folder, folder)
    golden = json.loads((folder / "golden.json").read_text())
    golden["details"]["noise"][0][0] += 3
    golden["latents"][0]["noise"][0][0] += 1e-3
    content = json.dumps(golden).encode()
    (folder / "golden.json").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    missed = {check.name for check in verify(folder) if not check.passed}
    assert missed == {"their noise in NumPy", "their noise of the graph", "details, grey levels"}


def test_default_samples_are_drawn_by_the_detail_stage(model: VAE) -> None:
    samples = model.sample(9, seed=3, start=40)
    latents, labels = tiny_prior().latents(3, 40, 9)
    assert samples.choice.detail
    np.testing.assert_array_equal(samples.labels, labels)
    np.testing.assert_allclose(samples.latents, latents, atol=1e-5)
    expected = decode_detail(_weights(0), latents, detail_noise(SPEC, 3, 40, 9, labels))
    np.testing.assert_allclose(samples.images, expected, atol=1e-5)
    again = model.decode(samples.latents, noise=model.detail_noise(9, 3, 40, labels=samples.labels))
    np.testing.assert_allclose(samples.images, again, atol=1e-5)


def test_without_it_the_same_latents_have_their_mean_pictures(model: VAE) -> None:
    plain, detailed = model.sample(5, seed=3, detail=False), model.sample(5, seed=3)
    np.testing.assert_allclose(plain.latents, detailed.latents, atol=1e-5)
    np.testing.assert_allclose(plain.images, decode(_weights(0), plain.latents), atol=1e-5)
    assert np.abs(plain.images - detailed.images).max() > 0.05
    assert not plain.choice.detail
    assert repr(plain) == "<5 samples of shape [1, 28, 28], seed=3, start=0, prior='fitted'>"
    assert repr(detailed).endswith("prior='fitted', detail=True>")


@pytest.mark.parametrize("choice", [{"label": 1}, {"prior": "normal"}, {"temperature": 0.0}])
def test_every_choice_has_noise_of_its_class(model: VAE, choice: dict[str, object]) -> None:
    samples = model.sample(6, seed=9, start=1, **choice)  # type: ignore[arg-type]
    labels = samples.labels if "prior" not in choice else None
    expected = decode_detail(_weights(0), samples.latents, detail_noise(SPEC, 9, 1, 6, labels))
    np.testing.assert_allclose(samples.images, expected, atol=1e-5)


def test_a_stream_is_the_same_to_the_byte_however_it_is_cut(model: VAE) -> None:
    whole = np.concatenate([part.images for part in model.stream(300, 5, 3, prior="normal")])
    part = np.concatenate([part.images for part in model.stream(100, 5, 103, chunk=64, prior="normal")])
    assert whole[100:200].tobytes() == part.tobytes()


def test_noise_is_held_in_traversals_and_interpolations(model: VAE) -> None:
    noise = model.detail_noise(1, 4)[0]
    row = model.traverse(2, steps=5, noise=noise, fade=False)
    expected = decode_detail(_weights(0), row.latents[0], np.tile(noise, (5, 1)))
    np.testing.assert_allclose(row.images[0], expected, atol=1e-5)
    way = model.interpolate(np.zeros(12), np.ones(12), 3, noise=noise, fade=False)
    np.testing.assert_allclose(way.images, decode_detail(_weights(0), way.latents, np.tile(noise, (3, 1))), atol=1e-5)
    image = np.zeros((1, 28, 28), np.uint8)
    expected = decode_detail(_weights(0), model.encode(image).mean, noise[None])
    np.testing.assert_allclose(model.reconstruct(image, noise=noise), expected, atol=1e-5)


@pytest.mark.parametrize("default", [True, False])
def test_all_verbs_have_the_models_own_default_of_detail_and_one_held_noise(tmp_path: Path, default: bool) -> None:
    model = VAE(write_tiny_model(tmp_path / "m", default_prior="fitted", detail=DetailSpec(5, 4.0, default)))
    weights, latents, image = _weights(0), np.linspace(-1, 1, 36).reshape(3, 12), np.zeros((28, 28), np.uint8)
    mean = model.encode(image).mean
    held = detail_noise(SPEC, 0, 0, 1)  # of picture 0 of seed 0, without a class

    def expected(rows: np.ndarray, detail: bool) -> np.ndarray:
        return decode_detail(weights, rows, np.tile(held, (len(rows), 1))) if detail else decode(weights, rows)

    for detail in (None, True, False):
        wanted = default if detail is None else detail
        row = model.traverse(2, steps=3, detail=detail, fade=False)
        way = model.interpolate(*latents[:2], 4, detail=detail, fade=False)
        for found, of in (
            (model.decode(latents, detail=detail), latents),
            (model.decode(latents[None], detail=detail)[0], latents),
            (row.images[0], row.latents[0]),
            (way.images, way.latents),
            (model.reconstruct(image, detail=detail), mean),
        ):
            np.testing.assert_allclose(found, expected(of, wanted), atol=1e-5)
        assert model.sample(2, seed=1, detail=detail).choice.detail is wanted
        (chunk,) = model.stream(2, seed=1, detail=detail)
        assert chunk.choice.detail is wanted


def test_traverse_gives_the_same_pictures_in_the_library_and_in_the_command_line(
    cli: Command, detailed_model_folder: Path, model: VAE
) -> None:
    cli.succeed("traverse", "--dim", "5", "--steps", "3", "--animate", "-o", "a.png", "--scale", "1",
                model=detailed_model_folder)  # fmt: skip
    with Image.open("a.png") as image:
        first = np.asarray(image.convert("L"))
    wanted = to_grey_levels(model.traverse(5, steps=3).images)[0, 0, 0]
    windows = np.lib.stride_tricks.sliding_window_view(first, wanted.shape)
    assert (windows == wanted).all(axis=(-2, -1)).any()


def test_noise_of_another_shape_is_refused(model: VAE) -> None:
    with pytest.raises(InputError, match=r"expected rows of noise of shape \[n, 5\], got \[4\]"):
        model.decode(np.zeros((2, 12)), noise=np.zeros(4))
    with pytest.raises(InputError, match="expected noise for each of 2 latents or for all of them, got 3 rows"):
        model.decode(np.zeros((2, 12)), noise=np.zeros((3, 5)))


def test_a_model_without_one_says_so(tiny_model_folder: Path) -> None:
    plain = VAE(tiny_model_folder)
    with pytest.raises(UsageError, match="expected a model with a detail stage, got tiny 1, which has no detail.onnx"):
        plain.sample(1, detail=True)
    with pytest.raises(UsageError, match="expected a model with a detail stage for noise"):
        plain.decode(np.zeros(12), noise=np.zeros(5))
    assert not plain.sample(1, seed=0, detail=False).choice.detail


def test_sessions_of_an_app_do_the_same(model: VAE, detailed_model_folder: Path) -> None:
    names = ("generator", "decoder", "latents", "detail")
    own = VAE.from_sessions(model.manifest, **{name: model._graphs[name] for name in names})
    for choice in ({}, {"label": 0}, {"detail": False}):
        found, expected = own.sample(4, 8, **choice), model.sample(4, 8, **choice)
        np.testing.assert_array_equal(found.images, expected.images)
        np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["graphs"].pop("detail"), "graphs: expected a graph called detail if, and only if, the key"),
        (lambda m: m.pop("detail"), "graphs: expected a graph called detail if, and only if, the key"),
        (lambda m: m["detail"].update(noise=6), "graphs.detail: expected the inputs and outputs"),
        (lambda m: m["detail"].update(noise=1), "detail.noise: expected at least as many numbers as there are class"),
        (lambda m: m["detail"].update(default=1), "detail.default: expected true or false, found 1"),
        (lambda m: m["detail"].update(class_shift="much"), "detail.class_shift: expected a finite number"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    detailed_model_folder: Path, change: object, said: str
) -> None:
    document = json.loads((detailed_model_folder / "manifest.json").read_text())
    change(document)  # type: ignore[operator]
    with pytest.raises(ModelError) as caught:
        Manifest.parse(json.dumps(document))
    assert said in str(caught.value)


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def test_the_command_line_has_both(cli: Command, detailed_model_folder: Path, model: VAE) -> None:
    for flags, detail, words in (((), True, ""), (("--detail",), True, ""), (("--no-detail",), False, ", no details")):
        said = cli.succeed("sample", "-n", "4", "--seed", "7", *flags, "-o", "a.png", model=detailed_model_folder)
        assert said.err == f"4 pictures of seed 7{words} → a.png\n"
        (chunk,) = model.stream(4, 7, dtype="uint8", detail=detail)
        np.testing.assert_array_equal(pixels("a.png"), picture_grid(chunk.images, columns=10, scale=4))


def test_the_command_line_refuses_what_the_model_lacks(cli: Command) -> None:
    for command in ("sample -n 1", "traverse", "interpolate --seed 1 --seed 2"):
        outcome = cli(*command.split(), "--detail", "-o", "a.png")
        assert outcome.code == 2
        assert "expected a model with a detail stage, got tiny 1" in outcome.err
        assert not Path("a.png").exists()


@pytest.mark.parametrize(
    "line",
    ["traverse --seed 7 --dim 2 --steps 3", "traverse --dim 0 --steps 3", "interpolate --seed 1 --seed 2 --steps 3",
     "interpolate --seed 1 --seed 2 --steps 3 --no-detail", "sample -n 3 --seed 7 --label other"],
)  # fmt: skip
def test_repeat_gives_the_same_bytes(cli: Command, detailed_model_folder: Path, line: str) -> None:
    cli.succeed(*line.split(), "-o", "a.png", model=detailed_model_folder)
    cli.succeed("repeat", "a.png", "-o", "b.png", model=detailed_model_folder)
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_repeat_minds_another_detail_stage(cli: Command, detailed_model_folder: Path, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "m", name="m", default_prior="fitted", detail=DetailSpec(6, 4.0, True))
    cli.succeed("sample", "-n", "2", "--seed", "7", "--prior", "normal", "-o", "a.png", model=detailed_model_folder)
    outcome = cli("repeat", "a.png", model=other)
    assert (outcome.code, "expected the model that made this file, detailed 1" in outcome.err) == (4, True)


def test_an_interpolation_begins_with_the_sample_of_its_first_seed(
    cli: Command, detailed_model_folder: Path, model: VAE
) -> None:
    cli.succeed("interpolate", "--seed", "1", "--seed", "2", "--animate", "-o", "a.png", "--scale", "1", "--no-values",
                "--no-fade", model=detailed_model_folder)
    (only,) = model.stream(1, 1)
    found = pixels("a.png").astype(int)
    assert np.abs(found - to_grey_levels(only.images)[0, 0]).max() <= 1
