"""The machine, the versions and the commit that are measured, for the head of the page."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
REFERENCE, DEFAULT = "fashion-mnist-12d-reference", "fashion-mnist-12d"

LIBRARIES = ("numpy", "onnxruntime", "pillow", "typer", "rich", "onnx", "torch", "torchvision", "openvino")
UNITS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}
"""The sets of vector instructions, the widest first."""
MATRICES = {"avx512_bf16": "bf16", "bf16": "bf16", "amx_bf16": "AMX", "amx_int8": "AMX"}
"""The instructions for matrix products with which libraries may be much faster."""
MEASURED = ("artifacts", "cli", "export", "runtime", "train", "bench/*.py", "pyproject.toml")
"""The files that a measurement depends on. A change in one of them is noted beside the commit."""


def cores() -> int:
    """The number of processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def named(threads: int) -> str:
    """A number of threads with its noun: "1 thread", "2 threads"."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


def head() -> dict[str, str]:
    """The machine and the versions of the libraries that are installed."""
    found = {name: version for name in LIBRARIES if (version := version_of(name))}
    if gpu := version_of("onnxruntime-gpu"):
        found["onnxruntime"] = gpu
    units = " ".join(name for name in UNITS if name in flags())
    facts = {"processor": processor(), "cores": str(cores()), "instructions": units}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB"
    facts |= {"system": f"{platform.system()} {platform.release()}", "python": platform.python_version()}
    return {name: value for name, value in (facts | found).items() if value}


def machine_line(facts: Mapping[str, str] | None = None) -> str:
    """The line of every table: the processor, its vector instructions, the cores, and the version of ONNX Runtime.

    Args:
        facts: what `head` returned where the table was measured; None stands for this machine.

    >>> machine_line({"processor": "EPYC", "cores": "2", "instructions": "avx2 avx512f", "onnxruntime": "1.32.0"})
    'Measured on EPYC, AVX-512, 2 cores, ONNX Runtime 1.32.0.'
    """
    facts = head() if facts is None else facts
    units = facts.get("instructions", "").split()
    vectors = next((name for unit, name in VECTORS.items() if unit in units), "unknown vector instructions")
    matrices = " and ".join(dict.fromkeys(name for unit, name in MATRICES.items() if unit in units))
    return (
        f"Measured on {facts['processor']}, {vectors}{f' with {matrices}' if matrices else ''}, {facts['cores']} "
        f"core{'s' if facts['cores'] != '1' else ''}, ONNX Runtime {facts.get('onnxruntime', 'not installed')}."
    )


def version_of(name: str) -> str | None:
    """The version of a library; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The name of the processor."""
    return next(iter(_cpuinfo("model name")), platform.processor() or platform.machine())


def flags() -> set[str]:
    """The features of the processor that Linux lists; empty on other systems."""
    return set(" ".join([*_cpuinfo("flags")[:1], *_cpuinfo("Features")[:1]]).split())


def has_bf16() -> bool:
    """Whether the processor has instructions for bfloat16."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & flags())


def commit() -> str:
    """The commit that is measured, with a note if files differ from it."""
    try:
        short = _git("rev-parse", "--short=10", "HEAD")
        return short + (" with changes" if _git("status", "--porcelain", "-uno", "--", *MEASURED) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=HERE.parent, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _cpuinfo(name: str) -> list[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name]
