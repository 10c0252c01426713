"""The examples that `vae-gen kit` copies, as package data; docs/embedding.md describes them."""
