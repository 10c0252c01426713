"""`vae-gen bench`: what it reports; how fast this machine is, is no test's business."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_runner import Command
from vae_gen_cli import bench


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.05)
    monkeypatch.setattr(bench, "STARTS", 1)
    monkeypatch.setattr(bench, "SINGLES", 3)


def test_json_has_every_figure_and_advises_a_count_that_was_measured(cli: Command) -> None:
    document = json.loads(cli.succeed("bench", "--json").out)
    rates = document["pictures_a_second"]
    assert list(rates) == [str(threads) for threads in bench.thread_counts()]
    assert all(rate > 0 for rate in rates.values())
    assert str(document["recommended_threads"]) in rates
    assert document["start_up_seconds"] > document["one_picture_seconds"] > 0
    assert (document["command"], document["model"]["name"]) == ("bench", "tiny")
    assert document["machine"]["cores"] >= 1


def test_the_table_says_the_same(cli: Command) -> None:
    lines = cli.succeed("bench").out.decode().splitlines()
    assert re.fullmatch(r"fresh process, one picture +\d+ ms", lines[0])
    assert re.fullmatch(r"one picture, once it runs +[\d.]+ ms", lines[1])
    assert len(lines) == 3 + len(bench.thread_counts())
    assert re.fullmatch(r"recommended: --threads \d+ for bulk work", lines[-1])


def test_what_is_wrong_is_said_before_anything_is_measured(cli: Command) -> None:
    outcome = cli("bench", "--model", "nowhere")
    assert outcome.code == 4
    assert "measuring" not in outcome.err
    assert cli("bench", "--provider", "nothing").code == 3


def test_modules_in_the_current_folder_are_not_run(cli: Command) -> None:
    for name in ("typer", "vae_gen", "vae_gen_cli", "json", "sitecustomize"):
        Path(f"{name}.py").write_text("raise SystemExit('ran a file of the current folder')")
    cli.succeed("bench")


def test_a_frozen_app_says_that_it_cannot_measure(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.frozen", True, raising=False)
    outcome = cli("bench")
    assert outcome.code == 3
    assert outcome.err == (
        "vae-gen: expected a vae-gen that Python runs, got a frozen app, which can't start a second one; "
        "run vae-gen bench from an installation\n"
    )


@given(st.dictionaries(st.integers(1, 64), st.floats(1, 1e6), min_size=1))
def test_the_recommendation_is_the_fewest_threads_that_are_as_good_as_the_best(rates: dict[int, float]) -> None:
    advised = bench.recommended(rates)
    best = max(rates.values())
    assert rates[advised] >= 0.95 * best
    assert all(rate < 0.95 * best for threads, rate in rates.items() if threads < advised)
