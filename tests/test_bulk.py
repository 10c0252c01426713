"""Folders of shards: their pictures are those of `sample -o x.npy`, whoever makes the shards and in whatever order."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cli_runner import Command

MAKE = ("sample", "-n", "300", "--seed", "7", "--start", "40", "--format", "parquet", "--shard-size", "128")


def hashes(folder: Path | str = "out") -> dict[str, str]:
    """The SHA-256 of each file of a folder."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in Path(folder).iterdir()}


def pictures(folder: Path | str = "out") -> bytes:
    """The bytes of all pictures, in order."""
    images = pq.read_table(folder, columns=["index", "image"]).sort_by("index")["image"]
    return b"".join(images.to_pylist())


@pytest.mark.parametrize("prior", ["fitted", "normal"])
def test_shards_have_the_pictures_latents_and_labels_of_an_array(cli: Command, prior: str) -> None:
    cli.succeed(*MAKE, "--prior", prior, "--out", "out")
    cli.succeed("sample", "-n", "300", "--seed", "7", "--start", "40", "--prior", prior, "-o", "x.npz")
    table, arrays = pq.read_table("out").sort_by("index"), np.load("x.npz")
    assert pictures() == arrays["images"].tobytes()
    assert table["index"].to_pylist() == list(range(40, 340))
    assert table["label"].to_pylist() == (arrays["labels"].tolist() if "labels" in arrays else [-1] * 300)
    assert np.array_equal(np.stack(table["latent"].to_numpy()), arrays["latents"])


def test_shards_begin_at_multiples_of_their_size_and_are_described(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    found = hashes()
    assert sorted(name for name in found if name.endswith(".parquet")) == [
        "part-000000000040.parquet", "part-000000000128.parquet", "part-000000000256.parquet",
    ]  # fmt: skip
    for start, count in ((40, 88), (128, 128), (256, 84)):
        facts = json.loads(Path(f"out/_part-{start:012}.json").read_text())
        content = Path(f"out/part-{start:012}.parquet").read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        assert facts == {"start": str(start), "count": count, "bytes": len(content), "sha256": sha256}


def test_shares_that_run_one_after_the_other_make_the_same_folder(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    for part in ("1/2", "0/2"):
        cli.succeed(*MAKE, "--out", "halves", "--shard", part)
    assert hashes("halves") == hashes("out")


def test_a_shard_does_not_depend_on_the_range(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    cli.succeed("sample", "-n", "128", "--seed", "7", "--start", "128", "--format", "parquet", "--out", "one")
    name = "part-000000000128.parquet"
    assert hashes("one")[name] == hashes("out")[name]


@pytest.mark.parametrize("lost", ["part-000000000128.parquet", "_part-000000000128.json"])
def test_resume_makes_what_is_missing(cli: Command, lost: str) -> None:
    cli.succeed(*MAKE, "--out", "out")
    before = hashes()
    (Path("out") / lost).unlink()
    outcome = cli.succeed(*MAKE, "--out", "out", "--resume", "--json")
    assert json.loads(outcome.out)["kept"] == 2
    assert "kept 2 of 3 shards, made 1\n" in outcome.err
    assert hashes() == before
