"""`python -m bench [--only start,bulk] [--out FOLDER] [--share 0.01]`: everything that bench/README.md lists.

Each part runs in a process of its own, so that what one sets (threads, memory in use) does not meet the next. Peers
come with the extra `bench`. A peer that is not installed leaves its rows out, and says so.
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
    only: Annotated[str, typer.Option(help="Some of the parts, with commas between.")] = ",".join(PARTS),
    out: Annotated[Path, typer.Option(help="Where results.md, results.json and the plots go.")] = HERE,
    share: Annotated[float, typer.Option(help="Of all counts and rounds: below 1 a trial, not a measurement.")] = 1.0,
) -> None:
    """Measure everything beside its peers, and write the page. Let the machine rest meanwhile.

    Parts that are not measured now stay as results.json in --out has them, if that is of the same machine.
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
        write(out, {**earlier(out), name: part})  # after each part: an hour's work survives the next one's failure
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(name: str, share: float) -> tuple[Part, int]:
    """A part's results and its process's exit code; what was measured before a failure counts."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.jsonl"
        command = [sys.executable, "-m", "bench.parts", name, str(file), str(share)]
        code = subprocess.run(command, cwd=HERE.parent, check=False).returncode
        part = read(file)
    if code:
        part.add(f"{name}: broke off with exit code {code}; what was measured before it stands.")
    part.commit, part.share, part.minutes = commit(), share, round((time.perf_counter() - began) / 60, 1)
    return part, code


def earlier(out: Path) -> dict[str, Part]:
    """The parts of the results that are there, if they are of this machine with these versions."""
    try:
        there = json.loads((out / "results.json").read_text("utf-8"))
        return {name: Part.from_json(part) for name, part in there["parts"].items()} if there["head"] == head() else {}
    except (OSError, ValueError, KeyError, TypeError):  # none, or of an older layout
        return {}


def write(out: Path, parts: dict[str, Part]) -> None:
    """The page, its figures as JSON, and the plots."""
    out.mkdir(parents=True, exist_ok=True)
    ordered = {name: parts[name] for name in PARTS if name in parts}
    content = {"head": head(), "parts": {name: part.to_json() for name, part in ordered.items()}}
    (out / "results.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (out / "results.md").write_text(page(head(), ordered), "utf-8")
    try:
        from .plots import write_plots
    except ModuleNotFoundError as error:
        print(f"no plots, because {error.name} is not installed", file=sys.stderr)
    else:
        write_plots(out, ordered)


if __name__ == "__main__":
    typer.run(main)
