"""Residual blocks, and the gradient at a chain's input written with forward operators.

PyTorch's autograd knows that gradient too, but a graph for ONNX can hold no backward pass. Only the layers that a
decoder is made of are known here.

A ReLU's derivative jumps at 0. Two runtimes that differ in the last digit would take different sides there, and the
gradients would differ in the third. So the derivative may be asked for as a ramp of a small width around 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Tape = list[tuple[nn.Module, "Tensor | Tape"]]
"""The layers that were gone through, each with what came into it; for a residual block, the tape of its branch."""


class Residual(nn.Module):
    """x + f(x), f = ReLU, convolution 3×3, ReLU, convolution 3×3 (He et al. 2016, arXiv:1603.05027, figure 1b).

    The last convolution begins as zero, so that a new block changes nothing (Zhang et al. 2019, arXiv:1901.09321).
    There is no batch normalisation: it would tie an image's latent to its neighbours.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        if self.second.bias is not None:
            nn.init.zeros_(self.second.bias)

    def branch(self) -> list[nn.Module]:
        """The layers of f."""
        return [nn.ReLU(), self.first, nn.ReLU(), self.second]

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape, [batch, channels, height, width]."""
        total: Tensor = features + self.second(F.relu(self.first(F.relu(features))))
        return total


def record(layers: Iterable[nn.Module], value: Tensor) -> tuple[Tensor, Tape]:
    """What the chain makes of a value, and the tape that `gradient_at_input` needs."""
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
    """The gradient at a chain's input, from the one at its output (the chain rule, from the end).

    Args:
        tape: of `record`.
        gradient: of the shape of the chain's output.
        ramp: width of the ReLUs' derivative on its way from 0 to 1; with 0 it jumps, as autograd's does.

    Raises:
        TypeError: a layer that is not known here.
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
