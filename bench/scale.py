"""Measures folders of shards and training on several processes: `python -m bench.scale [--count 1000000]`.

    python -m bench.scale --count 1000000 --memory 100000,1000000,10000000 --write

Each round makes the same pictures in every way, every other round in reverse order, so that other work on the machine
affects all of them. A ratio is the median of the ratios within the rounds. `--write` puts the tables into docs/scale.md
with the projection to a billion pictures that is computed from them. The extras `ray` and `train` are needed.
"""

from __future__ import annotations

import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer

from .machine import DEFAULT, HERE, REFERENCE, commit, cores, head, machine_line

PAGE = HERE.parent / "docs" / "scale.md"
BEGIN, END = "<!-- measured by python -m bench.scale -->", "<!-- end of what was measured -->"
SHARD = 262_144
BILLION, MACHINES, MACHINE_CORES = 10**9, 100, 16
PRICE = 0.04
"""US dollars for an hour of a core, about what large providers ask for."""
EPOCH_IMAGES = 55_000
"""The images of an epoch of the reference recipe."""
COMPARED = {
    "shards": ("array", 1.15), "two shares": ("shards", None), "Ray, 1 worker": ("shards", None),
    "Ray, 2 workers": ("shards", 1.15),
}  # fmt: skip
"""The way that each way is compared with, and the largest ratio that is good enough."""
FEW, FEW_WITH_RAY = "32 pictures", "32 pictures with Ray"


@dataclass(frozen=True)
class Taken:
    """The time and the memory of one measurement."""

    seconds: float
    megabytes: float
    """the largest sum of the resident sets of all its processes, in which shared pages count several times"""


Way = Callable[[Path], list[list[str]]]
"""The commands of a way to fill a path, which run side by side."""


def sample(count: int, *options: str, model: str = REFERENCE) -> list[str]:
    """A command that makes pictures of seed 7."""
    return [vae_command("vae-gen"), "sample", "-q", "-n", str(count), "--seed", "7", "--model", model, *options]


def vae_command(name: str) -> str:
    """A command of this environment."""
    return str(Path(sys.executable).parent / name)


def shards(path: Path, count: int, *options: str, model: str = REFERENCE) -> list[str]:
    """A command that fills a folder of shards; with fewer pictures there are as many shards, but smaller ones."""
    size = min(SHARD, max(32, count // 8 // 32 * 32))
    words = ("--format", "parquet", "--out", str(path), "--shard-size", str(size), *options)
    return sample(count, *words, model=model)


def ways(count: int) -> dict[str, Way]:
    """The ways that are compared, by their names."""
    half = str(max(1, cores() // 2))
    ray = ("--engine", "ray", "--workers")
    return {
        "array": lambda path: [sample(count, "-o", f"{path}.npy")],
        "shards": lambda path: [shards(path, count)],
        "two shares": lambda path: [shards(path, count, "--shard", f"{at}/2", "--threads", half) for at in (0, 1)],
        "Ray, 1 worker": lambda path: [shards(path, count, *ray, "1")],
        "Ray, 2 workers": lambda path: [shards(path, count, *ray, "2")],
    }


def few_pictures() -> dict[str, Way]:
    """The ways whose difference is what Ray takes to start and to stop."""
    return {
        FEW: lambda path: [shards(path, 32)],
        FEW_WITH_RAY: lambda path: [shards(path, 32, "--engine", "ray", "--workers", "2")],
    }


def measured(commands: Sequence[Sequence[str]], folder: Path) -> Taken:
    """Runs commands side by side, and watches the memory of their processes."""
    began = time.perf_counter()
    running = [psutil.Popen(words, cwd=folder, stdout=subprocess.DEVNULL) for words in commands]
    largest, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal largest
        while not ended.wait(0.05):
            largest = max(largest, sum(resident(process) for process in running))

    watching = threading.Thread(target=watch)
    watching.start()
    codes = [process.wait() for process in running]
    took = time.perf_counter() - began
    ended.set()
    watching.join()
    if any(codes):
        raise typer.Exit(1)
    return Taken(took, largest / 1e6)


def resident(process: psutil.Process) -> int:
    """The resident bytes of a process and of all that it has started."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for one in family:
        try:
            total += one.memory_info().rss
        except psutil.Error:  # it has ended
            continue
    return total


def in_turn(commands: Mapping[str, Way], rounds: int, say: Callable[[str], None]) -> dict[str, list[Taken]]:
    """Measures each way once in every round."""
    found: dict[str, list[Taken]] = {name: [] for name in commands}
    for at in range(rounds):
        for name in commands if at % 2 == 0 else reversed(list(commands)):
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(measured(commands[name](Path(folder, "out")), Path(folder)))
            say(f"round {at + 1}, {name}: {found[name][-1].seconds:.1f} s, {found[name][-1].megabytes:.0f} MB")
    return found


def starts(found: Mapping[str, Sequence[Taken]]) -> list[float]:
    """The seconds that Ray took to start and to stop in each round: how much longer a few pictures take with it."""
    return [one.seconds - other.seconds for one, other in zip(found[FEW_WITH_RAY], found[FEW], strict=True)]


def without_start(found: Mapping[str, Sequence[Taken]], name: str) -> list[float]:
    """The seconds of a way in each round, without those that Ray took to start and to stop."""
    aside = starts(found) if name.startswith("Ray") else [0.0] * len(found[name])
    return [taken.seconds - start for taken, start in zip(found[name], aside, strict=True)]


def table_of_ways(found: Mapping[str, Sequence[Taken]], count: int) -> Iterator[str]:
    """The lines of the table that compares the ways."""
    yield f"| {rounded(count, 9)} pictures of `{REFERENCE}` | seconds | pictures a second | ratio | goal | MB |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name in ways(count):
        seconds = without_start(found, name)
        took, memory = statistics.median(seconds), max(taken.megabytes for taken in found[name])
        compared = limit = ""
        if name in COMPARED:
            peer, goal = COMPARED[name]
            ratios = [a / b for a, b in zip(seconds, without_start(found, peer), strict=True)]
            compared, limit = f"{statistics.median(ratios):.2f} of {peer}", f"≤ {goal:.2f}" if goal else ""
        yield f"| {name} | {took:.1f} | {rounded(count / took)} | {compared} | {limit} | {memory:.0f} |"
    yield ""
    start = statistics.median(starts(found))
    yield f"Starting and stopping Ray takes {start:.1f} seconds more, which the seconds of its rows are without."


def table_of_memory(counts: Sequence[int], say: Callable[[str], None]) -> Iterator[str]:
    """The lines of the table of memory against the number of pictures."""
    yield "| pictures in shards | seconds | MB |"
    yield "|--:|--:|--:|"
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            taken = measured([sharded(Path(folder, "out"), count)], Path(folder))
        say(f"{count} pictures: {taken.seconds:.1f} s, {taken.megabytes:.0f} MB")
        yield f"| {rounded(count, 9)} | {taken.seconds:.1f} | {taken.megabytes:.0f} |"


def sharded(path: Path, count: int) -> list[str]:
    """A command that fills a folder with shards of the usual size, whatever the number of pictures is."""
    return sample(count, "--format", "parquet", "--out", str(path))


def table_of_training(rounds: int, say: Callable[[str], None]) -> Iterator[str]:
    """The lines of the table of training: three epochs less one epoch, and so without the start."""

    def epochs(number: int, devices: int) -> Way:
        words = [vae_command("vae-train"), "--epochs", str(number), "--devices", str(devices), "--device", "cpu",
                 "--threads", "1"]  # fmt: skip
        return lambda path: [[*words, "--out", str(path)]]

    long, short = ({f"{n} and {at}": epochs(at, n) for n in (1, 2)} for at in (3, 1))
    found = in_turn({**long, **short}, rounds, say)
    yield "| processes of one thread | training images a second |"
    yield "|--:|--:|"
    for number in (1, 2):
        pairs = zip(found[f"{number} and 3"], found[f"{number} and 1"], strict=True)
        took = statistics.median(one.seconds - other.seconds for one, other in pairs)
        yield f"| {number} | {rounded(2 * EPOCH_IMAGES / took)} |"


def bytes_of_a_picture(model: str, count: int) -> float:
    """The bytes of a picture in a folder of shards, with its index, label and latent."""
    with tempfile.TemporaryDirectory() as folder:
        measured([shards(Path(folder, "out"), count, model=model)], Path(folder))
        return sum(file.stat().st_size for file in Path(folder, "out").iterdir()) / count


def projection(model: str, rate: float, size: float) -> str:
    """A row of the table of a billion pictures.

    Args:
        model: the name of the model.
        rate: the pictures that a core makes in a second.
        size: the bytes of a picture.
    """
    workers, number = MACHINES * MACHINE_CORES, math.ceil(BILLION / SHARD)
    core_hours = BILLION / rate / 3600
    hours = math.ceil(number / workers) * SHARD / rate / 3600  # the slowest worker has this many whole shards
    terabytes, gigabytes = BILLION * size / 1e12, workers * rate * size / 1e9
    return (
        f"| `{model}` | {rounded(rate)} | {core_hours:.0f} | {core_hours * PRICE:.2f} | {60 * hours:.1f} | "
        f"{terabytes:.2f} | {number:,} | {gigabytes:.1f} |".replace(",", " ")
    )


def projections(rounds: int, count: int, say: Callable[[str], None]) -> Iterator[str]:
    """The lines of the table of a billion pictures, from the rate of one core and the bytes of a picture."""
    yield "| a billion pictures | pictures a second and core | core-hours | US$ | minutes | TB | shards | GB a second |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for model, share in ((REFERENCE, 1), (DEFAULT, 10)):
        number = max(320, count // share)
        both = {name: on_one_core(model, n) for name, n in (("all", number), ("few", 32))}
        found = in_turn(both, rounds, lambda line: None)
        pairs = zip(found["all"], found["few"], strict=True)
        rate = number / statistics.median(one.seconds - other.seconds for one, other in pairs)
        say(f"{model}: {rate:.0f} pictures a second on one core")
        yield projection(model, rate, bytes_of_a_picture(model, number))


def on_one_core(model: str, count: int) -> Way:
    """A way to make shards with one thread."""
    return lambda path: [shards(path, count, "--threads", "1", model=model)]


def rounded(value: float, digits: int = 3) -> str:
    """A number with three significant digits, and spaces between thousands."""
    places = digits - 1 - math.floor(math.log10(max(1.0, value)))
    return f"{round(value, places):,.0f}".replace(",", " ")


def write(page: Path, lines: Sequence[str]) -> None:
    """Puts lines between the two marks of a page."""
    text = page.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise typer.BadParameter(f"expected {BEGIN} and {END} in {page}")
    page.write_text("\n".join([before + BEGIN, "", *lines, "", END]) + after, "utf-8")


def main(
    count: Annotated[int, typer.Option(min=1000, help="The number of pictures that each way makes.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is measured.")] = 3,
    memory: Annotated[str, typer.Option(help="Numbers of pictures whose memory is measured, with commas.")] = "100000",
    train: Annotated[bool, typer.Option(help="Also measure training on one and two processes.")] = True,
    write_page: Annotated[bool, typer.Option("--write", help="Write the tables into docs/scale.md.")] = False,
) -> None:
    """Measure folders of shards and training, on a machine that does nothing else."""

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if shutil.which(vae_command("vae-gen")) is None:
        raise typer.BadParameter(f"expected vae-gen in {Path(sys.executable).parent}; install vae-gen there")
    found = in_turn({**ways(count), **few_pictures()}, rounds, say)
    tables = [table_of_ways(found, count), table_of_memory([int(number) for number in memory.split(",")], say)]
    tables += [table_of_training(rounds, say)] if train else []
    lines = [f"Measured at {commit()} in {rounds} rounds; the machine has {head().get('memory', 'unknown memory')}."]
    for table in (*tables, projections(rounds, count, say)):
        lines += ["", *table, "", machine_line()]
    print("\n".join(lines))
    if write_page:
        write(PAGE, lines)


if __name__ == "__main__":
    typer.run(main)
