"""`python -m bench.own_images FOLDER` trains on two folders of pictures with `--preset quick`, and measures the models.

The new folder FOLDER keeps the pictures, the runs, the models and a sheet of samples of each.

The emoji of Debian's fonts-noto-color-emoji are in colour and have no classes. The first 10 000 training images of
Fashion-MNIST, as a folder of PNGs for each class, are grey and have ten. The commands are those that a user would run;
the figures come from the finished model folder alone, on pictures that no part of the training has seen.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae_gen import VAE
from vae_train.data import load_fashion_mnist
from vae_train.images.image_set import ImageSet
from vae_train.images.loading import images_of_run
from vae_train.run_folder import load_run

from .machine import machine_line
from .running import process

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
GREY_IMAGES = 10_000
SAMPLES = 100
"""The number of samples of each class."""
NEIGHBOURS = 5

Floats = NDArray[np.floating]


def main() -> None:
    """Measure both sets, one after the other, and print a line for each figure."""
    place = Path(sys.argv[1])
    place.mkdir()
    os.environ["VAE_GEN_CACHE"] = str(place.resolve() / "cache")
    print(machine_line())
    for write in (write_emoji, write_garments):
        for line in measure(place, write(place)):
            print(line, flush=True)


def write_emoji(place: Path) -> list[str]:
    """Write the emoji as PNGs; returns the options of vae-train."""
    from fontTools.ttLib import TTFont

    (place / "emoji").mkdir()
    for name, glyph in TTFont(FONT)["CBDT"].strikeData[0].items():
        if len(glyph.imageData) > 0:
            (place / "emoji" / f"{name}.png").write_bytes(glyph.imageData)
    return ["emoji", "--image-size", "32"]


def write_garments(place: Path) -> list[str]:
    """Write garments as PNGs, with a folder for each class; returns the options of vae-train."""
    data = load_fashion_mnist()
    for at, (image, label) in enumerate(zip(data.train_images[:GREY_IMAGES], data.train_labels.tolist(), strict=False)):
        folder = place / "garments" / data.class_names[label].replace("/", " ")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{at:05d}.png")
    return ["garments"]


def measure(place: Path, options: list[str]) -> Iterator[str]:
    """Train, export and sample as a user would; yields a line for each figure."""
    name, run, model = options[0], f"{options[0]}-run", f"{options[0]}-model"
    commands = (
        ("vae-train", "--data", *options, "--preset", "quick", "--out", run),
        ("vae-export", run, "--out", model),
        ("vae-gen", "sample", "-n", "50", "--seed", "0", "--model", model, "-o", f"{name}.png"),
    )
    began = time.perf_counter()
    for command in commands:
        process(*command, folder=place)()
        yield f"{name}: {command[0]} ended after {time.perf_counter() - began:.0f} s"
    data = images_of_run(load_run(place / run).record)
    vae = VAE(place / model)
    real = data.test_images.numpy().astype(np.float64) / 255
    seen = vae.decode(vae.encode(real.astype(np.float32)).mean, detail=False).astype(np.float64)
    mean = data.train_images.numpy().astype(np.float64).mean(0) / 255
    above = psnr(seen - real) - psnr(mean - real)
    yield f"{name}: PSNR {psnr(seen - real):.2f} dB, {above:.2f} above the mean image's; {vae.latent_dim} latents"
    if vae.image_shape[0] == 3:
        yield f"{name}: {chroma(seen) / chroma(real):.3f} of the chroma is kept"
    if data.class_names:
        correct = [
            (nearest_classes(data, vae.sample(SAMPLES, seed=0, label=label).grey_levels()) == label).mean()
            for label in range(len(data.class_names))
        ]
        of_real = (nearest_classes(data, data.test_images.numpy()) == data.test_labels.numpy()).mean()
        yield f"{name}: {np.mean(correct):.3f} of the samples are read as their class, of real pictures {of_real:.3f}"


def psnr(difference: Floats) -> float:
    """The peak signal-to-noise ratio in dB of all pictures together, from differences of pixels in [0, 1]."""
    return float(-10 * np.log10(np.square(difference).mean()))


def chroma(pictures: Floats) -> float:
    """The mean distance of the pixels from grey, in the colour plane of YCbCr, of pictures [n, 3, height, width]."""
    red, green, blue = pictures.transpose(1, 0, 2, 3)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    return float(np.hypot(0.564 * (blue - light), 0.713 * (red - light)).mean())


def nearest_classes(data: ImageSet, pictures: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The class of most of the five nearest training pictures, int64 [n]; the nearest one decides a tie."""
    known = data.train_images.numpy().reshape(len(data.train_images), -1).astype(np.float32)
    asked = pictures.reshape(len(pictures), -1).astype(np.float32)
    distances = np.square(known).sum(1) - 2 * asked @ known.T  # without the part that all have in common
    nearest = np.argsort(distances, axis=1)[:, :NEIGHBOURS]
    labels = data.train_labels.numpy()[nearest]  # [n, 5], the nearest first
    votes = (labels[:, :, None] == labels[:, None]).sum(2)
    return np.asarray(labels[np.arange(len(labels)), votes.argmax(1)])


if __name__ == "__main__":
    main()
