"""`vae-gen page`: a static page from the wheel alone, never in place of something else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from browser import served
from cli_runner import Command
from playground import WEB, require_packages, watched
from tiny_model import write_tiny_model
from vae_gen import VAE, to_grey_levels

ROOT = Path(__file__).parents[1]
VERSION = json.loads((WEB / "package.json").read_bytes())["dependencies"]["onnxruntime-web"]


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder like npm's node_modules: the packages that the page needs and no others, with few of their files."""
    require_packages()
    folder = tmp_path / "somewhere" / "node_modules"
    folder.mkdir(parents=True)
    for name in ("onnxruntime-web", "gifenc", "@noble"):
        (folder / name).symlink_to(WEB / "node_modules" / name)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_installed_package_writes_a_page_that_verifies_itself(
    tmp_path: Path, packages: Path, detailed_model_folder: Path
) -> None:
    """Without the repository: setuptools copies what it would put into the wheel."""
    copy = tmp_path / "source"
    left_out = shutil.ignore_patterns(".git", ".venv", "node_modules", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=left_out)
    words = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(tmp_path / "installed")]
    subprocess.run(words, check=True, cwd=copy, capture_output=True)
    shutil.rmtree(copy)
    command = [sys.executable, "-P", "-m", "vae_gen_cli", "page", "page", "--packages", str(packages)]
    done = subprocess.run(
        [*command, "--model", str(detailed_model_folder)], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with served(tmp_path) as origin, watched() as page:
        page.open(f"{origin}/page/")  # under a path, as static hosts have it
        assert page.verified().startswith("verified, largest difference 0.0000")
        page.becomes("playground.levels")
        expected = to_grey_levels(VAE(detailed_model_folder).sample(1, seed=0).images).ravel()
        assert np.abs(np.array(page.picture()) - expected).max() <= 1
        assert page.said == []
        assert page.hosts == {origin.removeprefix("http://")}


def test_it_records_what_it_wrote_and_writes_the_same_again(cli: Command, packages: Path) -> None:
    outcome = cli.succeed("page", "page", "--packages", packages, "--json")
    files = contents(Path("page"))
    assert json.loads(outcome.out)["files"] == sorted(files)
    record = json.loads(files["site.json"])["files"]
    assert record == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
        if name not in ("site.json", ".nojekyll")
    }  # fmt: skip
    assert "site.json" not in files["sw.js"].decode()
    listed = json.loads(files["sw.js"].decode().partition("FILES = ")[2].partition(";\n")[0])
    kept = {name for name in files if not name.endswith(".gz")} - {"sw.js", "site.json", "LICENSE.txt", ".nojekyll"}
    assert sorted(listed) == sorted({"./", *kept})
    cli.succeed("page", "other", "--packages", packages)
    assert contents(Path("other")) == files


def test_an_earlier_page_is_replaced_and_nothing_else_is(cli: Command, packages: Path, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "m", shape=(3, 12, 20), class_names=[], default_prior="fitted")
    cli.succeed("page", "page", "--packages", packages)
    before = contents(Path("page"))
    cli.succeed("page", "page", "--packages", packages, model=other)
    after = contents(Path("page"))
    assert after["model/manifest.json"] != before["model/manifest.json"]
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["page"]

    def refused(found: str) -> None:
        kept = contents(Path("page"))
        outcome = cli("page", "page", "--packages", packages)
        assert outcome.code == 7
        assert outcome.err == (
            "vae-gen: expected page not to exist, to be empty or to be an earlier page, "
            f"found {found}; name a new folder\n"
        )
        assert contents(Path("page")) == kept

    Path("page/CNAME").write_text("example.org")
    refused("CNAME in it, which is a file of something else")
    Path("page/CNAME").unlink()
    Path("page/index.html").write_text("mine")
    refused("index.html in it, which is a changed file")
    shutil.rmtree("page")
    Path("page").mkdir()
    Path("page/site.json").write_text('{"files": 5}')
    refused("site.json in it, which is a file of something else")


@pytest.mark.parametrize("with_npm", [False, True])
def test_without_npm_or_its_packages_it_says_how_to_get_them(
    cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, with_npm: bool
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    if with_npm:  # npm without a network
        (programs / "npm").write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
        (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    original = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: "node_modules" not in path.parts and original(path))
    outcome = cli("page", "page")
    by_hand = f"run `npm install @noble/hashes@2.4.0 gifenc@1.0.3 onnxruntime-web@{VERSION}`"
    found = "expected npm to get the page's packages, it said: code ENOTFOUND; or " if with_npm else (
        "expected npm, which gets ONNX Runtime for the page, found none; install Node.js, or "
    )  # fmt: skip
    assert outcome.err == f"vae-gen: {found}{by_hand} and give its folder node_modules with --packages\n"
    assert outcome.code == 3
    assert not Path("page").exists()


def test_packages_that_are_missing_or_of_another_version_are_named(
    cli: Command, packages: Path, tmp_path: Path
) -> None:
    outcome = cli("page", "page", "--packages", tmp_path)
    assert outcome.code == 5
    assert f"expected the package @noble/hashes 2.4.0 in {tmp_path}, found none; run `npm install" in outcome.err
    (packages / "gifenc").unlink()
    (packages / "gifenc").mkdir()
    (packages / "gifenc" / "package.json").write_text('{"version": "9.9.9"}')
    outcome = cli("page", "page", "--packages", packages)
    assert f"expected the package gifenc 1.0.3 in {packages}, found 9.9.9; run `npm install" in outcome.err
    assert outcome.code == 5
    assert not Path("page").exists()


def test_a_model_that_no_page_can_show_is_refused(cli: Command, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m", shape=(2, 12, 20))
    outcome = cli("page", "page", model=model)
    assert outcome.code == 4
    assert outcome.err.endswith("expected a model of grey or colour pictures, with 1 or 3 channels, found 2\n")


@pytest.mark.slow
def test_npm_gets_the_packages(cli: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    original = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: path != WEB / "node_modules/onnxruntime-web" and original(path))
    cli.succeed("page", "page")
    assert Path("page/index.html").exists()
