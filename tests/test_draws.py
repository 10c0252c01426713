"""Samples by prior, class and temperature: what `VAE.sample` and `stream` make of these choices."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_model import tiny_prior
from vae_gen import VAE, ModelError, UsageError, standard_normals
from vae_gen.internal.choice import Choice, find_label, resolve_choice

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@pytest.fixture(scope="module")
def models(tiny_model_folder: Path, fitted_model_folder: Path) -> dict[str, VAE]:
    """By their default prior."""
    return {"normal": VAE(tiny_model_folder), "fitted": VAE(fitted_model_folder)}


@pytest.fixture(scope="module")
def old(old_model_folder: Path) -> VAE:
    return VAE(old_model_folder)


@pytest.mark.parametrize("default", ["normal", "fitted"])
@pytest.mark.parametrize("count", [5, 100])
def test_each_prior_gives_its_latents_whether_it_is_the_default_or_not(
    models: dict[str, VAE], default: str, count: int
) -> None:
    model, prior = models[default], tiny_prior()
    latents, labels = prior.latents(3, 40, count)
    for sample in (model.sample(count, 3, 40, prior="fitted"), models["fitted"].sample(count, 3, 40)):
        np.testing.assert_allclose(sample.latents, latents, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(sample.labels, labels)
        assert sample.choice == Choice("fitted")
    for sample in (model.sample(count, 3, 40, prior="normal"), models["normal"].sample(count, 3, 40)):
        np.testing.assert_allclose(sample.latents, standard_normals(3, 40, count, 12), rtol=0, atol=1e-5)
        assert (sample.choice.prior, sample.labels) == ("normal", None)
    np.testing.assert_allclose(sample.images, model.decode(sample.latents, detail=False), rtol=0, atol=1e-5)


def test_labels_are_found_when_first_asked_for_and_travel_with_a_copy(models: dict[str, VAE]) -> None:
    sample = models["fitted"].sample(70, 3)
    assert sample._labels is None
    copy = pickle.loads(pickle.dumps(sample))
    np.testing.assert_array_equal(copy.labels, tiny_prior().latents(3, 0, 70)[1])
    np.testing.assert_array_equal(copy.images, sample.images)
    assert sample.labels is sample.labels


def test_the_normal_prior_is_the_same_in_the_generator_and_in_the_latents_graph(
    models: dict[str, VAE]
) -> None:
    by_generator = models["normal"].sample(130, seed=5)
    by_latents = models["fitted"].sample(130, seed=5, prior="normal")
    # Two graphs of other sizes: at the end of a vector a processor may take another cosine, off in the last digit.
    np.testing.assert_allclose(by_generator.latents, by_latents.latents, rtol=0, atol=1e-6)


@pytest.mark.parametrize("label", [1, np.int64(1), "other blob", "OTHER", "o"])
def test_a_label_gives_one_class_and_implies_the_fitted_prior(models: dict[str, VAE], label: Any) -> None:
    expected, _ = tiny_prior().latents(8, 0, 70, 1)
    for model in models.values():
        sample = model.sample(70, 8, label=label)
        np.testing.assert_allclose(sample.latents, expected, rtol=0, atol=1e-5)
        assert sample.labels is not None
        assert set(sample.labels) == {1}
        assert (sample.choice.prior, sample.choice.label) == ("fitted", 1)


def test_temperature_scales_the_noise_of_either_prior(models: dict[str, VAE]) -> None:
    for model in models.values():
        normal = model.sample(4, 1, prior="normal", temperature=0.5)
        np.testing.assert_allclose(normal.latents, 0.5 * standard_normals(1, 0, 4, 12), rtol=0, atol=1e-5)
        fitted = model.sample(4, 1, prior="fitted", temperature=2)
        np.testing.assert_allclose(fitted.latents, tiny_prior().latents(1, 0, 4, temperature=2)[0], rtol=0, atol=1e-4)
        assert (model.sample(4, 1, prior="normal", temperature=0).latents == 0).all()
        assert np.isfinite(model.sample(4, 1, temperature=100).images).all()


@given(
    start=st.integers(0, 2**63 - 300), first=st.integers(1, 130), second=st.integers(1, 130),
    choices=st.sampled_from([{}, {"label": 0}, {"prior": "fitted", "temperature": 0.7}, {"prior": "normal"}]),
    default=st.sampled_from(["normal", "fitted"]),
)
@settings(max_examples=25)
def test_a_stream_is_equal_to_the_byte_however_the_range_is_split(
    models: dict[str, VAE], start: int, first: int, second: int, choices: dict[str, Any], default: str
) -> None:
    model = models[default]
    whole = list(model.stream(first + second, 9, start, chunk=128, **choices))
    parts = [
        *model.stream(first, 9, start, chunk=64, **choices),
        *model.stream(second, 9, start + first, chunk=64, **choices),
    ]
    names = ["images", "latents"] if whole[0].labels is None else ["images", "latents", "labels"]
    for name in names:
        joined = [np.concatenate([getattr(chunk, name) for chunk in chunks]) for chunks in (whole, parts)]
        assert joined[0].tobytes() == joined[1].tobytes()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"prior": "uniform"}, "expected the prior normal or fitted, got uniform"),
        ({"prior": "normal", "label": 0},
         "expected the fitted prior for the label 0, got normal, which has no classes"),
        ({"label": 2}, "expected a label from 0 to 1, got 2"),
        ({"label": -1}, "expected a label from 0 to 1, got -1"),
        ({"label": True}, "expected a label as the name or the index of a class, got True"),
        ({"label": 1.0}, "expected a label as the name or the index of a class, got 1.0"),
        ({"label": "shoe"},
         "expected a class (blob, other blob), the beginning of its name or a word of it, got 'shoe'"),
        ({"label": ""}, "expected a class (blob, other blob), the beginning of its name or a word of it, got ''"),
        ({"temperature": -0.1}, "expected a temperature from 0 to 100, got -0.1"),
        ({"temperature": 100.5}, "expected a temperature from 0 to 100, got 100.5"),
        ({"temperature": float("nan")}, "expected a temperature from 0 to 100, got nan"),
        ({"temperature": float("inf")}, "expected a temperature from 0 to 100, got inf"),
        ({"temperature": "warm"}, "expected a temperature as a number, got 'warm'"),
    ],
)
def test_a_choice_out_of_range_is_named_at_the_call(
    models: dict[str, VAE], choices: dict[str, Any], message: str
) -> None:
    for method in (models["normal"].sample, models["fitted"].stream):
        with pytest.raises(UsageError) as raised:
            method(1, **choices)
        assert str(raised.value) == message


@pytest.mark.parametrize(
    ("choices", "wanted"),
    [
        ({"prior": "fitted"}, "fitted prior"),
        ({"label": "blob"}, "label blob"),
        ({"temperature": 0.5}, "temperature 0.5"),
    ],
)
def test_a_model_without_a_fitted_prior_says_so(old: VAE, choices: dict[str, Any], wanted: str) -> None:
    with pytest.raises(UsageError) as raised:
        old.sample(1, **choices)
    assert str(raised.value) == (
        f"expected a model with latents.onnx, which the {wanted} needs, got old 1 without it; "
        "export the model again with this version"
    )
    assert old.sample(1, seed=1, prior="normal").choice.prior == "normal"
    with pytest.raises(ModelError, match=r"expected a fitted prior, found no prior\.json"):
        old.fitted_prior()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("sneak", 7), ("SNEAKER", 7), ("t-shirt", 0), ("Shirt", 6), ("b", 8), (" ankle boot ", 9), ("sa", 5), ("boot", 9),
     ("ankle-boot", 9), ("Ankle_Boot", 9), ("ankleboot", 9), ("tshirt", 0), ("t shirt", 0), ("top", 0),
     ("shirt top", 0), ("trousers", 1), ("dresses", 3), ("boots", 9), ("Bags", 8), ("sneakers", 7), ("shirts", 6),
     ("T-shirts", 0), ("tops", 0), ("ankle boots", 9)],
)
def test_a_class_is_found_by_its_name_its_beginning_or_a_word_of_it(text: str, expected: int) -> None:
    assert find_label(FASHION, text) == expected


def test_a_beginning_of_several_classes_names_them_and_a_whole_name_wins_over_a_beginning() -> None:
    with pytest.raises(UsageError) as raised:
        find_label(FASHION, "s")
    assert str(raised.value) == "expected one class, got s, which fits Sandal, Shirt, Sneaker"
    assert find_label(("Shirt dress", "Shirt"), "shirt") == 1
    with pytest.raises(UsageError) as raised:
        find_label(("Red boot", "Blue boot", "Dressing gown"), "boots")
    assert str(raised.value) == "expected one class, got boots, which fits Red boot, Blue boot"
    near = {"snaeker": "; did you mean Sneaker?", "ankel boots": "; did you mean Ankle boot?", "hat": "got 'hat'"}
    for text, end in near.items():
        with pytest.raises(UsageError, match="or a word of it, got ") as raised:
            find_label(FASHION, text)
        assert str(raised.value).endswith(end)
    with pytest.raises(UsageError) as raised:
        find_label((), "shirt")
    assert str(raised.value) == "expected a model with classes for the label shirt, got one whose data had none"


@given(
    prior=st.sampled_from([None, "normal", "fitted"]), label=st.sampled_from([None, 0, 1]),
    temperature=st.floats(0, 100),
)
def test_choices_are_settled_to_what_was_asked_for(
    models: dict[str, VAE], prior: Any, label: int | None, temperature: float
) -> None:
    for default, model in models.items():
        if label is not None and prior == "normal":
            continue
        found = resolve_choice(model.manifest, prior, label, temperature)
        assert found == Choice(prior or ("fitted" if label is not None else default), label, temperature)
        assert found.is_default(model.manifest) == (found == Choice(default))


def test_sessions_of_ones_own_draw_what_they_can(fitted_model_folder: Path) -> None:
    opened = {name: onnxruntime.InferenceSession(fitted_model_folder / f"{name}.onnx")
              for name in ("generator", "decoder", "latents")}
    manifest = fitted_model_folder / "manifest.json"
    whole = VAE(fitted_model_folder)
    alone = VAE.from_sessions(manifest, generator=opened["generator"])
    assert alone.sample(3, seed=1).labels is None  # generator.onnx does not say them
    with pytest.raises(UsageError) as raised:
        alone.sample(3, seed=1, label=0)
    assert str(raised.value) == "expected a session for latents, got none; pass latents= to from_sessions"
    both = VAE.from_sessions(manifest, latents=opened["latents"], decoder=opened["decoder"])
    expected = whole.sample(3, seed=1, label=0)
    found = both.sample(3, seed=1, label=0)
    np.testing.assert_allclose(found.images, expected.images, atol=1e-6)
    np.testing.assert_array_equal(found.labels, expected.labels)
    all_three = VAE.from_sessions(manifest, **opened)
    np.testing.assert_array_equal(all_three.sample(3, seed=1).labels, whole.sample(3, seed=1).labels)
    with pytest.raises(UsageError, match="expected a model folder for the fitted prior, got sessions"):
        all_three.fitted_prior()


def test_samples_say_what_they_are(models: dict[str, VAE]) -> None:
    assert repr(models["fitted"].sample(2, seed=7)) == (
        "<2 samples of shape [1, 28, 28], seed=7, start=0, prior='fitted'>"
    )
    sample = models["normal"].sample(2, seed=7, label=1, temperature=0.5)
    assert repr(sample).endswith("start=0, prior='fitted', label=1, temperature=0.5>")
