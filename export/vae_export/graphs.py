"""The graphs of a model folder, from a trained VAE and its fitted prior.

    encoder     image f32 [batch, channels, height, width] → mean, log_variance f32 [batch, dimensions]
    decoder     latent f32 [batch, dimensions]             → image f32 [batch, channels, height, width] in [0, 1]
    latents     seed, start, count, prior, label i64 [], temperature f32 []
                                                           → latent f32 [count, dimensions], labels i64 [count],
                                                             with a detail stage noise f32 [count, k]
    detail      latent f32 [batch, dimensions], noise f32 [batch, k]   → image f32 [batch, …], with a detail stage
    generator   seed, start, count i64 []                  → image f32 [count, …], latent f32 [count, dimensions]

and, for engines without 64-bit numbers, if asked for (`portable_graphs` describes their inputs):

    generator.portable   index f32 [batch, 4], seed f32 [1, 4]
                                                   → image f32 [batch, …], latent f32 [batch, dimensions]
    latents.portable     the same, and prior, label, temperature f32 [1]
                                                   → latent, labels f32 [batch], with a detail stage noise

Encoder, decoder and detail stage come from torch's exporter; slow operators in them are replaced by faster ones. The
generator consists of a graph that makes latents and of the graph that makes the default pictures of them: the detail
stage if it is the default, else the decoder.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from vae_gen import DetailSpec, FittedPrior
from vae_gen.internal.choice import Choice
from vae_gen.internal.latents import drawn_in_numpy
from vae_gen.internal.manifest import Prior
from vae_gen.internal.sampling import Drawn
from vae_train.detail.networks import DetailDecoder
from vae_train.model import VAE

from .faster import with_blocks, with_faster_operators
from .latent_graphs import IR_VERSION, OPSET, default_latent_graph, latent_graph, prior_graph
from .portable_graphs import portable_generator, portable_prior_graph


@dataclass(frozen=True)
class Graphs:
    """The graphs of a model folder. Each is a complete ONNX model."""

    encoder: onnx.ModelProto
    decoder: onnx.ModelProto
    generator: onnx.ModelProto
    latents: onnx.ModelProto
    prior: FittedPrior
    """the fitted prior, whose tables are in `latents`"""
    default_prior: Prior
    """the prior of the samples of `generator`"""
    detail: onnx.ModelProto | None = None
    spec: DetailSpec | None = None
    """the description of the detail stage"""
    portable: Mapping[str, onnx.ModelProto] = field(default_factory=dict)
    """generator.portable and latents.portable, or nothing"""

    def by_name(self) -> dict[str, onnx.ModelProto]:
        """The graphs that there are, by their names in the contract of model folders."""
        names = ("encoder", "decoder", "generator", "latents", "detail")
        found = {name: getattr(self, name) for name in names}
        return {name: model for name, model in found.items() if model is not None} | dict(self.portable)

    def default_drawn(self, seed: int, start: int, count: int) -> Drawn:
        """The latents that the generator must make, by NumPy; with noise if its pictures come from the detail stage."""
        choice = Choice(self.default_prior, detail=self.spec is not None and self.spec.default)
        return drawn_in_numpy(seed, start, count, choice, self.prior.dimensions, self.prior, self.spec)


class _Function(nn.Module):
    """A function of a network as a module, which torch's exporter asks for."""

    def __init__(self, network: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def build_encoder(vae: VAE, image_shape: tuple[int, int, int]) -> onnx.ModelProto:
    """The graph of a VAE's encoder.

    Args:
        vae: in float32, in evaluation mode, on the CPU.
        image_shape: (channels, height, width).
    """
    example = {"image": torch.zeros(2, *image_shape)}
    exported = _export(vae, vae.encode, example, ["mean", "log_variance"])
    return cleaned(with_faster_operators(exported), "encoder")


def build_graphs(
    vae: VAE,
    encoder: onnx.ModelProto,
    prior: FittedPrior,
    default_prior: Prior,
    detail: tuple[DetailDecoder, DetailSpec] | None = None,
) -> Graphs:
    """All graphs of a model folder.

    Args:
        vae: in float32, in evaluation mode, on the CPU.
        encoder: the graph of its encoder, from `build_encoder`; the prior was fitted with it.
        prior: the fitted prior.
        default_prior: the prior of the generator's samples.
        detail: the detail stage, like the VAE, if there is one.
    """
    latent = torch.zeros(2, prior.dimensions)
    exported = _export(vae, vae.decode, {"latent": latent}, ["image"])
    decoder = cleaned(with_blocks(with_faster_operators(exported)), "decoder")
    spec, by_detail = None, None
    if detail is not None:
        stage, spec = detail
        example = {"latent": latent, "noise": torch.zeros(2, spec.noise)}
        exported = _export(stage, stage.forward, example, ["image"])
        by_detail = cleaned(with_blocks(with_faster_operators(exported)), "detail")
    return assemble(encoder, decoder, prior, default_prior, by_detail, spec)


def assemble(
    encoder: onnx.ModelProto,
    decoder: onnx.ModelProto,
    prior: FittedPrior,
    default_prior: Prior,
    by_detail: onnx.ModelProto | None,
    spec: DetailSpec | None,
) -> Graphs:
    """All graphs of a model folder, from those of its networks.

    Args:
        encoder: the graph of the encoder.
        decoder: the graph of the decoder.
        prior: the fitted prior.
        default_prior: the prior of the generator's samples.
        by_detail: the graph of the detail stage, if there is one.
        spec: the description of the detail stage.
    """
    last, used = (by_detail, spec) if by_detail is not None and spec is not None and spec.default else (decoder, None)
    if used is not None or default_prior == "fitted":
        in_front = default_latent_graph(prior, default_prior, used)
    else:
        in_front = latent_graph(prior.dimensions)
    generator = cleaned(_joined(in_front, last), "generator", axis="count")
    latents = cleaned(prior_graph(prior, spec), "latents", axis="count")
    return Graphs(encoder, decoder, generator, latents, prior, default_prior, by_detail, spec)


def with_portable(graphs: Graphs) -> Graphs:
    """The graphs, and with them those for engines without 64-bit numbers."""
    by_detail = graphs.spec is not None and graphs.spec.default
    last = graphs.detail if by_detail and graphs.detail is not None else graphs.decoder
    latents = cleaned(portable_prior_graph(graphs.prior, graphs.spec), "latents")
    generator = cleaned(portable_generator(latents, last, graphs.default_prior), "generator")
    return replace(graphs, portable={"generator.portable": generator, "latents.portable": latents})


def _joined(in_front: onnx.ModelProto, last: onnx.ModelProto) -> onnx.ModelProto:
    """A graph that makes latents, and perhaps noise, in front of one that makes pictures of them.

    The number `guard` of the first one is added to the pictures, too: some engines make 0 of a NaN in a Relu.
    """
    in_front.graph.output.append(onnx.helper.make_tensor_value_info("guard", onnx.TensorProto.FLOAT, ()))
    joined = onnx.compose.merge_models(
        onnx.compose.add_prefix(in_front, "seed_", rename_inputs=False, rename_outputs=False),
        onnx.compose.add_prefix(last, "decoder_", rename_inputs=False, rename_outputs=False),
        io_map=[(entry.name, entry.name) for entry in last.graph.input],
        outputs=["image", "latent"],
    )
    graph = joined.graph
    (made,) = (node for node in graph.node if "image" in node.output)
    made.output[0] = "unguarded_image"
    graph.node.append(onnx.helper.make_node("Add", ["unguarded_image", "guard"], ["image"], "guarded_image"))
    outputs = sorted(graph.output, key=lambda output: output.name)  # the picture is the first one
    del graph.output[:]
    graph.output.extend(outputs)
    return joined


def describe(models: Mapping[str, onnx.ModelProto], facts: Mapping[str, str]) -> None:
    """Write facts into the metadata of each model, in alphabetical order."""
    for model in models.values():
        onnx.helper.set_model_props(model, dict(sorted(facts.items())))


def _export(
    network: nn.Module, function: Callable[..., Any], example: Mapping[str, Tensor], output_names: Sequence[str]
) -> onnx.ModelProto:
    """The graph of a function of a network, whose first axis of inputs and outputs is dynamic."""
    batch = torch.export.Dim("batch", min=1)
    with _quietly():
        program = torch.onnx.export(
            _Function(network, function).eval(),
            tuple(example.values()),
            input_names=list(example),
            output_names=list(output_names),
            dynamic_shapes=(tuple({0: batch} for _ in example),),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # it is None only if a file name was given
    return program.model_proto


def cleaned(model: onnx.ModelProto, name: str, axis: str = "batch") -> onnx.ModelProto:
    """A copy of a model as model folders have it.

    It has no traces of this machine (torch's exporter writes stack traces with local paths into the metadata of every
    node), a short name for the dynamic axis, IR version 8, and nothing that some engines cannot read:

    - `allowzero` of Reshape, which torch's exporter sets, is left out where no length is 0. onnx2torch refuses it.
    - A Conv and a ConvTranspose have weights of their own. OpenVINO's cache of weights gives both the layout of one,
      and so computes wrong posteriors.
    """
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    clean.ir_version = IR_VERSION
    clean.producer_name, clean.producer_version = "vae-export", ""
    clean.doc_string = clean.graph.doc_string = clean.domain = ""
    clean.graph.name = name
    del clean.metadata_props[:], clean.graph.metadata_props[:], clean.functions[:]
    del clean.graph.value_info[:]  # can be inferred again
    for part in [*clean.graph.node, *clean.graph.input, *clean.graph.output, *clean.graph.initializer]:
        part.doc_string = ""
        del part.metadata_props[:]
    for tensor in clean.graph.output:
        tensor.type.tensor_type.shape.dim[0].dim_param = axis
    for tensor in clean.graph.input:
        if any(dim.dim_param for dim in tensor.type.tensor_type.shape.dim[:1]):
            tensor.type.tensor_type.shape.dim[0].dim_param = axis
    opsets = [opset for opset in clean.opset_import if opset.domain in ("", "ai.onnx")]
    del clean.opset_import[:]
    clean.opset_import.extend(opsets[:1])
    _drop_allowzero(clean.graph)
    _separate_weights(clean.graph)
    return clean


def _drop_allowzero(graph: onnx.GraphProto) -> None:
    """Leave out `allowzero` of each Reshape whose shape is a constant without a 0, for which it has no meaning."""
    lengths = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape" and (lengths.get(node.input[1], np.zeros(1)) != 0).all():
            kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)


def _separate_weights(graph: onnx.GraphProto) -> None:
    """Give each ConvTranspose a copy of weights that a Conv has, too.

    The copy is made by nodes when an engine loads the graph, so that the file does not grow by a megabyte. They gather
    the rows in reversed order, twice, because OpenVINO removes a node that changes nothing.
    """
    of_conv = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    shared = {node.input[1] for node in graph.node if node.op_type == "ConvTranspose"} & of_conv
    for node in graph.node:
        if node.op_type == "ConvTranspose" and node.input[1] in shared:
            node.input[1] += "_transposed"
    for tensor in [tensor for tensor in graph.initializer if tensor.name in shared]:
        rows = f"reversed_{tensor.dims[0]}"
        if all(other.name != rows for other in graph.initializer):
            graph.initializer.append(onnx.numpy_helper.from_array(np.arange(tensor.dims[0])[::-1].copy(), rows))
        turned, copy = f"{tensor.name}_reversed", f"{tensor.name}_transposed"
        graph.node.insert(0, onnx.helper.make_node("Gather", [turned, rows], [copy], copy))
        graph.node.insert(0, onnx.helper.make_node("Gather", [tensor.name, rows], [turned], turned))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the exporter's output and its warnings about its own internals, on which no user can act."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
