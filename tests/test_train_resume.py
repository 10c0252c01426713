"""A run that was stopped anywhere and resumed is the run that was never stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tiny_training import CONFIG, tiny_data
from vae_gen import DivergedError, InputError, UsageError
from vae_train import devices
from vae_train.progress import Reporter
from vae_train.run_folder import load_run
from vae_train.training import train

KILLER = Path(__file__).with_name("train_killer.py")
DATA = tiny_data()


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run that its settings and data decide."""
    undecided = {"timing.json", "checkpoint.pt"}  # both hold seconds
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in undecided)
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def killed_run(path: Path, seed: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, str(KILLER), str(path), seed], capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    kills: list[str] = json.loads(result.stdout)
    return kills


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unbroken") / "run"
    train(CONFIG, DATA, path)
    return path


class StopAt(Reporter):
    """Ctrl-C once a certain step of a certain epoch is done."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = (epoch, step)

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        if (epoch, step) == self.at:
            raise KeyboardInterrupt


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which this system does not have")
@pytest.mark.parametrize("seed", ["0", *(pytest.param(seed, marks=pytest.mark.slow) for seed in ("1", "2"))])
def test_a_run_killed_at_any_moment_and_resumed_equals_an_unbroken_one(
    seed: str, unbroken: Path, tmp_path: Path
) -> None:
    kills = killed_run(tmp_path / "run", seed)
    assert len(kills) >= 10
    assert {"step", "write", "before rename", "after rename"} == set(kills)
    assert {**contents(tmp_path / "run"), "curves.png": b""} == {**contents(unbroken), "curves.png": b""}


def test_an_interrupted_run_goes_on_from_its_last_checkpoint(unbroken: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, DATA, tmp_path / "run", reporter=StopAt(2, 10))
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert (saved["epoch"], saved["step"]) == (1, 9)
    train(CONFIG, DATA, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == contents(unbroken)


def test_a_run_that_is_extended_equals_one_that_was_longer_from_the_start(unbroken: Path, tmp_path: Path) -> None:
    train(dataclasses.replace(CONFIG, epochs=1), DATA, tmp_path / "run")
    train(CONFIG, DATA, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == contents(unbroken)


def test_the_state_of_pytorchs_own_generator_changes_nothing(unbroken: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(99)
        train(CONFIG, DATA, tmp_path / "run")
    assert contents(tmp_path / "run") == contents(unbroken)


def test_another_seed_gives_another_run(unbroken: Path, tmp_path: Path) -> None:
    run = train(dataclasses.replace(CONFIG, epochs=1, seed=2**32), DATA, tmp_path / "run")
    assert run.metrics[0]["train"] != load_run(unbroken).metrics[0]["train"]


def test_resuming_a_finished_run_says_so_and_changes_nothing(
    unbroken: Path, tmp_path: Path
) -> None:
    notes: list[str] = []

    class Notes(Reporter):
        def note(self, line: str) -> None:
            notes.append(line)

    before = contents(unbroken)
    train(CONFIG, DATA, unbroken, resume=True, reporter=Notes())
    assert notes[-1] == f"{unbroken} has its 2 epochs; train on with more --epochs and --resume"
    assert contents(unbroken) == before


def test_a_killed_evaluation_is_done_again(unbroken: Path) -> None:
    before = contents(unbroken)
    (unbroken / "evaluation.json").unlink()
    train(CONFIG, DATA, unbroken, resume=True)
    assert contents(unbroken) == before


@pytest.mark.parametrize(
    ("change", "option", "saved", "got"),
    [
        ({"batch_size": 32}, "--batch-size", "16", "32"),
        ({"learning_rate": 0.5}, "--lr", "0.001", "0.5"),
        ({"full": True}, "--full", "false", "true"),
        ({"epochs": 1}, "--epochs", "2", "1"),
        ({"threads": 2}, "--threads", "1", "2"),
        ({"model": dataclasses.replace(CONFIG.model, latent_dim=4)}, "--latent-dim", "3", "4"),
    ],
)
def test_resuming_with_other_settings_is_refused_with_both_values(
    change: dict[str, object], option: str, saved: str, got: str, unbroken: Path
) -> None:
    before = contents(unbroken)
    with pytest.raises(UsageError) as caught:
        train(dataclasses.replace(CONFIG, **change), DATA, unbroken, resume=True)
    assert str(caught.value) == (
        f"expected {option} {saved}, which the run was started with, got {got}; "
        "leave it out, or start another run with another --out"
    )
    assert contents(unbroken) == before


def test_a_run_folder_is_refused_without_resume(unbroken: Path) -> None:
    before = contents(unbroken)
    with pytest.raises(UsageError) as caught:
        train(CONFIG, DATA, unbroken)
    assert str(caught.value) == (
        f"expected a new folder, got {unbroken}, which exists; add --resume or choose another --out"
    )
    assert contents(unbroken) == before


def test_a_folder_that_is_no_run_is_refused_with_resume_too(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match=r"expected a run folder, found no readable config\.json"):
        train(CONFIG, DATA, tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    train(dataclasses.replace(CONFIG, epochs=1), DATA, tmp_path)
    assert (tmp_path / "weights.safetensors").exists()


def test_other_data_than_the_runs_own_is_refused(unbroken: Path) -> None:
    other = dataclasses.replace(DATA, sha256={"made-up": "1" * 64})
    with pytest.raises(InputError, match="expected the data that the run began with"):
        train(CONFIG, other, unbroken, resume=True)


def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, DATA, tmp_path / "run", reporter=StopAt(1, 10))
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError) as caught:
        train(CONFIG, DATA, tmp_path / "run", resume=True)
    assert str(caught.value).startswith(f"{checkpoint}: expected a checkpoint of this run, got ")
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_a_number_stops_with_step_and_reason_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(dataclasses.replace(CONFIG, epochs=1), DATA, tmp_path / "run")
    before = contents(tmp_path / "run")
    checkpoint = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    calls = 0
    real = devices.reconstruction_nats

    def poisoned(logits: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return real(logits, image) * (float("nan") if calls == 3 else 1)

    monkeypatch.setattr(devices, "reconstruction_nats", poisoned)
    with pytest.raises(DivergedError) as caught:
        train(CONFIG, DATA, tmp_path / "run", resume=True)
    assert str(caught.value).startswith(
        "expected finite losses, got one that is not at epoch 2, step 3: reconstruction nan, KL "
    )
    assert str(caught.value).endswith(
        "nats in its batch; the last checkpoint is kept; train another run with a lower --lr than 0.001"
    )
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == checkpoint
    changed = {name for name, content in contents(tmp_path / "run").items() if content != before.get(name)}
    assert changed == {"config.json"}


def test_a_weight_that_is_not_finite_never_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.optim.Adam.step
    calls = 0

    def poisoned(self: torch.optim.Adam) -> None:
        nonlocal calls
        calls += 1
        real(self)
        if calls == 10:  # the last step of the first epoch, whose own loss was finite
            with torch.no_grad():
                self.param_groups[0]["params"][0].view(-1)[0] = float("inf")

    monkeypatch.setattr(torch.optim.Adam, "step", poisoned)
    with pytest.raises(DivergedError, match=r"epoch 1, step 10: encoder\.convolutions\.0\.weight is no longer finite"):
        train(CONFIG, DATA, tmp_path / "run")
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 9
