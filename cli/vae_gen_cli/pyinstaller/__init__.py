"""The hooks that tell PyInstaller what an app that uses vae-gen needs; PyInstaller finds them by an entry point."""

from __future__ import annotations


def hook_dirs() -> list[str]:
    """The folders with hooks: this one."""
    return list(__path__)
