"""A run of a second: made-up pictures of 12 by 10 pixels, a network to match, on one thread."""

from __future__ import annotations

import torch

from vae_train.config import ModelConfig, TrainConfig
from vae_train.images.image_set import ImageSet

MODEL = ModelConfig(height=12, width=10, latent_dim=3, encoder_channels=(4, 6))
CONFIG = TrainConfig(
    model=MODEL, epochs=2, batch_size=16, validation_images=40, device="cpu", threads=1, checkpoint_steps=3
)


def tiny_data(height: int = 12, width: int = 10, train: int = 200, test: int = 40) -> ImageSet:
    """Bright rectangles on black, with noise: something to learn."""
    generator = torch.Generator().manual_seed(5)

    def pictures(count: int) -> torch.Tensor:
        images = torch.randint(0, 20, (count, 1, height, width), generator=generator)
        corners = torch.randint(1, min(height, width), (count, 2), generator=generator).tolist()
        for image, (bottom, right) in zip(images, corners, strict=True):
            image[:, :bottom, :right] += 200
        return images.to(torch.uint8)

    return ImageSet(
        train_images=pictures(train),
        train_labels=torch.zeros(train, dtype=torch.int64),
        test_images=pictures(test),
        test_labels=torch.zeros(test, dtype=torch.int64),
        sha256={"made-up": "0" * 64},
        name="rectangles",
        class_names=("rectangle",),
    )
