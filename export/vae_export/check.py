"""The proof that the graphs of a model folder compute what the trained model computes.

The structure of each graph is checked first, then its values: pictures and posteriors against PyTorch, and sampled
latents against NumPy. The allowed differences are absolute: 1e-5 on pictures in [0, 1] and on latents, 1e-4 on
posterior means and log-variances. At the extremes of the latent space, where sigmoids are steep, ONNX Runtime may
differ from PyTorch in float64 by 1e-5 or by twice as much as PyTorch in float32 does, whichever is more. All values are
checked at ONNX Runtime's default optimisation level, and without optimisation.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae_gen import ImageSpec, LatentSpec, TensorSpec, standard_normals
from vae_gen.internal.choice import window
from vae_gen.internal.latents import detail_noise
from vae_gen.internal.manifest import contract_signatures
from vae_gen.internal.model import Session
from vae_gen.internal.portable import PortableSession
from vae_gen.internal.sampling import Drawn
from vae_train.detail.networks import DetailDecoder
from vae_train.model import VAE

from .graphs import Graphs
from .latent_checks import GENERATOR_RANGES, latent_checks
from .report import IMAGE_TOLERANCE, Report, StructureCheck, ValueCheck, compare

POSTERIOR_TOLERANCE = 1e-4
"""The largest difference that is allowed on posterior means and log-variances."""

OPSETS = range(18, 22)
"""The versions of ONNX's operator set that a graph may use."""

BATCHES = (1, 2, 7, 64)
"""The sizes of batches that are checked, each on as many of the first 64 inputs as fill whole batches."""

EXTREMES = (0.0, 4.0, -4.0, 8.0, -8.0)
"""At the extremes, all numbers of a latent, and of the noise for a detail stage, have one of these values."""

UNOPTIMISED_IMAGES = 256
"""How many test images the encoder is checked on without optimisation, which makes refinement three times slower."""

PIXELS_AT_ONCE = 2**20
"""How many numbers of pictures are made at a time, at which a network takes some hundred megabytes."""

PRIOR_DRAWS = 1024
"""How many samples of a prior the decoder and the detail stage are checked on."""

LOCAL_TRACES = (b"site-packages", b".py", b"/home/", b"/root/", b"/Users/")
"""Parts of the paths of files on a machine that exports a graph."""

LEVELS = {
    "default": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
"""The optimisation levels of ONNX Runtime at which all values are checked."""

Floats = NDArray[np.float32]


def prove(
    graphs: Graphs, vae: VAE, test_images: Floats, stage: DetailDecoder | None = None,
    posterior: tuple[Floats, Floats] | None = None,
) -> Report:
    """Compare the graphs of a model folder with the networks that they were made from.

    Args:
        graphs: the graphs, with the fitted prior and the settings of the detail stage.
        vae: the VAE in float32, in evaluation mode, on the CPU.
        test_images: real pictures, float32 [n, channels, height, width] in [0, 1].
        stage: the detail stage in the same state as the VAE; None if the model has none.
        posterior: the mean and log-variance of the pictures by PyTorch. None computes them.
    """
    models, expected = graphs.by_name(), _signatures(graphs, test_images)
    structure = [check for name, model in models.items() for check in _structure(name, model, expected[name])]
    posterior = posterior or torch_encode(vae, test_images)
    values = [check for level in LEVELS for check in _values(graphs, level, vae, test_images, posterior, stage)]
    return Report(tuple(structure), tuple(values))


def _structure(
    name: str, model: onnx.ModelProto, expected: dict[str, list[dict[str, Any]]]
) -> Iterator[StructureCheck]:
    found = signature(model)
    yield StructureCheck(f"{name}: names, dtypes and axes", expected == found, _text(found))
    try:
        onnx.checker.check_model(model, full_check=True)
        complaint = ""
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        complaint = " ".join(str(error).split())
    yield StructureCheck(f"{name}: onnx.checker, full", not complaint, complaint or "no complaint")
    nodes, weights = model.graph.node, model.graph.initializer
    domains = sorted({node.domain or "ai.onnx" for node in nodes})
    standard = domains == ["ai.onnx"] and not model.functions
    yield StructureCheck(f"{name}: standard operators only", standard, ", ".join(domains))
    chance = sorted({node.op_type for node in nodes if _is_random(node.op_type)})
    yield StructureCheck(f"{name}: no random operator", not chance, ", ".join(chance) or "none")
    opset = model.opset_import[0].version
    yield StructureCheck(f"{name}: opset {OPSETS[0]} to {OPSETS[-1]}", opset in OPSETS, f"opset {opset}")
    outside = [tensor.name for tensor in weights if tensor.data_location == onnx.TensorProto.EXTERNAL]
    yield StructureCheck(f"{name}: all weights in the graph's file", not outside, ", ".join(outside) or "all of them")
    without_weights = onnx.ModelProto()
    without_weights.CopyFrom(model)
    for tensor in without_weights.graph.initializer:
        tensor.ClearField("raw_data")  # a megabyte of weights contains any three bytes by chance
    content = without_weights.SerializeToString()
    traces = sum(trace in content for trace in LOCAL_TRACES)
    yield StructureCheck(f"{name}: no file paths of the exporting machine", not traces, f"{traces} kinds of paths")


def _is_random(operator: str) -> bool:
    return "Random" in operator or operator in ("Bernoulli", "Multinomial")


def _values(
    graphs: Graphs, level: str, vae: VAE, test_images: Floats, expected: tuple[Floats, Floats],
    stage: DetailDecoder | None,
) -> Iterator[ValueCheck]:
    """The checks at one optimisation level; `expected` is the posterior of the test images by PyTorch."""
    sessions = open_sessions(graphs.by_name(), level)
    dimensions = graphs.prior.dimensions
    encode = partial(_run, sessions["encoder"], ["mean", "log_variance"])
    encoded = encode(test_images if level == "default" else test_images[:UNOPTIMISED_IMAGES])
    for output, found, wanted in zip(("mean", "log_variance"), encoded, expected, strict=True):
        yield compare("encoder on test images", output, level, found, wanted[: len(found)], POSTERIOR_TOLERANCE)
    for batch in BATCHES:
        means = _in_batches(lambda *inputs: encode(*inputs)[0], [test_images], batch)
        wanted = expected[0][: len(means)]
        yield compare(f"encoder in batches of {batch}", "mean", level, means, wanted, POSTERIOR_TOLERANCE)

    prior = standard_normals(0, 0, PRIOR_DRAWS, dimensions)
    of_decoder = {"prior draws": [prior], "reconstructions of test images": [expected[0]]}
    yield from _picture_checks("decoder", "latent", sessions["decoder"], torch_decode, vae, of_decoder, level)
    if stage is not None and graphs.spec is not None:
        latents, labels = graphs.prior.latents(0, 0, PRIOR_DRAWS)
        of_detail = {
            "fitted samples": [latents, detail_noise(graphs.spec, 0, 0, PRIOR_DRAWS, labels)],
            "reconstructions of test images": [expected[0], detail_noise(graphs.spec, 1, 0, len(expected[0]))],
        }
        title = "latent and noise"
        yield from _picture_checks("detail", title, sessions["detail"], torch_detail, stage, of_detail, level)

    generators: dict[str, Session] = {"generator": sessions["generator"]}
    if graphs.portable:
        generators["generator.portable"] = PortableSession(sessions["generator.portable"])
    for seed, start, count in GENERATOR_RANGES:
        reference = graphs.default_drawn(seed, start, count)
        pictures = torch_pictures(vae, stage, reference)
        for name, generator in generators.items():
            image, latent = generator.run(["image", "latent"], window(seed, start, count))
            name = f"{name}, seed {seed}, pictures {start} to {start + count - 1}"
            yield compare(name, "latent", level, latent, reference.latents, IMAGE_TOLERANCE)
            yield compare(name, "image", level, image, pictures)
    yield from latent_checks(sessions["latents"], graphs.prior, graphs.spec, level)
    if graphs.portable:
        portable = PortableSession(sessions["latents.portable"])
        yield from latent_checks(portable, graphs.prior, graphs.spec, level, "latents.portable")


def _picture_checks(
    name: str,
    title: str,
    session: onnxruntime.InferenceSession,
    reference: Callable[..., NDArray[np.floating]],
    network: nn.Module,
    sets: Mapping[str, Sequence[Floats]],
    level: str,
) -> Iterator[ValueCheck]:
    """Compare a graph that makes pictures with its network: on whole sets of inputs, in batches, and at extremes.

    Args:
        name: the name of the graph.
        title: the inputs in words, for the name of the check at the extremes.
        session: of the graph.
        reference: computes the pictures by PyTorch, from the network and the inputs.
        network: the network in float32.
        sets: the inputs by names for people; the first set is also computed in batches.
        level: stored in the checks.
    """
    most = max(1, PIXELS_AT_ONCE // math.prod(session.get_outputs()[0].shape[1:]))

    def run(*inputs: Floats) -> Floats:
        return _run(session, ["image"], *inputs)[0]

    for label, inputs in sets.items():
        wanted = _in_parts(partial(reference, network), inputs, most)
        yield compare(f"{name} on {label}", "image", level, _in_parts(run, inputs, most), wanted)
    first = next(iter(sets.values()))
    for batch in BATCHES:
        found = _in_batches(run, first, batch)
        expected = reference(network, *(rows[: len(found)] for rows in first))
        yield compare(f"{name} in batches of {batch}", "image", level, found, expected)
    extremes = [np.repeat(np.array(EXTREMES, np.float32)[:, None], rows.shape[1], axis=1) for rows in first]
    exact = reference(copy.deepcopy(network).double(), *extremes)
    own = float(np.abs(reference(network, *extremes) - exact).max())  # of PyTorch in float32
    at_extremes = f"{name}, all numbers of the {title} 0, ±4 or ±8, against float64"
    yield compare(at_extremes, "image", level, run(*extremes), exact, max(2 * own, IMAGE_TOLERANCE))


def _in_parts(
    run: Callable[..., NDArray[np.floating]], inputs: Sequence[Floats], most: int
) -> NDArray[np.floating]:
    """The results for all inputs, computed for at most so many of them at a time."""
    cuts = [slice(at, at + most) for at in range(0, len(inputs[0]), most)]
    return np.concatenate([run(*(rows[cut] for rows in inputs)) for cut in cuts])


def _in_batches(run: Callable[..., Floats], inputs: Sequence[Floats], batch: int) -> Floats:
    """The results for the first 64 inputs in batches of one size; inputs that do not fill a last batch are left out."""
    cuts = [slice(at, at + batch) for at in range(0, 64 - 64 % batch, batch)]
    return np.concatenate([run(*(rows[cut] for rows in inputs)) for cut in cuts])


def _run(session: onnxruntime.InferenceSession, outputs: list[str], *inputs: NDArray[Any]) -> list[Floats]:
    """The named outputs of a session, for inputs in the order in which the graph has them."""
    names = [entry.name for entry in session.get_inputs()]
    found: list[Floats] = session.run(outputs, dict(zip(names, inputs, strict=True)))
    return found


def torch_encode(vae: VAE, images: Floats) -> tuple[Floats, Floats]:
    """The posterior mean and log-variance of images by PyTorch, each float32 [n, dimensions]."""
    with torch.inference_mode():
        mean, log_variance = vae.encode(torch.from_numpy(images))
    return mean.numpy(), log_variance.numpy()


def torch_decode(vae: VAE, latents: Floats) -> NDArray[np.floating]:
    """The decoder's pictures by PyTorch, [n, channels, height, width], in the dtype of the weights."""
    return _in_torch(vae, vae.decode, latents)


def torch_detail(stage: DetailDecoder, latents: Floats, noise: Floats) -> NDArray[np.floating]:
    """The detail stage's pictures by PyTorch, [n, channels, height, width], in the dtype of the weights."""
    return _in_torch(stage, stage.forward, latents, noise)


def torch_pictures(vae: VAE, stage: DetailDecoder | None, drawn: Drawn) -> NDArray[np.floating]:
    """The pictures of sampled latents by PyTorch: from the detail stage if they have noise, else from the decoder."""
    if stage is None or drawn.noise is None:
        return torch_decode(vae, drawn.latents)
    return torch_detail(stage, drawn.latents, drawn.noise)


def _in_torch(network: nn.Module, make: Callable[..., Tensor], *inputs: Floats) -> NDArray[np.floating]:
    dtype = next(network.parameters()).dtype
    with torch.inference_mode():
        image: NDArray[np.floating] = make(*(torch.from_numpy(rows).to(dtype) for rows in inputs)).numpy()
    return image


def signature(model: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """The inputs and outputs of a graph as the manifest has them: name, NumPy dtype, axes.

    A fixed axis is its length, and a dynamic axis is its name.
    """
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
    """The inputs and outputs that the contract of model folders demands of each graph."""
    _, channels, height, width = images.shape
    dimensions = graphs.prior.dimensions
    latent = LatentSpec(dimensions, (0.0,) * dimensions, tuple(range(dimensions)))
    contract = contract_signatures(ImageSpec(channels, height, width), latent, graphs.spec)

    def side(specs: Iterable[TensorSpec]) -> list[dict[str, Any]]:
        return [{"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)} for spec in specs]

    return {name: {"inputs": side(inputs), "outputs": side(outputs)} for name, (inputs, outputs) in contract.items()}


def open_sessions(
    models: Mapping[str, onnx.ModelProto], level: str, threads: int = 0
) -> dict[str, onnxruntime.InferenceSession]:
    """A session on the CPU for each model, at one of the optimisation `LEVELS`; with 0 threads it uses all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = LEVELS[level]
    options.log_severity_level = 3
    return {
        name: onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for name, model in models.items()
    }


def _text(found: dict[str, list[dict[str, Any]]]) -> str:
    def side(tensors: list[dict[str, Any]]) -> str:
        return ", ".join(f"{tensor['name']} {tensor['dtype']} {tensor['shape']}" for tensor in tensors)

    return f"{side(found['inputs'])} → {side(found['outputs'])}"
