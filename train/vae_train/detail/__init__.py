"""The detail stage: a decoder with noise that draws what the latent cannot hold, and its adversarial training."""
