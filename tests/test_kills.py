"""Work that is killed with SIGKILL at fifty random moments leaves no half file, and ends as if it was not killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from test_cli_process import command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which this system does not have"),
]


@pytest.mark.parametrize("work", ["npy", "npz", "new", "old", "export", "detail"])
def test_fifty_kills_at_random_moments_lose_nothing(tiny_model_folder: Path, tmp_path: Path, work: str) -> None:
    """`test_train_resume.py` has the kills of `vae-train`."""
    script = Path(__file__).with_name("random_killer.py")
    words = [sys.executable, str(script), work, str(tmp_path), str(tiny_model_folder), "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kills"] == 50


def test_eight_processes_that_write_the_same_outputs_leave_them_whole(tiny_model_folder: Path, tmp_path: Path) -> None:
    for output in ("a.npy", "a/"):
        words = ["sample", "-n", "300", "-q", "-o", output, "--model", tiny_model_folder]
        written = {}
        for seed in range(2):
            subprocess.run(command(*words, "--seed", str(seed)), check=True, cwd=tmp_path)
            files = sorted(tmp_path.rglob("*.png")) or [tmp_path / "a.npy"]
            written[seed] = [file.read_bytes() for file in files]
        writers = [subprocess.Popen(command(*words, "--seed", str(at % 2)), cwd=tmp_path) for at in range(8)]
        assert [writer.wait(timeout=120) for writer in writers] == [0] * 8
        for at, file in enumerate(files):
            assert file.read_bytes() in (written[0][at], written[1][at])
        assert not list(tmp_path.rglob(".*"))
