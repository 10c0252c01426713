"""An image set from whatever the user names: `load_images`."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vae_gen import InputError, UsageError
from vae_gen.internal.manifest import Preparation

from .arrays import ArrayPart, ArraySet, read_idx_folder, read_numpy, read_torchvision
from .cache import Progress, cache_root, cached_digests, cached_pictures
from .choices import (
    BRIGHT,
    COMPONENT_IMAGES,
    Sample,
    choose_background,
    choose_channels,
    choose_fill,
    choose_latent_dim,
    choose_size,
    network_for,
)
from .decoding import Frame, Source, decoded, digests_of, framed, picture_size
from .image_set import ImageSet, tensor_of
from .listing import Entry, Listing, Skipped, list_pictures, readable
from .report import DataReport, random_rows
from .settings import FEW, FEWEST, Choice, ImageSettings, colour_text
from .streamed import Pictures, changed, chunks, joined, taken

FASHION_MNIST = "fashion-mnist"
TORCHVISION = "torchvision:"
FASHION_LICENCE, FASHION_LATENT, FASHION_SHAPE = "MIT", 12, (1, 28, 28)
LEAST = 20
"""With fewer pictures than this there is nothing left to validate and to test with."""
TEST_SHARE, MOST_TEST = 10, 10_000
"""Where a source has no pictures for testing, one of ten is kept for it, and at most so many."""
HEADERS, DECODED = 1000, 200
"""How many files, chosen at random but always the same ones, sizes and colours are decided from."""
TEST_SEED, SUBSET_SEED, SAMPLE_SEED = 0, 1, 2
BRIGHT_BORDERS = 0.01
"""If no more than this share of grey pictures has a bright border, a picture with one is a negative."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """An image set and all that was found out and decided on the way."""

    images: ImageSet
    report: DataReport
    latent_dim: int
    encoder_channels: tuple[int, ...]
    """the network that suits the pictures' size"""
    settings: ImageSettings
    """with every decision in it, so that the same source gives the same pictures again"""


def load_images(
    source: str,
    settings: ImageSettings | None = None,
    *,
    root: Path | None = None,
    download: bool = True,
    workers: int = 1,
    progress: Progress | None = None,
    refuse_few: bool = True,
) -> Loaded:
    """The image set in a folder, a zip, an .npy or .npz file, or with a name such as `torchvision:KMNIST`.

    Args:
        source: a path, `torchvision:NAME`, or `fashion-mnist`.
        settings: how pictures are read; by default everything is decided from the data.
        root: where the files of a named data set lie; by default the user's cache.
        download: fetch a named data set which is not there.
        workers: processes that decode files; more than one need a main module that can be imported again.
        progress: called while files are decoded.
        refuse_few: treat fewer than 200 pictures as an error, unless the settings accept few.

    Raises:
        InputError: nothing that can be read, no pictures, or too few of them.
        UsageError: a name that torchvision does not have.
        UnavailableError: torchvision is needed and not installed.
        OutputError: the cache cannot be written.
    """
    settings = settings or ImageSettings()
    if source == FASHION_MNIST:
        return _fashion_mnist(settings, root, download)
    path = Path(source).expanduser()
    if source.startswith(TORCHVISION):
        arrays = read_torchvision(
            source.removeprefix(TORCHVISION), root or cache_root() / "torchvision", download=download
        )
        loaded = _from_arrays(arrays, source, settings)
    elif path.is_dir() and (found := read_idx_folder(path)) is not None:
        loaded = _from_arrays(found, source, settings, progress=progress)
    elif path.suffix.lower() in (".npz", ".npy") and path.is_file():
        loaded = _from_arrays(read_numpy(path), source, settings, progress=progress)
    elif path.is_dir() or zipfile.is_zipfile(path):
        loaded = _from_files(path, settings, workers, progress)
    else:
        found_text = "a file of another kind" if path.exists() else "nothing there"
        raise InputError(
            f"{source}: expected a folder or zip of pictures, a folder of IDX files, an .npy or .npz file, "
            f"torchvision:NAME or {FASHION_MNIST}, got {found_text}; check --data"
        )
    refusal = too_few(loaded.report, settings)
    if refusal is not None and refuse_few:
        raise InputError(refusal)
    return loaded


def images_of_run(
    record: Mapping[str, Any],
    *,
    data: str | None = None,
    root: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> ImageSet:
    """The image set that a run was trained on, read again.

    Args:
        record: the run's config.json.
        data: where the set is now, if it has moved.
        root: where the files of a named data set lie.
        workers: as `load_images`.
        progress: as `load_images`.

    Raises:
        InputError: the set is no longer there.
    """
    known = record.get("data", {})
    if data is None and "source" not in known:
        from .. import data as fashion

        return fashion.load_fashion_mnist(root)
    settings = ImageSettings.from_json(known["settings"]) if "settings" in known else None
    source = data or str(known["source"])
    return load_images(
        source, settings, root=root, workers=workers, progress=progress, refuse_few=False
    ).images


def images_of_model(
    manifest: Mapping[str, Any],
    *,
    data: str | None = None,
    root: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> ImageSet:
    """The image set that a model folder was trained on, prepared as its manifest describes.

    Args:
        manifest: the whole document.
        data: where the set is; None only for Fashion-MNIST, because a model folder names no place of its maker's.
        root: as `load_images`.
        workers: as `load_images`.
        progress: as `load_images`.

    Raises:
        UsageError: another set than Fashion-MNIST, and `data` does not name it.
        InputError: the set is not there.
    """
    from .. import data as fashion

    name, image, preparation = data_name(manifest), manifest["image"], manifest.get("preparation", {})
    if data is None and name != fashion.NAME:
        raise UsageError(f"expected --data with the images that this model was trained on ({name}), got none")
    if data is None and (image["channels"], image["height"], image["width"]) == FASHION_SHAPE:
        return fashion.load_fashion_mnist(root)
    settings = ImageSettings.of(
        image_size=f"{image['height']}x{image['width']}",
        channels=str(image["channels"]),
        fit=preparation.get("fit", "pad"),
        background=preparation.get("background", "black"),
        labels="auto" if manifest["class_names"] else "none",
        few=True,
        latent_dim=str(manifest["latent"]["dimensions"]),
    )
    source = data or FASHION_MNIST  # at another size than its own
    return load_images(source, settings, root=root, workers=workers, progress=progress, refuse_few=False).images


def data_name(manifest: Mapping[str, Any]) -> str:
    """The name of the data set that a model was trained on. Without an entry in the manifest it is Fashion-MNIST."""
    from ..data import NAME

    return str(manifest.get("data", {}).get("name", NAME))


def fashion_mnist(root: Path | None = None, *, download: bool = True) -> ImageSet:
    """Fashion-MNIST as it is: 60 000 pictures for training and validation, and 10 000 for testing.

    Args:
        root: a folder with its four IDX files; by default Debian's, the user's cache, or a download into it.
        download: fetch it if it is nowhere.

    Raises:
        InputError: the files are missing, damaged or have other content.
    """
    return _fashion_mnist(ImageSettings(), root, download).images


def _fashion_mnist(settings: ImageSettings, root: Path | None, download: bool) -> Loaded:
    from ..data import load_fashion_mnist

    data = load_fashion_mnist(root, download=download)
    halves = {"train": (data.train_images, data.train_labels), "test": (data.test_images, data.test_labels)}
    parts = {
        split: ArrayPart(changed(images.numpy(), lambda part: part.transpose(0, 2, 3, 1)), labels.numpy())
        for split, (images, labels) in halves.items()
    }
    loaded = _from_arrays(ArraySet(parts, data.class_names), FASHION_MNIST, settings, latent_dim=FASHION_LATENT)
    whole = loaded.images.shape == FASHION_SHAPE and settings.max_images is None and settings.labels != "none"
    named = replace(loaded.images, name=data.name, licence=FASHION_LICENCE)
    return replace(loaded, images=replace(named, sha256=data.sha256, origin={}) if whole else named)


def too_few(report: DataReport, settings: ImageSettings) -> str | None:
    """Why a set is too small to train on, or None if it is large enough."""
    if report.total < LEAST:
        return f"{report.source}: expected at least {LEAST} pictures to train on, got {report.total}; add pictures"
    if report.total < FEWEST and not settings.few:
        return (
            f"{report.source}: expected at least {FEWEST} pictures, because a model learns fewer by heart, "
            f"got {report.total}; add pictures, or train all the same with --few"
        )
    return None


def _from_files(path: Path, settings: ImageSettings, workers: int, progress: Progress | None) -> Loaded:
    listing = list_pictures(path, settings.labels)
    if not listing.entries:
        others = ", ".join(listing.other_files) or "no other files either"
        skipped = f"; {len(listing.skipped)} were skipped, such as {listing.skipped[0].file}" if listing.skipped else ""
        raise InputError(f"{path}: expected pictures, found none ({others}){skipped}; check --data")
    entries = listing.entries
    if settings.max_images is not None and settings.max_images < len(entries):
        rows = np.sort(random_rows(len(entries), SUBSET_SEED)[: settings.max_images])
        entries = tuple(entries[row] for row in rows)
    frame, choices = _frame(path, entries, settings)
    ordered = _in_split_order(entries)
    cached = cached_pictures(path, ordered, frame, strict=settings.strict, workers=workers, progress=progress)
    used = [ordered[row] for row in cached.rows]
    if not used:
        first = cached.skipped[0]
        raise InputError(
            f"{path}: expected pictures, but none of {len(ordered)} files can be used, "
            f"such as {first.file} ({first.reason}); check --data"
        )
    names = replace(listing, entries=tuple(used)).class_names
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array(
        [numbers.get(entry.label or "", -1) if entry.label is not None else -1 for entry in used], np.int64
    )
    splits = Counter(entry.split for entry in used)
    notes = (
        [f"{settings.max_images} of {len(listing.entries)} pictures were chosen at random (--max-images)"]
        if len(entries) < len(listing.entries)
        else []
    )
    return _assembled(
        source=str(path),
        name=readable(path.resolve().name.removesuffix(".zip")),
        images=cached.images,
        labels=labels,
        class_names=names,
        counts=(splits["train"], splits["validation"], splits["test"]),
        digests=cached.digests,
        frame=frame,
        choices=choices,
        settings=settings,
        labels_from=listing.labels_from,
        files=len(entries),
        skipped=(*cached.skipped, *listing.skipped),
        listing=listing,
        sizes=cached.facts.sizes,
        modes=cached.facts.modes,
        animated=cached.facts.animated,
        notes=notes,
    )


def _frame(path: Path, entries: tuple[Entry, ...], settings: ImageSettings) -> tuple[Frame, list[Choice]]:
    """What the pictures are brought to, decided from some of the files."""
    rows = random_rows(len(entries), SAMPLE_SEED)
    files = Source(path)
    sizes: list[tuple[int, int]] = []
    pictures: list[Image.Image] = []
    bad: Skipped | None = None
    try:
        for at, row in enumerate(rows[:HEADERS].tolist()):
            entry = entries[row]
            try:
                content = files.read(entry.file, entry.size)
                if at < DECODED:
                    picture, facts = decoded(content)
                    picture.thumbnail((64, 64))
                    pictures.append(picture)
                    sizes.append((facts.width, facts.height))
                else:
                    width, height, _ = picture_size(content)
                    sizes.append((width, height))
            except InputError as error:
                bad = bad or Skipped(entry.file, str(error))
    finally:
        files.close()
    if not sizes:
        assert bad is not None
        raise InputError(
            f"{path}: expected pictures, but none of {min(HEADERS, len(entries))} files can be used, "
            f"such as {bad.file} ({bad.reason}); check --data"
        )
    sample = Sample.of(pictures)
    size, size_choice = choose_size(sizes, settings)
    channels, channels_choice = choose_channels(sample, settings)
    padded = settings.fit == "pad" and any(abs(w / h / (size[1] / size[0]) - 1) > 0.02 for w, h in sizes)
    background, ground_choice = choose_background(sample, settings, needed=padded or sample.transparent > 0)
    choices = [size_choice, channels_choice]
    if any((w, h) != (size[1], size[0]) for w, h in sizes):
        others = "crop or stretch" if settings.fit == "pad" else "pad, crop or stretch"
        choices.append(Choice("fit", settings.fit, "for pictures of another shape", f"--fit {others}"))
    return Frame(size[0], size[1], channels, settings.fit, background), [*choices, ground_choice]


def _in_split_order(entries: tuple[Entry, ...]) -> list[Entry]:
    """The entries with a split each, those for training first, then validation, then testing.

    Where the source has no pictures for testing, every tenth of those for training is taken, at random.
    """
    placed = [replace(entry, split=entry.split or "train") for entry in entries]
    if not any(entry.split == "test" for entry in placed):
        training = [at for at, entry in enumerate(placed) if entry.split == "train"]
        for at in test_rows(len(training)):
            placed[training[at]] = replace(placed[training[at]], split="test")
    order = {"train": 0, "validation": 1, "test": 2}
    return sorted(placed, key=lambda entry: order[entry.split or "train"])  # stable: paths stay in order


def test_rows(count: int) -> NDArray[np.int64]:
    """Which of `count` pictures are kept for testing: one of ten at random, ascending."""
    rows = random_rows(count, TEST_SEED)[: min(MOST_TEST, count // TEST_SHARE)]
    return np.sort(rows)


def _from_arrays(
    arrays: ArraySet, source: str, settings: ImageSettings, latent_dim: int | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """The set in arrays; `latent_dim` is the recipe's, for a set that has one."""
    parts = dict(arrays.parts)
    if "test" not in parts:
        train = parts["train"]
        chosen = np.zeros(len(train.images), bool)
        chosen[test_rows(len(train.images))] = True
        for split, mask in (("train", ~chosen), ("test", chosen)):
            parts[split] = _part_of(train, np.flatnonzero(mask))
    if settings.max_images is not None and sum(len(part.images) for part in parts.values()) > settings.max_images:
        total = sum(len(part.images) for part in parts.values())
        for split, part in parts.items():
            most = -(-settings.max_images * len(part.images) // total)
            parts[split] = _part_of(part, np.sort(random_rows(len(part.images), SUBSET_SEED)[:most]))
    order = [split for split in ("train", "validation", "test") if split in parts]
    pixels = joined([parts[split].images for split in order])  # [n, height, width, channels]
    if not len(pixels):
        raise InputError(f"{source}: expected pictures, got an empty array; check --data")
    labelled = arrays.class_names and settings.labels != "none"
    labels = np.full(len(pixels), -1, np.int64)
    if labelled:
        labels = np.concatenate([part.labels for split in order if (part := parts[split]).labels is not None])
    height, width = pixels.shape[1:3]
    rows = random_rows(len(pixels), SAMPLE_SEED)[:DECODED]
    sample = Sample.of(_picture(pixels[row]) for row in rows)
    size, size_choice = choose_size([(width, height)], settings)
    channels, channels_choice = choose_channels(sample, settings)
    background, ground_choice = choose_background(
        sample, settings, needed=sample.transparent > 0 or size != (height, width)
    )
    frame = Frame(size[0], size[1], channels, settings.fit, background)
    if size == (height, width) and channels == pixels.shape[3]:
        images = changed(pixels, lambda part: np.ascontiguousarray(part.transpose(0, 3, 1, 2)))
    else:
        images = changed(pixels, lambda part: np.stack([framed(_picture(picture), frame) for picture in part]))
    named = f"{len(arrays.class_names)} labels of the arrays"
    return _assembled(
        source=source,
        name=source.removeprefix(TORCHVISION) if source.startswith(TORCHVISION) else Path(source).resolve().stem,
        images=images,
        labels=labels,
        class_names=arrays.class_names if labelled else (),
        counts=tuple(len(parts[split].images) if split in parts else 0 for split in ("train", "validation", "test")),
        digests=_digests(images, source, frame, settings, progress),
        frame=frame,
        choices=[size_choice, channels_choice, ground_choice],
        settings=settings,
        labels_from=named if labelled else "none" + (", as --labels none asks" if arrays.class_names else ""),
        sizes={f"{width}x{height}": len(pixels)},
        notes=list(arrays.notes),
        recipe_latent=latent_dim,
    )


def _digests(
    images: Pictures, source: str, frame: Frame, settings: ImageSettings, progress: Progress | None
) -> NDArray[np.uint8]:
    """The checksums of all pictures, uint8 [n, 16]. Those of a large file are kept, since reading it takes minutes."""
    if isinstance(images, np.ndarray):
        return digests_of(images)

    def made() -> NDArray[np.uint8]:
        digests = np.empty((len(images), 16), np.uint8)
        done = 0
        for part in chunks(images):
            digests[done : done + len(part)] = digests_of(part)
            done += len(part)
            if progress is not None:
                progress(done, len(images), 0)
        return digests

    return cached_digests(Path(source).expanduser(), frame, settings.max_images, len(images), made)


def _part_of(part: ArrayPart, rows: NDArray[np.int64]) -> ArrayPart:
    """The pictures and labels with these numbers."""
    return ArrayPart(taken(part.images, rows), None if part.labels is None else part.labels[rows])


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """A picture of an array [height, width, channels] with 1, 3 or 4 channels."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))


def _assembled(
    *,
    source: str,
    name: str,
    images: Pictures,
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    counts: tuple[int, ...],
    digests: NDArray[np.uint8],
    frame: Frame,
    choices: list[Choice],
    settings: ImageSettings,
    labels_from: str,
    sizes: Mapping[str, int],
    notes: list[str],
    modes: Mapping[str, int] | None = None,
    files: int | None = None,
    skipped: tuple[Skipped, ...] = (),
    listing: Listing | None = None,
    animated: int = 0,
    recipe_latent: int | None = None,
) -> Loaded:
    """The image set with its report, and what was decided."""
    train, validation, test = counts
    some = images[np.sort(random_rows(train, SAMPLE_SEED)[:COMPONENT_IMAGES])]
    if recipe_latent is not None and settings.latent_dim is None:
        latent_dim = recipe_latent
        latent_choice = Choice("latents", str(latent_dim), "the recipe's", "--latent-dim N")
    else:
        latent_dim, latent_choice = choose_latent_dim(some, settings)
    network = network_for(frame.height, frame.width)
    shown = " and ".join(str(channels) for channels in network)
    choices = [
        *choices, latent_choice,
        Choice("network", f"{len(network)} convolutions of {shown} channels", "for this size", ""),
        Choice("likelihood", "Gaussian" if frame.channels == 3 else "Bernoulli",
               "for colour; its variance follows the error" if frame.channels == 3 else "for grey pictures", ""),
    ]  # fmt: skip
    resolved = replace(
        settings,
        size=(frame.height, frame.width),
        channels=frame.channels,
        background=frame.background,
        latent_dim=latent_dim,
    )
    total = len(images)
    if total < FEW:
        notes = [*notes, f"{total} pictures are few, and the model may learn some by heart"]
    preparation = Preparation(
        fit=frame.fit,
        background=colour_text(frame.background),
        invert_bright=frame.channels == 1 and _bright_borders(some) <= BRIGHT_BORDERS,
        fill=choose_fill(some, frame.background) if frame.fit == "pad" else None,
    )
    hasher = hashlib.sha256(json.dumps([list(images.shape), list(counts), list(class_names)]).encode())
    hasher.update(digests.tobytes().hex().encode())
    hasher.update(labels.tobytes())
    first_test = train + validation
    with_classes = Counter(labels.tolist())
    return Loaded(
        images=ImageSet(
            train_images=tensor_of(_range_of(images, 0, first_test)),
            train_labels=torch.from_numpy(labels[:first_test]),
            test_images=tensor_of(_range_of(images, first_test, total)),
            test_labels=torch.from_numpy(labels[first_test:]),
            sha256={"pictures and labels": hasher.hexdigest()},
            name=name,
            class_names=class_names,
            validation=validation or None,
            preparation=preparation,
            origin={
                "source": source if source.startswith((TORCHVISION, FASHION_MNIST)) else str(Path(source).resolve()),
                "settings": resolved.to_json(),
            },
        ),
        report=DataReport(
            source=source,
            pictures={"training": train, **({"validation": validation} if validation else {}), "testing": test},
            labels_from=labels_from,
            classes={name: with_classes[number] for number, name in enumerate(class_names)},
            choices=tuple(choices),
            files=files,
            skipped=skipped,
            other_files={} if listing is None else listing.other_files,
            empty_classes=0 if listing is None else listing.empty_classes,
            sizes=sizes,
            modes=modes or {},
            animated=animated,
            duplicates=total - len({digest.tobytes() for digest in digests}),
            notes=tuple(notes),
        ),
        latent_dim=latent_dim,
        encoder_channels=network,
        settings=resolved,
    )


def _range_of(images: Pictures, start: int, stop: int) -> Pictures:
    return images[start:stop] if isinstance(images, np.ndarray) else images.taken(np.arange(start, stop))


def _bright_borders(images: NDArray[np.uint8]) -> float:
    """The share of grey pictures, uint8 [n, 1, height, width], whose border has a bright median."""
    border = np.concatenate([images[:, 0, 0], images[:, 0, -1], images[:, 0, 1:-1, 0], images[:, 0, 1:-1, -1]], axis=1)
    return float((np.median(border, axis=1) > BRIGHT * 255).mean())
