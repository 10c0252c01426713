"""What only a real process shows: pipes, memory, and what is imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

RUN = "from vae_gen_cli.main import run; run()"


def command(*arguments: str | Path) -> list[str]:
    """`vae-gen` by the interpreter that runs the tests, whatever PATH says."""
    return [sys.executable, "-c", RUN, *map(str, arguments)]


@pytest.mark.parametrize("format_name", ["png", "npy", "npz"])
def test_a_reader_that_goes_away_is_no_error(tiny_model_folder: Path, tmp_path: Path, format_name: str) -> None:
    arguments = ("-n", "5000", "--seed", "1", "-o", "-", "--format", format_name, "--model", tiny_model_folder)
    process = subprocess.Popen(
        command("sample", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    assert process.stderr is not None
    first = process.stdout.read(8)
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 0
    assert first == {"png": b"\x89PNG\r\n\x1a\n", "npy": b"\x93NUMPY\x01\x00", "npz": first}[format_name]
    assert errors in ("", "5000 pictures of seed 1 → standard output\n")  # the data may have fitted into the pipe
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a Linux device that is always full")
@pytest.mark.parametrize("count", ["1", "2000"])
def test_standard_output_that_is_full_ends_with_7(tiny_model_folder: Path, tmp_path: Path, count: str) -> None:
    arguments = ("-n", count, "--seed", "1", "-o", "-", "--format", "npy", "--model", tiny_model_folder)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("sample", *arguments), stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, check=False
        )
    assert done.returncode == 7
    assert done.stderr.decode() == (
        "vae-gen: cannot write to standard output: No space left on device; "
        "choose another place or free some space\n"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["sample", "--help"], ["repeat", "--help"]])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    heavy = ("numpy", "onnxruntime", "PIL", "pyarrow", "ray", "rich", "torch")
    script = (
        "import sys; from vae_gen_cli.main import main; code = main(); "
        f"print('imported', [name for name in {heavy} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=True, text=True)
    assert done.stdout.endswith("imported []\n")
    assert "vae-gen" in done.stdout


def test_memory_does_not_grow_with_the_number_of_pictures(tiny_model_folder: Path, tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process's own memory is read from Linux's /proc")  # getrusage counts its parent's
    script = (
        "import re, sys; from vae_gen_cli.main import main; code = main(); "
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]); sys.exit(code)"
    )

    def peak(count: int, output: str) -> int:
        arguments = ["sample", "-n", str(count), "--seed", "1", "-o", output, "--model", str(tiny_model_folder)]
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, check=True, text=True, cwd=tmp_path
        )
        return int(done.stdout) * 1024

    small = peak(2_000, "small.npz")
    for output in ("large.npy", "large.npz"):  # 78 MB of pictures
        assert peak(100_000, output) < min(small + 25_000_000, 300_000_000)
    assert np.load(tmp_path / "large.npy", mmap_mode="r").shape == (100_000, 1, 28, 28)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_pictures_are_not_printed_on_a_terminal(tiny_model_folder: Path) -> None:
    main_end, terminal = os.openpty()
    done = subprocess.run(
        command("sample", "-o", "-", "--model", tiny_model_folder), stdout=terminal, stderr=subprocess.PIPE, check=False
    )
    os.close(terminal)
    os.close(main_end)
    assert done.returncode == 2
    assert done.stderr == b"vae-gen: expected a file or a pipe for png data, got a terminal; name a file with -o\n"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_progress_shows_only_on_a_terminal_and_only_after_some_time(tiny_model_folder: Path, tmp_path: Path) -> None:
    import threading

    received: dict[float, bytes] = {}
    for seconds in (1e9, -1.0):
        main_end, terminal = os.openpty()
        chunks: list[bytes] = []

        def drain(end: int = main_end, into: list[bytes] = chunks) -> None:
            try:
                while data := os.read(end, 65_536):
                    into.append(data)
            except OSError:
                pass  # Linux's word for the other end being closed

        reader = threading.Thread(target=drain)
        reader.start()
        arguments = ("sample", "-n", "100", "--seed", "1", "-o", "a.npy", "--model", str(tiny_model_folder))
        code = f"from vae_gen_cli import output; output.PROGRESS_AFTER = {seconds}; {RUN}"
        subprocess.run([sys.executable, "-c", code, *arguments], stderr=terminal, check=True, cwd=tmp_path)
        os.close(terminal)
        reader.join(timeout=10)
        os.close(main_end)
        received[seconds] = b"".join(chunks)
    assert received[1e9] == "100 pictures of seed 1 → a.npy\r\n".encode()
    assert b"pictures" in received[-1.0].split(b"100 pictures")[0]


@pytest.mark.parametrize("module", ["vae_gen", "vae_gen_cli"])
def test_the_command_line_also_runs_as_a_module(module: str, tmp_path: Path) -> None:
    words = [sys.executable, "-P", "-m", module, "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert re.fullmatch(r"vae-gen [\d.]+\n", done.stdout)
    assert subprocess.run([*words[:-1], "nonsense"], stderr=subprocess.DEVNULL, check=False).returncode == 2


NOISY = """
import os, sys
class Noise:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            os.write(2, b"[W:onnxruntime:Default] GPU device discovery failed")
sys.meta_path.insert(0, Noise())
"""


@pytest.mark.parametrize("line", ["sample -q -o a.png", "verify -q", "decode z.npy -q", "install model -q"])
def test_what_onnxruntime_prints_while_it_is_imported_is_dropped(
    tiny_model_folder: Path, tmp_path: Path, line: str
) -> None:
    np.save(tmp_path / "z.npy", np.zeros((2, 12), np.float32))
    (tmp_path / "model").symlink_to(tiny_model_folder)
    arguments = line.split() + ([] if "install" in line else ["--model", str(tiny_model_folder)])
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path)}
    words = [sys.executable, "-c", NOISY + RUN, *arguments]
    done = subprocess.run(words, capture_output=True, check=False, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
