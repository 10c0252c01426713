"""`vae-eval --quality`: what it prints and writes for a tiny model, and the parts that its figures come from."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vae_gen
from test_train_evaluation import as_sessions
from tiny_training import tiny_data
from vae_gen import InputError
from vae_train import eval_command
from vae_train.config import ModelConfig
from vae_train.data import load_fashion_mnist, split
from vae_train.model import VAE, new_vae
from vae_train.quality.classifiers import (
    NETWORKS,
    WEIGHTS,
    Recipe,
    accuracy,
    describe,
    load_classifier,
    make,
    new_classifier,
    train_classifier,
)
from vae_train.quality.latent_space import path_length, traversal_smoothness
from vae_train.quality.likelihood import binarised_test_images, importance_bound
from vae_train.quality.sample_sets import sample_sets
from vae_train.quality.scores import Judge

DATA = tiny_data(height=28, width=28, train=60, test=30)
SMALL = ("--quality", "--samples", "40", "--seeds", "2", "--iwae-k", "3", "--iwae-images", "5", "--threads", "1")


def vae_eval(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vae-eval", *arguments])
        return eval_command.main()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rectangles in place of the data set, and a folder of its own."""
    monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: DATA)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("small")
def test_measuring_quality_writes_figures_a_page_and_pictures(
    fitted_model_folder: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (str(fitted_model_folder), *SMALL, "--reference", str(tiny_model_folder))
    assert vae_eval(*arguments, "--report", "report", "--json", "-o", "figures.json") == 0
    streams = capsys.readouterr()
    figures = json.loads(streams.out)
    assert Path("figures.json").read_text("utf-8") == Path("report", "metrics.json").read_text("utf-8") == streams.out
    assert "N(0, I) samples, seed 1" in streams.err

    assert (figures["model"], figures["reference"]) == ("fitted", "tiny")
    assert set(figures["likelihood"]) == {"model", "reference"}
    bounds = figures["likelihood"]["model"]["iwae"]
    assert set(bounds) == {"grey", "binarised", "binarised_grey_encoded"}
    assert (bounds["grey"]["images"], bounds["grey"]["k"]) == (5, 3)

    sets = figures["samples"]["sets"]
    assert list(sets) == [
        "real", "reconstruction_mean", "reconstruction_sampled", "normal", "fitted", "labelled", "reference_normal",
    ]  # fmt: skip
    for name, entry in sets.items():
        assert set(entry["classifiers"]) == set(NETWORKS)
        own = entry["classifiers"]["residual"]
        assert own["frechet_share"] == pytest.approx(
            own["frechet"]["mean"] / sets["reference_normal"]["classifiers"]["residual"]["frechet"]["mean"]
        )
        assert sum(own["classes"]["mean"]) == pytest.approx(1)
        assert own["rarest"]["mean"] == pytest.approx(0)  # rectangles are not all ten kinds of garment
        assert (own["frechet"]["deviation"] is None) == (name == "reconstruction_mean")
    assert {name for name in sets if "classification_accuracy" in sets[name]} == {"real", "labelled"}
    assert {name for name in sets if "nearest_training" not in sets[name]} == {"real"}
    labelled = [name for name in sets if "read_as_label" in sets[name]["classifiers"]["plain"]]
    assert labelled == ["real", "reconstruction_mean", "reconstruction_sampled", "fitted", "labelled"]

    latent = figures["latent"]["model"]
    assert len(latent["traversal"]["pixels"]["per_dimension"]) == 12
    assert latent["path_length"]["plain"]["mean"]["deviation"] >= 0

    pictures = {path.stem for path in Path("report").glob("*.png")}
    assert {f"samples-{name}" for name in sets} | {"latent-map", "traversals"} < pictures
    for name in pictures:
        with Image.open(Path("report", f"{name}.png")) as picture:
            picture.load()
    page = Path("report", "report.md").read_text("utf-8")
    assert all(f"]({name}.png)" in page for name in pictures)
    assert "228.70" in page
    for block in page.split("\n\n"):  # every row of a table has as many cells as its head
        rows = [line.count("|") for line in block.splitlines() if line.startswith("|")]
        assert len(set(rows)) <= 1


@pytest.mark.usefixtures("small")
def test_measuring_quality_again_gives_the_same_figures(
    tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for _ in range(2):
        assert vae_eval(str(tiny_model_folder), *SMALL, "--json", "--reference", "none") == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    figures = json.loads(texts[0])
    assert figures["reference"] is None
    assert "frechet_share" not in figures["samples"]["sets"]["normal"]["classifiers"]["residual"]


@pytest.mark.usefixtures("small")
def test_a_part_alone_is_measured_alone(tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vae_eval(str(tiny_model_folder), *SMALL, "--only", "likelihood", "--reference", "none") == 0
    page = capsys.readouterr().out
    assert page.startswith("# The quality of tiny\n")
    assert "## Likelihood" in page
    assert "## Samples" not in page
    assert "## Latent space" not in page


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--quality", "--only", "looks"], 2, "expected parts among likelihood, samples, latent, got looks"),
        (["--quality", "--samples", "5"], 2, "expected samples of at least 6, got 5"),
        (["--quality", "--seeds", "0"], 2, "expected seeds of at least 1, got 0"),
        (["--quality", "--iwae-k", "0"], 2, "expected iwae_k of at least 1, got 0"),
        (["--quality", "--reference", "nowhere"], 4, "expected a model folder or one of "),
        (["--quality", *SMALL[1:], "--only", "likelihood", "--report", "no/where"], 7, "expected a folder to write to"),
        (["--samples", "50"], 2, "--samples only applies to --quality; add --quality, or leave --samples out"),
        (["--report", "folder"], 2, "--report only applies to --quality; "),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    arguments: list[str], code: int, message: str, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vae_eval(str(tiny_model_folder), *arguments) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("vae-eval: ")
    assert message in error


@pytest.mark.usefixtures("small")
def test_a_run_is_to_be_exported_first(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    Path("run", "config.json").write_text("{}")
    assert vae_eval("run", "--quality") == 5
    assert "got the folder of a run, run; export it first" in capsys.readouterr().err


def flat_vae(constant: float) -> VAE:
    """A VAE that decodes every latent to the same picture, and gives every image the posterior N(m, s²)."""
    vae = new_vae(ModelConfig(), seed=0)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        vae.encoder.mean.bias.fill_(0.5)
        vae.encoder.log_variance.bias.fill_(-0.4)
        vae.decoder.convolutions[-1].bias.fill_(constant)
    return vae


def test_the_bound_of_a_decoder_that_ignores_its_latent_lies_between_its_cost_and_its_elbo(
    tiny_model_folder: Path,
) -> None:
    model = as_sessions(flat_vae(1.0), tiny_model_folder)
    images = np.zeros((40, 1, 28, 28), np.float32)
    cost = 784 * math.log(1 + math.e)  # every pixel is s(1), and black
    kl = 12 * 0.5 * (math.exp(-0.4) + 0.25 - 1 + 0.4)
    one, many = importance_bound(model, images, 1), importance_bound(model, images, 500)
    assert one.neg_elbo == one.iwae
    assert one.monte_carlo_error == 0
    assert many.neg_elbo == pytest.approx(cost + kl, abs=0.1)
    assert cost - 0.2 < many.iwae < cost + 0.2
    # Each image is the same, so that only the draws make the bounds differ: two errors that should agree.
    assert many.monte_carlo_error == pytest.approx(many.image_error, rel=0.5)


def test_a_bound_does_not_depend_on_how_many_images_are_decoded_at_once(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = vae_gen.VAE(tiny_model_folder), DATA.test_images.numpy()[:7].astype(np.float32) / 255
    whole = importance_bound(model, images, 6)
    monkeypatch.setattr("vae_train.quality.likelihood.CHUNK", 13 * 784)  # two images at a time
    parts = importance_bound(model, images, 6)
    assert parts.iwae == pytest.approx(whole.iwae, abs=1e-4)
    assert importance_bound(model, images, 6, proposal=images).iwae == parts.iwae
    assert importance_bound(model, images, 6, proposal=1 - images).iwae > parts.iwae + 1


@pytest.mark.data
def test_binarised_test_images_are_drawn_as_the_exemplar_vae_draws_them() -> None:
    data = load_fashion_mnist(download=False)
    binary = binarised_test_images(data)
    assert set(np.unique(binary)) == {0.0, 1.0}
    grey = data.test_images.numpy() / 255
    assert not binary[grey == 0].any()
    assert binary[grey == 1].all()
    assert binary.mean() == pytest.approx(grey.mean(), abs=3e-4)
    # One uniform number each, in order: 7 840 000 for the validation images come first.
    uniform = np.random.RandomState(777)
    uniform.random_sample(10_000 * 784)
    drawn = uniform.random_sample(784)
    probability = grey[0].ravel()
    expected = np.where(probability <= 0.5, drawn > 1 - probability, drawn <= probability)
    np.testing.assert_array_equal(binary[0].ravel(), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_shipped_classifier_is_small_and_says_what_it_reaches(name: str) -> None:
    facts = json.loads((WEIGHTS / f"{name}.json").read_text("utf-8"))
    network = load_classifier(name)
    assert facts["parameters"] == sum(parameter.numel() for parameter in network.parameters()) < 400_000
    assert facts["test_accuracy"] > 0.92
    described = describe(network, DATA.test_images.numpy())
    assert described.features.shape == (30, facts["features"])
    np.testing.assert_allclose(described.probabilities.sum(1), 1, atol=1e-5)
    halves = describe(network, DATA.test_images.numpy().astype(np.float32) / 255)
    np.testing.assert_allclose(halves.features, described.features, atol=1e-5)


def test_both_classifiers_together_stay_under_a_megabyte() -> None:
    assert sum((WEIGHTS / f"{name}.safetensors").stat().st_size for name in NETWORKS) < 1_000_000


@pytest.mark.data
@pytest.mark.parametrize("name", NETWORKS)
def test_a_shipped_classifier_reaches_what_its_file_says(name: str) -> None:
    data = load_fashion_mnist(download=False)
    facts = json.loads((WEIGHTS / f"{name}.json").read_text("utf-8"))
    network = load_classifier(name)
    assert accuracy(network, data.test_images, data.test_labels) == pytest.approx(facts["test_accuracy"], abs=1e-3)
    _, validation = split(len(data.train_images), 5000)
    found = accuracy(network, data.train_images[validation], data.train_labels[validation])
    assert found == pytest.approx(facts["validation_accuracy"], abs=2e-3)  # rounding may turn a few pictures


def test_training_a_classifier_twice_gives_the_same_weights_and_learns() -> None:
    labels = (DATA.train_images.float().mean((1, 2, 3)) > DATA.train_images.float().mean()).long()
    recipe = Recipe(epochs=6, learning_rate=5e-3, shift=0, batch_size=20)
    networks = [new_classifier("plain", 3) for _ in range(2)]
    for network in networks:
        train_classifier(network, DATA.train_images, labels, recipe)
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert accuracy(networks[0], DATA.train_images, labels) > 0.9


def test_a_classifier_is_written_with_its_recipe_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_train.quality.classifiers.VALIDATION_IMAGES", 10)
    facts = make("residual", DATA, Recipe(epochs=1, learning_rate=1e-3, shift=1), tmp_path)
    assert json.loads((tmp_path / "residual.json").read_text("utf-8")) == facts
    assert facts["train_images"] == 50
    load_classifier("residual", tmp_path)
    with pytest.raises(InputError) as caught:
        load_classifier("plain", tmp_path)
    path = tmp_path / "plain.safetensors"
    assert str(caught.value).startswith(f"{path}: expected the weights of the plain classifier")
    assert "\n" not in str(caught.value)


def test_a_set_is_a_function_of_its_seed(fitted_model_folder: Path) -> None:
    sets = sample_sets(vae_gen.VAE(fitted_model_folder), DATA, 20, None)
    for one in sets:
        images, labels = one.make(5)
        assert images.dtype == np.uint8
        assert images.shape == (20, 1, 28, 28)
        assert labels is None or labels.shape == (20,)
        again, other = one.make(5)[0], one.make(6)[0]
        np.testing.assert_array_equal(images, again)
        assert np.array_equal(images, other) != one.random
    labelled: dict[str, Any] = {one.name: one.make(0)[1] for one in sets}
    assert labelled["labelled"].tolist() == [0] * 10 + [1] * 10
    assert labelled["normal"] is None


def test_a_latent_space_in_which_nothing_moves_has_no_length_and_no_jumps(tiny_model_folder: Path) -> None:
    judge, model = Judge.load("residual", DATA), as_sessions(flat_vae(0.0), tiny_model_folder)
    assert path_length(model, judge, 0, paths=10) == {"mean": 0.0, "median": 0.0}
    smooth = traversal_smoothness(model, DATA, [judge])
    assert smooth["residual"]["worst"] == 1.0


def test_a_path_twice_as_steep_is_four_times_as_long(tiny_model_folder: Path) -> None:
    class Doubled:
        """The model with its latents doubled about 0, which is the same picture twice as fast."""

        def __init__(self, model: vae_gen.VAE) -> None:
            self.manifest, self.model = model.manifest, model

        def decode(self, latents: Any, *, detail: bool) -> Any:
            return self.model.decode(0.02 * latents, detail=detail)

    class Slow(Doubled):
        def decode(self, latents: Any, *, detail: bool) -> Any:
            return self.model.decode(0.01 * latents, detail=detail)

    judge, model = Judge.load("plain", DATA), vae_gen.VAE(tiny_model_folder)
    fast, slow = (path_length(made, judge, 0, paths=40)["median"] for made in (Doubled(model), Slow(model)))
    assert fast / slow == pytest.approx(4, rel=0.15)
