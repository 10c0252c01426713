"""The engine `ray`: each shard is a task of Ray, on processes of this machine or on a cluster.

Ray only decides which process makes which shard. A worker writes its shard to the bulk folder itself, and sends back
None or the error that stopped it, so that no picture passes through Ray. A shard whose worker was killed is made again.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from vae_gen import ModelError, OutputError, UnavailableError, UsageError, __version__
from vae_gen._errors import shown

from ..options import no_standard_error
from .place import open_place
from .plan import Shard
from .run import model_facts
from .work import Job, make_shard, open_model

TRIES = 4
"""How often a shard is begun whose worker is killed each time."""
STORE_BYTES = 80 << 20
"""The size of Ray's object store, in which nothing is kept. Ray accepts no less than 75 MB."""
CONNECT_SECONDS = 5.0
"""How long to wait for a cluster to answer. Ray itself would wait for two minutes."""
CANCEL_SECONDS = 10.0
"""How long to wait for workers to remove their unfinished shards when the command is stopped."""


@dataclass(frozen=True)
class RayEngine:
    """Makes shards as tasks of Ray."""

    address: str | None
    """a running cluster: `auto`, `HOST:PORT` or `ray://HOST:PORT`; None starts Ray on this machine and stops it"""
    workers: int | None
    """the most shards that are made at the same time; None means one on each processor"""
    say: Callable[[str], None]
    """prints a line for people"""

    def __call__(self, job: Job, shards: Sequence[Shard], progress: Callable[[int], None]) -> None:
        """Makes these shards, each of them on one thread.

        Raises:
            UnavailableError: Ray is not installed, can't be started or reached, or lost its workers.
            VaeGenError: a worker could not make its shard.
        """
        if not shards:
            return
        with _no_standard_output(), _connected(self.address, self._limit(len(shards))) as ray:
            processors = int(ray.cluster_resources().get("CPU", 1))
            workers = max(1, min(self.workers or processors, len(shards)))
            self.say(f"Ray makes the shards on {workers} worker{'s' if workers > 1 else ''}")
            with _plain_errors(ray):
                _schedule(ray, replace(job, threads=1), shards, workers, progress)

    def _limit(self, shards: int) -> int:
        """The number of workers to start on this machine: no more than there are shards."""
        from vae_gen.internal.sampling import usable_cores

        return min(self.workers or usable_cores(), shards)


def _schedule(ray: Any, job: Job, shards: Sequence[Shard], workers: int, progress: Callable[[int], None]) -> None:
    """Keeps as many tasks running as there are workers. When one fails, the others are stopped."""
    make = ray.remote(_make).options(num_cpus=1, max_retries=TRIES - 1)
    remaining = iter(shards)
    running: dict[Any, Shard] = {}
    try:
        while True:
            for shard in remaining:
                running[make.remote(job, shard)] = shard
                if len(running) >= workers:
                    break
            if not running:
                return
            (done,), _ = ray.wait(list(running))
            shard = running.pop(done)
            error = ray.get(done)
            if error is not None:
                raise error
            _check_shared(job, shard)
            progress(shard.count)
    except BaseException:
        _cancel(ray, list(running))
        raise


def _make(job: Job, shard: Shard) -> Exception | None:
    """Makes a shard in a worker. An error is returned, because Ray prints those that are raised."""
    try:
        _check_worker(job)
        make_shard(job, shard)
    except Exception as error:
        return error
    return None


def _check_worker(job: Job) -> None:
    """Checks that this worker would make the bytes that the manifest of the bulk folder promises.

    Raises:
        ModelError: the model folder on this machine is missing or another one.
        UnavailableError: the packages on this machine have other versions.
    """
    plan, host = job.plan, socket.gethostname()
    for name, wanted in plan.versions.items():
        found = __version__ if name == "vae-gen" else importlib.import_module(name).__version__
        if found != wanted:
            raise UnavailableError(f"expected {name} {wanted} on each worker, got {found} on {host}; install the same")
    if model_facts(open_model(job.model, job.threads, job.provider).manifest) != plan.model:
        raise ModelError(
            f"expected the same model in {job.model} on each worker, got another one on {host}; name a folder on "
            "storage that all machines of the cluster share"
        )


def _check_shared(job: Job, shard: Shard) -> None:
    """Checks that a shard which a worker has made is in the folder as this machine sees it.

    Raises:
        OutputError: it is not there.
    """
    try:
        with open_place(job.address).read(shard.sidecar):
            pass
    except OSError as error:
        raise OutputError(
            f"expected {job.address} on storage that all machines of the cluster share, but a shard which a worker "
            "wrote there is missing here; name a shared folder or a store such as s3://BUCKET/FOLDER"
        ) from error


def _cancel(ray: Any, running: list[Any]) -> None:
    """Interrupts tasks and waits until they have removed their unfinished shards."""
    with contextlib.suppress(Exception):
        for task in running:
            ray.cancel(task)
        ray.wait(running, num_returns=len(running), timeout=CANCEL_SECONDS)


# Ray's start and end.


@contextlib.contextmanager
def _connected(address: str | None, workers: int) -> Iterator[Any]:
    """Starts Ray with this many workers, or connects to a running cluster; both end with the block."""
    ray = import_ray()
    try:
        with no_standard_error(), _kept_handler():
            _start(ray, address, workers)
        yield ray
    finally:
        with no_standard_error():
            ray.shutdown()


def _start(ray: Any, address: str | None, workers: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    settings = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(address=address or "local", **quiet, **({} if address else settings))
    except Exception as error:
        raise _no_cluster(address, error) from error


@contextlib.contextmanager
def _kept_handler() -> Iterator[None]:
    """Keeps the handler of SIGTERM, in whose place Ray sets its own when it starts."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def import_ray() -> Any:
    """Returns the package ray.

    Raises:
        UnavailableError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray warns where this is not chosen
    try:
        import ray
    except ImportError as error:
        raise UnavailableError(
            "expected the package ray for --engine ray, got none; install the extra ray: "
            'pip install "vae-gen[ray]"'
        ) from error
    return ray


def check_address(address: str) -> None:
    """Tries whether something answers at the address of a cluster, because Ray itself waits for two minutes.

    Raises:
        UsageError: it is no address of a cluster.
        UnavailableError: nothing answers.
    """
    if address == "auto":
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number
        host, port = None, None
    if host is None or port is None or parts.scheme not in ("", "ray"):
        raise UsageError(f"expected auto, HOST:PORT or ray://HOST:PORT for --address, got {shown(address)}")
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            pass
    except OSError as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: Exception) -> UnavailableError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else _first_line(error)
    if address is None:
        return UnavailableError(f"expected Ray to start on this machine, got: {reason}; --engine local needs no Ray")
    return UnavailableError(
        f"expected a running cluster of Ray at {address}, got: {reason}; start one with ray start --head, or leave "
        "--address out to use this machine alone"
    )


@contextlib.contextmanager
def _plain_errors(ray: Any) -> Iterator[None]:
    """Turns an error of Ray into one line."""
    try:
        yield
    except ray.exceptions.RayError as error:
        reason = _first_line(getattr(error, "cause", None) or error)
        raise UnavailableError(
            f"expected Ray's workers to make each shard within {TRIES} tries, got: {reason}; the same command with "
            "--resume keeps what is made"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _no_standard_output() -> contextlib.redirect_stdout[io.StringIO]:
    """Drops what Ray prints on standard output, such as that a worker was killed."""
    return contextlib.redirect_stdout(io.StringIO())
