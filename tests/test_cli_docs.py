"""docs/cli.md holds to the program: its examples run, and it names every option."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from cli_runner import Command

DOCUMENT = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^    (vae-gen .*)$", DOCUMENT, re.MULTILINE)
COMMANDS = (
    "sample", "traverse", "interpolate", "reconstruct", "encode", "decode", "info", "verify", "repeat", "kit", "play",
    "bench",
)  # fmt: skip


def test_every_example_runs(cli: Command) -> None:
    assert {example.split()[1] for example in EXAMPLES} == set(COMMANDS) - {"play"}  # which only ends by Ctrl-C
    for name in ("shirt.jpg", "shoe.png"):
        Image.new("L", (40, 30), 90).save(name)
    for example in EXAMPLES:
        data = b""
        for part in example.split(" | "):
            data = cli.succeed(*shlex.split(part)[1:], stdin=data).out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_described(cli: Command, command: str) -> None:
    options = set(re.findall(r"(?<!\S)--[a-z]+", cli.succeed(command, "--help").out.decode()))
    assert "--model" in options
    assert {option for option in options if option not in DOCUMENT} <= {"--help", "--output"}


def test_every_file_that_is_left_out_has_the_documented_name(cli: Command) -> None:
    Image.new("L", (28, 28), 90).save("in.png")
    for line in ("sample", "traverse", "interpolate --seed 1 --seed 2", "reconstruct in.png", "encode in.png"):
        cli.succeed(*line.split())
    cli.succeed("decode", "latents.npz")
    cli.succeed("repeat", "samples.png")
    made = {path.name for path in Path.cwd().iterdir()} - {"in.png"}
    documented = set(re.findall(r"\| `([\w-]+\.\w+)`", DOCUMENT.partition("## Outputs")[0]))
    assert made == {name.replace("FILE", "samples") for name in documented}


def test_the_page_of_all_commands_shows_each_ones_own_line(cli: Command) -> None:
    """It is made without the commands, so it must not say other things than they do."""
    import importlib
    import inspect

    from vae_gen_cli.main import COMMANDS as LINES

    assert tuple(LINES) == COMMANDS
    for name, line in LINES.items():
        function = getattr(importlib.import_module(f"vae_gen_cli.{name}"), name)
        assert line == (inspect.getdoc(function) or "").splitlines()[0]
    page = cli("--help").out.decode()
    assert [row.split()[0] for row in page.partition("Commands:\n")[2].splitlines()] == list(COMMANDS)
    assert cli("nonsense").code == 2
    assert "sample" in cli().err
