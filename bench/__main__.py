"""`python -m bench [--only start,single,bulk,torch,training] [--out FOLDER]`: the table of bench/README.md.

Peers come with the extra `bench`. A peer that is not installed leaves its rows out, and says so.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .pairs import Pair, compare, peak_megabytes, process

HERE = Path(__file__).parent
REFERENCE = "fashion-mnist-12d-reference"


def start(folder: Path) -> Iterator[Pair | str]:
    """Whole processes."""
    from vae_runtime import find_model

    generator = find_model() / "generator.onnx"
    commands = (
        ("vae-gen", "sample", "-n", "50", "--seed", "0", "-q", "-o", "x.png"),
        ("python", HERE / "minimal.py", generator, "m.png"),
    )
    ours, least = (process(*command, folder=folder) for command in commands)
    yield compare("cold start, 50 pictures to PNG", ours, "minimal script", least, rounds=21, goal=1.2)
    torch = process("python", "-c", "import torch", folder=folder)
    yield compare("cold start, 50 pictures to PNG", ours, "import torch", torch, rounds=5, goal=1 / 6)
    typer_rich = process("python", "-c", "import typer, rich", folder=folder)
    yield compare("vae-gen --help", process("vae-gen", "--help", folder=folder), "import typer, rich", typer_rich,
                  rounds=21, goal=1.3)
    a, b = (peak_megabytes(*command, folder=folder) for command in commands)
    yield f"Peak memory of `sample -n 50`: {a:.0f} MB, minimal script {b:.0f} MB: {a / b:.2f} × (goal 1.15)."


def single(folder: Path) -> Iterator[Pair | str]:
    """In a running process, the reference model on one thread."""
    from vae_runtime import Generator, find_model

    model = Generator.load(REFERENCE, threads=1)
    plain = session(find_model(REFERENCE) / "decoder.onnx", 1)
    latent = np.zeros((1, 12), np.float32)
    window = {name: np.array(value, np.int64) for name, value in (("seed", 7), ("start", 0), ("count", 1))}
    generator = session(find_model(REFERENCE) / "generator.onnx", 1)
    decode = repeated(lambda: plain.run(None, {"latent": latent}), 200)
    yield compare("one picture by seed, reference, graph alone", repeated(lambda: generator.run(None, window), 200),
                  "its decoder alone", decode, rounds=21, goal=2.0)
    yield compare("one picture by seed, reference, Generator.sample", repeated(lambda: model.sample(1, seed=7), 200),
                  "its decoder alone", decode, rounds=21)
    thousand = {**window, "count": np.array(1000, np.int64)}
    rows = model.sample(1000, seed=7).latents
    whole = compare("1000 pictures by seed, reference", lambda: generator.run(None, thousand), "the decode of the same",
                    lambda: plain.run(None, {"latent": rows}), rounds=21, goal=1.02)
    yield whole


def bulk(folder: Path) -> Iterator[Pair | str]:
    """Hundreds of thousands of pictures; ours to a file on disk, the peer in memory."""
    from vae_runtime import Generator, find_model

    from .graphs import largest_rate, multiplications

    for name, count, goal in ((REFERENCE, 100_000, 1 / 1.8), ("fashion-mnist-12d", 10_000, 1 / 1.1)):
        path = find_model(name)
        plain = session(path / "generator.onnx", None)

        def peer(plain=plain, count=count) -> None:
            for at in range(0, count, 1000):
                window = {"seed": 7, "start": at, "count": 1000}
                plain.run(None, {key: np.array(value, np.int64) for key, value in window.items()})

        ours = process("vae-gen", "sample", "-n", str(count), "--seed", "7", "-q", "--model", name, "-o", "x.npy",
                       folder=folder)
        pair = compare(f"{count:,} pictures to .npy, {name}", ours, "one plain session, in memory", peer, rounds=5,
                       goal=goal)
        yield pair
        default = Generator.load(name).manifest
        graph = "detail.onnx" if default.details_by_default else "decoder.onnx"
        rate, cores = count / pair.ours_seconds, os.cpu_count() or 1
        used = multiplications(path / graph) * rate / (largest_rate() * cores)
        yield (f"{name}: {rate:,.0f} pictures a second, {multiplications(path / graph) / 1e6:.1f} MMAC each: "
               f"{used:.0%} of the largest float32 MatMul on {cores} cores (goal 75 %).")


def torch_peers(folder: Path) -> Iterator[Pair | str]:
    """The reference decoder in PyTorch, with the weights of its ONNX file, on one thread."""
    import onnx
    import torch
    from onnx import numpy_helper

    from vae_runtime import find_model
    from vae_train.config import ModelConfig
    from vae_train.model import Decoder

    path = find_model(REFERENCE) / "decoder.onnx"
    weights = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in onnx.load(path).graph.initializer}
    decoder = Decoder(ModelConfig()).eval()
    wanted = decoder.state_dict()
    found = {key: next((w for n, w in weights.items() if n.endswith(key) and w.shape == v.shape), None)
             for key, v in wanted.items()}
    if any(value is None for value in found.values()):
        yield "The decoder's weights have other names in ONNX: no comparison with PyTorch."
        return
    decoder.load_state_dict(found)
    torch.set_num_threads(1)
    plain = session(path, 1)
    for count in (1, 50):
        rows = np.random.default_rng(0).standard_normal((count, 12), np.float32)
        tensor = torch.tensor(rows)
        with torch.inference_mode():
            gap = float(np.abs(torch.sigmoid(decoder(tensor)).numpy() - plain.run(None, {"latent": rows})[0]).max())
        assert gap < 1e-5, gap
        compiled = torch.compile(decoder)
        for name, run in (("PyTorch eager", decoder), ("torch.compile", compiled)):

            def peer(run=run, tensor=tensor) -> None:
                with torch.inference_mode():
                    torch.sigmoid(run(tensor))

            yield compare(f"decode {count}, reference, ONNX Runtime",
                          repeated(lambda rows=rows: plain.run(None, {"latent": rows}), 100), name,
                          repeated(peer, 100), rounds=11, goal=1.0)


def training(folder: Path) -> Iterator[Pair | str]:
    """A hundred steps of the reference recipe, on all cores, against the loop that notebooks write."""
    from .training import in_memory_loop, notebook_loop, our_loop

    ours, notebook, memory = our_loop(), notebook_loop(), in_memory_loop()
    yield compare("100 training steps, reference recipe", ours, "notebook loop", notebook, rounds=5, goal=0.5)
    yield compare("100 training steps, reference recipe", ours, "in-memory loop", memory, rounds=5)


def session(path: Path, threads: int | None):
    """A plain session, with one thread or the library's own choice."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def repeated(work: Callable[[], object], times: int) -> Callable[[], None]:
    """The work several times, so that the clock's grain does not count."""

    def run() -> None:
        for _ in range(times):
            work()

    return run


PARTS = {"start": start, "single": single, "bulk": bulk, "torch": torch_peers, "training": training}


def main(
    only: Annotated[str, typer.Option(help="Some of the parts, with commas between.")] = ",".join(PARTS),
    out: Annotated[Path, typer.Option(help="Where results.md and results.json go.")] = HERE,
) -> None:
    """Measure everything beside its peers, and write the table. Let the machine rest meanwhile."""
    unknown = [name for name in only.split(",") if name not in PARTS]
    if unknown:
        raise typer.BadParameter(f"expected some of {', '.join(PARTS)}, got {unknown[0]}")
    pairs: list[Pair] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in only.split(","):
            try:
                for result in PARTS[name](Path(folder)):
                    (pairs if isinstance(result, Pair) else notes).append(result)  # type: ignore[arg-type]
                    print(result, flush=True)
            except ImportError as error:
                notes.append(f"{name}: not measured, because a peer is not installed ({error.name}).")
    (out / "results.json").write_text(json.dumps({"head": head(), "pairs": [asdict(p) for p in pairs], "notes": notes},
                                                 indent=1) + "\n", "utf-8")
    (out / "results.md").write_text(table(pairs, notes), "utf-8")


def head() -> dict[str, str]:
    """The machine and the versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = names[0] if names else platform.machine()
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "onnxruntime", "typer", "pillow", "torch")}
    return {"processor": model, "cores": str(os.cpu_count()), "python": platform.python_version(), **versions}


def table(pairs: list[Pair], notes: list[str]) -> str:
    """The page."""
    lines = ["# Speed", "", "Written by `python -m bench`. Ours over the peer's time, each pair timed in turn: median "
             "and quartiles of neighbouring runs' ratios. Below 1 ours is faster. A timing of one picture is of 200 "
             "runs, of a decode of 100.", "",
             ", ".join(f"{key} {value}" for key, value in head().items()) + ".", "",
             "| what | against | ours | peer | ratio (quartiles) | goal | met |", "|---|---|---|---|---|---|---|"]
    for pair in pairs:
        goal = "" if pair.goal is None else f"≤ {pair.goal:.2f}"
        lines.append(f"| {pair.name} | {pair.peer} | {shown(pair.ours_seconds)} | {shown(pair.peer_seconds)} | "
                     f"{pair.ratio:.2f} ({pair.low:.2f} to {pair.high:.2f}) | {goal} | {pair.met} |")
    lines += ["", *(f"- {note}" for note in notes), "", "## On a GPU", "", "Not measured.", ""]
    return "\n".join(lines)


def shown(seconds: float) -> str:
    """Seconds with a unit that fits."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.2f} ms"


if __name__ == "__main__":
    typer.run(main)
