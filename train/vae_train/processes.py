"""Several processes that train one model together, with the numbers that one process would reach.

Each process has the whole model, and draws the same order, noise and augmentation for the whole batch. It computes its
own rows of the batch. What the loss needs of all rows is gathered before anything is propagated back, so a loss with
the mean or the variance of a batch in it is exact. Then the gradients are added, and every process does the same step.

The order of an addition decides its last digits. With `micro_batches` the batch is cut into that many pieces, whatever
the number of processes, and their gradients are added in pairs, the sums in pairs again, and so on. A process owns
neighbouring pieces, so it adds up a whole branch of that tree, and the branches of all processes give the same total
to the bit for 1, 2, 4 … processes. Without micro-batches each process has one piece.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from vae_gen import InputError, UsageError

from .config import DetailConfig, TrainConfig
from .launching import LostProcessError, check_device, check_division, local_rank, local_world, rank, world

T = TypeVar("T")

ANSWER_S, MOST_ASKING_S = 5.0, 60.0
"""How long the first process waits for a sign of each other one, and how long these wait for it, in seconds."""

TIMEOUT_VARIABLE, TIMEOUT_S = "VAE_TRAIN_TIMEOUT", 600.0
"""The environment variable with the seconds that a process waits for the others in a step, and its default. A process
that ends is noticed at once; this is for one that hangs, or whose machine is gone."""

PATIENCE = timedelta(days=7)
"""How long processes wait for the first one to read and decode images, which may take hours."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together, as one of them sees them. With one process every method is free."""

    rank: int = 0
    """the number of this process, from 0"""
    world: int = 1
    """the number of processes"""
    local_rank: int = 0
    """the number of this process on its machine, from 0"""
    patient: Any = None
    """the group of processes that waits for `PATIENCE`"""
    asking: Any = None
    """the group that finds out which process does not answer"""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, in every process. If it raises an error there, all of them end."""
        if self.world == 1:
            return make()
        box = [make() if self.is_first else None]
        with _noticing_loss(self.asking):
            dist.broadcast_object_list(box, 0, self.patient)
        return box[0]  # type: ignore[return-value]

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """Runs the block in the first process, then in the first one of each other machine, then in all others.

        So images are decoded by one process, and the others find them in the cache. An error that all would have is
        raised in the first process alone.
        """
        turn = 0 if self.is_first else 1 if self.local_rank == 0 else 2
        self._wait(turn)
        yield
        self._wait(2 - turn)

    def check_same(self, progress: object, path: Path) -> None:
        """Refuses to go on if another process found other progress than the first one in a folder.

        Raises:
            InputError: it did, so the folder is not the same one on all machines.
        """
        if (first := self.from_first(lambda: progress)) != progress:
            raise InputError(
                f"{path}: expected a folder that all machines share, with the progress {first} of the first process, "
                f"found {progress} in process {self.rank}; choose an --out on a file system that all of them see"
            )

    def leave(self) -> None:
        """Parts from the others after the work. After an error a process only ends, which tells the others."""
        if self.world > 1:
            dist.destroy_process_group()

    def _wait(self, times: int) -> None:
        for _ in range(times if self.world > 1 else 0):
            with _noticing_loss(self.asking):
                dist.barrier(self.patient)

    def add(self, tensor: Tensor) -> Tensor:
        """Replaces a tensor by its sum over all processes, and returns it."""
        if self.world > 1:
            with _noticing_loss(self.asking):
                dist.all_reduce(tensor)
        return tensor

    def merged(self, rows: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """An array of which each process has made other rows and left the rest 0; None if it made none."""
        if self.world == 1:
            return rows
        shape = self.from_first(lambda: None if rows is None else rows.shape)
        if shape is None:
            return None
        return self.add(torch.zeros(shape, dtype=torch.float64) if rows is None else torch.from_numpy(rows)).numpy()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, which have one shape, in the order of their numbers."""
        if self.world == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.world)]
        with _noticing_loss(self.asking):
            dist.all_gather(found, tensor)
        return found


ALONE = Processes()
"""One process that trains by itself."""


def join(device: str) -> Processes:
    """Joins this process with the others that a launcher has started; without a launcher there is `ALONE`.

    Args:
        device: cuda, mps or cpu.

    Raises:
        UsageError: the device can't be shared by this many processes.
        LostProcessError: another process has ended, or does not answer.
    """
    if world() == 1:
        return ALONE
    check_device(device, local_world())
    seconds = _timeout_s()
    if device == "cuda":
        torch.cuda.set_device(local_rank())
    with _noticing_loss():
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=seconds))
        asking = dist.new_group(backend="gloo", timeout=timedelta(seconds=min(seconds, MOST_ASKING_S)))
        patient = dist.new_group(backend="gloo", timeout=PATIENCE)
    return Processes(rank(), world(), local_rank(), patient, asking)


def _timeout_s() -> float:
    given = os.environ.get(TIMEOUT_VARIABLE, str(TIMEOUT_S))
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", given) or float(given) <= 0:
        raise UsageError(f"expected {TIMEOUT_VARIABLE} as a number of seconds above 0, got {given}")
    return float(given)


@contextlib.contextmanager
def _noticing_loss(asking: Any = None) -> Iterator[None]:
    """Turns the errors that PyTorch raises when another process has ended, or hangs, into one of this project."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            f"expected an answer from each of {world()} processes, got none from {_silent(asking)}; "
            "go on with the same command and --resume"
        ) from error


def _silent(asking: Any) -> str:
    """The processes that do not answer now, for people. Only the first process can know any but the first one."""
    try:
        if asking is not None:
            dist.monitored_barrier(asking, timedelta(seconds=ANSWER_S), wait_all_ranks=True)
    except RuntimeError as error:
        if found := re.search(r"Ranks? ([\d, ]+) failed to pass", str(error)):
            return f"process {found[1].strip(' ,')}"
        if rank() and "rank 0" in str(error):
            return "process 0"
    return "at least one of them"


@dataclass(frozen=True)
class Division:
    """How a batch is divided into pieces, and which of them this process computes."""

    processes: Processes
    pieces: int
    """how many there are in all; a process owns as many as every other one"""
    in_pairs: bool
    """whether gradients are added in pairs, so that the number of processes changes nothing"""

    @classmethod
    def of(cls, config: TrainConfig | DetailConfig, processes: Processes) -> Division:
        """The division that these settings ask for.

        Raises:
            UsageError: the processes can't share the micro-batches evenly, or the batch is smaller than their number.
        """
        check_division(config, processes.world)
        return cls(processes, config.micro_batches or processes.world, config.micro_batches > 0)

    @property
    def is_whole(self) -> bool:
        """Whether the batch is not divided at all."""
        return self.pieces == 1

    def own_rows(self, count: int) -> list[slice]:
        """The rows of each piece of this process, of a batch of `count` images; a piece of a small batch may be empty.

        >>> Division(Processes(rank=1, world=2), 4, True).own_rows(10)
        [slice(5, 7, None), slice(7, 10, None)]
        """
        own = self.pieces // self.processes.world
        first = self.processes.rank * own
        edges = [at * count // self.pieces for at in range(first, first + own + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(edges)]

    def gathered(self, own: Sequence[Tensor], count: int) -> Tensor:
        """The rows of the whole batch, [count, …], from those of each piece of this process; no gradient flows back."""
        rows = own[0].detach() if len(own) == 1 else torch.cat([piece.detach() for piece in own])
        if self.processes.world == 1:
            return rows
        whole = rows.new_zeros(count, *rows.shape[1:])
        whole[self.own_rows(count)[0].start :][: len(rows)] = rows
        return self.processes.add(whole)  # to every row, all other processes add 0

    def propagate_back(
        self,
        optimizer: torch.optim.Optimizer,
        pieces: Sequence[Sequence[Tensor]],
        gradients: Sequence[Sequence[Tensor]],
    ) -> None:
        """Sets the gradient of every weight of an optimizer to that of the whole batch.

        Args:
            optimizer: whose weights.
            pieces: the values of each piece of this process from which the loss was computed; a piece may be empty.
            gradients: the gradient of the loss by each of these values.
        """
        optimizer.zero_grad()
        if self.is_whole:
            torch.autograd.backward(pieces[0], gradients[0])
            return
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        flat = []
        for values, of_values in zip(pieces, gradients, strict=True):
            if len(values[0]):
                torch.autograd.backward(values, of_values, retain_graph=True)  # pieces may share a part of the graph
            flat.append(torch.cat([_gradient(weight).flatten() for weight in weights]))
            optimizer.zero_grad()
        total = torch.split(self._total(flat), [weight.numel() for weight in weights])
        for weight, part in zip(weights, total, strict=True):
            weight.grad = torch.empty_like(weight).copy_(part.view(weight.shape))

    def _total(self, flat: list[Tensor]) -> Tensor:
        if not self.in_pairs:
            return self.processes.add(flat[0])
        return sum_in_pairs(self.processes.gather(sum_in_pairs(flat)))


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def sum_in_pairs(tensors: list[Tensor]) -> Tensor:
    """The sum of 1, 2, 4, 8 … tensors, added in pairs, then the sums in pairs, and so on.

    >>> sum_in_pairs([torch.tensor(float(one)) for one in (1, 2, 3, 4)])
    tensor(10.)
    """
    while len(tensors) > 1:
        tensors = [first + second for first, second in zip(tensors[::2], tensors[1::2], strict=True)]
    return tensors[0]
