"""Model folders and arrays from a stranger: special files, links, huge numbers, control characters, wrong results."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_runner import Command
from test_cli_process import command
from test_hostile_graphs import with_graph
from tiny_model import write_tiny_model
from vae_gen import VAE, FittedPrior, Manifest, ModelError, ModelFolder
from vae_gen.internal.files import read_regular

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and links of POSIX")
MEMORY = 1_500_000_000
"""Address space in which each of these commands must be able to answer; ONNX Runtime and NumPy take 700 MB of it."""


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model folder, which a test may spoil."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "spoilt"))


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def write(folder: Path, name: str, content: bytes) -> None:
    """Replaces a file that the manifest lists, with its size and hash."""
    (folder / name).write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit(folder, lambda document: document["files"].update({name: entry}))


def bounded(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`vae-gen` with little memory and time."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, cwd=cwd, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )  # fmt: skip


@posix
@pytest.mark.parametrize("name", ["manifest.json", "prior.json", "golden.json", "decoder.onnx"])
@pytest.mark.parametrize("what", ["pipe", "endless"])
def test_special_files_are_refused(folder: Path, name: str, what: str) -> None:
    (folder / name).unlink()
    if what == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")

    def empty(document: dict[str, Any]) -> None:
        entries = document["graphs"]["decoder"], document["files"].get(name, {})
        entries[name != "decoder.onnx"]["bytes"] = 0 if name != "decoder.onnx" else 1

    if name != "manifest.json":
        edit(folder, empty)
    with pytest.raises(ModelError) as caught:
        ModelFolder.open(folder).read_checked(name, "0" * 64)  # one of the two reads the file
    assert any(reason in str(caught.value) for reason in ("a pipe or a device", "a symbolic link", "bytes"))


@posix
def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError):
            read_regular(place, 100, links=True)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert read_regular(tmp_path / "a", 100) == b"x" * 100
    with pytest.raises(OSError, match="it has more than 99 bytes"):
        read_regular(tmp_path / "a", 99)


@posix
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes((folder / "README.md").read_bytes())
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(secret)
    sha256 = hashlib.sha256(secret.read_bytes()).hexdigest()
    with pytest.raises(ModelError, match="it is a symbolic link; copy the folder with its links followed, as cp -rL"):
        ModelFolder.open(folder).read_checked("README.md", sha256)


@posix
def test_the_links_of_the_hugging_face_cache_are_followed(tiny_model_folder: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in tiny_model_folder.iterdir():
        name = hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copyfile(file, blobs / name)
        (snapshot / file.name).symlink_to(f"../../blobs/{name}")
    assert VAE(snapshot).sample(2, seed=1).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("kl", [1e8, 1e299])
def test_info_prints_short_bars_only(folder: Path, kl: float, cli: Command) -> None:
    def spoil(document: dict[str, Any]) -> None:
        document["latent"]["kl_nats"][document["latent"]["order"][0]] = kl

    edit(folder, spoil)
    outcome = cli.succeed("info", model=folder)
    assert max(map(len, outcome.out.decode().splitlines())) < 500


@pytest.mark.parametrize(
    ("keys", "value"),
    [(("image", "height"), 10**9), (("image", "channels"), 10**5), (("latent", "dimensions"), 10**9)],
)
def test_sizes_in_the_manifest_have_limits(folder: Path, keys: tuple[str, str], value: int) -> None:
    edit(folder, lambda document: document[keys[0]].update({keys[1]: value}))
    with pytest.raises(ModelError, match="from 1 to 4096"):
        ModelFolder.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda prior: prior.update(dimensions=60_000),
        lambda prior: prior.update(dimensions=10**9),
        lambda prior: prior["mixtures"][0].update(component_thresholds=[0] * 300_000 + [2**32]),
    ],
)
def test_a_prior_claims_no_more_than_it_has(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    prior = json.loads((folder / "prior.json").read_text())
    change(prior)
    for dimensions in (None, 12):
        with pytest.raises(ModelError):
            FittedPrior.parse(json.dumps(prior), "prior.json", dimensions)


@posix
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.update(hidden=4096), "hidden: expected a whole number from 1 to 512, found 4096"),
        (lambda document: document["directions"][0].update(name="\x1b]0;title\x07"), "directions[0].name: expected a"),
        (lambda document: document["directions"][0].update(name="x" * 100_000), "directions[0].name: expected a name"),
        (lambda document: document["network"][0].update(step=1e308), "network[0].step: expected a number from 0 to"),
        (lambda document: document.update(directions=[[]] * 300_000), "directions[0]: expected an object"),
    ],
)
def test_directions_are_refused_in_little_memory_and_one_plain_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    folder = write_tiny_model(tmp_path / "model", default_prior="fitted", with_directions=True)
    document = json.loads((folder / "directions.json").read_text())
    change(document)
    write(folder, "directions.json", json.dumps(document).encode())
    for arguments in (("directions",), ("traverse", "--along", "shade", "-o", "x.npy"), ("verify",)):
        outcome = bounded(*arguments, "--model", folder, cwd=tmp_path)
        assert outcome.returncode == 4
        assert all(line.isprintable() and len(line) < 650 for line in (outcome.stdout + outcome.stderr).splitlines())
        assert said in outcome.stdout + outcome.stderr


def test_verify_reads_directions_that_have_no_golden_moves(tmp_path: Path, cli: Command) -> None:
    folder = write_tiny_model(tmp_path / "model", with_directions=True)
    golden = json.loads((folder / "golden.json").read_text())
    del golden["moves"]
    write(folder, "golden.json", json.dumps(golden).encode())
    assert b"directions.json" in cli.succeed("verify", model=folder).out
    write(folder, "directions.json", b"{}")
    outcome = cli("verify", model=folder)
    assert outcome.code == 4
    assert b"directions.json: schema_version is missing" in outcome.out


def test_a_golden_file_cannot_ask_for_a_billion_pictures(folder: Path, cli: Command) -> None:
    golden = json.loads((folder / "golden.json").read_text())
    golden["samples"][0]["count"] = 10**9
    write(folder, "golden.json", json.dumps(golden).encode())
    outcome = cli("verify", model=folder)
    assert outcome.code == 4
    assert "samples[0].count: expected a whole number from 1 to 1024, found 1000000000" in outcome.out.decode()


def test_documents_of_many_values_are_refused() -> None:
    with pytest.raises(ModelError, match="expected at most 1000000 values in the document, found more"):
        Manifest.parse("[" + "[]," * 1_000_000 + "[]]")


@pytest.mark.parametrize(("value", "code"), [("\ud800", 4), ("\x1b[31mPWN\x1b]0;title\x07.onnx", 4), ("a" * 5000, 4)])
def test_names_of_files_are_printed_without_control_characters(
    folder: Path, value: str, code: int, cli: Command
) -> None:
    edit(folder, lambda document: document["graphs"]["decoder"].update(file=value))
    outcome = cli("sample", model=folder)
    assert outcome.code == code
    assert "bug" not in outcome.err
    assert outcome.err.removesuffix("\n").isprintable()
    assert len(outcome.err) < 650


@pytest.mark.parametrize("arguments", [["sample", "--model", "a" * 5000], ["info", "--model", "a" * 5000]])
def test_a_name_that_is_too_long_is_not_called_a_full_disk(arguments: list[str], cli: Command) -> None:
    outcome = cli(*arguments)
    assert outcome.code == 4
    assert "space" not in outcome.err


# Results.


class Stub:
    """A session that gives these outputs."""

    def __init__(self, **outputs: Any) -> None:
        self.outputs = outputs

    def run(self, output_names: Any, input_feed: Any) -> Any:
        return [self.outputs[name] for name in output_names]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -5.0])
def test_pictures_that_are_none_are_refused(tiny_model_folder: Path, value: float) -> None:
    images = np.full((1, 1, 28, 28), 0.5, np.float32)
    images[0, 0, 3, 3] = value
    vae = VAE.from_sessions(tiny_model_folder / "manifest.json", decoder=Stub(image=images))
    with pytest.raises(ModelError, match="expected values of image from 0 to 1, computed"):
        vae.decode(np.zeros(12))


@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (1, 1, 56, 56), (1, 3, 28, 28)])
def test_results_of_another_shape_are_refused(tiny_model_folder: Path, shape: tuple[int, ...]) -> None:
    vae = VAE.from_sessions(tiny_model_folder / "manifest.json", decoder=Stub(image=np.zeros(shape, np.float32)))
    with pytest.raises(ModelError, match=r"expected image of shape \[1, 1, 28, 28\], computed"):
        vae.decode(np.zeros(12))


def test_latents_that_are_not_finite_are_refused(tiny_model_folder: Path) -> None:
    wrong = np.full((1, 12), np.nan, np.float32)
    encoder = Stub(mean=np.zeros((1, 12), np.float32), log_variance=wrong)
    vae = VAE.from_sessions(tiny_model_folder / "manifest.json", encoder=encoder)
    with pytest.raises(ModelError, match="expected values of log_variance that are finite, computed nan to nan"):
        vae.encode(np.zeros((28, 28)))


# Arrays.


def npy(array: np.ndarray, header: bytes | None = None) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    content = buffer.getvalue()
    if header is None:
        return content
    return content[:8] + len(header).to_bytes(2, "little") + header + array.tobytes()


def npz(**arrays: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


LATENTS = np.random.default_rng(3).normal(size=(3, 12)).astype(np.float32)
ARRAYS = {
    "true in the shape": npy(LATENTS, b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 12)}\n"),
    "negative": npy(LATENTS, b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -12)}\n"),
    "too large": npy(LATENTS, b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 12)}\n"),
    "a broken header": npy(LATENTS, b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 12}\n"),
    "objects": npy(np.array([{}], object)),
    "no numbers": npy(np.zeros(3, "V0")),
    "another version": npy(LATENTS)[:6] + b"\x09" + npy(LATENTS)[7:],
}


@pytest.fixture
def arrays(tmp_path: Path) -> Callable[[bytes], Path]:
    def make(content: bytes) -> Path:
        path = tmp_path / "z"
        path.write_bytes(content)
        return path

    return make


@pytest.mark.parametrize("case", ARRAYS)
@pytest.mark.parametrize("name", ["decode", "encode"])
def test_damaged_arrays_are_inputs_that_cannot_be_used(
    case: str, name: str, cli: Command, arrays: Callable[[bytes], Path]
) -> None:
    outcome = cli(name, arrays(ARRAYS[case]))
    assert (outcome.code, outcome.out) == (5, b"")
    assert outcome.err.count("\n") == 1


def test_bytes_that_are_flipped_are_inputs_that_cannot_be_used(
    cli: Command, arrays: Callable[[bytes], Path]
) -> None:
    chance = random.Random(1)
    for content in (npy(LATENTS), npz(latents=npy(LATENTS), noise=npy(LATENTS))):
        for _ in range(60):
            damaged = bytearray(content)
            damaged[chance.randrange(6, len(damaged))] ^= 1 << chance.randrange(8)
            for name in ("decode", "encode"):
                outcome = cli(name, arrays(bytes(damaged)), "-o", "x.npz")
                assert outcome.code in (0, 5), outcome.err
                assert outcome.err.count("\n") == 1


@posix
def test_an_archive_that_unpacks_to_gigabytes_is_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open(
        "latents.npy", "w", force_zip64=True
    ) as entry:
        header = {"descr": "<f4", "fortran_order": False, "shape": (6_000_000, 12)}
        np.lib.format.write_array_header_1_0(entry, header)
        for _ in range(288):
            entry.write(bytes(1_000_000))
    done = bounded("decode", "bomb.npz", "--model", tiny_model_folder, cwd=tmp_path)
    assert done.returncode == 5
    assert "expected an array that is at most 100 times as large as in the file, got latents with" in done.stderr


def test_an_archive_of_many_names_is_a_short_error(cli: Command, arrays: Callable[[bytes], Path]) -> None:
    content = npz(**{f"name{at}": b"" for at in range(3000)})
    outcome = cli("decode", arrays(content))
    assert outcome.code == 5
    assert len(outcome.err) < 400


@posix
def test_an_endless_file_of_latents_is_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    done = bounded("decode", "/dev/zero", "--model", tiny_model_folder, cwd=tmp_path)
    assert done.returncode == 5
    assert "bug" not in done.stderr


def test_a_decoder_of_a_stranger_is_checked_when_it_is_opened(tiny_model_folder: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(tiny_model_folder / "decoder.onnx")
    model.graph.node[0].op_type = "Loop"
    vae = VAE(with_graph(tiny_model_folder, tmp_path / "new", model))
    with pytest.raises(ModelError, match="found the operator Loop"):
        vae.open("decoder")
