"""The network: a convolutional encoder and a decoder that mirrors it, with or without residual blocks.

The shapes in the comments are those of the reference recipe. The networks use random numbers for their first weights
only: the noise of a latent is an argument.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .layers import Residual, gradient_at_input, record, seeded
from .refinement import RAMP, refine


class Output(NamedTuple):
    """The result of a pass through the whole VAE."""

    logits: Tensor
    """[batch, 1, 28, 28]; the image is their sigmoid"""
    mean: Tensor
    """[batch, 12]"""
    log_variance: Tensor
    """[batch, 12], the natural logarithm of the variance"""


class Encoder(nn.Module):
    """Turns an image x into the mean and log-variance of q(z|x), a normal with independent dimensions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        before = (config.channels, *config.encoder_channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before[at], channels, config.kernel_size, config.stride, config.padding)
            for at, channels in enumerate(config.encoder_channels)
        )
        self.residuals = _residuals(config)
        features = _flat_features(config)
        self.hidden = nn.Linear(features, config.encoder_hidden) if config.encoder_hidden else None
        self.mean = nn.Linear(config.encoder_hidden or features, config.latent_dim)
        self.log_variance = nn.Linear(config.encoder_hidden or features, config.latent_dim)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each [batch, 12], of images [batch, 1, 28, 28] in [0, 1]."""
        features = image  # [batch, 1, 28, 28]
        for convolution, residual in zip(self.convolutions, self.residuals, strict=True):
            features = F.relu(residual(convolution(features)))  # [batch, 32, 14, 14], then [batch, 64, 7, 7]
        features = features.flatten(1)  # [batch, 3136]
        if self.hidden is not None:
            features = F.relu(self.hidden(features))
        return self.mean(features), self.log_variance(features)  # [batch, 12] each


class Decoder(nn.Module):
    """Turns a latent into the logits of an image. The sigmoid is left out, because the loss is exact only on logits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.smallest = (config.encoder_channels[-1], *config.feature_sizes[-1])  # (64, 7, 7)
        self.hidden = nn.Linear(config.latent_dim, config.decoder_hidden) if config.decoder_hidden else None
        self.linear = nn.Linear(config.decoder_hidden or config.latent_dim, _flat_features(config))
        layers: list[nn.ConvTranspose2d] = []
        made = config.encoder_channels[0] if config.last_kernel else config.channels
        channels = (made, *config.encoder_channels)  # (1, 32, 64), used from the end
        for at in reversed(range(len(config.encoder_channels))):
            layers.append(
                nn.ConvTranspose2d(
                    channels[at + 1],
                    channels[at],
                    config.kernel_size,
                    config.stride,
                    config.padding,
                    output_padding=output_padding(config, at),
                )
            )
        self.convolutions = nn.ModuleList(layers)
        self.residuals = _residuals(config)[::-1]
        kernel = config.last_kernel
        self.last = nn.Conv2d(made, config.channels, kernel, padding=kernel // 2) if kernel else None

    def layers(self) -> list[nn.Module]:
        """The layers of the decoder in their order; each is a function of one tensor."""
        dense = [self.linear] if self.hidden is None else [self.hidden, nn.ReLU(), self.linear]
        layers: list[nn.Module] = [*dense, nn.Unflatten(1, self.smallest)]
        for residual, convolution in zip(self.residuals, self.convolutions, strict=True):
            layers += [residual, nn.ReLU(), convolution]
        return layers if self.last is None else [*layers, nn.ReLU(), self.last]

    def forward(self, latent: Tensor) -> Tensor:
        """Logits [batch, 1, 28, 28] of latents [batch, 12]."""
        features = latent  # [batch, 12], [batch, 3136], [batch, 64, 7, 7], [batch, 32, 14, 14], [batch, 1, 28, 28]
        for layer in self.layers():
            features = layer(features)
        return features

    def reconstruction_gradient(self, latent: Tensor, image: Tensor, ramp: float = 0.0) -> Tensor:
        """∂(−log p(x|z))/∂z in nats, [batch, 12], written with forward operators so that it can be exported.

        Args:
            latent: z, [batch, 12].
            image: x, [batch, 1, 28, 28] in [0, 1].
            ramp: smooths the derivative of the ReLUs, see `layers.gradient_at_input`.
        """
        logits, tape = record(self.layers(), latent)
        # The derivative of the cross-entropy by a logit a is s(a) − x (objective.py).
        return gradient_at_input(tape, torch.sigmoid(logits) - image, ramp)


class VAE(nn.Module):
    """A variational autoencoder (Kingma and Welling 2013, arXiv:1312.6114): an encoder and a decoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, image: Tensor, noise: Tensor) -> Output:
        """Encode images without refinement, make a latent of each from the given noise, and decode the latents.

        Args:
            image: [batch, 1, 28, 28] in [0, 1].
            noise: [batch, 12], standard normals.
        """
        mean, log_variance = self.encoder(image)
        # The reparameterisation (section 2.4 of the paper): z ~ q(z|x), with gradients for mean and log-variance.
        latent = mean + torch.exp(0.5 * log_variance) * noise  # [batch, 12]
        return Output(self.decoder(latent), mean, log_variance)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each [batch, 12], of images [batch, 1, 28, 28] in [0, 1].

        The encoder's prediction is refined by as many steps as `refinement_steps` in the settings.
        """
        mean, log_variance = self.encoder(image)
        if self.config.refinement_steps:
            return self.refined(image, mean, log_variance, self.config.refinement_steps)
        return mean, log_variance

    def refined(self, image: Tensor, mean: Tensor, log_variance: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each [batch, 12], after `steps` steps of refinement that start from those given."""

        def gradient(latent: Tensor) -> Tensor:
            return self.decoder.reconstruction_gradient(latent, image, RAMP)

        return refine(gradient, mean, log_variance, steps)

    def decode(self, latent: Tensor) -> Tensor:
        """The mean images [batch, 1, 28, 28] in [0, 1] of latents [batch, 12]."""
        return torch.sigmoid(self.decoder(latent))


def new_vae(config: ModelConfig, seed: int) -> VAE:
    """An untrained VAE with PyTorch's usual first weights, made from a seed, on the CPU in float32."""
    with seeded(seed):
        return VAE(config)


def _residuals(config: ModelConfig) -> nn.ModuleList:
    """A chain of residual blocks for each size of feature maps, the largest first. A chain may be empty."""
    counts = config.residual_blocks or (0,) * len(config.encoder_channels)
    return nn.ModuleList(
        nn.Sequential(*(Residual(channels) for _ in range(count)))
        for channels, count in zip(config.encoder_channels, counts, strict=True)
    )


def _flat_features(config: ModelConfig) -> int:
    """The number of values after the last convolution of the encoder: 64 · 7 · 7 = 3136."""
    height, width = config.feature_sizes[-1]
    return config.encoder_channels[-1] * height * width


def output_padding(config: ModelConfig, at: int) -> tuple[int, int]:
    """The `output_padding` of the transposed convolution that mirrors convolution `at`: height and width in pixels.

    With it the output has the size of the convolution's input, which the convolution may have rounded down.
    """
    (height, width), (small_height, small_width) = config.feature_sizes[at], config.feature_sizes[at + 1]
    return (
        height - ((small_height - 1) * config.stride - 2 * config.padding + config.kernel_size),
        width - ((small_width - 1) * config.stride - 2 * config.padding + config.kernel_size),
    )
