"""A class-conditional normalising flow over latents: the rival of the Gaussian mixtures in `bench/priors.py`.

RealNVP (Dinh, Sohl-Dickstein, Bengio 2017, arXiv:1605.08803): each layer keeps half of the dimensions and moves the
others by a shift and a scale that a small network makes of the kept half and the class; then the halves change roles,
after a fixed shuffle. The log-density follows from the change of variables.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SCALE_LIMIT = 2.0
"""Log-scales of a layer stay within ±2: tanh keeps training stable."""


class Coupling(nn.Module):
    """One layer: z [batch, dimensions] and a class [batch, classes] to z' and log |det| [batch]."""

    def __init__(self, dimensions: int, classes: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kept = dimensions // 2
        moved = dimensions - self.kept
        self.network = nn.Sequential(
            nn.Linear(self.kept + classes, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, 2 * moved),
        )
        nn.init.zeros_(self.network[-1].weight)  # begins as the identity
        nn.init.zeros_(self.network[-1].bias)
        self.register_buffer("order", torch.randperm(dimensions, generator=generator))

    def forward(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Towards N(0, I)."""
        z = z[:, self.order]
        kept, moved = z[:, : self.kept], z[:, self.kept :]
        shift, raw = self.network(torch.cat([kept, condition], 1)).chunk(2, 1)
        log_scale = SCALE_LIMIT * torch.tanh(raw / SCALE_LIMIT)
        return torch.cat([kept, (moved - shift) * torch.exp(-log_scale)], 1), -log_scale.sum(1)

    def inverse(self, z: Tensor, condition: Tensor) -> Tensor:
        """Away from N(0, I)."""
        kept, moved = z[:, : self.kept], z[:, self.kept :]
        shift, raw = self.network(torch.cat([kept, condition], 1)).chunk(2, 1)
        moved = moved * torch.exp(SCALE_LIMIT * torch.tanh(raw / SCALE_LIMIT)) + shift
        return torch.cat([kept, moved], 1)[:, torch.argsort(self.order)]


class Flow(nn.Module):
    """log p(z|class) by a stack of couplings."""

    def __init__(self, dimensions: int, classes: int, layers: int = 10, hidden: int = 128, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList(Coupling(dimensions, classes, hidden, generator) for _ in range(layers))
        self.classes = classes

    def log_density(self, z: Tensor, label: Tensor) -> Tensor:
        """In nats, [batch], of z [batch, dimensions] given classes int64 [batch]."""
        condition = nn.functional.one_hot(label, self.classes).to(z.dtype)
        total = torch.zeros(len(z))
        for layer in self.layers:
            z, log_determinant = layer(z, condition)
            total = total + log_determinant
        return total - 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)

    def draw(self, noise: Tensor, label: Tensor) -> Tensor:
        """Latents [batch, dimensions] of standard normals of the same shape and classes int64 [batch]."""
        condition = nn.functional.one_hot(label, self.classes).to(noise.dtype)
        with torch.no_grad():
            for layer in reversed(self.layers):
                noise = layer.inverse(noise, condition)
        return noise


def fit_flow(
    mean: Tensor, log_variance: Tensor, labels: Tensor, classes: int, epochs: int, batch: int = 512, seed: int = 0
) -> Flow:
    """A flow trained by maximum likelihood with Adam, on fresh posterior samples each epoch.

    Args:
        mean: posterior means, float32 [n, dimensions].
        log_variance: of the same shape.
        labels: int64 [n].
        classes: how many there are.
        epochs: passes over the images; the step size falls along a half cosine.
        batch: images in a step.
        seed: of initial weights, order and noise.
    """
    torch.manual_seed(seed)
    flow = Flow(mean.shape[1], classes, seed=seed)
    steps = epochs * (len(mean) // batch)
    optimizer = torch.optim.Adam(flow.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        order = torch.randperm(len(mean))
        for at in range(0, len(mean) - batch + 1, batch):
            rows = order[at : at + batch]
            z = mean[rows] + torch.exp(0.5 * log_variance[rows]) * torch.randn(batch, mean.shape[1])
            loss = -flow.log_density(z, labels[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
            optimizer.step()
            schedule.step()
    return flow.eval().requires_grad_(False)
