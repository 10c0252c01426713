"""`vae-gen encode` in bulk: the latents of `encode -o x.npz`, of files, folders, arrays and shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cli_runner import Command
from test_bulk import hashes, refusal

ENCODE = ("encode", "pictures", "a.npy", "b.npz", "shards", "--format", "parquet", "--shard-size", "64")


@pytest.fixture(autouse=True)
def pictures(cli: Command) -> None:
    """Forty PNGs in a folder, two arrays, and a folder of shards."""
    cli.succeed("sample", "-n", "40", "--seed", "1", "-o", "pictures/")
    cli.succeed("sample", "-n", "50", "--seed", "2", "-o", "a.npy")
    cli.succeed("sample", "-n", "1", "--seed", "3", "-o", "b.npz")
    cli.succeed("sample", "-n", "70", "--seed", "4", "--out", "shards", "--format", "parquet", "--shard-size", "32")


def test_the_latents_are_those_of_an_archive(cli: Command) -> None:
    cli.succeed(*ENCODE, "--out", "out")
    cli.succeed("sample", "-n", "70", "--seed", "4", "-o", "c.npy")
    files = sorted(str(file) for file in Path("pictures").iterdir())
    cli.succeed("encode", *files, "a.npy", "b.npz", "c.npy", "-o", "x.npz")
    table, arrays = pq.read_table("out"), np.load("x.npz")
    assert table["index"].to_pylist() == list(range(161))
    assert np.array_equal(np.stack(table["mean"].to_numpy()), arrays["mean"])
    assert np.array_equal(np.stack(table["log_variance"].to_numpy()), arrays["log_variance"])
    names = table["file"].to_pylist()
    assert names[:91] == arrays["files"].tolist()[:91]
    assert names[91:] == [
        f"{Path('shards', f'part-{start:012}.parquet')}[{at}]"
        for start, count in ((0, 32), (32, 32), (64, 6)) for at in range(count)
    ]  # fmt: skip
    assert table["familiar"].to_pylist() == json.loads(
        cli.succeed("encode", *files, "a.npy", "b.npz", "c.npy", "-o", "x.npz", "--json").out
    )["familiar"]


def test_rows_behind_the_first_row_group_of_a_file_are_read(cli: Command) -> None:
    options = ("sample", "-n", "4200", "--seed", "4", "--start", "100")
    cli.succeed(*options, "--out", "many", "--format", "parquet")
    cli.succeed(*options, "-o", "many.npy")
    for name in ("many", "many.npy"):
        cli.succeed("encode", name, "--format", "parquet", "--shard-size", "2048", "--out", f"of {name[:-4]}")
    one, other = (pq.read_table(f"of {name}", columns=["mean"])["mean"] for name in ("", "many"))
    assert one.to_pylist() == other.to_pylist()


def test_shares_and_resumed_commands_make_the_same_folder(cli: Command) -> None:
    cli.succeed(*ENCODE, "--out", "out")
    for part in ("0/2", "1/2"):
        cli.succeed(*ENCODE, "--out", "halves", "--shard", part)
    Path("halves/part-000000000064.parquet").unlink()
    outcome = cli.succeed(*ENCODE, "--out", "halves", "--resume", "--json")
    assert json.loads(outcome.out)["kept"] == 2
    assert hashes("halves") == hashes("out")
    assert cli.succeed("verify", "out").err == "5 checks passed\n"


@pytest.mark.parametrize("change", ["another file", "another size"])
def test_other_inputs_are_refused(cli: Command, change: str) -> None:
    cli.succeed(*ENCODE, "--out", "out")
    if change == "another file":
        Path("pictures/000000.png").rename("pictures/zero.png")
    else:
        Path("pictures/000000.png").write_bytes(Path("pictures/000001.png").read_bytes() + b"\0")
    code, line = refusal(cli, *ENCODE, "--out", "out", "--resume")
    assert code == 2
    assert line.startswith("out: expected the options and the model that its _manifest.json names, got inputs ")


def test_a_picture_that_is_damaged_ends_the_command_and_keeps_the_shards_before(cli: Command) -> None:
    whole = Path("pictures/000039.png").read_bytes()
    Path("pictures/000039.png").write_bytes(whole[: len(whole) // 2])
    words = ("encode", "pictures", "--format", "parquet", "--shard-size", "32", "--out", "out")
    code, line = refusal(cli, *words)
    assert code == 5
    assert line.startswith(f"{Path('pictures', '000039.png')}: expected a picture (PNG, JPEG, ")
    assert sorted(hashes()) == ["_manifest.json", "_part-000000000000.json", "part-000000000000.parquet"]


def test_a_changed_byte_in_a_shard_is_found_by_its_checksum(cli: Command) -> None:
    path = Path("shards/part-000000000032.parquet")
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(3)
    assert chunk.path_in_schema == "image"
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    pq.read_table(path)  # without the checksums nothing seems wrong
    assert refusal(cli, "encode", "shards", "--format", "parquet", "--out", "out") == (
        5, f"{path}: expected pictures that sample wrote, but the file is damaged; make it again",
    )  # fmt: skip


@pytest.mark.parametrize("is_there", [False, True])
def test_a_command_that_fails_at_its_first_picture_leaves_nothing(cli: Command, is_there: bool) -> None:
    Path("read.py").write_text("no picture")
    if is_there:
        Path("out").mkdir()
    assert refusal(cli, "encode", "read.py", "a.npy", "--out", "out", "--format", "parquet")[0] == 5
    assert Path("out").exists() == is_there
    cli.succeed("encode", "a.npy", "--out", "out", "--format", "parquet")


def test_a_share_that_fails_leaves_the_manifest_to_the_others(cli: Command) -> None:
    Path("read.py").write_text("no picture")
    refusal(cli, "encode", "read.py", "a.npy", "--out", "out", "--format", "parquet", "--shard", "0/2")
    assert sorted(hashes()) == ["_manifest.json"]


def test_a_compressed_archive_is_read(cli: Command) -> None:
    np.savez_compressed("packed.npz", images=np.load("a.npy"))
    for name in ("a.npy", "packed.npz"):
        cli.succeed("encode", name, "--format", "parquet", "--out", name[:3])
    means = [pq.read_table(name, columns=["mean"]) for name in ("a.n", "pac")]
    assert means[0]["mean"].to_pylist() == means[1]["mean"].to_pylist()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("missing", "missing: expected a picture, cannot open it (No such file or directory); check its name"),
        ("wide.npy", "wide.npy: expected images of shape [n, 1, 28, 28], got shape [3, 10, 10]; to fit a picture of "
         "another size, pass PIL.Image.fromarray(array) or the path of its file"),
        ("none.npy", "none.npy: expected images of shape [n, 1, 28, 28], got shape [0, 1, 28, 28]; pass at least one "
         "picture"),
        ("cut.npy", "cut.npy: expected an array of numbers, but it is damaged; save the pictures again"),
        ("other.parquet", "other.parquet: expected a Parquet file that vae-gen sample wrote, got another one"),
        ("text.txt", "text.txt: expected a picture (PNG, JPEG, WebP, GIF, TIFF, …), got a file that cannot be opened "
         "as one"),
        ("-", "expected files and folders for --format parquet, got standard input; name the files"),
        ("empty", "empty: expected a folder with pictures, got an empty one"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_in_one_line(cli: Command, name: str, line: str) -> None:
    import pyarrow as pa

    np.save("none.npy", np.zeros((0, 28, 28), np.uint8))
    np.save("wide.npy", np.zeros((3, 10, 10), np.uint8))
    Path("cut.npy").write_bytes(Path("a.npy").read_bytes()[:5000])
    pq.write_table(pa.table({"image": [b"1"]}), "other.parquet")
    Path("text.txt").write_text("no picture")
    Path("empty").mkdir()
    assert refusal(cli, "encode", name, "--format", "parquet", "--out", "out")[1] == line


def test_resume_is_refused_without_shards(cli: Command) -> None:
    assert refusal(cli, "encode", "a.npy", "-o", "x.npz", "--resume") == (
        2, "--resume only applies to folders of shards, such as --format parquet; leave it out",
    )  # fmt: skip
