"""`vae-gen info`: a description of the model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .output import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vae_gen import ModelFolder

LONGEST_BAR_NATS = 9
"""A longer bar would not fit on a line; trained models have at most 4 nats in a dimension."""


def info(
    model: options.Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole manifest as JSON.")] = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Describe the model.

    The description is a summary of the model's manifest: classes, picture size, priors, latent dimensions and graphs.
    With --json the whole manifest is printed.
    """
    from vae_gen import ModelFolder, find_model

    folder = ModelFolder.open(find_model(model))
    if as_json:
        print(json.dumps(folder.manifest.document))
        return
    for key, value in _facts(folder):
        print(printable(f"{key:12}  {value}"))


def _facts(folder: ModelFolder) -> Iterator[tuple[str, str]]:
    manifest = folder.manifest
    yield "model", f"{manifest.name}, version {manifest.version}"
    yield "licence", manifest.licence
    data = manifest.document.get("data")
    if isinstance(data, dict):
        yield "data", f"{data.get('name')}, licence: {data.get('licence')}"
    yield "folder", str(folder.path)
    yield "pictures", " × ".join(map(str, manifest.image.shape)) + " (channels, height, width)"
    prepared = manifest.image.preparation
    inverted = ", inverted if the border is bright" if prepared.invert_bright else ""
    trimmed = ", trimmed to the object on a plain ground" if prepared.fill is not None else ""
    yield "preparation", f"{prepared.fit}, on {prepared.background}{inverted}{trimmed}"
    if manifest.class_names:
        yield "classes", ", ".join(manifest.class_names)
    yield "latent", f"{manifest.latent.dimensions} dimensions, {sum(manifest.latent.kl_nats):.2f} nats in all"
    if manifest.has_fitted_prior:
        sizes = folder.read_prior().sizes
        kinds = f"{len(sizes)} classes" if manifest.class_names else "all data"
        yield "priors", f"normal, fitted ({sum(sizes)} Gaussians for {kinds})"
        details = "" if manifest.detail is None else f", {'with' if manifest.details_by_default else 'without'} details"
        yield "default", f"the {manifest.latent.default_prior} prior{details}"
    else:
        yield "priors", "normal"
    for row in manifest.latent.order:
        kl = manifest.latent.kl_nats[row]
        yield f"  z{row}", f"{kl:5.2f} nats  {'#' * round(10 * min(max(kl, 0), LONGEST_BAR_NATS))}"
    for name, graph in manifest.graphs.items():
        yield name, f"{graph.file}, {graph.bytes:,} bytes, opset {graph.opset}, sha256 {graph.sha256[:12]}…"
    yield "seeds", f"contract version {manifest.seed_contract_version}"
