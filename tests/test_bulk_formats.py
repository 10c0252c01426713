"""Folders of PNGs by class and tars for WebDataset: what common readers find in them, and that shards are alike."""

from __future__ import annotations

import csv
import gc
import importlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli_runner import Command, call
from tiny_model import write_tiny_model
from vae_gen import VAE
from vae_gen_cli.bulk.by_class import folder_names

COUNT, SEED = 200, 7
MAKE = ("sample", "-n", str(COUNT), "--seed", str(SEED), "--start", "40", "--shard-size", "96", "--format")
CLASSES = ("T-shirt/top", "Bag")
BRIEF = ("--steps", "6", "--batch-size", "8", "--threads", "1", "--device", "cpu", "--few")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose classes have names that are no names of folders."""
    folder = tmp_path_factory.mktemp("models") / "labelled"
    return write_tiny_model(folder, name="labelled", default_prior="fitted", class_names=CLASSES)


@pytest.fixture
def labelled(cli: Command, model: Path) -> Command:
    return Command(model)


def samples(model: Path) -> Any:
    """The pictures that all folders of these tests have."""
    (made,) = VAE(model).stream(COUNT, seed=SEED, start=40)
    return made


def everything(folder: str) -> dict[str, bytes]:
    """All files of a folder and of the folders in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def needs(name: str) -> Any:
    return pytest.importorskip(name)


# Folders by class.


def test_pictures_lie_in_the_folders_of_their_classes_and_are_listed(labelled: Command, model: Path) -> None:
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out")
    made = samples(model)
    with Path("out/labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(40, 240))
    assert [int(row["number"]) for row in rows] == made.labels.tolist()
    for row, levels in zip(rows, made.grey_levels(), strict=True):
        assert row["class"] == CLASSES[int(row["number"])]
        assert row["file_name"] == f"{row['class'].replace('/', '-')}/{int(row['index']):012}.png"
        with Image.open(Path("out", row["file_name"])) as image:
            assert np.array_equal(np.asarray(image), levels[0])
    assert sorted(path.name for path in Path("out").iterdir() if path.is_dir()) == ["Bag", "T-shirt-top"]


def test_each_picture_is_that_of_sample_and_can_be_repeated(labelled: Command) -> None:
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out")
    labelled.succeed(*MAKE[:7], "-o", "plain/")
    for path in Path("out").glob("*/*.png"):
        assert path.read_bytes() == Path("plain", path.name[6:]).read_bytes()
    labelled.succeed("repeat", path, "-o", "again.png")
    assert Path("again.png").read_bytes() == path.read_bytes()


def test_pictures_without_a_class_are_refused(labelled: Command) -> None:
    refused = labelled(*MAKE, "folder-by-class", "--prior", "normal", "--out", "out")
    assert (refused.code, refused.err) == (
        2, "vae-gen: expected pictures with classes for --format folder-by-class, got those of the normal prior, which "
        "have none; add --prior fitted\n",
    )  # fmt: skip
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["T-shirt/top", "Ankle boot"], ["T-shirt-top", "Ankle boot"]),
        (["a/b", "a-b", "A:B"], ["a-b", "a-b-2", "A-B-3"]),
        (["CON", "nul.x", "com1", "console"], ["CON-", "nul.x-", "com1-", "console"]),
        (["..", ".hidden", "_x", "", "dot. "], ["class", "hidden", "x", "class-2", "dot"]),
        (["Größe", "Gro\u0308ße", "犬"], ["Größe", "Größe-2", "犬"]),
        (["x" * 300], ["x" * 60]),
    ],
)
def test_names_of_folders_are_safe_on_every_system(names: list[str], folders: list[str]) -> None:
    found = folder_names(names)
    assert found == folders
    assert len({name.casefold() for name in found}) == len(names)


def test_torchvision_reads_the_folder(labelled: Command, model: Path) -> None:
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out")
    found = needs("torchvision.datasets").ImageFolder("out")
    assert found.classes == ["Bag", "T-shirt-top"]
    assert (len(found), sum(found.targets)) == (COUNT, (samples(model).labels == 0).sum())


def test_hugging_face_reads_the_folder(labelled: Command, model: Path, tmp_path: Path) -> None:
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out")
    found = needs("datasets").load_dataset("imagefolder", data_dir="out", split="train", cache_dir=str(tmp_path / "hf"))
    assert found.features["label"].names == ["Bag", "T-shirt-top"]
    assert found.num_rows == COUNT
    assert sum(found["label"]) == (samples(model).labels == 0).sum()


@pytest.mark.parametrize(
    ("options", "classes"),
    [((), ["Bag", "T-shirt-top"]), (("--labels", "out/labels.csv"), ["Bag", "T-shirt/top"])],
)
def test_our_own_training_reads_the_folder(
    labelled: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], classes: list[str]
) -> None:
    needs("torch")
    train_command = importlib.import_module("vae_train.train_command")
    monkeypatch.setenv("VAE_GEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out")
    assert call(train_command, "--data", "out", "--out", "run", *options, *BRIEF) == 0
    _, written = importlib.import_module("vae_train.run_folder").read_run_settings(Path("run"))
    assert written["data"]["class_names"] == classes


def test_encode_reads_the_pictures_and_passes_over_the_lists(labelled: Command) -> None:
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out")
    needs("pyarrow")
    found = labelled.succeed("encode", "out", "--format", "parquet", "--out", "latents", "--json")
    assert json.loads(found.out)["count"] == COUNT


def test_a_store_is_refused_for_a_file_of_each_picture(labelled: Command) -> None:
    outcome = labelled(*MAKE, "folder-by-class", "--out", "s3://bucket/out")
    assert outcome.code == 2
    assert "choose webdataset or parquet" in outcome.err


# WebDataset.


def test_tarfile_reads_the_pictures_their_classes_and_latents(labelled: Command, model: Path) -> None:
    labelled.succeed(*MAKE, "webdataset", "--out", "out")
    made, found = samples(model), {}
    for path in sorted(Path("out").glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
                content = archive.extractfile(member)
                assert content is not None
                found[member.name] = content.read()
    assert len(found) == 3 * COUNT
    for at in range(COUNT):
        facts = json.loads(found[f"{40 + at:012}.json"])
        assert facts["index"] == 40 + at
        assert np.array_equal(np.float32(facts["latent"]), made.latents[at])
        assert found[f"{40 + at:012}.cls"] == str(made.labels[at]).encode()
        assert facts["class"] == CLASSES[made.labels[at]]
        with Image.open(io.BytesIO(found[f"{40 + at:012}.png"])) as image:
            assert np.array_equal(np.asarray(image), made.grey_levels()[at, 0])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_tars(labelled: Command, model: Path) -> None:
    labelled.succeed(*MAKE, "webdataset", "--out", "out")
    paths = [str(path) for path in sorted(Path("out").glob("*.tar"))]
    made = samples(model)
    reader = needs("webdataset").WebDataset(paths, shardshuffle=False).decode("l8")
    found = list(reader.to_tuple("__key__", "png", "cls"))
    gc.collect()  # it leaves its files open
    assert [key for key, _, _ in found] == [f"{40 + at:012}" for at in range(COUNT)]
    assert [label for _, _, label in found] == made.labels.tolist()
    assert np.array_equal(np.stack([levels for _, levels, _ in found]), made.grey_levels()[:, 0])


def test_a_prior_without_classes_has_no_class_files(labelled: Command) -> None:
    labelled.succeed(*MAKE, "webdataset", "--prior", "normal", "--out", "out")
    with tarfile.open("out/part-000000000040.tar") as archive:
        assert {Path(name).suffix for name in archive.getnames()} == {".png", ".json"}


# Both.


@pytest.mark.parametrize("format_name", ["webdataset", "folder-by-class"])
def test_shares_and_a_second_run_make_the_same_files(labelled: Command, format_name: str) -> None:
    labelled.succeed(*MAKE, format_name, "--out", "out")
    whole = everything("out")
    labelled.succeed(*MAKE, format_name, "--out", "shares", "--shard", "1/2")
    assert not Path("shares/labels.csv").exists()
    labelled.succeed(*MAKE, format_name, "--out", "shares", "--shard", "0/2")
    assert everything("shares") == whole
    next(Path("out").glob("_part-*096.json")).unlink()  # what a kill just before the end of this shard leaves
    for path in [*Path("out").glob("*/*000097.png"), *Path("out").glob("labels.csv")]:
        path.unlink()
    labelled.succeed(*MAKE, format_name, "--out", "out", "--resume")
    assert everything("out") == whole


@pytest.mark.parametrize("format_name", ["webdataset", "folder-by-class"])
def test_verify_accepts_a_whole_folder_and_finds_a_changed_picture(labelled: Command, format_name: str) -> None:
    labelled.succeed(*MAKE, format_name, "--out", "out")
    labelled.succeed("verify", "out")
    path = min(Path("out").glob("*/*.png" if format_name == "folder-by-class" else "*.tar"))
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    outcome = labelled("verify", "out")
    assert outcome.code == 5
    assert b"\xe2\x9c\x97" in outcome.out


def faults(labelled: Command) -> tuple[list[str], str]:
    """The lines of `verify` about faults, and its last line."""
    outcome = labelled("verify", "out")
    lines = [" ".join(line.split()) for line in outcome.out.decode().splitlines() if line.startswith("✗")]
    assert (outcome.code, outcome.err.count("\n")) == (5, 1), outcome.err
    return lines, outcome.err


def test_verify_finds_pictures_that_are_missing_or_changed_and_resume_makes_them_again(labelled: Command) -> None:
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out")
    whole, paths = everything("out"), sorted(Path("out").glob("*/*.png"))
    paths[0].unlink()
    paths[-1].write_bytes(paths[0 + 1].read_bytes())
    lines, last = faults(labelled)
    missing, altered = (path.relative_to("out").as_posix() for path in (paths[0], paths[-1]))
    assert lines == [f"✗ PNGs missing: {missing}", f"✗ PNGs, sha256 differ from the lists: {altered}"]
    assert last == (
        "vae-gen: out: expected every check to pass, 2 of 8 did not; delete the PNGs that differ; repeat the command "
        "that made the folder with --resume\n"
    )
    paths[-1].unlink()
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out", "--resume")
    assert everything("out") == whole


def test_verify_finds_strangers_in_the_folders_of_the_classes(labelled: Command) -> None:
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out")
    Path("out/Bag/zz.png").touch()
    Path("out/Bag/folder").mkdir()
    Path("out/Bag/.DS_Store").touch()
    first = min(Path("out/T-shirt-top").iterdir())
    Path("out/Bag", first.name).write_bytes(first.read_bytes())
    lines, last = faults(labelled)
    assert lines == [f"✗ other files expected none, found: Bag/{first.name}, Bag/folder, Bag/zz.png"]
    assert last.endswith("; remove the other files, unless a command is writing them\n")


@pytest.mark.parametrize("change", ["edit", "cut", "delete"])
def test_verify_compares_the_list_of_all_pictures(labelled: Command, change: str) -> None:
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out")
    file = Path("out/labels.csv")
    content = file.read_bytes()
    if change == "delete":
        file.unlink()
    else:
        file.write_bytes(content.replace(b",Bag,", b",Hat,", 1) if change == "edit" else content[:-1])
    assert faults(labelled)[0] == [
        "✗ labels.csv " + ("missing" if change == "delete" else "differs from the lists of the shards")
    ]
    labelled.succeed(*MAKE, "folder-by-class", "--out", "out", "--resume")
    assert file.read_bytes() == content
    labelled.succeed("verify", "out")


def test_pictures_in_colour_are_made_and_verified(cli: Command, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "colour", name="colour", default_prior="fitted", shape=(3, 10, 12))
    for format_name in ("webdataset", "folder-by-class"):
        cli.succeed(*MAKE, format_name, "--out", format_name, model=model)
        cli.succeed("verify", format_name, model=model)
