"""Which density describes the latents of real images best? `python -m vae_train.quality.priors MODEL` prints a table.

Each family of densities is fitted to posterior samples of the 55 000 training images, and compared by the mean
log-density of posterior samples of the 5000 validation images of `vae_train.data.split`, which no fit has seen. The
column log p(z) is the density over all classes, and log p(z|y) the density given the class of the image. What log p(z)
gains over N(0, I) is gained by the model's −ELBO.

With `--pictures N`, N latents of each family are made into pictures as the model makes its samples, and both
classifiers of `vae_train.quality.classifiers` compare these with the test images. docs/quality.md has the results.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn

from vae_gen import VAE, FittedPrior, standard_normals, to_grey_levels
from vae_gen.internal.command import run_command

from ..data import load_fashion_mnist, split
from ..images.image_set import ImageSet
from ..prior import (
    DRAWS,
    VALIDATION_IMAGES,
    fit_mixture,
    fit_prior,
    log_density,
    normal_log_density,
    samples_of_posteriors,
)
from .classifiers import describe
from .scores import Judge, figures_of, judges

SCALE_LIMIT = 2.0
"""The log-scales of a flow's layer stay within ±2, which keeps its training stable."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Posteriors:
    """The posteriors of some images, and samples of them."""

    samples: Floats
    """[draws, n, dimensions]"""
    labels: NDArray[np.int64]
    """[n]"""
    mean: Floats
    """[n, dimensions]"""
    log_variance: Floats
    """[n, dimensions]"""


@dataclass(frozen=True)
class Family:
    """A fitted density: a row of the table."""

    name: str
    parameters: int
    densities: Callable[[Floats, NDArray[np.int64]], tuple[float, float]]
    """the mean log p(z) and log p(z|y) of latents with their labels, in nats; NaN for a family without classes"""
    draw: Callable[[int], tuple[Floats, NDArray[np.int64] | None]]
    """that many latents, [n, dimensions], and their classes if the family has any"""


def measure_posteriors(model: VAE, data: ImageSet, draws: int) -> tuple[Posteriors, Posteriors]:
    """The posteriors of the images for training and of those held out, with `draws` samples of each posterior."""
    mean, log_variance = model.encode(data.train_images[:].numpy())
    samples = samples_of_posteriors(mean, log_variance, draws)
    labels = data.train_labels.numpy()
    train, held_out = (
        Posteriors(samples[:, rows], labels[rows], mean[rows], log_variance[rows])
        for rows in (part.numpy() for part in split(len(labels), VALIDATION_IMAGES))
    )
    return train, held_out


def standard_normal(width: int) -> Family:
    """N(0, I), with which the others are compared."""
    return Family(
        "N(0, I)", 0, lambda latents, _: (float(normal_log_density(latents).mean()), math.nan),
        lambda count: (standard_normals(0, 0, count, width), None),
    )  # fmt: skip


def mixture(prior: FittedPrior, name: str) -> Family:
    """A fitted prior as it would ship, with float32 tables and integer thresholds. It draws seed 0."""

    def densities(latents: Floats, labels: NDArray[np.int64]) -> tuple[float, float]:
        of_class = float(log_density(prior, latents, labels).mean()) if prior.classes else math.nan
        return float(log_density(prior, latents).mean()), of_class

    def draw(count: int) -> tuple[Floats, NDArray[np.int64] | None]:
        latents, labels = prior.latents(0, 0, count)
        return latents, labels if prior.classes else None

    width, components = prior.dimensions, sum(prior.sizes)
    # The weight, the mean and the covariance of each component; all weights together are 1.
    return Family(name, components * (1 + width + width * (width + 1) // 2) - 1, densities, draw)


def flow_family(train: Posteriors, classes: int, epochs: int) -> Family:
    """A flow given the class, the class being drawn by its share of the training images."""
    flow = fit_flow(train, classes, epochs)
    shares = np.bincount(train.labels, minlength=classes) / len(train.labels)

    def densities(latents: Floats, labels: NDArray[np.int64]) -> tuple[float, float]:
        z = torch.from_numpy(latents)
        by_class = np.stack(
            [flow.log_density(z, torch.full((len(z),), label)).double().numpy() for label in range(classes)], 1
        )
        total = np.logaddexp.reduce(by_class + np.log(shares), axis=1)
        return float(total.mean()), float(by_class[np.arange(len(z)), labels].mean())

    def draw(count: int) -> tuple[Floats, NDArray[np.int64]]:
        labels = np.random.default_rng(0).choice(classes, count, p=shares)
        noise = torch.from_numpy(standard_normals(0, 0, count, train.mean.shape[1]))
        return flow.latents(noise, torch.from_numpy(labels)).numpy(), labels

    parameters = sum(parameter.numel() for parameter in flow.parameters())
    return Family(f"RealNVP given the class, {epochs} epochs", parameters, densities, draw)


class Coupling(nn.Module):
    """A layer of RealNVP (Dinh, Sohl-Dickstein, Bengio 2017, arXiv:1605.08803, eq. 7 and 8) after a fixed shuffle.

    It keeps half of the dimensions. A small network turns this half and the class into a shift and a scale, with which
    the other half is moved.
    """

    order: Tensor

    def __init__(self, dimensions: int, classes: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kept = dimensions // 2
        last = nn.Linear(hidden, 2 * (dimensions - self.kept))
        nn.init.zeros_(last.weight)  # so that training begins at the identity
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(self.kept + classes, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last
        )
        self.register_buffer("order", torch.randperm(dimensions, generator=generator))

    def forward(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """One step from latents towards N(0, I): z' [batch, dimensions] and log |det ∂z'/∂z| [batch]."""
        z = z[:, self.order]
        shift, log_scale = self._shift_and_scale(z, condition)
        return torch.cat([z[:, : self.kept], (z[:, self.kept :] - shift) * torch.exp(-log_scale)], 1), -log_scale.sum(1)

    def inverse(self, z: Tensor, condition: Tensor) -> Tensor:
        """The latents [batch, dimensions] for which `forward` gives z."""
        shift, log_scale = self._shift_and_scale(z, condition)
        moved = z[:, self.kept :] * torch.exp(log_scale) + shift
        return torch.cat([z[:, : self.kept], moved], 1)[:, torch.argsort(self.order)]

    def _shift_and_scale(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = self.network(torch.cat([z[:, : self.kept], condition], 1)).chunk(2, 1)
        return shift, SCALE_LIMIT * torch.tanh(raw / SCALE_LIMIT)


class Flow(nn.Module):
    """A normalising flow for p(z|class): a stack of couplings between latents and N(0, I)."""

    def __init__(self, dimensions: int, classes: int, layers: int = 10, hidden: int = 128, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList(Coupling(dimensions, classes, hidden, generator) for _ in range(layers))
        self.classes = classes

    def log_density(self, z: Tensor, label: Tensor) -> Tensor:
        """Log p(z|class) in nats, [batch], of z [batch, dimensions] and classes int64 [batch]."""
        condition = nn.functional.one_hot(label, self.classes).to(z.dtype)
        total = torch.zeros(len(z))
        for layer in self.layers:
            z, log_determinant = layer(z, condition)
            total = total + log_determinant
        return total - 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)

    def latents(self, noise: Tensor, label: Tensor) -> Tensor:
        """Latents [batch, dimensions] made from standard normals of the same shape, for classes int64 [batch]."""
        condition = nn.functional.one_hot(label, self.classes).to(noise.dtype)
        with torch.no_grad():
            for layer in reversed(self.layers):
                assert isinstance(layer, Coupling)
                noise = layer.inverse(noise, condition)
        return noise


def fit_flow(train: Posteriors, classes: int, epochs: int, batch: int = 512, seed: int = 0) -> Flow:
    """A flow trained by maximum likelihood with Adam, on fresh posterior samples in each epoch.

    Args:
        train: the posteriors.
        classes: how many classes there are.
        epochs: passes over the images; the learning rate falls from 2e-3 to 0 along half a cosine.
        batch: images in a step.
        seed: of first weights, order and noise.
    """
    torch.manual_seed(seed)
    mean, log_variance, labels = map(torch.from_numpy, (train.mean, train.log_variance, train.labels))
    flow = Flow(mean.shape[1], classes, seed=seed)
    optimizer = torch.optim.Adam(flow.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(mean) // batch))
    for _ in range(epochs):
        order = torch.randperm(len(mean))
        for at in range(0, len(mean) - batch + 1, batch):
            rows = order[at : at + batch]
            z = mean[rows] + torch.exp(0.5 * log_variance[rows]) * torch.randn(batch, mean.shape[1])
            loss = -flow.log_density(z, labels[rows]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
            optimizer.step()
            schedule.step()
    return flow.eval().requires_grad_(False)


def judged(family: Family, model: VAE, all_judges: list[Judge], count: int) -> list[str]:
    """Three cells of the table for each classifier: how it sees the family's pictures beside the test images."""
    latents, labels = family.draw(count)
    detail = model.manifest.details_by_default
    noise = model.detail_noise(count, 0, labels=labels) if detail else None
    pictures = to_grey_levels(model.decode(latents, noise=noise, detail=detail))
    cells = []
    for judge in all_judges:
        figures = figures_of(describe(judge.network, pictures), None, judge)
        cells += [f"{figures['frechet']:.3f}", f"{figures['sure']:.1%}", f"{figures['coverage']:.3f}"]
    return cells


app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def compare(
    model: Annotated[str, typer.Argument(help="A model folder, or the name of a shipped model.")],
    components: Annotated[str, typer.Option(help="Sizes of the mixture of a class.")] = "1,5,10,20,30,40",
    overall: Annotated[str, typer.Option(help="Sizes of one mixture for all classes, which is slow.")] = "",
    draws: Annotated[int, typer.Option(help="Posterior samples of each image, for the mixtures.")] = DRAWS,
    epochs: Annotated[int, typer.Option(help="Epochs of the flow; 0 leaves it out.")] = 60,
    pictures: Annotated[int, typer.Option(help="Pictures of each family that the classifiers compare.")] = 0,
) -> None:
    """Fit families of densities to a model's latents, and print the table as Markdown, row by row."""
    data, vae = load_fashion_mnist(), VAE(model)
    all_judges = judges(data) if pictures else []
    classes = len(data.class_names)
    train, held_out = measure_posteriors(vae, data, draws)

    def of_class(size: int) -> Family:
        name = "one Gaussian per class" if size == 1 else f"mixture of {size} per class"
        return mixture(fit_prior(train.samples, train.labels, classes, size), name)

    def of_all(size: int) -> Family:
        prior = FittedPrior.of([1], [fit_mixture(train.samples, size)], labelled=False)
        return mixture(prior, f"mixture of {size}, no classes")

    fits: list[Callable[[], Family]] = [lambda: standard_normal(held_out.mean.shape[1])]
    fits += [lambda size=int(size): of_class(size) for size in components.split(",") if size]  # type: ignore[misc]
    fits += [lambda size=int(size): of_all(size) for size in overall.split(",") if size]  # type: ignore[misc]
    fits += [lambda: flow_family(train, classes, epochs)] if epochs else []
    head = ["family", "parameters", "held-out log p(z), nats", "gain over N(0, I)", "held-out log p(z\\|y)",
            "training log p(z)", "fit, CPU s"]  # fmt: skip
    for judge in all_judges:
        head += [f"Fréchet, {judge.name}", "sure", "coverage"]
    typer.echo(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    baseline = float(normal_log_density(held_out.samples[0]).mean())
    for fit in fits:
        began = time.process_time()
        family = fit()
        took = time.process_time() - began
        value, given_class = family.densities(held_out.samples[0], held_out.labels)
        row = [family.name, f"{family.parameters:,}", f"{value:.3f}", f"{value - baseline:+.3f}"]
        row.append("–" if math.isnan(given_class) else f"{given_class:.3f}")
        row += [f"{family.densities(train.samples[0], train.labels)[0]:.3f}", f"{took:.0f}"]
        row += judged(family, vae, all_judges, pictures) if pictures else []
        typer.echo(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    sys.exit(run_command(app, "python -m vae_train.quality.priors"))
