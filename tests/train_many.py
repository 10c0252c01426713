"""Trains a tiny run, and its detail stage if asked, in several processes. A run that is there goes on.

    torchrun --nproc-per-node N train_many.py RUN SETTINGS
    python train_many.py --devices N RUN SETTINGS           the same by this project's own launcher

With N = 1 the second command trains in the process itself. SETTINGS is a JSON object: changes of the settings in
tiny_training.py, and beside them

- double: compute in float64, which the product itself does not offer;
- detail: settings of a detail stage;
- init: the run whose weights to begin with;
- kill: [process, step]; that process is killed with SIGKILL when it begins its step of this number, counted from 0;
- hang: [process, step]; that process sleeps from then on;
- fail: [process, step]; that process alone finds a file that it can't read.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tiny_training import CONFIG, tiny_data
from vae_gen import InputError
from vae_train import training
from vae_train.config import DetailConfig
from vae_train.detail import training as of_detail
from vae_train.evaluation import Evaluation, evaluate_torch
from vae_train.initial import read_initial_weights
from vae_train.launching import is_launched, launch, rank, run_process
from vae_train.model import VAE
from vae_train.processes import join


def use_double() -> None:
    """Has networks, noise, losses and optimizers in float64. Only evaluations and pictures stay float32."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]

    def in_single(vae: VAE, *arguments: Any, **options: Any) -> Evaluation:
        return evaluate_torch(copy.deepcopy(vae).to(torch.float32), *arguments, **options)

    grid = training.sample_grid
    training.evaluate_torch = in_single
    training.sample_grid = lambda vae: grid(copy.deepcopy(vae).to(torch.float32))
    of_detail._Trainer._samples = lambda _: np.zeros((2, 2), np.uint8)  # type: ignore[method-assign]


def disturb(kill: list[int] | None, hang: list[int] | None, fail: list[int] | None) -> None:
    """Have this process killed, or sleep, or raise an error, before a certain step."""
    step, done = training._Trainer._step, 0

    def watched(*arguments: Any) -> Any:
        nonlocal done
        if kill == [rank(), done]:
            os.kill(os.getpid(), signal.SIGKILL)
        if hang == [rank(), done]:
            time.sleep(600)
        if fail == [rank(), done]:
            raise InputError("expected a readable file, got none")
        done += 1
        return step(*arguments)

    training._Trainer._step = watched  # type: ignore[method-assign]


def train(**_: object) -> None:
    path, changes = Path(sys.argv[-2]), json.loads(sys.argv[-1])
    training.curves = lambda history: repr(history).encode()  # which takes no time to draw
    if changes.pop("double", False):
        use_double()
    detail, init = changes.pop("detail", None), changes.pop("init", None)
    disturb(*(changes.pop(name, None) for name in ("kill", "hang", "fail")))
    model = dataclasses.replace(CONFIG.model, **changes.pop("model", {}))
    data = tiny_data()
    if model.channels == 3:
        data = dataclasses.replace(
            data, train_images=data.train_images.repeat(1, 3, 1, 1), test_images=data.test_images.repeat(1, 3, 1, 1)
        )
    processes = join("cpu")
    training.train(
        dataclasses.replace(CONFIG, model=model, **changes),
        data,
        path,
        resume=path.exists(),
        detail=None if detail is None else DetailConfig.from_json(detail),
        init=None if init is None else read_initial_weights(init),
        processes=processes,
    )
    processes.leave()


def main() -> int:
    count = int(sys.argv[2]) if sys.argv[1] == "--devices" else 1
    if count > 1 and not is_launched():
        return launch("train_many", "train_many", count, 1, None)
    return run_process(train, "train_many")


if __name__ == "__main__":
    sys.exit(main())
