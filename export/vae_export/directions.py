"""Finds the directions of a model: along each of them one attribute of the picture changes, and the others stay.

`vae_gen.internal.directions` says what a direction is, and moves latents. Here its network is trained: it learns the
attributes of the decoder's pictures of latents from the fitted prior, and then those of pictures on the way along its
own directions, which reach further than samples do. Each direction is then tried on latents that no training has seen,
and only those that do what they promise are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vae_gen.internal.directions import LOWEST_SHARE, Direction, Directions, Effect, Field
from vae_gen.internal.prior import ANY_CLASS, FittedPrior
from vae_train.layers import seeded

from .attributes import attribute_names, measure

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Decode = Callable[[Floats], Floats]
"""Makes mean pictures [n, channels, height, width] of latents [n, dimensions]."""

MOST_GROUPS = 32
"""With more classes than this, all of them count as one: the file stays small, and a class has enough latents."""
SAMPLES = 15_000
"""How many latents of the prior the network learns from first, all classes together."""
WIDER = 5_000
"""How many more latents are drawn with a higher temperature, so that the network also learns what lies around them."""
WIDER_TEMPERATURE = 1.4
WALKS = 300
"""How many latents are moved along each attribute to four positions, for the second round of training."""
WALKED = (-2.0, -1.0, 1.0, 2.0)
TRIED = 500
"""How many latents each direction is tried on, all classes together; but see `FEWEST`."""
FEWEST = 50
"""The fewest of them in a class."""
FARTHEST = 8.0
"""Latents beyond this are no latents of pictures, and the network does not learn from them."""

HIDDEN = 48
BATCH = 512
UPDATES = 2500
"""Of each of the two rounds."""
LEARNING_RATES = 2e-2, 1e-2
SEED = 7

HELD = dict.fromkeys(("shade", "width", "height", "reach", "contrast", "saturation", "hue"), 40.0)
"""The weights of the attributes that stay while another one moves, in vᵀPv per squared standard deviation. These are
also the ones whose change is reported."""
HELD_LESS = {"fullness": 20.0, "balance": 20.0, "texture": 10.0, "symmetry": 3.0, "arch": 3.0}
"""The weights of those that no picture can keep: a longer sleeve fills the box more."""
RADIUS = 30.0
EVIDENCE = 30.0
MOST_EVIDENCE, EVIDENCE_UNIT = 8.0, 4.0
"""The evidence for a class is log p(class|z) − log p(other|z) in nats, cut at ±8 and divided by 4."""

TRIAL = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
"""The positions of a trial, in standard deviations."""
LIMITS = {"reached": 0.6, "others": 1.4, "kept": 0.5, "monotone": 0.85}
"""The limits for shade, width, height and attributes with a plain name. In a class, such an attribute becomes a
direction if `others` is at most this value, and its other measured effects are at least these."""
LIMITS_OF_OTHERS = {"reached": 0.75, "others": 1.0, "kept": 0.75, "monotone": 0.95}
"""The limits for all other attributes. Most users need these less, and too many sliders would hide the good ones."""
ALWAYS = ("shade", "width", "height")
"""Attributes that every model has a direction for: if no class is good enough, then in the class that is the best."""
LEAST_VARIATION = 0.25
"""An attribute that varies within a class less than this share of its deviation over all pictures has none there."""

PLAIN_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "Fashion-MNIST": {
        "sleeve length": ("reach", "T-shirt/top", "Pullover", "Dress", "Coat", "Shirt"),
        "trouser width": ("width", "Trouser"),
        "shaft height": ("height", "Ankle boot"),
        "heel height": ("arch", "Sandal", "Sneaker", "Ankle boot"),
        "pattern": ("contrast", "T-shirt/top", "Pullover", "Dress", "Coat", "Shirt", "Bag"),
    }
}
"""Names that people use, by the name of the data set: the attribute, and the classes in which it is called so."""


def find_directions(
    decode: Decode,
    prior: FittedPrior,
    channels: int,
    background: tuple[float, ...] = (0.0,),
    data: str = "",
    class_names: Sequence[str] = (),
) -> Directions:
    """Finds the directions of a decoder.

    Args:
        decode: makes mean pictures.
        prior: the fitted prior, whose latents are decoded.
        channels: 1 for grey pictures, 3 for colour.
        background: the colour of the pictures' ground.
        data: the name of the data set, for the plain names of its attributes.
        class_names: the names of its classes.
    """
    plain = {
        (attribute, class_names.index(label)): name
        for name, (attribute, *labels) in PLAIN_NAMES.get(data, {}).items() for label in labels if label in class_names
    }
    search = _Search(decode, prior, attribute_names(channels), background, frozenset(plain))
    field = search.field()
    found: dict[tuple[str, str], list[Effect]] = {}
    for attribute, effect in search.effects(field):
        name = attribute if effect.label is None else plain.get((attribute, effect.label), attribute)
        found.setdefault((name, attribute), []).append(effect)
    order = list(field.attributes)
    listed = sorted(found.items(), key=lambda item: (order.index(item[0][1]), item[0][0] != item[0][1]))
    return Directions(tuple(Direction(name, attribute, tuple(effects)) for (name, attribute), effects in listed), field)


class _Search:
    """The latents and their pictures' attributes, from which a field is trained."""

    def __init__(
        self, decode: Decode, prior: FittedPrior, names: tuple[str, ...], background: tuple[float, ...],
        plain: frozenset[tuple[str, int]],
    ) -> None:
        self.decode, self.prior, self.names, self.background, self.plain = decode, prior, names, background, plain
        self.groups = prior.classes if 1 < prior.classes <= MOST_GROUPS else 1

    def draw(self, seed: int, count: int, temperature: float = 1.0) -> tuple[Doubles, NDArray[np.int64]]:
        """Draws `count` latents, equally many of each class, and their classes."""
        each = -(-count // self.groups)
        drawn = [
            self.prior.latents(seed, 0, each, ANY_CLASS if self.groups == 1 else label, temperature)[0]
            for label in range(self.groups)
        ]
        return np.concatenate(drawn).astype(np.float64), np.repeat(np.arange(self.groups), each)

    def attributes(self, latents: Doubles) -> Doubles:
        """Measures the pictures of latents, in parts that do not fill the memory."""
        parts = np.array_split(latents.astype(np.float32), -(-len(latents) // BATCH))
        return np.concatenate([measure(self.decode(part), self.background) for part in parts])

    def evidence(self, latents: Doubles) -> Doubles:
        """The prior's evidence for each class, [n, groups], as `MOST_EVIDENCE` defines it; 0 for a single class."""
        if self.groups == 1:
            return np.zeros((len(latents), 1))
        joint = np.stack([self.prior.log_density(latents, label) for label in range(self.groups)], 1)
        joint += np.log(np.maximum(np.diff(self.prior.class_thresholds, prepend=0), 1))
        joint -= joint.max(1, keepdims=True)
        share = np.exp(joint)
        others = np.maximum(share.sum(1, keepdims=True) - share, 1e-12)
        evidence: Doubles = np.clip(joint - np.log(others), -MOST_EVIDENCE, MOST_EVIDENCE) / EVIDENCE_UNIT
        return evidence

    def field(self) -> Field:
        """Trains a field on samples, and once more with latents that it has moved itself."""
        latents, labels = self.draw(1, SAMPLES)
        measured = self.attributes(latents)
        centre, scale = measured.mean(0), np.maximum(measured.std(0), 1e-6)
        standard = (measured - centre) / scale
        own = [labels == group for group in range(self.groups)]
        deviations = np.stack([np.maximum(standard[rows].std(0), 1e-3) for rows in own])
        averages = np.stack([standard[rows].mean(0) for rows in own])
        limits = np.stack([np.quantile(standard[rows], (0.01, 0.99), axis=0) for rows in own])
        limits = (limits - averages[:, None]) / deviations[:, None]
        covariances = [np.cov(latents[rows].T) + 1e-4 * np.eye(latents.shape[1]) for rows in own]
        self.scale = scale
        empty = Field(
            attributes=self.names,
            weights=(),
            holding=np.array([(HELD | HELD_LESS)[name] for name in self.names]),
            radius=RADIUS,
            evidence=EVIDENCE if self.groups > 1 else 0.0,
            middles=np.stack([latents[rows].mean(0) for rows in own]),
            precisions=np.stack([np.linalg.inv(np.atleast_2d(covariance)) for covariance in covariances]),
            averages=averages,
            deviations=deviations,
            lowest=limits[:, 0],
            highest=limits[:, 1],
        )
        wider, of_wider = self.draw(2, WIDER, WIDER_TEMPERATURE)
        latents, labels = np.concatenate([latents, wider]), np.concatenate([labels, of_wider])
        standard = np.concatenate([standard, (self.attributes(wider) - centre) / scale])
        with seeded(SEED):
            network = nn.Sequential(
                nn.Linear(latents.shape[1], HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(),
                nn.Linear(HIDDEN, len(self.names) + self.groups),
            )
            evidence = self.evidence(latents)
            field = _trained(network, empty, latents, standard, evidence, labels, LEARNING_RATES[0])
            walked, of_walked = self.walks(field)
            latents, labels = np.concatenate([latents, walked]), np.concatenate([labels, of_walked])
            standard = np.concatenate([standard, (self.attributes(walked) - centre) / scale])
            evidence = np.concatenate([evidence, self.evidence(walked)])
            return _trained(network, empty, latents, standard, evidence, labels, LEARNING_RATES[1])

    def walks(self, field: Field) -> tuple[Doubles, NDArray[np.int64]]:
        """Latents on the way along each attribute, and their classes."""
        latents, labels = self.draw(3, WALKS)
        moved, of_moved = [], []
        for attribute in range(len(self.names)):
            for position in WALKED:
                found = field.move(latents, labels, attribute, np.full(len(latents), position))
                near = np.abs(found).max(1) < FARTHEST
                moved.append(found[near])
                of_moved.append(labels[near])
        return np.concatenate(moved), np.concatenate(of_moved)

    def effects(self, field: Field) -> list[tuple[str, Effect]]:
        """Moves new latents along each attribute, and returns those that move well enough, with their effects."""
        latents, labels = self.draw(4, max(TRIED, FEWEST * self.groups))
        found = []
        for attribute, name in enumerate(self.names):
            moving = np.flatnonzero(field.deviations[:, attribute] >= LEAST_VARIATION)
            rows = np.isin(labels, moving)
            if not rows.any():
                continue
            z, of_z = latents[rows], labels[rows]
            ways = [field.move(z, of_z, attribute, np.full(len(z), position)) for position in TRIAL]
            measured = np.stack([self.attributes(way) for way in ways])  # [steps, n, attributes]
            read = [self.evidence(way).argmax(1) == of_z for way in (z, ways[0], ways[-1])]
            tried = []
            for group in moving:
                own = of_z == group
                standard = measured[:, own] / (field.deviations[group] * self.scale)
                tried.append(self._effect(field, attribute, int(group), standard, [one[own] for one in read]))
            good = [effect for effect in tried if self._is_good(name, effect)]
            if not good and name in ALWAYS:
                good = [max(tried, key=lambda effect: effect.reached - effect.others)]
            found += [(name, effect) for effect in good]
        return found

    def _is_good(self, name: str, effect: Effect) -> bool:
        """Whether an attribute does enough in a class to be a direction there."""
        limits = LIMITS if name in ALWAYS or (name, effect.label) in self.plain else LIMITS_OF_OTHERS
        kept = limits["kept"] if effect.kept is None else effect.kept
        return (
            effect.reached >= limits["reached"] and effect.others <= limits["others"] and kept >= limits["kept"]
            and effect.monotone >= limits["monotone"]
        )  # fmt: skip

    def _effect(
        self, field: Field, attribute: int, group: int, standard: Doubles, read: Sequence[NDArray[np.bool_]]
    ) -> Effect:
        """The effect of moving along one attribute in one class.

        Args:
            field: the field.
            attribute: the index of the attribute.
            group: the index of the class.
            standard: [steps, n, attributes], the pictures' attributes in standard deviations of the class.
            read: whether each latent is read as its class, before it moves and at both ends.
        """
        changes = standard[-1] - standard[0]
        held = [
            at for at, name in enumerate(self.names)
            if at != attribute and name in HELD and field.deviations[group, at] >= LEAST_VARIATION
        ]
        others = np.abs(changes[:, held]) if held else np.zeros((len(changes), 1))
        most = held[int(np.median(others, 0).argmax())] if held else attribute
        at_first, *at_ends = read
        ranks = standard[:, :, attribute].argsort(0).argsort(0)  # [steps, n]
        steps = np.arange(len(standard))
        labelled = self.groups > 1
        return Effect(
            label=group if labelled else None,
            reached=_rounded(np.median(changes[:, attribute]) / (TRIAL[-1] - TRIAL[0])),
            others=_rounded(np.median(others.max(1))),
            moved_most=self.names[most],
            kept=_rounded(np.mean([end[at_first].mean() for end in at_ends])) if labelled and at_first.any() else None,
            monotone=_rounded(np.median([np.corrcoef(row, steps)[0, 1] for row in ranks.T])),
        )


def _trained(
    network: nn.Sequential, field: Field, latents: Doubles, standard: Doubles, evidence: Doubles,
    labels: NDArray[np.int64], learning_rate: float,
) -> Field:
    """Trains the network on, and returns the field with its weights.

    An error counts in standard deviations of the attribute within the class, and at most three of them: in a class
    whose pictures all have the same height, one picture with another height says nothing.
    """
    unit = np.concatenate([1 / np.maximum(field.deviations, LOWEST_SHARE)[labels], np.full_like(evidence, 0.5)], 1)
    goals = torch.from_numpy(np.concatenate([standard, evidence], 1).astype(np.float32))
    inputs, scale = torch.from_numpy(latents.astype(np.float32)), torch.from_numpy(unit.astype(np.float32))
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, UPDATES, pct_start=0.1)
    for _ in range(UPDATES):
        rows = torch.randint(len(inputs), (BATCH,))
        error = ((network(inputs[rows]) - goals[rows]) * scale[rows]).clamp(-3, 3)
        loss = error.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return replace(field, weights=tuple(value.detach().numpy().astype(np.float64) for value in network.parameters()))


def _rounded(value: float) -> float:
    return round(float(value), 3)
