"""The proof that a model folder's graphs are the trained model: structure first, then values against PyTorch.

Tolerances are absolute: 1e-5 on pictures in [0, 1], 1e-4 on posterior means and log-variances. At the extremes of
the latent space, where sigmoids are steep, ONNX Runtime may be as far from PyTorch in float64 as twice PyTorch's own
float32 is. Every value check runs at ONNX Runtime's default optimisation level and with optimisation off.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from vae_gen import DetailSpec, FittedPrior, ImageSpec, LatentSpec, TensorSpec, standard_normals
from vae_gen.internal.latents import detail_noise
from vae_gen.internal.manifest import contract_signatures
from vae_gen.internal.sampling import Drawn
from vae_train.detail.networks import DetailDecoder
from vae_train.model import VAE

from .graphs import Graphs
from .latent_checks import GENERATOR_RANGES, latent_checks
from .report import IMAGE_TOLERANCE, Report, StructureCheck, ValueCheck, compare

POSTERIOR_TOLERANCE = 1e-4
OPSETS = range(18, 22)
BATCHES = (1, 2, 7, 64)
EXTREMES = (0.0, 4.0, -4.0, 8.0, -8.0)
PRIOR_DRAWS = 1024
LEVELS = {
    "default": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}

Floats = NDArray[np.float32]


def prove(graphs: Graphs, vae: VAE, test_images: Floats, stage: DetailDecoder | None = None) -> Report:
    """Hold the graphs against a VAE in evaluation mode on the CPU, and its detail stage.

    Args:
        graphs: what is to be proved.
        vae: what it has to equal, float32.
        test_images: real pictures, float32 [n, channels, height, width] in [0, 1].
        stage: what the graph `detail` has to equal, float32.
    """
    models, expected = graphs.by_name(), _signatures(graphs, test_images)
    structure = [check for name, model in models.items() for check in _structure(name, model, expected[name])]
    values = [check for level in LEVELS for check in _values(graphs, level, vae, test_images, stage)]
    return Report(tuple(structure), tuple(values))


def _structure(
    name: str, model: onnx.ModelProto, expected: dict[str, list[dict[str, Any]]]
) -> Iterator[StructureCheck]:
    found = signature(model)
    yield StructureCheck(f"{name}: names, dtypes and axes", expected == found, _text(found))
    try:
        onnx.checker.check_model(model, full_check=True)
        yield StructureCheck(f"{name}: onnx.checker, full", True, "no complaint")
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        yield StructureCheck(f"{name}: onnx.checker, full", False, " ".join(str(error).split()))
    domains = sorted({node.domain or "ai.onnx" for node in model.graph.node})
    yield StructureCheck(f"{name}: standard operators only", domains == ["ai.onnx"] and not model.functions,
                         ", ".join(domains))
    chance = sorted({node.op_type for node in model.graph.node if "Random" in node.op_type
                     or node.op_type in ("Bernoulli", "Multinomial")})
    yield StructureCheck(f"{name}: no random operator", not chance, ", ".join(chance) or "none")
    opset = model.opset_import[0].version
    yield StructureCheck(f"{name}: opset {OPSETS[0]} to {OPSETS[-1]}", opset in OPSETS, f"opset {opset}")
    outside = [tensor.name for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    yield StructureCheck(f"{name}: weights inside", not outside, ", ".join(outside) or "all of them")
    without_weights = onnx.ModelProto()
    without_weights.CopyFrom(model)
    for tensor in without_weights.graph.initializer:
        tensor.ClearField("raw_data")  # any three bytes occur in a megabyte of weights by chance
    content = without_weights.SerializeToString()
    marks = (b"site-packages", b".py", b"/home/", b"/root/", b"/Users/")
    traces = [mark for mark in marks if mark in content]
    yield StructureCheck(f"{name}: nothing of the machine that made it", not traces,
                         f"{len(traces)} kinds of local paths")


def _values(
    graphs: Graphs, level: str, vae: VAE, test_images: Floats, stage: DetailDecoder | None
) -> Iterator[ValueCheck]:
    sessions = open_sessions(graphs.by_name(), level)
    dimensions = _dimensions(vae)

    def encode(images: Floats) -> tuple[Floats, Floats]:
        mean, log_variance = sessions["encoder"].run(["mean", "log_variance"], {"image": images})
        return mean, log_variance

    def decode(latents: Floats) -> Floats:
        (image,) = sessions["decoder"].run(["image"], {"latent": latents})
        return np.asarray(image, np.float32)

    mean, log_variance = encode(test_images)
    expected_mean, expected_log_variance = torch_encode(vae, test_images)
    yield compare("encoder on test images", "mean", level, mean, expected_mean, POSTERIOR_TOLERANCE)
    yield compare(
        "encoder on test images", "log_variance", level, log_variance, expected_log_variance, POSTERIOR_TOLERANCE
    )
    prior = standard_normals(0, 0, PRIOR_DRAWS, dimensions)
    for name, latents in (("prior draws", prior), ("reconstructions of test images", expected_mean)):
        yield compare(f"decoder on {name}", "image", level, decode(latents), torch_decode(vae, latents))
    for batch in BATCHES:
        found = np.concatenate([decode(prior[at : at + batch]) for at in range(0, 64 - 64 % batch, batch)])
        yield compare(f"decoder in batches of {batch}", "image", level, found, torch_decode(vae, prior[: len(found)]))
        means = np.concatenate([encode(test_images[at : at + batch])[0] for at in range(0, 64 - 64 % batch, batch)])
        yield compare(f"encoder in batches of {batch}", "mean", level, means, expected_mean[: len(means)],
                       POSTERIOR_TOLERANCE)
    extremes = np.stack([np.full(dimensions, value, np.float32) for value in EXTREMES])
    exact = torch_decode(copy.deepcopy(vae).double(), extremes)
    own = float(np.abs(torch_decode(vae, extremes) - exact).max())
    yield compare("decoder at every latent 0, ±4, ±8, against float64", "image", level, decode(extremes), exact,
                   max(2 * own, IMAGE_TOLERANCE))
    for seed, start, count in GENERATOR_RANGES:
        feed = {"seed": seed, "start": start, "count": count}
        image, latent = sessions["generator"].run(
            ["image", "latent"], {name: np.array(value, np.int64) for name, value in feed.items()}
        )
        reference = graphs.default_drawn(seed, start, count)
        name = f"generator, seed {seed}, {count} from {start}"
        yield compare(name, "latent", level, latent, reference.latents, IMAGE_TOLERANCE)
        yield compare(name, "image", level, image, torch_pictures(vae, stage, reference))
    yield from latent_checks(sessions["latents"], graphs.prior, graphs.spec, level)
    if stage is not None and graphs.spec is not None:
        yield from detail_checks(sessions["detail"], stage, graphs.spec, graphs.prior, expected_mean, level)


def torch_encode(vae: VAE, images: Floats) -> tuple[Floats, Floats]:
    """Posterior mean and log-variance by PyTorch, float32 [n, dimensions]."""
    with torch.inference_mode():
        mean, log_variance = vae.encode(torch.from_numpy(images))
    return mean.numpy(), log_variance.numpy()


def torch_decode(vae: VAE, latents: Floats) -> NDArray[np.floating]:
    """Pictures by PyTorch in the dtype of the VAE's weights, [n, channels, height, width]."""
    dtype = next(vae.parameters()).dtype
    with torch.inference_mode():
        image: NDArray[np.floating] = vae.decode(torch.from_numpy(latents).to(dtype)).numpy()
    return image


def detail_checks(
    session: onnxruntime.InferenceSession,
    stage: DetailDecoder,
    spec: DetailSpec,
    prior: FittedPrior,
    posterior_means: Floats,
    level: str,
) -> Iterator[ValueCheck]:
    """The detail stage against PyTorch: on fitted samples and on reconstructions, in batches, and at the extremes."""

    def run(latents: Floats, noise: Floats) -> Floats:
        (image,) = session.run(["image"], {"latent": latents, "noise": noise})
        return np.asarray(image, np.float32)

    latents, labels = prior.latents(0, 0, PRIOR_DRAWS)
    noise = detail_noise(spec, 0, 0, PRIOR_DRAWS, labels)
    yield compare("detail on fitted samples", "image", level, run(latents, noise), torch_detail(stage, latents, noise))
    own = detail_noise(spec, 1, 0, len(posterior_means))
    yield compare("detail on reconstructions of test images", "image", level, run(posterior_means, own),
                  torch_detail(stage, posterior_means, own))
    for batch in BATCHES:
        cuts = [slice(at, at + batch) for at in range(0, 64 - 64 % batch, batch)]
        found = np.concatenate([run(latents[cut], noise[cut]) for cut in cuts])
        expected = torch_detail(stage, latents[: len(found)], noise[: len(found)])
        yield compare(f"detail in batches of {batch}", "image", level, found, expected)
    extremes = np.stack([np.full(prior.dimensions, value, np.float32) for value in EXTREMES])
    far = np.stack([np.full(spec.noise, value, np.float32) for value in EXTREMES])
    exact = torch_detail(copy.deepcopy(stage).double(), extremes, far)
    difference = float(np.abs(torch_detail(stage, extremes, far) - exact).max())
    yield compare("detail at every latent and noise 0, ±4, ±8, against float64", "image", level, run(extremes, far),
                  exact, max(2 * difference, IMAGE_TOLERANCE))


def torch_pictures(vae: VAE, stage: DetailDecoder | None, drawn: Drawn) -> NDArray[np.floating]:
    """What PyTorch makes of a draw: the detail stage where there is noise, the decoder where there is none."""
    if stage is None or drawn.noise is None:
        return torch_decode(vae, drawn.latents)
    return torch_detail(stage, drawn.latents, drawn.noise)


def torch_detail(stage: DetailDecoder, latents: Floats, noise: Floats) -> NDArray[np.floating]:
    """Pictures of the detail stage by PyTorch in the dtype of its weights, [n, channels, height, width]."""
    dtype = next(stage.parameters()).dtype
    with torch.inference_mode():
        logits = stage(torch.from_numpy(latents).to(dtype), torch.from_numpy(noise).to(dtype))
    image: NDArray[np.floating] = torch.sigmoid(logits).numpy()
    return image


def signature(model: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Inputs and outputs as the manifest has them: name, NumPy dtype, axes (a word where an axis is dynamic)."""
    def tensors(values: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": value.name,
                "dtype": onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
                "shape": [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim],
            }
            for value in values
        ]

    return {"inputs": tensors(model.graph.input), "outputs": tensors(model.graph.output)}


def _signatures(graphs: Graphs, images: Floats) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """What the contract asks of each graph."""
    _, channels, height, width = images.shape
    dimensions = graphs.prior.dimensions
    latent = LatentSpec(dimensions, (0.0,) * dimensions, tuple(range(dimensions)))
    contract = contract_signatures(ImageSpec(channels, height, width), latent, graphs.spec)

    def side(specs: Iterable[TensorSpec]) -> list[dict[str, Any]]:
        return [{"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)} for spec in specs]

    return {name: {"inputs": side(inputs), "outputs": side(outputs)} for name, (inputs, outputs) in contract.items()}


def open_sessions(models: Mapping[str, onnx.ModelProto], level: str) -> dict[str, onnxruntime.InferenceSession]:
    """A session on the CPU for each model, at the optimisation level "default" or "none"."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.log_severity_level = 3
    return {
        name: onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for name, model in models.items()
    }


def _dimensions(vae: VAE) -> int:
    return int(vae.config.latent_dim)


def _text(found: dict[str, list[dict[str, Any]]]) -> str:
    def side(tensors: list[dict[str, Any]]) -> str:
        return ", ".join(f"{tensor['name']} {tensor['dtype']} {tensor['shape']}" for tensor in tensors)

    return f"{side(found['inputs'])} → {side(found['outputs'])}"
