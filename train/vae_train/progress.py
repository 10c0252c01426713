"""The progress of a training on standard error: a bar on a terminal, and a line for each epoch everywhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_gen import UnavailableError
from vae_gen._errors import printable_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Reporter:
    """Receives the progress of a training, and shows none of it. The classes below show it."""

    def note(self, line: str) -> None:
        """Called with a line for the user."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Called when `step` of the `steps` of an epoch are done.

        Args:
            epoch: the epoch at hand, counted from 1.
            epochs: the number of epochs in all.
            step: how many steps of the epoch are done.
            steps: the number of steps in an epoch.
            loss: of the last step, in nats per image; for a detail stage, the critic's mean loss so far.
        """

    def epoch(self, epochs: int, line: dict[str, Any], seconds: float) -> None:
        """Called when an epoch is done. `line` is its entry in metrics.jsonl."""


QUIET_S = 20.0
"""After this many seconds without a line, one is printed in the middle of an epoch, or while files are decoded."""


class Pulse:
    """Calls a function again and again, from a thread of its own, until its `with` block ends.

    Some work gives no sign of life for minutes: the first step of a compiled network, or an evaluation. A log without
    a new line for half a minute looks like a program that hangs.
    """

    def __init__(self, beat: Callable[[], None], seconds: float = 1.0) -> None:
        self._beat, self._seconds, self._ended = beat, seconds, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._beat()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class PlainLines(Reporter):
    """Prints a line for each epoch and each note, and one after 20 s without any: for logs and pipes."""

    def __init__(self) -> None:
        self._last = self._shown = time.monotonic()

    def beat(self) -> None:
        """Prints a line if there was none for 25 s, which is longer than `step` would wait."""
        now = time.monotonic()
        if now - self._shown >= QUIET_S + 5:
            self._shown = now
            print(f"still working, {now - self._last:.0f} s after the line above", file=sys.stderr, flush=True)

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Prints a line if the last one is 20 s old."""
        if time.monotonic() - self._last >= QUIET_S:
            self.note(f"epoch {epoch}/{epochs}  step {step}/{steps}  loss {loss:.2f}")

    def note(self, line: str) -> None:
        """Prints the line."""
        self._last = self._shown = time.monotonic()
        print(printable_text(line), file=sys.stderr, flush=True)

    def epoch(self, epochs: int, line: dict[str, Any], seconds: float) -> None:
        """Prints the figures of the epoch in one line."""
        self.note(epoch_line(epochs, line, seconds))


class Bar(PlainLines):
    """Shows a bar for the epoch at hand, and the lines above it. Use it in a `with`, which restores the terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__()
        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, line: str) -> None:
        """Prints the line above the bar."""
        self._progress.console.print(printable_text(line), markup=False, highlight=False, soft_wrap=True)

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Moves the bar."""
        self._progress.update(
            self._task, completed=step, total=steps, description=f"epoch {epoch}/{epochs}  loss {loss:.2f}"
        )


@contextlib.contextmanager
def shown_progress(resume_command: str, shown: bool = True) -> Iterator[Reporter]:
    """Yields a reporter that shows a bar if standard error is a terminal, and lines otherwise.

    Ctrl-C in the `with` block prints the command that goes on with the training, and is raised again. If `shown` is
    false, nothing is printed.
    """
    if not shown:
        yield Reporter()
        return
    try:
        if sys.stderr.isatty():
            with Bar() as bar:
                yield bar
        else:
            lines = PlainLines()
            with Pulse(lines.beat):
                yield lines
    except KeyboardInterrupt:
        print(f"stopped; to go on, run: {resume_command}", file=sys.stderr)
        raise


class TensorBoard(Reporter):
    """Writes the figures of each epoch for TensorBoard, and passes everything on to another reporter.

    Raises:
        UnavailableError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path, other: Reporter) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UnavailableError(
                "expected the package tensorboard for --log tensorboard, found none; install it with: "
                "pip install tensorboard"
            ) from error
        self._folder, self._make, self._other = folder, SummaryWriter, other

    def note(self, line: str) -> None:
        """Passes the line on."""
        self._other.note(line)

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Passes the step on."""
        self._other.step(epoch, epochs, step, steps, loss)

    def epoch(self, epochs: int, line: dict[str, Any], seconds: float) -> None:
        """Writes the figures of the epoch to the disk at once, so that a kill loses none, and passes them on."""
        with self._make(str(self._folder)) as writer:
            for part in ("train", "validation"):
                for name, value in (line[part] or {}).items():
                    if isinstance(value, float):
                        writer.add_scalar(f"{part}/{name}", value, line["epoch"])
            writer.add_scalar("learning_rate", line["learning_rate"], line["epoch"])
        self._other.epoch(epochs, line, seconds)


class DecodingProgress:
    """Shows how many files are decoded: a bar on a terminal, or else a line every 20 s. Use it in a `with`."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last = time.monotonic()
        self._line = "looking for pictures"
        self._ending = contextlib.ExitStack()

    def __enter__(self) -> DecodingProgress:
        if not sys.stderr.isatty():
            self._ending.enter_context(Pulse(self.beat))
        return self

    def beat(self) -> None:
        """Prints how far the work is if there was no line for 20 s."""
        if time.monotonic() - self._last >= QUIET_S:
            self._last = time.monotonic()
            print(self._line, file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int, skipped: int) -> None:
        """Called when `done` of `total` files are decoded, and `skipped` of them cannot be used."""
        text = f"reading pictures, {skipped} skipped"
        if sys.stderr.isatty():
            if self._bar is None:
                from rich.console import Console
                from rich.progress import Progress

                self._bar = self._ending.enter_context(Progress(console=Console(stderr=True), transient=True))
                self._task = self._bar.add_task(text, total=total)
            if self._task is not None:
                self._bar.update(self._task, completed=done, description=text)
        else:
            self._line = f"{text}: {done} of {total}"

    def __exit__(self, *_: object) -> None:
        self._ending.close()


def epoch_line(epochs: int, line: dict[str, Any], seconds: float) -> str:
    """An entry of metrics.jsonl as a line for people, in ASCII, which every terminal can show.

    >>> figures = {"neg_elbo": 245.118, "reconstruction": 228.9, "kl": 16.218}
    >>> epoch_line(30, {"epoch": 3, "train": figures, "validation": None}, 21.34)
    'epoch 3/30  train -ELBO 245.12 (reconstruction 228.90, KL 16.22)  21.3 s'
    """
    parts = [f"epoch {line['epoch']}/{epochs}"]
    for name in ("train", "validation"):
        if figures := line[name]:
            parts.append(
                f"{name} -ELBO {figures['neg_elbo']:.2f} "
                f"(reconstruction {figures['reconstruction']:.2f}, KL {figures['kl']:.2f})"
            )
            if "psnr_db" in figures:
                parts[-1] += f" PSNR {figures['psnr_db']:.2f} dB"
    return "  ".join([*parts, f"{seconds:.1f} s"])
