"""The place of a model folder: whether it is free, or holds a model that may be replaced.

This module does not import PyTorch, so that `vae-export` answers in its first second.
"""

from __future__ import annotations

from pathlib import Path

from vae_gen import Manifest, ModelError, OutputError, UsageError
from vae_gen.internal.files import check_folder_can_be_made, remove_leftovers


def check_place(out: Path, *, force: bool) -> None:
    """Checks that a model folder can be written, before minutes are spent on its content.

    Args:
        out: the folder.
        force: whether a model that is there may be replaced.

    Raises:
        UsageError: a model is there, and `force` is false.
        OutputError: `out` holds other files, or cannot be written.
    """
    remove_leftovers(out.resolve())
    if out.is_dir() and any(out.iterdir()):
        refuse_strangers(out)
        if not force:
            raise UsageError(
                f"expected a new folder, got {out}, which holds a model; add --force to replace it, or choose another "
                "--out"
            )
    check_folder_can_be_made(out)


def refuse_strangers(folder: Path, name: Path | None = None) -> None:
    """Refuses to replace a folder that holds anything but a model which vae-export wrote.

    Args:
        folder: where the folder is.
        name: where it was before it was moved out of the way, for the error.

    Raises:
        OutputError: the folder holds other files.
    """
    try:
        manifest = Manifest.parse((folder / "manifest.json").read_bytes())
        own = {"manifest.json", *manifest.other_files, *(graph.file for graph in manifest.graphs.values())}
    except (OSError, ModelError):  # other programs have a manifest.json, too
        own = set()
    strangers = sorted({entry.name for entry in folder.iterdir()} - own)
    if strangers:
        raise OutputError(
            f"cannot write {name or folder}: expected a model folder or an empty one there, found {strangers[0]}; "
            "choose another --out"
        )
