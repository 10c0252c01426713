"""The engine `ray`: each shard is a task of Ray, on processes of this machine or on a cluster.

Ray only decides which process makes which shard. A worker writes its shard to the bulk folder itself, and sends back
None or the error that stopped it, so that no picture passes through Ray. A shard whose worker was killed is made again.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import math
import os
import signal
import socket
import threading
import time
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
LOOK_SECONDS = 3.0
"""How often to look whether the head of a cluster still answers while no shard is completed."""
LEAVE_SECONDS = 5.0
"""How long to wait for the connection to a cluster to close, which takes a minute after the cluster is gone."""
CANCEL_SECONDS = 10.0
"""How long to wait for workers to remove their unfinished shards when the command is stopped."""


@dataclass(frozen=True)
class RayEngine:
    """Makes shards as tasks of Ray."""

    address: str | None
    """a running cluster: `HOST:PORT` or `ray://HOST:PORT`; None starts Ray on this machine and stops it"""
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
                _schedule(ray, replace(job, threads=1), shards, workers, progress, self.address)

    def _limit(self, shards: int) -> int:
        """The number of workers to start on this machine: no more than there are shards."""
        from vae_gen.internal.sampling import usable_cores

        return min(self.workers or usable_cores(), shards)


def _schedule(
    ray: Any, job: Job, shards: Sequence[Shard], workers: int, progress: Callable[[int], None], address: str | None
) -> None:
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
            done = _first_done(ray, list(running), address)
            shard = running.pop(done)
            error = ray.get(done)
            if error is not None:
                raise error
            _check_shared(job, shard)
            progress(shard.count)
    except _LostClusterError:
        raise
    except BaseException:
        _cancel(ray, list(running))
        raise


class _LostClusterError(UnavailableError):
    """The head of the cluster no longer answers."""


def _first_done(ray: Any, running: list[Any], address: str | None) -> Any:
    """Waits until one of these tasks is done, and returns it.

    Raises:
        _LostClusterError: the head of the cluster no longer answers. Ray itself would wait for minutes.
    """
    while True:
        done, _ = ray.wait(running, timeout=LOOK_SECONDS)
        if done:
            return done[0]
        if address is not None:
            _check_head(address)


def _check_head(address: str) -> None:
    try:
        check_address(address)
    except UnavailableError as error:
        raise _LostClusterError(
            f"expected the cluster of Ray at {address} until all shards are made, but it no longer answers; run the "
            "same command again with --resume"
        ) from error


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
    with _started(ray, workers) if address is None else _joined(ray, address):
        yield ray


@contextlib.contextmanager
def _started(ray: Any, workers: int) -> Iterator[None]:
    settings = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        with no_standard_error(), _kept_handler():
            _init(ray, None, **settings)
        yield
    finally:
        with no_standard_error():
            ray.shutdown()


@contextlib.contextmanager
def _joined(ray: Any, address: str) -> Iterator[None]:
    """Connects to a cluster."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its lines on standard error when the cluster is lost
    with no_standard_error():
        if address.startswith("ray://"):  # Ray's client answers signals, and can't connect in a thread
            _init(ray, address)
        else:
            _in_thread(lambda: _init(ray, address))
    try:
        yield
    finally:
        with no_standard_error():
            _in_thread(ray.shutdown, LEAVE_SECONDS)


def _in_thread(call: Callable[[], object], seconds: float = math.inf) -> None:
    """Calls a function in a thread, and waits for so long at most; signals interrupt that at once.

    In the main thread Ray would answer no signal while it waits for a cluster.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    end = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < end:
        thread.join(0.1)
    if errors:
        raise errors[0]


def _init(ray: Any, address: str | None, **settings: Any) -> None:
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **settings)
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


def find_cluster(address: str) -> str:
    """The address of a cluster that answers; for `auto`, of the one that `ray start` has recorded on this machine.

    Ray's own search would also find the private Ray of another command, which ends with that command.

    Raises:
        UsageError: it is no address of a cluster.
        UnavailableError: there is none, or nothing answers.
    """
    found = address
    if address == "auto":
        from ray._private.utils import read_ray_address

        named = os.environ.get("RAY_ADDRESS", "")
        found = read_ray_address() if named in ("", "auto", "local") else named
        if not found:
            raise UnavailableError(
                "expected a cluster that ray start began on this machine for --address auto, found none; start one "
                "with ray start --head, or leave --address out to use this machine alone"
            )
    check_address(found)
    return found


def check_address(address: str) -> None:
    """Tries whether something answers at the address of a cluster, because Ray itself waits for two minutes.

    Raises:
        UsageError: it is no address of a cluster.
        UnavailableError: nothing answers.
    """
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
