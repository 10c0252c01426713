"""A hundred steps of training the reference recipe, as three loops."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vae_train.checkpoint import TrainingState
from vae_train.config import TrainConfig
from vae_train.data import batches, load_fashion_mnist
from vae_train.model import new_vae
from vae_train.objective import kl_nats, reconstruction_nats
from vae_train.progress import Silent
from vae_train.training import _Trainer

STEPS, BATCH = 100, 128


def our_loop() -> Callable[[], None]:
    """The trainer's own steps."""
    config, data = TrainConfig(device="cpu"), load_fashion_mnist()
    images = data.train_images
    trainer = _Trainer(config, None, Silent(), images, torch.arange(len(images)), None,  # type: ignore[arg-type]
                       None, TrainingState.new(config, torch.device("cpu")))  # type: ignore[arg-type]
    trainer.forward = trainer.state.vae
    trainer.state.sums = torch.zeros(-(-len(images) // BATCH), 13)

    def run() -> None:
        order = torch.randperm(len(images))
        for at, image in enumerate(batches(images, order[: STEPS * BATCH], BATCH)):
            trainer.state.sums[at] = trainer._step(image)

    return run


def notebook_loop() -> Callable[[], None]:
    """DataLoader and ToTensor, image by image, as notebooks have it."""
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import ToTensor

    data, convert = load_fashion_mnist(), ToTensor()
    from PIL import Image

    class Images(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(data.train_images)

        def __getitem__(self, at: int):
            return convert(Image.fromarray(data.train_images[at, 0].numpy())), int(data.train_labels[at])

    loader = DataLoader(Images(), BATCH, shuffle=True)
    step = _plain_step()

    def run() -> None:
        for at, (image, _) in enumerate(loader):
            if at == STEPS:
                break
            step(image)

    return run


def in_memory_loop() -> Callable[[], None]:
    """All images as one float tensor, and the plain step."""
    images = load_fashion_mnist().train_images.float() / 255
    step = _plain_step()

    def run() -> None:
        order = torch.randperm(len(images))
        for at in range(STEPS):
            step(images[order[at * BATCH : (at + 1) * BATCH]])

    return run


def _plain_step() -> Callable[[torch.Tensor], float]:
    vae = new_vae(TrainConfig().model, 0)
    optimizer = torch.optim.Adam(vae.parameters(), 1e-3)

    def step(image: torch.Tensor) -> float:
        logits, mean, log_variance = vae(image, torch.randn(len(image), 12))
        loss = reconstruction_nats(logits, image).mean() + kl_nats(mean, log_variance).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step
