"""Measures the ways between two latents: `python -m bench.ways [--pairs 200] [--steps 11] [--model NAME]`.

The ends are samples of the fitted prior, of different classes if there are classes. Each row of the table is a method:

    unlikely  the share of frames whose latent is less likely under the fitted prior than 99 % of samples
    torn      the share of frames between the ends in whose mean picture the encoder does not find the latent again: it
              is further from the posterior's mean than d + 3√(2d), in squared standard deviations of the posterior
    doubtful  the share of these frames about which the two classifiers of vae_train.quality are less certain, in the
              mean of their largest probabilities, than about 99 % of samples (only for models of Fashion-MNIST)
    largest   the largest change from one frame to the next, as a share of the whole change of the pictures along the
              way: the median of all ways, and the worst
    ms        the median time of one path, without its pictures
"""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from vae_gen import VAE
from vae_gen.internal.paths import METHODS, interpolation_path
from vae_train.quality.classifiers import describe, load_classifier
from vae_train.quality.measure import for_shipped_judges

from .machine import machine_line

KNOWN = 2000
"""How many samples the ways are compared with."""

Floats = NDArray[np.float32]


class Measures:
    """What is measured of latents, and the values that 99 % of samples reach."""

    def __init__(self, vae: VAE) -> None:
        self.vae, self.prior = vae, vae.fitted_prior()
        judged = for_shipped_judges(vae.manifest)
        self.judges = [load_classifier(name) for name in ("plain", "residual")] if judged else []
        samples = vae.sample(KNOWN, seed=1, prior="fitted", detail=False)
        self.least_likely = float(np.quantile(self.prior.log_density(samples.latents), 0.01))
        self.least_certain = float(np.quantile(self.certainty(samples.images), 0.01)) if judged else 0.0

    def certainty(self, images: Floats) -> NDArray[np.float64]:
        """The mean of the classifiers' largest probabilities, float64 [n]."""
        found = [describe(judge, images).probabilities.max(1) for judge in self.judges]
        return np.mean(found, axis=0, dtype=np.float64)

    def is_torn(self, latents: Floats, images: Floats) -> NDArray[np.bool_]:
        """Whether the encoder does not find a latent again in its mean picture, bool [n]."""
        found, width = self.vae.encode(images), self.vae.latent_dim
        squared = ((found.mean - latents).astype(np.float64) ** 2 / np.exp(found.log_variance)).sum(1)
        torn: NDArray[np.bool_] = squared > width + 3 * np.sqrt(2 * width)
        return torn


def ends(vae: VAE, pairs: int) -> Floats:
    """Latents of samples, of different classes if there are classes, float32 [pairs, 2, dimensions]."""
    samples = vae.sample(8 * pairs, seed=11, prior="fitted", detail=False)
    latents = samples.latents.reshape(2, 4 * pairs, -1)
    labels = samples.labels
    if labels is None:
        return latents[:, :pairs].swapaxes(0, 1)
    rows = np.flatnonzero(labels.reshape(2, -1)[0] != labels.reshape(2, -1)[1])[:pairs]
    return latents[:, rows].swapaxes(0, 1)


def main(
    pairs: Annotated[int, typer.Option(help="The number of ways.")] = 200,
    steps: Annotated[int, typer.Option(help="The frames of a way.")] = 11,
    model: Annotated[str, typer.Option(help="The model.")] = "fashion-mnist-12d",
) -> None:
    """Prints a row for each method."""
    print(machine_line())
    vae = VAE(model)
    measures, latents = Measures(vae), ends(vae, pairs)
    print(f"{vae.manifest.name}, {pairs} ways of {steps} frames")
    print(f"{'':10} unlikely   torn  doubtful  largest  worst     ms")
    for method in METHODS:
        ways, seconds = [], []
        for a, b in latents:
            began = time.perf_counter()
            ways.append(interpolation_path(a, b, steps, method, measures.prior))
            seconds.append(time.perf_counter() - began)
        path = np.array(ways)
        images = vae.decode(path, detail=False)
        inner, inner_images = path[:, 1:-1].reshape(-1, vae.latent_dim), images[:, 1:-1].reshape(-1, *vae.image_shape)
        unlikely = (measures.prior.log_density(path) < measures.least_likely).mean()
        torn = measures.is_torn(inner, inner_images).mean()
        doubtful = (measures.certainty(inner_images) < measures.least_certain).mean() if measures.judges else np.nan
        change = np.linalg.norm(np.diff(images.reshape(pairs, steps, -1), axis=1), axis=2)
        largest = change.max(1) / change.sum(1)
        print(
            f"{method:10} {unlikely:8.1%} {torn:6.1%} {doubtful:9.1%} {np.median(largest):8.1%} {largest.max():6.1%} "
            f"{1000 * np.median(seconds):6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    typer.run(main)
