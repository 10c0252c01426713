"""The reference recipe as others write its loop: the network of a notebook, its DataLoader, and a plain step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

BATCH = 128
LATENT = 12

Steps = Callable[[int], None]
"""Does so many steps of training."""


class NotebookVae(nn.Module):
    """The reference recipe's network in the words of a notebook, so that nothing done to ours speeds the peer up."""

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
    """As torchvision has Fashion-MNIST: each image by itself, through Pillow and ToTensor."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels, self.convert = images, labels, ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        image: Tensor = self.convert(Image.fromarray(self.images[at, 0].numpy()))
        return image, int(self.labels[at])


def plain_step(vae: NotebookVae, optimizer: torch.optim.Optimizer, image: Tensor) -> Tensor:
    """One step of Adam on the −ELBO; the loss."""
    logits, mean, log_variance = vae(image)
    reconstruction = F.binary_cross_entropy_with_logits(logits, image, reduction="sum")
    kl = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum()
    loss: Tensor = (reconstruction + kl) / len(image)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def notebook_loop(images: Tensor, labels: Tensor, device: str = "cpu") -> Steps:
    """DataLoader and ToTensor, with the loss read in every step, as notebooks have it."""
    loader = DataLoader(Pictures(images, labels), BATCH, shuffle=True)
    return _steps(_endless(lambda: (image.to(device) for image, _ in loader)), device)


def in_memory_loop(images: Tensor, device: str = "cpu") -> Steps:
    """All images as one float tensor, and the same step."""
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
    """Epoch after epoch, whole batches only, so that each step has as many images."""
    while True:
        for image in epoch():
            if len(image) == BATCH:
                yield image
