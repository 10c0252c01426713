"""manifest.json as frozen values: the description of a model, checked once, when it is read.

docs/model-folder.md describes the file key by key. Unknown keys are ignored, so that a later version of the schema can
add some.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .._errors import ModelError
from .files import Json

CONTRACT_VERSION = 1
"""The version of the seed contract (docs/seed-contract.md) that this library implements."""

SCHEMA_VERSION = 1
"""The newest version of manifest.json that this library reads."""

GRAPH_NAMES = ("encoder", "decoder", "generator")
"""The graphs of every model. A model with a fitted prior also has `latents`, and one with a detail stage `detail`."""

LARGEST_SIDE, LARGEST_IMAGE = 4096, 1 << 23
"""The longest axis of images, latents and noise, and the most numbers in an image. No trained model comes near."""

GOLDEN_FILE = "golden.json"
"""The file of the golden vectors."""

PRIOR_FILE = "prior.json"
"""The file with the tables of the fitted prior, in a model that has one."""

DIRECTIONS_FILE = "directions.json"
"""The file with directions of a measured meaning, in a model that has them."""

Prior = Literal["normal", "fitted"]
"""The distribution that latents are drawn from: N(0, I), or the density fitted to the latents of real images."""

ADVICE = "copy or export the model folder again"
"""The end of each error about a file of a model folder."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph."""

    name: str
    dtype: str
    """as NumPy spells it: "float32" or "int64\""""
    shape: tuple[str | int, ...]
    """the length of each axis; a word such as "batch" for an axis of any length"""


@dataclass(frozen=True)
class GraphFile:
    """One ONNX file of a model folder."""

    file: str
    """its name within the folder"""
    sha256: str
    """64 hexadecimal digits"""
    bytes: int
    """its size"""
    opset: int
    """the version of ONNX's operators that it uses"""
    ir_version: int
    """the version of ONNX's file format"""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255)}


@dataclass(frozen=True)
class Preparation:
    """How the pictures that a model was trained on were prepared, so that other pictures can be prepared alike.

    The defaults are those of Fashion-MNIST, and of folders that were written before this was recorded.
    """

    fit: str = "pad"
    """how pictures of another shape were fitted: pad, crop or stretch"""
    background: str = "black"
    """the colour behind transparent pixels and around padded pictures: black, white or #rrggbb"""
    invert_bright: bool = True
    """whether a picture with a bright border should be inverted, because the pictures lie on a dark ground"""
    fill: float | None = 1.0
    """the share of the frame that the longer side of each picture's object takes, in the middle of a plain ground; None
    if the pictures have no such object, so that pictures must not be trimmed"""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The background as red, green and blue."""
        text = self.background
        return COLOURS.get(text) or (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))


@dataclass(frozen=True)
class Familiar:
    """The limits of two measures between which nearly all test images lie. A picture outside is unlike them."""

    nats_per_pixel: tuple[float, float]
    """the lowest and the highest loss (see `VAE.losses`), divided by channels × height × width"""
    unexplained: float
    """the largest share of a picture's variation that its reconstruction misses"""


@dataclass(frozen=True)
class ImageSpec:
    """The size of a model's images, which are float32 [channels, height, width] with values in [0, 1]."""

    channels: int
    height: int
    width: int
    preparation: Preparation = Preparation()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class LatentSpec:
    """The latent space of a model."""

    dimensions: int
    """the number of latent dimensions"""
    kl_nats: tuple[float, ...]
    """the KL divergence of each dimension in nats, on average over the test set: the information that it carries"""
    order: tuple[int, ...]
    """the dimensions, the one with the highest KL first"""
    default_prior: Prior = "normal"
    """the prior of `generator.onnx`, and of samples whose prior was not chosen"""


@dataclass(frozen=True)
class DetailSpec:
    """The detail stage of a model: a second decoder, which takes noise besides the latent."""

    noise: int
    """k, the amount of noise: each picture takes k numbers from N(0, 1)"""
    class_shift: float
    """the number that is added to the noise at the position of the picture's class"""
    default: bool
    """whether `generator.onnx` and samples without a choice of detail use the detail stage"""


@dataclass(frozen=True)
class Manifest:
    """The description of a model, read from its manifest.json."""

    name: str
    version: str
    licence: str
    image: ImageSpec
    latent: LatentSpec
    class_names: tuple[str, ...]
    """the names of the classes in the order of their labels; empty for data without classes"""
    graphs: Mapping[str, GraphFile]
    """the ONNX files by the names of the graphs: encoder, decoder, generator, and perhaps latents, detail,
    generator.portable and latents.portable"""
    other_files: Mapping[str, tuple[str, int]]
    """the SHA-256 and the size in bytes of every other file, by its name"""
    seed_contract_version: int
    detail: DetailSpec | None
    """None for a model without a detail stage"""
    document: Mapping[str, Any]
    """the whole JSON document, with the keys that this library doesn't use"""
    pixel_variance: float | None = None
    """the variance of the Gaussian likelihood of pixels in [0, 1]; None for the Bernoulli likelihood"""
    familiar: Familiar | None = None
    """what the test images are like; None in a folder that was written before this was measured"""

    def __hash__(self) -> int:
        return hash((self.name, self.version, self.fingerprint))  # the other fields have dictionaries

    @property
    def file_names(self) -> tuple[str, ...]:
        """The names of all files of the model folder besides manifest.json."""
        return (*(graph.file for graph in self.graphs.values()), *self.other_files)

    @property
    def has_fitted_prior(self) -> bool:
        """Whether the model can sample from a fitted prior (its folder has latents.onnx and prior.json)."""
        return "latents" in self.graphs

    @property
    def details_by_default(self) -> bool:
        """Whether the detail stage makes the pictures unless the caller chooses otherwise."""
        return self.detail is not None and self.detail.default

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of decoder.onnx in hexadecimal digits, which identifies the model."""
        return self.graphs["decoder"].sha256

    @classmethod
    def parse(cls, text: str | bytes, where: str = "manifest.json") -> Manifest:
        """Reads the text of a manifest.json.

        Args:
            text: the content of the file.
            where: the file's name, for errors.

        Raises:
            ModelError: the text is not JSON, or a key is missing or has an impossible value; names the key, what was
                expected and what was found.

        >>> from vae_gen import find_model
        >>> Manifest.parse((find_model() / "manifest.json").read_bytes()).image.shape
        (1, 28, 28)
        """
        return _manifest(Json.parse(text, where, ModelError, ADVICE))


def essentials(document: Mapping[str, Any]) -> dict[str, str]:
    """The part of the manifest that every ONNX file repeats in its `metadata_props`.

    Args:
        document: a manifest, or at least its keys model, image, latent, class_names and seed_contract, and detail if
            the model has a detail stage.

    Returns:
        keys and texts; a value that is not a text is written as JSON.
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
    # A manifest from elsewhere must not make this program open a file outside the model folder.
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
    if contract != CONTRACT_VERSION:  # the same seed would make other pictures
        raise ModelError(
            f"{root.where}: expected seed contract {CONTRACT_VERSION}, found {contract}; upgrade vae-gen to use it"
        )
    image, latent = _image(root["image"], root), _latent(root["latent"])
    graphs = {name: _graph(root["graphs"][name]) for name in GRAPH_NAMES}
    graphs |= {name: _graph(node) for name, node in root["graphs"].entries().items() if name not in graphs}
    detail = _detail(root) if "detail" in root else None
    if (detail is None) != ("detail" not in graphs):
        raise root["graphs"].wrong("a graph called detail if, and only if, the key detail is there")
    for name, signature in contract_signatures(image, latent, detail).items():
        if name not in graphs:
            continue
        found = (graphs[name].inputs, graphs[name].outputs)
        if found != signature:
            raise root["graphs"][name].wrong(f"the inputs and outputs {_text(signature)} that image and latent imply")
    _ = root["files"]["golden.json"]  # must be there, because verify checks only files that are listed
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
        pixel_variance=_pixel_variance(root),
        familiar=_familiar(root),
    )


def contract_signatures(
    image: ImageSpec, latent: LatentSpec, detail: DetailSpec | None = None
) -> dict[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]]:
    """The inputs and outputs that each graph must have, by its name, for images, latents and noise of these sizes."""

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
    # The graphs for engines without 64-bit numbers: an index and a seed are four parts of 16 bits.
    numbers = (floats("index", "batch", 4), TensorSpec("seed", "float32", (1, 4)))
    choices = tuple(TensorSpec(name, "float32", (1,)) for name in ("prior", "label", "temperature"))
    signatures["generator.portable"] = (numbers, (batch_image, batch_latent))
    noise = () if detail is None else (floats("noise", "batch", detail.noise),)
    of_each = (batch_latent, TensorSpec("labels", "float32", ("batch",)), *noise)
    signatures["latents.portable"] = ((*numbers, *choices), of_each)
    return signatures


def _text(signature: tuple[tuple[TensorSpec, ...], ...]) -> str:
    return " → ".join(", ".join(f"{spec.name} {list(spec.shape)}" for spec in side) for side in signature)


def _image(node: Json, root: Json) -> ImageSpec:
    if node["range"].items(Json.number) != (0.0, 1.0):
        raise node["range"].wrong("[0, 1]")
    preparation = _preparation(root["preparation"]) if "preparation" in root else Preparation()
    channels, height, width = (node[name].whole(1, LARGEST_SIDE) for name in ("channels", "height", "width"))
    if channels * height * width > LARGEST_IMAGE:
        raise node.wrong(f"at most {LARGEST_IMAGE} numbers in an image")
    return ImageSpec(channels, height, width, preparation)


def _pixel_variance(root: Json) -> float | None:
    """The variance that was measured on the test images, for a model with a Gaussian likelihood."""
    if "likelihood" not in root or root["likelihood"].one_of("bernoulli", "gaussian") == "bernoulli":
        return None
    variance = root["metrics"]["test"]["pixel_variance"]
    if not variance.number() > 0:
        raise variance.wrong("a number above 0")
    return variance.number()


def _familiar(node: Json) -> Familiar | None:
    for key in ("metrics", "test", "familiar"):
        if key not in node:
            return None
        node = node[key]
    limits = node["nats_per_pixel"].items(Json.number)
    if len(limits) != 2 or limits[0] > limits[1]:
        raise node["nats_per_pixel"].wrong("the lowest and the highest number")
    return Familiar((limits[0], limits[1]), node["unexplained"].number(0))


def _preparation(node: Json) -> Preparation:
    fit, background = node["fit"], node["background"]
    if fit.text() not in ("pad", "crop", "stretch"):
        raise fit.wrong("pad, crop or stretch")
    if background.text() not in COLOURS and not re.fullmatch("#[0-9a-fA-F]{6}", background.text()):
        raise background.wrong("black, white or #rrggbb")
    fill = node["fill"].number(0, 1) if "fill" in node and node["fill"].value is not None else None
    if fill == 0:
        raise node["fill"].wrong("a number above 0, or null")
    return Preparation(fit.text(), background.text(), node["invert_bright"].flag(), fill)


def _latent(node: Json) -> LatentSpec:
    dimensions = node["dimensions"].whole(1, LARGEST_SIDE)
    kl, order = node["kl_nats"].items(Json.number), node["order"].items(Json.whole)
    if len(kl) != dimensions:
        raise node["kl_nats"].wrong(f"{dimensions} numbers")
    if sorted(order) != list(range(dimensions)):
        raise node["order"].wrong(f"each of 0 to {dimensions - 1} once")
    if any(kl[before] < kl[after] for before, after in itertools.pairwise(order)):
        raise node["order"].wrong("the dimensions from the highest of kl_nats to the lowest")
    default: Prior = "normal"
    if "default_prior" in node:  # folders from before the fitted prior don't have this key
        default = "fitted" if node["default_prior"].one_of("normal", "fitted") == "fitted" else "normal"
    return LatentSpec(dimensions, kl, order, default)


def _detail(root: Json) -> DetailSpec:
    node = root["detail"]
    if "latents" not in root["graphs"]:
        raise node.wrong("nothing, because graphs has no latents, which computes the noise")
    spec = DetailSpec(node["noise"].whole(1, LARGEST_SIDE), node["class_shift"].number(), node["default"].flag())
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
