"""A linear VAE with a detail stage in PyTorch, the ONNX graphs that equal it, and ways to make a graph wrong somewhere.

The graphs are written by hand, so that a proof takes a tenth of a second and a test can do dozens of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tiny_model import tiny_prior
from vae_export.graphs import Graphs
from vae_export.latent_graphs import default_latent_graph, latent_graph, prior_graph
from vae_gen import DetailSpec, FittedPrior
from vae_gen.internal.manifest import Prior
from vae_train.config import ModelConfig, TrainConfig
from vae_train.images.image_set import ImageSet
from vae_train.run_folder import Run

IMAGE = (1, 4, 3)
PIXELS, DIMENSIONS, NOISE = 12, 12, 5
SPEC = DetailSpec(NOISE, 4.0, True)
PRIOR = tiny_prior()


def _weight(*shape: int, scale: float, seed: int) -> nn.Parameter:
    values = np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)
    return nn.Parameter(torch.from_numpy(values), requires_grad=False)


class LinearVae(nn.Module):
    """What the trainer's VAE offers, with one matrix in the place of each network."""

    def __init__(self) -> None:
        super().__init__()
        channels, height, width = IMAGE
        self.config = ModelConfig(
            channels=channels, height=height, width=width, latent_dim=DIMENSIONS, encoder_channels=(4,)
        )
        self.mean = _weight(PIXELS, DIMENSIONS, scale=0.7, seed=1)
        self.log_variance = _weight(PIXELS, DIMENSIONS, scale=0.2, seed=2)
        self.pixels = _weight(DIMENSIONS, PIXELS, scale=0.5, seed=3)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance."""
        flat = image.flatten(1)
        return flat @ self.mean, flat @ self.log_variance

    encoder = encode  # there is no refinement

    def decoder(self, latent: Tensor) -> Tensor:
        """Logits."""
        return (latent @ self.pixels).unflatten(1, IMAGE)

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures in [0, 1]."""
        return torch.sigmoid(self.decoder(latent))


class LinearStage(nn.Module):
    """A detail stage of two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = _weight(DIMENSIONS, PIXELS, scale=0.5, seed=4)
        self.noise = _weight(NOISE, PIXELS, scale=0.5, seed=5)

    def forward(self, latent: Tensor, noise: Tensor) -> Tensor:
        """Pictures."""
        return torch.sigmoid((latent @ self.pixels + noise @ self.noise).unflatten(1, IMAGE))


def graphs_of(
    vae: LinearVae, stage: LinearStage | None = None, prior: FittedPrior = PRIOR, default_prior: Prior = "fitted"
) -> Graphs:
    """The graphs of the VAE, and of its detail stage, which then is what the generator draws with."""
    matrix = {"encoder_mean": vae.mean, "encoder_log_variance": vae.log_variance, "decoder_pixels": vae.pixels}
    constants = [numpy_helper.from_array(value.numpy(), name) for name, value in matrix.items()]
    encoder = model(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "encoder_mean"], ["mean"]),
            helper.make_node("MatMul", ["flat", "encoder_log_variance"], ["log_variance"]),
        ],
        [floats("image", "batch", *IMAGE)],
        [floats("mean", "batch", DIMENSIONS), floats("log_variance", "batch", DIMENSIONS)],
        constants[:2],
    )
    latent, image = floats("latent", "batch", DIMENSIONS), floats("image", "batch", *IMAGE)
    last = [helper.make_node("MatMul", ["latent", "decoder_pixels"], ["flat"]), *_pictures()]
    decoder, detail, spec = model(last, [latent], [image], [constants[2], _shape()]), None, None
    ends = decoder.graph
    if stage is not None:
        spec = SPEC
        own = [numpy_helper.from_array(stage.pixels.numpy(), "detail_pixels"),
               numpy_helper.from_array(stage.noise.numpy(), "detail_noise"), _shape()]
        nodes = [
            helper.make_node("MatMul", ["latent", "detail_pixels"], ["of_latent"]),
            helper.make_node("MatMul", ["noise", "detail_noise"], ["of_noise"]),
            helper.make_node("Add", ["of_latent", "of_noise"], ["flat"]), *_pictures(),
        ]  # fmt: skip
        detail = model(nodes, [latent, floats("noise", "batch", NOISE)], [image], own)
        ends = detail.graph
    if default_prior == "normal" and stage is None:
        generator = latent_graph(DIMENSIONS)
    else:
        generator = default_latent_graph(prior, default_prior, spec)
    generator.graph.node.extend(ends.node)
    generator.graph.initializer.extend(ends.initializer)
    del generator.graph.output[:]
    generator.graph.output.extend([floats("image", "count", *IMAGE), floats("latent", "count", DIMENSIONS)])
    return Graphs(encoder, decoder, generator, prior_graph(prior, spec), prior, default_prior, detail, spec)


def linear_run(vae: LinearVae) -> Run:
    """A run whose VAE this is."""
    config = TrainConfig(model=vae.config)
    return Run(Path("run"), config, vae, "0" * 64, [], {"versions": {"torch": "made up"}})  # type: ignore[arg-type]


def tiny_pictures(count: int = 90, *, classes: tuple[str, ...] = ("dark", "light")) -> ImageSet:
    """Pictures of 4 by 3 random grey levels, the training images others than the test images."""
    def drawn(seed: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *IMAGE), np.uint8))

    labels = torch.arange(count) % max(len(classes), 1)
    return ImageSet(drawn(1), labels, drawn(2), labels, {"images": "0" * 64}, "pictures", classes)


def model(
    nodes: Sequence[NodeProto], inputs: Sequence[Any], outputs: Sequence[Any], constants: Sequence[TensorProto]
) -> ModelProto:
    """A model of the contract's opset and IR version."""
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def floats(name: str, *shape: str | int) -> onnx.ValueInfoProto:
    """A float32 input or output."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _pictures() -> list[NodeProto]:
    return [helper.make_node("Sigmoid", ["flat"], ["pixels"]),
            helper.make_node("Reshape", ["pixels", "picture_shape"], ["image"])]  # fmt: skip


def _shape() -> TensorProto:
    return numpy_helper.from_array(np.array([-1, *IMAGE]), "picture_shape")


class Place:
    """Where a graph is to be wrong: conditions on its inputs, written as ONNX nodes; without any, everywhere."""

    numbers = itertools.count()

    def __init__(self) -> None:
        self.name = f"place_{next(self.numbers)}"  # several places may be wrong in one graph
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.conditions: list[str] = []

    def row(self, name: str, value: ArrayLike) -> Place:
        """In the rows of this input that are `value`, and in no others."""
        off = self._add("Abs", self._add("Sub", name, self._constant(np.asarray(value, np.float32)[None])))
        flat = self._add("Flatten", off)
        furthest = self._add("ReduceMax", flat, self._constant(np.array([1])), keepdims=0)  # [batch]
        self.conditions.append(self._add("Less", furthest, self._constant(np.float32(1e-5))))
        return self

    def batch(self, name: str, size: int) -> Place:
        """Where this input has so many rows."""
        shape = self._add("Shape", name, start=0, end=1)
        self.conditions.append(self._add("Equal", shape, self._constant(np.array([size]))))
        return self

    def where(self, **scalars: ArrayLike) -> Place:
        """Where these scalar inputs have these values."""
        for name, value in scalars.items():
            self.conditions.append(self._add("Equal", name, self._constant(value)))
        return self

    def wrong(self, model: ModelProto, output: str, by: float, rank: int) -> ModelProto:
        """A copy of a model whose output of this rank is off by so much there, and right everywhere else."""
        spoilt = onnx.ModelProto()
        spoilt.CopyFrom(model)
        right = f"{self.name}_right"
        for node in spoilt.graph.node:  # what is computed from the output goes on with the right values
            for names in (node.input, node.output):
                names[:] = [right if name == output else name for name in names]
        here = self._constant(np.bool_(True))
        for condition in self.conditions:
            here = self._add("And", here, condition)
        (dtype,) = (value.type.tensor_type.elem_type for value in spoilt.graph.output if value.name == output)
        number = self._add("Cast", here, to=dtype)
        rows = self._add("Reshape", number, self._constant(np.array([-1] + [1] * (rank - 1))))
        amount = self._constant(np.asarray(by, helper.tensor_dtype_to_np_dtype(dtype)))
        self.nodes.append(helper.make_node("Add", [right, self._add("Mul", rows, amount)], [output]))
        spoilt.graph.node.extend(self.nodes)
        spoilt.graph.initializer.extend(self.constants)
        return spoilt

    def _constant(self, value: ArrayLike) -> str:
        name = f"{self.name}_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{self.name}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name


def changed(graphs: Graphs, name: str, change: Callable[[ModelProto], object]) -> Graphs:
    """The graphs with a changed copy of one of them: what `change` returns, or what it left where it returns none."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graphs.by_name()[name])
    made = change(copy)
    return replace(graphs, **{name: made if isinstance(made, ModelProto) else copy})


def unit_pictures(data: ImageSet) -> NDArray[np.float32]:
    """The test images in [0, 1]."""
    return data.test_images.numpy().astype(np.float32) / np.float32(255)
