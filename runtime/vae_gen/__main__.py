"""`python -m vae_gen` runs the command line `vae-gen`.

The library never imports the command line. This file finds it by its entry point, which keeps the library free of the
import, and prints one plain sentence if the command line is not installed.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points


def main() -> None:
    """Runs the command line on this process's arguments and ends the process with its exit code."""
    for entry_point in entry_points(group="console_scripts", name="vae-gen"):
        sys.exit(entry_point.load()())
    sys.exit("vae-gen: expected the command line to be installed, found only the library; pip install vae-gen again")


if __name__ == "__main__":
    main()
