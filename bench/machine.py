"""The machine, the versions and the commit that are measured, for the head of the page."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
REFERENCE, DEFAULT = "fashion-mnist-12d-reference", "fashion-mnist-12d"

LIBRARIES = ("numpy", "onnxruntime", "pillow", "typer", "rich", "onnx", "torch", "torchvision", "openvino")
UNITS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")
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
    units = " ".join(name for name in UNITS if name in flags())
    facts = {"processor": processor(), "cores": str(cores()), "instructions": units}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB"
    facts |= {"system": f"{platform.system()} {platform.release()}", "python": platform.python_version()}
    return {name: value for name, value in (facts | found).items() if value}


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
