"""`--prior`, `--label` and `--temperature`: the same choices as in the library, in every command that has seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from vae_gen import VAE, picture_grid, to_grey_levels


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def test_sample_draws_what_the_library_draws(cli: Command) -> None:
    outcome = cli.succeed(
        "sample", "-n", "12", "--seed", "7", "--label", "OTHER", "--temperature", "0.8", "-o", "a.png"
    )
    assert outcome.err == "12 pictures of seed 7, other blob, temperature 0.8 → a.png\n"
    (chunk,) = VAE(cli.model).stream(12, 7, dtype="uint8", label="other", temperature=0.8)
    np.testing.assert_array_equal(pixels("a.png"), picture_grid(chunk.images, columns=10, scale=4))


def test_the_default_is_the_models_own_and_the_other_one_a_flag_away(
    cli: Command, fitted_model_folder: Path
) -> None:
    for model, default, other in ((cli.model, "normal", "fitted"), (fitted_model_folder, "fitted", "normal")):
        said = [
            cli.succeed("sample", "-n", "3", "--seed", "7", *more, "-o", name, model=model).err
            for name, more in (("a.npz", ()), ("b.npz", ("--prior", default)), ("c.npz", ("--prior", other)))
        ]
        assert said[:2] == [f"3 pictures of seed 7 → {name}.npz\n" for name in "ab"]
        assert said[2] == f"3 pictures of seed 7, {other} prior → c.npz\n"
        assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes() != Path("c.npz").read_bytes()


def test_an_archive_holds_the_class_of_each_sample_where_there_are_classes(cli: Command) -> None:
    cli.succeed("sample", "-n", "100", "--seed", "7", "--start", "30", "--prior", "fitted", "-o", "a.npz")
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "b.npz")
    latents, labels = VAE(cli.model).fitted_prior().latents(7, 30, 100)
    with np.load("a.npz") as archive:
        assert set(archive) == {"images", "latents", "labels", "model", "seed", "start"}
        assert archive["labels"].dtype == np.int64
        np.testing.assert_array_equal(archive["labels"], labels)
        np.testing.assert_allclose(archive["latents"], latents, atol=1e-5)
    with np.load("b.npz") as archive:
        assert set(archive) == {"images", "latents", "model", "seed", "start"}


def test_json_says_choices_and_classes(cli: Command) -> None:
    line = "sample -n 70 --seed 7 --prior fitted --temperature 0.5 --json -o"
    for output in ("a.png", "a.npy"):
        document = json.loads(cli.succeed(*line.split(), output).out)
        assert (document["prior"], document["label"], document["temperature"]) == ("fitted", None, 0.5)
        assert document["labels"] == VAE(cli.model).sample(70, 7, prior="fitted").labels.tolist()
    document = json.loads(cli.succeed("sample", "-n", "2", "--label", "blob", "--json").out)
    assert (document["prior"], document["label"], document["labels"]) == ("fitted", 0, [0, 0])


@pytest.mark.parametrize(
    "choices", [("--prior", "fitted"), ("--label", "other"), ("--temperature", "0.3"), ("--prior", "normal")]
)
def test_traversals_and_interpolations_begin_at_the_sample_that_was_chosen(
    cli: Command, choices: tuple[str, str]
) -> None:
    arguments = {choices[0].removeprefix("--"): float(choices[1]) if choices[0] == "--temperature" else choices[1]}
    model = VAE(cli.model)
    ends = [next(model.stream(1, seed, 5, **arguments)).latents[0] for seed in (1, 2)]
    line = "interpolate --seed 1 --seed 2 --start 5 --steps 3 -o way.png --json"
    document = json.loads(cli.succeed(*line.split(), *choices).out)
    assert document["prior"] == ("normal" if choices[1] in ("normal", "0.3") else "fitted")
    for picture in model.interpolate(*ends, 3, "likely").images:
        assert holds(pixels("way.png"), picture)
    line = "traverse --dim 0 --seed 1 --start 5 --steps 2 -o row.png"
    cli.succeed(*line.split(), *choices)
    for picture in model.traverse(0, around=ends[0], steps=2).images[0]:
        assert holds(pixels("row.png"), picture)


def holds(sheet: np.ndarray, picture: np.ndarray) -> bool:
    """Whether a sheet at scale 3 has this picture, float32 [1, height, width], anywhere."""
    wanted = to_grey_levels(picture)[0].repeat(3, 0).repeat(3, 1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, wanted.shape)
    likely = np.argwhere((windows[:, :, ::9, ::9] == wanted[::9, ::9]).all((2, 3)))
    return any((windows[row, column] == wanted).all() for row, column in likely)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sample --prior normal --label blob",
         "expected the fitted prior for the label blob, got normal, which has no classes"),
        ("sample --label shoe",
         "expected a class (blob, other blob), the beginning of its name or a word of it, got 'shoe'"),
        ("sample --temperature -1", "expected a temperature from 0 to 100, got -1.0"),
        ("sample --temperature nan", "expected a temperature from 0 to 100, got nan"),
        ("traverse --label blob --around centre",
         "--label only applies to the picture of a --seed, a typical latent, or directions; leave it out"),
        ("traverse --prior fitted", "--prior only applies to the picture of a --seed; leave it out"),
        ("interpolate --latents l.npy --temperature 0.5",
         "--temperature only applies to pictures of a --seed or a --label; leave it out"),
    ],
)
def test_choices_that_make_no_sense_are_usage_errors(cli: Command, line: str, message: str) -> None:
    outcome = cli(*line.split())
    assert (outcome.code, outcome.err) == (2, f"vae-gen: {message}\n")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sample --prior uniform", "expected normal or fitted for --prior, got uniform"),
        ("sample --temperature warm", "expected a number for --temperature, got warm"),
    ],
)
def test_values_that_cannot_be_read_are_usage_errors(cli: Command, line: str, message: str) -> None:
    outcome = cli(*line.split())
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())


def test_a_model_without_a_fitted_prior_says_so(cli: Command, old_model_folder: Path) -> None:
    cli.succeed("sample", "-n", "2", "--prior", "normal", model=old_model_folder)
    outcome = cli("sample", "--label", "blob", model=old_model_folder)
    assert (outcome.code, outcome.err) == (
        2,
        "vae-gen: expected a model with latents.onnx, which the label blob needs, got old 1 without it; "
        "export the model again with this version\n",
    )
    assert "priors        normal" in cli.succeed("info", model=old_model_folder).out.decode().splitlines()
