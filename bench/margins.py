"""Measures what margins cost: `python -m bench.margins [--images 500] [--model NAME]`.

Test images of Fashion-MNIST are laid on a white page of 280 × 280 pixels, dark on white as a shop shows them, so that
they fill 100, 70 or 57 % of it, and are saved as JPEG. Each file is encoded. A picture is right if most of the five
of 20 000 training images with the nearest posterior means have its class; of a tie, the lowest class counts. `warned`
is the share of pictures that do not resemble the training images by `VAE.losses`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from vae_gen import VAE
from vae_train.images.loading import fashion_mnist

from .machine import machine_line

SIDE = 280
"""Pixels of the page."""
SHARES = (1.0, 0.7, 0.57)
NEAREST = 5
KNOWN = 20_000
CHUNK = 1000

Levels = NDArray[np.float64]


def plain(page: Levels, rng: np.random.Generator) -> Levels:
    """The page as it is."""
    return page


def noisy(page: Levels, rng: np.random.Generator) -> Levels:
    """An off-white ground with the noise of a sensor, 6 grey levels."""
    return page * 245 / 255 + rng.normal(0, 6, page.shape)


def washed_out(page: Levels, rng: np.random.Generator) -> Levels:
    """Half of the contrast, on a ground of 225."""
    return 225 - (255 - page) * 0.5


def uneven(page: Levels, rng: np.random.Generator) -> Levels:
    """A ground of 245 in the middle, which is up to 22 grey levels darker in the corners."""
    y, x = np.mgrid[-0.5 : 0.5 : SIDE * 1j, -0.5 : 0.5 : SIDE * 1j]
    darkened: Levels = page * (0.96 - 0.12 * np.hypot(y, x))
    return darkened


def shaded(page: Levels, rng: np.random.Generator) -> Levels:
    """A soft shadow below and to the right."""
    thrown = Image.fromarray(np.where(np.roll(page, (12, 10), (0, 1)) < 215, 50, 0).astype(np.uint8))
    return np.minimum(page, 255.0 - np.asarray(thrown.filter(ImageFilter.GaussianBlur(12))))


KINDS: dict[str, Callable[[Levels, np.random.Generator], Levels]] = {
    "on white": plain, "noise on off-white": noisy, "washed out": washed_out, "uneven light": uneven,
    "a soft shadow": shaded,
}  # fmt: skip


def page_of(image: NDArray[np.uint8], share: float) -> Levels:
    """A test image, uint8 [28, 28], in the middle of a white page, grey levels [280, 280]."""
    side = round(SIDE * share)
    page = Image.new("L", (SIDE, SIDE), 255)
    garment = Image.fromarray(255 - image).resize((side, side), Image.Resampling.BICUBIC)
    page.paste(garment, ((SIDE - side) // 2, (SIDE - side) // 2))
    return np.asarray(page, np.float64)


def as_jpeg(page: Levels) -> Image.Image:
    """The page after it was saved as JPEG and read again."""
    file = io.BytesIO()
    Image.fromarray(np.clip(page + 0.5, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return Image.open(file)


def main(
    images: Annotated[int, typer.Option(help="How many test images are measured, chosen at random.")] = 500,
    model: Annotated[str, typer.Option(help="A model of Fashion-MNIST.")] = "fashion-mnist-12d",
) -> None:
    """Print the share of right classes for each kind of page and each size, with trimming and without."""
    print(machine_line())
    data, vae = fashion_mnist(), VAE(model)
    some = np.random.default_rng(0).permutation(len(data.train_images))[:KNOWN]
    known, classes = data.train_images.numpy()[some], data.train_labels.numpy()[some]
    means = np.concatenate([vae.encode(known[at : at + CHUNK]).mean for at in range(0, len(known), CHUNK)])
    rows = np.random.default_rng(0).permutation(len(data.test_images))[:images]
    chosen, labels = data.test_images.numpy()[rows, 0], data.test_labels.numpy()[rows]

    def right(latents: NDArray[np.float32]) -> float:
        """The share of latents whose nearest training images have the right class."""
        distances = (means**2).sum(1) - 2 * latents @ means.T
        nearest = np.argpartition(distances, NEAREST, 1)[:, :NEAREST]
        found = [np.bincount(classes[row]).argmax() for row in nearest]
        return float((np.array(found) == labels).mean())

    warned = 1 - vae.losses(chosen).familiar.mean()
    plainly = right(vae.encode(chosen).mean)
    print(f"{model}, {len(rows)} test images; as they are: right {plainly:.3f}, warned {warned:.3f}")
    strange = {
        "black": np.zeros((1, 28, 28), np.uint8), "inverted": 255 - chosen, "a tenth as bright": chosen // 10,
        "noise": np.random.default_rng(1).integers(0, 256, chosen.shape, np.uint8),
    }  # fmt: skip
    print("warned:", ", ".join(f"{name} {1 - vae.losses(all_).familiar.mean():.3f}" for name, all_ in strange.items()))
    print(f"{'':27} {'trimmed':^15} {'--no-trim':^15}")
    print(f"{'page':20} {'share':>6} {'right':>7} {'warned':>7} {'right':>7} {'warned':>7}")
    for name, change in KINDS.items():
        for share in SHARES:
            rng = np.random.default_rng(1)
            pages = [as_jpeg(change(page_of(image, share), rng)) for image in chosen]
            shares = []
            for trim in (True, False):
                shares += [right(vae.encode(pages, trim=trim).mean), 1 - vae.losses(pages, trim=trim).familiar.mean()]
            print(f"{name:20} {share:6.0%}", *(f"{value:7.3f}" for value in shares), flush=True)


if __name__ == "__main__":
    typer.run(main)
