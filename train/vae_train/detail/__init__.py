"""The detail stage: a second decoder, which takes noise besides the latent, and its adversarial training."""
