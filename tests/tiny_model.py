"""A complete, valid model folder of about 80 kB that needs no training: linear graphs with made-up weights.

Its decoder draws soft blobs whose sizes the latents change, so that a picture made with it is more than noise,
and each picture differs from the next. The golden vectors come from NumPy, never from the graphs.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vae_export.latent_checks import MOVE_TOLERANCE, golden_latents, golden_moves
from vae_export.latent_graphs import default_latent_graph, latent_graph, prior_graph
from vae_gen import DetailSpec, FittedPrior, random_words, standard_normals, to_grey_levels
from vae_gen.internal.directions import Direction, Directions, Effect, Field
from vae_gen.internal.latents import detail_noise
from vae_gen.internal.manifest import DIRECTIONS_FILE, PRIOR_FILE, Prior, essentials
from vae_gen.internal.prior import Mixture

Floats = NDArray[np.float32]

OPSET, IR_VERSION = 18, 8
SHAPE, DIMENSIONS = (1, 28, 28), 12
Shape = tuple[int, int, int]
KNOWN_WORDS = ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]  # Philox4x32-10 of zeros (Random123)


def write_tiny_model(
    folder: Path, *, name: str = "tiny", seed: int = 0, default_prior: Prior | None = "normal",
    detail: DetailSpec | None = None, shape: Shape = SHAPE, class_names: Sequence[str] = ("blob", "other blob"),
    with_directions: bool = False, **facts: Any,
) -> Path:
    """Write the folder (it must not exist) and give its path back.

    Its prior has two classes, the first a little more frequent. With `default_prior` None the folder is as those
    were before there were fitted priors. With a spec it has a detail stage, in which noise changes single pixels.
    Images may have any shape [channels, height, width], and the classes any names. The directions are
    made up. `facts` are more keys of the manifest, such as `preparation` and `data`.
    """
    folder.mkdir(parents=True)
    weights, sizes = _weights(seed, shape), (3, 2) if len(class_names) == 2 else (2,) * max(1, len(class_names))
    prior = tiny_prior(sizes, labelled=bool(class_names))
    header = _header(name, default_prior, shape, class_names) | facts
    by_default = detail if detail is not None and detail.default else None
    if default_prior is not None and (default_prior == "fitted" or by_default is not None):
        in_front = default_latent_graph(prior, default_prior, by_default)
    else:
        in_front = latent_graph(DIMENSIONS)
    generator = _generator(weights, in_front, by_default, shape)
    graphs = {"encoder": _encoder(weights, shape), "decoder": _decoder(weights, shape), "generator": generator}
    golden = _golden(weights, prior if default_prior == "fitted" else None, detail, shape)
    if default_prior is not None:
        graphs["latents"] = prior_graph(prior, detail)
        golden["latents"] = golden_latents(prior, detail)
    if detail is not None:
        graphs["detail"] = _detail(weights, detail, shape)
        header["detail"] = asdict(detail)
    if default_prior is not None:
        (folder / PRIOR_FILE).write_text(json.dumps(prior.to_json(header["class_names"])))
    if with_directions:
        directions = tiny_directions(len(class_names))
        (folder / DIRECTIONS_FILE).write_text(json.dumps(directions.to_json()))
        golden["tolerances"]["move"] = MOVE_TOLERANCE
        golden["moves"] = golden_moves(directions, np.array(golden["decodings"]["latents"], np.float32))
    for graph_name, model in graphs.items():
        onnx.helper.set_model_props(model, essentials(header))
        onnx.checker.check_model(model, full_check=True)
        (folder / f"{graph_name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / "golden.json").write_text(json.dumps(golden))
    (folder / "README.md").write_text("# A model folder for tests\n")
    manifest = _manifest(header, folder, graphs)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return folder


def tiny_prior(sizes: tuple[int, ...] = (3, 2), *, labelled: bool = True) -> FittedPrior:
    """A made-up prior, the same in all tests: components apart from each other, and no factor that is diagonal."""
    random = np.random.default_rng(2)
    mixtures = []
    for size in sizes:
        weights = random.uniform(0.5, 1, size)
        lower = np.tril(random.normal(0, 0.2, (size, DIMENSIONS, DIMENSIONS)), -1) + 0.5 * np.eye(DIMENSIONS)
        means = random.normal(0, 1, (size, DIMENSIONS))
        mixtures.append(Mixture(weights / weights.sum(), means.astype(np.float32), lower.astype(np.float32)))
    return FittedPrior.of([max(2, 5 - at) for at in range(len(sizes))], mixtures, labelled=labelled)


def tiny_directions(classes: int) -> Directions:
    """Two directions with a network of made-up weights; one of them is only for the last class."""
    random, groups = np.random.default_rng(6), max(1, classes)
    shapes = ((5, DIMENSIONS), (5,), (5, 5), (5,), (2 + groups, 5), (2 + groups,))
    field = Field(
        attributes=("shade", "width"), weights=tuple(random.normal(0, 0.4, shape) for shape in shapes),
        holding=np.array([10.0, 10.0]), radius=1.0, evidence=1.0, middles=random.normal(0, 0.5, (groups, DIMENSIONS)),
        precisions=np.tile(np.eye(DIMENSIONS), (groups, 1, 1)), averages=np.zeros((groups, 2)),
        deviations=np.full((groups, 2), 0.5), lowest=np.full((groups, 2), -2.0), highest=np.full((groups, 2), 1.0),
    )  # fmt: skip
    kept = 0.9 if classes else None
    effects = [Effect(label, 0.9, 0.3, "width", kept, 1.0) for label in (range(classes) if classes else (None,))]
    return Directions((Direction("shade", "shade", tuple(effects)), Direction("size", "width", (effects[-1],))), field)


def _weights(seed: int, shape: Shape = SHAPE) -> dict[str, Floats]:
    random = np.random.default_rng(seed)
    channels, height, width = shape
    pixels = channels * height * width
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centres, widths = random.uniform(-0.6, 0.6, (DIMENSIONS, 2)), random.uniform(0.2, 0.5, DIMENSIONS)
    squares = (y[None] - centres[:, :1, None]) ** 2 + (x[None] - centres[:, 1:, None]) ** 2
    blobs = 1.5 * np.exp(-squares / (2 * widths[:, None, None] ** 2))
    colours = np.random.default_rng(4).uniform(-1, 1, (DIMENSIONS, channels, 1, 1)) if channels > 1 else 1
    coloured = colours * blobs[:, None]
    weights = {
        "decode": coloured.reshape(DIMENSIONS, pixels),
        "decode_bias": np.tile((2 - 5 * np.hypot(y, x)).ravel(), channels),
        "mean": random.normal(0, 0.1, (pixels, DIMENSIONS)),
        "log_variance": random.normal(0, 0.05, (pixels, DIMENSIONS)),
        "mean_bias": random.normal(0, 0.1, DIMENSIONS),
        "log_variance_bias": np.full(DIMENSIONS, -1.0),
    }
    return {key: value.astype(np.float32) for key, value in weights.items()}


def decode(weights: dict[str, Floats], latents: Floats, shape: Shape = SHAPE) -> Floats:
    """What the decoder graph computes, float32 [n, channels, height, width]."""
    logits = latents @ weights["decode"] + weights["decode_bias"]
    return (1 / (1 + np.exp(-logits))).astype(np.float32).reshape(-1, *shape)


def decode_detail(weights: dict[str, Floats], latents: Floats, noise: Floats, shape: Shape = SHAPE) -> Floats:
    """What the detail graph computes."""
    logits = latents @ weights["decode"] + weights["decode_bias"] + noise @ _noise_weights(noise.shape[1], shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32).reshape(-1, *shape)


def _noise_weights(width: int, shape: Shape) -> Floats:
    return np.random.default_rng(9).normal(0, 0.5, (width, int(np.prod(shape)))).astype(np.float32)


def _value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _constants(weights: dict[str, Floats], *names: str) -> list[TensorProto]:
    return [numpy_helper.from_array(weights[name], name) for name in names]


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _encoder(weights: dict[str, Floats], shape: Shape) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "mean_weight", "mean_bias"], ["mean"]),
        helper.make_node("Gemm", ["flat", "log_variance_weight", "log_variance_bias"], ["log_variance"]),
    ]
    constants = _constants(weights, "mean_bias", "log_variance_bias")
    constants += [numpy_helper.from_array(weights[key], f"{key}_weight") for key in ("mean", "log_variance")]
    inputs = [_value("image", ["batch", *shape])]
    outputs = [_value(key, ["batch", DIMENSIONS]) for key in ("mean", "log_variance")]
    return _model(helper.make_graph(nodes, "encoder", inputs, outputs, constants))


def _decoder_parts(weights: dict[str, Floats], shape: Shape) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    nodes = [
        helper.make_node("Gemm", ["latent", "decode", "decode_bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["flat_image"]),
        helper.make_node("Reshape", ["flat_image", "image_shape"], ["image"]),
    ]
    image_shape = numpy_helper.from_array(np.array([-1, *shape], np.int64), "image_shape")
    return nodes, [*_constants(weights, "decode", "decode_bias"), image_shape]


def _decoder(weights: dict[str, Floats], shape: Shape) -> onnx.ModelProto:
    nodes, constants = _decoder_parts(weights, shape)
    image = _value("image", ["batch", *shape])
    return _model(helper.make_graph(nodes, "decoder", [_value("latent", ["batch", DIMENSIONS])], [image], constants))


def _detail_parts(
    weights: dict[str, Floats], detail: DetailSpec, shape: Shape
) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    nodes, constants = _decoder_parts(weights, shape)
    nodes[0].output[0] = "mean_logits"
    drawn = helper.make_node("MatMul", ["noise", "noise_weights"], ["drawn"])
    added = helper.make_node("Add", ["mean_logits", "drawn"], ["logits"])
    return (
        [nodes[0], drawn, added, *nodes[1:]],
        [*constants, numpy_helper.from_array(_noise_weights(detail.noise, shape), "noise_weights")],
    )


def _detail(weights: dict[str, Floats], detail: DetailSpec, shape: Shape) -> onnx.ModelProto:
    nodes, constants = _detail_parts(weights, detail, shape)
    inputs = [_value("latent", ["batch", DIMENSIONS]), _value("noise", ["batch", detail.noise])]
    image = _value("image", ["batch", *shape])
    return _model(helper.make_graph(nodes, "detail", inputs, [image], constants))


def _generator(
    weights: dict[str, Floats], model: onnx.ModelProto, detail: DetailSpec | None, shape: Shape
) -> onnx.ModelProto:
    """The project's own latent graph in front of the decoder, or of the detail stage."""
    nodes, constants = _decoder_parts(weights, shape) if detail is None else _detail_parts(weights, detail, shape)
    kept = [value for value in model.graph.output if value.name == "latent"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    model.graph.name = "generator"
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    model.graph.output.insert(0, _value("image", ["count", *shape]))
    return model


def _header(name: str, default_prior: Prior | None, shape: Shape, class_names: Sequence[str]) -> dict[str, Any]:
    kl = [round(2.4 - 0.17 * ((5 * dimension) % DIMENSIONS), 2) for dimension in range(DIMENSIONS)]
    return {
        "schema_version": 1,
        "model": {"name": name, "version": "1", "licence": "MIT"},
        "image": {**dict(zip(("channels", "height", "width"), shape, strict=True)), "range": [0, 1]},
        "latent": {
            "dimensions": DIMENSIONS,
            "kl_nats": kl,
            "order": sorted(range(DIMENSIONS), key=lambda dimension: -kl[dimension]),
            **({} if default_prior is None else {"default_prior": default_prior}),
        },
        "class_names": list(class_names),
        "seed_contract": {"version": 1},
    }


def _manifest(header: dict[str, Any], folder: Path, graphs: dict[str, onnx.ModelProto]) -> dict[str, Any]:
    names = ("golden.json", "README.md", PRIOR_FILE, DIRECTIONS_FILE)
    others = [file for file in names if (folder / file).exists()]
    files = {file: (folder / file).read_bytes() for file in others}
    return {
        **header,
        "graphs": {key: _graph_entry(folder / f"{key}.onnx", model) for key, model in graphs.items()},
        "files": {
            file: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for file, content in files.items()
        },
    }


def _graph_entry(path: Path, model: onnx.ModelProto) -> dict[str, Any]:
    content = path.read_bytes()
    return {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "inputs": [_tensor_entry(value) for value in model.graph.input],
        "outputs": [_tensor_entry(value) for value in model.graph.output],
    }


def _tensor_entry(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    dtype = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    axes = [axis.dim_param or axis.dim_value for axis in kind.shape.dim]
    return {"name": value.name, "dtype": dtype, "shape": axes}


def _golden(
    weights: dict[str, Floats], prior: FittedPrior | None, detail: DetailSpec | None, shape: Shape
) -> dict[str, Any]:
    """The golden vectors, their samples drawn from `prior`, or from N(0, I) where that is None."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (3, *shape), dtype=np.uint8)
    flat = images.reshape(3, -1).astype(np.float32) / np.float32(255)
    latents = random.normal(size=(3, DIMENSIONS)).astype(np.float32)
    details = {}
    if detail is not None:
        noise = random.normal(size=(3, detail.noise)).astype(np.float32)
        made = _images_entry(to_grey_levels(decode_detail(weights, latents, noise, shape)))
        details = {"details": {"latents": latents.tolist(), "noise": noise.tolist(), "images": made}}
    by_default = detail if detail is not None and detail.default else None
    windows = ((0, 0), (2**63 - 1, 2**63 - 2))
    return {
        **details,
        "tolerances": {"latent": 1e-5, "grey_levels": 1, "mean": 1e-4, "log_variance": 1e-4},
        "philox": [{"counter": ["0"] * 4, "key": ["0"] * 2, "words": KNOWN_WORDS}],
        "samples": [_golden_sample(weights, prior, by_default, seed, start, shape) for seed, start in windows],
        "encodings": {
            "images": _images_entry(images),
            "mean": (flat @ weights["mean"] + weights["mean_bias"]).tolist(),
            "log_variance": (flat @ weights["log_variance"] + weights["log_variance_bias"]).tolist(),
        },
        "decodings": {
            "latents": latents.tolist(),
            "images": _images_entry(to_grey_levels(decode(weights, latents, shape))),
        },
    }


def _golden_sample(
    weights: dict[str, Floats], prior: FittedPrior | None, detail: DetailSpec | None, seed: int, start: int,
    shape: Shape,
) -> dict[str, Any]:
    if prior:
        latents, labels = prior.latents(seed, start, 2)
    else:
        latents, labels = standard_normals(seed, start, 2, DIMENSIONS), np.full(2, -1)
    if detail is None:
        images = decode(weights, latents, shape)
    else:
        images = decode_detail(weights, latents, detail_noise(detail, seed, start, 2, labels), shape)
    words = random_words(seed, start, 2, blocks=1)[:, 0]
    return {
        "seed": str(seed),
        "start": str(start),
        "count": 2,
        "first_words": [[f"{word:08x}" for word in row] for row in words],
        "latents": latents.tolist(),
        "images": _images_entry(to_grey_levels(images)[:1]),
    }


def _images_entry(images: NDArray[np.uint8]) -> dict[str, Any]:
    return {"count": len(images), "base64": base64.b64encode(images.tobytes()).decode()}
