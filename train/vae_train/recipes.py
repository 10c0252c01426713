"""The recipe for an image set: a preset's settings with the network, the latent and the steps that suit the set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .config import PRESETS, DetailConfig, ModelConfig, TrainConfig
from .images.loading import Loaded

STEPS = {"reference": 10_000, "flagship": 20_000}
"""Steps of the presets whose recipe for Fashion-MNIST counts epochs: 250 images would be trained on for 60 steps."""
BATCH = 64
MOST_VALIDATION, VALIDATION_SHARE = 5000, 10
"""One of ten training images is held out, and at most so many."""
DETAIL_SHAPE = {
    "channels": (8, 8, 24, 48, 64),
    "residual_blocks": (0, 0, 1, 1, 2),
    "critic_channels": (8, 16, 32, 64, 128),
}
"""The detail stage's feature maps from 128 pixels down to 8, for networks of other than two convolutions. A smaller
network takes the last of them. 64 pixels at full width would take four times as long as 28 pixels do."""
IMITATOR_SHAPE = {
    "channels": (0, 8, 16, 32, 64),
    "residual_blocks": (0, 1, 1, 1, 2),
    "block_widths": (0, 2, 2, 2, 4),
}
"""The feature maps of a decoder that imitates another one: it has none at the size of the picture, and a network with
fewer sizes takes the first and the last of the others. With 28 pixels it has 27 % of the multiplications."""
IMITATOR: dict[str, Any] = {
    "hidden": 160,
    "stretch": 0.008,
    "epochs": 86,
    "imitation_epochs": 14,
    "feature_matching": 0.5,
    "critic_learning_rate": 8e-4,
    "decay_from": 0.85,
    "average": 0.9995,
}
"""Further settings of its training."""
MOST_TOLD_CLASSES = 256
"""With more classes than this, the noise of the detail stage does not carry the class, and only the latent does: each
class takes a number of the noise, and a table in latents.onnx has a row of all of them for each component."""
WEAVE = 32
"""Pixels of the longer side above which pictures show the weave of transposed convolutions, so that one at full size
follows them. At 64 pixels it takes 1.4 times as long for the same PSNR; at 32 pixels no weave is seen."""
MARGIN = 1.15
"""What a run takes over its steps: figures, pictures and checkpoints, measured at 28 to 64 pixels."""


def recipe_for(preset: str, loaded: Loaded, network: ModelConfig | None = None) -> TrainConfig:
    """The settings to train on an image set with.

    Args:
        preset: reference, quick or flagship.
        loaded: the set, with the decisions that were made for it.
        network: the network to train, if it is settled already; None makes one that suits the set.
    """
    base = PRESETS[preset]
    channels, height, width = loaded.images.shape
    convolutions = loaded.encoder_channels
    gaussian = channels == 3
    blocks = base.model.residual_blocks
    model = replace(
        base.model,
        channels=channels,
        height=height,
        width=width,
        latent_dim=loaded.latent_dim,
        encoder_channels=convolutions,
        last_kernel=3 if max(height, width) > WEAVE else 0,
        residual_blocks=(1,) * (len(convolutions) - 1) + (blocks[-1],) if blocks else (),
        refinement_steps=0 if gaussian else base.model.refinement_steps,
        likelihood="gaussian" if gaussian else "bernoulli",
    )
    held_out = max(1, min(MOST_VALIDATION, len(loaded.images.train_images) // VALIDATION_SHARE))
    return replace(
        base,
        model=network or model,
        steps=base.steps or STEPS[preset],
        batch_size=BATCH,
        kl_warmup_epochs=min(base.kl_warmup_epochs, 2),
        validation_images=held_out,
    )


def imitator(base: DetailConfig, teacher: DetailConfig) -> DetailConfig:
    """The settings of a small stage that imitates another one: those of `base`, with a smaller decoder."""
    sizes = len(base.channels)
    shape: dict[str, Any] = {name: (entries[0], *entries[1 - sizes :]) for name, entries in IMITATOR_SHAPE.items()}
    return replace(base, **shape, **IMITATOR, noise_dim=teacher.noise_dim, class_shift=teacher.class_shift)


def detail_recipe(config: TrainConfig, classes: int, base: DetailConfig) -> DetailConfig:
    """The settings of a detail stage for a run: those of `base`, adapted to the network, the classes and the steps.

    The stage has as many steps as the run; if the run counts epochs, the epochs of `base` stay.

    Args:
        config: the settings of the run.
        classes: the number of classes of its data set.
        base: the settings of a stage for a network of two convolutions and 32 classes.
    """
    sizes = len(config.model.feature_sizes)
    shape: dict[str, Any] = {}
    if sizes != len(base.channels):
        shape = {name: widths[-sizes:] for name, widths in DETAIL_SHAPE.items()}
    told = classes <= MOST_TOLD_CLASSES
    return replace(
        base,
        **shape,
        noise_dim=max(base.noise_dim, 4 * -(-classes // 4)) if told else base.noise_dim,
        class_shift=base.class_shift if told else 0.0,
        steps=config.steps,
    )


def steps_in(minutes: float, seconds_a_step: float) -> int:
    """How many steps a run of so many minutes has, at least 100."""
    return max(100, int(minutes * 60 / (seconds_a_step * MARGIN)))


def minutes_of(steps: int, seconds_a_step: float) -> float:
    """How many minutes a run of so many steps takes."""
    return steps * seconds_a_step * MARGIN / 60
