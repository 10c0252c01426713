"""The seed contract as laws: in NumPy, as ONNX operators, and against the published text, word by word."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_export.golden import PHILOX_KNOWN_ANSWERS
from vae_export.latent_graphs import latent_graph
from vae_gen import UsageError, random_words, standard_normals
from vae_gen.internal.philox import philox4x32

LAST = 2**63 - 1
numbers = st.one_of(st.integers(0, LAST), st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32, 2**53, LAST]))


def words_by_the_paper(seed: int, index: int, block: int, stream: int) -> list[int]:
    """Philox4x32-10 in Python integers, word by word (Salmon et al. 2011, section 4.3)."""
    c = [index % 2**32, index // 2**32, block, stream]
    k = [seed % 2**32, seed // 2**32]
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def normals_by_the_contract(seed: int, index: int, dimensions: int) -> list[float]:
    """The latent of an index in float64, from section 3 of the contract."""
    normals: list[float] = []
    for block in range(-(-dimensions // 4)):
        uniform = [((word >> 8) + 1) / 2**24 for word in words_by_the_paper(seed, index, block, 0)]
        for first, second in (uniform[:2], uniform[2:]):
            radius = math.sqrt(-2 * math.log(first))
            normals += [radius * math.cos(2 * math.pi * second), radius * math.sin(2 * math.pi * second)]
    return normals[:dimensions]


@pytest.fixture(scope="module")
def sessions() -> dict[int, onnxruntime.InferenceSession]:
    return {width: onnxruntime.InferenceSession(latent_graph(width).SerializeToString()) for width in (3, 12)}


def in_graph(session: onnxruntime.InferenceSession, seed: int, start: int, count: int) -> np.ndarray:
    feed = {"seed": seed, "start": start, "count": count}
    return session.run(["latent"], {name: np.array(value, np.int64) for name, value in feed.items()})[0]


@pytest.mark.parametrize(("counter", "key", "words"), PHILOX_KNOWN_ANSWERS)
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, words: str) -> None:
    as_words = [np.array([int(word, 16) for word in text.split()], np.uint64) for text in (counter, key)]
    assert [f"{word:08x}" for word in philox4x32(*as_words)] == words.split()


@given(numbers, st.integers(0, 2**63 - 4), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_words_are_those_of_the_paper(seed: int, start: int, stream: int) -> None:
    found = random_words(seed, start, 3, blocks=2, stream=stream)
    expected = [[words_by_the_paper(seed, start + i, block, stream) for block in range(2)] for i in range(3)]
    np.testing.assert_array_equal(found, np.array(expected))


@given(numbers, st.integers(0, 2**63 - 6))
@settings(max_examples=60, deadline=None)
def test_latents_in_numpy_and_in_the_graph_are_those_of_the_contract(
    sessions: dict[int, onnxruntime.InferenceSession], seed: int, start: int
) -> None:
    for width, session in sessions.items():
        expected = [normals_by_the_contract(seed, start + i, width) for i in range(5)]
        np.testing.assert_allclose(standard_normals(seed, start, 5, width), expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(in_graph(session, seed, start, 5), expected, rtol=0, atol=1e-5)


@given(numbers, st.integers(0, 2**62), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_a_split_range_gives_the_same_latents_to_the_last_bit(
    sessions: dict[int, onnxruntime.InferenceSession], seed: int, start: int, first: int, second: int
) -> None:
    whole = standard_normals(seed, start, first + second, 12)
    parts = [standard_normals(seed, start, first, 12), standard_normals(seed, start + first, second, 12)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    whole = in_graph(sessions[12], seed, start, first + second)
    parts = [in_graph(sessions[12], seed, start, first), in_graph(sessions[12], seed, start + first, second)]
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=0, atol=1e-5)


def test_a_stream_of_its_own_changes_every_latent_and_stands_in_the_graph_too() -> None:
    other = onnxruntime.InferenceSession(latent_graph(12, stream=5).SerializeToString())
    found = in_graph(other, 7, 0, 4)
    np.testing.assert_allclose(found, standard_normals(7, 0, 4, 12, stream=5), rtol=0, atol=1e-5)
    assert (np.abs(found - standard_normals(7, 0, 4, 12)) > 1e-3).all()


def test_latents_are_standard_normal() -> None:
    latents = standard_normals(3, 0, 20_000, 12)
    assert np.abs(latents.mean(0)).max() < 0.03  # four standard errors of 1/√20000
    assert np.abs(latents.var(0) - 1).max() < 0.04
    assert np.abs(np.corrcoef(latents.T) - np.eye(12)).max() < 0.03


def test_the_graph_has_standard_operators_no_random_ones_and_three_required_inputs() -> None:
    model = latent_graph(12)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert not [node for node in model.graph.node if "Random" in node.op_type]
    assert [value.name for value in model.graph.input] == ["seed", "start", "count"]
    assert not {value.name for value in model.graph.input} & {value.name for value in model.graph.initializer}


@pytest.mark.parametrize(
    ("seed", "start", "count", "message"),
    [
        (-1, 0, 1, "expected a seed from 0 to 2^63-1 (9223372036854775807), got -1"),
        (2**63, 0, 1, "expected a seed from 0 to 2^63-1 (9223372036854775807), got 9223372036854775808"),
        (0, -1, 1, "expected a start from 0 to 2^63-1 (9223372036854775807), got -1"),
        (0, 0, 0, "expected a count of at least 1, got 0"),
        (0, LAST, 2, f"expected a range that ends by 2^63, got start {LAST} and count 2; begin earlier"),
    ],
)
def test_a_number_outside_the_contract_is_named(seed: int, start: int, count: int, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        random_words(seed, start, count, blocks=1)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: standard_normals(0, 0, 1, 0), "expected dimensions of at least 1, got 0"),
        (lambda: standard_normals(0, 0, 1, -3), "expected dimensions of at least 1, got -3"),
        (lambda: standard_normals(0.5, 0, 1, 3), "expected a seed as a whole number, got 0.5"),
        (lambda: random_words(0, 0, 1, 0), "expected blocks from 1 to 4294967295, got 0"),
        (lambda: random_words(0, 0, 1, 1, 2**32), "expected stream from 0 to 4294967295, got 4294967296"),
    ],
)
def test_a_request_that_is_no_part_of_the_contract_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == message
