"""`python -m bench.endurance [--minutes 60] [--out FILE]`: whether memory, threads or open files grow in a long run.

One process calls everything that an app calls, in turn and with changing sizes: it loads models, makes, encodes,
decodes, traverses, interpolates, reconstructs, saves and reads pictures, and makes mistakes. The figures at the start
are medians over the second tenth of the time, after everything was used once, and those at the end over the last tenth.
The exit code is 1 if the memory has grown by more than 2 %, or if there are more threads or open files.
"""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from PIL import Image

from vae_gen import VAE, VaeGenError, verify

from .machine import DEFAULT, REFERENCE, head

MOST_GROWTH = 0.02
"""How much more memory the end may have than the start."""
MOST_PICTURES = 100
"""The most pictures of a call, so that no single call decides how much memory the process has."""


def main(
    minutes: Annotated[float, typer.Option(help="How long to go on.")] = 60,
    out: Annotated[Path | None, typer.Option(help="A file for the figures, as JSON.")] = None,
) -> None:
    """Make mixed calls for a long time, and compare memory, threads and open files at the start and at the end."""
    process, seen, calls = psutil.Process(), [], 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        models = [VAE(DEFAULT), VAE(REFERENCE, threads=2)]
        while (elapsed := time.monotonic() - began) < 60 * minutes:
            for call in round_of_calls(models, Path(folder), calls):
                call()
                calls += 1
            seen.append((elapsed, process.memory_info().rss, process.num_threads(), process.num_fds()))
    tenth = 6 * minutes
    start = [row for row in seen if tenth <= row[0] < 2 * tenth]
    end = [row for row in seen if row[0] >= 9 * tenth]
    figures = {
        "minutes": round(minutes, 1), "rounds": len(seen), "calls": calls,
        **{name: [statistics.median(row[at] for row in part) for part in (start, end)]
           for at, name in ((1, "bytes"), (2, "threads"), (3, "open_files"))},
        "largest_bytes": max(row[1] for row in seen), "machine": head(),
    }  # fmt: skip
    figures["growth"] = round(figures["bytes"][1] / figures["bytes"][0] - 1, 4)
    text = json.dumps(figures, indent=1)
    print(text)
    if out is not None:
        out.write_text(f"{text}\n", "utf-8")
    grown = figures["growth"] > MOST_GROWTH or any(
        figures[name][1] > figures[name][0] for name in ("threads", "open_files")
    )
    sys.exit(int(grown))


def round_of_calls(models: list[VAE], folder: Path, number: int) -> list[Callable[[], object]]:
    """One call of each kind; the number changes the model, the sizes and the seeds."""
    vae, random = models[number % len(models)], np.random.default_rng(number)
    count = int(random.integers(1, MOST_PICTURES))
    samples = vae.sample(3, seed=number)
    latents = random.normal(size=(count, vae.latent_dim)).astype(np.float32)
    picture = Image.fromarray(random.integers(0, 256, (90, 70, 3), dtype=np.uint8))

    def fails() -> None:
        for wrong in (
            lambda: vae.sample(-1), lambda: vae.encode("none.png"), lambda: vae.decode(np.full(12, np.nan)),
            lambda: VAE("none"), lambda: vae.sample(label="none"),
        ):  # fmt: skip
            with contextlib.suppress(VaeGenError):
                wrong()

    def saves_and_reads() -> None:
        for name in ("a.png", "a.webp", "a.npy", "a.npz", "a/"):
            samples.save(f"{folder}/{name}")
        vae.encode([folder / "a.png", folder / "a.npy"])

    def loads() -> None:
        fresh = VAE(vae.manifest.name)
        fresh.sample(1, seed=1)
        copy.deepcopy(fresh).encode(samples)
        pickle.loads(pickle.dumps(samples)).grid()

    calls: list[Callable[[], object]] = [
        lambda: vae.sample(count, seed=number, label=number % 10, temperature=0.8).labels,
        lambda: vae.sample(count, seed=number).noise, lambda: [len(one) for one in vae.stream(count, number, chunk=32)],
        lambda: vae.decode(latents), lambda: vae.decode(samples), lambda: vae.encode(picture),
        lambda: vae.encode(samples), lambda: vae.reconstruct([picture, samples[0]]), lambda: vae.losses(samples),
        lambda: vae.traverse("z1,2", steps=5), lambda: vae.interpolate(samples[0], samples[1], 7, "slerp"),
        samples.to_pil, saves_and_reads, loads, fails,
    ]  # fmt: skip
    return [*calls, lambda: verify(vae.manifest.name)] if number % 50 == 0 else calls


if __name__ == "__main__":
    typer.run(main)
