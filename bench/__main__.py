"""`python -m bench [--only start,bulk] [--out FOLDER] [--share 0.01]` measures everything that bench/README.md lists.

Each part runs in a process of its own, so that its threads and its memory cannot affect the next part. The libraries to
compare with come with the extra `bench`. The rows of one that is not installed are left out, with a note on the page.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from .machine import HERE, commit, head
from .page import page
from .parts import PARTS, Part, read


def main(
    only: Annotated[str, typer.Option(help="The parts to measure, separated by commas.")] = ",".join(PARTS),
    out: Annotated[Path, typer.Option(help="The folder for results.md, results.json and the plots.")] = HERE,
    share: Annotated[float, typer.Option(help="A factor for all counts; below 1 figures mean nothing.")] = 1.0,
) -> None:
    """Measure the program and its alternatives, and write a page of results.

    The machine should do nothing else meanwhile. Parts that are not measured now are kept from the results.json in
    --out, if it comes from the same machine and the same versions.
    """
    names = only.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise typer.BadParameter(f"expected some of {', '.join(PARTS)}, got {unknown[0]}")
    if not 0 < share <= 1:
        raise typer.BadParameter(f"expected a share above 0 and up to 1, got {share:g}")
    failed = []
    for name in names:
        part, code = run(name, share)
        if code:
            failed.append(name)
        write(out, {**earlier(out), name: part})  # after each part, so that it survives a failure of the next one
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(name: str, share: float) -> tuple[Part, int]:
    """Measure a part; returns its results and the exit code of its process. Results before a failure are kept."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.jsonl"
        command = [sys.executable, "-m", "bench.parts", name, str(file), str(share)]
        code = subprocess.run(command, cwd=HERE.parent, check=False).returncode
        part = read(file)
    if code:
        part.add(f"{name}: stopped with exit code {code}; the figures measured before are kept.")
    part.commit, part.share, part.minutes = commit(), share, round((time.perf_counter() - began) / 60, 1)
    return part, code


def earlier(out: Path) -> dict[str, Part]:
    """The parts in the results.json of a folder, if it comes from this machine with these versions."""
    try:
        there = json.loads((out / "results.json").read_text("utf-8"))
        return {name: Part.from_json(part) for name, part in there["parts"].items()} if there["head"] == head() else {}
    except (OSError, ValueError, KeyError, TypeError):  # there is no file, or it has an older layout
        return {}


def write(out: Path, parts: dict[str, Part]) -> None:
    """Write the page, its figures as JSON, and the plots."""
    out.mkdir(parents=True, exist_ok=True)
    ordered = {name: parts[name] for name in PARTS if name in parts}
    content = {"head": head(), "parts": {name: part.to_json() for name, part in ordered.items()}}
    (out / "results.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (out / "results.md").write_text(page(head(), ordered), "utf-8")
    try:
        from .plots import write_plots
    except ModuleNotFoundError as error:
        print(f"there are no plots, because {error.name} is not installed", file=sys.stderr)
    else:
        write_plots(out, ordered)


if __name__ == "__main__":
    typer.run(main)
