"""Options that commands share: each given once, from the environment, completed by the shell, with safe defaults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import typer
from PIL import Image

from cli_runner import Command
from vae_gen import Pictures
from vae_gen_cli import output
from vae_gen_cli.main import COMMANDS, app

GROUP = typer.main.get_command(app)
SINGLE = [
    (name, param)
    for name in COMMANDS
    for param in GROUP.get_command(None, name).params
    if param.param_type_name == "option" and not param.multiple
]


@pytest.mark.parametrize(("name", "param"), SINGLE, ids=[f"{name} {param.opts[-1]}" for name, param in SINGLE])
def test_an_option_given_twice_is_refused_in_one_line(cli: Command, name: str, param: typer.core.TyperOption) -> None:
    forms = [*param.opts, *param.secondary_opts]
    value = [] if param.is_flag else ["5"]
    outcome = cli(name, forms[0], *value, forms[-1], *value)
    names = " or ".join((max(param.opts, key=len), *param.secondary_opts))
    assert outcome.code == 2
    said = outcome.err.splitlines()[-1] if param.name == "debug" else outcome.err.strip("\n")  # after the traceback
    assert said == f"vae-gen: expected {names} once, got it 2 times; leave out all but one"


def test_help_is_shown_even_if_an_option_is_given_twice(cli: Command) -> None:
    assert b"Examples:" in cli.succeed("sample", "--seed", "1", "--seed", "2", "--help").out


def test_two_runs_of_sample_keep_both_pictures(cli: Command) -> None:
    seeds = {json.loads(cli.succeed("sample", "-n", "1", "--json").out)["seed"] for _ in range(2)}
    assert {path.name for path in Path.cwd().iterdir()} == {f"samples-{seed}.png" for seed in seeds}
    assert len(seeds) == 2


def test_a_default_name_that_is_taken_gets_a_number(cli: Command) -> None:
    Image.new("L", (28, 28), 90).save("in.png")
    lines = {
        "sample -n 1 --seed 7": "samples-7.png",
        "traverse --dim 1 --steps 2": "traversal.png",
        "traverse --dim 1 --steps 2 --seed 7 --format gif": "traversal-7.gif",
        "interpolate --seed 1 --seed 2 --steps 2": "interpolation.png",
        "encode in.png": "latents.npz",
        "decode latents.npz --format npy": "decoded.npy",
        "reconstruct in.png": "reconstruction.png",
        "repeat samples-7.png": "samples-7-again.png",
    }
    for line, name in lines.items():
        stem, _, ending = name.rpartition(".")
        for expected in (name, f"{stem}-2.{ending}", f"{stem}-3.{ending}"):
            before = {path: path.read_bytes() for path in Path.cwd().iterdir()}
            assert json.loads(cli.succeed(*line.split(), "--json").out)["output"] == expected
            assert {path.name for path in Path.cwd().iterdir()} == {path.name for path in before} | {expected}
            assert all(path.read_bytes() == content for path, content in before.items())


def test_a_name_that_was_given_is_overwritten(cli: Command) -> None:
    cli.succeed("sample", "-n", "1", "--seed", "1", "-o", "a.png")
    first = Path("a.png").read_bytes()
    cli.succeed("sample", "-n", "1", "--seed", "2", "-o", "a.png")
    assert Path("a.png").read_bytes() != first
    assert [path.name for path in Path.cwd().iterdir()] == ["a.png"]


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`vae-gen` in a process with these environment variables and no --model."""
    code = "from vae_gen_cli.main import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, encoding="utf-8",
        env={**os.environ, **environment},
    )  # fmt: skip


def test_model_and_threads_come_from_the_environment(cli: Command, other_model_folder: Path) -> None:
    here = {"VAE_GEN_MODEL": str(other_model_folder), "VAE_GEN_THREADS": "2"}
    found = command("sample", "-n", "1", "--seed", "1", "--json", **here)
    assert json.loads(found.stdout)["model"]["name"] == "other"
    found = command("info", "--json", "--model", str(cli.model), **here)  # an option is stronger
    assert json.loads(found.stdout)["model"]["name"] == "tiny"


@pytest.mark.parametrize("name", ["sample", "info", "verify"])
def test_a_wrong_variable_is_named(cli: Command, name: str) -> None:
    found = command(name, VAE_GEN_MODEL="nowhere")
    assert found.returncode == 4
    assert found.stderr.startswith("vae-gen: VAE_GEN_MODEL: expected a model folder or one of fashion-mnist-12d, ")
    assert found.stderr.count("\n") == 1


def test_a_wrong_number_of_threads_names_the_variable(cli: Command) -> None:
    found = command("sample", VAE_GEN_THREADS="many")
    expected = "vae-gen: expected a whole number from 1 to 1024 for VAE_GEN_THREADS, got many\n"
    assert (found.stderr, found.returncode) == (expected, 2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("vae-gen s", ["sample"]),
        ("vae-gen sample --mod", ["--model"]),
        ("vae-gen sample --model ", ["fashion-mnist-12d", "fashion-mnist-12d-reference"]),
        ("vae-gen sample --format ", ["png", "webp", "npy", "npz", "parquet", "webdataset", "folder-by-class"]),
        ("vae-gen encode --format ", ["npz", "json", "parquet"]),
        ("vae-gen sample --label sn", ["sneaker"]),
        ("vae-gen sample --label b", ["bag", "boot"]),
        ("vae-gen traverse --prior ", ["normal", "fitted"]),
        ("vae-gen sample --provider c", ["cpu", "cuda", "coreml"]),
    ],
)
def test_the_shell_completes_commands_options_and_values(cli: Command, words: str, expected: list[str]) -> None:
    found = command(
        _VAE_GEN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1)
    )
    assert found.stdout.split() == expected, found.stderr


def test_classes_are_completed_from_the_chosen_model(cli: Command) -> None:
    words = f"vae-gen sample --model {cli.model} --label "
    found = command(_VAE_GEN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="5")
    assert found.stdout.split() == ["blob", "other"]
    words = "vae-gen sample --model nowhere --label "
    found = command(_VAE_GEN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="5")
    assert (found.stdout.strip(), found.stderr) == ("", "")


def test_a_bar_appears_when_work_has_taken_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    shown: list[tuple[int, float]] = []

    class Bar:
        task_ids = (0,)

        def update(self, task: int, completed: int) -> None:
            shown.append((completed, now))

        def stop(self) -> None:
            shown.append((-1, now))

    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    monkeypatch.setattr(output, "_progress_bar", lambda total: Bar())
    monkeypatch.setattr(sys, "stderr", mock.Mock(isatty=lambda: True))
    picture = Pictures(np.zeros((100, 1, 28, 28)), np.zeros((100, 12)))
    for quiet in (False, True):
        for _ in output.Console(as_json=False, quiet=quiet).watched([picture] * 4, 400):
            now += 0.4
    assert shown == [(300, pytest.approx(101.2)), (400, pytest.approx(101.6)), (-1, pytest.approx(101.6))]
