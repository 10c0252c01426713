"""What counts as a picture, a class and a split in a folder, a zip file, and in files of arrays."""

from __future__ import annotations

import gzip
import json
import zipfile

import numpy as np
import pytest

from odd_pictures import discs, idx, write_folder
from vae_gen import InputError, UsageError
from vae_train.images.arrays import read_idx_folder, read_numpy, read_torchvision
from vae_train.images.listing import list_pictures


def names(listing) -> list[tuple[str, str | None, str | None]]:
    return [(entry.file, entry.label, entry.split) for entry in listing.entries]


def test_sub_folders_of_one_depth_are_classes(tmp_path):
    write_folder(tmp_path / "cats", discs(2))
    write_folder(tmp_path / "dogs", discs(1))
    assert names(list_pictures(tmp_path)) == [
        ("cats/0000.png", "cats", None), ("cats/0001.png", "cats", None), ("dogs/0000.png", "dogs", None),
    ]  # fmt: skip
    assert list_pictures(tmp_path).class_names == ("cats", "dogs")
    assert {label for _, label, _ in names(list_pictures(tmp_path, "none"))} == {None}


def test_a_single_folder_and_folders_of_several_depths_are_not_classes(tmp_path):
    write_folder(tmp_path / "one" / "only", discs(2))
    assert list_pictures(tmp_path / "one").class_names == ()
    write_folder(tmp_path / "mixed", discs(1))
    write_folder(tmp_path / "mixed" / "sub", discs(1))
    listing = list_pictures(tmp_path / "mixed")
    assert listing.class_names == ()
    assert listing.labels_from == "none, because the pictures lie at different depths"
    forced = list_pictures(tmp_path / "mixed", "folders")
    assert names(forced) == [("sub/0000.png", "sub", None)]
    assert [(entry.file, entry.reason) for entry in forced.skipped] == [("0000.png", "in no class folder")]


@pytest.mark.parametrize("wrapper", ["", "dataset/"])
def test_split_folders_are_never_classes(tmp_path, wrapper):
    for folder in ("train/a", "train/b", "valid/a", "test/b"):
        write_folder(tmp_path / f"{wrapper}{folder}", discs(1))
    assert [(label, split) for _, label, split in names(list_pictures(tmp_path))] == [
        ("b", "test"), ("a", "train"), ("b", "train"), ("a", "validation"),
    ]  # fmt: skip
    write_folder(tmp_path / f"{wrapper}extra", discs(1))
    assert [entry.reason for entry in list_pictures(tmp_path).skipped] == ["outside of the train, val and test folders"]


def test_split_folders_without_classes(tmp_path):
    write_folder(tmp_path / "train", discs(2))
    write_folder(tmp_path / "test", discs(1))
    assert names(list_pictures(tmp_path)) == [
        ("test/0000.png", None, "test"), ("train/0000.png", None, "train"), ("train/0001.png", None, "train"),
    ]  # fmt: skip


def test_hidden_files_and_folders_do_no_harm(tmp_path):
    write_folder(tmp_path / "a", discs(1))
    write_folder(tmp_path / "b", discs(1))
    for hidden in (".ipynb_checkpoints", "__MACOSX", "a/.ipynb_checkpoints", ".git"):
        write_folder(tmp_path / hidden, discs(1))
    (tmp_path / "a" / "._0000.png").write_bytes(b"x")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "c").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    listing = list_pictures(tmp_path)
    assert [file for file, _, _ in names(listing)] == ["a/0000.png", "b/0000.png"]
    assert listing.class_names == ("a", "b")
    assert (listing.empty_classes, listing.other_files, listing.skipped) == (1, {".txt": 1}, ())


def test_links_are_followed_out_of_the_folder_but_not_within_it(tmp_path):
    data = write_folder(tmp_path / "data", discs(1))
    elsewhere = write_folder(tmp_path / "elsewhere", discs(1), prefix="e")
    (data / "inside.png").symlink_to("0000.png")
    (data / "outside.png").symlink_to(elsewhere / "e0000.png")
    (data / "nowhere.png").symlink_to("missing.png")
    (data / "circle").symlink_to(data)
    (data / "folder").symlink_to(elsewhere)
    listing = list_pictures(data)
    assert [file for file, _, _ in names(listing)] == ["0000.png", "folder/e0000.png", "outside.png"]
    assert {entry.file: entry.reason for entry in listing.skipped} == {
        "inside.png": "a link to another file of this folder", "nowhere.png": "a link that leads nowhere",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_gives_labels_in_place_of_folders(tmp_path, name):
    write_folder(tmp_path / "a", discs(3))
    rows = [("a/0000.png", "10"), ("a/0001.png", "9"), ("a/gone.png", "8")]
    if name.endswith("csv"):
        text = "file_name,size,label\n" + "".join(f"{file},3,{label}\n" for file, label in rows)
    else:
        text = "".join(json.dumps({"file_name": file, "label": int(label)}) + "\n" for file, label in rows)
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    listing = list_pictures(tmp_path)
    assert [label for _, label, _ in names(listing)] == ["10", "9"]
    assert listing.class_names == ("9", "10")  # as numbers
    assert [(entry.file, entry.reason) for entry in listing.skipped] == [
        ("a/0002.png", f"not in {name}"), ("a/gone.png", f"in {name}, but there is no such picture"),
    ]  # fmt: skip


def test_captions_are_not_classes(tmp_path):
    write_folder(tmp_path, discs(6))
    rows = "".join(f"{at:04d}.png,a caption {at}\n" for at in range(6))
    (tmp_path / "metadata.csv").write_text("file_name,text\n" + rows)
    listing = list_pictures(tmp_path)
    assert (len(listing.entries), listing.class_names) == (6, ())


@pytest.mark.parametrize(("text", "message"), [
    ("name,label\na,b\n", "expected a column file_name, got name, label"),
    ("file_name,x,y\na,b,c\n", "expected a column label or class or category or target, got file_name, x, y"),
    ("", "expected a row for each picture, got none"),
    ("file_name,label\nmissing.png,b\n", "got none of the 1 that were found, such as 0000.png"),
])  # fmt: skip
def test_a_label_file_that_cannot_be_used_is_one_sentence(tmp_path, text, message):
    write_folder(tmp_path, discs(1))
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        list_pictures(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_zip_file_lists_as_its_folder_does(tmp_path):
    for folder in ("top/a b", "top/ñ", "top/__MACOSX"):
        write_folder(tmp_path / "data" / folder, discs(2))
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in sorted((tmp_path / "data").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "data"))
    from_zip, from_folder = list_pictures(tmp_path / "data.zip"), list_pictures(tmp_path / "data")
    assert names(from_zip) == names(from_folder)
    assert from_zip.class_names == ("a b", "ñ")
    (tmp_path / "broken.zip").write_bytes((tmp_path / "data.zip").read_bytes()[:100])
    with pytest.raises(InputError, match="expected a folder or a whole zip file"):
        list_pictures(tmp_path / "broken.zip")


def pictures(count: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 9, 8), np.uint8)


@pytest.mark.parametrize(("images", "labels"), [
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
])  # fmt: skip
def test_idx_files_have_many_names(tmp_path, images, labels):
    train, test = pictures(6), pictures(2, 1)
    for name, content in ((images, train), (labels, np.arange(6) % 3), (images.replace("train", "t10k"), test),
                          (labels.replace("train", "t10k"), np.arange(2))):  # fmt: skip
        packed = idx(content.astype(np.uint8))
        (tmp_path / name).write_bytes(gzip.compress(packed) if name.endswith("gz") else packed)
    found = read_idx_folder(tmp_path)
    assert found is not None
    assert np.array_equal(found.parts["train"].images[..., 0], train)
    assert np.array_equal(found.parts["test"].images[..., 0], test)
    assert found.class_names == ("0", "1", "2")
    assert read_idx_folder(write_folder(tmp_path / "other", discs(1))) is None


def test_emnist_is_turned_upright(tmp_path):
    (tmp_path / "emnist-letters-train-images-idx3-ubyte").write_bytes(idx(pictures()))
    found = read_idx_folder(tmp_path)
    assert found is not None
    assert np.array_equal(found.parts["train"].images[..., 0], pictures().transpose(0, 2, 1))
    assert found.notes == ("EMNIST stores its pictures column by column, so they were transposed",)


def test_two_idx_sets_in_one_folder_are_an_error(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(pictures()))
    (tmp_path / "emnist-train-images-idx3-ubyte").write_bytes(idx(pictures()))
    with pytest.raises(InputError, match="expected one set of IDX files"):
        read_idx_folder(tmp_path)


@pytest.mark.parametrize(("shape", "axes", "note"), [
    ((5, 9, 8), None, ()),
    ((5, 9, 8, 3), None, ()),
    ((5, 3, 9, 8), (0, 2, 3, 1), ("shape [3, 9, 8] was read as channels, height, width",)),
    ((5, 3, 8, 3), None, ("shape [3, 8, 3] was read as height, width, channels",)),
])  # fmt: skip
def test_axes_of_arrays_are_recognised_and_reported(tmp_path, shape, axes, note):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "x.npy", array)
    found = read_numpy(tmp_path / "x.npy")
    expected = array[..., None] if array.ndim == 3 else array if axes is None else array.transpose(axes)
    assert np.array_equal(found.parts["train"].images, expected)
    assert found.notes == note


@pytest.mark.parametrize(("values", "levels", "scaled"), [
    (np.array([0.0, 0.5, 1.0]), [0, 128, 255], "0 to 1"),
    (np.array([-1.0, 0.0, 1.0]), [0, 128, 255], "-1 to 1"),
    (np.array([-1e-9, 0.5, 1 + 1e-7]), [0, 128, 255], "0 to 1"),
    (np.array([0, 8, 16]), [0, 128, 255], "0 to 16"),
    (np.array([0, 2047, 4095], np.uint16), [0, 127, 255], "0 to 4095"),
    (np.array([0, 32768, 65535], np.uint16), [0, 128, 255], "0 to 65535"),
    (np.array([False, True, True]), [0, 255, 255], None),
    (np.array([0, 100, 200], np.uint8), [0, 100, 200], None),
])  # fmt: skip
def test_values_are_scaled_by_their_own_depth(tmp_path, values, levels, scaled):
    np.save(tmp_path / "x.npy", np.tile(values, (4, 2, 1)))
    found = read_numpy(tmp_path / "x.npy")
    assert found.parts["train"].images[0, 0, :, 0].tolist() == levels
    assert found.notes == (() if scaled is None else (f"values from {scaled} were scaled to 0 to 255",))


def test_npz_keys_give_splits_and_labels(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=pictures(6), y_train=np.array(list("abcabc")), x_test=pictures(2, 1),
             y_test=np.array(["c", "a"]))  # fmt: skip
    found = read_numpy(tmp_path / "x.npz")
    assert {split: len(part.images) for split, part in found.parts.items()} == {"train": 6, "test": 2}
    assert found.class_names == ("a", "b", "c")
    assert found.parts["test"].labels is not None
    assert found.parts["test"].labels.tolist() == [2, 0]


@pytest.mark.parametrize(("content", "message"), [
    ({"pictures": np.zeros((2, 8, 8))}, "expected pictures under images"),
    ({"images": np.zeros((2, 8, 8))}, "got 0 in every pixel"),
    ({"images": np.full((2, 8, 8), np.nan)}, "expected finite numbers"),
    ({"images": np.zeros((2, 8))}, "expected pictures of shape"),
    ({"images": np.full((2, 8, 8), "a")}, "expected numbers as pictures"),
    ({"images": np.eye(8)[None], "labels": np.arange(3)}, "expected a label for each of the 1 pictures"),
])  # fmt: skip
def test_arrays_that_cannot_be_used_are_one_sentence(tmp_path, content, message):
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(InputError) as caught:
        read_numpy(tmp_path / "x.npz")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickled_array_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="x.npy: expected an array of numbers, but it holds pickled objects"):
        read_numpy(tmp_path / "x.npy")


def test_a_torchvision_data_set_is_read_from_a_local_folder(tmp_path):
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 6), ("t10k", 2)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx((np.arange(count) % 10).astype(np.uint8)))
    found = read_torchvision("KMNIST", tmp_path, download=False)
    assert {split: part.images.shape for split, part in found.parts.items()} == {
        "train": (6, 28, 28, 1), "test": (2, 28, 28, 1),
    }  # fmt: skip
    assert found.class_names[:2] == ("o", "ki")
    with pytest.raises(InputError, match="expected the files of torchvision:MNIST in"):
        read_torchvision("MNIST", tmp_path, download=False)
    for name in ("NoSuchSet", "os", "utils"):
        with pytest.raises(UsageError):
            read_torchvision(name, tmp_path, download=False)
