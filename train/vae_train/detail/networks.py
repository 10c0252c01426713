"""The detail decoder and its critic.

The decoder of a VAE gives the mean picture of a latent, and the mean of many pictures is blurred. The detail decoder
takes noise besides the latent, and makes one picture of p(x|z), with a print, a strap or an edge that twelve numbers
cannot hold. The critic learns to distinguish its pictures from real ones of the same latent. The detail decoder learns
to make pictures that the critic takes for real.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..config import DetailConfig, ModelConfig
from ..layers import Residual
from ..model import output_padding

SLOPE = 0.2
"""The slope of the critic's leaky ReLUs below 0."""


class Inverted(nn.Module):
    """x + f(x), where f widens the features, convolves each of them by itself, and narrows them again.

    f = convolution 1×1, ReLU, depthwise convolution 3×3, ReLU, convolution 1×1 (Sandler et al. 2018, arXiv:1801.04381,
    figure 4, without normalisation). With a width of 5 it has about half of the multiplications of a `Residual` of as
    many channels. As there, the last convolution begins as zero.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(channels, width * channels, 1)
        self.depthwise = nn.Conv2d(width * channels, width * channels, 3, padding=1, groups=width * channels)
        self.narrow = nn.Conv2d(width * channels, channels, 1)
        for weights in self.narrow.parameters():
            nn.init.zeros_(weights)

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape, [batch, channels, height, width]."""
        total: Tensor = features + self.narrow(F.relu(self.depthwise(F.relu(self.widen(features)))))
        return total


class DetailDecoder(nn.Module):
    """Turns a latent and noise into a picture, with transposed convolutions and residual blocks."""

    def __init__(self, model: ModelConfig, detail: DetailConfig) -> None:
        super().__init__()
        channels, sizes = detail.channels, model.feature_sizes
        self.noise_dim, self.stretch = detail.noise_dim, detail.stretch
        self.smallest = (channels[-1], *sizes[-1])  # (64, 7, 7)
        features = channels[-1] * sizes[-1][0] * sizes[-1][1]
        layers: list[nn.Module] = [
            nn.Linear(model.latent_dim + detail.noise_dim, detail.hidden),
            nn.ReLU(),
            nn.Linear(detail.hidden, features),
            nn.Unflatten(1, self.smallest),
        ]
        widths = detail.block_widths or (0,) * len(channels)
        for at in reversed(range(len(channels))):
            if not channels[at]:
                continue  # the last transposed convolution has drawn the picture
            for _ in range(detail.residual_blocks[at]):
                layers.append(Inverted(channels[at], widths[at]) if widths[at] else Residual(channels[at]))
            layers.append(nn.ReLU())
            if at:
                layers.append(
                    nn.ConvTranspose2d(
                        channels[at],
                        channels[at - 1] or model.channels,
                        model.kernel_size,
                        model.stride,
                        model.padding,
                        output_padding=output_padding(model, at - 1),
                    )
                )
        if channels[0]:
            layers.append(nn.Conv2d(channels[0], model.channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor, noise: Tensor) -> Tensor:
        """The picture, [batch, 1, 28, 28] in [0, 1]: the sigmoid of the last layer, stretched and cut off at 0 and 1.

        A sigmoid alone is never 0. Its background has pixels of a few grey levels, which the stretch makes black.

        Args:
            latent: [batch, 12].
            noise: [batch, 32], standard normals; in a picture of a class, `class_shift` is added to one of them
                (`training.with_class`).
        """
        picture = torch.sigmoid(self.layers(torch.cat([latent, noise], dim=1)))
        if self.stretch:
            picture = torch.clamp((1 + 2 * self.stretch) * picture - self.stretch, 0, 1)
        return picture


class Critic(nn.Module):
    """Judges how real a picture looks for its latent and class: a number per picture, larger for more real ones.

    Its input is the decoder's mean picture, and the difference of the picture from it. The largest singular value of
    every layer is kept at 1 (Miyato et al. 2018, arXiv:1802.05957). Latent and class enter by projection (Miyato and
    Koyama 2018, arXiv:1802.05637, eq. 3): the inner product of their embedding with the description of the picture is
    added to the judgement.
    """

    def __init__(self, model: ModelConfig, detail: DetailConfig, classes: int) -> None:
        super().__init__()
        channels = detail.critic_channels
        layers: list[nn.Module] = [spectral_norm(nn.Conv2d(2 * model.channels, channels[0], 3, padding=1))]
        for before, after in itertools.pairwise(channels):
            down = nn.Conv2d(before, after, model.kernel_size, model.stride, model.padding)
            layers += [nn.LeakyReLU(SLOPE), spectral_norm(down)]
        last = nn.Conv2d(channels[-1], channels[-1], 3, padding=1)
        layers += [nn.LeakyReLU(SLOPE), spectral_norm(last), nn.LeakyReLU(SLOPE), nn.Flatten()]
        features = channels[-1] * model.feature_sizes[-1][0] * model.feature_sizes[-1][1]
        self.describe = nn.Sequential(
            *layers, spectral_norm(nn.Linear(features, detail.critic_hidden)), nn.LeakyReLU(SLOPE)
        )
        self.judge = spectral_norm(nn.Linear(detail.critic_hidden, 1))
        self.of_latent = spectral_norm(nn.Linear(model.latent_dim, detail.critic_hidden))
        self.classes = classes
        self.of_class = spectral_norm(nn.Embedding(classes + 1, detail.critic_hidden))  # the last row is for no class

    def forward(self, picture: Tensor, expected: Tensor, latent: Tensor, label: Tensor) -> Tensor:
        """The judgement of each picture, [batch].

        Args:
            picture: [batch, 1, 28, 28] in [0, 1].
            expected: the decoder's mean picture of the latent, of the same shape.
            latent: [batch, 12].
            label: int64 [batch], −1 for a picture whose class is not given.
        """
        return self.judgement(self.features(picture, expected)[-1], latent, label)

    def features(self, picture: Tensor, expected: Tensor) -> list[Tensor]:
        """The outputs of the leaky ReLUs, each [batch, …]; the last one is the picture's description, [batch, 256].

        Args:
            picture: [batch, 1, 28, 28] in [0, 1].
            expected: the decoder's mean picture of the latent, of the same shape.
        """
        values, found = torch.cat([picture - expected, expected], dim=1), []
        for layer in self.describe:
            values = layer(values)
            if isinstance(layer, nn.LeakyReLU):
                found.append(values)
        return found

    def judgement(self, described: Tensor, latent: Tensor, label: Tensor) -> Tensor:
        """How real each picture looks, [batch], from its description, and its latent and class as in `forward`."""
        condition = self.of_latent(latent) + self.of_class(label % (self.classes + 1))
        judged: Tensor = self.judge(described).flatten() + (condition * described).sum(1)
        return judged


def critic_loss(real: Tensor, made: Tensor) -> Tensor:
    """The hinge loss of the critic (Lim and Ye 2017, arXiv:1705.02894).

    It pushes judgements of real pictures above 1 and those of made pictures below −1, and not further.

    Args:
        real: judgements of real pictures, [batch].
        made: judgements of the detail decoder's pictures, [batch].
    """
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def feature_difference(made: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """How far the critic's features of a picture are from those of another one, [batch].

    It is the sum over the layers of the squared difference as a share of the square of the wanted features. These
    features are what the critic tells real pictures from made ones by (Larsen et al. 2016, arXiv:1512.09300, eq. 7;
    Wang et al. 2018, arXiv:1711.11585, eq. 4, for all layers).

    Args:
        made: `Critic.features` of the decoder's pictures.
        wanted: those of the teacher's pictures.
    """
    total = wanted[0].new_zeros(len(wanted[0]), dtype=torch.float32)
    for ours, theirs in zip(made, wanted, strict=True):
        squares = (ours.float() - theirs.float()).square().flatten(1).sum(1)
        total = total + squares / theirs.float().square().flatten(1).sum(1).clamp(min=1e-6)
    return total
