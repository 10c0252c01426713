"""Trains a tiny run that is killed with SIGKILL again and again, until it is done.

    python train_killer.py RUN SEED

A kill comes before a step, before a file is on disk, or just before or after a file or folder takes its name. The
first nine attempts end one such event later each, which is before the first checkpoint; from then on the event is
drawn with SEED. Prints at which events it was killed. In place of curves.png, which takes half a second to draw, its
numbers are written.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny_training import CONFIG, tiny_data
from vae_train import training

DATA = tiny_data()


def die_at(moment: int, log: Path) -> None:
    """Have this process killed at its event number `moment`, after writing down what that was."""
    happened = 0

    def event(name: str) -> None:
        nonlocal happened
        happened += 1
        if happened == moment:
            log.write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)

    step, fsync, rename = training._Trainer._step, os.fsync, Path.replace

    def watched_step(*arguments: Any) -> Any:
        event("step")
        return step(*arguments)

    def watched_fsync(descriptor: int) -> None:
        event("write")
        fsync(descriptor)

    def watched_replace(path: Path, target: Path) -> Path:
        event("before rename")
        result = rename(path, target)
        event("after rename")
        return result

    training._Trainer._step, os.fsync, Path.replace = watched_step, watched_fsync, watched_replace


def attempt(path: Path, moment: int) -> str | None:
    """Train in a child process; at what it was killed, or None when it came to the end."""
    log = path.parent / "event"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            die_at(moment, log)
            training.train(CONFIG, DATA, path, resume=True)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return log.read_text()
    if os.WEXITSTATUS(status) != 0:
        sys.exit("training failed")
    return None


def main() -> None:
    training.curves = lambda history: repr(history).encode()
    path, moments = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    # Once here, so that not every child imports what PyTorch imports when it is first used.
    training.train(replace(CONFIG, epochs=1), DATA, path.parent / "warm-up")
    kills: list[str] = []
    while killed := attempt(path, len(kills) + 1 if len(kills) < 9 else moments.randint(3, 45)):
        kills.append(killed)
    print(json.dumps(kills))


if __name__ == "__main__":
    main()
