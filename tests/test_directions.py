"""Directions with a measured meaning: what they do to pictures, how they are found, and what a file of them must be."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.directions import plainly
from numpy.typing import NDArray

import vae_export.directions as finding
from vae_export.attributes import attribute_names, measure
from vae_gen import VAE, InputError, ModelError, UsageError, find_model
from vae_gen.internal import directions
from vae_gen.internal.directions import Directions
from vae_gen.internal.prior import FittedPrior, Mixture
from vae_train.quality.classifiers import load_classifier

SHIPPED = "fashion-mnist-12d"


@pytest.fixture(scope="module")
def vae() -> VAE:
    return VAE(SHIPPED, threads=1)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((find_model(SHIPPED) / "directions.json").read_bytes())
    return content


@pytest.mark.parametrize(("name", "label", "own", "others"), [
    ("sleeve length", "pullover", "reach", ("shade", "width")),
    ("sleeve length", "dress", "reach", ("shade",)),
    ("shade", "bag", "shade", ("width", "height")),
    ("width", "pullover", "width", ("shade", "reach")),
    ("shaft height", "boot", "height", ("shade",)),
    ("trouser width", "trouser", "width", ("shade",)),
])  # fmt: skip
def test_an_independent_measurement_finds_the_attribute_moved_and_the_others_still(
    vae: VAE, name: str, label: str, own: str, others: tuple[str, ...]
) -> None:
    latents = vae.sample(120, seed=31, label=label, detail=False).latents
    steps = np.linspace(-1.5, 1.5, 7)
    along = [vae.decode(vae.move(latents, name, step, label=label), detail=False) for step in steps]
    typical = plainly(vae.sample(400, seed=32, label=label, detail=False).images)
    found = [plainly(images) for images in along]
    changes = {key: (found[-1][key] - found[0][key]) / typical[key].std() for key in (own, *others)}
    assert np.median(changes[own]) > 3 * 0.6
    for other in others:
        assert np.median(np.abs(changes[other])) < 0.75, other
    ranks = np.stack([one[own] for one in found]).argsort(0, kind="stable").argsort(0, kind="stable")
    assert np.median([np.corrcoef(row, np.arange(7))[0, 1] for row in ranks.T]) > 0.95
    classifier = load_classifier("residual")
    with torch.inference_mode():
        first, *ends = (
            classifier(torch.from_numpy(images)).logits.argmax(1).numpy()
            for images in (vae.decode(latents, detail=False), along[0], along[-1])
        )
    known = first == vae.manifest.class_names.index(next(c for c in vae.class_names if label in c.lower()))
    assert np.mean([(end == first)[known] for end in ends]) > 0.7


def test_a_latent_comes_to_the_position_asked_for_and_positions_are_limited(vae: VAE) -> None:
    latents = vae.sample(40, seed=5, label="coat", detail=False).latents
    for name in ("shade", "width", "sleeve length"):
        moved = vae.move(latents, name, 0.5, label="coat")
        missed = np.abs(vae.attributes(moved, label="coat")[name] - 0.5)
        assert (np.median(missed) < 0.03, np.quantile(missed, 0.9) < 0.25) == (True, True)
        far, farther = (vae.move(latents, name, end, label="coat") for end in (9, 50))
        assert np.array_equal(far, farther)
        assert 0.7 < np.median(vae.attributes(far, label="coat")[name]) < 5


def test_latents_keep_their_shape_and_a_position_may_be_an_array(vae: VAE) -> None:
    latents = vae.sample(6, seed=5, label="bag", detail=False).latents.reshape(2, 3, 12)
    positions = np.array([[0.0, 0.5, 1.0], [-1.0, 0.0, 1.0]])
    moved = vae.move(latents, "shade", positions, label="bag")
    assert (moved.shape, moved.dtype) == ((2, 3, 12), np.float32)
    assert np.abs(vae.attributes(moved, label="bag")["shade"] - positions).max() < 0.05
    assert vae.move(latents[0, 0], "shade", 1, label="bag").shape == (12,)
    one_by_one = [vae.move(latents[0, at], "shade", positions[0, at], label="bag") for at in range(3)]
    assert np.abs(moved[0] - one_by_one).max() < 1e-5


def test_the_class_of_a_latent_is_its_likeliest_one_unless_it_is_given(vae: VAE) -> None:
    boots = vae.sample(20, seed=5, label="boot", detail=False).latents
    trousers = vae.sample(20, seed=5, label="trouser", detail=False).latents
    assert np.array_equal(vae.move(boots, "shaft height", 1), vae.move(boots, "shaft height", 1, label="boot"))
    both = vae.attributes(np.concatenate([boots, trousers]))
    assert np.isnan(both["shaft height"])[:20].mean() < 0.3 < 0.7 < np.isnan(both["shaft height"])[20:].mean()
    assert np.isnan(both["trouser width"])[20:].mean() < 0.3 < 0.7 < np.isnan(both["trouser width"])[:20].mean()
    with pytest.raises(UsageError, match=r"for the class Trouser \(.*trouser width.*\), got 'shaft height'"):
        vae.move(trousers, "shaft height", 1, label="trouser")


@pytest.mark.parametrize("name", ["sleeve length", "Sleeve Length", "sleeve-length", "sleeve"])
def test_a_name_may_be_shortened_and_written_in_other_ways(vae: VAE, name: str) -> None:
    latent = np.zeros(12)
    assert np.array_equal(vae.move(latent, name, 1, label=2), vae.move(latent, "sleeve length", 1, label=2))


@pytest.mark.parametrize(("arguments", "error", "said"), [
    (("colour", 1), UsageError, "expected one of the directions for the class Pullover (shade, "),
    (("", 1), UsageError, "), got nothing"),
    (("s", 1), UsageError, "got 's', which fits shade, "),
    ((7, 1), UsageError, "expected the name of a direction, got 7"),
    (("shade", float("nan")), InputError, "expected finite positions, got NaN or infinity"),
    (("shade", "far"), InputError, "expected positions as an array of numbers, got 'far'"),
    (("shade", [1, 2]), InputError, "expected one position or an array of shape [3], got an array of shape [2]"),
])  # fmt: skip
def test_a_wrong_argument_is_one_plain_line(vae: VAE, arguments: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        vae.move(np.zeros((3, 12)), *arguments, label="pullover")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_directions_still_loads_and_says_so(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_model("fashion-mnist-12d-reference"), tmp_path / "old"))
    (folder / "directions.json").unlink()
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest["files"]["directions.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    old = VAE(folder)
    assert old.directions == ()
    with pytest.raises(UsageError, match=r"expected a model with directions, got .*, which has none; export it again"):
        old.move(np.zeros(12), "shade", 1)


def test_what_was_changed_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_model("fashion-mnist-12d-reference"), tmp_path / "changed"))
    path = folder / "directions.json"
    path.write_text(path.read_text().replace('"radius": 30', '"radius": 31'))
    with pytest.raises(ModelError, match=r"directions.json"):
        _ = VAE(folder).directions


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    """Makes a function that sets the value at a path of keys."""

    def apply(document: dict[str, Any]) -> None:
        *first, last = path
        for key in first:
            document = document[key]
        document[last] = to(document[last]) if callable(to) else to

    return apply


@pytest.mark.parametrize(("spoil", "said"), [
    (change("schema_version", to=2), "schema_version"),
    (change("dimensions", to=13), "dimensions"),
    (change("hidden", to=10**9), "hidden"),
    (change("hidden", to=47), "network"),
    (change("classes", to=9), "classes: expected 1 or the 10 classes of the model"),
    (change("classes", to=1), "precisions"),
    (change("attributes", to=["shade", "shade"]), "attributes"),
    (change("network", to=lambda arrays: arrays[:5]), "network: expected 6 arrays"),
    (change("network", 0, "values", to="%%%"), "values"),
    (change("network", 0, "step", to="x"), "step"),
    (change("precisions", "step", to=0), "inverse covariances"),
    (change("deviations", "step", to=0), "standard deviations of at least 1e-06"),
    (change("weights", "held", to=[1, 2]), "weights.held"),
    (change("weights", "radius", to=-1), "weights.radius"),
    (change("directions", 0, "attribute", to="colour"), "attribute"),
    (change("directions", 0, "labels", to=[0, 99]), "labels[1]"),
    (change("directions", 0, "reached", to=[]), "effects of each kind"),
    (change("directions", 0, "kept", 0, to=2), "kept[0]"),
    (change("directions", 0, "reached", 0, to=1e30), "reached[0]"),
    (change("directions", 0, "labels", to=[]), "labels: expected classes of the model"),
    (change("directions", 0, "labels", to=[3] * 10), "directions: expected at most 512 directions, of each name one"),
    (change("directions", 0, "name", to="x" * 61), "name: expected a name of at most 60 printable letters"),
    (change("directions", 0, "name", to="\x1b[31m"), "name: expected a name of at most 60 printable letters"),
    (change("directions", 0, "name", to=" -_"), "name: expected a name of at most 60 printable letters"),
    (change("directions", 1, "name", to="Shade"), "directions: expected at most 512 directions, of each name one"),
    (change("directions", to=lambda some: some * 40), "directions: expected at most 512 directions"),
    (change("attributes", 0, to="a\nb"), "attributes[0]: expected a name of at most 60 printable letters"),
    (change("attributes", to=[f"a{at}" for at in range(65)]), "attributes: expected at most 64 names"),
    (change("hidden", to=513), "hidden: expected a whole number from 1 to 512"),
    (change("middles", "step", to=1e300), "middles.step: expected a number from 0 to 1e+06"),
    (change("weights", "evidence", to=1e300), "weights.evidence"),
])  # fmt: skip
def test_a_file_that_is_not_one_is_refused_by_its_key(document: dict[str, Any], spoil: Any, said: str) -> None:
    spoiled = json.loads(json.dumps(document))
    spoil(spoiled)
    with pytest.raises(ModelError) as caught:
        Directions.parse(json.dumps(spoiled), dimensions=12, classes=10)
    assert said in str(caught.value)


def test_hostile_numbers_are_an_error_and_no_latents(document: dict[str, Any]) -> None:
    """Every number at its limit, with the smallest precision, so that each step of a move is as long as it can be."""
    spoiled = json.loads(json.dumps(document))
    for packed in (*spoiled["network"], spoiled["middles"]):
        packed["step"] = 1e6
    read = Directions.parse(json.dumps(spoiled))
    latents, labels = np.random.default_rng(1).normal(size=(20, 12)), np.arange(20) % 10
    flat = dataclasses.replace(read.field, precisions=np.broadcast_to(np.eye(12) * 1e-300, (10, 12, 12)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for field in (read.field, flat):
            try:
                moved = field.move(latents, labels, 0, np.ones(20))
            except ModelError as error:
                assert "expected directions.json to lead to finite latents, computed others" in str(error)
            else:
                assert np.abs(moved).max() <= 1e6
        none = dataclasses.replace(read.field, precisions=np.zeros((10, 12, 12)), radius=0.0, evidence=0.0)
        with pytest.raises(ModelError, match=r"expected directions\.json to lead to finite latents"):
            dataclasses.replace(none, holding=np.zeros_like(none.holding)).move(latents, labels, 0, np.ones(20))


def test_a_class_that_the_file_does_not_have_is_no_index(document: dict[str, Any]) -> None:
    """A file with three classes and directions without labels does not fit a model with ten."""
    spoiled = json.loads(json.dumps(document))
    spoiled["directions"] = []
    with pytest.raises(ModelError, match="classes: expected 1 without classes, found 10"):
        Directions.parse(json.dumps(spoiled), classes=0)
    with pytest.raises(ModelError, match="classes: expected 1 or the 12 classes of the model, found 10"):
        Directions.parse(json.dumps(spoiled), classes=12)


def test_many_latents_move_in_parts_as_they_do_alone(vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = vae.sample(7, seed=5, detail=False).latents
    whole = vae.move(latents, "shade", np.arange(7) / 7)
    monkeypatch.setattr(directions, "ROOM", 3000)
    assert np.abs(vae.move(latents, "shade", np.arange(7) / 7) - whole).max() < 1e-5


def test_many_latents_move_in_the_memory_of_few(vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "ROOM", 1 << 16)
    latents = vae.sample(100, seed=5, detail=False).latents
    peaks = []
    for times in (1, 10):
        tracemalloc.start()
        vae.move(np.tile(latents, (times, 1)), "shade", 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 3 * peaks[0]


def test_a_vae_of_sessions_has_no_directions_and_says_so() -> None:
    vae = VAE.from_sessions(find_model(SHIPPED) / "manifest.json")
    assert vae.directions == ()
    with pytest.raises(UsageError, match="expected a model folder for directions, got sessions"):
        vae.attributes(np.zeros(12))


def test_a_file_that_is_written_again_has_the_same_numbers(document: dict[str, Any]) -> None:
    read = Directions.parse(json.dumps(document))
    again = Directions.parse(json.dumps(read.to_json()))
    for one, other in zip(read.field.weights, again.field.weights, strict=True):
        assert np.abs(one - other).max() <= np.abs(one).max() / 30_000
    assert again.directions == read.directions


def test_the_derivatives_are_those_of_the_network(vae: VAE) -> None:
    known = vae._graphs.directions()
    assert known is not None
    latents, labels = np.random.default_rng(1).normal(size=(4, 12)), np.array([0, 3, 5, 9])
    outputs, derivatives = known.field.derivatives(latents, labels)
    count = len(known.field.attributes)

    def at(places: NDArray[np.float64]) -> NDArray[np.float64]:
        found = known.field.predict(places)
        return np.concatenate([found[:, :count], found[np.arange(4), count + labels][:, None]], 1)

    assert np.abs(outputs - at(latents)).max() < 1e-12
    for dimension in range(12):
        little = 1e-6 * np.eye(12)[dimension]
        numeric = (at(latents + little) - at(latents - little)) / 2e-6
        assert np.abs(derivatives[:, :, dimension] - numeric).max() < 1e-6


def test_attributes_of_a_picture_that_one_can_check_by_eye() -> None:
    """A table: a top of 8 columns and 2 rows at half brightness, on two legs of 2 columns and 4 rows."""
    image = np.zeros((1, 1, 12, 12), np.float32)
    image[0, 0, 3:5, 2:10] = 0.5
    image[0, 0, 5:9, 2:4] = image[0, 0, 5:9, 8:10] = 0.5
    found = dict(zip(attribute_names(1), measure(image)[0], strict=True))
    assert found["shade"] == pytest.approx(0.5)
    assert (found["width"], found["height"]) == pytest.approx((8, 6))
    assert found["fullness"] == pytest.approx(32 / 48)
    assert found["balance"] == pytest.approx((16 * 1 + 16 * 4) / 32 / 6)
    assert found["texture"] == pytest.approx(0)
    assert found["symmetry"] == pytest.approx(1)
    assert found["arch"] == pytest.approx(4 / 6, abs=0.1)  # the legs end four rows below the top's lower edge
    assert found["reach"] == pytest.approx(1)  # each outer fifth is filled from the top to the bottom
    colour = np.repeat(image, 3, 1) * np.array([1, 0.5, 0.5], np.float32)[:, None, None]
    of_colour = dict(zip(attribute_names(3), measure(colour)[0], strict=True))
    assert (of_colour["saturation"], of_colour["hue"]) == pytest.approx((0.5, 0.5))
    on_white = measure(1 - image, (1.0,))[0]
    assert dict(zip(attribute_names(1), on_white, strict=True))["width"] == pytest.approx(8)


def boxes(latents: NDArray[np.float32], channels: int = 1) -> NDArray[np.float32]:
    """A decoder whose latents are known: brightness, width and height of a soft box, and a fourth without effect."""
    z = latents.astype(np.float64)
    shade = 0.55 + 0.12 * np.tanh(z[:, 0])
    half_width, half_height = 7 + 1.5 * z[:, 1], 6 + 1.2 * z[:, 2]
    places = np.arange(24) - 11.5
    across = 0.5 - 0.5 * np.tanh(3 * (np.abs(places) - half_width[:, None]))
    down = 0.5 - 0.5 * np.tanh(3 * (np.abs(places) - half_height[:, None]))
    grey = (shade[:, None, None] * down[:, :, None] * across[:, None])[:, None]
    tint = np.array([1.0, 0.8, 0.6])[:channels, None, None] if channels == 3 else 1.0
    return np.clip(grey * tint, 0, 1).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_directions_are_found_without_classes_and_in_colour(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SAMPLES": 3000, "WIDER": 1000, "WALKS": 100, "TRIED": 100, "UPDATES": 700}.items():
        monkeypatch.setattr(finding, name, value)
    normal = Mixture(np.ones(1), np.zeros((1, 4), np.float32), np.eye(4, dtype=np.float32)[None])
    prior = FittedPrior.of([1.0], [normal], labelled=False)
    found = finding.find_directions(lambda latents: boxes(latents, channels), prior, channels)
    by_name = {direction.name: direction for direction in found.directions}
    assert {"shade", "width", "height"} <= set(by_name)
    for name in ("shade", "width", "height"):
        assert by_name[name].labels is None
        (effect,) = by_name[name].effects
        assert 0.85 < effect.reached < 1.15
        assert (effect.kept, effect.monotone) == (None, 1.0)
    latents = np.random.default_rng(2).normal(size=(50, 4))
    labels = np.zeros(50, int)
    for at, name in enumerate(("shade", "width", "height")):
        ends = [found.field.move(latents, labels, found.field.attributes.index(name), np.full(50, p)) for p in (-1, 1)]
        change = np.abs(ends[1] - ends[0])
        assert change.argmax(1).tolist() == [at] * 50  # it moves the dimension that makes the attribute
        assert np.median(change[:, 3]) < 0.2
    again = finding.find_directions(lambda latents: boxes(latents, channels), prior, channels)
    assert json.dumps(again.to_json()) == json.dumps(found.to_json())
