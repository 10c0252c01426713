"""The kit's example in C, compiled with all warnings: it makes what the generator makes, and checks golden vectors.

The headers are those of Debian's libonnxruntime-dev, or lie in the folder that ONNXRUNTIME_INCLUDE names. The library
is that of the Python package. Without a compiler or headers the tests are skipped, or fail if VAE_GEN_REQUIRE_C is 1.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from cli_runner import Command
from tiny_model import write_tiny_model
from vae_gen import VAE, find_model, to_grey_levels

HEADERS = Path(os.environ.get("ONNXRUNTIME_INCLUDE", "/usr/include/onnxruntime"))
LIBRARIES = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled example."""
    compiler, has_headers = shutil.which("cc"), (HEADERS / "onnxruntime_c_api.h").exists()
    if not (compiler and has_headers and LIBRARIES):
        missing = f"needs cc, {HEADERS}/onnxruntime_c_api.h and ONNX Runtime's library"
        if os.environ.get("VAE_GEN_REQUIRE_C") == "1":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("c")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(LIBRARIES[-1])
    model = write_tiny_model(folder / "tiny")
    Command(model).succeed("kit", folder / "kit")
    words = [str(compiler), "-std=c99", *WARNINGS, "-isystem", HEADERS, folder / "kit" / "c" / "example.c"]
    words += ["-o", folder / "example", "-L", folder, "-lonnxruntime", f"-Wl,-rpath,{folder}"]
    subprocess.run(words, check=True)
    return folder / "example"


def run(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["fashion-mnist-12d", "fashion-mnist-12d-reference"])
def test_it_gives_the_golden_values(program: Path, tmp_path: Path, name: str) -> None:
    done = run(program, find_model(name), 7, 3, 4, tmp_path / "a.pgm")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"pictures 3 to 6 of seed 7: {tmp_path / 'a.pgm'}\n4 golden cases: latents differ by")
    assert done.stdout.endswith("equal to the golden vectors\n")
    made = np.asarray(Image.open(tmp_path / "a.pgm")).astype(int).reshape(4, 28, 28)
    expected = VAE(name).sample(4, seed=7, start=3).grey_levels()[:, 0].astype(int)
    assert np.abs(made - expected).max() <= 1


def test_colours_become_a_ppm(program: Path, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m", shape=(3, 12, 20))
    done = run(program, model, 5, 0, 2, tmp_path / "a.ppm")
    assert done.returncode == 0, done.stdout + done.stderr
    made = np.asarray(Image.open(tmp_path / "a.ppm")).astype(int).reshape(2, 12, 20, 3)
    expected = VAE(model).sample(2, seed=5).grey_levels().transpose(0, 2, 3, 1).astype(int)
    assert np.abs(made - expected).max() <= 1


@pytest.mark.parametrize("part", ["latents", "images"])
def test_other_golden_values_are_noticed(program: Path, tmp_path: Path, tiny_model_folder: Path, part: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model_folder, model)
    golden = json.loads((model / "golden.json").read_bytes())
    case = golden["samples"][-1]
    if part == "latents":
        case["latents"][-1][-1] += 1e-3
    else:
        text = case["images"]["base64"]
        case["images"]["base64"] = f"{text[:100]}{'AAAA' if text[100:104] != 'AAAA' else '////'}{text[104:]}"
    (model / "golden.json").write_text(json.dumps(golden, indent=1))
    done = run(program, model, 7, 0, 1, tmp_path / "a.pgm")
    assert done.returncode == 1
    assert done.stdout.endswith("NOT equal to the golden vectors\n")


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere"], "expected a file that can be opened, got nowhere/generator.onnx"),
    (["MODEL", "-1"], "expected a whole number from 0 to 2^63-1, got -1"),
    (["MODEL", "9223372036854775808"], "expected a whole number from 0 to 2^63-1, got 9223372036854775808"),
    (["MODEL", "7", "9223372036854775807", "2"], "expected numbers from 0 to 2^63-1, got others"),
    (["MODEL", "7", "0", "0"], "expected numbers from 0 to 2^63-1, got others"),
    (["MODEL", "7", "0", "1", "no/such/folder.pgm"], "expected a file that can be written, got no/such/folder.pgm"),
])  # fmt: skip
def test_an_error_is_one_line(
    program: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str],
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    done = run(program, *[str(tiny_model_folder) if one == "MODEL" else one for one in arguments])
    assert (done.returncode, done.stderr) == (1, f"example: {message}\n")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_plain_c_without_onnxruntime_gives_the_golden_values(tmp_path: Path) -> None:
    if os.environ.get("VAE_GEN_REQUIRE_C") != "1":
        pytest.importorskip("emx_onnx_cgen")
    folder = find_model("fashion-mnist-12d-reference")
    script = Path(__file__).parents[1] / "examples" / "c" / "one_picture.py"
    tool = ["-m", "emx_onnx_cgen", "compile", "--model-name", "model", "--large-weight-threshold", "0"]
    for words in (
        [sys.executable, script, folder / "generator.onnx", "one.onnx"],
        [sys.executable, *tool, "one.onnx", "model.c"],
        ["cc", "-std=c99", "-O2", "-shared", "-fPIC", "model.c", "-o", "model.so", "-lm"],
    ):
        subprocess.run(words, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    model = ctypes.CDLL(str(tmp_path / "model.so")).model
    golden = json.loads((folder / "golden.json").read_bytes())
    for case in golden["samples"]:
        pictures = np.frombuffer(base64.b64decode(case["images"]["base64"]), np.uint8).reshape(-1, 1, 28, 28)
        for at, expected in enumerate(case["latents"]):
            image, latent = np.zeros((1, 1, 28, 28), np.float32), np.zeros((1, 12), np.float32)
            seed, start = (np.array([value], np.int64) for value in (int(case["seed"]), int(case["start"]) + at))
            model(*(ctypes.c_void_p(array.ctypes.data) for array in (seed, start, image, latent)))
            assert np.abs(latent[0] - expected).max() <= golden["tolerances"]["latent"]
            if at < len(pictures):
                off = to_grey_levels(image)[0].astype(int) - pictures[at]
                assert np.abs(off).max() <= golden["tolerances"]["grey_levels"]
