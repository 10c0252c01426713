"""`vae-gen models`, `vae-gen install` and `--model hf:user/name`: models by their names, whole and checked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from cli_runner import Command
from tiny_model import write_tiny_model
from vae_gen import VAE, ModelError, UnavailableError, find_model
from vae_gen.internal.model import installed_models, model_names


def zipped(name: str, folder: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, inside + file.name)
    return Path(name)


def left() -> list[str]:
    """Everything in the folder of installed models."""
    return sorted(entry.name for entry in installed_models().glob("*"))


@pytest.mark.parametrize("inside", [None, "", "some folder/"])
def test_an_installed_model_is_found_by_its_name(
    cli: Command, fitted_model_folder: Path, inside: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = fitted_model_folder if inside is None else zipped("a.zip", fitted_model_folder, inside)
    outcome = cli.succeed("install", source)
    assert outcome.err.startswith(f"fitted 1 → {installed_models() / 'fitted'}; ")
    assert outcome.err.endswith(" checks passed; use --model fitted\n")
    assert left() == ["fitted"]
    assert find_model("fitted") == installed_models() / "fitted"
    assert "fitted" in model_names()
    installed, original = (VAE(path).sample(2, seed=7).grey_levels() for path in ("fitted", fitted_model_folder))
    assert (installed == original).all()
    assert json.loads(cli.succeed("sample", "-n", "1", "--json", "--model", "fitted").out)["model"]["name"] == "fitted"
    words = {"_VAE_GEN_COMPLETE": "complete_bash", "COMP_WORDS": "vae-gen info --model f", "COMP_CWORD": "3"}
    found = run("from vae_gen_cli.main import run; run()", **words)
    assert found.stdout.split() == ["fashion-mnist-12d", "fashion-mnist-12d-reference", "fitted"], found.stderr


def run(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False,
        encoding="utf-8", env={**os.environ, **environment},
    )  # fmt: skip


def test_only_what_the_manifest_lists_is_installed(cli: Command, tiny_model_folder: Path) -> None:
    shutil.copytree(tiny_model_folder, "m")
    Path("m", "diary.txt").write_text("mine")
    cli.succeed("install", "m")
    assert {path.name for path in find_model("tiny").iterdir()} == {path.name for path in tiny_model_folder.iterdir()}


def test_another_model_of_the_name_is_replaced_only_when_asked(cli: Command, tiny_model_folder: Path) -> None:
    other = write_tiny_model(Path("other"), name="tiny", seed=1)
    cli.succeed("install", tiny_model_folder)
    again = cli.succeed("install", tiny_model_folder)
    assert again.err == f"tiny 1 is already installed in {find_model('tiny')}\n"
    refused = cli("install", other)
    assert refused.code == 7
    expected = f"expected no model called tiny in {installed_models()}, found version 1; use --replace to replace it"
    assert refused.err == f"vae-gen: {expected}\n"
    assert VAE("tiny").manifest.fingerprint == VAE(tiny_model_folder).manifest.fingerprint
    document = json.loads(cli.succeed("install", other, "--replace", "--json").out)
    assert document["output"] == str(find_model("tiny"))
    assert VAE("tiny").manifest.fingerprint == VAE(other).manifest.fingerprint
    (find_model("tiny") / "decoder.onnx").unlink()
    assert "found a broken one" in cli("install", tiny_model_folder).err
    cli.succeed("install", tiny_model_folder, "--replace")
    assert left() == ["tiny"]


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize(
    ("file", "said"),
    [("decoder.onnx", "the first is sha256 of decoder.onnx"), ("golden.json", "the first is sha256 of golden.json"),
     ("README.md", "the first is sha256 of README.md")],
)  # fmt: skip
def test_a_model_with_a_changed_file_is_not_installed(
    cli: Command, tiny_model_folder: Path, as_zip: bool, file: str, said: str
) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, "m"))
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    outcome = cli("install", zipped("m.zip", folder) if as_zip else folder)
    assert (outcome.code, outcome.err.count("\n")) == (4, 1)
    assert said in outcome.err
    assert ".part" not in outcome.err
    assert left() == []


def test_a_model_that_computes_something_else_is_not_installed(cli: Command, tiny_model_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, "m"))
    golden = json.loads((folder / "golden.json").read_bytes())
    golden["encodings"]["mean"][0][0] += 1
    (folder / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    content = (folder / "golden.json").read_bytes()
    manifest["files"]["golden.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    outcome = cli("install", folder)
    assert outcome.code == 4
    assert "the first is posterior means: largest difference 1, allowed 0.0001" in outcome.err
    assert left() == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../up", "a name that a folder can have"), ("a/b", "a name that a folder can have"),
        ("..", "a name that a folder can have"), (".hidden", "a name that a folder can have"),
        ("-rf", "a name that a folder can have"), ("~", "a name that a folder can have"),
        ("a\nb", "a name that a folder can have"), ("hf:a/b", "a name that a folder can have"),
        ("con.x", "a name that a folder can have"), ("end.", "a name that a folder can have"),
        ("x" * 101, "a name that a folder can have"), ("right\u202eleft", "a name that a folder can have"),
        ("fashion-mnist-12d", "a name that no shipped model has"),
    ],
)  # fmt: skip
def test_a_hostile_name_is_refused(cli: Command, tiny_model_folder: Path, name: str, said: str) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, "m"))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["model"]["name"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))
    outcome = cli("install", folder)
    assert (outcome.code, outcome.err.count("\n")) == (4, 1)
    assert said in outcome.err
    assert "export it with another --name" in outcome.err
    assert left() == []


@pytest.mark.parametrize("name", ["Emoji 2", "νόστος", "हिन्दी", "a.b+c_d-e", "it's"])
def test_a_name_of_any_script_is_installed(cli: Command, name: str) -> None:
    cli.succeed("install", write_tiny_model(Path("m"), name=name))
    assert left() == [name]
    assert VAE(name).manifest.name == name


def spoil(archive: zipfile.ZipFile, kind: str) -> None:
    """Adds an entry that no zip of a model folder has."""
    names = {
        "up": "../evil.txt", "deep": "a/../../evil.txt", "root": "/etc/evil", "drive": "C:evil", "back": "..\\evil",
    }  # fmt: skip
    entry = zipfile.ZipInfo(names.get(kind, "entry"))
    if kind == "link":
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    if kind == "fifo":
        entry.external_attr = (stat.S_IFIFO | 0o777) << 16
    archive.writestr(entry, b"/etc/passwd")
    if kind == "twice":
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(zipfile.ZipInfo("entry"), b"again")
    if kind == "two":
        archive.writestr("other/manifest.json", b"{}")
    if kind == "many":
        for at in range(10_001):
            archive.writestr(f"{at}", b"")
    if kind == "locked":
        archive.infolist()[-1].flag_bits |= 1
    if kind == "bomb":
        archive.infolist()[-1].file_size = 5 * 10**9
    if kind == "json":
        archive.getinfo("manifest.json").file_size = 60 * 10**6


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("up", "expected files inside a folder, got an entry called ../evil.txt"),
        ("deep", "expected files inside a folder, got an entry called a/../../evil.txt"),
        ("root", "expected files inside a folder, got an entry called /etc/evil"),
        ("drive", "expected files inside a folder, got an entry called C:evil"),
        ("back", "expected files inside a folder, got an entry called ..\\evil"),
        ("link", "expected files and folders, got a link or a device called entry"),
        ("fifo", "expected files and folders, got a link or a device called entry"),
        ("twice", "expected each file once, got two entries called entry"),
        ("two", "expected a zip with one manifest.json, at its top or in a folder there, got 2"),
        ("many", "expected a zip of at most 10000 entries, got"),
        ("locked", "expected a zip without a password, got the encrypted entry entry"),
        ("bomb", "expected a zip that unpacks to at most 1000 MB, got one of 5000 MB"),
        ("json", "expected JSON of at most 50 MB, got the larger manifest.json"),
    ],
)
def test_a_zip_that_could_do_harm_is_refused(cli: Command, tiny_model_folder: Path, kind: str, said: str) -> None:
    path = zipped("m.zip", tiny_model_folder)
    with zipfile.ZipFile(path, "a") as archive:
        spoil(archive, kind)
    outcome = cli("install", path)
    assert (outcome.code, outcome.err.count("\n")) == (5, 1)
    assert outcome.err.startswith(f"vae-gen: m.zip: {said}")
    assert left() == []
    assert [entry.name for entry in Path.cwd().iterdir()] == ["m.zip"]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"words", 5, "m.zip: expected a model folder or a zip of one, got another file (File is not a zip file)"),
        (b"", 5, "m.zip: expected a model folder or a zip of one, got another file"),
        ("cut", 5, "m.zip: expected a model folder or a zip of one, got another file"),
        ("flipped", 4, "m.zip/decoder.onnx: expected an undamaged file, got "),
        ("incomplete", 4, "m.zip/golden.json: expected a file that manifest.json lists, found none"),
        ("empty", 5, "m.zip: expected a zip with one manifest.json, at its top or in a folder there, got 0"),
    ],
)
def test_a_damaged_zip_is_one_line(
    cli: Command, tiny_model_folder: Path, content: bytes | str, code: int, said: str
) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, "m"))
    if content == "incomplete":
        (folder / "golden.json").unlink()
    if content == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    path = zipped("m.zip", folder)
    if isinstance(content, bytes):
        path.write_bytes(content)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    if content == "flipped":
        with zipfile.ZipFile(path) as archive:
            place = archive.getinfo("decoder.onnx").header_offset + 2000
        whole = bytearray(path.read_bytes())
        whole[place : place + 50] = b"\xff" * 50
        path.write_bytes(whole)
    outcome = cli("install", path)
    assert (outcome.code, outcome.err.count("\n")) == (code, 1)
    assert said in outcome.err
    assert left() == []


def test_a_folder_that_is_none_is_one_line(cli: Command) -> None:
    assert cli("install", "nowhere").err.startswith("vae-gen: expected a model folder or one of fashion-mnist-12d, ")
    Path("empty").mkdir()
    assert "found no manifest.json in empty" in cli("install", "empty").err


@pytest.mark.parametrize("file", ["README.md", "decoder.onnx", "manifest.json"])
def test_a_link_to_somewhere_else_is_refused(cli: Command, tiny_model_folder: Path, file: str) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, "m"))
    shutil.move(folder / file, "elsewhere")
    (folder / file).symlink_to(Path("elsewhere").absolute())
    outcome = cli("install", folder)
    assert (outcome.code, outcome.err.count("\n")) == (4, 1)
    assert "it is a symbolic link; copy the folder with its links followed" in outcome.err
    assert left() == []


def test_a_pipe_in_the_place_of_a_file_is_refused(cli: Command, tiny_model_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, "m"))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["README.md"]["bytes"] = 0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    outcome = cli("install", folder)
    assert (outcome.code, outcome.err.count("\n")) == (4, 1)
    assert "m/README.md: expected an undamaged file, got OSError: " in outcome.err
    assert left() == []


def test_a_place_that_cannot_be_written_is_one_line(
    cli: Command, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    outcome = cli("install", tiny_model_folder)
    assert (outcome.code, outcome.err.count("\n")) == (7, 1)
    assert outcome.err.startswith(f"vae-gen: cannot write {tmp_path / 'file' / 'vae-gen' / 'models'}: ")


def test_nothing_half_is_left_after_a_kill(cli: Command, tiny_model_folder: Path) -> None:
    code = (
        "import os, signal, vae_gen; vae_gen.verify = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "from vae_gen_cli.main import run; run()"
    )
    assert run(code, "install", tiny_model_folder).returncode == -9
    (part,) = left()
    assert part.startswith(".tiny.")
    assert not {part, "tiny"} & set(model_names())
    assert "tiny" not in cli.succeed("models").out.decode()
    cli.succeed("install", write_tiny_model(Path("more"), name="more"))
    assert left() == [part, "more"]  # the other one may still be at work
    hours_ago = time.time() - 7200
    os.utime(installed_models() / part, (hours_ago, hours_ago))
    cli.succeed("install", write_tiny_model(Path("most"), name="most"))
    assert left() == ["more", "most"]
    assert run(code, "install", tiny_model_folder).returncode == -9
    cli.succeed("install", tiny_model_folder)  # the process that owned the hidden folder has ended
    assert left() == ["more", "most", "tiny"]


def test_models_lists_every_place_with_the_default_and_the_broken_ones(
    cli: Command, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.succeed("install", tiny_model_folder)
    shared = tmp_path / "shared"
    write_tiny_model(shared / "flags", name="flags", shape=(3, 8, 12), class_names=[])
    shutil.copytree(tiny_model_folder, shared / "tiny")
    shutil.copytree(tiny_model_folder, shared / "cut").joinpath("encoder.onnx").unlink()
    shutil.copytree(tiny_model_folder, shared / "headless").joinpath("manifest.json").unlink()
    (shared / "photos").mkdir()
    shutil.copytree(tiny_model_folder, shared / ".tiny.x.part")
    monkeypatch.setenv("VAE_GEN_MODEL_PATH", os.pathsep.join([str(tmp_path / "nowhere"), "", str(shared)]))
    monkeypatch.delenv("VAE_GEN_MODEL", raising=False)

    document = json.loads(cli.succeed("models", "--json").out)
    found = [(model["name"], model["place"], model["default"], model["hidden"]) for model in document["models"]]
    assert found == [
        ("fashion-mnist-12d", "shipped", True, False), ("fashion-mnist-12d-reference", "shipped", False, False),
        ("tiny", "installed", False, False), ("cut", str(shared), False, False), ("flags", str(shared), False, False),
        ("headless", str(shared), False, False), ("tiny", str(shared), False, True),
    ]  # fmt: skip
    by_path = {model["path"]: model for model in document["models"]}
    assert by_path[str(shared / "flags")]["image"] == [3, 8, 12]
    assert "encoder.onnx: expected a file of" in by_path[str(shared / "cut")]["broken"]
    assert "found no manifest.json" in by_path[str(shared / "headless")]["broken"]
    assert document["installed"] == str(installed_models())

    lines = cli.succeed("models").out.decode().splitlines()
    assert lines[0].startswith("* fashion-mnist-12d ")
    assert lines[4].endswith(f"{shared}; version 1, 12 × 8 colour, 12 latent dimensions, no classes, licence: MIT")
    assert "; broken: " in lines[3]
    assert lines[6].endswith("; hidden by the first model of this name")
    assert find_model("tiny") == installed_models() / "tiny"
    assert find_model("flags") == shared / "flags"
    with pytest.raises(ModelError, match="expected a model folder or one of fashion-mnist-12d, .*flags.*, got photos"):
        find_model("photos")

    monkeypatch.setenv("VAE_GEN_MODEL", "flags")
    document = json.loads(cli.succeed("models", "--json").out)
    assert [model["name"] for model in document["models"] if model["default"]] == ["flags"]
    monkeypatch.setenv("VAE_GEN_MODEL", "elsewhere/m")
    assert cli.succeed("models").err.startswith("the default is elsewhere/m, from VAE_GEN_MODEL; ")


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "/home/me/.local/share/vae-gen/models"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/vae-gen/models"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/home/me/.local/share/vae-gen/models"),
        ("darwin", {}, "/home/me/Library/Application Support/vae-gen/models"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/vae-gen/models"),
        ("win32", {}, "/home/me/AppData/Local/vae-gen/models"),
    ],
)
def test_models_are_installed_where_the_system_keeps_data(
    platform: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert installed_models() == Path(expected)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub_cache(cache: Path, folder: Path, *, without: str = "") -> None:
    """The local cache of huggingface_hub with a model in it, as a download leaves it: blobs, and links to them."""
    place = cache / "models--user--blobs"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    (place / "blobs").mkdir()
    (place / "snapshots" / COMMIT).mkdir(parents=True)
    for file in folder.iterdir():
        if file.name != without:
            blob = hashlib.sha256(file.read_bytes()).hexdigest()
            shutil.copyfile(file, place / "blobs" / blob)
            (place / "snapshots" / COMMIT / file.name).symlink_to(Path("..", "..", "blobs", blob))


HUB = """
import sys
from vae_gen import VAE, ModelError
from vae_gen_cli.main import main
assert VAE("tiny").manifest.name == "tiny" and "huggingface_hub" not in sys.modules
for name in ("hf:user/blobs", "hf:user/blobs@main", f"hf:user/blobs@{sys.argv[1]}"):
    vae = VAE(name)
    print(vae, vae.manifest.name, vae.sample(1, seed=7).grey_levels().sum())
for name in ("hf:user/blobs@other", "hf:user/nothing"):
    try:
        VAE(name)
    except ModelError as error:
        print(error)
sys.argv = ["vae-gen", "info", "--model", "hf:user/blobs"]
code = main()
sys.argv = ["vae-gen", "install", "hf:user/blobs"]
sys.exit(code or main())
"""


def test_a_model_of_the_hub_comes_from_its_cache_without_a_network(
    cli: Command, tiny_model_folder: Path, fitted_model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    cli.succeed("install", tiny_model_folder)
    hub_cache(tmp_path / "hub", fitted_model_folder)
    found = run(HUB, COMMIT, HF_HUB_CACHE=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    sums = VAE(fitted_model_folder).sample(1, seed=7).grey_levels().sum()
    names = ("hf:user/blobs", "hf:user/blobs@main", f"hf:user/blobs@{COMMIT}")
    assert lines[:3] == [f"VAE({name!r}) fitted {sums}" for name in names]
    for line, name in zip(lines[3:5], ("hf:user/blobs@other", "hf:user/nothing"), strict=True):
        assert line.startswith(f"expected manifest.json of {name} on the Hugging Face Hub or in its local cache, got ")
    assert lines[5] == "model         fitted, version 1"
    assert found.stderr.startswith(f"fitted 1 → {installed_models() / 'fitted'}; ")
    assert not any(path.is_symlink() for path in (installed_models() / "fitted").iterdir())


def test_a_file_that_the_cache_lacks_is_named(cli: Command, fitted_model_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    hub_cache(tmp_path / "hub", fitted_model_folder, without="decoder.onnx")
    code = "from vae_gen_cli.main import run; run()"
    found = run(code, "info", "--model", "hf:user/blobs", HF_HUB_CACHE=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    assert (found.returncode, found.stderr.count("\n")) == (4, 1)
    assert found.stderr.startswith("vae-gen: expected decoder.onnx of hf:user/blobs on the Hugging Face Hub or ")


@pytest.mark.parametrize("name", ["hf:", "hf:a", "hf:a/", "hf:a/b/c", "hf:a/b@", "hf:../b", "hf:a/..", "hf:a b/c"])
def test_a_malformed_name_of_the_hub_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="^expected hf:user/name or hf:user/name@revision, got "):
        VAE(name)


def test_without_the_extra_one_sentence_says_so(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnavailableError):
        VAE("hf:user/blobs")
    outcome = cli("info", "--model", "hf:user/blobs")
    assert outcome.code == 3
    assert outcome.err == (
        "vae-gen: expected the package huggingface_hub, which finds hf:user/blobs, got none; install the extra hub: "
        'pip install "vae-gen[hub]", or pip install huggingface_hub\n'
    )
