"""vae-gen inside an archive, and frozen into an app by PyInstaller."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages in a zip, as a wheel has them."""
    path = tmp_path_factory.mktemp("zip") / "vae_gen.whl"
    places = {"vae_gen": "runtime/vae_gen", "vae_gen/artifacts": "artifacts", "vae_gen_cli": "cli/vae_gen_cli"}
    with zipfile.ZipFile(path, "w") as zipped:
        for name, place in places.items():
            for file in (ROOT / place).rglob("*"):
                if file.is_file() and "__pycache__" not in file.parts:
                    zipped.write(file, f"{name}/{file.relative_to(ROOT / place).as_posix()}")
    return path


def from_archive(archive: Path, folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-P", "-m", "vae_gen_cli", *map(str, arguments)]
    return subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "PYTHONPATH": str(archive)}
    )


@pytest.mark.parametrize("model", [[], ["--model", "fashion-mnist-12d-reference"]])
def test_an_archive_says_that_its_models_are_no_files(archive: Path, tmp_path: Path, model: list[str]) -> None:
    done = from_archive(archive, tmp_path, "sample", *model)
    assert done.returncode == 4
    assert done.stderr == (
        f"vae-gen: expected the shipped models in {archive / 'vae_gen' / 'artifacts'}, found the archive {archive}, "
        "which can't be read as a folder; unpack it, or install it with pip, or give a model folder\n"
    )


def test_an_archive_works_with_a_model_folder(archive: Path, tmp_path: Path, tiny_model_folder: Path) -> None:
    done = from_archive(archive, tmp_path, "sample", "-n", "2", "-o", "a.png", "--model", tiny_model_folder)
    assert (done.returncode, (tmp_path / "a.png").exists()) == (0, True), done.stderr


LIBRARY = """
import sys
from vae_gen import VAE, shipped_models
VAE(*sys.argv[1:]).sample(2, seed=7).save("library.npy")
print(*shipped_models())
"""
COMMAND = "from vae_gen_cli.main import run; run()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed vae-gen, without the packages that it needs."""
    folder = tmp_path_factory.mktemp("installed")
    copy = folder / "source"
    ignored = shutil.ignore_patterns(".git", ".venv", "node_modules", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*words, "--target", str(folder / "site"), str(copy)], check=True, cwd=folder)
    return folder / "site"


def frozen(code: str, installed: Path, folder: Path) -> Path:
    """The program into which PyInstaller has made this code."""
    (folder / "app.py").write_text(code)
    words = [sys.executable, "-P", "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR", "app.py"]
    unused = ("torch", "onnx", "huggingface_hub", "matplotlib", "IPython", "av", "pyarrow", "ray")
    for name in unused:  # an app has none of these
        words += ["--exclude-module", name]
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(words, check=True, cwd=folder, env={**os.environ, "PYTHONPATH": path})
    return folder / "dist" / "app" / "app"


def run(program: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, cwd=folder, env={"PATH": "/nowhere"}
    )


@pytest.mark.slow
def test_a_frozen_app_loads_the_shipped_models(installed: Path, tmp_path: Path) -> None:
    program = frozen(LIBRARY, installed, tmp_path)
    for model in ([], ["fashion-mnist-12d-reference"]):
        done = run(program, tmp_path / "elsewhere", *model)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "fashion-mnist-12d fashion-mnist-12d-reference\n"
        assert (tmp_path / "elsewhere" / "library.npy").stat().st_size == 128 + 2 * 784 * 4


@pytest.mark.slow
def test_a_frozen_command_line_has_all_commands(installed: Path, tmp_path: Path) -> None:
    program = frozen(COMMAND, installed, tmp_path)
    folder = tmp_path / "elsewhere"
    for line in (
        "--version", "sample --help", "sample -n 2 --seed 7 -o a.png", "repeat a.png -o b.png",
        "encode a.png -o a.json",
        "decode a.json -o c.png", "traverse -o t.gif", "interpolate --seed 1 --seed 2 -o i.png", "reconstruct a.png",
        "info", "models", "kit kit", "verify",
    ):  # fmt: skip
        done = run(program, folder, *line.split())
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()
    assert (folder / "kit" / "python" / "example.py").exists()
    done = run(program, folder, "bench")
    assert done.returncode == 3
    assert "a frozen app, which can't start a second one" in done.stderr
