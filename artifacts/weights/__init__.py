"""The weights of the shipped models as run folders. The wheel has those that `vae-train --init NAME` can begin with."""
