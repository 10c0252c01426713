"""`vae-gen directions`: the directions of the latent space with a measured meaning, and traversals along them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vae_gen import UsageError

from . import options
from .output import Console, model_facts, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vae_gen import VAE, Direction, Manifest, Traversal

MOST_CLASSES = 3
"""Of how many classes the table has the names; of more it has the number."""


def directions(
    label: Annotated[
        str | None,
        typer.Option(
            "--label", metavar="CLASS", rich_help_panel=options.MAKE, show_default="all classes",
            autocompletion=options.complete_label,
            help="List the directions of one class, with what they do in it.",
        ),
    ] = None,
    model: options.Model = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """List the directions, each of which changes one attribute.

    The table has what each direction was measured to do from -1.5 to +1.5 standard deviations of its attribute within a
    class: the share of that way that the pictures went, the largest change of another attribute in its own standard
    deviations, the share of latents whose likeliest class is still theirs, and how steadily the attribute changes (a
    rank correlation). For several classes it has the lowest and the highest value.
    """
    from vae_gen import ModelFolder, find_model
    from vae_gen.internal.choice import find_label

    console = Console(as_json, quiet)
    folder = ModelFolder.open(find_model(model))
    manifest, found = folder.manifest, folder.read_directions()
    index = None if label is None else find_label(manifest.class_names, label)
    rows = [] if found is None else [_facts(one, manifest, index) for one in found.directions]
    rows = [row for row in rows if row["effects"]]
    if as_json:
        facts = {"command": "directions", "label": index, "directions": rows, "model": model_facts(manifest)}
        print(json.dumps(facts))
        return
    if not rows:
        reason = "; models that vae-export writes now do"
        if found is not None and index is not None:
            reason = f" for the class {manifest.class_names[index]}"
        console.message(f"{manifest.name} {manifest.version} has no directions{reason}")
        return
    table: list[tuple[str, ...]] = [("direction", "for", "reached", "others", "still its class", "steady")]
    table += [_line(row) for row in rows]
    widths = [max(len(line[at]) for line in table) for at in range(len(table[0]))]
    for line in table:
        print(printable("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()))


def _facts(direction: Direction, manifest: Manifest, label: int | None) -> dict[str, Any]:
    """A direction for JSON, with its effects in one class, or in all classes that it is for."""
    effects = [
        {
            "label": effect.label,
            "class": None if effect.label is None else manifest.class_names[effect.label],
            "reached": effect.reached,
            "others": effect.others,
            "moved_most": effect.moved_most,
            "kept": effect.kept,
            "monotone": effect.monotone,
        }
        for effect in direction.effects
        if label is None or effect.label in (None, label)
    ]
    return {"name": direction.name, "attribute": direction.attribute, "effects": effects}


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table for people."""
    effects = row["effects"]
    names = [effect["class"] or "all pictures" for effect in effects]
    suits = f"{len(names)} classes" if len(names) > MOST_CLASSES else ", ".join(names)
    shown = (_range([effect[key] for effect in effects]) for key in ("reached", "others", "kept", "monotone"))
    return (row["name"], suits, *shown)


def _range(values: Sequence[float | None]) -> str:
    """The lowest and the highest of the values that there are."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    low, high = f"{min(known):.2f}", f"{max(known):.2f}"
    return low if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Found:
    """Directions for the rows of a traversal."""

    rows: tuple[Direction, ...]
    limits: tuple[tuple[float, float], ...]
    """the lowest and the highest position of each row"""
    label: int | None
    """the class within which they go; None for a model without classes, or with too many for directions of each"""


def find_directions(vae: VAE, words: Sequence[str], latent: NDArray[np.float32], label: int | None) -> Found:
    """The directions that a user names, for a latent.

    Args:
        vae: the model.
        words: a name, or a beginning of it that fits no other one, for each.
        latent: float32 [dimensions].
        label: the class of the latent; None for the most likely one.

    Raises:
        UsageError: the model has no directions, or none of this name for the class; the error lists those that it has.
    """
    if not vae.directions:
        name = f"{vae.manifest.name} {vae.manifest.version}"
        raise UsageError(f"expected a model with directions for --along, got {name} without any; leave --along out")
    known, _, labels, _ = vae._measured(latent, label)
    label = int(labels[0]) if len(known.field.middles) > 1 and vae.class_names else None
    rows = tuple(known.find(word, label, vae.class_names) for word in words)
    return Found(rows, tuple(known.limits(row, label) for row in rows), label)


def traverse_along(
    vae: VAE,
    found: Found,
    latent: NDArray[np.float32],
    span: float,
    steps: int,
    noise: NDArray[np.float32] | None,
    detail: bool | None,
    fade: bool,
) -> Traversal:
    """Pictures along directions from a latent, in equal steps.

    A row ends where hardly any picture of the class goes further, also if the span is larger.

    Args:
        vae: the model.
        found: the directions of the rows.
        latent: float32 [dimensions].
        span: the attribute goes from -span to +span standard deviations within the class.
        steps: the number of pictures in a row.
        noise: as in `VAE.traverse`.
        detail: as in `VAE.traverse`.
        fade: as in `VAE.traverse`.

    Returns:
        A traversal whose values are the positions, float32 [rows, steps]. Its `dimensions` count the rows.
    """
    import numpy as np

    from vae_gen import Traversal
    from vae_gen.internal.paths import check_span

    check_span(span)
    ends = [(min(max(-span, low), high), max(min(span, high), low)) for low, high in found.limits]
    positions = np.array([np.linspace(first, last, steps) for first, last in ends])
    start = np.tile(latent, (steps, 1))
    moved = [vae.move(start, row.name, positions[at], label=found.label) for at, row in enumerate(found.rows)]
    latents = np.stack(moved)
    images = vae._decode_path(latents, noise, detail, fade)
    return Traversal(images, latents, tuple(range(len(found.rows))), positions.astype(np.float32))
