"""The weights of the shipped models as run folders. Those that `vae-train --init` finds by name travel in the wheel."""
