"""Two small classifiers of Fashion-MNIST, as different in design as their size allows.

A distance in the features of one network also measures that network's taste. So there are two. `residual` is deep, has
small kernels, and averages its features over the picture, which forgets where things are. `plain` is shallow, has wide
kernels and max pooling, and ends in a dense layer whose every feature knows each place. A difference that both see is
one of the pictures.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

MEAN, DEVIATION = 0.286, 0.353
"""Of the training images' pixels, in [0, 1]."""

CLASSES = 10


class Prediction(NamedTuple):
    """What a classifier says of images."""

    features: Tensor
    """[batch, features], the input of the last linear layer"""
    logits: Tensor
    """[batch, 10]"""


class ResidualBlock(nn.Module):
    """x + f(x) with two 3 × 3 convolutions, each after batch norm and ReLU (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        """The same shape as `image`, [batch, channels, height, width]."""
        features = image
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            features = convolution(F.relu(norm(features)))
        return image + features


class ResidualClassifier(nn.Module):
    """A residual network of 5.4 MMAC an image; 96 features."""

    features = 96

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 5, stride=2, padding=2, bias=False),  # [batch, 24, 14, 14]
            ResidualBlock(24),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1, bias=False),  # [batch, 48, 7, 7]
            ResidualBlock(48),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Conv2d(48, self.features, 3, stride=2, padding=1, bias=False),  # [batch, 96, 4, 4]
            nn.BatchNorm2d(self.features),
            nn.ReLU(),
        )
        self.head = nn.Linear(self.features, CLASSES)

    def forward(self, image: Tensor) -> Prediction:
        """Features [batch, 96] and logits [batch, 10] of images [batch, 1, 28, 28] in [0, 1]."""
        features = self.body((image - MEAN) / DEVIATION).mean((2, 3))  # [batch, 96]
        return Prediction(features, self.head(features))


class PlainClassifier(nn.Module):
    """Two 5 × 5 convolutions and a dense layer (after LeCun et al. 1998, LeNet-5), 6.3 MMAC an image; 96 features."""

    features = 96

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 5, padding=2, bias=False),
            nn.MaxPool2d(2),  # [batch, 24, 14, 14]; pooled first, since norm and ReLU cost by the pixel
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 5, padding=2, bias=False),
            nn.MaxPool2d(2),  # [batch, 48, 7, 7]
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Flatten(),  # [batch, 2352]
            nn.Linear(48 * 7 * 7, self.features),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(self.features, CLASSES)

    def forward(self, image: Tensor) -> Prediction:
        """Features [batch, 96] and logits [batch, 10] of images [batch, 1, 28, 28] in [0, 1]."""
        features = self.body((image - MEAN) / DEVIATION)  # [batch, 96]
        return Prediction(features, self.head(self.dropout(features)))


Classifier = ResidualClassifier | PlainClassifier

NETWORKS: dict[str, type[Classifier]] = {"residual": ResidualClassifier, "plain": PlainClassifier}
