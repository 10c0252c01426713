"""Folders of shards: their pictures are those of `sample -o x.npy`, whoever makes the shards and in whatever order."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from cli_runner import Command
from vae_gen_cli.bulk.local import run_local
from vae_gen_cli.main import main

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


@pytest.mark.parametrize("name", ["part-000000000128.parquet", "_part-000000000128.json"])
def test_a_file_that_was_cut_is_made_again(cli: Command, name: str) -> None:
    cli.succeed(*MAKE, "--out", "out")
    before = hashes()
    os.truncate(f"out/{name}", 50)
    cli.succeed(*MAKE, "--out", "out", "--resume")
    assert hashes() == before


def test_what_a_killed_command_left_is_removed_unless_its_process_is_alive(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    before = hashes()
    left = [Path(f"out/.{name}.{'0' * 8}.part") for name in ("part-000000000128.parquet", "_part-000000000256.json")]
    for file in left:
        file.touch()
    alive = Path(f"out/.part-000000000128.parquet.{'1' * 8}.part")
    strange = Path("out/.part-000000000999.parquet.00000000.part")  # of no shard
    strange.touch()
    with alive.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cli.succeed(*MAKE, "--out", "out", "--resume")
        assert set(hashes()) == {*before, alive.name, strange.name}
    cli.succeed(*MAKE, "--out", "out", "--shard", "0/2")  # the shards that begin with 40 and 256
    assert alive.exists()
    cli.succeed(*MAKE, "--out", "out", "--shard", "1/2")
    assert not alive.exists()


def test_the_hash_of_a_shard_is_that_of_another_process(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    code = "from vae_gen_cli.main import run; run()"
    command = [sys.executable, "-c", code, *MAKE, "--threads", "1", "--model", str(cli.model), "--out", "again"]
    subprocess.run(command, check=True, capture_output=True)
    assert hashes("again") == hashes("out")


def test_shares_that_start_at_the_same_time_fill_one_folder(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    code = "from vae_gen_cli.main import run; run()"
    shares = [
        subprocess.Popen(
            [sys.executable, "-c", code, *MAKE, "--shard", part, "--model", str(cli.model), "--out", "many"],
            stderr=subprocess.PIPE, text=True,
        )
        for part in ("0/4", "1/4", "2/4", "3/4")  # the last one has nothing to make
    ]  # fmt: skip
    assert [(share.communicate()[1].count("\n"), share.returncode) for share in shares] == [(1, 0)] * 4
    assert hashes("many") == hashes("out")


@pytest.mark.parametrize("name", ["_manifest.json", "part-000000000040.parquet"])
def test_a_command_whose_files_are_removed_meanwhile_fails(
    cli: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def run_and_lose(*arguments: Any) -> None:
        run_local(*arguments)
        Path("out", name).unlink()

    monkeypatch.setattr("vae_gen_cli.bulk.local.run_local", run_and_lose)
    assert refusal(cli, *MAKE, "--out", "out") == (
        7, f"out: expected every file of this command at its end, but {name} was removed meanwhile; repeat the command "
        "with --resume",
    )  # fmt: skip


def test_of_two_plans_that_start_at_the_same_time_one_wins(cli: Command) -> None:
    code = "from vae_gen_cli.main import run; run()"
    words = [sys.executable, "-c", code, *MAKE, "--model", str(cli.model), "--out", "out", "--shard", "0/1", "--seed"]
    words.remove("--seed"), words.remove("7")
    both = [subprocess.Popen([*words, seed], stderr=subprocess.PIPE, text=True) for seed in ("7", "8")]
    found = [(one.communicate()[1], one.returncode) for one in both]
    assert sorted(code for _, code in found) == [0, 2]
    (line,) = [line for line, code in found if code == 2]
    assert "got seed " in line
    assert cli.succeed("verify", "out").err == "8 checks passed\n"


def test_memory_does_not_grow_with_the_number_of_pictures(cli: Command) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process's own memory is read from Linux's /proc")
    script = (
        "import re, sys; from vae_gen_cli.main import main; code = main(); "
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]); sys.exit(code)"
    )
    peaks = []
    for count in ("10000", "100000"):  # 78 MB of pictures
        words = ["sample", "-n", count, "--seed", "1", "--format", "parquet", "--out", count, "--model", str(cli.model)]
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, check=True, text=True)
        peaks.append(int(done.stdout) * 1024)
    assert peaks[1] < peaks[0] + 25_000_000


# How other programs read the files.


@pytest.fixture
def read_here(cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, NDArray[Any]]:
    """A folder `out` of the fitted prior, and the arrays of the same pictures."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    cli.succeed(*MAKE, "--prior", "fitted", "--out", "out")
    cli.succeed("sample", "-n", "300", "--seed", "7", "--start", "40", "--prior", "fitted", "-o", "x.npz")
    return dict(np.load("x.npz"))


def assert_same(
    arrays: dict[str, NDArray[Any]], index: Any, label: Any, latent: Any, image: Iterable[bytes]
) -> None:
    order = np.argsort(index)
    assert np.asarray(index)[order].tolist() == list(range(40, 340))
    assert np.asarray(label)[order].tolist() == arrays["labels"].tolist()
    assert np.array_equal(np.stack(list(latent)).astype(np.float32)[order], arrays["latents"])
    assert [list(image)[at] for at in order] == [one.tobytes() for one in arrays["images"]]


def test_pandas_reads_the_folder(read_here: dict[str, NDArray[Any]]) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet("out")
    assert_same(read_here, table["index"], table["label"], table["latent"], table["image"])


def test_duckdb_reads_the_files(read_here: dict[str, NDArray[Any]]) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        rows = connection.execute('SELECT "index", label, latent, image FROM \'out/*.parquet\'').fetchall()
    assert_same(read_here, *zip(*rows, strict=True))


def test_datasets_of_hugging_face_reads_the_files(read_here: dict[str, NDArray[Any]]) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    table = datasets.load_dataset("parquet", data_files="out/*.parquet", split="train", cache_dir="hf")[:]
    assert_same(read_here, table["index"], table["label"], table["latent"], table["image"])


def test_a_file_alone_describes_itself(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    schema = pq.read_schema("out/part-000000000128.parquet")
    assert [str(field.type) for field in schema] == [
        "int64", "int16", "fixed_size_list<element: float not null>[12]", "fixed_size_binary[784]",
    ]  # fmt: skip
    facts = json.loads(schema.metadata[b"vae-gen"])
    assert facts["seed"] == "7"
    assert facts["model"]["name"] == "tiny"
    assert facts["model"]["image_shape"] == [1, 28, 28]
    assert facts["model"]["class_names"] == ["blob", "other blob"]


def test_row_groups_have_at_most_4096_rows(cli: Command) -> None:
    cli.succeed("sample", "-n", "9000", "--seed", "7", "--start", "100", "--format", "parquet", "--out", "out")
    found = pq.ParquetFile("out/part-000000000100.parquet").metadata
    groups = [found.row_group(at).num_rows for at in range(found.num_row_groups)]
    assert groups == [3996, 4096, 908]


# What is refused.


def refusal(cli: Command, *arguments: str) -> tuple[int, str]:
    """The exit code and the one line of a command that fails."""
    outcome = cli(*arguments)
    assert outcome.err.count("\n") == 1, outcome.err
    return outcome.code, outcome.err.removeprefix("vae-gen: ").rstrip("\n")


def test_a_folder_that_the_same_command_began_needs_resume(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    assert refusal(cli, *MAKE, "--out", "out") == (
        2, "out: expected a new or empty folder, got one that the same command began; add --resume to make the shards "
        "that are missing, or name another folder",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ("--seed 8", "seed 8 in place of 7"),
        ("-n 200", "count 200 in place of 300"),
        ("--shard-size 64", "shard_size 64 in place of 128"),
        ("--temperature 0.5", "temperature 0.5 in place of 1.0"),
    ],
)
def test_another_plan_is_refused_with_the_first_difference(cli: Command, options: str, difference: str) -> None:
    cli.succeed(*MAKE, "--out", "out")
    before = hashes()
    name, value = options.split()
    names = {"--seed": "--seed", "-n": "-n", "--shard-size": "--shard-size"}
    words = list(MAKE)
    if name in names:
        words[words.index(name) + 1] = value
    else:
        words += [name, value]
    assert refusal(cli, *words, "--out", "out", "--resume") == (
        2, f"out: expected the options and the model that its _manifest.json names, got {difference}; repeat them, or "
        "name another folder",
    )  # fmt: skip
    assert hashes() == before


@pytest.mark.parametrize("content", ["", "{}", '{"bulk": 2}', '{"bulk": 1, "command": "play"}', "[" * 100_000])
def test_a_manifest_that_is_damaged_is_refused_in_one_line(cli: Command, content: str) -> None:
    cli.succeed(*MAKE, "--out", "out")
    Path("out/_manifest.json").write_text(content)
    for command, expected in ((("verify", "out"), 5), ((*MAKE, "--out", "out", "--resume"), 2)):
        code, line = refusal(cli, *command)
        assert (code, line.partition(": ")[0]) == (expected, "out/_manifest.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("count", 10**15), ("shard_size", 0), ("start", "-1"), ("format", "exe"), ("options", {"seed": "7"}),
        ("model", {"name": "tiny"}), ("options", {"seed": "7", "prior": "normal", "temperature": 1e9}),
    ],
)  # fmt: skip
def test_a_manifest_of_a_stranger_is_refused_in_one_line(cli: Command, key: str, value: object) -> None:
    cli.succeed(*MAKE, "--out", "out")
    file = Path("out/_manifest.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    code, line = refusal(cli, "verify", "out")
    assert code == 5
    assert line.startswith(f"out/_manifest.json: {key}")


def test_a_shard_that_is_no_parquet_file_is_named(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    Path("out/part-000000000128.parquet").write_bytes(b"PAR1 and more")
    sha256 = hashlib.sha256(b"PAR1 and more").hexdigest()
    facts = {"start": "128", "count": 128, "bytes": 13, "sha256": sha256}
    Path("out/_part-000000000128.json").write_text(json.dumps(facts))
    outcome = cli("verify", "out")
    assert outcome.code == 5
    assert "expected each picture once, not so in: part-000000000128.parquet" in outcome.out.decode()


def test_another_model_is_refused(cli: Command, other_model_folder: Path) -> None:
    cli.succeed(*MAKE, "--out", "out")
    code, line = refusal(cli, *MAKE, "--out", "out", "--resume", "--model", str(other_model_folder))
    assert code == 2
    assert "got model.name other in place of tiny; " in line


def test_a_folder_with_other_files_is_refused_and_left_alone(cli: Command) -> None:
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    for more in ((), ("--resume",), ("--shard", "0/2")):
        assert refusal(cli, *MAKE, "--out", "out", *more) == (
            2, "out: expected a new or empty folder, or one that this command began, got one with mine.txt; name "
            "another folder",
        )  # fmt: skip
    assert [file.name for file in Path("out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--shard 2/2 --out out", "expected --shard I/N with I from 0 to N-1, such as 0/4, got '2/2'"),
        ("--shard two --out out", "expected --shard I/N with I from 0 to N-1, such as 0/4, got 'two'"),
        ("--shard -1/2 --out out", "expected --shard I/N with I from 0 to N-1, such as 0/4, got '-1/2'"),
        ("--shard-size 100 --out out", "expected a --shard-size that is a multiple of 32, got 100"),
        ("", "expected a folder for --format parquet, got none; name it with --out"),
        ("--out -", "expected a folder for --format parquet, got standard output; name it with --out"),
        ("-o x.npy", "expected one format, got x.npy and --format parquet; leave one out"),
        ("--out nowhere/out", "cannot write nowhere/out: there is no folder nowhere; create it first"),
        ("--out out --columns 3", "--columns only applies to other formats than parquet; leave it out"),
        ("--out out --dtype uint8", "--dtype only applies to other formats than parquet; leave it out"),
        ("--out out --show", "--show only applies to other formats than parquet; leave it out"),
        (
            "--out out -n 100_000_000 --shard-size 32",
            "expected at most 1000000 shards, got 3125000; choose a --shard-size of 128 or more",
        ),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(cli: Command, options: str, line: str) -> None:
    code, found = refusal(cli, "sample", "--seed", "7", "--format", "parquet", *options.split())
    found = found.replace(f"{Path.cwd()}/", "")
    assert (code, found) == (7 if line.startswith("cannot") else 2, line)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("option", ["--shard", "--shard-size"])
def test_options_of_shards_are_refused_for_other_formats(cli: Command, option: str) -> None:
    value = "64" if option == "--shard-size" else "0/2"
    assert refusal(cli, "sample", "--seed", "7", "-o", "x.npy", option, value) == (
        2, f"{option} only applies to folders of shards, such as --format parquet; leave it out",
    )  # fmt: skip


def test_shares_need_a_seed(cli: Command) -> None:
    code, line = refusal(cli, "sample", "--format", "parquet", "--out", "out", "--shard", "0/2")
    assert (code, line.partition(",")[0]) == (2, "expected --seed for --shard")


def test_a_missing_pyarrow_is_named_with_the_extra(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, line = refusal(cli, *MAKE, "--out", "out")
    assert code == 3
    assert 'pip install "vae-gen[parquet]"' in line
    assert not Path("out").exists()


# Other places than a folder.


def test_a_store_that_fsspec_opens_is_filled_and_verified(cli: Command) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    cli.succeed(*MAKE, "--out", "out")
    cli.succeed(*MAKE, "--out", "memory://bucket/out", "--shard", "0/2")
    cli.succeed(*MAKE, "--out", "memory://bucket/out", "--resume")
    found = {Path(path).name: hashlib.sha256(memory.cat(path)).hexdigest() for path in memory.ls("/bucket/out", False)}
    assert found == hashes()
    cli.succeed("verify", "memory://bucket/out")
    memory.rm("/bucket", recursive=True)


def test_a_file_uri_is_a_folder(cli: Command, tmp_path: Path) -> None:
    cli.succeed(*MAKE, "--out", "out")
    cli.succeed(*MAKE, "--out", (tmp_path / "a folder").as_uri())
    assert hashes(tmp_path / "a folder") == hashes()


def test_an_unknown_scheme_is_refused(cli: Command) -> None:
    pytest.importorskip("fsspec")
    code, line = refusal(cli, *MAKE, "--out", "nowhere://bucket/out")
    assert code == 7
    assert line.startswith("cannot write nowhere://bucket/out: ")


# verify.


def test_verify_accepts_a_whole_folder(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    outcome = cli.succeed("verify", "out")
    assert outcome.out.decode().splitlines()[0].split() == ["✓", "shards", "3", "with", "300", "pictures"]
    assert "✓ 96 pictures made again, grey levels  largest difference 0, allowed 1\n" in outcome.out.decode()
    assert outcome.err == "8 checks passed\n"


def damage(name: str) -> None:
    """Changes a byte in the middle of a file and leaves its size."""
    content = bytearray(Path(name).read_bytes())
    content[len(content) // 2] ^= 1
    Path(name).write_bytes(content)


def edit_manifest(**changes: object) -> None:
    """Changes values of a manifest, or options in it."""
    file = Path("out/_manifest.json")
    document = json.loads(file.read_text())
    document["options"] |= {key: value for key, value in changes.items() if key in document["options"]}
    document |= {key: value for key, value in changes.items() if key in document}
    file.write_text(json.dumps(document))


RESUME = "repeat the command that made the folder with --resume"
HINTS = {
    "shards missing": RESUME,
    "JSON files missing": RESUME,
    "sizes and sha256": f"delete the shards that differ; {RESUME}",
    "other files": "remove the other files, unless a command is writing them",
    "made again": "the pictures are not those that _manifest.json describes, so make them again in a new folder",
}


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        (lambda: Path("out/part-000000000128.parquet").unlink(), "✗ shards missing: part-000000000128.parquet"),
        (lambda: Path("out/_part-000000000128.json").unlink(), "✗ JSON files missing: _part-000000000128.json"),
        (lambda: damage("out/part-000000000128.parquet"),
         "✗ sizes and sha256 differ from their JSON files: part-000000000128.parquet"),
        (lambda: Path("out/.part-000000000128.parquet.12345678.part").touch(),
         "✗ other files expected none, found: .part-000000000128.parquet.12345678.part"),
        (lambda: Path("out/mine.txt").touch(), "✗ other files expected none, found: mine.txt"),
        (lambda: edit_manifest(seed="8"), "✗ 96 pictures made again, grey levels"),
        (lambda: edit_manifest(count=1_280_000), "✗ shards missing: part-000000000384.parquet, "
         "part-000000000512.parquet, part-000000000640.parquet and 9995 more"),
    ],
)  # fmt: skip
def test_verify_names_what_is_wrong(cli: Command, harm: Callable[[], None], line: str) -> None:
    cli.succeed(*MAKE, "--out", "out")
    harm()
    outcome = cli("verify", "out")
    assert outcome.code == 5
    failed = [" ".join(one.split()) for one in outcome.out.decode().splitlines() if one.startswith("✗")]
    assert failed[0].startswith(line)
    hint = next(hint for name, hint in HINTS.items() if name in line)
    assert re.fullmatch(rf"vae-gen: out: expected every check to pass, . of . did not; (.*; )?{hint}\n", outcome.err)


def test_verify_finds_a_file_whose_pictures_were_swapped(cli: Command) -> None:
    """A forger who also renews the JSON file is found out by the pictures that are made again."""
    cli.succeed(*MAKE, "--out", "out")
    cli.succeed(*[word if word != "7" else "8" for word in MAKE], "--out", "other")
    for start in (40, 128, 256):
        for name in (f"part-{start:012}.parquet", f"_part-{start:012}.json"):
            shutil.copy(Path("other") / name, Path("out") / name)
    outcome = cli("verify", "out")
    assert outcome.code == 5
    assert "✗ 96 pictures made again, grey levels" in outcome.out.decode()


def test_verify_finds_pictures_in_another_place(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "out")
    content = Path("out/part-000000000128.parquet").read_bytes()
    shard = {"start": "128", "count": 128, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    cli.succeed(*[word if word != "40" else "0" for word in MAKE], "--out", "other")
    content = Path("other/part-000000000000.parquet").read_bytes()  # 128 pictures, too
    shard |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    Path("out/part-000000000128.parquet").write_bytes(content)
    Path("out/_part-000000000128.json").write_text(json.dumps(shard))
    outcome = cli("verify", "out")
    assert outcome.code == 5
    assert "✗ indices" in outcome.out.decode()


def test_verify_asks_for_the_model_that_made_the_pictures(cli: Command, other_model_folder: Path) -> None:
    cli.succeed(*MAKE, "--out", "out")
    outcome = cli("verify", "out", "--model", str(other_model_folder))
    assert outcome.code == 4
    assert re.fullmatch(
        r"vae-gen: out: expected tiny \S+, which made the pictures, got other \S+, whose name differs; give the folder "
        r"of the model that made them to --model\n", outcome.err,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["nosuch", "hf:user/name"])
def test_a_model_that_a_manifest_names_and_nobody_has_is_called_by_its_source(
    cli: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A name that a stranger has written is not fetched from the Hub."""
    cli.succeed(*MAKE, "--out", "out")
    file = Path("out/_manifest.json")
    file.write_text(file.read_text().replace('"tiny"', f'"{name}"'))
    monkeypatch.setattr(sys, "argv", ["vae-gen", "verify", "out"])
    monkeypatch.delenv("VAE_GEN_MODEL", raising=False)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert main() == 4
    line = stream.getvalue()
    assert line.startswith(f"vae-gen: out/_manifest.json: the pictures were made by the model {name}, which ")
    assert "give its folder with --model" in line
    assert line.count("\n") == 1


def test_verify_passes_over_hidden_files_as_sample_does(cli: Command) -> None:
    Path("out").mkdir()
    Path("out/.DS_Store").touch()
    cli.succeed(*MAKE, "--out", "out")
    cli.succeed("verify", "out")


def test_verify_takes_a_model_folder_as_its_argument(cli: Command) -> None:
    code = "from vae_gen_cli.main import run; run()"
    command = [sys.executable, "-c", code, "verify", str(cli.model)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")
    assert found.stdout == cli.succeed("verify").out.decode()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("empty", "found neither _manifest.json nor manifest.json in it"),
        ("missing", "found none of that name; check it"),
        ("file.txt", "found a file"),
    ],
)
def test_verify_refuses_a_folder_that_is_neither(cli: Command, name: str, found: str) -> None:
    Path("empty").mkdir()
    Path("file.txt").touch()
    assert refusal(cli, "verify", name) == (5, f"{name}: expected a folder of shards or a model folder, {found}")
