"""The fitted prior as laws: thresholds, classes, temperatures, and the graph against NumPy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_model import DIMENSIONS, tiny_prior
from vae_export.latent_graphs import default_latent_graph, latent_graph, prior_graph
from vae_gen import FittedPrior, ModelError, UsageError, random_words, standard_normals
from vae_gen.internal.choice import Choice
from vae_gen.internal.prior import Mixture, thresholds
from vae_gen.internal.sampling import run_latents

LAST = 2**63 - 1
PRIORS = {
    "two classes": tiny_prior(),
    "three classes, one component each": tiny_prior((1, 1, 1)),
    "no classes": tiny_prior((4,), labelled=False),
}


@pytest.fixture(scope="module")
def sessions() -> dict[str, onnxruntime.InferenceSession]:
    return {name: open_graph(prior_graph(prior)) for name, prior in PRIORS.items()}


def open_graph(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString())


def plain_latents(session: onnxruntime.InferenceSession, seed: int, start: int, count: int) -> np.ndarray:
    window = {"seed": seed, "start": start, "count": count}
    return session.run(["latent"], {name: np.array(value, np.int64) for name, value in window.items()})[0]


@given(
    name=st.sampled_from(sorted(PRIORS)), seed=st.integers(0, LAST), start=st.integers(0, 2**63 - 9),
    choice=st.integers(0, 2), temperature=st.floats(0, 2, width=32),
)
@settings(max_examples=80)
def test_the_graph_gives_the_latents_and_classes_of_numpy(
    sessions: dict[str, Any], name: str, seed: int, start: int, choice: int, temperature: float
) -> None:
    prior = PRIORS[name]
    label = choice - 1 if choice and prior.classes else None
    latents, labels, _ = run_latents(sessions[name], seed, start, 8, Choice("fitted", label, temperature))
    expected, classes = prior.latents(seed, start, 8, -1 if label is None else label, temperature)
    np.testing.assert_allclose(latents, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(labels, classes)
    if label is not None:
        assert set(labels) == {label}
    if not prior.classes:
        assert set(labels) == {-1}


@given(seed=st.integers(0, LAST), start=st.integers(0, 2**63 - 300), count=st.integers(1, 300))
@settings(max_examples=30)
def test_the_normal_prior_gives_the_normals_of_the_seed_contract(
    sessions: dict[str, Any], seed: int, start: int, count: int
) -> None:
    plain = open_graph(latent_graph(DIMENSIONS))
    for session in sessions.values():
        latents, labels, _ = run_latents(session, seed, start, count, Choice("normal"))
        # Two graphs of other sizes: where vectors end, a processor may take another cosine, which differs in its last
        # digit. What is taken of component 0, a mean of 0 and the identity for a factor, is exact.
        np.testing.assert_allclose(latents, plain_latents(plain, seed, start, count), rtol=0, atol=1e-6)
        assert set(labels) == {-1}


def test_a_graph_for_the_generator_gives_what_the_default_choices_give(sessions: dict[str, Any]) -> None:
    for name, prior in PRIORS.items():
        model = default_latent_graph(prior)
        onnx.checker.check_model(model, full_check=True)
        assert [value.name for value in model.graph.input] == ["seed", "start", "count"]
        assert [value.name for value in model.graph.output] == ["latent"]
        found = plain_latents(open_graph(model), 5, 2**40, 64)
        assert found.tobytes() == run_latents(sessions[name], 5, 2**40, 64, Choice("fitted"))[0].tobytes()


def test_the_graph_has_standard_operators_and_six_required_inputs() -> None:
    model = prior_graph(PRIORS["two classes"])
    onnx.checker.check_model(model, full_check=True)
    operators = {node.op_type for node in model.graph.node}
    assert {node.domain for node in model.graph.node} == {""}
    assert not {name for name in operators if "Random" in name} | operators & {"If", "Loop", "Scan"}
    names = [value.name for value in model.graph.input]
    assert names == ["seed", "start", "count", "prior", "label", "temperature"]
    assert [value.name for value in model.graph.output] == ["latent", "labels"]
    assert not set(names) & {value.name for value in model.graph.initializer}
    assert (model.ir_version, model.opset_import[0].version) == (8, 18)


@pytest.mark.parametrize("stream", [1, 2])
def test_a_word_at_a_threshold_belongs_to_the_next_choice_in_numpy_and_in_the_graph(stream: int) -> None:
    # Thresholds are put exactly on, and one above, the word that the contract gives for this seed and index.
    word = int(random_words(11, 3, 1, 1, stream)[0, 0, 0])
    normal = np.eye(DIMENSIONS, dtype=np.float32)
    for edge, expected in ((word, 1), (word + 1, 0)):
        if stream == 1:  # one class of two components
            mixture = Mixture(np.ones(2), np.zeros((2, DIMENSIONS), np.float32), np.stack([normal] * 2))
            prior = FittedPrior.of([1], [mixture])
            prior.component_thresholds[0, 0] = edge
            prior.means[1:] = np.array([10, 20])[:, None]
        else:  # two classes of one component
            mixture = Mixture(np.ones(1), np.zeros((1, DIMENSIONS), np.float32), normal[None])
            prior = FittedPrior.of([1, 1], [mixture] * 2)
            prior.class_thresholds[0] = edge
            prior.means[1:] = np.array([10, 20])[:, None]
        mean = (10, 20)[expected]
        assert (prior.latents(11, 3, 1, temperature=0)[0] == mean).all()
        latents, labels, _ = run_latents(open_graph(prior_graph(prior)), 11, 3, 1, Choice("fitted", temperature=0))
        assert (latents == mean).all()
        assert labels.tolist() == [expected if stream == 2 else 0]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20).filter(lambda weights: sum(weights) > 1e-3))
def test_thresholds_ascend_to_2_to_the_32_and_follow_the_weights(weights: list[float]) -> None:
    found = thresholds(weights)
    assert found.dtype == np.int64
    assert found[-1] == 2**32
    assert (np.diff(found, prepend=0) >= 0).all()
    np.testing.assert_allclose(np.diff(found, prepend=0) / 2**32, np.array(weights) / sum(weights), atol=2**-31)


def test_classes_and_components_come_as_often_as_their_weights_say() -> None:
    prior, count = tiny_prior((3, 2)), 40_000
    components = prior.components(1, 0, count)
    shares = np.diff(prior.class_thresholds, prepend=0) / 2**32
    expected = np.concatenate([
        share * np.diff(row[:size], prepend=0) / 2**32
        for share, row, size in zip(shares, prior.component_thresholds, prior.sizes, strict=True)
    ])
    found = np.bincount(components, minlength=6)
    assert found[0] == 0
    deviation = np.sqrt(count * expected * (1 - expected))
    assert (np.abs(found[1:] - count * expected) < 5 * deviation).all()


def test_latents_of_a_component_have_its_mean_and_covariance() -> None:
    prior = tiny_prior((1,), labelled=False)
    latents, _ = prior.latents(2, 0, 40_000)
    np.testing.assert_allclose(latents.mean(0), prior.means[1], atol=0.03)
    np.testing.assert_allclose(np.cov(latents.T), prior.factors[1] @ prior.factors[1].T, atol=0.05)


@given(st.integers(0, LAST), st.floats(0, 3, width=32))
@settings(max_examples=30)
def test_temperature_scales_the_distance_from_the_mean_and_changes_no_choice(seed: int, temperature: float) -> None:
    prior = PRIORS["two classes"]
    means, labels = prior.latents(seed, 0, 20, temperature=0)
    once, _ = prior.latents(seed, 0, 20)
    found, same_labels = prior.latents(seed, 0, 20, temperature=temperature)
    np.testing.assert_array_equal(labels, same_labels)
    np.testing.assert_allclose(found, means + temperature * (once - means), atol=1e-5)
    np.testing.assert_array_equal(means, prior.means[prior.components(seed, 0, 20)])


def test_a_given_class_keeps_the_noise_of_the_index() -> None:
    prior = PRIORS["three classes, one component each"]
    noise = standard_normals(4, 9, 5, DIMENSIONS)
    for label in range(3):
        latents, _ = prior.latents(4, 9, 5, label)
        np.testing.assert_allclose(latents, prior.means[1 + label] + noise @ prior.factors[1 + label].T, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("two classes", 2, "expected a label from -1 (any) to 1, got 2"),
        ("two classes", -2, "expected a label from -1 (any) to 1, got -2"),
        ("no classes", 0, "expected a label of -1, for data without classes, got 0"),
    ],
)
def test_a_label_that_is_no_class_is_refused(name: str, label: int, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        PRIORS[name].latents(1, 0, 1, label)
    assert str(raised.value) == message


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_the_tables_survive_their_file_to_the_last_bit(name: str) -> None:
    prior = PRIORS[name]
    again = FittedPrior.parse(json.dumps(prior.to_json("abc")))
    assert again.classes == prior.classes
    for table in ("means", "factors", "first", "class_thresholds", "component_thresholds", "labels"):
        one, other = getattr(prior, table), getattr(again, table)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), table


def edited(**changes: Any) -> str:
    document = PRIORS["two classes"].to_json("ab")
    document["mixtures"][0] |= {key: value for key, value in changes.items() if key in document["mixtures"][0]}
    return json.dumps(document | {key: value for key, value in changes.items() if key in document})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[", "expected JSON, found something else in line 1, column 2"),
        ("[]", "the document: expected an object, found []"),
        ("{}", "schema_version is missing"),
        (edited(schema_version=2), "schema_version: expected the number 1, found 2"),
        (edited(threshold=-1), "mixtures[0].threshold: expected a whole number from 0 to 4294967296, found -1"),
        (edited(component_thresholds=[1, 2, 3]),
         "mixtures[0].component_thresholds: expected thresholds that ascend to 4294967296, found [1, 2, 3]"),
        (edited(component_thresholds=[]),
         "mixtures[0].component_thresholds: expected thresholds that ascend to 4294967296, found []"),
        (edited(label=1), "mixtures: expected mixtures whose labels count up from 0, or a single one with the"),
        (edited(means="AAAA"), 'mixtures[0].means: expected base64 of float32 [3, 12], found "AAAA"'),
        (edited(means=5), "mixtures[0].means: expected a text, found 5"),
        (edited(mixtures=[]), "mixtures: expected mixtures whose labels count up from 0"),
    ],
)
def test_a_file_that_holds_no_prior_is_refused_in_one_line(text: str, found: str) -> None:
    with pytest.raises(ModelError) as raised:
        FittedPrior.parse(text, "x/prior.json")
    message = str(raised.value)
    assert message.startswith(f"x/prior.json: {found}")
    assert message.endswith("; copy or export the model folder again")
    assert "\n" not in message
