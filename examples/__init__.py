"""The examples that `vae-gen kit` copies, as package data (see docs/embedding.md)."""
