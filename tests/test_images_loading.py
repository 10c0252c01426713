"""Files to pixels, the cache of them, the decisions that are made, and the set and report that come out."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from odd_pictures import discs, sixteen_bit_png, write_bad_files, write_folder
from vae_gen import InputError, OutputError, UsageError
from vae_train.images import cache
from vae_train.images.choices import Sample, choose_latent_dim, choose_size, components_for, network_for
from vae_train.images.decoding import Frame, prepared
from vae_train.images.listing import list_pictures
from vae_train.images.loading import fashion_mnist, load_images
from vae_train.images.report import REPORT, contact_sheet
from vae_train.images.settings import ImageSettings

GREY = Frame(12, 10, 1, "pad", (0, 0, 0))
WHITE = Frame(8, 8, 3, "pad", (255, 255, 255))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("VAE_GEN_CACHE", str(folder))
    return folder


def content(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(picture: Image.Image, kind: str = "PNG", frame: Frame = WHITE, **options: object) -> list[int]:
    """The middle pixel of a picture as the model sees it."""
    levels, _ = prepared(content(picture, kind, **options), frame)
    return levels[:, 4, 4].tolist()


def test_transparent_pixels_show_the_background():
    clear = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    half = Image.new("RGBA", (8, 8), (200, 0, 0, 128))
    grey = Image.new("LA", (8, 8), (0, 0))
    assert pixel(clear) == [255, 255, 255]
    assert pixel(clear, frame=Frame(8, 8, 3, "pad", (1, 2, 3))) == [1, 2, 3]
    assert pixel(half) == [227, 127, 127]
    assert pixel(grey) == [255, 255, 255]
    palette = Image.new("P", (8, 8))
    palette.putpalette([9, 8, 7] + [0] * 765)
    assert pixel(palette) == [9, 8, 7]
    assert pixel(palette, transparency=0) == [255, 255, 255]


def test_deep_and_foreign_modes_become_eight_bits():
    levels = np.full((8, 8), 32768)
    assert prepared(sixteen_bit_png(levels), WHITE)[0][:, 4, 4].tolist() == [128, 128, 128]
    assert pixel(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF") == [255, 0, 0]
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (8, 8), (255, 0, 0)), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )  # fmt: skip
    red, green, blue = pixel(lab, "TIFF")
    assert red > 250
    assert max(green, blue) < 15
    assert pixel(Image.new("1", (8, 8), 1)) == [255, 255, 255]


def test_the_first_frame_of_an_animation_is_used():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    levels, facts = prepared(content(frames[0], "GIF", save_all=True, append_images=frames[1:]), WHITE)
    assert levels[:, 4, 4].tolist() == [255, 0, 0]
    assert facts.animated


def test_a_picture_is_turned_as_its_exif_says():
    picture = Image.new("L", (10, 6))
    picture.paste(255, (0, 0, 5, 6))  # the left half is bright
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    levels, facts = prepared(content(picture, exif=exif), Frame(10, 6, 1, "pad", (0, 0, 0)))
    assert (facts.width, facts.height) == (6, 10)
    assert levels[0, :5].min() == 255
    assert levels[0, 5:].max() == 0


@pytest.mark.parametrize(("fit", "rows"), [
    ("pad", [7, 7, 200, 200, 200, 200, 7, 7]),
    ("crop", [200] * 8),
    ("stretch", [200] * 8),
])  # fmt: skip
def test_other_shapes_are_padded_cropped_or_stretched(fit, rows):
    picture = Image.new("L", (16, 8), 200)
    picture.paste(100, (0, 0, 4, 8))  # the left quarter, which a crop cuts off
    levels, _ = prepared(content(picture), Frame(8, 8, 1, fit, (7, 7, 7)))
    assert levels[0, :, 5].tolist() == rows
    assert (levels[0, 4] < 150).any() == (fit != "crop")


@pytest.mark.parametrize(("sizes", "expected"), [
    ([(28, 28)] * 3, (28, 28)),
    ([(40, 30)] * 3, (30, 40)),
    ([(320, 240)] * 3, (48, 64)),
    ([(136, 128)] * 3, (60, 64)),
    ([(100, 50), (50, 100), (60, 60)], (64, 64)),
    ([(20, 20), (33, 33), (40, 40)], (32, 32)),
    ([(4, 4)] * 3, (8, 8)),
])  # fmt: skip
def test_the_size_follows_the_data(sizes, expected):
    found, choice = choose_size(sizes, ImageSettings())
    assert found == expected
    assert choice.value == f"{expected[0]}x{expected[1]}"
    assert choice.option == "--image-size N or HxW"
    assert choose_size(sizes, ImageSettings.of(image_size="16x24"))[0] == (16, 24)


def test_components_are_counted_as_an_exact_decomposition_counts_them():
    random = np.random.default_rng(0)
    mixed = random.standard_normal((300, 6)) * [9, 7, 5, 3, 2, 1] @ np.linalg.qr(random.standard_normal((64, 6)))[0].T
    images = np.clip(mixed * 5 + 128, 0, 255).astype(np.uint8).reshape(-1, 1, 8, 8)
    values = np.linalg.svd(images.reshape(300, -1) - images.reshape(300, -1).mean(0), compute_uv=False) ** 2
    for share in (0.5, 0.74, 0.9):
        assert components_for(images, share) == np.searchsorted(np.cumsum(values) / values.sum(), share) + 1
    assert components_for(np.zeros((20, 1, 8, 8), np.uint8), 0.74) == 1


def test_colour_takes_more_components_than_grey():
    random = np.random.default_rng(0)
    noise = random.normal(size=(500, 20)) @ (np.linspace(1, 0.1, 20)[:, None] * random.normal(size=(20, 144)))
    grey = np.clip(128 + 20 * noise, 0, 255).astype(np.uint8).reshape(500, 1, 12, 12)
    colour = grey.repeat(3, axis=1)
    assert choose_latent_dim(grey, ImageSettings())[0] == components_for(grey, 0.74)
    found, choice = choose_latent_dim(colour, ImageSettings())
    assert found == components_for(grey, 0.78) > components_for(grey, 0.74)
    assert "hold 78 % of the variance" in choice.reason


def test_the_network_follows_from_the_size():
    assert [network_for(side, side) for side in (8, 32, 33, 64, 65, 128)] == [
        (32, 64), (32, 64), (16, 32, 64), (16, 32, 64), (16, 32, 64, 96), (16, 32, 64, 96),
    ]  # fmt: skip


def test_grey_pictures_in_colour_files_stay_grey(tmp_path):
    write_folder(tmp_path, [picture.convert("RGB") for picture in discs(30)], ending="jpg")
    loaded = load_images(str(tmp_path), ImageSettings(few=True))
    assert loaded.images.shape == (1, 24, 24)
    assert Sample.of(discs(3, colour=True)).coloured > 0.2
    assert Sample.of(discs(3)).coloured == 0


def test_a_folder_with_every_kind_of_bad_file(tmp_path):
    for seed, name in enumerate(("a", "b")):
        write_folder(tmp_path / name, discs(15, seed=seed))
    reasons = write_bad_files(tmp_path / "a")
    shutil.copy(tmp_path / "a" / "0000.png", tmp_path / "b" / "again.png")
    (tmp_path / "b" / "notes.txt").write_text("x")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    loaded = load_images(str(tmp_path), ImageSettings(few=True))
    report = loaded.report
    assert (report.total, report.files, report.duplicates) == (31, 35, 1)
    found = {Path(entry.file).name: entry.reason for entry in report.skipped}
    assert set(found) == set(reasons)
    for name, word in reasons.items():
        assert word in found[name]
    assert report.classes == {"a": 15, "b": 16}
    text = "\n".join(report.lines())
    assert "31 pictures in 35 picture files" in text
    assert "skipped: 4 files" in text
    assert text.count(": a") > 0
    report.write(tmp_path.parent)
    lines = [json.loads(line) for line in (tmp_path.parent / REPORT).read_text().splitlines()]
    assert {Path(line["file"]).name for line in lines} == set(reasons)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(InputError, match=r"a/.* expected a picture that can be used, got .*leave --strict out"):
        load_images(str(tmp_path), ImageSettings(few=True, strict=True))


def test_a_damaged_member_of_a_zip_is_skipped(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for at, picture in enumerate(discs(30)):
            archive.writestr(f"{at}.png", content(picture))
    packed = bytearray(path.read_bytes())
    packed[60] ^= 0xFF  # inside the first member's content
    path.write_bytes(packed)
    loaded = load_images(str(path), ImageSettings(few=True))
    assert loaded.report.total == 29
    assert [entry.file for entry in loaded.report.skipped] == ["0.png"]


@pytest.mark.parametrize(("count", "settings", "message"), [
    (0, ImageSettings(), r"expected pictures, found none \(no other files either\)"),
    (3, ImageSettings(few=True), "expected at least 20 pictures to train on, got 3; add pictures"),
    (150, ImageSettings(), "expected at least 200 pictures, because a model learns fewer by heart, got 150; .*--few"),
])  # fmt: skip
def test_too_few_pictures_are_one_sentence(tmp_path, count, settings, message):
    write_folder(tmp_path / "data", discs(count, (8, 8)))
    with pytest.raises(InputError, match=message):
        load_images(str(tmp_path / "data"), settings)


def test_few_pictures_are_accepted_when_asked_for_and_noted(tmp_path):
    loaded = load_images(str(write_folder(tmp_path, discs(150, (8, 8)))), ImageSettings(few=True))
    assert loaded.report.pictures == {"training": 135, "testing": 15}
    assert any("150 pictures are few, and the model may learn some by heart" in note for note in loaded.report.notes)


def test_splits_classes_and_pixels_belong_together(tmp_path):
    """Each picture has its class's grey level, so that a label at the wrong picture is seen."""
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        for number, name in enumerate(("dark", "light", "mid")):
            level = {"dark": 50, "light": 250, "mid": 150}[name]
            write_folder(tmp_path / split / name, [Image.new("L", (8, 8), level)] * count, prefix=str(number))
    images = load_images(str(tmp_path), ImageSettings(few=True)).images
    assert images.class_names == ("dark", "light", "mid")
    for pixels, labels, count in ((images.train_images, images.train_labels, 54),
                                  (images.test_images, images.test_labels, 18)):  # fmt: skip
        assert len(pixels) == len(labels) == count
        assert [[50, 250, 150][label] for label in labels.tolist()] == pixels[:, 0, 0, 0].tolist()
    training, validation = images.hold_out(5)
    assert (len(training), validation.tolist()) == (36, list(range(36, 54)))


def test_the_same_folder_gives_the_same_set_and_another_split_seldom(tmp_path):
    write_folder(tmp_path, discs(40))
    first, again = (load_images(str(tmp_path), ImageSettings(few=True)).images for _ in range(2))
    assert first.sha256 == again.sha256
    assert len(first.hold_out(7)[1]) == 7
    subset = load_images(str(tmp_path), ImageSettings(few=True, max_images=25))
    assert subset.report.total == 25
    assert "25 of 40 pictures were chosen at random (--max-images)" in subset.report.notes
    known = {picture.numpy().tobytes() for picture in (*first.train_images, *first.test_images)}
    assert all(picture.numpy().tobytes() in known for picture in subset.images.train_images)


def test_settings_with_every_decision_give_the_same_set_again(tmp_path):
    write_folder(tmp_path, discs(30, (30, 20), colour=True))
    first = load_images(str(tmp_path), ImageSettings(few=True))
    again = load_images(str(tmp_path), ImageSettings.from_json(json.loads(json.dumps(first.settings.to_json()))))
    assert again.settings == first.settings
    assert again.images.sha256 == first.images.sha256
    assert again.images.shape == (3, 20, 30)


@pytest.mark.parametrize("word", [
    {"image_size": "7"}, {"image_size": "129"}, {"image_size": "32x"}, {"image_size": "big"}, {"channels": "4"},
    {"fit": "tile"}, {"background": "pink"}, {"background": "#12345"}, {"max_images": 0}, {"latent_dim": "0"},
])  # fmt: skip
def test_words_that_are_no_setting_are_usage_errors(word):
    with pytest.raises(UsageError, match=f"expected --{next(iter(word)).replace('_', '-')}"):
        ImageSettings.of(**word)


def listed(folder: Path):
    return list_pictures(folder).entries


def test_the_cache_is_used_and_a_changed_file_makes_another(tmp_path, own_cache, monkeypatch):
    write_folder(tmp_path, discs(5))
    first = cache.cached_pictures(tmp_path, listed(tmp_path), GREY)
    monkeypatch.setattr(cache, "prepared", lambda *_: pytest.fail("decoded again"))
    again = cache.cached_pictures(tmp_path, listed(tmp_path), GREY)
    assert np.array_equal(first.images, again.images)
    assert isinstance(again.images, np.memmap)
    assert [path.name for path in (own_cache / "images").iterdir()] == [Path(again.images.filename).parent.name]
    monkeypatch.undo()
    monkeypatch.setenv("VAE_GEN_CACHE", str(own_cache))
    Image.new("L", (24, 24), 77).save(tmp_path / "0000.png")
    changed = cache.cached_pictures(tmp_path, listed(tmp_path), GREY)
    assert changed.images[0].max() == 77


def test_a_killed_build_goes_on_with_its_chunks(tmp_path, own_cache, monkeypatch):
    write_folder(tmp_path, discs(10))
    monkeypatch.setattr(cache, "CHUNK", 4)
    real, calls = cache.prepared, []

    def dying(content, frame):
        calls.append(content)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return real(content, frame)

    monkeypatch.setattr(cache, "prepared", dying)
    with pytest.raises(KeyboardInterrupt):
        cache.cached_pictures(tmp_path, listed(tmp_path), GREY)
    calls.clear()
    calls.append(b"so that the seventh is never reached" * 10)
    monkeypatch.setattr(cache, "prepared", lambda content, frame: (calls.append(content), real(content, frame))[1])
    found = cache.cached_pictures(tmp_path, listed(tmp_path), GREY)
    assert len(calls) - 1 == 6  # four were done
    assert len(found.images) == 10
    expected = [prepared((tmp_path / f"{at:04d}.png").read_bytes(), GREY)[0] for at in range(10)]
    assert np.array_equal(found.images, np.stack(expected))
    assert len(list((own_cache / "images").iterdir())) == 1


def _load_in_a_process(folder: str, results) -> None:
    cache.CHUNK = 4
    results.put(cache.cached_pictures(Path(folder), listed(Path(folder)), GREY).images.sum())


def test_two_runs_at_once_do_no_harm(tmp_path):
    write_folder(tmp_path, discs(60))
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_load_in_a_process, args=(str(tmp_path), results)) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    assert sums[0] == sums[1] > 0


def test_several_workers_give_what_one_gives(tmp_path, monkeypatch):
    write_folder(tmp_path, discs(20))
    write_bad_files(tmp_path)
    monkeypatch.setattr(cache, "CHUNK", 6)
    progress: list[tuple[int, int, int]] = []
    many = cache.cached_pictures(
        tmp_path, listed(tmp_path), GREY, workers=2, progress=lambda *numbers: progress.append(numbers)
    )
    monkeypatch.setenv("VAE_GEN_CACHE", str(tmp_path / ".other"))
    one = cache.cached_pictures(tmp_path, listed(tmp_path), GREY)
    assert np.array_equal(many.images, one.images)
    assert many.skipped == one.skipped
    assert len(one.skipped) == 4
    assert progress[-1] == (24, 24, 4)


def test_workers_run_no_module_of_the_current_folder(tmp_path, monkeypatch):
    write_folder(tmp_path / "data", discs(8))
    for name in ("pickle", "struct", "numpy", "multiprocessing"):
        (tmp_path / "data" / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit")
    monkeypatch.chdir(tmp_path / "data")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(cache, "CHUNK", 4)
    made = cache.cached_pictures(tmp_path / "data", listed(tmp_path / "data"), GREY, workers=2)
    assert len(made.images) == 8
    assert not (tmp_path / "ran").exists()
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    write_folder(tmp_path / "data", discs(3))
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("VAE_GEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot write the cache .*set VAE_GEN_CACHE to another folder"):
        cache.cached_pictures(tmp_path / "data", listed(tmp_path / "data"), GREY)


def test_the_contact_sheet_shows_64_pictures_as_the_model_sees_them():
    sheet = Image.open(io.BytesIO(contact_sheet(np.full((100, 3, 10, 12), 200, np.uint8))))
    assert sheet.mode == "RGB"
    pixels = np.asarray(sheet)
    assert (pixels == 200).all(-1).sum() == 64 * (10 * 8) * (12 * 8)


@pytest.mark.data
def test_fashion_mnist_is_an_image_set():
    images = fashion_mnist(download=False)
    assert (len(images.train_images), len(images.test_images)) == (60000, 10000)
    assert (images.name, images.licence, len(images.class_names)) == ("Fashion-MNIST", "MIT", 10)
    assert images.preparation.invert_bright
    assert components_for(images.train_images[:4000].numpy(), 0.74) == 12
    assert len(images.sha256) == 4


@pytest.mark.parametrize("path", ["missing", "text.txt"])
def test_a_path_that_is_no_data_is_one_sentence(tmp_path, path):
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(InputError, match=r"expected a folder or zip of pictures.*got .*; check --data"):
        load_images(str(tmp_path / path))
