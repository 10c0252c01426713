"""The page of results in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .machine import machine_line
from .pairs import Pair
from .parts import Cell, Part, Table

TITLES = {
    "start": "Start-up and memory",
    "single": "One picture by its seed",
    "bulk": "A million pictures",
    "peers": "The shipped graphs in other libraries",
    "quantised": "Quantised decoders",
    "training": "Training",
    "memory": "Memory",
    "growth": "Growth",
    "sizes": "Bytes in site-packages",
    "gpu": "On a GPU",
}
PICTURES = {"growth": "![Seconds and memory of sample -n N](growth.png)"}

HOW = """\
This page is written by `python -m bench`. [README.md](README.md) explains what each row means. A ratio is our time, or
our size, divided by that of the alternative: below 1, vae-gen is faster or smaller. It is the median of the ratios of
all rounds, in each of which everything was measured in turn; their quartiles are in brackets. Absolute figures are
medians. Before an alternative was timed, its pictures were compared with ours. All figures hold for this machine:"""


def page(head: Mapping[str, str], parts: Mapping[str, Part]) -> str:
    """The page for all parts that were measured, in Markdown."""
    blocks = ["# Speed", HOW, *_head(head, parts)]
    if any(part.pairs for part in parts.values()):
        blocks.append("![Ratios to peers, with goals](ratios.png)")
    for name, part in parts.items():
        blocks += [f"## {TITLES[name]}", *([PICTURES[name]] if name in PICTURES else [])]
        if part.pairs:
            blocks += [pairs_table(part.pairs), machine_line(head)]
        for table in part.tables:
            blocks += [f"**{table.title}**", plain_table(table), machine_line(head)]
            blocks += ["\n".join(f"- {note}" for note in table.notes)] if table.notes else []
        blocks += ["\n".join(f"- {note}" for note in part.notes)] if part.notes else []
    return "\n\n".join(blocks) + "\n"


def _head(head: Mapping[str, str], parts: Mapping[str, Part]) -> Iterator[str]:
    """Yields the paragraphs on the machine, threads and batches, and the commit."""
    yield "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in head.items())
    yield ("Where a row does not name threads and batches, a whole process chooses them itself (one thread for fewer "
           "than 1024 pictures, all cores from there on, in blocks of 32), and training has all cores and batches of "
           "128.")
    commits = {part.commit for part in parts.values()}
    if len(commits) == 1:
        yield f"Commit {commits.pop()}."
    elif commits:
        yield "Commits: " + ", ".join(f"{name} {part.commit}" for name, part in parts.items()) + "."
    if trials := [name for name, part in parts.items() if part.share < 1]:
        yield f"**These parts are trials, whose figures mean nothing: {', '.join(trials)}.**"


def pairs_table(pairs: list[Pair]) -> str:
    """A table with a row for each comparison."""
    lines = ["| what | against | ours | theirs | ratio (quartiles) | goal | met |", "|---|---|---|---|---|---|---|"]
    for pair in pairs:
        goal = "" if pair.goal is None else f"≤ {significant(pair.goal)}"
        ratio = f"{significant(pair.ratio)} ({significant(pair.low)} to {significant(pair.high)})"
        lines.append(f"| {pair.name} | {pair.peer} | {shown(pair.ours, pair.unit)} | {shown(pair.theirs, pair.unit)} "
                     f"| {ratio} | {goal} | {pair.met} |")
    return "\n".join(lines)


def plain_table(table: Table) -> str:
    """A table with its own columns."""
    rows = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    return "\n".join(rows + ["| " + " | ".join(cell(value) for value in row) + " |" for row in table.rows])


def cell(value: Cell) -> str:
    """The text of a cell, with a sensible number of digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1000):
        return f"{value:,.0f}"
    return significant(value) if isinstance(value, float) else value


def significant(value: float) -> str:
    """A number with two decimals, with four below 0.1, and with one from 100 on.

    >>> significant(1.2), significant(0.0123456), significant(123.456)
    ('1.20', '0.0123', '123.5')
    """
    return f"{value:.{4 if 0 < abs(value) < 0.1 else 1 if abs(value) >= 100 else 2}f}"


def shown(value: float, unit: str = "s") -> str:
    """A figure with a unit of a suitable size.

    >>> shown(1.5), shown(0.0123), shown(0.000062), shown(85.2, "MB")
    ('1.50 s', '12.3 ms', '62.0 µs', '85.2 MB')
    """
    if unit != "s":
        return f"{value:.1f} {unit}"
    for size, name in ((1, "s"), (1e-3, "ms")):
        if value >= size:
            return f"{value / size:.2f} {name}" if value < 10 * size else f"{value / size:.1f} {name}"
    return f"{value * 1e6:.1f} µs"
