"""The help pages are whole and useful, and docs/cli.md and docs/reference/cli.md agree with the program."""

from __future__ import annotations

import importlib
import inspect
import io
import re
import runpy
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from cli_runner import Command, call
from vae_gen import find_model
from vae_gen.internal.command import SPELT, described
from vae_gen_cli.main import COMMANDS, EXAMPLES, app

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
DOCUMENT_EXAMPLES = re.findall(r"^    (vae-gen .*)$", DOCUMENT, re.MULTILINE)
NOT_RUN = ("play", "page", "bench")  # these end with Ctrl-C, need npm, or measure for ten seconds
TRAINING = {
    "vae-train": "vae_train.train_command", "vae-eval": "vae_train.eval_command",
    "vae-detail": "vae_train.detail_command", "vae-export": "vae_export.command",
}  # fmt: skip


def page(cli: Command, *arguments: str) -> str:
    """A help page on a terminal of 80 columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        return cli.succeed(*arguments).out.decode()


def click_command(name: str) -> tuple[Any, Any]:
    """A command of `vae-gen` and its context, or all of it for an empty name."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("vae-gen", [], resilient_parsing=True)
    if not name:
        return group, context
    command = group.get_command(context, name)
    return command, command.make_context(name, [], parent=context, resilient_parsing=True)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_a_help_page_has_every_option_whole_and_ends_with_examples(cli: Command, name: str) -> None:
    text = page(cli, *name.split(), "--help")
    assert page(cli, *name.split(), "-h") == text
    assert max(map(len, text.splitlines())) <= 80
    command, context = click_command(name)
    words = " ".join(text.split())
    for param in command.get_params(context):
        for part in [] if getattr(param, "hidden", False) else described(param):
            assert "".join(part.split()) in "".join(words.split()), param.name  # wrapped lines may break at hyphens
    for paragraph in command.help.split("\n\n"):
        assert " ".join(paragraph.split()) in words
    examples = text.partition("\nExamples:\n")[2].splitlines()
    assert [line.strip() for line in examples] == list(EXAMPLES[name])
    assert examples


NARROW = ["cp1251", "cp1252", "iso8859-1", "cp437", "ascii"]
"""Encodings of consoles and pipes that lack some letters of the help pages."""


def spelt(text: str, encoding: str) -> str:
    """The text as a stream of this encoding has it."""
    return "".join(SPELT.get(one, one) if one.encode(encoding, "ignore") == b"" else one for one in text)


@pytest.mark.parametrize("encoding", NARROW)
def test_the_help_pages_are_whole_in_every_encoding(cli: Command, encoding: str) -> None:
    for name in ["", *COMMANDS]:
        outcome = cli(*name.split(), "--help", encoding=encoding)
        assert (outcome.code, outcome.err) == (0, "")
        expected = cli(*name.split(), "--help").out.decode()
        if encoding == "ascii":  # Typer takes it for a wrong setting, and may print UTF-8
            assert outcome.out.decode() in (expected, spelt(expected, encoding))
        else:
            assert outcome.out.decode(encoding) == spelt(expected, encoding)


@pytest.mark.parametrize("module", TRAINING.values(), ids=TRAINING)
def test_the_help_of_the_training_commands_is_whole_in_every_encoding(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {}
    for encoding in ("utf-8", *NARROW):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", stream)
            assert call(importlib.import_module(module), "--help") == 0
        stream.seek(0)
        pages[encoding] = stream.read()
    assert all(page == spelt(pages["utf-8"], encoding) for encoding, page in pages.items())


def test_a_name_that_the_console_lacks_is_shown_with_question_marks(cli: Command) -> None:
    outcome = cli("sample", "-o", "брюки.npy", encoding="cp1252")
    assert outcome.code == 0
    assert outcome.err.endswith("-> ?????.npy\n")
    assert Path("брюки.npy").exists()
    outcome = cli("sample", "--model", "брюки", encoding="ascii")
    assert outcome.code == 4
    assert outcome.err.endswith("got ?????\n")


def test_the_page_of_all_commands_shows_each_summary_whole(cli: Command) -> None:
    listed = page(cli, "--help").partition("\nCommands:\n")[2].partition("\n\n")[0]
    assert [tuple(line.split(maxsplit=1)) for line in listed.splitlines()] == list(COMMANDS.items())
    for name, summary in COMMANDS.items():
        function = getattr(importlib.import_module(f"vae_gen_cli.{name}"), name)
        assert summary == (inspect.getdoc(function) or "").splitlines()[0]


@pytest.mark.parametrize("module", TRAINING.values(), ids=TRAINING)
def test_no_line_of_the_training_commands_help_is_cut(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command: Any = typer.main.get_command(importlib.import_module(module).app)
    context = command.make_context("it", [], resilient_parsing=True)
    text = command.get_help(context)
    assert max(map(len, text.splitlines())) <= 80
    words = "".join(text.split())
    for param in command.get_params(context):
        assert "".join((param.help or "").split()) in words, param.name


def test_the_options_are_in_panels(cli: Command) -> None:
    titles = re.findall(r"^(\w.*):$", page(cli, "sample", "--help"), re.MULTILINE)
    assert titles == ["What to make", "Output", "Folders of shards", "Model", "Messages and help", "Examples"]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in NOT_RUN])
def test_every_example_of_a_help_page_runs(cli: Command, name: str) -> None:
    run(cli, [line.partition(" > ")[0] for line in EXAMPLES[name]], find_model())


def test_every_example_of_the_document_runs(cli: Command) -> None:
    assert {example.split()[1] for example in DOCUMENT_EXAMPLES} <= set(COMMANDS)
    run(cli, [line for line in DOCUMENT_EXAMPLES if line.split()[1] not in NOT_RUN], find_model())


def run(cli: Command, lines: list[str], model: Path) -> None:
    """Runs lines in a folder with two pictures, some latents, a model folder and a picture that can be repeated."""
    for name in ("shirt.jpg", "shoe.png"):
        Image.new("L", (40, 30), 90).save(name)
    cli.succeed("encode", "shirt.jpg", "shoe.png", "-o", "latents.npz", model=model)
    cli.succeed("sample", "-n", "2", "--seed", "7", "-o", "garments.png", model=model)
    Path("my-model").symlink_to(cli.model)
    shutil.make_archive("my-model", "zip", cli.model)
    for line in lines:
        data = b""
        for part in line.split(" | "):
            data = cli.succeed(*shlex.split(part)[1:], stdin=data, model=model).out


def test_every_file_that_is_left_out_has_the_documented_name(cli: Command) -> None:
    Image.new("L", (28, 28), 90).save("in.png")
    for line in (
        "sample --seed 7", "traverse", "interpolate --seed 1 --seed 2", "reconstruct in.png", "encode in.png",
        "decode latents.npz", "repeat samples-7.png",
    ):  # fmt: skip
        cli.succeed(*line.split())
    made = {path.name for path in Path.cwd().iterdir()} - {"in.png"}
    documented = set(re.findall(r"\| `([\w-]+\.\w+)`", DOCUMENT.partition("## Outputs")[0]))
    assert made == {name.replace("FILE", "samples-7").replace("SEED", "7") for name in documented}


def test_the_reference_is_what_the_program_writes() -> None:
    script = runpy.run_path(str(ROOT / "cli" / "reference.py"))
    written = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    assert written == script["reference"](), "run python cli/reference.py"
