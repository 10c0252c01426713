"""How far a reader has to walk: the files and the function calls behind one grid of pictures.

Everything counts that runs in a file of ours after the imports at its top level, in a process of its own. Before the
library and the command line were put into rooms, there were 25 files, and 15 calls above `session.run`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

MOST_FILES = 12
MOST_CALLS = 9

WALK = """
import json, sys

ours = tuple(sys.argv[1:3])
files, longest = set(), []

def is_ours(frame):
    return frame.f_code.co_filename.startswith(ours) and frame.f_code.co_name != "<module>"

def watch(frame, event, _):
    global longest
    if event != "call":
        return
    if is_ours(frame):
        files.add(frame.f_code.co_filename)
    if frame.f_code.co_name == "run" and "onnxruntime" in frame.f_code.co_filename:
        above, caller = [], frame.f_back
        while caller is not None:
            above += [caller.f_code.co_name] if is_ours(caller) else []
            caller = caller.f_back
        longest = max(longest, above, key=len)

from vae_gen_cli.main import main
sys.argv = ["vae-gen", "sample", "-n", "50", "--seed", "7", "-o", sys.argv[3], "--quiet"]
sys.setprofile(watch)
code = main()
sys.setprofile(None)
print(json.dumps({"code": code, "files": sorted(files), "calls": longest[::-1]}))
"""


def test_a_grid_of_samples_passes_few_files_and_few_calls(tmp_path: Path) -> None:
    places = [str(ROOT / "runtime"), str(ROOT / "cli")]
    command = [sys.executable, "-c", WALK, *places, str(tmp_path / "x.png")]
    walked = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    files = [str(Path(file).relative_to(ROOT)) for file in walked["files"]]
    assert walked["code"] == 0
    assert (tmp_path / "x.png").exists()
    assert {"runtime/vae_gen/_vae.py", "cli/vae_gen_cli/sample.py"} < set(files)
    assert len(files) <= MOST_FILES, "\n".join(files)
    assert walked["calls"][0] == "main"
    assert len(walked["calls"]) <= MOST_CALLS, "\n".join(walked["calls"])
