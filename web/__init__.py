"""The playground's page as package data: what `vae-gen play` serves."""
