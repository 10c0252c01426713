"""The README's blocks run as they stand there, one after the other, in a fresh copy of the repository.

Only the block marked `ci: test` does not run here, because it starts these tests; `.ci/run` runs it. Training runs for
one epoch instead of thirty. pip finds the packages of this environment in place of an index, so no network is needed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from vae_gen import VAE, find_model

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"(?:<!-- ci: (\w+) -->\n)?```(sh|python)\n(.*?)```", README, re.DOTALL)
SHELL = [block for mark, language, block in BLOCKS if language == "sh" and mark != "test"]
PYTHON = [block for _, language, block in BLOCKS if language == "python"]


def run(command: list[str], folder: Path) -> str:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # the `python3` of these tests
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("site-packages")),  # and its packages
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "false",  # pip's way to say: build with the setuptools that is here
        "OMP_NUM_THREADS": "1",  # on a busy machine several threads wait for each other, and an epoch takes minutes
    }
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def run_shell(block: str, folder: Path) -> None:
    run(["bash", "-euo", "pipefail", "-c", re.sub("(?m)^vae-train .*$", r"\g<0> --epochs 1", block)], folder)
    made = re.findall(r"(?:-o|--out) (\S+)", block)
    assert made
    assert all((folder / name).exists() for name in made)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which the README's first block has been run."""
    folder = tmp_path_factory.mktemp("readme") / "clone"
    left_out = (".git", ".venv", "venv", "node_modules", "build", "dist", "runs", "site", "*.egg-info", "__pycache__",
                ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*left_out))
    run_shell(SHELL[0], folder)
    return folder


def test_the_two_marked_blocks_are_those_that_ci_runs() -> None:
    marks = [mark for mark, _, _ in BLOCKS if mark]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert marks == ["install", "test"]
    assert all(f"readme_commands {mark}" in script for mark in marks)
    assert BLOCKS[0][0] == "install"


@pytest.mark.slow
def test_the_blocks_that_make_pictures_run(clone: Path) -> None:
    blocks = [block for block in SHELL[1:] if "vae-train" not in block]
    assert blocks
    for block in blocks:
        run_shell(block, clone)


@pytest.mark.slow
def test_the_python_runs(clone: Path) -> None:
    assert PYTHON
    for code in PYTHON:
        assert run([str(clone / ".venv/bin/python"), "-c", code], clone).startswith("(50, 1, 28, 28) 7")


@pytest.mark.data
@pytest.mark.slow
def test_the_blocks_from_training_to_pictures_run(clone: Path) -> None:
    blocks = [block for block in SHELL[1:] if "vae-train" in block]
    assert blocks
    for block in blocks:
        run_shell(block, clone)


def test_the_page_that_a_package_index_would_show_links_to_no_file_of_the_repository(clone: Path) -> None:
    (file,) = clone.glob(".venv/lib/*/site-packages/vae_gen-*.dist-info/METADATA")
    description = str(message_from_bytes(file.read_bytes()).get_payload())
    assert description.lstrip().startswith("# vae-gen")
    links = re.findall(r"""(?:\]\(|src=["']|href=["'])([^)\s"']+)""", description)
    assert [link for link in links if not re.match("https?://", link)] == []


def test_an_installation_has_the_weights_that_training_begins_with(clone: Path) -> None:
    (packages,) = clone.glob(".venv/lib/*/site-packages")
    kept = packages / "vae_train" / "weights"
    found = {file.relative_to(kept) for file in kept.glob("fashion*/**/*") if file.is_file()}
    names = ("fashion-mnist-12d", "fashion-mnist-12d-reference")
    assert found == {Path(name, file) for name in names for file in ("config.json", "weights.safetensors")}
    assert not (packages / "vae_gen" / "artifacts" / "weights").exists()


def test_the_pictures_in_letters_are_those_of_the_model() -> None:
    page = (ROOT / "docs" / "pypi.md").read_text("utf-8")
    block = page.partition("in letters:\n\n")[2].partition("\n\n")[0]
    shown = [line.removeprefix("    ").ljust(84) for line in block.splitlines()]
    vae = VAE()
    pictures = [vae.sample(1, seed=7, label=label).images[0, 0] for label in ("sneaker", "t-shirt", "bag")]
    grey = np.concatenate(pictures, axis=1).reshape(14, 2, -1).mean(axis=1)
    made = ["".join(" .:-=+*#%@"[min(9, int(10 * value))] for value in row) for row in grey]
    equal = [one == other for one, other in zip("".join(shown), "".join(made), strict=True)]
    assert np.mean(equal) > 0.97  # a grey level may differ by one on another processor


def levels(path: Path, frame: int = 0) -> np.ndarray:
    with Image.open(path) as image:
        image.seek(frame)
        return np.asarray(image.convert("L")).astype(int)


def test_the_command_of_the_traversal_makes_its_picture(cli: Command) -> None:
    (line,) = re.findall(r"^vae-gen (traverse .*)$", README, re.MULTILINE)
    assert "](docs/traversal.png)" in README
    assert f"    vae-gen {line}\n" in (ROOT / "docs" / "samples.md").read_text("utf-8")
    cli.succeed(*line.split(), model=find_model())
    made, shown = levels(Path("traversal.png")), levels(ROOT / "docs" / "traversal.png")
    assert made.shape == shown.shape
    assert np.abs(made - shown).mean() < 1  # a grey level, or the last digit of a value, may differ on a processor


def test_the_command_of_the_directions_makes_their_picture(cli: Command) -> None:
    page = (ROOT / "docs" / "how-to" / "directions.md").read_text("utf-8")
    (line,) = re.findall(r"^vae-gen (traverse .*)$", page, re.MULTILINE)
    assert "](../directions.png)" in page
    cli.succeed(*shlex.split(line), model=find_model())
    made, shown = levels(Path("directions.png")), levels(ROOT / "docs" / "directions.png")
    assert made.shape == shown.shape
    assert np.abs(made - shown).mean() < 1


def test_the_command_of_the_morph_makes_its_animation() -> None:
    (comment,) = re.findall(r"<!-- vae-gen (interpolate .*?) -->", README, re.DOTALL)
    words = comment.split()
    given = {words[at]: words[at + 1] for at in range(len(words) - 1)}
    labels = [words[at + 1] for at, word in enumerate(words) if word == "--label"]
    path, steps = ROOT / given["-o"], int(given["--steps"])
    with Image.open(path) as image:
        assert image.n_frames == len(labels) * (steps - 1)
        assert image.info["loop"] == 0
        image.load()
        assert image.info["duration"] == 33
        assert image.size == (280, 280)
    vae, seed = VAE(), int(given["--seed"])
    samples = [vae.sample(1, seed=seed, label=label, detail=False) for label in labels]
    noise = [vae.detail_noise(1, seed, labels=sample.choice.label)[0] for sample in samples]
    first, second = samples[:2]
    way = vae.interpolate(
        first.latents, second.latents, steps, "likely", noise=np.linspace(*noise[:2], steps), fade=True
    ).grey_levels()
    for frame in (0, steps // 2, steps - 1):
        assert np.abs(levels(path, frame)[::10, ::10] - way[frame, 0]).max() <= 2


def test_every_picture_and_page_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)\s#]+)", README)
    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
