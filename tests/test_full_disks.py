"""A disk that is full or read-only is one line with exit code 7, and the old output stays whole, for every output."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")]

OUTPUTS = {
    "sample": ("sample -n 40 --seed 1", ("a.png", "a.webp", "a.npy", "a.npz", "a/", "new.npy", "new/")),
    "resumed sample": ("sample -n 40 --seed 1 --resume", ("a.npy", "a/", "new.npz")),
    "decode": ("decode INPUTS/z.npy", ("a.png", "a.npz", "a/")),
    "traverse": ("traverse --seed 1", ("a.png", "a.gif", "a.apng", "new.webp")),
    "interpolate": ("interpolate --seed 1 --seed 2", ("a.png", "a.gif")),
    "reconstruct": ("reconstruct INPUTS/in.png", ("a.png",)),
    "encode": ("encode INPUTS/in.png", ("a.npz", "a.json")),
    "repeat": ("repeat INPUTS/made.png", ("a.png",)),
}
CASES = [f"{line} -o {output}" for line, outputs in OUTPUTS.values() for output in outputs]
CASES += ["kit new", "install MODEL"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def inputs(tmp_path: Path, cli: Command) -> Path:
    """Inputs of the commands, on a disk with space."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    np.save(folder / "z.npy", np.zeros((40, 12), np.float32))
    Image.new("L", (28, 28), 90).save(folder / "in.png")
    cli.succeed("sample", "-n", "40", "--seed", "1", "-o", folder / "made.png")
    return folder


def old_outputs(folder: Path) -> None:
    for name in ("a.png", "a.webp", "a.npy", "a.npz", "a.gif", "a.apng", "a.json", "a/000001.png", "a/notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"old {name}")


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def fails(cli: Command, line: str, inputs: Path) -> str:
    """Runs a command that cannot write; returns what it says."""
    words = line.replace("INPUTS", str(inputs)).replace("MODEL", str(cli.model)).split()
    outcome = cli(*words)
    assert outcome.code == 7, outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith("vae-gen: ")]
    assert len(lines) == 1
    return lines[0]


@contextlib.contextmanager
def no_large_files(most: int) -> Iterator[None]:
    """Every write beyond this place of a file fails, as on a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def work_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder, put old outputs there, and let models be installed below it."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
    (folder / "data" / "vae-gen" / "models").mkdir(parents=True)
    old_outputs(folder)


@pytest.mark.parametrize("line", CASES)
def test_a_limit_of_file_sizes_leaves_everything_as_it_was(
    cli: Command, inputs: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    work_in(Path.cwd(), monkeypatch)
    before = contents(Path.cwd())
    with no_large_files(10):
        assert "File too large" in fails(cli, line, inputs)
    assert contents(Path.cwd()) == before


@pytest.mark.parametrize("line", CASES)
def test_a_full_disk_leaves_everything_as_it_was(
    cli: Command, inputs: Path, disk: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    work_in(disk, monkeypatch)
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    before = contents(disk)
    assert "No space left on device" in fails(cli, line, inputs)
    assert contents(disk) == before
    monkeypatch.chdir("/")


@pytest.mark.parametrize("line", CASES)
def test_a_disk_that_is_read_only_leaves_everything_as_it_was(
    cli: Command, inputs: Path, disk: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    work_in(disk, monkeypatch)
    before = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert "read-only" in fails(cli, line, inputs).lower()
    assert contents(disk) == before
    monkeypatch.chdir("/")


@pytest.mark.parametrize("output", ["a.npy", "a.npz", "a/"])
def test_a_command_that_may_be_resumed_goes_on_when_there_is_space_again(
    cli: Command, disk: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    options = ("sample", "-n", "2100", "--seed", "1", "-o", output)
    cli.succeed(*options)
    whole = [path.read_bytes() for path in sorted(Path(output).rglob("*.png")) or [Path(output)]]
    subprocess.run(["mount", "-o", "remount,size=12m", disk], check=True)
    monkeypatch.chdir(disk)
    (disk / "filler").write_bytes(bytes((12 << 20) - (5 << 20 if output == "a/" else 1_200_000)))
    refused = cli(*options, "--resume")
    assert (refused.code, "No space left on device" in refused.err) == (7, True)
    (disk / "filler").unlink()
    assert json.loads(cli.succeed(*options, "--resume", "--json").out)["kept"] == 1024
    assert [path.read_bytes() for path in sorted(Path(output).rglob("*.png")) or [Path(output)]] == whole
    monkeypatch.chdir("/")


def test_a_writable_file_in_a_folder_that_is_read_only_is_overwritten(cli: Command, disk: Path) -> None:
    """The file is mounted into the folder from a disk that can be written."""
    (disk / "a.npy").write_bytes(b"old")
    (disk / "folder").mkdir()
    outer = cli.model.parent / "outer"
    outer.mkdir(exist_ok=True)
    (outer / "a.npy").touch()
    subprocess.run(["mount", "--bind", disk / "a.npy", outer / "a.npy"], check=True)
    try:
        done = cli.succeed("sample", "-n", "3", "--seed", "1", "-o", outer / "a.npy")
        assert done.err == f"3 pictures of seed 1 → {outer / 'a.npy'}\n"
        assert np.load(disk / "a.npy").shape == (3, 1, 28, 28)
        assert [path.name for path in outer.iterdir()] == ["a.npy"]
    finally:
        subprocess.run(["umount", outer / "a.npy"], check=True)
