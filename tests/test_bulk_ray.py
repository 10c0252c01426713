"""`--engine ray` makes the bytes of the local engine, whoever is killed, and leaves no process and no half file."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from cli_runner import Command
from test_bulk import hashes
from test_bulk_formats import everything
from test_cli_process import command
from vae_gen_cli.bulk.plan import Plan
from vae_gen_cli.bulk.ray_engine import _make
from vae_gen_cli.bulk.work import Job

if importlib.util.find_spec("ray") is None and os.environ.get("VAE_GEN_REQUIRE_RAY") != "1":
    pytest.skip("needs the extra ray", allow_module_level=True)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ray on Windows is an experiment")

MODEL = ("--model", "fashion-mnist-12d-reference", "--seed", "7")
MAKE = ("sample", *MODEL, "-n", "1000", "--prior", "fitted", "--format", "parquet", "--shard-size", "256")
LONG = ("sample", *MODEL, "-n", "200000", "--format", "parquet", "--shard-size", "32768")
"""Each shard takes a second, so that it can be interrupted."""
GONE_SECONDS = 120
"""Two of Ray's processes end a minute after the others when a driver is killed with SIGKILL."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Ray keeps the token that lets processes of this user join."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """No variable of whoever runs the tests reaches Ray."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))


class Cluster(NamedTuple):
    """A cluster of one machine with two processors."""

    address: str
    client: str
    """the address of its client server"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with started_cluster() as (_, found):
        yield found


@contextlib.contextmanager
def started_cluster() -> Iterator[tuple[psutil.Popen, Cluster]]:
    """Starts a cluster of one machine, and ends it after the block. Yields its head's process, too."""
    port = free_port()
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="vae-gen-") as place:  # a socket's path must be short
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2", "--port=0"]
        start += ["--include-dashboard=false", "--object-store-memory=80000000", f"--temp-dir={place}"]
        start += [f"--ray-client-server-port={port}", "--min-worker-port=0", "--max-worker-port=0"]
        head = psutil.Popen(start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = Path(place, "ray_current_cluster")
            until(address.exists)
            yield head, Cluster(address.read_text(), f"ray://127.0.0.1:{port}")
        finally:
            family = [head, *head.children(recursive=True)] if head.poll() is None else []
            with contextlib.suppress(psutil.NoSuchProcess):
                head.send_signal(signal.SIGTERM)
            assert gone(family)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def until(true: object, seconds: float = 60) -> None:
    """Waits until a function returns something true."""
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all processes end soon."""
    return not psutil.wait_procs(processes, timeout=GONE_SECONDS)[1]


def started(*words: str) -> psutil.Popen:
    """Starts `vae-gen` in a process of its own."""
    return psutil.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: psutil.Popen, seconds: float = 300) -> tuple[int, str, str]:
    """The exit code of a process, and what it has printed."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def writers(folder: Path | str) -> list[psutil.Process]:
    """The processes that write a shard of this folder now."""
    found = []
    for process in psutil.process_iter():
        try:
            paths = [file.path for file in process.open_files()] if "ray::" in process.name() else []
        except psutil.Error:
            continue
        if any(path.startswith(str(Path(folder).resolve())) and path.endswith(".part") for path in paths):
            found.append(process)
    return found


def test_workers_make_the_bytes_of_the_local_engine_and_only_our_lines_appear(cli: Command) -> None:
    cli.succeed(*MAKE, "--out", "local")
    process = started(*MAKE, "--out", "ray", "--engine", "ray", "--workers", "2", "--json")
    until(lambda: process.poll() is not None or Path("ray/_part-000000000768.json").exists())
    family = process.children(recursive=True)
    code, out, err = ended(process)
    assert (code, err) == (0, "Ray makes the shards on 2 workers\n1000 pictures of seed 7, fitted prior → ray\n")
    assert json.loads(out)["shards"] == 4
    assert hashes("ray") == hashes("local")
    assert gone(family)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--workers 2", 2, "--workers only applies to --engine ray; leave it out"),
        ("--address auto", 2, "--address only applies to --engine ray; leave it out"),
        ("--engine ray --threads 2", 2, "--threads only applies to --engine local"),
        ("--engine ray --address here", 2, "expected auto, HOST:PORT or ray://HOST:PORT for --address, got 'here'"),
        ("--engine ray --address http://a:1", 2, "expected auto, HOST:PORT or ray://HOST:PORT for --address"),
        ("--engine ray --address 127.0.0.1:1", 3, "expected a running cluster of Ray at 127.0.0.1:1, got: "),
    ],
)
def test_wrong_options_are_one_line_and_make_no_folder(cli: Command, options: str, code: int, message: str) -> None:
    outcome = cli(*MAKE, "--out", "out", *options.split())
    assert outcome.code == code
    assert outcome.err.startswith(f"vae-gen: {message}")
    assert outcome.err.count("\n") == 1
    assert not Path("out").exists()


def test_options_of_the_engine_apply_to_folders_of_shards_alone(cli: Command) -> None:
    outcome = cli("sample", "--engine", "ray", "-o", "x.npy")
    assert outcome.code == 2
    assert "--engine only applies to folders of shards" in outcome.err


def test_a_missing_ray_is_named_with_the_extra(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = cli(*MAKE, "--out", "out", "--engine", "ray")
    assert (outcome.code, outcome.err.count("\n")) == (3, 1)
    assert 'pip install "vae-gen[ray]"' in outcome.err


def test_a_worker_that_would_make_other_bytes_refuses(cli: Command, other_model_folder: Path) -> None:
    """It is called here as a worker calls it, because two versions of a package can't be installed for one cluster."""
    cli.succeed("sample", "-n", "64", "--seed", "7", "--format", "parquet", "--out", "out")
    plan = Plan.parse(Path("out/_manifest.json").read_bytes(), "out")
    (shard,) = plan.shards()
    older = replace(plan, versions={**plan.versions, "pyarrow": "17.0.0"})
    refused = _make(Job(older, str(cli.model), "out"), shard)
    assert str(refused).startswith("expected pyarrow 17.0.0 on each worker, got ")
    refused = _make(Job(plan, str(other_model_folder), "out"), shard)
    assert str(refused).startswith(f"expected the same model in {other_model_folder} on each worker, got another one")


def test_auto_finds_only_what_ray_start_has_recorded(
    cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    words = (*MAKE, "--out", "out", "--engine", "ray", "--address", "auto")
    outcome = cli(*words)
    assert (outcome.code, outcome.err.count("\n")) == (3, 1)
    assert outcome.err.startswith("vae-gen: expected a cluster that ray start began on this machine for --address auto")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    assert cli(*words).err.startswith("vae-gen: expected a running cluster of Ray at 127.0.0.1:1, got: ")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    assert cli(*words).err.startswith("vae-gen: expected a running cluster of Ray at 127.0.0.1:2, got: ")
    assert not Path("out").exists()


@pytest.mark.parametrize("sent", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_a_command_that_waits_for_a_cluster(cli: Command, sent: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        words = ("--out", "out", "--engine", "ray", "--address", f"127.0.0.1:{silent.getsockname()[1]}")
        process = started(*MAKE, *words)
        until(Path("out/_manifest.json").exists)
        time.sleep(1)  # Ray begins to connect then
        process.send_signal(getattr(signal, sent))
        assert ended(process, seconds=20) == (128 + getattr(signal, sent), "", "vae-gen: interrupted\n")


@pytest.mark.slow
def test_a_cluster_that_is_lost_is_one_line(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with started_cluster() as (head, lost):
        process = started(*LONG, "--out", "ray", "--engine", "ray", "--address", lost.address)
        until(lambda: writers("ray"))
        for part in [head, *head.children(recursive=True)]:
            part.kill()
        code, out, err = ended(process, seconds=45)
    assert (code, out, err.count("\n")) == (3, "", 2)
    assert err.splitlines()[-1] == (
        f"vae-gen: expected the cluster of Ray at {lost.address} until all shards are made, but it no longer answers; "
        "run the same command again with --resume"
    )


@pytest.mark.slow
def test_one_and_two_workers_of_a_cluster_make_the_same_bytes(
    cli: Command, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cli.succeed(*MAKE, "--out", "local")
    for workers in ("1", "2", "9"):  # nine are more than there are shards or processors
        words = (*MAKE, "--out", f"ray-{workers}", "--engine", "ray", "--workers", workers, "--address")
        code, _, err = ended(started(*words, cluster.address))
        assert (code, err.count("\n")) == (0, 2), err
        assert hashes(f"ray-{workers}") == hashes("local")
    words = (*MAKE, "--out", "client", "--engine", "ray", "--address", cluster.client)
    code, _, err = ended(started(*words))
    assert (code, err.count("\n")) == (0, 2), err
    assert hashes("client") == hashes("local")
    for format_name in ("webdataset", "folder-by-class"):
        words = [format_name if word == "parquet" else word for word in MAKE]
        cli.succeed(*words, "--out", f"local-{format_name}")
        assert ended(started(*words, "--out", format_name, "--engine", "ray", "--address", cluster.address))[0] == 0
        assert everything(format_name) == everything(f"local-{format_name}")
    encode = ("encode", "local", *MODEL[:2], "--format", "parquet", "--shard-size", "256", "--out")
    cli.succeed(*encode, "local-latents")
    assert ended(started(*encode, "latents", "--engine", "ray", "--address", cluster.address))[0] == 0
    assert hashes("latents") == hashes("local-latents")
    code, _, err = ended(started(*MAKE, "--out", "ray-1", "--engine", "ray", "--address", cluster.address, "--resume"))
    assert (code, err) == (0, "kept 4 of 4 shards, made 0\n1000 pictures of seed 7, fitted prior → ray-1\n")


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_stopped_driver_leaves_no_process_and_a_second_run_completes(cli: Command, killed: str) -> None:
    cli.succeed(*LONG, "--out", "local")
    words = (*LONG, "--out", "ray", "--engine", "ray")
    process = started(*words, "--workers", "2")
    until(lambda: Path("ray/_part-000000000000.json").exists() and writers("ray"))
    family = process.children(recursive=True)
    process.send_signal(getattr(signal, killed))
    code, _, err = ended(process)
    if killed != "SIGKILL":
        assert (code, err.splitlines()[-1]) == (128 + getattr(signal, killed), "vae-gen: interrupted")
        assert not list(Path("ray").glob(".*"))
    code, _, err = ended(started(*words, "--workers", "1", "--resume"))
    assert code == 0
    assert "kept " in err
    assert hashes("ray") == hashes("local")
    assert gone(family)


@pytest.mark.slow
def test_a_shard_whose_worker_is_killed_is_made_again(cli: Command) -> None:
    cli.succeed(*LONG, "--out", "local")
    process = started(*LONG, "--out", "ray", "--engine", "ray", "--workers", "2")
    until(lambda: writers("ray"))
    writers("ray")[0].kill()
    code, out, err = ended(process)
    assert (code, out, err) == (0, "", "Ray makes the shards on 2 workers\n200000 pictures of seed 7 → ray\n")
    assert hashes("ray") == hashes("local")


@pytest.mark.slow
def test_a_shard_whose_workers_are_killed_each_time_is_one_line(
    cli: Command, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    process = started(*LONG, "--out", "ray", "--engine", "ray", "--workers", "1", "--address", cluster.address)
    while process.poll() is None:
        for writer in writers("ray"):
            writer.kill()
        time.sleep(0.05)
    code, out, err = ended(process)
    assert (code, out) == (3, "")
    assert err.splitlines()[-1].startswith("vae-gen: expected Ray's workers to make each shard within 4 tries, got: ")
    assert err.count("\n") == 2


@pytest.mark.slow
def test_a_worker_that_meets_a_full_disk_is_one_line_with_exit_code_7(
    cli: Command, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    disk = Path.cwd() / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    try:
        words = ("--out", "disk/out", "--engine", "ray", "--address", cluster.address)
        code, out, err = ended(started(*LONG, *words))
        assert (code, out) == (7, "")
        assert err.splitlines()[-1].startswith("vae-gen: cannot write ")
        assert "No space left on device" in err
        assert err.count("\n") == 2
        assert not (disk / "out").exists()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
