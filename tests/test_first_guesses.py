"""What a Python user types first, without having read the documentation; each guess works."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_gen import VAE, InputError, Pictures, Samples, Traversal, UsageError, picture_grid, shipped_models

REFERENCE = "fashion-mnist-12d-reference"


@pytest.fixture(scope="module", params=["tiny", "fitted", "detailed", "old", *shipped_models()])
def vae(request: pytest.FixtureRequest) -> VAE:
    if request.param in shipped_models():
        return VAE(request.param)
    return VAE(request.getfixturevalue(f"{request.param}_model_folder"))


@pytest.fixture(scope="module")
def detailed(detailed_model_folder: Path) -> VAE:
    return VAE(detailed_model_folder)


# 1
def test_a_model_is_made_from_nothing_a_name_or_a_path(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert VAE().manifest.name == "fashion-mnist-12d"
    assert VAE(REFERENCE).manifest.name == REFERENCE
    monkeypatch.setenv("HOME", str(tiny_model_folder.parent))
    assert VAE(f"~/{tiny_model_folder.name}").manifest.name == "tiny"
    with pytest.raises(UsageError) as raised:
        VAE(3)  # type: ignore[arg-type]
    assert str(raised.value) == (
        "expected the path of a model folder, or the name of a model as a text, got 3"
    )
    assert VAE(tiny_model_folder, threads=2).manifest.name == VAE(str(tiny_model_folder)).manifest.name == "tiny"


# 2
def test_a_model_has_its_sizes_and_its_classes() -> None:
    vae = VAE(REFERENCE)
    assert (vae.latent_dim, vae.image_shape) == (12, (1, 28, 28))
    assert isinstance(vae.class_names, tuple)
    assert vae.class_names[9] == "Ankle boot"
    assert (vae.sample(label="boot").labels == 9).all()


# 3
def test_sample_without_arguments_is_one_picture(detailed: VAE) -> None:
    assert detailed.sample().shape == (1, 1, 28, 28)


# 4
def test_samples_are_selected_as_an_array_is(detailed: VAE) -> None:
    samples = detailed.sample(20, seed=7, start=3)
    labels, noise = samples.labels, samples.noise
    assert labels is not None
    assert noise is not None
    mask = labels == 0
    for key in (slice(5), slice(None, None, -3), [4, 1, 1], np.array([2, 9]), mask, np.array([[0, 1], [2, 3]])):
        some = detailed.sample(20, seed=7, start=3)[key]  # labels and noise are not yet computed here
        assert isinstance(some, Samples)
        assert (some.seed, some.choice) == (7, samples.choice)
        np.testing.assert_array_equal(some.images, samples.images[key])
        np.testing.assert_array_equal(some.latents, samples.latents[key])
        np.testing.assert_array_equal(some.indices, (3 + np.arange(20))[key])
        np.testing.assert_array_equal(some.labels, labels[key])
        np.testing.assert_array_equal(some.noise, noise[key])
        np.testing.assert_array_equal(samples[key].labels, labels[key])
    one = samples[4]
    assert isinstance(one, Samples)
    assert (one.shape, one.latents.shape, np.shape(one.labels), np.shape(one.noise)) == ((1, 28, 28), (12,), (), (5,))
    assert (one.start, int(one.indices), one.labels) == (7, 7, labels[4])
    assert [int(single.indices) for single in samples[:3]] == [3, 4, 5]
    assert all(isinstance(single, Samples) for single in samples)
    assert len(samples[:0]) == 0
    assert samples[:0].labels is not None
    assert repr(one) == "<sample of shape [1, 28, 28], seed=7, index=7, prior='fitted', detail=True>"
    assert repr(samples[::2]).startswith("<10 samples of shape [1, 28, 28], seed=7, indices=3, 5, 7, …, prior=")
    assert repr(samples[:0]) == "<0 samples of shape [1, 28, 28], seed=7, prior='fitted', detail=True>"
    for inside in ((2, 0), (2, 0, slice(3, 5)), (slice(None), 0), (slice(None), None)):
        assert type(samples[inside]) is np.ndarray
        np.testing.assert_array_equal(samples[inside], samples.images[inside])
    np.testing.assert_array_equal(samples[samples > 0.5], samples.images[samples.images > 0.5])
    np.testing.assert_array_equal(samples[..., 3], samples.images[..., 3])
    with pytest.raises(IndexError):
        samples[20]


# 5
def test_samples_calculate_as_an_array_does(detailed: VAE) -> None:
    samples = detailed.sample(4, seed=1)
    images = samples.images.copy()
    assert (samples.ndim, samples.size, samples.dtype) == (4, images.size, np.float32)
    for found, expected in (
        (samples * 255, images * 255), (1 - samples, 1 - images), (samples + samples, images + images),
        (images - samples, images - images), (np.sqrt(samples), np.sqrt(images)), (samples > 0.5, images > 0.5),
        (samples.reshape(4, -1), images.reshape(4, -1)), (samples.astype(np.float64), images.astype(np.float64)),
        (np.concatenate([samples, samples]), np.concatenate([images, images])), (np.add.reduce(samples), images.sum(0)),
    ):  # fmt: skip
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, expected)
    assert samples.mean() == np.mean(samples) == images.mean()
    assert (samples.min(), samples.max(), np.std(samples)) == (images.min(), images.max(), images.std())
    for name, arguments in (
        ("sum", ()), ("sum", (0,)), ("mean", ((2, 3),)), ("squeeze", ()), ("flatten", ()), ("copy", ()),
        ("clip", (0.2, 0.8)), ("transpose", (0, 2, 3, 1)), ("round", (1,)), ("argmax", ()),
    ):  # fmt: skip
        np.testing.assert_array_equal(getattr(samples, name)(*arguments), getattr(images, name)(*arguments))
    assert samples.tolist() == images.tolist()
    np.testing.assert_array_equal(samples.T, images.T)
    assert {"sum", "T", "grid", "labels"} < set(dir(samples))
    for missing in ("nothing", "_nothing", "__array_interface__"):
        with pytest.raises(AttributeError, match=f"'Samples' object has no attribute '{missing}'"):
            getattr(samples, missing)
    for again in (copy.copy(samples), copy.deepcopy(samples), pickle.loads(pickle.dumps(samples))):
        assert type(again) is Samples
        np.testing.assert_array_equal(again.images, images)
    samples *= 0.5
    assert isinstance(samples, Samples)
    np.testing.assert_array_equal(samples.images, images * np.float32(0.5))


# 6
def test_arrays_that_come_out_may_be_changed_and_the_model_stays_as_it_is(vae: VAE) -> None:
    first = vae.sample(3, seed=2)
    kept = pickle.loads(pickle.dumps(first))
    traversal = vae.traverse(0, steps=3)
    pictures = vae.decode(first.latents)
    expected = (pictures.copy(), traversal.images.copy())
    import torch  # here, because the processes of these tests import this file

    assert torch.as_tensor(first).data_ptr() == first.images.ctypes.data
    assert torch.equal(torch.tensor(first), torch.from_numpy(first.images))
    torch.from_numpy(np.asarray(first)).zero_()  # warns, which is an error here, if the array is read-only
    for array in (first.images, first.latents, first.noise, first.labels, traversal.images, traversal.latents,
                  traversal.values, pictures, vae.encode(kept).mean, first.indices):  # fmt: skip
        if array is not None:
            array[...] = 0
    again = vae.sample(3, seed=2)
    for name in ("images", "latents", "noise", "labels", "indices"):
        np.testing.assert_array_equal(getattr(again, name), getattr(kept, name))
    np.testing.assert_array_equal(vae.decode(kept.latents), expected[0])
    np.testing.assert_array_equal(vae.traverse(0, steps=3).images, expected[1])
    if vae.manifest.has_fitted_prior:
        with pytest.raises(ValueError, match="read-only"):
            vae.fitted_prior().means[...] = 0


# 7
CHOICES: tuple[dict[str, Any], ...] = (
    {}, {"detail": False}, {"prior": "normal"}, {"label": 0}, {"prior": "fitted", "temperature": 0.5},
)  # fmt: skip


@pytest.mark.parametrize(("count", "start"), [(3, 5), (33, 2**63 - 40), (70, 17)])
def test_decode_of_samples_is_the_samples_to_the_byte(vae: VAE, count: int, start: int) -> None:
    for choice in CHOICES if vae.manifest.has_fitted_prior and count == 3 else ({},):
        samples = vae.sample(count, seed=7, start=start, **choice)
        assert vae.decode(samples).tobytes() == samples.images.tobytes()
        keys: tuple[Any, ...] = (count - 1, slice(count // 2, None), np.arange(count) % 3 == 0, [0, 0, count - 1])
        for key in keys:
            some = samples[key]
            assert vae.decode(some).shape == some.shape
            assert vae.decode(some).tobytes() == some.images.tobytes()
        copied = pickle.loads(pickle.dumps(samples))
        assert vae.decode(copied).tobytes() == samples.images.tobytes()


class ByPlace:
    """A session whose pictures depend on the size of the batch and the place in it, as they do on some processors."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def run(self, names: Any, feed: Any) -> list[Any]:
        images, *others = self.session.run(names, feed)
        if names[0] != "image":
            return [images, *others]
        places = np.arange(len(images), dtype=np.float32) + 100 * np.float32(len(images))  # at most 10 000
        return [images / 2 + places[:, None, None, None] / 20_000, *others]


@pytest.mark.parametrize(("count", "start"), [(1, 5), (20, 3), (63, 0), (64, 17), (100, 32)])
def test_samples_are_decoded_in_the_batches_that_they_were_computed_in(
    detailed: VAE, tmp_path: Path, count: int, start: int
) -> None:
    names = ("generator", "decoder", "latents", "detail")
    by_place: dict[str, Any] = {name: ByPlace(detailed._graphs[name]) for name in names}
    vae = VAE.from_sessions(detailed.manifest, **by_place)
    for choice in ({}, {"detail": False}):
        samples = vae.sample(count, seed=7, start=start, **choice)
        assert vae.decode(samples).tobytes() == samples.images.tobytes()
        assert vae.decode(samples[::-3]).tobytes() == samples.images[::-3].tobytes()
        assert vae.decode(samples[count // 2]).tobytes() == samples.images[count // 2].tobytes()
        if start % 32 == 0:  # then the rows of an array stand at the places of the samples
            rows = vae.decode(samples.latents, noise=samples.noise, detail=samples.choice.detail)
            assert rows.tobytes() == samples.images.tobytes()
    for chunk in vae.stream(count, seed=7, start=start, chunk=32):
        assert vae.decode(chunk).tobytes() == chunk.images.tobytes()


def test_decode_of_streamed_samples_is_the_samples(vae: VAE) -> None:
    for chunk in vae.stream(100, seed=3, start=20, chunk=64):
        assert vae.decode(chunk).tobytes() == chunk.images.tobytes()
        assert vae.decode(chunk[5:9]).tobytes() == chunk.images[5:9].tobytes()
    for chunk in vae.stream(40, seed=3, dtype="uint8"):
        np.testing.assert_array_equal(Pictures(vae.decode(chunk), chunk.latents).grey_levels(), chunk.images)


def test_decode_of_a_models_samples_by_another_model_decodes_their_latents(vae: VAE, other_model_folder: Path) -> None:
    samples, other = vae.sample(3, seed=1), VAE(other_model_folder)
    np.testing.assert_array_equal(other.decode(samples), other.decode(samples.latents))
    assert np.abs(other.decode(samples) - samples.images).max() > 0.01


def test_rows_of_an_npz_decode_to_its_pictures_again(vae: VAE, tmp_path: Path) -> None:
    for count in (5, 70):
        vae.sample(count, seed=7).save(tmp_path / "a.npz")
        with np.load(tmp_path / "a.npz") as rows:
            noise = {"noise": rows["noise"]} if "noise" in rows else {"detail": False}
            assert vae.decode(rows["latents"], **noise).tobytes() == rows["images"].tobytes()


# 8
def test_samples_go_to_pillow(detailed: VAE) -> None:
    samples = detailed.sample(3, seed=1)
    images = samples.to_pil()
    assert isinstance(images, list)
    assert [image.mode for image in images] == ["L", "L", "L"]
    np.testing.assert_array_equal(np.asarray(images[2]), samples.grey_levels()[2, 0])
    single = samples[2].to_pil()
    assert isinstance(single, Image.Image)
    np.testing.assert_array_equal(np.asarray(single), samples.grey_levels()[2, 0])


def test_pictures_of_no_model_have_latents_of_no_dimensions(tmp_path: Path) -> None:
    pictures = Pictures(np.zeros((3, 1, 28, 28), np.float32), np.zeros((3, 0), np.float32))
    pictures[1:].save(tmp_path / "a.png")
    assert pictures[1:].latents.shape == (2, 0)
    with pytest.raises(UsageError, match=r"expected images as a NumPy array \[\.\.\., channels, height, width\], got "):
        Pictures(np.zeros((3, 1, 0, 28)), np.zeros((3, 2)))


# 9
def test_samples_are_saved_as_the_ending_says(detailed: VAE, tmp_path: Path) -> None:
    samples = detailed.sample(12, seed=5, start=100)
    levels = samples.grey_levels()
    for ending in ("png", "webp"):
        samples.save(tmp_path / f"a.{ending}")
        with Image.open(tmp_path / f"a.{ending}") as image:
            np.testing.assert_array_equal(np.asarray(image.convert("L")), picture_grid(levels, 10, 4))
    samples[3].save(str(tmp_path / "one.png"), scale=2)
    with Image.open(tmp_path / "one.png") as image:
        np.testing.assert_array_equal(np.asarray(image), levels[3, 0].repeat(2, 0).repeat(2, 1))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "other.txt").write_text("stays")
    samples.save(f"{tmp_path}/folder/")
    names = sorted(path.name for path in (tmp_path / "folder").iterdir())
    assert names == [*(f"{index:06}.png" for index in range(100, 112)), "other.txt"]
    with Image.open(tmp_path / "folder" / "000103.png") as image:
        np.testing.assert_array_equal(np.asarray(image), levels[3, 0])
    samples.save(tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), samples.images)
    samples.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert sorted(archive) == ["images", "labels", "latents", "model", "noise", "seed", "start"]
        assert json.loads(str(archive["model"])) == {
            "name": "detailed", "version": "1", "sha256": detailed.manifest.fingerprint
        }  # fmt: skip
        for name in set(archive) - {"model"}:
            np.testing.assert_array_equal(archive[name], getattr(samples, name))
    samples[[5, 2]].save(tmp_path / "some.npz")
    with np.load(tmp_path / "some.npz") as archive:
        assert archive["indices"].tolist() == [105, 102]
        assert "start" not in archive
    samples[[5, 2]].save(f"{tmp_path}/some/")
    with Image.open(tmp_path / "some" / "000102.png") as image:
        np.testing.assert_array_equal(np.asarray(image), levels[2, 0])
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["000102.png", "000105.png"]
    with pytest.raises(UsageError, match=r"at most 16383 pixels in a \.webp, got 116 × 85274; save a \.png"):
        Pictures(np.zeros((748, 1, 28, 28)), np.zeros((748, 12))).save(tmp_path / "a.webp", columns=1)
    with pytest.raises(UsageError) as raised:
        samples.save(tmp_path / "a.jpg")
    assert str(raised.value) == (
        f"expected a path that ends in .png, .webp, .npy, .npz or / for a folder, got '{tmp_path / 'a.jpg'}'; "
        "add an ending, or for a folder write the path as a text that ends in /, or create the folder first"
    )
    for number, name in enumerate(("old", "old.1")):
        (tmp_path / name).mkdir()
        samples.save(tmp_path / name if number else str(tmp_path / name))
        assert len(list((tmp_path / name).iterdir())) == 12


def test_a_traversal_is_saved_with_its_rows(detailed: VAE, tmp_path: Path) -> None:
    traversal = detailed.traverse([3, 1], steps=5)
    traversal.save(tmp_path / "a.png", scale=1)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), traversal.grid())
    traversal.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["dimensions"].tolist() == [3, 1]
        assert archive["latents"].shape == (2, 5, 12)
    assert len(traversal.to_pil()) == 10  # type: ignore[arg-type]


# 10
def test_encode_takes_whatever_holds_a_picture(detailed: VAE, tmp_path: Path) -> None:
    samples = detailed.sample(2, seed=4)
    samples[0].save(tmp_path / "a.png")
    (single,) = samples[:1].to_pil()  # type: ignore[misc]
    expected = detailed.encode(samples.grey_levels()[:1]).mean
    path = tmp_path / "a.png"
    for picture in (path, str(path), single, samples.grey_levels()[0], samples.grey_levels()[0, 0], [path], (single,)):
        np.testing.assert_array_equal(detailed.encode(picture, invert=False).mean, expected)
    np.testing.assert_allclose(detailed.encode(samples).mean[:1], expected, atol=0.05)
    several = detailed.encode([path, single, samples.grey_levels()[0], samples[0]], invert="no").mean
    np.testing.assert_allclose(several, np.repeat(expected, 4, 0), atol=0.05)
    samples.save(tmp_path / "a.npz")
    np.testing.assert_array_equal(detailed.encode(tmp_path / "a.npz").mean, detailed.encode(samples).mean)
    np.savez(tmp_path / "b.npz", mean=np.zeros((1, 12)))
    (tmp_path / "c.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:900])
    for name, message in (
        ("b.npz", "expected images of shape [n, 1, 28, 28], got shape [1, 12]; to fit a picture of another size, pass "
         "PIL.Image.fromarray(array) or the path of its file"),
        ("c.npz", "expected an array of numbers, but it is damaged; save the pictures again"),
        ("", "expected the file of a picture, got a folder; pass a list of the pictures in it"),
    ):
        with pytest.raises(InputError) as raised:
            detailed.encode(tmp_path / name)
        assert str(raised.value) == f"{tmp_path / name}: {message}"
    wide = single.resize((90, 60)).convert("RGBA")
    assert detailed.encode(wide).mean.shape == (1, 12)
    np.testing.assert_allclose(
        detailed.reconstruct(path, invert=False), detailed.decode(expected), atol=1e-6
    )
    dark, bright = np.zeros((28, 28), np.uint8), np.full((28, 28), 255, np.uint8)
    np.testing.assert_array_equal(detailed.encode(Image.fromarray(bright)).mean, detailed.encode(dark).mean)
    np.testing.assert_array_equal(detailed.encode(bright, invert=True).mean, detailed.encode(dark).mean)


# 11
def test_dimensions_and_paths_are_named_as_one_would(detailed: VAE) -> None:
    for name in (5, "5", "z5", "Z5 ", [5], ["z5"], np.int64(5), np.array([5]), np.array(5), (5,), range(5, 6)):
        assert detailed.traverse(name, steps=2).dimensions == (5,)  # type: ignore[arg-type]
    assert detailed.traverse("1,z2", steps=2).dimensions == (1, 2)
    assert detailed.traverse("all", steps=2).dimensions == detailed.manifest.latent.order
    a, b = np.eye(12)[:2]
    np.testing.assert_array_equal(
        detailed.interpolate(a, b, 5, "slerp").images, detailed.interpolate(a, b, 5, "spherical").images
    )


def test_a_posterior_is_decoded_at_its_mean(detailed: VAE) -> None:
    samples = detailed.sample(3, seed=4)
    posterior = detailed.encode(samples)
    np.testing.assert_array_equal(detailed.decode(posterior), detailed.decode(posterior.mean))
    one = detailed.encode(samples[0])
    np.testing.assert_array_equal(
        detailed.traverse(0, around=one, steps=2).latents, detailed.traverse(0, around=one.mean, steps=2).latents
    )


def test_samples_stand_for_their_latents_in_paths(detailed: VAE) -> None:
    samples = detailed.sample(2, seed=4)
    expected = detailed.interpolate(*samples.latents, steps=3)
    np.testing.assert_array_equal(detailed.interpolate(samples[0], samples[1:], 3).latents, expected.latents)
    ends = detailed.encode(samples[0]), samples[1]
    np.testing.assert_array_equal(detailed.interpolate(*ends, 3).latents[0], ends[0].mean[0])
    around = detailed.traverse(0, around=samples[1], steps=2)
    np.testing.assert_array_equal(around.latents[0, :, 1:], np.tile(samples.latents[1, 1:], (2, 1)))
    with pytest.raises(InputError, match=r"a posterior, got 'sneaker'; for a class pass vae\.sample\(label=…\), and"):
        detailed.interpolate("sneaker", samples[0])


def test_rows_and_pictures_of_a_traversal_are_selected(detailed: VAE) -> None:
    traversal = detailed.traverse([4, 2, 0], steps=5, fade=False)
    row = traversal[1]
    assert isinstance(row, Traversal)
    assert (row.shape, row.dimensions, len(row.values)) == ((5, 1, 28, 28), (2,), 5)
    assert traversal[1:].dimensions == (2, 0)
    assert [part.dimensions for part in traversal] == [(4,), (2,), (0,)]
    for picture in (traversal[1, 3], row[3]):
        assert type(picture) is Pictures
        np.testing.assert_array_equal(picture.images, traversal.images[1, 3])
        np.testing.assert_array_equal(picture.latents, traversal.latents[1, 3])
    assert detailed.decode(traversal).tobytes() == traversal.images.tobytes()


# 12
def test_a_model_is_copied_and_pickled_as_its_path_and_options(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model_folder.parent)
    vae = VAE(tiny_model_folder.name, threads=2)
    expected = vae.sample(3, seed=1).images
    monkeypatch.chdir("/")
    for again in (pickle.loads(pickle.dumps(vae)), copy.deepcopy(vae), copy.copy(vae)):
        assert again._threads == 2
        np.testing.assert_array_equal(again.sample(3, seed=1).images, expected)
    assert repr(pickle.loads(pickle.dumps(VAE(REFERENCE)))) == f"VAE('{REFERENCE}')"
    sessions = VAE.from_sessions(vae.manifest, generator=vae._graphs["generator"])
    for attempt in (copy.deepcopy, pickle.dumps):
        with pytest.raises(UsageError) as raised:
            attempt(sessions)
        assert str(raised.value) == (
            "expected a VAE of a model folder to copy or pickle, got one made from sessions, which stay in their "
            "process; call VAE.from_sessions there"
        )


def _send(vae: VAE, answers: Any) -> None:
    answers.put(vae.sample(3, seed=1).images.tobytes())


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_a_model_works_in_another_process(detailed_model_folder: Path, way: str) -> None:
    if way not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {way}")
    vae = VAE(detailed_model_folder)
    expected = vae.sample(3, seed=1).images.tobytes()  # so that a graph is open before the fork
    context: Any = multiprocessing.get_context(way)
    answers = context.Queue()
    process = context.Process(target=_send, args=(vae, answers))
    process.start()
    assert answers.get(timeout=300) == expected
    process.join()
    assert vae.sample(3, seed=1).images.tobytes() == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_opens_a_graph_does_not_wait_for_that_thread(tiny_model_folder: Path) -> None:
    vae = VAE(tiny_model_folder)
    vae.sample(1, seed=1)
    mine = vae._graphs["generator"]
    with vae._graphs._lock:  # as held by a thread that the child doesn't have
        child = os.fork()
        if child == 0:
            try:
                done = threading.Thread(target=lambda: vae.encode(vae.sample(2, seed=1)), daemon=True)
                done.start()
                done.join(60)
                os._exit(0 if not done.is_alive() and vae._graphs["generator"] is not mine else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert vae._graphs["generator"] is mine
