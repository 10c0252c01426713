"""The playground's page as package data, which `vae-gen play` serves."""
