"""`--resume` continues what a killed command has left, and ends with the bytes of a command that was not killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli_runner import Command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the file locks of POSIX")

OUTPUTS = ["a.npy", "a.npz", pytest.param("a/", marks=pytest.mark.slow)]
COUNT = "2200"
NOT_RESUMED = "--resume only applies to arrays and folders on disk (.npy, .npz, /); leave it out"


KILLED = """
import os
from vae_gen_cli.main import run
from vae_gen_cli.output import Console
real = Console.watched
def watched(self, chunks, *counts):
    for at, chunk in enumerate(real(self, chunks, *counts)):
        if at == 2:
            os.kill(os.getpid(), {number})
        yield chunk
Console.watched = watched
run()
"""


def stopped(*arguments: str | Path, number: signal.Signals = signal.SIGKILL) -> None:
    """`vae-gen` in a process that gets a signal when it has written two parts of up to 1024 pictures."""
    script = KILLED.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 128 + number), done.stderr


def content(output: str) -> dict[str, bytes]:
    """The files of an output, hidden ones too, without those of unfinished outputs."""
    path = Path(output)
    files = [path] if path.is_file() else path.rglob("*")
    return {file.name: file.read_bytes() for file in files}


def hidden() -> list[Path]:
    return list(Path().rglob(".*"))


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_killed_command_is_continued_to_the_same_bytes(
    cli: Command, detailed_model_folder: Path, output: str
) -> None:
    """Also for a range that doesn't begin with a block."""
    options = ("-n", COUNT, "--seed", "5", "--start", "77", "-o", output)
    stopped("sample", *options, "--model", detailed_model_folder)
    assert not Path(output).exists()
    again = cli.succeed("sample", *options, "--resume", "--json", model=detailed_model_folder)
    kept = json.loads(again.out)["kept"]
    assert kept == 2048 - 77
    assert again.err.startswith("kept 1971 pictures of an interrupted command; 229 pictures to make\n")
    assert hidden() == []
    continued = content(output)
    Path("a").rename("b") if output == "a/" else Path(output).unlink()
    cli.succeed("sample", *options, model=detailed_model_folder)
    assert content(output) == continued


@pytest.mark.parametrize("output", OUTPUTS)
def test_damaged_bytes_are_made_again(cli: Command, output: str) -> None:
    """As if the machine had lost power: the journal is on disk, and a part that it describes is not."""
    options = ("-n", COUNT, "--seed", "5", "-o", output)
    stopped("sample", *options, "--model", cli.model)
    (left,) = hidden()
    damaged = left / "content" / "001500.png" if output == "a/" else left / "content"
    with damaged.open("r+b") as file:
        file.seek(-30 if output == "a/" else 1_100_000, 2 if output == "a/" else 0)
        file.write(bytes(20))
    assert json.loads(cli.succeed("sample", *options, "--resume", "--json").out)["kept"] == 1024
    continued = content(output)
    cli.succeed("sample", *options)
    assert content(output) == continued


@pytest.mark.parametrize("output", OUTPUTS)
def test_other_options_are_refused_and_what_was_made_stays(cli: Command, output: str, other_model_folder: Path) -> None:
    stopped("sample", "-n", COUNT, "--seed", "5", "-o", output, "--model", cli.model)
    refused = cli("sample", "-n", COUNT, "--seed", "6", "-o", output, "--resume")
    assert (refused.code, refused.err) == (
        2,
        f"vae-gen: {output}: expected the options and the model of the command that was interrupted, got seed 6 in "
        "place of 5; repeat them, or leave out --resume to begin again\n",
    )
    refused = cli("sample", "-n", COUNT, "--seed", "5", "-o", output, "--resume", model=other_model_folder)
    assert refused.code == 2
    assert "got model other 1 (" in refused.err
    again = cli.succeed("sample", "-n", COUNT, "--seed", "5", "-o", output, "--resume", "--json")
    assert json.loads(again.out)["kept"] == 2048


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_command_that_may_be_resumed_keeps_its_pictures_when_it_is_interrupted(cli: Command, output: str) -> None:
    options = ("-n", COUNT, "--seed", "5", "-o", output, "--resume")
    stopped("sample", *options, "--model", cli.model, number=signal.SIGTERM)
    assert json.loads(cli.succeed("sample", *options, "--json").out)["kept"] == 2048


@pytest.mark.parametrize("output", OUTPUTS)
def test_without_resume_what_was_left_is_removed(cli: Command, output: str) -> None:
    stopped("sample", "-n", COUNT, "--seed", "5", "-o", output, "--model", cli.model)
    assert hidden()
    cli.succeed("sample", "-n", "3", "--seed", "5", "-o", output)
    assert hidden() == []


def test_a_command_that_was_not_interrupted_is_made_whole(cli: Command) -> None:
    done = cli.succeed("sample", "-n", "3", "--seed", "5", "-o", "a.npy", "--resume")
    assert done.err == (
        "found nothing to continue from an interrupted command; 3 pictures to make\n3 pictures of seed 5 → a.npy\n"
    )


@pytest.mark.slow
def test_each_of_several_commands_that_fill_one_folder_is_continued(cli: Command) -> None:
    """One that had not begun may begin while the others are unfinished."""
    for start in ("0", "2200"):
        stopped("sample", "-n", COUNT, "--seed", "5", "--start", start, "-o", "a/", "--resume", "--model", cli.model)
        Path("a").mkdir(exist_ok=True)
    assert len(hidden()) == 2
    for start in ("4400", "2200", "0"):
        options = ("-n", COUNT, "--seed", "5", "--start", start, "-o", "a/", "--resume", "--json")
        assert (json.loads(cli.succeed("sample", *options).out)["kept"] > 0) == (start != "4400")
    assert sorted(content("a/")) == [f"{index:06}.png" for index in range(6600)]


def test_decode_is_continued(cli: Command) -> None:
    cli.succeed("sample", "-n", COUNT, "--seed", "5", "-o", "z.npz")
    options = ("decode", "z.npz", "-o", "a.npz")
    stopped(*options, "--model", cli.model)
    assert json.loads(cli.succeed(*options, "--resume", "--json").out)["kept"] == 2048
    continued = content("a.npz")
    cli.succeed(*options)
    assert content("a.npz") == continued


@pytest.mark.parametrize(("arguments", "message"), [
    (["-o", "a.npy"], "expected --seed for --resume, got none; give the options of the command that was interrupted"),
    (["--seed", "1", "-o", "a.png"], NOT_RESUMED),
    (["--seed", "1", "-o", "-", "--format", "npy"], NOT_RESUMED),
])  # fmt: skip
def test_what_cannot_be_resumed_is_refused(cli: Command, arguments: list[str], message: str) -> None:
    refused = cli("sample", *arguments, "--resume")
    assert (refused.code, refused.err) == (2, f"vae-gen: {message}\n")
