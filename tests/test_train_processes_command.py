"""`vae-train --devices 2` as people start it: what it prints, and what is left, when it ends well, badly or early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from test_train_resume import contents

pytestmark = pytest.mark.slow

VAE_TRAIN = [str(Path(sys.executable).with_name("vae-train"))]
TINY = ["--data", "pictures.npy", "--few", "--preset", "quick", "--latent-dim", "3", "--device", "cpu"]
ENDLESS = [*TINY, "--steps", "500000", "--out", "run"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with 240 pictures of 8 by 8 pixels."""
    np.save(tmp_path / "pictures.npy", np.random.default_rng(0).integers(0, 255, (240, 8, 8), np.uint8))
    return tmp_path


def start(folder: Path, *arguments: str, command: list[str] = VAE_TRAIN) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VAE_GEN_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [*command, *arguments], cwd=folder, env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """The exit code, and the lines on standard error but those about the images and the progress."""
    _, printed = process.communicate(timeout=120)
    progress = ("  ", "epoch ", "pictures.npy: 240", "still working", "test -ELBO", "memorising")
    return process.returncode, [line for line in printed.splitlines() if not line.startswith(progress)]


def wait_for_checkpoint(folder: Path) -> None:
    for _ in range(600):
        if (folder / "run/checkpoint.pt").exists():
            return
        time.sleep(0.1)
    raise AssertionError("no checkpoint after a minute")


def children(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def wait_for_end(processes: list[int]) -> None:
    for _ in range(300):
        if not any(Path(f"/proc/{one}").exists() for one in processes):
            return
        time.sleep(0.1)
    raise AssertionError(f"some of {processes} are left")


def test_two_processes_train_own_images_as_one_does_and_torchrun_too(folder: Path) -> None:
    short = [*TINY, "--steps", "30", "--micro-batches", "2"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "vae_train"]
    assert ended(start(folder, *short, "--out", "one")) == (0, [])
    assert ended(start(folder, *short, "--out", "two", "--devices", "2")) == (0, [])
    assert ended(start(folder, *short, "--out", "three", command=torchrun))[0] == 0
    one, two, three = ({**contents(folder / name), "config.json": b""} for name in ("one", "two", "three"))
    assert one == two == three  # config.json has the commit, which may change while tests run
    detail = ["one", "--steps", "4", "--micro-batches", "2", "--device", "cpu"]
    command = [str(Path(sys.executable).with_name("vae-detail"))]
    code, _ = ended(start(folder, *detail, "--devices", "2", command=command))
    assert code == 0
    assert json.loads((folder / "one/detail/metrics.jsonl").read_text())["epoch"] == 1


def test_a_check_that_fails_prints_one_line_and_gives_its_exit_code(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run/letter.txt").write_text("dear")
    assert ended(start(folder, *ENDLESS, "--devices", "2")) == (
        2, ["vae-train: expected a new folder, got run, which exists; add --resume or choose another --out"],
    )  # fmt: skip
    assert sorted(one.name for one in (folder / "run").iterdir()) == ["letter.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_and_sigterm_end_all_and_print_what_one_process_prints(folder: Path) -> None:
    said = ["stopped; to go on, run: vae-train --out run --resume", "vae-train: interrupted"]
    for number, more in ((signal.SIGINT, []), (signal.SIGTERM, ["--resume"])):
        launcher = start(folder, *ENDLESS, "--devices", "2", *more)
        wait_for_checkpoint(folder)
        time.sleep(0 if number == signal.SIGINT else 8)  # the second run finds the checkpoint of the first
        started = children(launcher.pid)
        launcher.send_signal(number)
        code, printed = ended(launcher)
        assert (code, printed[-2:]) == (128 + number, said)
        wait_for_end(started)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_launcher_leaves_no_process_behind(folder: Path) -> None:
    launcher = start(folder, *ENDLESS, "--devices", "2")
    wait_for_checkpoint(folder)
    started = children(launcher.pid)
    assert len(started) == 2
    launcher.kill()
    launcher.communicate(timeout=60)
    wait_for_end(started)


def test_of_two_trainings_at_once_one_wins_and_the_other_says_so(folder: Path) -> None:
    both = [start(folder, *TINY, "--steps", "3000", "--out", "run") for _ in range(2)]
    results = sorted(ended(one) for one in both)
    assert [code for code, _ in results] == [0, 2]
    (refused,) = results[1][1]
    assert refused in (
        "vae-train: expected a folder that no other program trains in, got run, where one is at work; wait for its "
        "end, or choose another --out",
        "vae-train: expected a new folder, got run, which exists; add --resume or choose another --out",
    )
