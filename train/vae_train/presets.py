"""The recipes that have a name. bench/quality.md says what each of the flagship's settings gained."""

from __future__ import annotations

from .config import ModelConfig, TrainConfig

PRESETS = {
    "reference": TrainConfig(),
    "flagship": TrainConfig(
        model=ModelConfig(
            residual_blocks=(1, 3),
            encoder_hidden=128,
            decoder_hidden=192,
            refinement_steps=4,
        ),
        epochs=50,
        learning_rate=2e-3,
        schedule="cosine",
        warmup_steps=500,
        weight_decay=0.03,
        average=0.999,
        kl_warmup_epochs=5,
        free_nats=0.25,
    ),
}
