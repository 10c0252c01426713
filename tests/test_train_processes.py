"""Several processes train the run that one process trains, and end together with one line.

`train_many.py` is what each process runs; the tests of the command itself are in `test_train_processes_command.py`.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from test_train_resume import contents
from vae_gen import UsageError
from vae_train.config import TrainConfig
from vae_train.launching import check_division, launch, processes_to_start
from vae_train.processes import Division, Processes, sum_in_pairs
from vae_train.run_folder import alone_in

MANY = Path(__file__).with_name("train_many.py")
LAUNCHED = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]

# Training images: 160, so the last batch of an epoch has one image, and three of its four micro-batches are empty.
IN_PIECES = {"batch_size": 53, "micro_batches": 4, "checkpoint_steps": 2, "free_nats": 0.05, "flip": True}
GAUSSIAN = {"channels": 3, "likelihood": "gaussian"}
RICH = {"batch_size": 26, "free_nats": 0.05, "flip": True, "shift": 1, "average": 0.9, "model": GAUSSIAN}
DETAIL = {
    "channels": [4, 6, 6], "residual_blocks": [1, 0, 1], "critic_channels": [4, 6, 6], "hidden": 8, "critic_hidden": 8,
    "epochs": 2, "batch_size": 16, "micro_batches": 4, "threads": 1,
}  # fmt: skip


def train_many(path: Path, count: int, settings: dict[str, object], torchrun: bool = False) -> tuple[int, str]:
    """Trains with `train_many.py`; the exit code, and what was printed on standard error."""
    start = [*LAUNCHED, str(count), str(MANY)] if torchrun else [sys.executable, str(MANY), "--devices", str(count)]
    environment = {**os.environ, "PYTHONPATH": str(MANY.parent), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*start, str(path), json.dumps(settings)], env=environment, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    return result.returncode, result.stderr


Trained = Callable[[int, dict[str, object]], Path]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A function that returns the finished run of so many processes with these settings, trained once."""
    runs: dict[str, Path] = {}

    def of(count: int, settings: dict[str, object]) -> Path:
        name = json.dumps([count, settings])
        if name not in runs:
            runs[name] = tmp_path_factory.mktemp("many") / "run"
            assert train_many(runs[name], count, settings) == (0, "")
        return runs[name]

    return of


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load((run / "weights.safetensors").read_bytes())


def figures_of(run: Path) -> list[float]:
    """All figures of all epochs, in one list."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    each = [value for line in lines for part in ("train", "validation") for value in line[part].values()]
    return [number for value in each for number in (value if isinstance(value, list) else [value])]


# The pieces of a batch and their sums.


@pytest.mark.parametrize("pieces", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 53])
def test_the_processes_own_every_row_of_a_batch_once_and_in_order(pieces: int, count: int) -> None:
    for world in [number for number in range(1, pieces + 1) if pieces % number == 0]:
        divisions = [Division(Processes(rank, world), pieces, True) for rank in range(world)]
        rows = [own for division in divisions for own in division.own_rows(count)]
        assert [row for own in rows for row in range(count)[own]] == list(range(count))
        alone = Division(Processes(), pieces, True)
        assert rows == alone.own_rows(count)


def test_sums_in_pairs_are_the_same_to_the_bit_however_many_processes_made_them() -> None:
    parts = list(torch.randn(16, 1000, generator=torch.Generator().manual_seed(0)).unbind())
    alone = sum_in_pairs(parts)
    assert not torch.equal(alone, torch.stack(parts).sum(0))  # another order does give other digits
    for world in (2, 4, 8, 16):
        own = [parts[at : at + 16 // world] for at in range(0, 16, 16 // world)]
        assert torch.equal(sum_in_pairs([sum_in_pairs(part) for part in own]), alone)


# The same run on any number of processes.


@pytest.mark.slow
def test_two_processes_with_micro_batches_reach_the_files_of_one_to_the_bit(trained: Trained) -> None:
    one, two = trained(1, IN_PIECES), trained(2, IN_PIECES)
    assert contents(two) == contents(one)
    assert json.loads((two / "timing.json").read_text())["processes"] == 2


def test_a_killed_process_ends_all_with_one_line_and_another_number_goes_on_to_the_same_files(
    trained: Trained, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    code, printed = train_many(run, 2, {**IN_PIECES, "kill": [1, 6]})
    assert (code, printed) == (
        137,
        "train_many: process 1 of 2 was ended by SIGKILL; go on with the same command and --resume\n",
    )
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    assert (saved["epoch"], saved["step"]) == (1, 2)
    assert train_many(run, 1, IN_PIECES) == (0, "")
    assert contents(run) == contents(trained(1, IN_PIECES))


@pytest.mark.slow
def test_in_float64_one_two_and_three_processes_agree_to_a_billionth(trained: Trained) -> None:
    exact = {**RICH, "double": True}
    weights, figures = weights_of(trained(1, exact)), figures_of(trained(1, exact))
    assert weights["encoder.mean.weight"].dtype == torch.float64
    for count in (2, 3):
        for name, values in weights_of(trained(count, exact)).items():
            torch.testing.assert_close(values, weights[name], rtol=0, atol=1e-9)
        assert figures_of(trained(count, exact)) == pytest.approx(figures, rel=1e-9, abs=1e-9)


@pytest.mark.slow
def test_in_float32_the_means_of_an_epoch_agree_to_a_ten_thousandth(trained: Trained) -> None:
    for count in (2, 3):
        assert figures_of(trained(count, RICH)) == pytest.approx(figures_of(trained(1, RICH)), rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_one_two_and_four_processes_train_a_run_with_its_detail_stage_to_the_bit(trained: Trained) -> None:
    settings = {**RICH, "epochs": 1, "micro_batches": 4, "detail": DETAIL}
    one = contents(trained(1, settings))
    assert "detail/detail.safetensors" in one
    for count in (2, 4):
        assert contents(trained(count, settings)) == one


@pytest.mark.slow
def test_in_float64_detail_stages_agree_to_a_billionth_without_micro_batches(trained: Trained) -> None:
    settings = {"double": True, "full": True, "epochs": 1, "detail": {**DETAIL, "epochs": 1, "micro_batches": 0}}
    one, three = (json.loads((trained(count, settings) / "detail/metrics.jsonl").read_text()) for count in (1, 3))
    assert three == pytest.approx(one, rel=1e-9, abs=1e-9)


# Faults.


@pytest.mark.slow
def test_under_torchrun_a_killed_process_ends_all_and_its_report_names_it(trained: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, printed = train_many(run, 2, {**IN_PIECES, "kill": [0, 6]}, torchrun=True)
    assert code != 0
    assert "rank      : 0 (local_rank: 0)" in printed
    assert "Signal 9 (SIGKILL)" in printed
    assert train_many(run, 2, IN_PIECES, torchrun=True)[0] == 0
    assert contents(run) == contents(trained(1, IN_PIECES))


@pytest.mark.slow
@pytest.mark.parametrize(("process", "name"), [(0, "train_many"), (1, "train_many, process 1 of 2")])
def test_an_error_of_one_process_is_the_one_line_that_is_printed(process: int, name: str, tmp_path: Path) -> None:
    found = train_many(tmp_path / "run", 2, {**IN_PIECES, "fail": [process, 3]})
    assert found == (5, f"{name}: expected a readable file, got none\n")


@pytest.mark.slow
def test_a_process_that_hangs_ends_all_after_the_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_TRAIN_TIMEOUT", "5")
    code, printed = train_many(tmp_path / "run", 3, {**RICH, "hang": [1, 3]})
    assert (code, printed) == (
        3,
        "train_many: expected an answer from each of 3 processes, got none from process 1; "
        "go on with the same command and --resume\n",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_lock_that_another_training_has_just_removed_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    real, calls = fcntl.flock, 0

    def late(file: object, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / ".run.lock").unlink()
        real(file, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", late)
    with alone_in(tmp_path / "run"):
        assert (tmp_path / ".run.lock").exists()
        with pytest.raises(UsageError, match="where one is at work"), alone_in(tmp_path / "run"):
            pass
    assert calls == 3
    assert list(tmp_path.iterdir()) == []


# What is refused.


@pytest.mark.parametrize(
    ("devices", "nodes", "rendezvous", "message"),
    [
        (2, 2, None, "expected --rendezvous HOST:PORT with --nodes 2, got none; name one of the machines"),
        (2, None, "a:1", "expected --nodes with --rendezvous, got none; say how many machines meet there"),
        (2, 2, "a", "expected --rendezvous as HOST:PORT, got a"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    devices: int, nodes: int | None, rendezvous: str | None, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        processes_to_start(devices, nodes, rendezvous)
    assert str(caught.value) == message


def test_under_torchrun_the_option_devices_may_only_repeat_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a",
                        "MASTER_PORT": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert processes_to_start(2, None, None) == processes_to_start(None, None, None) == 0
    with pytest.raises(UsageError) as caught:
        processes_to_start(4, None, None)
    assert str(caught.value) == (
        "expected --devices 2, as many as were started on this machine, got 4; leave it out under torchrun"
    )


@pytest.mark.parametrize(
    ("config", "count", "message"),
    [
        (
            TrainConfig(micro_batches=4), 3,
            "expected a number of processes that divides --micro-batches 4, got 3; "
            "start 1, 2, 4 or another such number, or leave the option out",
        ),
        (
            TrainConfig(batch_size=2), 3,
            "expected --batch-size of at least the number of processes, 3, got 2",
        ),
    ],
)  # fmt: skip
def test_a_number_of_processes_that_cannot_share_a_batch_is_refused(
    config: TrainConfig, count: int, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_division(config, count)
    assert str(caught.value) == message


@pytest.mark.parametrize("count", [3, 6, -1])
def test_micro_batches_are_a_power_of_two(count: int) -> None:
    with pytest.raises(UsageError, match=f"expected micro_batches of 1, 2, 4 or another power of two, .* got {count}"):
        TrainConfig(micro_batches=count)


def test_a_launcher_leaves_this_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> tuple[dict[str, str], object, object, int]:
        ended = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
        return dict(os.environ), *ended, logging.root.manager.disable

    seen = []
    of_torch = importlib.import_module("torch.distributed.launcher.api")
    monkeypatch.setattr(of_torch, "elastic_launch", lambda config, start: lambda *words: seen.append((words, state())))
    before = state()
    assert launch("vae_train", "vae-train", 2, 1, None) == 0
    assert state() == before
    ((words, within),) = seen
    assert words[:2] == ("-m", "vae_train")
    assert within[0]["OMP_NUM_THREADS"] == os.environ.get("OMP_NUM_THREADS", "1")
    assert within != before
