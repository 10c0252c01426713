"""From recipes and runs of pictures to files: what the commands that make pictures have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, Pictures

from .bulk import Bulk, write_array, write_folder
from .console import Console, Progress
from .frames import Frames, encode, grid_frames
from .metadata import make_note
from .recipe import Recipe
from .targets import FOLDER, Target

PREVIEW = 50
"""Pictures in the preview of what is no drawing."""


def draw(recipe: Recipe, model: VAE, target: Target, *, show: bool = False) -> Frames:
    """Choice a recipe into its target, with all of it in the text chunk of a PNG."""
    recipe.check(model.manifest, target.format)
    model.open(*recipe.graphs(model.manifest))  # so that their errors come before any work
    with target.open() as file:
        frames = recipe.frames(model)
        file.write(encode(frames, target.format, make_note(recipe.command, recipe.choices(), model.manifest)))
    if show:
        preview(frames)
    return frames


def preview(frames: Frames) -> None:
    """Show the first frame in the terminal."""
    from .preview import show

    show(frames.images[0])


def write_bulk(
    target: Target, bulk: Bulk, scale: int, note: Callable[[int], str | None], console: Console, *, show: bool
) -> None:
    """Write any number of pictures to an array or a folder, with progress where it takes long.

    Args:
        target: .npy, .npz or a folder.
        bulk: the pictures.
        scale: of the pictures in a folder.
        note: the text chunk for an index, in a folder.
        console: where progress shows.
        show: preview the first ones.
    """
    first: list[NDArray[Any]] = []
    with console.progress(bulk.count) as progress:
        watched = replace(bulk, chunks=_watched(bulk, progress, first))
        if target.format == FOLDER:
            write_folder(target, watched, scale, note)
        else:
            write_array(target, watched)
    if show:
        images = first[0][:PREVIEW]
        levels = images if images.dtype == np.uint8 else Pictures(images, np.zeros(0, np.float32)).grey_levels()
        preview(grid_frames(levels, 10, 1))


def _watched(bulk: Bulk, progress: Progress, first: list[NDArray[Any]]) -> Iterator[Pictures]:
    for chunk in bulk.chunks:
        if not first:
            first.append(chunk.images)
        yield chunk
        progress.advance(len(chunk))
