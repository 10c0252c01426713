"""Sets that are larger than the memory: they stay in their files, give what they would in memory, and take little."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from test_train_resume import StopAt, contents
from tiny_training import CONFIG, tiny_data
from vae_gen import InputError
from vae_train.config import DetailConfig
from vae_train.detail.training import train_detail
from vae_train.images import streamed
from vae_train.images.image_set import ImageSet, StreamedTensor
from vae_train.images.listing import list_pictures
from vae_train.images.loading import ImageSettings, Loaded, load_images
from vae_train.images.streamed import Streamed, changed, chunks, in_file, joined, taken
from vae_train.prior import fit_to_training_images
from vae_train.run_folder import load_run
from vae_train.training import train

FEW = ImageSettings(few=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_GEN_CACHE", str(tmp_path / "cache"))


def from_file(path: Path, array: np.ndarray) -> Streamed:
    np.save(path, array)
    return in_file(path, path.stat().st_size - array.nbytes, array.shape, array.dtype)


def pictures(count: int, side: int = 12, channels: int = 3) -> np.ndarray:
    """Coloured rectangles, uint8 [n, side, side, channels]."""
    random = np.random.default_rng(3)
    images = random.integers(0, 30, (count, side, side, channels), np.uint8)
    for image, (bottom, right) in zip(images, random.integers(2, side, (count, 2)), strict=True):
        image[:bottom, :right] += random.integers(60, 220, channels, np.uint8)
    return images


@pytest.mark.parametrize("rows", [
    slice(None), slice(3, 9), slice(-4, None), slice(8, 2, -2), slice(5, 5), np.array([7, 7, 0, 19, 8, 9]),
    np.array([], np.int64), np.arange(20) % 3 == 0,
], ids=str)  # fmt: skip
def test_pictures_in_a_file_are_indexed_as_in_memory(rows, tmp_path):
    array = np.random.default_rng(0).integers(0, 1000, (20, 4, 3)).astype(np.int16)
    found = from_file(tmp_path / "x.npy", array)
    assert (found.shape, found.ndim, found.size, found.nbytes, len(found)) == ((20, 4, 3), 3, 240, 480, 20)
    np.testing.assert_array_equal(found[rows], array[rows])
    some = np.array([4, 19, 0, 5, 6, 6])
    np.testing.assert_array_equal(taken(found, some)[:], array[some])
    both = joined([found, array[:3], found])
    np.testing.assert_array_equal(both[:], np.concatenate([array, array[:3], array]))
    np.testing.assert_array_equal(both[np.array([41, 21, 2])], both[:][[41, 21, 2]])
    doubled = changed(found, lambda part: (2.0 * part).swapaxes(1, 2))
    assert (doubled.shape, doubled.dtype) == ((20, 3, 4), np.float64)
    np.testing.assert_array_equal(np.concatenate(list(chunks(doubled))), 2.0 * array.swapaxes(1, 2))
    np.testing.assert_array_equal(found[-1], array[-1])
    with pytest.raises(IndexError):
        found[20]


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_set(kind: str, folder: Path) -> Path:
    """An image set of one kind."""
    images, labels = pictures(240), np.arange(240) % 3
    folder.mkdir()
    path = folder / "set.npz"
    if kind == "npz":
        np.savez(path, x_train=images[:180], y_train=labels[:180], x_val=images[180:200], y_val=labels[180:200],
                 x_test=images[200:], y_test=labels[200:])  # fmt: skip
    elif kind == "idx":
        (folder / "train-images-idx3-ubyte").write_bytes(idx(images[..., 0]))
        (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels.astype(np.uint8)))
        return folder
    elif kind == "folder":
        for at, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{at:03d}.png")
        (folder / "125.png").write_bytes(b"damaged")
        return folder
    else:
        arrays = {
            "bytes": images,
            "channels first": images.transpose(0, 3, 1, 2),
            "fractions": images.astype(np.float32) / 255,
            "grey of 16 bits": images[..., 0].astype(np.uint16) * 257,
        }
        path = path.with_suffix(".npy")
        np.save(path, np.ascontiguousarray(arrays[kind]))
    return path


def both_ways(path: Path, settings: ImageSettings, monkeypatch: pytest.MonkeyPatch) -> tuple[Loaded, Loaded]:
    """A set as it is read into memory, and as it stays in its file."""
    in_memory = load_images(str(path), settings)
    assert isinstance(in_memory.images.train_images, torch.Tensor)
    monkeypatch.setattr(streamed, "MOST_IN_MEMORY", 100)
    return in_memory, load_images(str(path), settings)


def assert_equal_sets(in_memory: ImageSet, in_file: ImageSet) -> None:
    for part in ("train", "test"):
        images = getattr(in_file, f"{part}_images")
        assert isinstance(images, StreamedTensor)
        assert torch.equal(images[:], getattr(in_memory, f"{part}_images"))
        assert torch.equal(getattr(in_file, f"{part}_labels"), getattr(in_memory, f"{part}_labels"))
    names = ("sha256", "class_names", "validation", "preparation", "origin", "shape")
    assert all(getattr(in_memory, name) == getattr(in_file, name) for name in names)


@pytest.mark.parametrize("settings", [
    FEW, ImageSettings(few=True, size=(9, 16), fit="crop"), ImageSettings(few=True, channels=1, max_images=200)
], ids=["as it is", "cropped", "some in grey"])  # fmt: skip
@pytest.mark.parametrize("kind", ["bytes", "channels first", "fractions", "grey of 16 bits", "npz", "idx", "folder"])
def test_a_large_set_is_the_set_that_it_is_in_memory(kind, settings, tmp_path, monkeypatch):
    path = write_set(kind, tmp_path / "data")
    in_memory, in_file = both_ways(path, settings, monkeypatch)
    assert_equal_sets(in_memory.images, in_file.images)
    assert in_memory.report == in_file.report
    again = load_images(str(path), settings)  # with the checksums that the first reading kept
    assert_equal_sets(in_memory.images, again.images)


def test_a_changed_file_has_other_checksums(tmp_path, monkeypatch):
    path = write_set("bytes", tmp_path / "data")
    monkeypatch.setattr(streamed, "MOST_IN_MEMORY", 100)
    first = load_images(str(path), FEW).images.sha256
    np.save(path, np.load(path)[::-1].copy())
    os.utime(path, ns=(1, 1))
    assert load_images(str(path), FEW).images.sha256 != first
    for kept in (tmp_path / "cache" / "digests").iterdir():
        kept.write_bytes(kept.read_bytes()[:50])
    np.save(path, np.load(path)[::-1].copy())
    assert load_images(str(path), FEW).images.sha256 == first


def streamed_data(folder: Path) -> tuple[ImageSet, ImageSet]:
    """The set of the tiny run in memory and in files."""
    data = tiny_data()
    train_images, test_images = (
        StreamedTensor(from_file(folder / f"{name}.npy", images.numpy()))
        for name, images in (("train", data.train_images), ("test", data.test_images))
    )
    return data, replace(data, train_images=train_images, test_images=test_images)


def test_a_run_on_a_file_is_the_run_in_memory_also_after_a_stop(tmp_path):
    in_memory, in_file = streamed_data(tmp_path)
    train(CONFIG, in_memory, tmp_path / "memory")
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, in_file, tmp_path / "file", reporter=StopAt(2, 10))
    train(CONFIG, in_file, tmp_path / "file", resume=True)
    assert contents(tmp_path / "file") == contents(tmp_path / "memory")


def test_a_detail_stage_and_a_prior_from_a_file_are_those_from_memory(tmp_path):
    in_memory, in_file = streamed_data(tmp_path)
    run = train(CONFIG, in_memory, tmp_path / "memory")
    again = train(CONFIG, in_file, tmp_path / "file")
    stage = DetailConfig(
        noise_dim=4, hidden=6, channels=(3, 4, 5), residual_blocks=(1, 0, 1), critic_channels=(4, 5, 6),
        critic_hidden=8, epochs=1, batch_size=16, device="cpu", threads=1,
    )  # fmt: skip
    for one, data in ((run, in_memory), (again, in_file)):
        train_detail(stage, one, data)
    assert contents(tmp_path / "file") == contents(tmp_path / "memory")
    encode = encoder_of(tmp_path / "memory")
    priors = [fit_to_training_images(encode, data, 2) for data in (in_memory, in_file)]
    assert priors[0][1] == priors[1][1]
    np.testing.assert_array_equal(priors[0][0].means, priors[1][0].means)


def encoder_of(path: Path):
    vae = load_run(path).vae

    def encode(image):
        with torch.no_grad():
            mean, log_variance = vae.encode(torch.from_numpy(image))
        return mean.numpy(), log_variance.numpy()

    return encode


def test_pictures_that_a_gpu_cannot_hold_are_sent_to_it_in_batches(tmp_path, monkeypatch):
    _, data = streamed_data(tmp_path)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (2 * 200 * 120 - 1, 10**9))
    images = data.train_images.to("cuda")
    assert isinstance(images, StreamedTensor)
    assert (images.device.type, images.shape) == ("cuda", (200, 1, 12, 10))


def test_a_prior_is_fitted_to_a_part_of_many_images(tmp_path, monkeypatch):
    _, data = streamed_data(tmp_path)
    monkeypatch.setattr("vae_train.prior.MOST_IMAGES", 100)

    def encode(image):
        mean = image.reshape(len(image), -1)[:, :2].copy()
        return mean, np.zeros_like(mean)

    _, facts = fit_to_training_images(encode, data, 1)
    assert (facts["images"], facts["held_out_images"]) == (75, 25)


def test_quality_holds_a_part_of_a_large_set_in_memory(tmp_path, monkeypatch):
    in_memory, in_file = streamed_data(tmp_path)
    assert in_memory.in_memory().train_images is in_memory.train_images
    monkeypatch.setattr("vae_train.images.image_set.MOST_LOADED", 50 * 120)
    some = in_file.in_memory()
    assert isinstance(some.train_images, torch.Tensor)
    assert (len(some.train_images), len(some.train_labels), len(some.test_images)) == (50, 50, 40)
    known = {image.numpy().tobytes() for image in in_memory.train_images}
    assert len({image.numpy().tobytes() for image in some.train_images} & known) == 50


def test_a_file_that_became_shorter_ends_the_run_in_a_plain_error(tmp_path):
    found = from_file(tmp_path / "x.npy", np.zeros((50, 8), np.uint8))
    os.truncate(tmp_path / "x.npy", 300)
    with pytest.raises(InputError, match="ends early; restore it, and go on with --resume"):
        found[20:30]


PEAK = """
import resource, sys
import numpy as np, torch
from vae_train.images import streamed
from vae_train.images.loading import ImageSettings, load_images
from vae_train.data import batches
streamed.MOST_IN_MEMORY = 1 << 20
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
loaded = load_images(sys.argv[1], ImageSettings(few=True, latent_dim=4))
images = loaded.images
seen = sum(float(batch.sum()) for batch in batches(images.train_images, torch.randperm(len(images.train_images)), 64))
print(len(loaded.images.train_images), peak())
"""


def peak_bytes(path: Path) -> int:
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_the_memory_of_reading_does_not_grow_with_the_set(tmp_path):
    few, many = tmp_path / "few.npy", tmp_path / "many.npy"
    np.save(few, pictures(5000, 32))
    array = np.lib.format.open_memmap(many, "w+", np.uint8, (60_000, 32, 32, 3))  # 184 MB
    for start in range(0, len(array), 5000):
        array[start : start + 5000] = np.load(few) + np.uint8(start // 5000)
    grown = peak_bytes(many) - peak_bytes(few)
    assert grown < array.nbytes / 4, f"{grown / 1e6:.0f} MB for {array.nbytes / 1e6:.0f} MB of pictures"


def test_a_listed_file_takes_little_memory(tmp_path):
    for at in range(2000):
        (tmp_path / f"{at:07d}.png").touch()
    list_pictures(tmp_path)
    tracemalloc.start()
    listing = list_pictures(tmp_path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(listing.entries) == 2000
    assert kept / 2000 < 600
    assert peak / 2000 < 1500
