"""What one sees while it trains, on standard error: a bar on a terminal, and a line an epoch everywhere."""

from __future__ import annotations

import sys
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
        """The line."""
        print(line, file=sys.stderr, flush=True)

    def epoch(self, epochs: int, line: dict[str, Any], seconds: float) -> None:
        """The epoch's figures in one line."""
        self.note(epoch_line(epochs, line, seconds))


class Bar(PlainLines):
    """A bar for the epoch at hand, with the lines above it. Use as a context, so that the terminal is put back."""

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
        """The line, above the bar."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """The bar moves."""
        self._progress.update(
            self._task, completed=step, total=steps, description=f"epoch {epoch}/{epochs}  loss {loss:.2f}"
        )


def epoch_line(epochs: int, line: dict[str, Any], seconds: float) -> str:
    """An entry of metrics.jsonl for people, in ASCII, which every terminal can show.

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
