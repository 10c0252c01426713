"""`vae-eval --quality` of image sets that have no shipped classifier: judges of their own, and what is left out."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from tiny_model import write_tiny_model
from vae_gen import Posterior
from vae_train import eval_command
from vae_train.images.image_set import ImageSet
from vae_train.quality import distances, own, report
from vae_train.quality.classifiers import augmented, describe
from vae_train.quality.distances import frechet_distance, manifold, nearest
from vae_train.quality.likelihood import importance_bound
from vae_train.quality.measure import mean_image_psnr
from vae_train.quality.own import LABELS, PATCHES, Patches, own_classifier, own_judges, own_recipe, why_no_classifier
from vae_train.quality.scores import spread

pytestmark = pytest.mark.slow  # trains: about half a minute

SMALL = ("--quality", "--seeds", "2", "--iwae-k", "3", "--iwae-images", "5", "--threads", "1")


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder and a cache of its own, and judges that learn in a second."""
    monkeypatch.setenv("VAE_GEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(own, "FITTED_PIECES", 4000)
    monkeypatch.setattr(own, "SHOWN_PIXELS", 400_000)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def bars(count: int, shape: tuple[int, int, int], kinds: int, seed: int = 0) -> tuple[NDArray[np.uint8], Any]:
    """Pictures with one bar each on a dark ground, and its direction, which is the class of the picture."""
    random = np.random.default_rng(seed)
    channels, height, width = shape
    y, x = np.mgrid[:height, :width]
    images, labels = np.zeros((count, *shape), np.uint8), random.integers(0, kinds, count)
    for image, label in zip(images, labels, strict=True):
        angle = math.pi * label / kinds
        off = (y - height / 2) * math.cos(angle) - (x - width / 2) * math.sin(angle) + random.uniform(-3, 3)
        shade = random.integers(150, 256, (channels, 1, 1))
        image[:] = (np.abs(off) < 2) * shade + random.integers(0, 9, shape)
    return images, labels


def set_of(count: int, shape: tuple[int, int, int] = (1, 16, 16), kinds: int = 3, *, labelled: bool = True) -> ImageSet:
    """A set whose last third is for testing."""
    images, labels = bars(count, shape, kinds)
    first = count * 2 // 3
    labels = labels if labelled else np.full(count, -1)
    (train, test), (train_labels, test_labels) = (
        torch.from_numpy(array).split([first, count - first]) for array in (images, labels)
    )
    return ImageSet(
        train_images=train, train_labels=train_labels, test_images=test, test_labels=test_labels,
        sha256={"bars": f"{shape} {kinds}"}, name="bars",
        class_names=tuple(f"kind {kind}" for kind in range(kinds)) if labelled else (),
    )  # fmt: skip


def model_of(shape: tuple[int, int, int], classes: list[str]) -> Path:
    """A folder with a made-up model of these pictures; of colour pictures it has a Gaussian likelihood."""
    facts: dict[str, Any] = {"data": {"name": "bars"}}
    if shape[0] == 3:
        facts |= {"likelihood": "gaussian", "metrics": {"test": {"pixel_variance": 0.05}}}
    return write_tiny_model(Path("model"), default_prior="fitted", shape=shape, class_names=classes, **facts)


def vae_eval(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vae-eval", *arguments])
        return eval_command.main()


def write_npz(data: ImageSet) -> None:
    arrays = {"x_train": data.train_images, "x_test": data.test_images}
    if data.class_names:
        arrays |= {"y_train": data.train_labels, "y_test": data.test_labels}
    np.savez("bars.npz", **{name: tensor.numpy() for name, tensor in arrays.items()})


def test_labels_of_ones_own_make_a_judge_whose_accuracy_stands_beside_its_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = model_of((1, 16, 16), ["0", "1"])
    write_npz(set_of(330, kinds=2))
    arguments = (str(folder), *SMALL, "--data", "bars.npz", "--report", "report")
    assert vae_eval(*arguments, "--json") == 0
    streams = capsys.readouterr()
    figures = json.loads(streams.out)
    assert "training a classifier of 2 classes" in streams.err
    assert figures["reference"] is None
    assert figures["settings"]["samples"] == 110  # as many as there are test images
    assert set(figures["likelihood"]["model"]["iwae"]) == {"grey"}
    judge = figures["classifiers"][LABELS]
    assert judge["test_accuracy"] > 0.9 > 0.6 > judge["most_frequent"]
    real, normal = (figures["samples"]["sets"][name]["classifiers"] for name in ("real", "normal"))
    assert real[LABELS]["read_as_label"]["mean"] == pytest.approx(judge["test_accuracy"], abs=0.08)
    assert real[PATCHES]["kernel"]["mean"] < normal[PATCHES]["kernel"]["mean"] / 5
    assert real[PATCHES]["coverage"]["mean"] > normal[PATCHES]["coverage"]["mean"] + 0.5
    assert "sure" not in real[PATCHES]
    assert set(figures["samples"]["sets"]["fitted"]["nearest_training"]) == {"pixels", PATCHES, LABELS}
    assert "frechet" not in real[LABELS]
    assert set(figures["left_out"]) == {
        "bounds of binarised images, and published values", "the classification accuracy score",
        "shares of a reference model's Fréchet distance", "frechet, in the features of labels",
        "frechet, in the features of patches",
    }  # fmt: skip
    page = Path("report", "report.md").read_text("utf-8")
    accuracy = f"{100 * judge['test_accuracy']:.2f} %"
    assert f"## Samples, by a classifier of the labels that recognises {accuracy} of the test images" in page
    assert f"## Share of each class, by a classifier of the labels that recognises {accuracy}" in page
    assert "- the classification accuracy score: it would train a classifier for each set of pictures" in page
    for block in page.split("\n\n"):  # every row of a table has as many cells as its head
        assert len({line.count("|") for line in block.splitlines() if line.startswith("|")}) <= 1

    assert vae_eval(*arguments[:-2], "--json", "--only", "latent") == 0
    again = capsys.readouterr()
    assert "training a classifier" not in again.err
    assert json.loads(again.out)["classifiers"] == figures["classifiers"]
    assert json.loads(again.out)["latent"] == figures["latent"]


def test_colour_without_labels_is_compared_in_features_that_need_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = model_of((3, 16, 24), [])
    write_npz(set_of(200, (3, 16, 24), labelled=False))
    assert vae_eval(str(folder), *SMALL, "--data", "bars.npz", "--report", "report", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    one = figures["likelihood"]["model"]
    assert set(one["iwae"]) == {"gaussian"}
    assert one["pixel_variance"] > 0
    assert one["iwae"]["gaussian"]["neg_elbo"] == pytest.approx(one["neg_elbo"], rel=0.2)
    assert list(figures["classifiers"]) == [PATCHES]
    assert "read_as_label" not in figures["samples"]["sets"]["real"]["classifiers"][PATCHES]
    assert figures["left_out"][own.SEEN] == "the set has no labels"
    assert figures["left_out"]["frechet, in the features of patches"] == (
        "it needs 128 test images for 64 features, and the set has 67"
    )
    page = Path("report", "report.md").read_text("utf-8")
    assert f"| PSNR of reconstructions, dB | {one['psnr_db']:.2f} |" in page
    assert "| IWAE, pixels with a Gaussian likelihood |" in page
    assert f"has a PSNR of {figures['mean_image_psnr_db']:.2f} dB" in page
    assert "228.70" not in page
    assert f"- {own.SEEN}: the set has no labels." in page
    assert "## Share of each class" not in page
    assert Path("report", "latent-map.png").exists()


def test_few_test_images_are_not_compared_with_but_neighbours_are_still_searched(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = model_of((1, 16, 16), [])
    write_npz(set_of(60, labelled=False))
    assert vae_eval(str(folder), *SMALL, "--data", "bars.npz", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    reason = figures["left_out"]["comparisons with the test images"]
    assert reason == "the set has 20 test images, and fewer than 50 say little"
    lookup = figures["samples"]["sets"]["normal"]["nearest_training"]["pixels"]
    assert set(lookup) == {"median", "test_median"}
    assert set(figures["latent"]["model"]["traversal"]) == {"pixels"}


@pytest.mark.parametrize(
    ("classes", "reference", "code", "message"),
    [
        (["a", "b"], "none", 5, "expected images with the classes of the model, a, b, got 0, 1; name the images"),
        (["0", "1"], "fashion-mnist-12d", 2, "expected a reference model for pictures of shape [1, 16, 16], got "),
    ],
)
def test_what_does_not_belong_to_the_model_is_refused(
    classes: list[str], reference: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model_of((1, 16, 16), classes)
    write_npz(set_of(60, kinds=2))
    assert vae_eval(str(folder), *SMALL, "--data", "bars.npz", "--reference", reference) == code
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 64), (1, 16, 128)])
def test_pieces_compare_pictures_of_every_shape(shape: tuple[int, int, int]) -> None:
    images = bars(90, shape, 3)[0]
    one, other = (describe(Patches(images), images) for _ in range(2))
    np.testing.assert_array_equal(one.features, other.features)
    assert one.features.shape == (90, 64)
    assert one.probabilities.shape == (90, 0)
    assert np.isfinite(one.features).all()
    assert np.isfinite(describe(Patches(images[:20] * 0), images).features).all()  # a set of black pictures


def test_pieces_tell_blurred_pictures_from_sharp_ones_which_pixels_do_not() -> None:
    train, test, fresh = (bars(300, (1, 24, 24), 3, seed)[0] for seed in (1, 2, 3))
    blurred = fresh.astype(np.float64)
    for axis in (2, 3):
        blurred = sum(np.roll(blurred, by, axis) for by in (-2, -1, 0, 1, 2)) / 5
    network = Patches(train)
    features = [describe(network, images).features for images in (test, fresh, blurred.astype(np.uint8))]
    assert frechet_distance(features[0], features[2]) > 10 * frechet_distance(features[0], features[1])
    assert manifold(features[0], features[1]).coverage > 0.9 > 0.3 > manifold(features[0], features[2]).coverage


def test_a_set_tells_why_it_has_no_classifier() -> None:
    data = set_of(600)
    assert why_no_classifier(data) is None
    assert why_no_classifier(replace(data, class_names=())) == "the set has no labels"
    assert why_no_classifier(replace(data, train_labels=data.train_labels * 0)) == "the set has a single class"
    few = replace(data, train_labels=torch.where(torch.arange(400) < 90, data.train_labels, -1))
    assert why_no_classifier(few) == (
        "the set has 90 labelled training images and 200 labelled test images, and a classifier needs 100 and 50"
    )


def test_a_classifier_that_learned_nothing_does_not_judge() -> None:
    data = set_of(300)
    random = torch.Generator().manual_seed(0)
    labels = torch.where(torch.rand(300, generator=random) < 0.8, 0, 1)
    found, left_out = own_judges(replace(data, train_labels=labels[:200], test_labels=labels[200:]), lambda _: None)
    assert [judge.name for judge in found] == [PATCHES]
    assert "always guessing the most frequent class" in left_out[own.SEEN]


def test_a_classifier_of_other_labels_or_with_a_damaged_file_is_trained_anew(tmp_path: Path) -> None:
    data, notes = set_of(150, (1, 8, 8)), list[str]()
    _, facts = own_classifier(data, notes.append)
    assert facts["train_images"] == 100
    own_classifier(data, notes.append)
    assert len(notes) == 1
    own_classifier(replace(data, sha256={"bars": "others"}), notes.append)
    assert len(notes) == 2
    for path in Path(tmp_path, "cache", "judges").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    assert own_classifier(data, notes.append)[1] == facts
    assert len(notes) == 3


def test_a_classifier_is_shown_so_many_pixels_that_it_takes_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "SHOWN_PIXELS", 80_000_000)
    for images, shape in ((200, (1, 8, 8)), (10_000, (1, 28, 28)), (9_000, (3, 64, 64)), (30_000, (3, 32, 32))):
        recipe = own_recipe(images, shape)
        assert recipe.epochs * images * shape[1] * shape[2] <= 80_000_000
        assert recipe.epochs >= 2
        assert not recipe.flip


def test_pictures_in_colour_move_with_their_edges_and_are_not_mirrored() -> None:
    image = torch.arange(3 * 4 * 5).reshape(1, 3, 4, 5).float().expand(100, -1, -1, -1)
    moved = augmented(image, 1, torch.Generator().manual_seed(0), flip=False, border="replicate")
    assert moved.shape == image.shape
    assert (moved.diff(dim=3) >= 0).all()
    assert (moved.flatten(1) == image.flatten(1)).all(1).any()
    assert {int(value) for value in moved[:, 0, 0, 0]} == {0, 1, 5, 6}
    assert torch.equal(moved[:, 2] - moved[:, 0], torch.full((100, 4, 5), 40.0))


class Flat:
    """A model that ignores its latents: each is decoded to the same grey, and encoded as the prior."""

    def encode(self, images: NDArray[np.float32]) -> Posterior:
        return Posterior(np.zeros((len(images), 2), np.float32), np.zeros((len(images), 2), np.float32))

    def decode(self, latents: NDArray[np.float32], *, detail: bool) -> NDArray[np.float32]:
        return np.full((len(latents), 3, 2, 2), 0.25, np.float32)


def test_the_bound_of_a_gaussian_is_its_density_where_the_latent_does_not_matter() -> None:
    images = np.random.default_rng(0).random((4, 3, 2, 2), np.float32)
    found = importance_bound(Flat(), images, 5, pixel_variance=0.3)  # type: ignore[arg-type]
    density = ((images - 0.25) ** 2 / 0.6 + 0.5 * math.log(2 * math.pi * 0.3)).sum((1, 2, 3)).mean()
    assert found.iwae == pytest.approx(density, rel=1e-5)
    assert found.neg_elbo == pytest.approx(density, rel=1e-5)


def test_the_nearest_of_many_grey_levels_is_found_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (50, 12), np.uint8)
    points = np.random.default_rng(1).random((9, 12), np.float32)
    exact = cdist(points, levels / 255)
    monkeypatch.setattr(distances, "NUMBERS", 12 * 7)
    found, indices = nearest(points, levels)
    np.testing.assert_allclose(found, exact.min(1), rtol=1e-5)
    np.testing.assert_array_equal(indices, exact.argmin(1))


def test_the_mean_image_is_that_of_the_training_images() -> None:
    data = set_of(90, (3, 16, 16))
    mean = data.train_images.numpy().mean(0) / 255
    error = ((data.test_images.numpy() / 255 - mean) ** 2).mean()
    assert mean_image_psnr(data) == pytest.approx(-10 * math.log10(error), abs=1e-4)


def test_what_only_some_seeds_have_has_no_spread() -> None:
    runs = [{"a": 1.0, "each": [1.0, 2.0], "rare": 3.0}, {"a": 3.0, "each": [1.0]}]
    assert set(spread(runs)) == {"a"}


def test_a_page_of_many_classes_has_no_column_for_each() -> None:
    names = [f"class {at}" for at in range(200)]
    figure = {"mean": 0.5, "deviation": None}
    own_figures = {"classes": {"mean": [0.005] * 200, "deviation": None}, "sure": figure}
    samples = {"test_images": {LABELS: {"sure": 0.5}}, "class_names": names, "sets": {
        "real": {"title": "real", "classifiers": {LABELS: own_figures}},
    }}  # fmt: skip
    judge = {"test_accuracy": 0.61, "most_frequent": 0.02, "train_images": 900, "test_images": 100}
    header = {"model": "m", "engine": "e", "data": "d", "decoder_sha256": "f" * 64}
    page = report.markdown({**header, "samples": samples, "classifiers": {LABELS: judge}})
    assert "class 7" not in page
    assert "Figures of each of the 200 classes, by a classifier of the labels that recognises 61.00 % of the" in page
    assert "| real | 50.0 |" in page
