"""Fashion-MNIST: found in four places, and never taken with other content. The files here are small stand-ins."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from vae_gen import InputError
from vae_train import data
from vae_train.data import batches, load_fashion_mnist, parse_idx, split

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = data.SHA256


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def _arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        TRAIN_IMAGES: random.integers(0, 256, (6, 4, 3), np.uint8),
        TRAIN_LABELS: random.integers(0, 10, 6, np.uint8),
        TEST_IMAGES: random.integers(0, 256, (2, 4, 3), np.uint8),
        TEST_LABELS: random.integers(0, 10, 2, np.uint8),
    }


ARRAYS = _arrays()


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are the known ones here, Debian's place is empty, and the cache is new."""
    known = {name: hashlib.sha256(idx(array)).hexdigest() for name, array in ARRAYS.items()}
    monkeypatch.setattr(data, "SHA256", known)
    monkeypatch.setattr(data, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(data, "PAUSE_S", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(folder: Path, *, zipped: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ARRAYS.items():
        content = idx(array)
        (folder / f"{name}.gz" if zipped else folder / name).write_bytes(gzip.compress(content) if zipped else content)
    return folder


@contextlib.contextmanager
def mirror(folder: Path) -> Iterator[str]:
    """An HTTP server of a folder on this machine alone."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


NOBODY = "http://127.0.0.1:9/"  # the discard port, where nobody listens


def message(*arguments: object, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load_fashion_mnist(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_folder_gives_the_same_tensors_zipped_or_not(zipped: bool, tmp_path: Path) -> None:
    found = load_fashion_mnist(write(tmp_path / "here", zipped=zipped))
    assert found.train_images.dtype == torch.uint8
    assert found.train_labels.dtype == torch.int64
    assert found.train_images.shape == (6, 1, 4, 3)
    assert np.array_equal(found.train_images[:, 0].numpy(), ARRAYS[TRAIN_IMAGES])
    assert np.array_equal(found.test_images[:, 0].numpy(), ARRAYS[TEST_IMAGES])
    assert found.train_labels.tolist() == ARRAYS[TRAIN_LABELS].tolist()
    assert found.test_labels.tolist() == ARRAYS[TEST_LABELS].tolist()
    assert found.sha256 == data.SHA256


def test_files_laid_out_by_torchvision_are_found(tmp_path: Path) -> None:
    write(tmp_path / "FashionMNIST" / "raw")
    assert len(load_fashion_mnist(tmp_path).train_images) == 6


def test_the_place_of_debians_package_is_looked_at(tmp_path: Path) -> None:
    write(tmp_path / "debian")
    assert len(load_fashion_mnist(download=False).train_images) == 6


def test_a_missing_file_is_named_with_its_folder(tmp_path: Path) -> None:
    (write(tmp_path / "here") / f"{TEST_LABELS}.gz").unlink()
    assert message(tmp_path / "here") == (
        f"expected {TEST_LABELS} or {TEST_LABELS}.gz in {tmp_path / 'here'}, found neither; "
        "leave --data-dir out to use Debian's dataset-fashion-mnist or a download"
    )


def test_a_named_folder_is_the_only_one_looked_at(tmp_path: Path) -> None:
    write(tmp_path / "debian")
    assert message(tmp_path / "nothing").startswith(f"expected {TRAIN_IMAGES} or {TRAIN_IMAGES}.gz in ")


def test_a_truncated_gzip_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "here") / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert message(tmp_path / "here").startswith(f"{path}: expected a whole gzip file, got ")


@pytest.mark.parametrize("position", [0, 8, -1])
def test_one_edited_byte_is_refused(position: int, tmp_path: Path) -> None:
    path = write(tmp_path / "here", zipped=False) / TEST_IMAGES
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    assert message(tmp_path / "here") == (
        f"{path}: expected Fashion-MNIST with SHA-256 {data.SHA256[TEST_IMAGES][:12]}…, got {found[:12]}…; "
        "fetch the file again"
    )


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "here" / TRAIN_IMAGES).mkdir(parents=True)
    assert message(tmp_path / "here").startswith(f"expected {TRAIN_IMAGES} or {TRAIN_IMAGES}.gz in ")


@pytest.mark.parametrize("zipped", [True, False])
def test_files_are_found_as_kaggle_and_unpackers_name_them(zipped: bool, tmp_path: Path) -> None:
    here = write(tmp_path / "here", zipped=zipped)
    for at, path in enumerate(sorted(here.iterdir())):
        name = path.name.removesuffix(".gz")
        if at % 2:
            path.rename(path.with_name(path.name.replace("-idx", ".idx")))
        else:
            content = path.read_bytes()
            path.unlink()
            (here / name).mkdir()
            (here / name / path.name).write_bytes(content)
    assert len(load_fashion_mnist(here).train_images) == 6


def test_without_download_it_says_where_it_looked(tmp_path: Path) -> None:
    assert message(download=False) == (
        f"expected Fashion-MNIST in {tmp_path / 'debian'} or {tmp_path / 'cache' / 'vae-gen' / 'fashion-mnist'}, "
        f"found no {TRAIN_IMAGES}; install Debian's dataset-fashion-mnist, or name a folder with --data-dir"
    )


def test_a_download_is_kept_in_the_cache(tmp_path: Path) -> None:
    with mirror(write(tmp_path / "server")) as address:
        first = load_fashion_mnist(mirrors=[address])
    again = load_fashion_mnist(mirrors=[NOBODY])
    assert torch.equal(first.train_images, again.train_images)
    kept = sorted(path.name for path in (tmp_path / "cache" / "vae-gen" / "fashion-mnist").iterdir())
    assert kept == sorted(ARRAYS)


def test_the_next_mirror_is_tried_after_one_that_is_down_or_has_other_content(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad")
    for path in bad.iterdir():
        path.write_bytes(gzip.compress(b"<html>not found</html>"))
    (tmp_path / "empty").mkdir()
    with (
        mirror(bad) as wrong,
        mirror(tmp_path / "empty") as empty,
        mirror(write(tmp_path / "good")) as right,
    ):
        assert len(load_fashion_mnist(mirrors=[NOBODY, wrong, empty, right]).train_images) == 6


def test_a_truncated_download_is_not_kept(tmp_path: Path) -> None:
    for path in write(tmp_path / "server").iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    with mirror(tmp_path / "server") as address:
        assert "expected a whole gzip file" in message(mirrors=[address])
    assert not (tmp_path / "cache").exists()


def test_offline_it_says_so_and_what_to_do() -> None:
    text = message(mirrors=[NOBODY, NOBODY])
    assert text.startswith("expected Fashion-MNIST from one of 2 mirrors, got none (the last failure: http://127.0.0.1:9/:")
    assert text.endswith(
        "check the network, install Debian's dataset-fashion-mnist, or name a folder that has the files with --data-dir"
    )


@given(arrays(np.uint8, array_shapes(max_dims=4, max_side=5) | st.just((0, 3))))
def test_idx_gives_back_what_was_written(array: np.ndarray) -> None:
    assert np.array_equal(parse_idx(idx(array), "file"), array)


@given(arrays(np.uint8, array_shapes(max_dims=4, max_side=5)), st.data())
def test_idx_that_is_cut_or_too_long_is_refused(array: np.ndarray, draw: st.DataObject) -> None:
    content = idx(array)
    changed = draw.draw(st.integers(0, len(content) - 1).map(lambda end: content[:end]) | st.just(content + b"\0"))
    with pytest.raises(InputError, match=r"^file: expected "):
        parse_idx(changed, "file")


@given(st.binary(max_size=40))
def test_any_bytes_are_an_array_or_refused(content: bytes) -> None:
    try:
        array = parse_idx(content, "file")
    except InputError:
        return
    assert idx(array) == content


@given(st.integers(2, 300), st.data())
def test_a_split_parts_all_images_and_ignores_everything_else(count: int, draw: st.DataObject) -> None:
    validation = draw.draw(st.integers(1, count - 1))
    training, held_out = split(count, validation)
    assert len(held_out) == validation
    assert sorted([*training.tolist(), *held_out.tolist()]) == list(range(count))


def test_the_reference_split_is_these_images() -> None:
    _, held_out = split(60_000, 5_000)
    digest = hashlib.sha256(held_out.numpy().astype("<u4").tobytes()).hexdigest()
    assert (held_out[:5].tolist(), digest[:16]) == ([0, 4, 32, 45, 59], "9b1a93215378c7c1")


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 6))
def test_batches_are_the_images_in_order_scaled_and_can_begin_anywhere(count: int, size: int, first: int) -> None:
    images = torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1)
    order = torch.arange(count).flip(0)
    made = torch.cat([torch.zeros(0, 1, 1, 1), *batches(images, order, size, first)]).flatten()
    assert torch.equal(made, torch.arange(count).flip(0)[first * size :].float() / 255)


@pytest.mark.data
def test_the_real_data_set_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = load_fashion_mnist(download=False)
    assert found.train_images.shape == (60_000, 1, 28, 28)
    assert found.test_images.shape == (10_000, 1, 28, 28)
    assert torch.bincount(found.train_labels).tolist() == [6000] * 10
    assert torch.bincount(found.test_labels).tolist() == [1000] * 10
    assert len(found.class_names) == 10
