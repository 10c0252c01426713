"""The progress of a training on standard error: a bar on a terminal, and a line for each epoch everywhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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


class PlainLines(Reporter):
    """Prints a line for each epoch and each note: for logs and pipes."""

    def note(self, line: str) -> None:
        """Prints the line."""
        print(line, file=sys.stderr, flush=True)

    def epoch(self, epochs: int, line: dict[str, Any], seconds: float) -> None:
        """Prints the figures of the epoch in one line."""
        self.note(epoch_line(epochs, line, seconds))


class Bar(PlainLines):
    """Shows a bar for the epoch at hand, and the lines above it. Use it in a `with`, which restores the terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Moves the bar."""
        self._progress.update(
            self._task, completed=step, total=steps, description=f"epoch {epoch}/{epochs}  loss {loss:.2f}"
        )


@contextlib.contextmanager
def shown_progress(resume_command: str) -> Iterator[Reporter]:
    """Yields a reporter that shows a bar if standard error is a terminal, and lines otherwise.

    Ctrl-C in the `with` block prints the command that goes on with the training, and is raised again.
    """
    try:
        if sys.stderr.isatty():
            with Bar() as bar:
                yield bar
        else:
            yield PlainLines()
    except KeyboardInterrupt:
        print(f"stopped; to go on, run: {resume_command}", file=sys.stderr)
        raise


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
    return "  ".join([*parts, f"{seconds:.1f} s"])
