"""How one command starts the processes of a training, and what each of them shows.

torchrun, or `--devices N`, which uses torchrun's library, gives each process its number in the environment. The first
process writes and prints as if it were alone. Another one prints only an error that it alone has, with its number.
This module is imported for every `--help`, so it imports PyTorch inside functions.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from vae_gen import UnavailableError, UsageError
from vae_gen.internal.command import end_at_once, run_command

from .config import DetailConfig, TrainConfig

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The environment variables of a process that was started to train with others."""

LAUNCHER = "VAE_TRAIN_LAUNCHER"
"""The environment variable with the process id of our own launcher, which prints a line for a process that dies."""

GRACE_S = 3.0
"""How long a process waits before it prints an error that another process may have caused or had too. Within this time
the launcher notices that the other one has ended, and ends this one."""

ENDING_S = 10
"""How long processes that are told to end may take for it, in seconds, before they are killed."""


class LostProcessError(UnavailableError):
    """Another process of the training has ended or does not answer."""


def is_launched() -> bool:
    """Whether a launcher has started this process, perhaps as the only one."""
    return all(name in os.environ for name in LAUNCHED)


def world() -> int:
    """How many processes train together; 1 without a launcher."""
    return int(os.environ["WORLD_SIZE"]) if is_launched() else 1


def rank() -> int:
    """The number of this process among those that train together, from 0."""
    return int(os.environ["RANK"]) if is_launched() else 0


def local_rank() -> int:
    """The number of this process on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", 0)) if is_launched() else 0


def local_world() -> int:
    """How many of the processes run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world())) if is_launched() else 1


# What each process shows.


def run_process(app: Callable[..., Any], name: str) -> int:
    """Runs a command in this process, and returns its exit code; one of several ends here instead if it fails."""
    if world() == 1:
        return run_command(app, name)
    if LAUNCHER in os.environ:
        threading.Thread(target=_end_with_launcher, daemon=True).start()
    if rank() or LAUNCHER in os.environ:  # our launcher sends SIGTERM when another process has ended
        signal.signal(signal.SIGTERM, _leave_quietly)
    if rank():
        signal.signal(signal.SIGINT, _leave_quietly)
        name = f"{name}, process {rank()} of {world()}"

    def with_grace(**options: Any) -> Any:
        try:
            return app(**options)
        except Exception as error:
            if rank() or isinstance(error, LostProcessError):
                time.sleep(GRACE_S * min(1 + rank(), 4))  # the first process knows most, and one line is enough
            raise

    try:
        code = run_command(with_grace, name)
    except SystemExit as error:  # of _leave_quietly
        code = error.code if isinstance(error.code, int) else 1
    if code:
        # Threads of PyTorch's process group may still wait for the others. Python's clean-up would sometimes take them
        # apart with the message "terminate called without an active exception". No file is open any more.
        end_at_once(code)
    return code


def _leave_quietly(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _end_with_launcher() -> None:
    """Ends this process when the launcher was killed, so that no process is left behind."""
    while os.getppid() == int(os.environ[LAUNCHER]):
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ENDING_S)
    os._exit(128 + signal.SIGTERM)


# Starting them.


def processes_to_start(devices: int | None, nodes: int | None, rendezvous: str | None) -> int:
    """How many processes the options of a command ask to start on this machine; 0 if this process trains itself.

    Raises:
        UsageError: the options contradict each other, or the launcher that has started this process.
    """
    if rendezvous is not None and not re.fullmatch(r"[^\s:]+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5}", rendezvous):
        raise UsageError(f"expected --rendezvous as HOST:PORT, got {rendezvous}")
    if (nodes or 1) > 1 and rendezvous is None:
        raise UsageError(f"expected --rendezvous HOST:PORT with --nodes {nodes}, got none; name one of the machines")
    if rendezvous is not None and nodes is None:
        raise UsageError("expected --nodes with --rendezvous, got none; say how many machines meet there")
    if is_launched():
        if devices is not None and devices != local_world():
            raise UsageError(
                f"expected --devices {local_world()}, as many as were started on this machine, got {devices}; "
                "leave it out under torchrun"
            )
        return 0
    return devices or 1 if (devices or 1) * (nodes or 1) > 1 else 0


def check_division(config: TrainConfig | DetailConfig, count: int) -> None:
    """Refuses a number of processes that can't share the batches of a training evenly.

    Raises:
        UsageError: the processes can't share the micro-batches evenly, or the batch is smaller than their number.
    """
    if config.micro_batches % count:
        raise UsageError(
            f"expected a number of processes that divides --micro-batches {config.micro_batches}, got {count}; "
            "start 1, 2, 4 or another such number, or leave the option out"
        )
    if config.batch_size < count:
        raise UsageError(f"expected --batch-size of at least the number of processes, {count}, got {config.batch_size}")


def check_device(device: str, count: int) -> None:
    """Refuses a device that can't be shared by this many processes on this machine.

    Raises:
        UsageError: PyTorch has no collectives for mps, or there are fewer GPUs.
        UnavailableError: this PyTorch can't train on several processes.
    """
    import torch

    if device == "mps":
        raise UsageError(f"expected --device cpu or cuda for {count} processes, got mps; choose --device cpu")
    if device == "cuda" and count > torch.cuda.device_count():
        raise UsageError(
            f"expected at most one process for each of the {torch.cuda.device_count()} GPUs of this machine, "
            f"got {count}; start fewer, or choose --device cpu"
        )
    if not torch.distributed.is_available():
        raise UnavailableError("expected a PyTorch with torch.distributed, found one without; install another build")


def launch(module: str, name: str, devices: int, nodes: int, rendezvous: str | None) -> int:
    """Runs this command again in several processes, with the same arguments, and returns its exit code.

    Whatever ends the processes has printed its line by then.

    Args:
        module: the module that runs the command.
        name: the name of the command, for messages.
        devices: how many processes to start on this machine.
        nodes: how many machines take part, each of which runs this command.
        rendezvous: HOST:PORT where they meet; None on one machine.

    Raises:
        UnavailableError: the machines did not meet.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    def end(number: int, frame: object) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the ending
        received.append(number)
        raise SignalException(f"signal {number}", signal.SIGINT)  # which the first process answers as if it were alone

    received: list[int] = []
    with _prepared(end), tempfile.TemporaryDirectory(prefix="vae-train-") as folder:
        config = LaunchConfig(
            min_nodes=nodes, max_nodes=nodes, nproc_per_node=devices, run_id="vae-train", rdzv_backend="c10d",
            rdzv_endpoint=rendezvous or "localhost:0", local_addr=None if rendezvous else "localhost", max_restarts=0,
            monitor_interval=0.1, logs_specs=DefaultLogsSpecs(log_dir=folder), signals_to_handle="SIGQUIT",
        )  # fmt: skip
        try:
            elastic_launch(config, sys.executable)("-m", module, *sys.argv[1:])
        except SignalException:
            return 128 + received[0]  # the first process has printed that it was interrupted
        except ChildFailedError as error:
            number, failure = error.get_first_failure()
            return _failed(name, number, failure.exitcode, devices * nodes)
        except RuntimeError as error:  # the base of all errors of a rendezvous
            raise UnavailableError(
                f"expected {nodes} machines to meet at {rendezvous or 'localhost'}, got {type(error).__name__} "
                f"({' '.join(str(error).split())[:150]}); start the same command on each of them"
            ) from error
    return 0


@contextlib.contextmanager
def _prepared(end: Callable[[int, Any], NoReturn]) -> Iterator[None]:
    """Sets up signals, logging and the environment of the processes, and puts all of them back as they were."""
    environment = dict(os.environ)
    handlers = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    logging.disable(logging.CRITICAL)  # the launcher's own reports of what each process prints itself
    os.environ |= {LAUNCHER: str(os.getpid()), "PYTHONSAFEPATH": "1"}  # no module from the current folder
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun has it
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # a process that notices a loss prints its own line
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(ENDING_S))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= environment
        logging.disable(logging.NOTSET)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _failed(name: str, number: int, exit_code: int, count: int) -> int:
    """The exit code for a process that has failed. One that was killed could print nothing, so a line is printed."""
    if exit_code > 0:
        return exit_code
    print(
        f"{name}: process {number} of {count} was ended by {signal.Signals(-exit_code).name}; "
        "go on with the same command and --resume",
        file=sys.stderr,
    )
    return 128 - exit_code
