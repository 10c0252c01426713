"""Which density describes the latents of real images best? `python bench/priors.py MODEL_OR_RUN` prints the table.

Families are fitted to posterior samples of the training images (55 000 of them) and compared by the mean log-density
of posterior samples of the 5000 validation images of `vae_train.data.split`, which no fit has seen. log p(z) is over
all classes, log p(z|y) given the image's own. What log p(z) gains over N(0, I) comes off the model's −ELBO.

With `--pictures N`, N latents of each family are made into pictures as the model makes its samples, and the bench's two
classifiers compare these with the test images.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from coupling_flow import Flow, fit_flow
from numpy.typing import NDArray

from vae_gen import VAE, FittedPrior, standard_normals, to_grey_levels
from vae_train.data import FashionMnist, load_fashion_mnist, split
from vae_train.evaluation import Encode
from vae_train.prior import (
    DRAWS,
    VALIDATION_IMAGES,
    fit_mixture,
    fit_prior,
    log_density,
    normal_log_density,
    posterior_samples,
)
from vae_train.quality.classifiers import describe
from vae_train.quality.scores import Judge, figures_of, judges
from vae_train.run_folder import CONFIG, load_run

COMPONENTS = (1, 5, 10, 20, 30, 40)


@dataclass(frozen=True)
class Posteriors:
    """What a fit sees: posterior samples, and what they were drawn from."""

    draws: NDArray[np.float32]
    """float32 [draws, n, dimensions]"""
    labels: NDArray[np.int64]
    mean: NDArray[np.float32]
    log_variance: NDArray[np.float32]

    @property
    def latents(self) -> NDArray[np.float32]:
        """The first draw of each image, float32 [n, dimensions]: what densities are measured on."""
        first: NDArray[np.float32] = self.draws[0]
        return first


Densities = Callable[[Posteriors], tuple[float, float]]
"""Mean log p(z) and log p(z|y) in nats; NaN where a family knows no classes."""


Choice = Callable[[int], tuple[NDArray[np.float32], NDArray[np.int64] | None]]
"""So many latents, float32 [n, dimensions], and their classes where the family has any."""


def main() -> None:
    """Fit every family and print the table as Markdown, a row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a model folder or a run folder")
    parser.add_argument("--epochs", type=int, default=60, help="of the flow")
    parser.add_argument("--draws", type=int, default=DRAWS, help="posterior samples of each image, for the mixtures")
    parser.add_argument("--components", type=int, nargs="*", default=COMPONENTS, help="of each class's mixture")
    parser.add_argument("--overall", type=int, nargs="*", default=(), help="of one mixture for all classes, slow")
    parser.add_argument("--pictures", type=int, default=0, help="of each family, to be compared; needs a model folder")
    arguments = parser.parse_args()
    data = load_fashion_mnist()
    looks = Looks(VAE(arguments.model), judges(data), arguments.pictures) if arguments.pictures else None
    classes = len(data.class_names)
    train, held_out = posteriors(encoder(arguments.model), data, arguments.draws)

    print("| family | numbers in it | held-out log p(z), nats | gain over N(0, I) | held-out log p(z\\|y) "
          "| training log p(z) | fit, CPU s |" + ("" if looks is None else looks.head))
    print("|---|---|---|---|---|---|---|" + ("" if looks is None else "---|" * looks.columns))
    baseline = float(normal_log_density(held_out.latents).mean())

    def row(name: str, numbers: int, seconds: float, densities: Densities, draw: Choice) -> None:
        value, of_class = densities(held_out)
        own = "–" if np.isnan(of_class) else f"{of_class:.3f}"
        print(f"| {name} | {numbers:,} | {value:.3f} | {value - baseline:+.3f} | {own} | {densities(train)[0]:.3f} "
              f"| {seconds:.0f} |" + ("" if looks is None else looks.cells(draw)), flush=True)

    width = held_out.latents.shape[1]
    row("N(0, I)", 0, 0, lambda part: (float(normal_log_density(part.latents).mean()), float("nan")),
        lambda count: (standard_normals(0, 0, count, width), None))
    for components in arguments.components:
        began = time.process_time()
        prior = fit_prior(train.draws, train.labels, classes, components)
        name = "one Gaussian per class" if components == 1 else f"mixture of {components} per class"
        row(name, parameters(prior), time.process_time() - began, mixture_densities(prior), drawn_from(prior))
    for components in arguments.overall:
        began = time.process_time()
        prior = FittedPrior.of([1], [fit_mixture(train.draws, components)], labelled=False)
        row(f"mixture of {components}, no classes", parameters(prior), time.process_time() - began,
            mixture_densities(prior), drawn_from(prior))
    if arguments.epochs:
        began = time.process_time()
        tensors = (torch.from_numpy(values) for values in (train.mean, train.log_variance, train.labels))
        flow = fit_flow(*tensors, classes, arguments.epochs)
        numbers = sum(parameter.numel() for parameter in flow.parameters())
        shares = np.bincount(train.labels, minlength=classes) / len(train.labels)
        row(f"RealNVP given the class, {arguments.epochs} epochs", numbers, time.process_time() - began,
            flow_densities(flow, shares), drawn_from_flow(flow, shares, width))


@dataclass(frozen=True)
class Looks:
    """What a family's pictures look like to the bench's classifiers, as cells of the table."""

    model: VAE
    judges: list[Judge]
    count: int

    @property
    def columns(self) -> int:
        """How many cells a row gets."""
        return 3 * len(self.judges)

    @property
    def head(self) -> str:
        """The titles of the cells."""
        return "".join(f" Fréchet, {judge.name} | sure | coverage |" for judge in self.judges)

    def cells(self, draw: Choice) -> str:
        """Of pictures made as the model makes its samples, with the detail stage where that is its default."""
        latents, labels = draw(self.count)
        detailed = self.model.manifest.details_by_default
        noise = self.model.detail_noise(self.count, 0, labels=labels) if detailed else None
        pictures = to_grey_levels(self.model.decode(latents, noise=noise, detail=detailed))
        found = [figures_of(describe(judge.network, pictures), None, judge) for judge in self.judges]
        return "".join(
            f" {figures['frechet']:.3f} | {figures['sure']:.1%} | {figures['coverage']:.3f} |" for figures in found
        )


def drawn_from(prior: FittedPrior) -> Choice:
    """Seed 0 of the mixtures, as they ship."""

    def draw(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        latents, labels = prior.latents(0, 0, count)
        return latents, labels if prior.classes else None

    return draw


def drawn_from_flow(flow: Flow, shares: NDArray[np.float64], width: int) -> Choice:
    """The flow of the same noise, its classes by their shares."""

    def draw(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        labels = np.random.default_rng(0).choice(len(shares), count, p=shares)
        noise = torch.from_numpy(standard_normals(0, 0, count, width))
        return flow.draw(noise, torch.from_numpy(labels)).numpy(), labels

    return draw


def encoder(path: Path) -> Encode:
    """The encoder of a run, in PyTorch, or of a model folder, in ONNX Runtime."""
    if (path / CONFIG).exists():
        vae = load_run(path).vae

        def in_torch(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            mean, log_variance = vae.encode(torch.from_numpy(image))
            return mean.numpy(), log_variance.numpy()

        return in_torch
    model = VAE(path)
    return lambda image: model.encode(image)


def posteriors(encode: Encode, data: FashionMnist, draws: int) -> tuple[Posteriors, Posteriors]:
    """Those of the images for training, and of those held out."""
    seen: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def watched(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mean, log_variance = encode(image)
        seen.append((mean, log_variance))
        return mean, log_variance

    latents = posterior_samples(watched, data.train_images.numpy(), draws)
    mean, log_variance = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    labels = data.train_labels.numpy()
    train, held_out = (
        Posteriors(latents[:, rows], labels[rows], mean[rows], log_variance[rows])
        for rows in (part.numpy() for part in split(len(labels), VALIDATION_IMAGES))
    )
    return train, held_out


def parameters(prior: FittedPrior) -> int:
    """Free numbers of the mixtures: weights, means and covariances, and the shares of the classes."""
    width, components = prior.dimensions, sum(prior.sizes)
    return components * (width + width * (width + 1) // 2 + 1) - 1


def mixture_densities(prior: FittedPrior) -> Densities:
    """Of the prior as it ships: float32 tables and integer thresholds."""

    def densities(part: Posteriors) -> tuple[float, float]:
        of_class = float(log_density(prior, part.latents, part.labels).mean()) if prior.classes else float("nan")
        return float(log_density(prior, part.latents).mean()), of_class

    return densities


def flow_densities(flow: Flow, shares: NDArray[np.float64]) -> Densities:
    """By asking for every class, whose shares are known."""

    def densities(part: Posteriors) -> tuple[float, float]:
        z = torch.from_numpy(part.latents)
        by_class = np.stack([
            flow.log_density(z, torch.full((len(z),), label)).numpy().astype(np.float64) for label in range(len(shares))
        ], 1)
        own = by_class[np.arange(len(z)), part.labels].mean()
        return float(np.logaddexp.reduce(by_class + np.log(shares), axis=1).mean()), float(own)

    return densities


if __name__ == "__main__":
    main()
