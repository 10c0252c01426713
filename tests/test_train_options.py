"""Options of the commands reach their settings, and presets are what the shipped models were made with."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiny_training import CONFIG, tiny_data
from vae_gen import find_model
from vae_train import detail_command, eval_command, train_command
from vae_train.config import PRESETS, DetailConfig, ModelConfig, TrainConfig
from vae_train.evaluation import evaluate_torch
from vae_train.model import new_vae
from vae_train.recipes import imitator
from vae_train.run_folder import load_run, write_weights
from vae_train.training import train

DATA = tiny_data()


def call(monkeypatch: pytest.MonkeyPatch, command: Any, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    code: int = command.main()
    return code


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The settings that commands would have trained with."""
    seen: list[Any] = []

    def record(config: Any, *_: object, **__: object) -> None:
        seen.append(config)

    monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: DATA)
    monkeypatch.setattr("vae_train.training.train", record)
    monkeypatch.setattr("vae_train.detail.training.train_detail", record)
    monkeypatch.chdir(tmp_path)
    return seen


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (["--full"], {"full": True}),
        (["--epochs", "3"], {"epochs": 3}),
        (["--batch-size", "17"], {"batch_size": 17}),
        (["--lr", "0.005"], {"learning_rate": 0.005}),
        (["--latent-dim", "5"], {"model": ModelConfig(latent_dim=5)}),
        (["--beta", "0"], {"beta": 0.0}),
        (["--seed", "9007199254740993"], {"seed": 2**53 + 1}),
        (["--device", "cpu"], {"device": "cpu"}),
        (["--precision", "bf16"], {"precision": "bf16"}),
        (["--compile"], {"compile": True}),
        (["--threads", "2"], {"threads": 2}),
    ],
)
def test_an_option_of_training_is_a_setting_of_any_preset(
    options: list[str], changes: dict[str, Any], settings: list[TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, train_command, *options) == 0
    assert call(monkeypatch, train_command, *options, "--preset", "flagship") == 0
    if "model" in changes:
        flagship = replace(PRESETS["flagship"].model, latent_dim=5)
        assert settings == [TrainConfig(**changes), replace(PRESETS["flagship"], model=flagship)]
    else:
        assert settings == [TrainConfig(**changes), replace(PRESETS["flagship"], **changes)]


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (["--epochs", "3"], {"epochs": 3}),
        (["--batch-size", "17"], {"batch_size": 17}),
        (["--lr", "0.005"], {"learning_rate": 0.005}),
        (["--seed", "9007199254740993"], {"seed": 2**53 + 1}),
        (["--device", "cpu"], {"device": "cpu"}),
        (["--precision", "bf16"], {"precision": "bf16"}),
        (["--threads", "2"], {"threads": 2}),
    ],
)
def test_an_option_of_the_detail_stage_is_a_setting(
    options: list[str], changes: dict[str, Any], settings: list[DetailConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_train.run_folder.load_run", lambda path: SimpleNamespace(record={}, config=TrainConfig()))
    assert call(monkeypatch, detail_command, "run", *options) == 0
    assert settings == [DetailConfig(**changes)]


@pytest.mark.parametrize(
    ("preset", "model"), [("flagship", "fashion-mnist-12d"), ("reference", "fashion-mnist-12d-reference")]
)
def test_a_preset_and_the_detail_stages_defaults_are_what_the_shipped_model_was_trained_with(
    preset: str, model: str
) -> None:
    training = json.loads((find_model(model) / "manifest.json").read_text())["training"]
    recipe = TrainConfig.from_json(training["recipe"])
    own = {name: getattr(recipe, name) for name in ("seed", "full", "device", "precision", "compile", "threads")}
    assert replace(PRESETS[preset], **own) == recipe
    if "detail" in training:
        stage = DetailConfig.from_json(training["detail"]["recipe"])
        own = {name: getattr(stage, name) for name in ("seed", "device", "precision", "threads")}
        assert replace(imitator(DetailConfig(), DetailConfig()), **own) == stage


@pytest.mark.parametrize("name", ["last", "best"])
def test_an_evaluation_is_of_the_weights_that_were_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: DATA)
    monkeypatch.setattr("vae_train.training.curves", lambda _: b"")  # drawing them takes longer than training
    train(replace(CONFIG, epochs=1), DATA, tmp_path / "run")
    vae = new_vae(CONFIG.model, 99)
    write_weights(tmp_path / "run" / {"last": "weights.safetensors", "best": "best.safetensors"}[name], vae)
    assert call(monkeypatch, eval_command, str(tmp_path / "run"), "--weights", name, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    expected = evaluate_torch(vae.requires_grad_(False), DATA.test_images.numpy()).to_json()
    assert figures["weights"] == name
    assert figures["weights_sha256"] == load_run(tmp_path / "run", name).weights_sha256  # type: ignore[arg-type]
    for key, value in expected.items():
        for have, wanted in zip(*map(_numbers, (figures[key], value)), strict=True):
            assert have == (None if wanted is None else pytest.approx(wanted, rel=1e-5))


def _numbers(value: Any) -> list[Any]:
    """The numbers of a figure, one after the other, however deep they lie."""
    if isinstance(value, dict | list | tuple):
        inner = value.values() if isinstance(value, dict) else value
        return [number for entry in inner for number in _numbers(entry)]
    return [value]
