"""How far a reader has to walk: the files and the function calls behind one grid of pictures.

Only functions count: the bodies of modules and classes run when they are imported. Before the library and the command
line were put into rooms, it was 25 files and 15 calls.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from vae_gen_cli.main import main

ROOT = Path(__file__).parents[1]
OURS = tuple(str(ROOT / package) for package in ("runtime", "cli"))

MOST_FILES = 20
MOST_CALLS = 10


def test_a_grid_of_samples_passes_few_files_and_few_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: set[str] = set()
    longest: list[str] = []

    def is_ours(frame: FrameType) -> bool:
        code = frame.f_code
        return code.co_filename.startswith(OURS) and bool(code.co_flags & inspect.CO_OPTIMIZED)  # a function's code

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal longest
        if event != "call":
            return
        if is_ours(frame):
            files.add(frame.f_code.co_filename)
        if frame.f_code.co_name == "run" and "onnxruntime" in frame.f_code.co_filename:
            above: list[str] = []
            caller = frame.f_back
            while caller is not None:
                above += [f"{Path(caller.f_code.co_filename).name} {caller.f_code.co_name}"] if is_ours(caller) else []
                caller = caller.f_back
            longest = max(longest, above, key=len)

    monkeypatch.setattr(sys, "argv", ["vae-gen", "sample", "-n", "50", "--seed", "7", "-o", str(tmp_path / "x.png")])
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        code = main()
    finally:
        sys.setprofile(before)
    assert code == 0
    names = sorted(str(Path(file).relative_to(ROOT)) for file in files)
    assert 0 < len(longest) <= MOST_CALLS, " > ".join(reversed(longest))
    assert 0 < len(names) <= MOST_FILES, ", ".join(names)
