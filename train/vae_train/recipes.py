"""The recipe for an image set: a preset's settings with the network, the latent and the steps that suit the set."""

from __future__ import annotations

from dataclasses import replace

from .config import PRESETS, TrainConfig
from .images.loading import Loaded

STEPS = {"reference": 10_000, "flagship": 20_000}
"""Steps of the presets whose recipe for Fashion-MNIST counts epochs: 250 images would be trained on for 60 steps."""
BATCH = 64
MOST_VALIDATION, VALIDATION_SHARE = 5000, 10
"""One of ten training images is held out, and at most so many."""
MARGIN = 1.15
"""What a run takes over its steps: figures, pictures and checkpoints, measured at 28 to 64 pixels."""


def recipe_for(preset: str, loaded: Loaded) -> TrainConfig:
    """The settings to train on an image set with.

    Args:
        preset: reference, quick or flagship.
        loaded: the set, with the decisions that were made for it.
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
        residual_blocks=(1,) * (len(convolutions) - 1) + (blocks[-1],) if blocks else (),
        refinement_steps=0 if gaussian else base.model.refinement_steps,
        likelihood="gaussian" if gaussian else "bernoulli",
    )
    held_out = max(1, min(MOST_VALIDATION, len(loaded.images.train_images) // VALIDATION_SHARE))
    return replace(
        base,
        model=model,
        steps=base.steps or STEPS[preset],
        batch_size=BATCH,
        kl_warmup_epochs=min(base.kl_warmup_epochs, 2),
        validation_images=held_out,
    )


def steps_in(minutes: float, seconds_a_step: float) -> int:
    """How many steps a run of so many minutes has, at least 100."""
    return max(100, int(minutes * 60 / (seconds_a_step * MARGIN)))


def minutes_of(steps: int, seconds_a_step: float) -> float:
    """How many minutes a run of so many steps takes."""
    return steps * seconds_a_step * MARGIN / 60
