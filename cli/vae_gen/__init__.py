"""The command line `vae-gen`: flags to calls, pictures to files, errors to exit codes (see docs/cli.md)."""

__version__ = "0.1.0"
"""Of the distribution, which takes it from here: looking it up in the installation costs 20 ms."""
