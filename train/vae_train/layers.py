"""Residual blocks, and the gradient at the input of a chain of layers, written with forward operators.

PyTorch's autograd can compute this gradient too, but an ONNX graph cannot contain a backward pass. Only the layers that
a decoder is made of are supported.

The derivative of a ReLU jumps at 0. Two runtimes whose values differ in the last digit there would take different sides
of the jump, and their gradients would differ in the third digit. So the jump can be replaced by a ramp around 0.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Tape = list[tuple[nn.Module, "Tensor | Tape"]]
"""The layers of a chain in their order, each with its input; a residual block has the tape of its branch instead."""


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Give PyTorch's global CPU generator this seed in the `with` block, and its earlier state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class Residual(nn.Module):
    """x + f(x), f = ReLU, convolution 3×3, ReLU, convolution 3×3 (He et al. 2016, arXiv:1603.05027, figure 1b).

    The last convolution begins as zero, so that a new block is the identity (Zhang et al. 2019, arXiv:1901.09321).
    There is no batch normalisation, which would make an image's latent depend on the other images of its batch.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        if self.second.bias is not None:
            nn.init.zeros_(self.second.bias)

    def branch(self) -> list[nn.Module]:
        """The layers of f, in their order."""
        return [nn.ReLU(), self.first, nn.ReLU(), self.second]

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape, [batch, channels, height, width]."""
        total: Tensor = features + self.second(F.relu(self.first(F.relu(features))))
        return total


def record(layers: Iterable[nn.Module], value: Tensor) -> tuple[Tensor, Tape]:
    """The output of a chain of layers for an input, and the tape that `gradient_at_input` needs."""
    tape: Tape = []
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            value, inner = record(layer, value)
            tape += inner
        elif isinstance(layer, Residual):
            change, inner = record(layer.branch(), value)
            tape.append((layer, inner))
            value = value + change
        else:
            tape.append((layer, value))
            value = layer(value)
    return value, tape


def gradient_at_input(tape: Tape, gradient: Tensor, ramp: float = 0.0) -> Tensor:
    """The gradient at the input of a chain of layers, from the gradient at its output, by the chain rule.

    Args:
        tape: the tape of the chain, from `record`.
        gradient: the gradient at the output, of the output's shape.
        ramp: the width over which the derivative of a ReLU rises from 0 to 1; with 0 it jumps, as in autograd.

    Raises:
        TypeError: a layer is not supported.
    """
    for layer, entered in reversed(tape):
        if isinstance(entered, list):
            gradient = gradient + gradient_at_input(entered, gradient, ramp)
        else:
            gradient = _through(layer, entered, gradient, ramp)
    return gradient


def _through(layer: nn.Module, entered: Tensor, gradient: Tensor, ramp: float) -> Tensor:
    match layer:
        case nn.ReLU() if ramp:
            return gradient * torch.clamp(entered / ramp + 0.5, 0, 1)
        case nn.ReLU():
            return gradient * (entered > 0).to(gradient.dtype)
        case nn.Linear():
            return gradient @ layer.weight
        case nn.Unflatten():
            return gradient.flatten(1)
        case nn.Conv2d():
            return F.conv_transpose2d(gradient, layer.weight, stride=layer.stride, padding=layer.padding)  # type: ignore[arg-type]
        case nn.ConvTranspose2d():
            return F.conv2d(gradient, layer.weight, stride=layer.stride, padding=layer.padding)
    raise TypeError(f"expected a layer that decoders are made of, got {type(layer).__name__}")
