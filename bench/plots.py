"""The plots of the page: time and memory against the number of pictures, and all ratios with their goals."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from .page import significant
from .pairs import Pair
from .parts import Part, Table

INK, OURS, OTHER, MISSED = "#333333", "#1f6f8b", "#e08e45", "#b3362b"


def write_plots(out: Path, parts: Mapping[str, Part]) -> None:
    """Write the plots for which the parts have figures."""
    if "growth" in parts and parts["growth"].tables:
        save(growth(parts["growth"].tables[0]), out / "growth.png")
    if pairs := [pair for part in parts.values() for pair in part.pairs if pair.goal is not None]:
        save(ratios(pairs), out / "ratios.png")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG with 64 colours, which takes a third of the bytes; equal figures give equal bytes."""
    content = io.BytesIO()
    figure.savefig(content, dpi=100, metadata={"Software": None})
    with Image.open(content) as picture:
        picture.convert("RGB").quantize(64, Image.Quantize.FASTOCTREE).save(path, optimize=True)


def growth(table: Table) -> Figure:
    """Seconds and memory against the number of pictures, with a line for each model."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for model, colour in zip(dict.fromkeys(str(row[0]) for row in table.rows), (OURS, OTHER), strict=False):
        _, counts, seconds, memory, _ = zip(*(row for row in table.rows if row[0] == model), strict=True)
        left.loglog(counts, seconds, "o-", color=colour, label=model)
        right.semilogx(counts, memory, "o-", color=colour, label=model)
    for axes, title, label in ((left, "Time", "seconds, whole process"), (right, "Memory", "MB at the peak")):
        axes.set(title=f"{title} of vae-gen sample -n N -o x.npy", xlabel="N, pictures", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    right.set_ylim(bottom=0)
    return figure


def ratios(pairs: list[Pair]) -> Figure:
    """A row for each comparison: the median and the quartiles, and the goal, which the median should be left of."""
    figure = Figure(figsize=(11, 1.2 + 0.24 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    for at, pair in enumerate(pairs):
        colour = OURS if pair.met == "yes" else MISSED
        axes.plot([pair.low, pair.high], [at, at], color=colour, linewidth=3, alpha=0.4)
        axes.plot(pair.ratio, at, "o", color=colour, markersize=5)
        axes.plot(pair.goal or 0.0, at, "|", color=INK, markersize=11, markeredgewidth=2)
    axes.axvline(1, color=INK, linewidth=0.8, alpha=0.5)
    axes.set_xscale("log")
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if _within(tick, pairs)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    names = [f"{shortened(pair.name)}  /  {shortened(pair.peer)}" for pair in pairs]
    axes.set_yticks(range(len(pairs)), names, fontsize=8)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    figure.supxlabel("our figure divided by the peer's, log scale; left of 1 vae-gen is faster or smaller", fontsize=9)
    figure.suptitle("Ratios: ● median, line quartiles, | goal; red if the goal is missed", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    for at, pair in enumerate(pairs):
        axes.annotate(significant(pair.ratio), (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    return figure


def shortened(name: str, most: int = 52) -> str:
    """A name, cut if it is long."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _within(tick: float, pairs: list[Pair]) -> bool:
    values = [value for pair in pairs for value in (pair.low, pair.high, pair.goal or 1.0)]
    return min(values) / 1.5 <= tick <= max(values) * 1.5
