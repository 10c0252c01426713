"""Training the reference recipe on all cores: our trainer compared with training loops as they are usually written.

Ours is `vae_train.training.train` itself, the function behind `vae-train`, with everything that it does between steps:
checks of the losses, checkpoints and calls of its reporter. The reporter measures windows of steps. After each window
it lets the peers do as many steps before it returns, so that all are measured in turn.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from vae_gen import UnavailableError
from vae_train.config import TrainConfig
from vae_train.data import load_fashion_mnist
from vae_train.images.image_set import ImageSet
from vae_train.progress import Reporter
from vae_train.training import train

from .machine import has_bf16, named
from .pairs import Pair, paired, scaled
from .parts import Cell, Table

STEPS = 100
"""The number of steps in a window."""
ROUNDS = 7


BATCH = 128
LATENT = 12

Steps = Callable[[int], None]
"""Does a number of training steps."""


class NotebookVae(nn.Module):
    """The network of the reference recipe as a notebook would write it, without any code of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.mean, self.log_variance = nn.Linear(3136, LATENT), nn.Linear(3136, LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 3136), nn.Unflatten(1, (64, 7, 7)), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1),
        )  # fmt: skip

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, mean and log-variance of images [batch, 1, 28, 28]."""
        features = self.encoder(image)
        mean, log_variance = self.mean(features), self.log_variance(features)
        latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(latent), mean, log_variance


class Pictures(Dataset[tuple[Tensor, int]]):
    """Fashion-MNIST as torchvision has it: each image is converted by itself, through Pillow and ToTensor."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels, self.convert = images, labels, ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        image: Tensor = self.convert(Image.fromarray(self.images[at, 0].numpy()))
        return image, int(self.labels[at])


def plain_step(vae: NotebookVae, optimizer: torch.optim.Optimizer, image: Tensor) -> Tensor:
    """Do one step of Adam on the −ELBO; returns the loss."""
    logits, mean, log_variance = vae(image)
    reconstruction = F.binary_cross_entropy_with_logits(logits, image, reduction="sum")
    kl = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum()
    loss: Tensor = (reconstruction + kl) / len(image)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def notebook_loop(images: Tensor, labels: Tensor, device: str = "cpu") -> Steps:
    """A training loop with DataLoader and ToTensor, which reads the loss in every step, as notebooks do."""
    loader = DataLoader(Pictures(images, labels), BATCH, shuffle=True)
    return _steps(_endless(lambda: (image.to(device) for image, _ in loader)), device)


def in_memory_loop(images: Tensor, device: str = "cpu") -> Steps:
    """A training loop with all images in one float tensor, and the same step."""
    whole = (images.float() / 255).to(device)

    def epoch() -> Iterator[Tensor]:
        order = torch.randperm(len(whole), device=device)
        return (whole[order[at : at + BATCH]] for at in range(0, len(whole), BATCH))

    return _steps(_endless(epoch), device)


def _steps(stream: Iterator[Tensor], device: str) -> Steps:
    vae = NotebookVae().to(device)
    optimizer = torch.optim.Adam(vae.parameters(), 1e-3)

    def run(count: int) -> None:
        total = 0.0
        for _ in range(count):
            total += float(plain_step(vae, optimizer, next(stream)))

    return run


def _endless(epoch: Callable[[], Iterator[Tensor]]) -> Iterator[Tensor]:
    """Yields the whole batches of epoch after epoch, so that each step has as many images."""
    while True:
        for image in epoch():
            if len(image) == BATCH:
                yield image


class EnoughError(Exception):
    """Raised when all windows are measured, to stop the training."""


@dataclass
class Watch(Reporter):
    """Measures windows of our steps, and lets the peers do as many steps after each window."""

    peers: Sequence[Steps]
    rounds: int
    steps: int = STEPS
    ours: list[float] = field(default_factory=list)
    """the seconds per step in each window"""
    theirs: list[list[float]] = field(default_factory=list)
    """the same for each peer"""
    warm_up: float = 0.0
    """the seconds until the first call, which include compiling"""
    _began: float = field(default_factory=lambda: time.perf_counter())
    _from: int | None = None
    """the step after which the window began; None until the warm-up is over"""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Ends the window if it is full."""
        now = time.perf_counter()
        if not self.warm_up:
            self.warm_up = now - self._began
            for peer in self.peers:
                peer(10)
            self.theirs = [[] for _ in self.peers]
        elif self._from is not None and step - self._from >= self.steps:
            done = step - self._from
            self.ours.append((now - self._began) / done)
            for at in range(len(self.peers)) if len(self.ours) % 2 else reversed(range(len(self.peers))):
                began = time.perf_counter()
                self.peers[at](done)
                self.theirs[at].append((time.perf_counter() - began) / done)
            if len(self.ours) == self.rounds:
                raise EnoughError
        elif self._from is not None:
            return
        self._from, self._began = step, time.perf_counter()

    def epoch(self, epochs: int, line: object, seconds: float) -> None:
        """Starts the window again, because validation and pictures are not part of a step."""
        self._from, self._began = 0, time.perf_counter()


def measure(folder: Path, share: float = 1.0) -> Iterator[Pair | Table | str]:
    """Compare each variant of our trainer with the loops of others."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "compiled")  # empty, as on a new machine
    data = load_fashion_mnist()
    rounds, steps = scaled(ROUNDS, share), scaled(STEPS, share, 10)
    threads = torch.get_num_threads()
    rates: list[list[Cell]] = []
    for variant, config in variants().items():
        peers = [notebook_loop(data.train_images, data.train_labels), in_memory_loop(data.train_images)]
        try:
            watch = watched(config, data, peers, rounds, steps)
        except UnavailableError as error:
            yield f"Not measured: training, {variant}: {error}."
            continue
        title = f"training step, {variant}, {named(threads)}"
        notebook = paired(title, "notebook loop, float32", watch.ours, watch.theirs[0], 0.5)
        memory = paired(title, "in-memory loop, float32", watch.ours, watch.theirs[1])
        yield from (notebook, memory)
        rates.append([variant, *(BATCH / took for took in (notebook.ours, notebook.theirs, memory.theirs)),
                      watch.warm_up])
    yield Table(
        "Images per second, reference recipe, batches of 128",
        ["variant", "ours", "notebook loop", "in-memory loop", "seconds until our first report"], rates,
        [f"There were {rounds} windows of {steps} steps, all on {named(threads)}. The peers use float32, not compiled.",
         "Ours is the real trainer with its checkpoints. The last column is the time before its first steps, in which "
         "it takes the data and compiles with an empty cache."],
    )  # fmt: skip


def variants() -> dict[str, TrainConfig]:
    """The recipe with its defaults, and with the options of `vae-train` that are faster at little or no loss."""
    default = TrainConfig(device="cpu")
    offered = {"default, float32": default, "float32, --compile": replace(default, compile=True)}
    if default.compile:
        offered["float32, not compiled"] = replace(default, compile=False)
    if has_bf16():
        offered["--precision bf16 --compile"] = replace(default, precision="bf16", compile=True)
    unlike = {config: name for name, config in reversed(offered.items())}  # each setting keeps its first name
    return {name: config for name, config in offered.items() if unlike[config] == name}


def watched(config: TrainConfig, data: ImageSet, peers: Sequence[Steps], rounds: int, steps: int) -> Watch:
    """Train a run in a temporary folder until all windows are measured.

    Raises:
        UnavailableError: there is no compiler.
    """
    watch = Watch(peers, rounds, steps)
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(config, data, Path(folder) / "run", reporter=watch)
        except EnoughError:
            return watch
    raise RuntimeError(f"expected {rounds} windows of {steps} steps in the run, got {len(watch.ours)}")
