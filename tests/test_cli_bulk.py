"""The messages of commands that fill folders of shards, or that were meant to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_runner import Command

MAKE = ("sample", "-n", "100", "--format", "parquet", "--shard-size", "32", "--out", "out")


def test_a_drawn_seed_is_printed_before_the_work_and_resumes_it(cli: Command) -> None:
    first, last = cli.succeed(*MAKE).err.splitlines()
    seed = first.split()[1]
    assert first == f"seed {seed} (drawn at random); if interrupted, go on with --seed {seed} --resume"
    assert last == f"100 pictures of seed {seed} (drawn at random) → out"
    assert "kept 4 of 4 shards" in cli.succeed(*MAKE, "--seed", seed, "--resume").err
    assert cli.succeed(*MAKE[:-1], "other", "--quiet").err == ""


def test_a_share_reports_what_it_made(cli: Command) -> None:
    outcome = cli.succeed(*MAKE, "--seed", "7", "--shard", "1/2", "--json")
    assert outcome.err == "share 1/2: 2 of 4 shards, 36 pictures of seed 7 → out\n"
    facts = json.loads(outcome.out)
    assert (facts["count"], facts["shape"][0], facts["shards"], facts["shard"]) == (36, 36, 2, "1/2")
    assert "labels" not in facts


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sample --out garments", "give it one of these endings, or add --format parquet for a folder of shards"),
        ("encode a.png --out latents", "give it one of these endings, or add --format parquet for a folder of shards"),
        ("sample --shard 0/2 -o q.npy", "--shard only applies to folders of shards, such as --format parquet"),
        (
            "sample -n 64000000 --seed 1 --format parquet --shard-size 32 --out x",
            "expected at most 1000000 shards, got 2000000; choose a --shard-size of 96 or more",
        ),
    ],
)
def test_a_misunderstanding_is_one_line_that_says_what_to_do(cli: Command, words: str, message: str) -> None:
    outcome = cli(*words.split())
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert message in outcome.err


def test_pictures_are_not_mixed_with_shards(cli: Command) -> None:
    cli.succeed(*MAKE, "--seed", "7")
    before = sorted(Path("out").iterdir())
    outcome = cli("sample", "-n", "2", "-o", "out/")
    assert outcome.code == 2
    assert outcome.err == "vae-gen: expected a folder of pictures, got out/, which has shards; name another folder\n"
    assert sorted(Path("out").iterdir()) == before
