"""`python -m vae_train` is `vae-train`, so that `torchrun -m vae_train` can start it."""

from __future__ import annotations

import sys

from .train_command import main

if __name__ == "__main__":
    sys.exit(main())
