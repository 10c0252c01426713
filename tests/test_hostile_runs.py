"""Run folders from a stranger: special files, huge networks, and checkpoints that no training wrote."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tiny_training import CONFIG, tiny_data
from vae_gen import InputError, UsageError
from vae_train.config import DetailConfig, ModelConfig
from vae_train.run_folder import load_run
from vae_train.training import train

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices of POSIX")
DATA = tiny_data()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    train(CONFIG, DATA, path)
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, which a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@posix
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "weights.safetensors"])
@pytest.mark.parametrize("what", ["pipe", "endless"])
def test_special_files_are_refused(run: Path, name: str, what: str) -> None:
    (run / name).unlink()
    if what == "pipe":
        os.mkfifo(run / name)
    else:
        (run / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="a pipe or a device"):
        load_run(run)


@posix
def test_a_checkpoint_that_is_a_pipe_is_refused(run: Path) -> None:
    (run / "checkpoint.pt").unlink()
    os.mkfifo(run / "checkpoint.pt")
    with pytest.raises(InputError, match="a pipe or a device"):
        train(CONFIG, DATA, run, resume=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"latent_dim": 10**9}, {"encoder_channels": [10**6, 10**6]}, {"residual_blocks": [10**6, 10**6]},
        {"encoder_channels": [4000] * 4, "height": 512, "width": 512}, {"height": 10**9, "stride": 10**9},
        {"refinement_steps": 10**9}, {"decoder_hidden": 10**9}, {"kernel_size": 10**9, "padding": 10**9},
        {"encoder_channels": [1] * 5000, "stride": 1, "kernel_size": 1, "padding": 0},
    ],
)  # fmt: skip
def test_a_network_that_is_too_large_is_refused_before_it_is_made(run: Path, settings: dict[str, Any]) -> None:
    document = json.loads((run / "config.json").read_text())
    document["settings"]["model"] |= settings
    (run / "config.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="config.json: expected"):
        load_run(run)


@pytest.mark.parametrize(
    "settings", [{"hidden": 10**9}, {"noise_dim": 10**9}, {"channels": (4000,) * 3}, {"residual_blocks": (10**6, 1, 1)}]
)
def test_a_detail_stage_that_is_too_large_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="at most"):
        DetailConfig(**settings)


def test_ordinary_networks_are_far_below_the_limit() -> None:
    large = ModelConfig(channels=3, height=128, width=128, latent_dim=64, encoder_channels=(32, 64, 128, 256),
                        residual_blocks=(2, 2, 2, 2))  # fmt: skip
    assert large._weights() < 2**27


@pytest.mark.parametrize("key", ["data", "versions"])
@pytest.mark.parametrize("value", [None, [], 5])
def test_a_record_of_another_type_is_one_plain_error(run: Path, key: str, value: Any) -> None:
    document = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(document | {key: value}))
    with pytest.raises(InputError, match=f"config.json: {key}: expected an object"):
        train(CONFIG, DATA, run, resume=True)


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_json_that_is_nested_deeply_is_one_plain_error(run: Path, name: str) -> None:
    (run / name).write_text("[" * 500_000)
    with pytest.raises(InputError, match="expected JSON"):
        load_run(run)


@pytest.mark.parametrize("key", ["data", "versions"])
def test_a_record_without_a_part_is_one_plain_error(run: Path, key: str) -> None:
    document = json.loads((run / "config.json").read_text())
    del document[key]
    (run / "config.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=f"config.json: {key} is missing"):
        load_run(run)


@pytest.mark.parametrize("what", ["nan", "int8", "float64"])
def test_weights_of_another_type_or_without_numbers_are_refused(run: Path, what: str) -> None:
    weights = safetensors.torch.load_file(run / "weights.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] * float("nan") if what == "nan" else weights[name].to(getattr(torch, what))
    safetensors.torch.save_file(weights, run / "weights.safetensors")
    reason = "with values that are not finite" if what == "nan" else f"as torch.{what}, where torch.float32 is right"
    with pytest.raises(InputError, match=f"got {name} {reason}"):
        load_run(run)


CHECKPOINTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "epoch": lambda saved: saved.update(epoch="a"),
    "negative epoch": lambda saved: saved.update(epoch=-5),
    "epoch of 10^9": lambda saved: saved.update(epoch=10**9),
    "step": lambda saved: saved.update(step=10**9),
    "history": lambda saved: saved.update(history=5),
    "best": lambda saved: saved.update(best="x"),
    "seconds": lambda saved: saved.update(seconds="x"),
    "order": lambda saved: saved.update(order=torch.tensor([10**6], dtype=torch.int32)),
    "negative order": lambda saved: saved.update(order=torch.tensor([-1], dtype=torch.int32)),
    "a figure": lambda saved: saved["history"][0]["train"].update(kl="x"),
    "a figure that is missing": lambda saved: saved["history"][0]["validation"].pop("psnr_db"),
    "an epoch's number": lambda saved: saved["history"][1].update(epoch=7),
    "seconds of an epoch": lambda saved: saved.update(seconds_in_epoch=[1]),
    "optimizer": lambda saved: saved["optimizer"]["state"][0].update(exp_avg=torch.zeros(1)),
    "optimizer of other weights": lambda saved: saved["optimizer"]["state"].pop(0),
    "optimizer without numbers": lambda saved: saved["optimizer"]["state"][1]["exp_avg_sq"].fill_(float("nan")),
    "learning rate": lambda saved: saved["optimizer"]["param_groups"][0].update(lr=1e30),
    "decay rates": lambda saved: saved["optimizer"]["param_groups"][0].update(betas=(5.0, 7.0)),
    "model without numbers": lambda saved: next(iter(saved["model"].values())).fill_(float("nan")),
    "model of another type": lambda saved: saved["model"].update(
        {name: values.double() for name, values in saved["model"].items()}
    ),
    "model": lambda saved: saved.update(model=[1]),
    "nothing": lambda saved: saved.clear(),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_checkpoint_that_no_training_wrote_is_one_plain_error(run: Path, case: str) -> None:
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    CHECKPOINTS[case](saved)
    torch.save(saved, run / "checkpoint.pt")
    with pytest.raises(InputError, match="checkpoint.pt: expected"):
        train(CONFIG, DATA, run, resume=True)
