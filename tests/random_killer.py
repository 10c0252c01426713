"""Does work in child processes that are killed with SIGKILL at random moments, and looks at what each of them left.

    python random_killer.py WORK FOLDER MODEL SEED

WORK is npy, npz, new or old for `vae-gen sample --resume` into an array, a new folder or one with pictures in it, or
export, or detail. A killed child is followed by one that goes on, until one comes to its end; then the work begins
again. Prints a line of JSON: the number of kills, of ends, and of those that went on with what a killed child had made.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KILLS = 50


@dataclass
class Work:
    """A command of the tests that is killed, with the outputs that it may leave."""

    do: Callable[[], int]
    """does the work in a child process, and returns how much of it an earlier child had done"""
    output: Path
    """the file or the folder that it makes"""
    begin: Callable[[], None]
    """brings the output to its state before the work"""
    allowed: Callable[[dict[str, bytes], dict[str, bytes], dict[str, bytes]], bool]
    """whether files may be there after a kill; it is given them, those before the work, and those at its end"""


def main() -> None:
    kind, folder, model, seed = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    work = {"export": export_work, "detail": detail_work}.get(kind, sample_work)(kind, folder, model)
    chance = random.Random(seed)
    work.begin()
    before = contents(work.output)
    began = time.monotonic()
    assert in_child(work.do, None) == 0
    duration = time.monotonic() - began
    after = contents(work.output)
    assert after
    work.begin()
    kills = ends = continued = 0
    while kills < KILLS or not ends:
        kept = in_child(work.do, chance.uniform(0, duration) if kills < KILLS else None)
        left = contents(work.output)
        if kept is None:
            kills += 1
            assert work.allowed(left, before, after), f"{sorted(left)} are not whole"
            assert len(leftovers(folder)) <= 2, leftovers(folder)  # of a few files of a detail stage
        else:
            ends, continued = ends + 1, continued + (kept > 0)
            assert left == after, "not the same in the end"
            assert leftovers(folder) == []
            work.begin()
    print(json.dumps({"kills": kills, "ends": ends, "continued": continued}))


def in_child(do: Callable[[], int], seconds: float | None) -> int | None:
    """Does something in a child process and returns its result, or None if it was killed after so many seconds."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sending, str(do()).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(sending)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with open(receiving) as pipe:  # noqa: PTH123 - of a descriptor
        said = pipe.read()
    if os.WIFSIGNALED(status):
        return None
    assert os.WEXITSTATUS(status) == 0, "a child failed"
    return int(said)


def contents(path: Path) -> dict[str, bytes]:
    """The file at a path or the files below it, without hidden ones and those that contain seconds."""
    files = path.rglob("*") if path.is_dir() else [path]
    names = {str(file.relative_to(path)): file for file in files if file.is_file() and file.name != "checkpoint.pt"}
    return {name: file.read_bytes() for name, file in names.items() if "/." not in f"/{name}" or name == "."}


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.suffix in (".part", ".old")]


def removed(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


# What is killed.


def whole(left: dict[str, bytes], before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    """All of the output is the old one, or all of it is the new one."""
    return left in (before, after)


def each_whole(left: dict[str, bytes], before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    """Each file is the old one or the new one."""
    return set(before) <= set(left) and all(left[name] in (before.get(name), after[name]) for name in left)


def sample_work(kind: str, folder: Path, model: str) -> Work:
    import onnxruntime  # noqa: F401 - imported here, so that not every child takes the time
    from PIL import Image, PngImagePlugin, WebPImagePlugin  # noqa: F401

    from vae_gen.internal import unfinished  # noqa: F401
    from vae_gen_cli import sample  # noqa: F401
    from vae_gen_cli.main import main

    is_folder = kind in ("new", "old")
    output = folder / (kind if is_folder else f"pictures.{kind}")
    count = "1300" if is_folder else "12000"

    def do() -> int:
        out = io.TextIOWrapper(io.BytesIO())
        words = ["vae-gen", "sample", "-n", count, "--seed", "3", "-o", f"{output}/" if is_folder else str(output)]
        sys.argv = [*words, "--model", model, "--resume", "--json"]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            assert main() == 0
        return int(json.loads(out.buffer.getvalue())["kept"])  # type: ignore[attr-defined]

    def begin() -> None:
        removed(output)
        if kind == "old":
            output.mkdir()
            for name in (*(f"{index:06}.png" for index in range(0, 1300, 3)), "notes.txt"):
                (output / name).write_text(f"old {name}")
        elif not is_folder:
            output.write_bytes(b"old")

    return Work(do, output, begin, each_whole if kind == "old" else whole)


def export_work(kind: str, folder: Path, model: str) -> Work:
    """`vae-export --force` over another model. What precedes the writing is computed once, before the children."""
    import tiny_proof
    from vae_export import package

    output, vae, data = folder / "exported", tiny_proof.LinearVae(), tiny_proof.tiny_pictures()
    encoder = tiny_proof.graphs_of(vae).encoder
    given: Any = package
    given.build_encoder = lambda *_: encoder
    given.build_graphs = lambda vae, _, prior, default, __: tiny_proof.graphs_of(vae, None, prior, default)

    def do() -> int:
        package.export_run(tiny_proof.linear_run(vae), data, output, name="new", version="2", force=True)
        return 0

    def begin() -> None:
        removed(output)
        shutil.copytree(model, output)

    def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
        results: list[Any] = []

        def once(*arguments: Any, **options: Any) -> Any:
            if not results:
                results.append(function(*arguments, **options))
            return results[0]

        return once

    for name in ("fit_to_training_images", "build_graphs", "_measure", "describe", "prove", "evaluate_torch", "_files"):
        setattr(given, name, remembered(getattr(given, name)))
    begin()
    do()
    return Work(do, output, begin, whole)


def detail_work(kind: str, folder: Path, model: str) -> Work:
    import torch  # noqa: F401

    from tiny_training import CONFIG, tiny_data
    from vae_train.config import DetailConfig
    from vae_train.detail.folder import load_detail
    from vae_train.detail.training import train_detail
    from vae_train.run_folder import load_run
    from vae_train.training import train

    data, run = tiny_data(), folder / "run"
    config = DetailConfig(
        noise_dim=4, hidden=6, channels=(3, 4, 5), residual_blocks=(1, 0, 1), critic_channels=(4, 5, 6),
        critic_hidden=8, epochs=3, batch_size=16, device="cpu", threads=1,
    )  # fmt: skip
    train(CONFIG, data, run)

    def do() -> int:
        trained = load_run(run)
        done = (run / "detail" / "checkpoint.pt").exists()
        train_detail(config, trained, data, resume=True)
        assert load_detail(trained)
        return int(done)

    return Work(do, run / "detail", lambda: removed(run / "detail"), lambda *_: True)


if __name__ == "__main__":
    main()
