"""The stages of an export on standard error, with the seconds since its start. It imports nothing heavy."""

from __future__ import annotations

import sys
import threading
import time

QUIET_S = 20.0
"""After this many seconds in a stage, a line repeats what is being done."""


class Stages:
    """Prints a line when a stage begins, and the same line again while it goes on. Use it in a `with`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._start = time.monotonic()
        self._stage = ""
        self._begun = threading.Event()
        self._ended = False
        self._clock = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Stages:
        if not self._quiet:
            self._clock.start()
        return self

    def __call__(self, stage: str) -> None:
        """Begins a stage, which is described in a few words."""
        self._stage = stage
        self._begun.set()
        self._print(stage)

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._begun.set()
        if self._clock.is_alive():
            self._clock.join()

    def _repeat(self) -> None:
        while True:
            self._begun.clear()
            if self._ended:  # read after the event was cleared, so that the end is not waited for
                return
            if not self._begun.wait(QUIET_S):
                self._print(f"still {self._stage}")

    def _print(self, line: str) -> None:
        if not self._quiet:
            print(f"{time.monotonic() - self._start:6.1f} s  {line}", file=sys.stderr, flush=True)
