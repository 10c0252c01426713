"""Commands with --shard that are killed lose nothing: run again, the folder is as if nothing had happened.

`test_bulk_ray.py` kills workers of Ray and the command that waits for them.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cli_runner import Command
from test_cli_process import command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL, which this system does not have"),
]

MODEL = ("--model", "fashion-mnist-12d-reference", "--seed", "7", "--prior", "fitted")
MAKE = {
    "parquet": ("sample", *MODEL, "-n", "40000", "--shard-size", "4096", "--format", "parquet"),
    "webdataset": ("sample", *MODEL, "-n", "12000", "--shard-size", "1024", "--format", "webdataset"),
    "folder-by-class": ("sample", *MODEL, "-n", "12000", "--shard-size", "1024", "--format", "folder-by-class"),
}
ROUNDS = 5


def everything(folder: str) -> dict[str, bytes]:
    """All files of a folder and of the folders in it, also hidden ones."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def killed_after(seconds: float, *words: str) -> bool:
    """Whether a command was killed after so many seconds, before it came to its end."""
    process = subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("format_name", MAKE)
def test_kills_at_random_moments_lose_nothing(cli: Command, format_name: str) -> None:
    words = MAKE[format_name]
    began = time.monotonic()
    subprocess.run(command(*words, "--out", "whole"), check=True, stderr=subprocess.DEVNULL)
    duration, whole, chance = time.monotonic() - began, everything("whole"), random.Random(1)
    kills = 0
    for _ in range(ROUNDS):
        for share in ("0/2", "1/2"):
            kills += killed_after(chance.uniform(0.2, 0.7) * duration, *words, "--out", "out", "--shard", share)
        left = everything("out")
        assert all(whole[name] == left[name] for name in left if not name.startswith("."))
        if left == whole:
            shutil.rmtree("out")
    assert kills > ROUNDS / 2
    for share in ("0/2", "1/2"):
        subprocess.run(command(*words, "--out", "out", "--shard", share), check=True, stderr=subprocess.DEVNULL)
    assert everything("out") == whole
    cli.succeed("verify", "out", "--model", MODEL[1])


@pytest.mark.parametrize("format_name", MAKE)
def test_a_share_that_is_killed_beside_another_one_is_started_again(cli: Command, format_name: str) -> None:
    words = MAKE[format_name]
    cli.succeed(*words, "--out", "whole")
    both = [subprocess.Popen(command(*words, "--out", "out", "--shard", f"{at}/2", "--threads", "1", "-q"))
            for at in (0, 1)]  # fmt: skip
    while not list(Path("out").glob(".*.part")):
        assert both[0].poll() is None
        time.sleep(0.01)
    both[0].kill()
    assert both[0].wait() == -signal.SIGKILL
    again = subprocess.run(command(*words, "--out", "out", "--shard", "0/2", "--json"), capture_output=True, check=True)
    assert both[1].wait() == 0
    assert json.loads(again.stdout)["shards"] == (5 if format_name == "parquet" else 6)
    assert everything("out") == everything("whole")
