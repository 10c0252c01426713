"""`vae-gen bench`: how fast the model is on this machine, and how many threads are worth it."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

from vae_gen import UnavailableError

from . import options
from .output import Console, printable

if TYPE_CHECKING:
    from vae_gen import VAE

STARTS = 3
"""How many fresh processes are timed, after a first one that fills the disk's cache."""
SINGLES = 100
"""How many times one picture is made."""
SECONDS = 1.5
"""How many seconds of bulk work are timed for each number of threads."""
ENOUGH = 0.95
"""A number of threads is good enough if it makes this share of the most pictures a second."""


def bench(
    model: options.Model = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure how fast this machine makes pictures.

    In about ten seconds this measures the start, one picture, and bulk work by the number of threads, and it recommends
    a value for --threads. Other work on the machine slows the measurements down.
    """
    if getattr(sys, "frozen", False):  # sys.executable is then the app itself
        raise UnavailableError("expected a vae-gen that Python runs, got a frozen app, which can't start a second one; "
                               "run vae-gen bench from an installation")
    console = Console(as_json, quiet)
    vae = options.load(model, None, provider, "generator")
    console.message("measuring; about ten seconds")
    started = start_up_seconds(model, provider)
    single = one_picture_seconds(vae)
    rates = {threads: pictures_a_second(model, provider, threads) for threads in thread_counts()}
    best = recommended(rates)
    facts = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "start_up_seconds": round(started, 4),
        "one_picture_seconds": round(single, 6),
        "pictures_a_second": {str(threads): round(rate, 1) for threads, rate in rates.items()},
        "recommended_threads": best,
    }
    console.result("bench", vae.manifest, facts)
    if not as_json:
        lines = [
            f"fresh process, one picture   {1e3 * started:8.0f} ms",
            f"one picture, once it runs    {1e3 * single:8.2f} ms",
        ]
        lines += [f"--threads {threads:<2} {rate:24,.0f} pictures/s" for threads, rate in rates.items()]
        lines.append(f"recommended: --threads {best} for bulk work")
        for line in lines:
            print(printable(line))


def thread_counts() -> list[int]:
    """The numbers of threads to try: 1, 2, 4, … and all cores that this process may use."""
    from vae_gen.internal.sampling import usable_cores

    cores = usable_cores()
    return sorted({2**power for power in range(cores.bit_length()) if 2**power <= cores} | {cores})


def recommended(rates: dict[int, float]) -> int:
    """Chooses the smallest number of threads that is good enough.

    Args:
        rates: pictures a second by the number of threads.

    >>> recommended({1: 100.0, 2: 190.0, 4: 195.0})
    2
    """
    best = max(rates.values())
    return min(threads for threads, rate in rates.items() if rate >= ENOUGH * best)


def start_up_seconds(model: str | None, provider: str) -> float:
    """Measures a whole `vae-gen sample -n 1` in a fresh process, and returns the median.

    Raises:
        OutputError: the process fails.
    """
    import statistics
    import subprocess
    import tempfile
    import time
    from pathlib import Path

    from vae_gen import OutputError

    with tempfile.TemporaryDirectory() as folder:
        # Without -P, Python would import modules from the current folder. The path is handed on because the packages
        # may lie where only this process looks, as in an archive that unpacks itself.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-P", "-m", "vae_gen_cli", "sample", "-n", "1", "--seed", "0", "--quiet"]
        command += ["--provider", provider, "-o", str(Path(folder) / "one.png")]
        command += [] if model is None else ["--model", model]
        took = []
        for _ in range(1 + STARTS):
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, check=False, env=environment)
            took.append(time.perf_counter() - began)
            if done.returncode:
                found = done.stderr.decode("utf-8", "replace").strip()[:200]
                raise OutputError(f"expected a fresh vae-gen to make a picture, got: {found}")
    return statistics.median(took[1:])


def one_picture_seconds(vae: VAE) -> float:
    """Measures one default picture in this process, and returns the median."""
    import statistics
    import time

    vae.sample(1, seed=0)
    took = []
    for index in range(SINGLES):
        began = time.perf_counter()
        vae.sample(1, seed=0, start=index)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def pictures_a_second(model: str | None, provider: str, threads: int) -> float:
    """Counts the default samples that bulk work makes in `SECONDS`, as grey levels."""
    import time

    chunks = options.load(model, threads, provider, "generator").stream(10**9, seed=0, dtype="uint8")
    next(chunks)
    made, began = 0, time.perf_counter()
    for chunk in chunks:
        made += len(chunk)
        if (passed := time.perf_counter() - began) >= SECONDS:
            break
    return made / passed
