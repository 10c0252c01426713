"""What a command says: lines for people on standard error, one JSON object for programs on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from vae_gen import __version__

from .metadata import model_facts

if TYPE_CHECKING:
    from vae_gen import Manifest

PROGRESS_FROM = 20_000
"""Pictures from which on a progress bar is worth its import: below, the work takes about a second."""

ASCII = {"→": "->", "×": "x", "✓": "ok", "✗": "FAILED", "−": "-", "…": "..."}


def printable(text: str, stream: TextIO) -> str:
    """The text as this stream can encode it, our few signs spelt out where it cannot, control characters removed."""
    text = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = "".join(ASCII.get(letter, letter) for letter in text).encode(encoding, "replace").decode(encoding)
    return text


@dataclass(frozen=True)
class Console:
    """How talkative a command is."""

    as_json: bool
    quiet: bool

    def say(self, line: str) -> None:
        """A line for people, on standard error, unless they asked for quiet."""
        if not self.quiet:
            print(printable(line, sys.stderr), file=sys.stderr, flush=True)

    def result(self, command: str, manifest: Manifest, facts: Mapping[str, Any]) -> None:
        """One JSON object on standard output, where programs asked for it."""
        if self.as_json:
            both = {"model": model_facts(manifest), "vae_gen": __version__}
            print(json.dumps({"command": command, **facts, **both}))

    @contextmanager
    def progress(self, total: int) -> Iterator[Progress]:
        """A bar on a terminal, where there is much to do; nothing elsewhere."""
        if self.quiet or total < PROGRESS_FROM or not sys.stderr.isatty():
            yield Progress()
            return
        from rich.console import Console as RichConsole
        from rich.progress import Progress as RichProgress

        with RichProgress(console=RichConsole(stderr=True), transient=True) as bar:
            yield Progress(bar, bar.add_task("pictures", total=total))


class Progress:
    """Counts pictures, on a bar where there is one."""

    def __init__(self, bar: Any = None, task: Any = None) -> None:
        self._bar, self._task = bar, task

    def advance(self, pictures: int) -> None:
        """So many more are done."""
        if self._bar is not None:
            self._bar.advance(self._task, pictures)


def counted(count: int, what: str = "picture") -> str:
    """The number with its noun."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
