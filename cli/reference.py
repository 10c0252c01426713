"""Writes docs/reference/cli.md, the reference of all commands, from the commands themselves.

    python cli/reference.py

A test compares the file with the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from vae_gen.internal.command import described, panels
from vae_gen_cli.main import COMMANDS, app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
OPENING = """# Reference of the commands

This page is written by `python cli/reference.py` from the program. Formats, exit codes and JSON are described in
[the command line](../cli.md).
"""


def reference() -> str:
    """The page in Markdown: a section for each command, with its usage, options and examples."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("vae-gen", [], resilient_parsing=True)
    sections = [OPENING, *_section("vae-gen", group, {"Options": group.get_params(context)}, context)]
    for name in COMMANDS:
        command = group.get_command(context, name)
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        sections += _section(f"vae-gen {name}", command, panels(command, inner), inner)
    return "\n".join(sections)


def _section(title: str, command: Any, options: dict[str, list[Any]], context: Any) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"    {context.command_path} {' '.join(command.collect_usage_pieces(context))}\n"
    yield f"{command.help}\n"
    for panel, params in options.items():
        yield f"| {panel} | |\n|---|---|"
        rows = [(names.replace("|", "\\|"), text.replace("|", "\\|")) for names, text in map(described, params)]
        yield "".join(f"| `{names}` | {text} |\n" for names, text in rows)
    yield "Examples:\n"
    yield "\n".join(f"    {line}" for line in command.epilog.splitlines()) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(reference(), "utf-8", newline="\n")
