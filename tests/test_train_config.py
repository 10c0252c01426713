"""Settings: strict both ways, and refused early."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_gen import UsageError
from vae_train.config import ModelConfig, TrainConfig

MODELS = st.builds(
    ModelConfig,
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 70),
    width=st.integers(8, 70),
    latent_dim=st.integers(1, 64),
    encoder_channels=st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple),
)
CONFIGS = st.builds(
    TrainConfig,
    model=MODELS,
    epochs=st.integers(1, 10**6),
    batch_size=st.integers(1, 10**6),
    learning_rate=st.floats(1e-300, 1e300),
    beta=st.floats(0, 1e300),
    seed=st.integers(0, 2**63 - 1),
    full=st.booleans(),
    device=st.sampled_from(["auto", "cpu", "cuda", "mps"]),
    precision=st.sampled_from(["32", "bf16"]),
    threads=st.none() | st.integers(1, 512),
)


@given(CONFIGS)
def test_settings_survive_json(config: TrainConfig) -> None:
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@given(st.text(max_size=40).filter(lambda key: key.isprintable() and key not in TrainConfig().to_json()))
def test_an_unknown_key_is_named(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig.from_json({key: 1})
    assert str(caught.value).endswith(str(UsageError(f", got {key}"))[-190:])


def test_an_unknown_key_of_the_model_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig.from_json({"model": {"colour": True}})
    assert str(caught.value) == (
        "expected one of the settings channels, height, width, latent_dim, encoder_channels, kernel_size, stride, "
        "padding, residual_blocks, encoder_hidden, decoder_hidden, last_kernel, refinement_steps, likelihood, got "
        "colour"
    )


def test_settings_that_are_left_out_take_their_defaults() -> None:
    assert TrainConfig.from_json({}) == TrainConfig()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "expected settings as a JSON object, got []"),
        ({"epochs": 0}, "expected epochs of at least 1, got 0"),
        ({"epochs": 1.5}, "expected epochs as a whole number, got 1.5"),
        ({"epochs": True}, "expected epochs as a whole number, got True"),
        ({"full": 1}, "expected full as true or false, got 1"),
        ({"learning_rate": "fast"}, "expected learning_rate as a number, got 'fast'"),
        ({"learning_rate": 0}, "expected a learning rate above 0, got 0"),
        ({"learning_rate": float("nan")}, "expected a learning rate above 0, got nan"),
        ({"beta": -1}, "expected a beta of 0 or more, got -1"),
        ({"seed": -1}, "expected a seed from 0 to 2^63-1 (9223372036854775807), got -1"),
        ({"seed": 2**63}, "expected a seed from 0 to 2^63-1 (9223372036854775807), got 9223372036854775808"),
        ({"device": "tpu"}, "expected device as one of auto, cpu, cuda, mps, got 'tpu'"),
        ({"precision": 32}, "expected precision as one of 32, bf16, got 32"),
        ({"threads": 0}, "expected threads of at least 1, got 0"),
        ({"threads": "two"}, "expected threads as a whole number or null, got 'two'"),
        ({"model": {"latent_dim": 0}}, "expected latent_dim of at least 1, got 0"),
        ({"model": {"channels": 2}}, "expected 1 channel (grey) or 3 (colour), got 2"),
        ({"model": {"encoder_channels": []}}, "expected encoder_channels with at least one number, got none"),
        ({"model": {"encoder_channels": [32, "64"]}},
         "expected encoder_channels as a list of whole numbers, got [32, '64']"),
        ({"model": {"height": 3}},
         "expected an image that 2 convolutions can shrink, got 3 by 28 pixels; "
         "use fewer encoder_channels or larger images"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings: object, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig.from_json(settings)
    assert str(caught.value) == message


def test_the_reference_network_halves_the_image_twice() -> None:
    assert ModelConfig().feature_sizes == ((28, 28), (14, 14), (7, 7))
