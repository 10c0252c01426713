"""What a command says: lines for people on standard error, one JSON object for programs on standard output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from vae_gen import __version__

from .metadata import model_facts

if TYPE_CHECKING:
    from vae_gen import Manifest

PROGRESS_AFTER = 1.0
"""How many seconds work takes before a progress bar appears."""

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
        """Yields a counter of pictures that shows a bar if standard error is a terminal and the work takes long."""
        progress = Progress(total, visible=not self.quiet and sys.stderr.isatty())
        try:
            yield progress
        finally:
            progress.close()


class Progress:
    """Counts the pictures that are done, and shows a bar once the work has taken a second."""

    def __init__(self, total: int, *, visible: bool) -> None:
        self._total, self._visible = total, visible
        self._done, self._began = 0, time.monotonic()
        self._bar: Any = None

    def advance(self, pictures: int) -> None:
        """Adds pictures that are done."""
        self._done += pictures
        if self._bar is None and self._visible and time.monotonic() - self._began > PROGRESS_AFTER:
            from rich.console import Console as RichConsole  # 0.1 s, which only long work pays
            from rich.progress import Progress as Bar

            self._bar = Bar(console=RichConsole(stderr=True), transient=True)
            self._bar.add_task("pictures", total=self._total)
            self._bar.start()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.stop()


def counted(count: int, what: str = "picture") -> str:
    """The number with its noun."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
