"""`vae-gen kit`: a folder that is complete, whole or not there, and never in place of something else."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

from cli_runner import Command
from example_drivers import read
from vae_gen_cli.kit import EXAMPLES

ROOT = Path(__file__).parents[1]


def test_a_kit_is_complete_and_works_on_its_own(kit: Path) -> None:
    model = set(read(kit, "manifest.json")["files"]) | {"manifest.json"}
    model |= {graph["file"] for graph in read(kit, "manifest.json")["graphs"].values()}
    assert {path.name for path in (kit / "model").iterdir()} == model
    assert "golden.json" in model
    assert (kit / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    examples = {path.relative_to(kit).as_posix() for language in ("python", "node", "web") for path in
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
