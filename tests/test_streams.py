"""Standard streams that are missing, closed or full, and signals that ask a process to end."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from onnx import helper

from test_cli_process import RUN, command
from test_hostile_graphs import decoder, sizes, with_graph

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="closed descriptors, signals and /dev/full of POSIX")

full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a Linux device that is always full")


def shell(redirections: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`vae-gen` started by a shell with these redirections."""
    script = f'exec "$@" {redirections}'
    return subprocess.run(
        ["sh", "-c", script, "sh", *command(*arguments)], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", pytest.param("2>/dev/full", marks=full)])
def test_a_missing_or_full_stream_does_not_undo_a_finished_command(
    tiny_model_folder: Path, tmp_path: Path, closed: str
) -> None:
    arguments = ("-n", "2000", "--seed", "1", "-o", "a.npy", "--model", tiny_model_folder)
    done = shell(closed, "sample", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    content = (tmp_path / "a.npy").read_bytes()
    assert content.startswith(b"\x93NUMPY")
    assert len(content) == 128 + 2000 * 784  # messages to a closed descriptor would have gone into the file
    assert "Error" not in done.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["info"]])
def test_a_command_that_only_prints_ends_well_without_standard_output(
    tiny_model_folder: Path, tmp_path: Path, arguments: list[str]
) -> None:
    extra = ["--model", str(tiny_model_folder)] if arguments == ["info"] else []
    done = shell(">&-", *arguments, *extra, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [("2>&-", ["sample", "--scale", "0"], 2), ("2>&-", ["info", "--model", "none"], 4), (">&-", ["nonsense"], 2)],
)
def test_errors_keep_their_exit_codes_without_a_stream_for_them(
    tmp_path: Path, closed: str, arguments: list[str], code: int
) -> None:
    done = shell(closed, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")


def test_data_to_or_from_a_closed_stream_is_one_plain_error(tiny_model_folder: Path, tmp_path: Path) -> None:
    done = shell(">&-", "sample", "-o", "-", "--model", tiny_model_folder, cwd=tmp_path)
    assert done.returncode == 7
    assert done.stderr == "vae-gen: cannot write to standard output, which is closed; name a file\n"
    done = shell("<&-", "decode", "-", "--model", tiny_model_folder, cwd=tmp_path)
    assert done.returncode == 5
    assert done.stderr == "vae-gen: expected data on standard input, which is closed; give the name of a file\n"


def test_a_program_without_a_console_gets_an_exit_code(tiny_model_folder: Path, tmp_path: Path) -> None:
    from vae_gen_cli.main import main

    out = tmp_path / "a.npy"
    words = ["vae-gen", "sample", "-n", "3", "-o", str(out), "--model", str(tiny_model_folder)]
    with mock.patch.multiple(sys, stdin=None, stdout=None, stderr=None, argv=words):
        assert main() == 0
        assert (sys.stdout, sys.stderr) == (None, None)
    assert out.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("output", ["a.npy", "a.npz", "new/"])
def test_a_signal_ends_the_work_and_leaves_nothing_behind(
    tiny_model_folder: Path, tmp_path: Path, number: signal.Signals, output: str
) -> None:
    process = subprocess.Popen(
        command("sample", "-n", "100000000", "--seed", "1", "-o", output, "--model", tiny_model_folder),
        stderr=subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    while not list(tmp_path.glob(".*.part")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors.decode() == "vae-gen: interrupted\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_ends_a_graph_while_it_runs(tiny_model_folder: Path, tmp_path: Path) -> None:
    names = [f"a{at}" for at in range(800)]
    nodes = [helper.make_node("MatMul", [one, "square"], [other]) for one, other in itertools.pairwise(names)]
    sides = {"wide": (12, 1024), "square": (1024, 1024), "flat": (1024, 784)}
    slow = decoder(
        helper.make_node("MatMul", ["latent", "wide"], [names[0]]),
        *nodes,
        helper.make_node("MatMul", [names[-1], "flat"], ["rows"]),
        helper.make_node("Reshape", ["rows", "shape"], ["image"]),
        constants={"shape": sizes(-1, 1, 28, 28)} | {name: np.zeros(side, np.float32) for name, side in sides.items()},
    )
    model = with_graph(tiny_model_folder, tmp_path / "slow", slow)
    np.save(tmp_path / "z.npy", np.zeros((60, 12), np.float32))
    script = f"""
import onnxruntime, time
real = onnxruntime.InferenceSession.run

def marked(*arguments):
    print("running", flush=True)
    try:
        return real(*arguments)
    except BaseException as error:
        try:
            time.sleep(0.1)  # until Python has called the handler of the signal
        except KeyboardInterrupt:
            pass
        print(repr(error), repr(error.__context__))
        raise KeyboardInterrupt

onnxruntime.InferenceSession.run = marked
{RUN}
"""
    words = ["decode", "z.npy", "-o", "a.npy", "--model", str(model)]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"running\n", process.stderr.read()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert errors.decode() == "vae-gen: interrupted\n"
    assert process.returncode == 130
    assert b"Exiting due to terminate flag" in output  # so the graph did not come to its end


def test_a_signal_that_is_ignored_stays_ignored(tiny_model_folder: Path, tmp_path: Path) -> None:
    script = f"import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv({sys.executable!r}, "
    words = command("sample", "-n", "20000", "--seed", "1", "-o", "a.npy", "--model", tiny_model_folder)
    process = subprocess.Popen([sys.executable, "-c", f"{script}{words!r})"], stderr=subprocess.DEVNULL, cwd=tmp_path)
    while not list(tmp_path.glob(".*.part")) and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGHUP)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "a.npy").exists()


def test_an_interruption_inside_a_library_is_not_called_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    from vae_gen.internal.command import run_command

    def app(**_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error  # as NumPy's extension modules do

    assert run_command(app, "vae-gen") == 130
    assert capsys.readouterr().err == "vae-gen: interrupted\n"


def test_packages_that_cannot_be_imported_are_not_called_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    from vae_gen.internal.command import run_command

    def app(**_: object) -> None:
        raise ImportError("libonnxruntime.so.1: cannot open shared object file", name="onnxruntime")

    assert run_command(app, "vae-gen") == 3
    assert capsys.readouterr().err == (
        "vae-gen: expected packages that can be imported, got: libonnxruntime.so.1: cannot open shared object file; "
        "install vae-gen again\n"
    )


def test_shards_into_one_new_folder_lose_no_picture(tiny_model_folder: Path, tmp_path: Path) -> None:
    shards = [
        subprocess.Popen(
            command("sample", "--seed", "1", "-n", "25", "--start", str(25 * at), "-o", "shard/",
                    "--model", tiny_model_folder, "-q"),
            cwd=tmp_path,
        )
        for at in range(8)
    ]  # fmt: skip
    assert [shard.wait(timeout=120) for shard in shards] == [0] * 8
    assert sorted(path.name for path in (tmp_path / "shard").iterdir()) == [f"{at:06}.png" for at in range(200)]
    assert [path.name for path in tmp_path.iterdir()] == ["shard"]


def test_a_kit_fills_the_folder_that_it_stands_in(tiny_model_folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command("kit", ".", "--model", tiny_model_folder), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert done.stderr.startswith(f"{len(files)} files → .; begin with README.md")
    assert (tmp_path / "model" / "manifest.json").exists()
