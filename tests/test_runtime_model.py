"""The loaded model as laws: ranges, splits, batches, threads, and what it says when it cannot."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_gen import (
    VAE,
    InputError,
    ModelError,
    Samples,
    UnavailableError,
    UsageError,
    picture_grid,
    to_grey_levels,
)
from vae_gen.internal.sampling import BULK, block_ranges, grouped


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> VAE:
    return VAE(tiny_model_folder)


def test_a_sample_has_the_shapes_dtypes_and_ranges_of_the_contract(model: VAE) -> None:
    sample = model.sample(5, seed=3, start=10)
    assert sample.images.shape == (5, *model.manifest.image.shape)
    assert sample.latents.shape == (5, model.manifest.latent.dimensions)
    assert sample.images.dtype == sample.latents.dtype == np.float32
    assert 0 <= sample.images.min() <= sample.images.max() <= 1
    assert (sample.seed, sample.start) == (3, 10)


@given(start=st.integers(0, 2**63 - 300), first=st.integers(1, 130), second=st.integers(1, 130))
@settings(max_examples=25, deadline=None)
def test_a_stream_is_equal_to_the_byte_however_the_range_is_split(
    model: VAE, start: int, first: int, second: int
) -> None:
    whole = list(model.stream(first + second, 9, start, chunk=128))
    parts = [*model.stream(first, 9, start, chunk=64), *model.stream(second, 9, start + first, chunk=64)]
    for name in ("images", "latents"):
        joined = [np.concatenate([getattr(chunk, name) for chunk in chunks]) for chunks in (whole, parts)]
        assert joined[0].tobytes() == joined[1].tobytes()


def test_threads_change_nothing(tiny_model_folder: Path) -> None:
    one, three = (VAE(tiny_model_folder, threads=threads).sample(300, seed=1) for threads in (1, 3))
    assert one.images.tobytes() == three.images.tobytes()


def test_a_single_picture_is_that_of_the_bulk_to_one_grey_level(model: VAE) -> None:
    bulk = model.sample(200, seed=2)
    for at in (0, 63, 64, 199):
        alone = model.sample(1, seed=2, start=at)
        np.testing.assert_allclose(alone.latents[0], bulk.latents[at], rtol=0, atol=1e-5)
        difference = alone.grey_levels()[0].astype(int) - bulk.grey_levels()[at].astype(int)
        assert np.abs(difference).max() <= 1


def test_chunks_of_a_stream_say_where_they_begin_and_are_bounded(model: VAE) -> None:
    chunks = list(model.stream(300, seed=1, start=100, chunk=128, dtype="uint8"))
    assert [chunk.start for chunk in chunks] == [100, 128, 256, 384]
    assert [len(chunk) for chunk in chunks] == [28, 128, 128, 16]
    assert chunks[0].dtype == np.uint8
    np.testing.assert_array_equal(chunks[1].images, model.sample(128, seed=1, start=128).grey_levels())


def test_a_seed_that_is_left_out_is_drawn_below_2_to_the_53_and_kept(model: VAE) -> None:
    first, second = model.sample(1), model.sample(1)
    assert first.seed != second.seed  # equal once in 2⁵³ runs
    assert 0 <= first.seed < 2**53
    np.testing.assert_array_equal(model.sample(1, seed=first.seed).images, first.images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "expected n of at least 1, got 0"),
        ({"n": -1}, "expected n of at least 1, got -1"),
        ({"n": "7"}, "expected n as a whole number, got '7'"),
        ({"n": 1, "seed": -1}, "expected a seed from 0 to 2^63-1 (9223372036854775807), got -1"),
        ({"n": 1, "seed": 1.5}, "expected seed as a whole number, got 1.5"),
        ({"n": True}, "expected n as a whole number, got True"),
        ({"n": 2, "seed": 1, "start": 2**63 - 1},
         "expected a range that ends by 2^63, got start 9223372036854775807 and count 2; begin earlier"),
    ],
)
def test_numbers_out_of_range_are_named_at_the_call(model: VAE, arguments: dict[str, Any], message: str) -> None:
    for method in (model.sample, model.stream):
        with pytest.raises(UsageError) as raised:
            method(**arguments)
        assert str(raised.value) == message


def test_the_last_pictures_that_there_are_can_be_asked_for(model: VAE) -> None:
    assert len(model.sample(3, seed=2**63 - 1, start=2**63 - 3)) == 3


@given(st.sampled_from(["float16", "float32", "float64", "longdouble", "uint8"]), st.integers(0, 2))
@settings(deadline=None)
def test_images_of_any_float_or_uint8_dtype_with_or_without_axes_encode_alike(
    model: VAE, dtype: str, dropped: int
) -> None:
    levels = np.arange(np.prod(model.manifest.image.shape)).reshape(model.manifest.image.shape) % 256
    picture = levels.astype(np.uint8) if dtype == "uint8" else (levels / 255).astype(dtype)
    shaped = picture[None]
    for _ in range(dropped):
        shaped = shaped[0]
    expected = model.encode((levels / 255)[None])
    found = model.encode(shaped)
    tolerance = 1e-2 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.log_variance, expected.log_variance, rtol=0, atol=tolerance)


def test_what_is_no_image_is_refused_with_what_was_expected(model: VAE) -> None:
    channels, height, width = model.manifest.image.shape
    good = np.zeros((2, channels, height, width))
    cases = {
        f"expected images of shape [n, {channels}, {height}, {width}], got shape [3, 5]; "
        "to fit a picture of another size, pass PIL.Image.fromarray(array) or the path of its file":
            np.zeros((3, 5)),
        f"expected images of shape [n, {channels}, {height}, {width}], got shape [0, {height}, {width}]; "
        "pass at least one picture":
            np.zeros((0, height, width)),
        "expected images as uint8 (0 to 255) or floats (0 to 1), got int64; convert them": good.astype(np.int64),
        "expected images with finite values, got NaN or infinity; clean them first": np.full_like(good, np.nan),
        "expected float images in [0, 1], got values from 0 to 255; divide by 255 or pass uint8":
            np.concatenate([good, good + 255]),
    }
    for message, array in cases.items():
        with pytest.raises(InputError) as raised:
            model.encode(array)
        assert str(raised.value).replace(f"[0, {channels}, {height}, {width}]", f"[0, {height}, {width}]") == message


def test_what_are_no_latents_is_refused_with_what_was_expected(model: VAE) -> None:
    width = model.manifest.latent.dimensions
    expected = f"expected latents of shape [n, {width}], got"
    advice = "this model's latents have that width"
    cases: dict[str, Any] = {
        f"{expected} [2, {width + 1}]; {advice}": np.zeros((2, width + 1)),
        f"expected latents for at least one picture, got an empty array of shape [0, {width}]": np.zeros((0, width)),
        "expected finite latents, got NaN or infinity; remove those rows first": np.full((1, width), 1e300),
        "expected latents as an array of numbers, got an array of <U1": np.full((1, width), "x"),
        "expected latents as an array, got rows of different lengths; make them equal": [[0.0], [0.0, 1.0]],
    }
    for message, array in cases.items():
        with pytest.raises(InputError) as raised:
            model.decode(array)
        assert str(raised.value) == message


def test_reconstruction_is_the_decoded_posterior_mean(model: VAE) -> None:
    images = model.sample(3, seed=4).images
    np.testing.assert_array_equal(model.reconstruct(images), model.decode(model.encode(images).mean))


def test_a_traversal_moves_one_dimension_and_keeps_the_rest(model: VAE) -> None:
    around = np.arange(model.manifest.latent.dimensions, dtype=np.float32)
    traversal = model.traverse([2, 0], around=around, span=2.0, steps=5)
    assert traversal.images.shape == (2, 5, *model.manifest.image.shape)
    np.testing.assert_allclose(traversal.values, [[-2, -1, 0, 1, 2]] * 2)
    for row, dimension in enumerate((2, 0)):
        np.testing.assert_array_equal(traversal.latents[row, :, dimension], traversal.values[row])
        others = np.delete(traversal.latents[row], dimension, axis=1)
        np.testing.assert_array_equal(others, np.tile(np.delete(around, dimension), (5, 1)))


def test_a_traversal_of_all_dimensions_follows_their_kl(model: VAE) -> None:
    kl = model.manifest.latent.kl_nats
    assert model.traverse(steps=2).dimensions == tuple(sorted(range(len(kl)), key=lambda at: -kl[at]))


def test_a_span_below_one_is_the_central_share_of_the_prior(model: VAE) -> None:
    (values,) = model.traverse(0, span=0.95, steps=3).values
    np.testing.assert_allclose(values, [-1.959964, 0, 1.959964], atol=1e-6)  # the 97.5 % point of N(0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimensions": 99}, "expected a dimension from 0 to {last}, got 99"),
        ({"dimensions": -1}, "expected a dimension from 0 to {last}, got -1"),
        ({"steps": 1}, "expected steps from 2 to 1000000, got 1"),
        ({"span": 0}, "expected a span above 0 (below 1 a share of the prior, else deviations), got 0"),
        ({"span": float("nan")}, "expected a span above 0 (below 1 a share of the prior, else deviations), got nan"),
    ],
)
def test_a_traversal_out_of_range_is_refused(model: VAE, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        model.traverse(**arguments)
    assert str(raised.value) == message.format(last=model.manifest.latent.dimensions - 1)


@given(st.integers(0, 1000), st.integers(2, 9), st.sampled_from(["linear", "spherical"]))
@settings(max_examples=30, deadline=None)
def test_an_interpolation_begins_and_ends_at_its_latents(
    model: VAE, seed: int, steps: int, method: Any
) -> None:
    a, b = model.sample(2, seed=seed).latents
    path = model.interpolate(a, b, steps, method)
    np.testing.assert_array_equal(path.latents[[0, -1]], [a, b])
    assert len(path) == steps


def test_a_spherical_interpolation_of_equal_radii_keeps_the_radius_and_a_linear_one_does_not(model: VAE) -> None:
    a, b = np.eye(model.manifest.latent.dimensions, dtype=np.float32)[:2] * 3
    arc = np.linalg.norm(model.interpolate(a, b, 5, "spherical").latents, axis=1)
    np.testing.assert_allclose(arc, 3, atol=1e-5)
    middle = model.interpolate(a, b, 3, "linear").latents[1]
    np.testing.assert_allclose(middle, (a + b) / 2)
    np.testing.assert_allclose(model.interpolate(a, b, 3, "spherical").latents[1], (a + b) / np.sqrt(2), atol=1e-6)


def test_opposite_latents_have_no_arc_and_take_the_line(model: VAE) -> None:
    a = np.ones(model.manifest.latent.dimensions, np.float32)
    np.testing.assert_allclose(model.interpolate(a, -a, 3, "spherical").latents[1], 0, atol=1e-6)


def test_samples_behave_as_an_array(model: VAE) -> None:
    sample = model.sample(4, seed=1)
    assert isinstance(sample, Samples)
    assert len(sample) == 4
    assert np.asarray(sample).shape == sample.shape
    assert np.asarray(sample, np.float64).dtype == np.float64
    assert np.mean(sample) == pytest.approx(sample.images.mean())
    np.testing.assert_array_equal(sample[1], sample.images[1])
    np.testing.assert_array_equal(np.stack(list(sample)), sample.images)
    with pytest.raises(AttributeError):
        sample.seed = 2  # type: ignore[misc]


def test_samples_show_themselves_as_a_png_in_a_notebook(model: VAE) -> None:
    assert model.sample(12, seed=1)._repr_png_().startswith(b"\x89PNG\r\n")
    assert model.traverse(steps=3)._repr_png_().startswith(b"\x89PNG\r\n")


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
def test_grey_levels_are_the_floor_of_255_x_plus_a_half(values: list[float]) -> None:
    x = np.array(values, np.float32)
    expected = np.floor(np.float32(255) * x + np.float32(0.5))
    np.testing.assert_array_equal(to_grey_levels(x), expected)


@given(st.integers(0, 2**63 - 10_000), st.integers(1, 1000))
def test_blocks_cover_a_range_once_and_begin_at_multiples_of_32(start: int, count: int) -> None:
    blocks = list(block_ranges(start, count))
    assert [first + at for first, low, high in blocks for at in range(low, high)] == list(range(start, start + count))
    assert all(first % 32 == 0 for first, _, _ in blocks)


@given(st.integers(1, 20_000), st.integers(1, 16))
def test_workers_get_each_block_once_and_at_least_eight_lists_where_lists_are_long(count: int, workers: int) -> None:
    ranges = list(block_ranges(5, count))
    lists = list(grouped(ranges, count, workers))
    assert [task for group in lists for task in group] == ranges
    longest = max(len(group) for group in lists)
    assert longest <= 4
    assert longest == 1 or len(lists) >= 8 * workers


def test_sessions_of_ones_own_serve_and_one_that_is_missing_is_named(tiny_model_folder: Path) -> None:
    decoder = onnxruntime.InferenceSession(tiny_model_folder / "decoder.onnx")
    model = VAE.from_sessions(tiny_model_folder / "manifest.json", decoder=decoder)
    latents = np.zeros((2, model.manifest.latent.dimensions))
    np.testing.assert_allclose(model.decode(latents), VAE(tiny_model_folder).decode(latents), atol=1e-6)
    with pytest.raises(UsageError) as raised:
        model.sample(1)
    assert str(raised.value) == "expected a session for generator, got none; pass generator= to from_sessions"


def test_many_threads_may_use_one_model(tiny_model_folder: Path) -> None:
    model = VAE(tiny_model_folder)
    results: list[bytes] = []
    workers = [
        threading.Thread(target=lambda: results.append(model.sample(70, seed=5).images.tobytes())) for _ in range(32)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 32
    assert len(set(results)) == 1


def test_a_stream_that_is_left_early_stops_its_workers(tiny_model_folder: Path) -> None:
    before = set(threading.enumerate())
    stream = VAE(tiny_model_folder, threads=2).stream(100 * BULK, seed=1, chunk=64)
    next(stream)
    assert set(threading.enumerate()) - before
    stream.close()  # type: ignore[attr-defined]
    assert not set(threading.enumerate()) - before


def test_the_repr_is_the_call_that_made_it(tiny_model_folder: Path) -> None:
    made = VAE(str(tiny_model_folder), threads=2)
    assert repr(made) == f"VAE({str(tiny_model_folder)!r}, threads=2)"


def test_a_provider_that_is_not_installed_is_refused(tiny_model_folder: Path) -> None:
    with pytest.raises(UnavailableError, match="expected an execution provider that is installed .* got tpu"):
        VAE(tiny_model_folder, provider="tpu").sample(1)


def test_fewer_than_one_thread_is_refused(tiny_model_folder: Path) -> None:
    with pytest.raises(UsageError, match="expected threads of at least 1, got 0"):
        VAE(tiny_model_folder, threads=0)


def test_a_name_that_is_neither_folder_nor_shipped_model_is_refused() -> None:
    with pytest.raises(ModelError, match="expected a model folder or one of .*, got no-such-model"):
        VAE("no-such-model")


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        (1.0, "expected a dimension as a whole number, got 1.0"),
        ("one", "expected a dimension such as 5 or z5, or all, got 'one'"),
        ("1,", "expected a dimension such as 5 or z5, or all, got ''"),
        ("z99", "expected a dimension from 0 to 11, got 99"),
        ([0, True], "expected a dimension as a whole number, got True"),
        ([], "expected at least one dimension, got none; leave them out for all"),
    ],
)
def test_a_traversal_of_no_dimension_is_refused(model: VAE, dimensions: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        model.traverse(dimensions)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": 0}, "expected columns of at least 1, got 0"),
        ({"scale": 0}, "expected scale of at least 1, got 0"),
        ({"scale": 1.5}, "expected scale as a whole number, got 1.5"),
        ({"gap": -1}, "expected gap of at least 0, got -1"),
        ({"background": 256}, "expected background from 0 to 255, got 256"),
    ],
)
def test_a_grid_out_of_range_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        picture_grid(np.zeros((2, 1, 3, 3), np.uint8), **arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 3, 3), np.uint8), np.zeros((2, 1, 3, 3)),
        np.zeros((2, 2, 3, 3), np.uint8),
    ],
)
def test_a_grid_of_something_else_is_refused(images: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"expected pictures as uint8 \[n, 1 or 3, height, width\], got "):
        picture_grid(images)


def test_a_grid_of_no_pictures_is_refused(model: VAE) -> None:
    for call in (lambda: picture_grid(np.zeros((0, 1, 3, 3), np.uint8)), lambda: model.sample(2, seed=1)[:0].grid()):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value) == "expected at least one picture, got none"


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1 has no asarray(copy=False)")
def test_a_batch_refuses_a_conversion_without_a_copy(model: VAE) -> None:
    sample = model.sample(2, seed=1)
    assert np.asarray(sample, copy=False) is sample.images
    with pytest.raises(ValueError, match="expected float32 where no copy may be made"):
        np.asarray(sample, dtype=np.float64, copy=False)
