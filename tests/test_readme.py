"""Every command and every line of Python in the README, run as it stands there.

Two exceptions, because they make environments of their own: the commands marked `ci: install` and `ci: test` are run
by `.ci/run`, which reads them from the README too. Training is run for one epoch instead of thirty.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"(?:<!-- ci: (\w+) -->\n)?```(sh|python)\n(.*?)```", README, re.DOTALL)
SHELL = [block.strip().splitlines() for mark, language, block in BLOCKS if language == "sh" and not mark]
PYTHON = [block for _, language, block in BLOCKS if language == "python"]


def run(commands: list[str], folder: Path) -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # One thread: on a busy machine several wait for each other, spinning, and an epoch takes minutes.
    environment = {**os.environ, "PATH": programs, "OMP_NUM_THREADS": "1"}
    for command in commands:
        result = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"


def test_the_two_marked_commands_are_those_that_ci_runs() -> None:
    marks = [mark for mark, _, _ in BLOCKS if mark]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert marks == ["install", "test"]
    assert all(f"readme_command {mark}" in script for mark in marks)


@pytest.mark.parametrize("commands", [block for block in SHELL if "vae-train" not in " ".join(block)])
def test_the_commands_that_make_pictures_run(commands: list[str], tmp_path: Path) -> None:
    run(commands, tmp_path)
    named = [word for command in commands for word in re.findall(r"-o (\S+)", command)]
    assert named
    assert all((tmp_path / name).exists() for name in named)


@pytest.mark.data
@pytest.mark.parametrize("commands", [block for block in SHELL if "vae-train" in " ".join(block)])
def test_the_road_from_training_to_pictures_runs(commands: list[str], tmp_path: Path) -> None:
    shortened = [f"{command} --epochs 1" if command.startswith("vae-train") else command for command in commands]
    run(shortened, tmp_path)
    assert (tmp_path / "mine.png").exists()


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_runs(code: str, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(code, "utf-8")
    result = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("(50, 1, 28, 28) 7")
