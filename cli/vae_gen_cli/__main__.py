"""`python -m vae_gen_cli` runs the command line `vae-gen`."""

from .main import run

if __name__ == "__main__":
    run()
