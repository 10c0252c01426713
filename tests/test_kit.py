"""`vae-gen kit`: a folder that is complete, whole or not there, and never in place of something else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import example_drivers
from cli_runner import Command
from example_drivers import read
from tiny_model import write_tiny_model
from vae_gen import VAE
from vae_gen_cli.kit import EXAMPLES

ROOT = Path(__file__).parents[1]


def test_a_kit_is_complete_and_works_on_its_own(kit: Path) -> None:
    model = set(read(kit, "manifest.json")["files"]) | {"manifest.json"}
    model |= {graph["file"] for graph in read(kit, "manifest.json")["graphs"].values()}
    assert {path.name for path in (kit / "model").iterdir()} == model
    assert "golden.json" in model
    assert (kit / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    examples = {path.relative_to(kit).as_posix() for language in ("c", "python", "node", "web") for path in
                (kit / language).iterdir() if path.name not in ("node_modules", "__pycache__")}  # fmt: skip
    assert examples | {"vae.mjs", "fit.mjs"} == set(EXAMPLES)
    assert all((kit / name).read_bytes() == (ROOT / "examples" / name).read_bytes() for name in EXAMPLES)
    page = (kit / "README.md").read_text("utf-8")
    for graph in read(kit, "manifest.json")["graphs"].values():
        assert graph["file"] in page


def test_the_wheel_is_told_of_every_file_of_the_examples() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert "vae_gen_cli.examples" in settings["packages"]
    patterns = settings["package-data"]["vae_gen_cli.examples"]
    packed = {path.relative_to(ROOT / "examples") for pattern in patterns for path in (ROOT / "examples").glob(pattern)}
    assert packed == set(map(Path, EXAMPLES))


STRANGE = {"name": "<b>icons</b>", "version": "2", "licence": "CC BY-NC 4.0"}


def test_a_kit_of_a_strangers_model_names_its_own_licences(cli: Command) -> None:
    data = {"name": "my | icons\n# big", "licence": "unspecified"}
    cli.succeed("kit", "kit", "--model", write_tiny_model(Path("m"), shape=(3, 12, 20), model=STRANGE, data=data))
    page = Path("kit", "README.md").read_text("utf-8")
    assert page.splitlines()[0] == r"# \<b\>icons\</b\> 2 for your app"
    facts = " ".join(page.partition("## Licences\n")[2].partition("## The examples")[0].split())
    assert facts == (
        r"- The model, `model/`, is \<b\>icons\</b\> 2. Its licence: **CC BY-NC 4.0**. "
        r"- It was trained on my \| icons \# big. The licence of this data: **unspecified**. "
        "- `vae.mjs`, `fit.mjs` and the examples are part of vae-gen. Their licence is MIT: see `LICENSE`. "
        "Ask whoever made the model what an unspecified licence allows, before you pass this folder on."
    )
    assert "MIT" not in page.replace("Their licence is MIT", "")
    cli.succeed("kit", "own", "--model", write_tiny_model(Path("n"), data={"name": "icons", "licence": "CC0-1.0"}))
    page = Path("own", "README.md").read_text("utf-8")
    assert "The licence of this data: **CC0-1.0**." in page
    assert "Ask whoever" not in page


@pytest.mark.parametrize(("shape", "names"), [((3, 128, 64), []), ((1, 9, 8), [f"kind {at}" for at in range(200)])])
def test_the_examples_show_pictures_of_any_shape(cli: Command, shape: tuple[int, int, int], names: list[str]) -> None:
    folder = write_tiny_model(Path("m"), shape=shape, class_names=names, default_prior="fitted")
    cli.succeed("kit", "kit", "--model", folder)
    example_drivers.link_packages(Path("kit"), "node")
    step = max(1, shape[2] // 28)
    height = -(-shape[1] // (2 * step))
    python = subprocess.run([sys.executable, "kit/python/example.py"], capture_output=True, text=True, check=True)
    node = subprocess.run(["node", "kit/node/example.mjs"], capture_output=True, text=True, check=True)
    beside, below = python.stdout.splitlines(), node.stdout.splitlines()
    assert len(beside) == height + 3
    assert beside[height].startswith("sample: the first two pictures of seed 7: ")
    assert below[2 * height].startswith("sample: the first two pictures of seed 7: ")
    assert below[2 * height] == beside[height]
    first = "".join(line[: len(line) // 2] for line in beside[:height])
    same = [one == other for one, other in zip("".join(below[:height]), first, strict=True)]
    assert np.mean(same) > 0.95  # Python takes the mean of the colours before it rounds, JavaScript after
    assert below[-1] == "verify: equal to the golden vectors"


def test_the_examples_page_shows_and_encodes_colours(cli: Command) -> None:
    white = {"fit": "pad", "background": "white", "invert_bright": False}
    cli.succeed("kit", "kit", "--model", write_tiny_model(Path("m"), shape=(3, 12, 20), preparation=white))
    Image.new("RGBA", (10, 10), (240, 230, 40, 255)).save("a.png")  # bright, on a white ground
    with example_drivers.example_page(Path("kit")) as page:
        read_first = """(place) => Array.from(
            document.querySelector(`${place} canvas`).getContext("2d").getImageData(0, 0, 20, 12).data)"""
        shown = np.reshape(page.evaluate(read_first, "#samples"), (12, 20, 4))[..., :3]
        expected = VAE("m").sample(1, seed=7).grey_levels()[0].transpose(1, 2, 0).astype(int)
        assert np.abs(shown - expected).max() <= 1
        page.set_input_files("#file", "a.png")
        page.wait_for_selector("#reconstruction canvas >> nth=1")
        own = np.reshape(page.evaluate(read_first, "#reconstruction"), (12, 20, 4))[..., :3]
        assert own[0, 0].tolist() == [255, 255, 255]
        assert own[6, 10].tolist() == [240, 230, 40]


def test_a_folder_with_something_in_it_is_left_alone(cli: Command) -> None:
    Path("full").mkdir()
    Path("full", "mine.txt").write_text("mine")
    outcome = cli("kit", "full")
    assert outcome.code == 7
    assert outcome.err == (
        "vae-gen: expected full not to exist or to be empty, found mine.txt in it; name a new folder\n"
    )
    assert [path.name for path in Path("full").iterdir()] == ["mine.txt"]


def test_an_empty_folder_becomes_the_kit(cli: Command) -> None:
    Path("empty").mkdir()
    outcome = cli.succeed("kit", "empty", "--json")
    document = json.loads(outcome.out)
    assert document["command"] == "kit"
    assert sorted(document["files"]) == sorted(
        path.relative_to("empty").as_posix() for path in Path("empty").rglob("*") if path.is_file()
    )


def test_a_spoilt_model_makes_no_kit(cli: Command, tiny_model_folder: Path) -> None:
    shutil.copytree(tiny_model_folder, "spoilt")
    path = Path("spoilt", "golden.json")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    outcome = cli("kit", "out", "--model", "spoilt")
    assert outcome.code == 4
    assert outcome.err.startswith("vae-gen: spoilt/golden.json: expected SHA-256 ")
    assert [entry.name for entry in Path.cwd().iterdir()] == ["spoilt"]


def test_the_python_example_prints_names_that_a_console_lacks(cli: Command) -> None:
    model = write_tiny_model(Path("m"), class_names=["брюки", "сумка"], default_prior="fitted")
    cli.succeed("kit", "kit", "--model", model)
    words = [sys.executable, "kit/python/example.py"]
    done = subprocess.run(words, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert b"sample: the first two pictures of seed 7: ?????, ?????" in done.stdout
