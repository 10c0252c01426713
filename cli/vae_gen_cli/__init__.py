"""The command line `vae-gen`: flags to calls, pictures to files, errors to exit codes (see docs/cli.md)."""
