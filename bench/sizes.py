"""The bytes in site-packages: of vae-gen in a fresh environment, and of PyTorch in this environment."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .machine import HERE
from .parts import Cell, Table

COMMANDS = (
    ("--help",), ("sample", "-n", "50", "-o", "x.png"), ("sample", "-n", "2000", "-o", "x.npz"),
    ("sample", "-n", "2", "-o", "one/"), ("traverse", "--dim", "0", "-o", "t.png"),
    ("interpolate", "--seed", "1", "--seed", "2", "--animate", "-o", "m.gif"),
    ("encode", "one/000000.png", "-o", "l.json"), ("decode", "l.json", "-o", "d.png"),
    ("reconstruct", "one/000000.png", "-o", "r.png"), ("repeat", "x.png", "-o", "again.png"), ("info",), ("verify",),
)  # fmt: skip
"""The commands that are run to find the files that they open."""

LOADED = """
import json, re, sys
from pathlib import Path
from vae_gen_cli.main import main
file, sys.argv = sys.argv[1], ["vae-gen", *sys.argv[2:]]
try:
    main()
except SystemExit:
    pass
loaded = {str(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
maps = Path("/proc/self/maps")
loaded |= set(re.findall(r" (/.+)$", maps.read_text(), re.M)) if maps.exists() else set()
Path(file).write_text(json.dumps(sorted(loaded)))
"""

INSTALLED = """
import importlib.metadata, json
print(json.dumps({dist.name: {str(file.locate()): file.locate().stat().st_size
    for file in dist.files or () if file.locate().is_file()} for dist in importlib.metadata.distributions()}))
"""

Files = Mapping[str, int]
"""Bytes by path."""

OF_THE_ENVIRONMENT = ("pip", "setuptools", "wheel")
"""Packages that a fresh environment has before anything is installed."""
LARGE = 300_000
"""A folder that no command opens is named if it has at least this many bytes."""
CUDA_FILE = re.compile(r"cuda|nvrtc|nccl|nvshmem|cudnn|cublas", re.I)
CUDA_PACKAGE = re.compile(r"nvidia|triton|cuda", re.I)


def measure(folder: Path, share: float = 1.0) -> Iterator[Table | str]:
    """What is installed, what of it is used, and the same of PyTorch."""
    try:
        installed, loaded = fresh_install(folder)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or "").strip().splitlines()[-1:] or [str(error)]
        yield f"Not measured: a fresh installation, because {error.cmd[0]} failed: {reason[0]}"
    else:
        yield base_table(installed, loaded)
    yield torch_table() if importlib.util.find_spec("torch") else "Not measured: PyTorch, which is not installed."


def fresh_install(folder: Path) -> tuple[dict[str, Files], set[str]]:
    """The files of each package in a fresh environment with vae-gen, and the files that the commands open."""
    source, home = folder / "source", folder / "alone"
    source.mkdir()
    archive = folder / "source.tar"
    _quietly("git", "archive", "--output", str(archive), "HEAD", folder=HERE.parent)  # a copy without build folders
    _quietly("tar", "-xf", str(archive), "-C", str(source), folder=folder)
    venv.create(home, with_pip=True)
    python = str(home / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    _quietly(python, "-m", "pip", "install", "--quiet", str(source), folder=folder)
    installed = json.loads(_quietly(python, "-c", INSTALLED, folder=folder))
    loaded: set[str] = set()
    for command in COMMANDS:
        _quietly(python, "-c", LOADED, "loaded.json", *command, folder=folder)
        loaded |= set(json.loads((folder / "loaded.json").read_text()))
    return {name: files for name, files in installed.items() if name not in OF_THE_ENVIRONMENT}, loaded


def base_table(installed: Mapping[str, Files], loaded: set[str]) -> Table:
    """A table of packages by size, with their large folders that no command opens."""
    rows: list[list[Cell]] = []
    for name, files in sorted(installed.items(), key=lambda entry: -sum(entry[1].values())):
        rows.append([name, sum(files.values()) / 1e6, bool(loaded & set(files)), idle_folders(files, loaded)])
    total = sum(float(row[1] or 0) for row in rows)
    idle = sum(float(row[1] or 0) for row in rows if not row[2])
    return Table(
        "vae-gen alone", ["package", "MB", "opened", "its folders that no command opens"],
        [*rows, ["in all", total, None, f"packages never opened: {idle:.1f} MB"]],
        ["This is a fresh environment after `pip install .`, without pip. A package counts with all files that it "
         "records, including compiled Python. It is opened if a module is imported or a library is mapped by one of " +
         ", ".join(f"`{name}`" for name in dict.fromkeys(command[0] for command in COMMANDS)) +
         ", which write pictures, animations, arrays and a folder."],
    )  # fmt: skip


def idle_folders(files: Files, loaded: set[str]) -> str:
    """The large folders directly in a package of which no file was opened, with their megabytes."""
    sizes: Counter[str] = Counter()
    for path, size in files.items():
        sizes[_folder(path)] += size
    used = {_folder(path) for path in loaded & set(files)}
    idle = [(name, size) for name, size in sizes.most_common() if name not in used and size >= LARGE]
    return ", ".join(f"{name} {size / 1e6:.1f}" for name, size in idle if "__pycache__" not in name)


def _folder(path: str) -> str:
    """The package and the folder in it, for example numpy/fft for …/site-packages/numpy/fft/helper.py."""
    return "/".join(path.rpartition("site-packages")[2].replace("\\", "/").split("/")[1:3])


def torch_table() -> Table:
    """A table of PyTorch, torchvision and what they require, with and without the files of CUDA."""
    rows: list[list[Cell]] = []
    totals = [0, 0]
    for name in sorted(requirements("torch") | requirements("torchvision")):
        files = _files(name)
        kept = sum(size for path, size in files.items() if not CUDA_FILE.search(Path(path).name))
        if not CUDA_PACKAGE.search(name):
            rows.append([name, sum(files.values()) / 1e6, kept / 1e6])
            totals = [totals[0] + sum(files.values()), totals[1] + kept]
    return Table(
        "torch and torchvision, as installed here", ["package", "MB", "MB without CUDA's files"],
        [*rows, ["in all", totals[0] / 1e6, totals[1] / 1e6]],
        ["These are all packages that torch and torchvision require, except those of CUDA and Triton. The last column "
         "leaves out files with cuda, nvrtc, nccl, nvshmem, cudnn or cublas in their name. It is an estimate of the "
         "build for CPUs, which has another libtorch_cpu."],
    )  # fmt: skip


def requirements(name: str) -> set[str]:
    """The names of a package and of all packages that it requires here, without extras."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = [name]
    while waiting:
        if (one := waiting.pop()) in found:
            continue
        try:
            needed = [Requirement(line) for line in importlib.metadata.requires(one) or ()]
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(one)
        waiting += [need.name for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def _files(name: str) -> dict[str, int]:
    paths: list[Any] = [file.locate() for file in importlib.metadata.files(name) or ()]
    return {str(path): path.stat().st_size for path in paths if path.is_file()}


def _quietly(*command: str, folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
