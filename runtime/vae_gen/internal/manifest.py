"""manifest.json as frozen values: everything a program needs to know of a model, checked once, when it is read.

docs/model-folder.md describes the file key by key. Keys that are not known here are left alone, so that a
later version of the schema can add some.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .._errors import ModelError
from .files import Json

CONTRACT_VERSION = 1
"""Of the seed contract (docs/seed-contract.md)."""

SCHEMA_VERSION = 1
GRAPH_NAMES = ("encoder", "decoder", "generator")
"""Those that every folder has; `latents` is there where a prior was fitted, `detail` where a detail stage was trained.
"""
PRIOR_FILE = "prior.json"
"""The tables of the fitted prior, where there is one."""

Prior = Literal["normal", "fitted"]
"""What latents are drawn from: N(0, I), or the density fitted to the posteriors of real images."""

ADVICE = "copy or export the model folder again"
"""What to do about a broken file of a model folder."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph: its name, its dtype as NumPy spells it, its axes (a word where it is dynamic)."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True)
class GraphFile:
    """One ONNX file of the folder."""

    file: str
    sha256: str
    bytes: int
    opset: int
    ir_version: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class ImageSpec:
    """The pictures: float32 [channels, height, width] with values in [0, 1]."""

    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class LatentSpec:
    """The latent space: its width, the KL of each dimension in nats on the test set, and the order by it."""

    dimensions: int
    kl_nats: tuple[float, ...]
    order: tuple[int, ...]
    """Dimensions from the one that says most (highest KL) to the one that says least."""
    default_prior: Prior = "normal"
    """What `generator.onnx` and a sample without further choices draw from."""


@dataclass(frozen=True)
class DetailSpec:
    """The detail stage: a decoder that takes noise besides the latent."""

    noise: int
    """how many numbers a picture takes; N(0, I)"""
    class_shift: float
    """what is added to the noise at the number of the picture's class"""
    default: bool
    """whether `generator.onnx` and a sample without further choices use it"""


@dataclass(frozen=True)
class Manifest:
    """What manifest.json says, with the whole document beside it in `document`."""

    name: str
    version: str
    licence: str
    image: ImageSpec
    latent: LatentSpec
    class_names: tuple[str, ...]
    graphs: Mapping[str, GraphFile]
    other_files: Mapping[str, tuple[str, int]]
    """Files that are no graphs: name → (sha256, bytes)."""
    seed_contract_version: int
    detail: DetailSpec | None
    """None for a model without a detail stage"""
    document: Mapping[str, Any]

    @property
    def has_fitted_prior(self) -> bool:
        """Whether the folder has `latents.onnx` and its tables."""
        return "latents" in self.graphs

    @property
    def details_by_default(self) -> bool:
        """Whether samples come out of the detail stage unless told otherwise."""
        return self.detail is not None and self.detail.default

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the decoder graph, hexadecimal: what the pictures depend on, beside the seed contract."""
        return self.graphs["decoder"].sha256

    @classmethod
    def parse(cls, text: str | bytes, where: str = "manifest.json") -> Manifest:
        """The manifest in a JSON text.

        Raises:
            ModelError: not JSON, or a key that is missing or holds something else; names key, expected and found.
        """
        return _manifest(Json.parse(text, where, ModelError, ADVICE))


def essentials(document: Mapping[str, Any]) -> dict[str, str]:
    """What each graph repeats of the manifest in its `metadata_props`: texts, and JSON for what is none.

    Args:
        document: a manifest, or at least its model, image, latent, class_names, seed_contract and perhaps detail.
    """
    model = document["model"]
    detail = {"detail": json.dumps(document["detail"], sort_keys=True)} if "detail" in document else {}
    return {
        **detail,
        "model": model["name"],
        "version": model["version"],
        "licence": model["licence"],
        "image": json.dumps(document["image"], sort_keys=True),
        "latent": json.dumps(document["latent"], sort_keys=True),
        "class_names": json.dumps(document["class_names"]),
        "seed_contract_version": str(document["seed_contract"]["version"]),
    }


def _sha256(node: Json) -> str:
    text = node.text()
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise node.wrong("a SHA-256 of 64 hexadecimal digits")
    return text


def _file_name(node: Json) -> str:
    text = node.text()
    # A manifest from elsewhere must not make us open a file outside its folder.
    if text in (".", "..") or set(text) & set("/\\:\0"):
        raise node.wrong("the plain name of a file in the folder")
    return text


def _manifest(root: Json) -> Manifest:
    schema = root["schema_version"].whole(1)
    if schema > SCHEMA_VERSION:
        raise ModelError(
            f"{root.where}: expected schema version {SCHEMA_VERSION}, found {schema}; upgrade vae-gen to read it"
        )
    contract = root["seed_contract"]["version"].whole(1)
    if contract != CONTRACT_VERSION:  # its pictures would be other ones than the same numbers give here
        raise ModelError(
            f"{root.where}: expected seed contract {CONTRACT_VERSION}, found {contract}; upgrade vae-gen to use it"
        )
    image, latent = _image(root["image"]), _latent(root["latent"])
    graphs = {name: _graph(root["graphs"][name]) for name in GRAPH_NAMES}
    graphs |= {name: _graph(node) for name, node in root["graphs"].entries().items() if name not in graphs}
    detail = _detail(root) if "detail" in root else None
    if (detail is None) != ("detail" not in graphs):
        raise root["graphs"].wrong("a graph called detail where detail is described, and only there")
    for name, signature in contract_signatures(image, latent, detail).items():
        if name not in graphs:
            continue
        found = (graphs[name].inputs, graphs[name].outputs)
        if found != signature:
            raise root["graphs"][name].wrong(f"the inputs and outputs {_text(signature)} that image and latent imply")
    _ = root["files"]["golden.json"]  # without its hash, it would not be verified
    if "latents" in graphs:
        _ = root["files"][PRIOR_FILE]
    elif latent.default_prior == "fitted":
        raise root["latent"]["default_prior"].wrong("normal, because graphs has no latents")
    return Manifest(
        name=root["model"]["name"].text(),
        version=root["model"]["version"].text(),
        licence=root["model"]["licence"].text(),
        image=image,
        latent=latent,
        class_names=root["class_names"].items(Json.text),
        graphs=graphs,
        other_files={
            _file_name(replace(node, value=name)): (_sha256(node["sha256"]), node["bytes"].whole())
            for name, node in root["files"].entries().items()
        },
        seed_contract_version=contract,
        detail=detail,
        document=root.mapping(),
    )


def contract_signatures(
    image: ImageSpec, latent: LatentSpec, detail: DetailSpec | None = None
) -> dict[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]]:
    """Inputs and outputs that each graph must have for such images, latents and noise."""

    def floats(name: str, axis: str, *rest: int) -> TensorSpec:
        return TensorSpec(name, "float32", (axis, *rest))

    batch_image, batch_latent = floats("image", "batch", *image.shape), floats("latent", "batch", latent.dimensions)
    codes = tuple(floats(name, "batch", latent.dimensions) for name in ("mean", "log_variance"))
    scalars = tuple(TensorSpec(name, "int64", ()) for name in ("seed", "start", "count", "prior", "label"))
    drawn, labels = floats("latent", "count", latent.dimensions), TensorSpec("labels", "int64", ("count",))
    chosen: tuple[TensorSpec, ...] = (drawn, labels)
    signatures: dict[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]] = {
        "encoder": ((batch_image,), codes),
        "decoder": ((batch_latent,), (batch_image,)),
        "generator": (scalars[:3], (floats("image", "count", *image.shape), drawn)),
    }
    if detail is not None:
        chosen = (*chosen, floats("noise", "count", detail.noise))
        signatures["detail"] = ((batch_latent, floats("noise", "batch", detail.noise)), (batch_image,))
    signatures["latents"] = ((*scalars, TensorSpec("temperature", "float32", ())), chosen)
    return signatures


def _text(signature: tuple[tuple[TensorSpec, ...], ...]) -> str:
    return " → ".join(", ".join(f"{spec.name} {list(spec.shape)}" for spec in side) for side in signature)


def _image(node: Json) -> ImageSpec:
    if node["range"].items(Json.number) != (0.0, 1.0):
        raise node["range"].wrong("[0, 1]")
    return ImageSpec(node["channels"].whole(1), node["height"].whole(1), node["width"].whole(1))


def _latent(node: Json) -> LatentSpec:
    dimensions = node["dimensions"].whole(1)
    kl, order = node["kl_nats"].items(Json.number), node["order"].items(Json.whole)
    if len(kl) != dimensions:
        raise node["kl_nats"].wrong(f"{dimensions} numbers")
    if sorted(order) != list(range(dimensions)):
        raise node["order"].wrong(f"each of 0 to {dimensions - 1} once")
    if any(kl[before] < kl[after] for before, after in itertools.pairwise(order)):
        raise node["order"].wrong("the dimensions from the highest of kl_nats to the lowest")
    default: Prior = "normal"
    if "default_prior" in node:  # older folders had no other
        default = "fitted" if node["default_prior"].one_of("normal", "fitted") == "fitted" else "normal"
    return LatentSpec(dimensions, kl, order, default)


def _detail(root: Json) -> DetailSpec:
    node = root["detail"]
    if "latents" not in root["graphs"]:
        raise node.wrong("nothing, because graphs has no latents to give its noise")
    spec = DetailSpec(node["noise"].whole(1), node["class_shift"].number(), node["default"].flag())
    if len(root["class_names"].items(Json.text)) > spec.noise:
        raise node["noise"].wrong("at least as many numbers as there are class_names")
    return spec


def _graph(node: Json) -> GraphFile:
    return GraphFile(
        file=_file_name(node["file"]),
        sha256=_sha256(node["sha256"]),
        bytes=node["bytes"].whole(1),
        opset=node["opset"].whole(1),
        ir_version=node["ir_version"].whole(1),
        inputs=node["inputs"].items(_tensor),
        outputs=node["outputs"].items(_tensor),
    )


def _tensor(node: Json) -> TensorSpec:
    return TensorSpec(node["name"].text(), node["dtype"].text(), node["shape"].items(_axis))


def _axis(node: Json) -> str | int:
    return node.text() if isinstance(node.value, str) else node.whole(1)
