"""Schedules, averages, weight decay and presets: what a recipe may change, and that a stopped run keeps to it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from test_train_resume import StopAt, contents
from tiny_training import CONFIG, tiny_data
from vae_gen import UsageError
from vae_train.checkpoint import TrainingState
from vae_train.config import PRESETS, TrainConfig
from vae_train.model import new_vae
from vae_train.objective import charged_kl
from vae_train.train_command import with_options
from vae_train.training import kl_weight, learning_rate, train

DATA = tiny_data()
RICH = dataclasses.replace(
    CONFIG,
    model=dataclasses.replace(
        CONFIG.model, residual_blocks=(1, 1), encoder_hidden=8, decoder_hidden=7, refinement_steps=2
    ),
    schedule="cosine",
    warmup_steps=4,
    weight_decay=0.1,
    average=0.9,
    kl_warmup_epochs=1,
    free_nats=0.05,
)


def test_a_run_with_everything_stopped_and_resumed_equals_an_unbroken_one(tmp_path: Path) -> None:
    train(RICH, DATA, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        train(RICH, DATA, tmp_path / "run", reporter=StopAt(2, 6))
    train(RICH, DATA, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == contents(tmp_path / "unbroken")


def test_the_weights_of_a_run_with_an_average_are_the_average(tmp_path: Path) -> None:
    train(RICH, DATA, tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    weights = safetensors.torch.load_file(tmp_path / "run" / "weights.safetensors")
    for name, weight in weights.items():
        assert torch.equal(weight, saved["average"][f"module.{name}"])
    assert any(not torch.equal(weight, saved["model"][name]) for name, weight in weights.items())


def test_the_running_mean_forgets_its_first_weights_faster_than_its_decay_says() -> None:
    state = TrainingState.new(dataclasses.replace(RICH, average=0.99), torch.device("cpu"))
    assert state.average is not None
    bias = state.vae.decoder.linear.bias
    means, expected = [], torch.zeros(())
    for step in range(6):
        with torch.no_grad():
            bias.fill_(float(step))
        state.average.update_parameters(state.vae)
        decay = min(0.99, (2 + step) / (11 + step))
        expected = torch.tensor(0.0) if step == 0 else decay * expected + (1 - decay) * step
        means.append((float(state.result.decoder.linear.bias.detach()[0]), float(expected)))
    for found, wanted in means:
        assert found == pytest.approx(wanted, abs=1e-5)


def test_weight_decay_shrinks_weights_and_leaves_biases() -> None:
    state = TrainingState.new(dataclasses.replace(RICH, learning_rate=0.1), torch.device("cpu"))
    for parameter in state.vae.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: value.detach().clone() for name, value in state.vae.named_parameters()}
    state.optimizer.step()
    for name, value in state.vae.named_parameters():
        torch.testing.assert_close(value, before[name] * (1 if name.endswith("bias") else 1 - 0.1 * 0.1))


@given(steps=st.integers(1, 50), epochs=st.integers(1, 20), warmup=st.integers(0, 30))
def test_the_cosine_rises_falls_and_stays_within_its_bounds(steps: int, epochs: int, warmup: int) -> None:
    config = TrainConfig(epochs=epochs, schedule="cosine", warmup_steps=warmup, learning_rate=0.3)
    rates = [learning_rate(config, step, steps) for step in range(steps * epochs)]
    assert all(0 < rate <= 0.3 for rate in rates)
    after = rates[warmup:]
    assert after == sorted(after, reverse=True)
    middle = steps * epochs / 2
    if middle.is_integer() and middle >= warmup:
        assert rates[int(middle)] == pytest.approx(0.15)


def test_the_constant_schedule_is_constant_once_it_is_warm() -> None:
    config = TrainConfig(learning_rate=0.2, warmup_steps=3)
    rates = [learning_rate(config, step, 5) for step in range(6)]
    assert rates == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2])
    assert learning_rate(TrainConfig(), 0, 5) == 1e-3


def test_the_kls_weight_rises_from_nothing_to_beta() -> None:
    config = TrainConfig(beta=0.5, kl_warmup_epochs=2)
    assert [kl_weight(config, step, 2) for step in range(6)] == [0, 0.125, 0.25, 0.375, 0.5, 0.5]
    assert kl_weight(TrainConfig(beta=0.5), 0, 2) == 0.5


def test_a_dimension_below_its_free_nats_is_not_pulled_to_the_prior() -> None:
    per_dimension = torch.tensor([0.1, 0.25, 2.0], requires_grad=True)
    charged = charged_kl(per_dimension, 0.2)
    assert charged.item() == pytest.approx(0.2 + 0.25 + 2)
    (gradient,) = torch.autograd.grad(charged, per_dimension)
    assert gradient.tolist() == [0, 1, 1]
    assert charged_kl(per_dimension, 0).item() == pytest.approx(2.35)


def test_metrics_say_the_learning_rate_that_an_epoch_ended_with(tmp_path: Path) -> None:
    run = train(RICH, DATA, tmp_path / "run")
    steps = math.ceil(160 / 16)
    assert [line["learning_rate"] for line in run.metrics] == [
        learning_rate(RICH, epoch * steps - 1, steps) for epoch in (1, 2)
    ]


def test_a_falling_learning_rate_cannot_be_extended(tmp_path: Path) -> None:
    train(dataclasses.replace(RICH, epochs=1), DATA, tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(UsageError, match=r"expected --epochs 1, over which this run's cosine learning rate falls to 0"):
        train(RICH, DATA, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("schedule", "linear", "expected schedule as one of constant, cosine"),
        ("warmup_steps", -1, "expected warmup_steps of at least 0"),
        ("kl_warmup_epochs", -1, "expected kl_warmup_epochs of at least 0"),
        ("free_nats", -0.1, "expected free_nats of 0 or more, got -0.1"),
        ("weight_decay", -0.1, "expected a weight decay from 0"),
        ("weight_decay", 1000.0, "expected a weight decay from 0"),
        ("average", 1.0, "expected an average's decay from 0 to below 1"),
        ("average", -0.5, "expected an average's decay from 0 to below 1"),
        ("residual_blocks", [1], "expected residual_blocks for each of 2 encoder_channels"),
        ("residual_blocks", [1, -1], "expected residual_blocks of at least 0"),
        ("encoder_hidden", -1, "expected encoder_hidden of at least 0"),
        ("refinement_steps", -1, "expected refinement_steps of at least 0"),
    ],
)
def test_settings_out_of_their_range_are_refused(setting: str, value: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_options(TrainConfig(), {setting: value})
    assert said in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_its_json(name: str) -> None:
    preset = PRESETS[name]
    assert TrainConfig.from_json(json.loads(json.dumps(preset.to_json()))) == preset


def test_the_flagships_decoder_stays_small() -> None:
    decoder = new_vae(PRESETS["flagship"].model, 0).decoder
    products = 0

    def count(layer: torch.nn.Module, entered: tuple[torch.Tensor], left: torch.Tensor) -> None:
        nonlocal products
        match layer:
            case torch.nn.Linear():
                products += layer.weight.numel()
            case torch.nn.Conv2d():
                products += left[0].numel() * layer.weight[0].numel()
            case torch.nn.ConvTranspose2d():
                products += entered[0][0].numel() * layer.weight[0].numel()

    for layer in decoder.modules():
        layer.register_forward_hook(count)
    decoder(torch.zeros(1, PRESETS["flagship"].model.latent_dim))
    assert 5e6 < products <= 20e6
    assert sum(weight.numel() for weight in decoder.parameters()) * 4 <= 4e6
