"""What one sees while it trains, on standard error: a bar on a terminal, and a line an epoch everywhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Reporter(Protocol):
    """Who is told how training goes. `training.train` calls these and nothing else."""

    def note(self, line: str) -> None:
        """Something to know, once."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """So many steps of an epoch are done; the loss is the last one's, in nats an image, or that of the critic."""

    def epoch(self, epochs: int, line: dict[str, Any], seconds: float) -> None:
        """An epoch is done; `line` goes into metrics.jsonl."""


class Silent:
    """Says nothing."""

    def note(self, line: str) -> None:
        """Nothing."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Nothing."""

    def epoch(self, epochs: int, line: dict[str, Any], seconds: float) -> None:
        """Nothing."""


class PlainLines(Silent):
    """A line for each epoch and note: for logs and pipes."""

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
