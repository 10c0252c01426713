"""What goes wrong with one's own images: each fault is one clear sentence with its exit code, and nothing is lost."""

from __future__ import annotations

import errno
import functools
import os
import shutil
from pathlib import Path

import pytest

import cli_runner
from odd_pictures import discs, write_folder
from vae_gen import OutputError
from vae_train import train_command
from vae_train.images.loading import load_images
from vae_train.images.settings import ImageSettings
from vae_train.run_folder import alone_in, load_run

BRIEF = ("--steps", "6", "--batch-size", "8", "--latent-dim", "3", "--threads", "1", "--device", "cpu", "--few")


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_GEN_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr("vae_train.training.curves", lambda _: b"")  # drawing them takes longer than training
    monkeypatch.chdir(tmp_path)


call = functools.partial(cli_runner.call, train_command)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def files_below(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_two_runs_at_once_in_one_folder_are_refused(resume: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("data"), discs(30, (8, 8)))
    if resume:
        assert call("--data", "data", "--out", "run", *BRIEF) == 0
    before = files_below("run")
    with alone_in(Path("run")):
        assert call("--data", "data", "--out", "run", *resume, *BRIEF) == 2
    assert last_line(capsys) == (
        "vae-train: expected a folder that no other program trains in, got run, where one is at work; "
        "wait for its end, or choose another --out"
    )
    assert files_below("run") == before
    assert call("--data", "data", "--out", "run", *resume, *BRIEF) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["data", "run"]


@pytest.mark.parametrize("writes", [1, 5, 8])
def test_a_disk_that_fills_up_loses_nothing(
    writes: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full after some files were written; with space again, --resume comes to the same weights."""
    load_images(str(write_folder(Path("data"), discs(30, (8, 8)))), ImageSettings(few=True))  # fills the cache
    assert call("--data", "data", "--out", "whole", *BRIEF) == 0
    left, real = writes, os.fsync

    def full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert call("--data", "data", "--out", "run", *BRIEF) == 7
    line = last_line(capsys)
    assert line.startswith("vae-train: cannot write ")
    assert line.endswith(": No space left on device; choose another place or free some space")
    assert not [name for name in files_below(".") if name.endswith(".part")]
    assert call("--data", "data", "--out", "run", "--resume", *BRIEF) == 0
    assert load_run(Path("run")).weights_sha256 == load_run(Path("whole")).weights_sha256


def test_a_disk_that_fills_up_while_files_are_read_names_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_folder(Path("data"), discs(30, (8, 8)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        expected = "No space left on device; free some space, or set VAE_GEN_CACHE to another folder"
        with pytest.raises(OutputError, match=rf"^cannot write \S+: {expected}$"):
            load_images("data", ImageSettings(few=True))
    assert load_images("data", ImageSettings(few=True)).report.total == 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs the file locks of POSIX")
def test_what_a_killed_process_left_in_the_cache_is_removed() -> None:
    write_folder(Path("data"), discs(30, (8, 8)))
    load_images("data", ImageSettings(few=True))
    cache = Path(os.environ["VAE_GEN_CACHE"])
    (index,) = cache.rglob("index.json")
    shutil.move(index.parent, index.parent.with_name(f".{index.parent.name}.0a1b2c3d.part"))
    load_images("data", ImageSettings(few=True))
    assert index.exists()
    assert list(cache.rglob(".*.part")) == []


def test_nothing_is_written_into_the_folder_of_the_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(str(write_folder(Path("data"), discs(30, (8, 8)))))
    assert call("--data", "data", "--out", "data/run", *BRIEF) == 2
    assert last_line(capsys) == (
        "vae-train: expected --out outside of the folder of the images, because nothing is written there, got "
        f"{Path('data/run').resolve()}; choose another --out"
    )
    assert files_below("data") == before
    monkeypatch.chdir("data")
    assert call("--data", ".", "--dry-run") == 2
    assert "expected the current folder outside of the folder of the images" in last_line(capsys)
    assert call("--data", ".", *BRIEF) == 2  # runs/ would be made here
    assert sorted(path.name for path in Path().iterdir()) == sorted(Path(name).name for name in before)


@pytest.mark.parametrize(("count", "code", "message"), [
    (0, 5, "data: expected pictures, found none (no other files either); check --data"),
    (3, 5, "data: expected at least 20 pictures to train on, got 3; add pictures"),
    (150, 5, "data: expected at least 200 pictures, because a model learns fewer by heart, got 150; add pictures, or "
             "train all the same with --few"),
])  # fmt: skip
def test_too_few_images_end_before_anything_is_made(
    count: int, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("data"), discs(count, (8, 8)))
    assert call("--data", "data", "--out", "run") == code
    assert capsys.readouterr().err == f"vae-train: {message}\n"
    assert not Path("run").exists()


def test_names_in_any_script_and_of_any_bytes_are_classes(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["two words", "größe", "绘 文", "a\nline", "#1 'q' \"d\"", "-x", os.fsdecode(b"bytes\xff")]
    for at, name in enumerate(names):
        write_folder(Path("my data", name), discs(10, (8, 8), seed=at))
    assert call("--data", "my data", "--out", "my run", *BRIEF) == 0
    assert "  classes: 7 folders" in capsys.readouterr().err
    record = load_run(Path("my run")).record
    assert record["data"]["class_names"] == sorted([*names[:-1], "bytes\\xff"])
    assert call("--out", "my run", "--resume") == 0
