"""Inputs that are pipes, devices and files made to harm, for every command that reads."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command
from test_cli_process import command
from vae_gen_cli.repeat import SIGNATURE

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")


def picture(path: Path) -> Path:
    Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save(path)
    return path


@posix
@pytest.mark.parametrize("how", ["-", "/dev/stdin"])
def test_pictures_come_through_pipes(tiny_model_folder: Path, tmp_path: Path, how: str) -> None:
    content = picture(tmp_path / "a.png").read_bytes()
    for name in ("encode", "reconstruct"):
        done = subprocess.run(
            command(name, how, "-o", "x.npz" if name == "encode" else "x.png", "--model", tiny_model_folder),
            input=content, capture_output=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@posix
@pytest.mark.parametrize("how", ["-", "/dev/stdin"])
def test_a_picture_is_repeated_from_a_pipe(tiny_model_folder: Path, tmp_path: Path, how: str, cli: Command) -> None:
    made = cli.succeed("sample", "-n", "2", "--seed", "3", "-o", "-").out
    again = subprocess.run(
        command("repeat", how, "-o", "-", "--model", tiny_model_folder), input=made, capture_output=True, check=False
    )
    assert (again.returncode, again.stdout) == (0, made), again.stderr


@posix
@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "pipe"])
@pytest.mark.parametrize("words", ["sample -n 3 --seed 1 --format npy", "traverse --seed 1 --format gif"])
def test_pictures_go_into_open_files_and_pipes(cli: Command, words: str, place: str) -> None:
    """`>(…)` of a shell is a pipe without a name. What a shell wrote to the same file before is not cut off."""
    expected = cli.succeed(*words.split(), "-o", "-").out
    receiving, sending = os.pipe()
    output = f"/dev/fd/{sending}" if place == "pipe" else place
    with Path("out").open("wb") as out:
        out.write(b"first")
        out.flush()
        shell = command(*words.split(), "-o", output, "--model", cli.model)
        done = subprocess.Popen(shell, stdout=out, stderr=subprocess.PIPE, pass_fds=[sending])
        os.close(sending)
        with open(receiving, "rb") as pipe:  # noqa: PTH123 - of a descriptor
            through_pipe = pipe.read()
        _, errors = done.communicate()
    assert done.returncode == 0, errors
    assert through_pipe + Path("out").read_bytes() == (expected + b"first" if place == "pipe" else b"first" + expected)


@posix
@pytest.mark.parametrize("name", ["encode", "reconstruct", "repeat"])
def test_a_device_without_an_end_is_refused(name: str, cli: Command) -> None:
    outcome = cli(name, "/dev/zero")
    assert outcome.code == 5
    assert "/dev/zero: expected at most 268435456 bytes" in outcome.err


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("kind", ["zeros", "empty chunks", "behind the end"])
def test_a_png_without_an_end_is_not_read_for_ever(kind: str, cli: Command) -> None:
    path = Path("a.png")
    if kind == "zeros":
        path.write_bytes(SIGNATURE)
        os.truncate(path, 10 << 30)
    elif kind == "empty chunks":
        path.write_bytes(SIGNATURE + chunk(b"abCd", b"") * 300_000)
    else:
        path.write_bytes(SIGNATURE + chunk(b"IEND", b"") + chunk(b"tEXt", b"vae-gen\0{}"))
    outcome = cli("repeat", path)
    assert outcome.code == 5
    assert "expected a PNG with a vae-gen chunk, found none" in outcome.err


def test_a_picture_with_an_extreme_side_is_refused(cli: Command) -> None:
    Image.new("1", (1, 40_000)).save("thin.png")
    outcome = cli("encode", "thin.png")
    assert outcome.code == 5
    assert "expected a picture with sides of at most 32767 pixels, got 1 × 40000; crop it first" in outcome.err


def test_a_name_that_is_too_long_is_an_input_that_is_not_there(cli: Command) -> None:
    for name in ("repeat", "encode", "decode"):
        outcome = cli(name, "a" * 5000)
        assert outcome.code == 5
        assert "space" not in outcome.err
