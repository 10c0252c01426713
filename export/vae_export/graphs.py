"""The graphs of a model folder, from a trained VAE and its fitted prior.

    encoder     image f32 [batch, channels, height, width] → mean, log_variance f32 [batch, dimensions]
    decoder     latent f32 [batch, dimensions]             → image f32 [batch, channels, height, width] in [0, 1]
    latents     seed, start, count, prior, label i64 [], temperature f32 []
                                                           → latent f32 [count, dimensions], labels i64 [count],
                                                             with a detail stage noise f32 [count, k]
    detail      latent f32 [batch, dimensions], noise f32 [batch, k]   → image f32 [batch, …], with a detail stage
    generator   seed, start, count i64 []                  → image f32 [count, …], latent f32 [count, dimensions]

Encoder, decoder and detail stage come from torch's own exporter, the last two with operators exchanged for faster ones.
The generator is a latent graph in front of the decoder: that of the seed contract alone, or the latents graph with its
choices fixed, by what is to be the default; in front of the detail stage where that is the default.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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

from .faster import with_faster_operators
from .latent_graphs import IR_VERSION, OPSET, default_latent_graph, latent_graph, prior_graph


@dataclass(frozen=True)
class Graphs:
    """The models of a folder, each complete in itself."""

    encoder: onnx.ModelProto
    decoder: onnx.ModelProto
    generator: onnx.ModelProto
    latents: onnx.ModelProto
    prior: FittedPrior
    """whose tables `latents` holds"""
    default_prior: Prior
    """what `generator` draws from"""
    detail: onnx.ModelProto | None = None
    spec: DetailSpec | None = None
    """of the detail stage"""

    def by_name(self) -> dict[str, onnx.ModelProto]:
        """All there are under the names of the contract."""
        names = ("encoder", "decoder", "generator", "latents", "detail")
        found = {name: getattr(self, name) for name in names}
        return {name: model for name, model in found.items() if model is not None}

    def default_drawn(self, seed: int, start: int, count: int) -> Drawn:
        """What the generator has to draw, in NumPy; with noise where its pictures come out of the detail stage."""
        draw = Choice(self.default_prior, detail=self.spec is not None and self.spec.default)
        return drawn_in_numpy(seed, start, count, draw, self.prior.dimensions, self.prior, self.spec)


class _Encode(nn.Module):
    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.vae.encode(image)
        return mean, log_variance


class _Detail(nn.Module):
    def __init__(self, decoder: DetailDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor, noise: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(latent, noise))


class _Decode(nn.Module):
    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Tensor) -> Tensor:
        image: Tensor = self.vae.decode(latent)
        return image


def build_encoder(vae: VAE, image_shape: tuple[int, int, int]) -> onnx.ModelProto:
    """The encoder of a VAE that is in evaluation mode on the CPU, at opset 18 and IR version 8.

    Args:
        vae: float32, in evaluation mode, on the CPU.
        image_shape: (channels, height, width).
    """
    example = {"image": torch.zeros(2, *image_shape)}
    return _cleaned(_export(_Encode(vae), example, ["mean", "log_variance"]), "encoder")


def build_graphs(
    vae: VAE,
    encoder: onnx.ModelProto,
    prior: FittedPrior,
    default_prior: Prior,
    detail: tuple[DetailDecoder, DetailSpec] | None = None,
) -> Graphs:
    """The graphs of a VAE that is in evaluation mode on the CPU, at opset 18 and IR version 8.

    Args:
        vae: float32, in evaluation mode, on the CPU.
        encoder: its own, from `build_encoder`; the prior was fitted with it.
        prior: of its latents.
        default_prior: what the generator draws from.
        detail: the detail stage, in evaluation mode on the CPU, where there is one.
    """
    latent = torch.zeros(2, prior.dimensions)
    decoder = _cleaned(with_faster_operators(_export(_Decode(vae), {"latent": latent}, ["image"])), "decoder")
    last, spec, by_detail = decoder, None, None
    if detail is not None:
        stage, spec = detail
        example = {"latent": latent, "noise": torch.zeros(2, spec.noise)}
        by_detail = _cleaned(with_faster_operators(_export(_Detail(stage), example, ["image"])), "detail")
        last = by_detail if spec.default else decoder
    if last is by_detail:
        in_front = default_latent_graph(prior, default_prior, spec)
    else:
        in_front = default_latent_graph(prior) if default_prior == "fitted" else latent_graph(prior.dimensions)
    generator = onnx.compose.merge_models(
        onnx.compose.add_prefix(in_front, "seed_", rename_inputs=False, rename_outputs=False),
        onnx.compose.add_prefix(last, "decoder_", rename_inputs=False, rename_outputs=False),
        io_map=[(entry.name, entry.name) for entry in last.graph.input],
        outputs=["image", "latent"],
    )
    # The picture comes first, as apps want it first.
    outputs = sorted(generator.graph.output, key=lambda output: output.name)
    del generator.graph.output[:]
    generator.graph.output.extend(outputs)
    generator = _cleaned(generator, "generator", axis="count")
    latents = _cleaned(prior_graph(prior, spec), "latents", axis="count")
    return Graphs(encoder, decoder, generator, latents, prior, default_prior, by_detail, spec)


def describe(models: Mapping[str, onnx.ModelProto], facts: Mapping[str, str]) -> None:
    """Write the same facts into the metadata of each model, in alphabetical order."""
    for model in models.values():
        onnx.helper.set_model_props(model, dict(sorted(facts.items())))


def _export(module: nn.Module, example: Mapping[str, Tensor], output_names: Sequence[str]) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1)
    with _quietly():
        program = torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            input_names=list(example),
            output_names=list(output_names),
            dynamic_shapes=tuple({0: batch} for _ in example),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # a file name would have made it None
    return program.model_proto


def _cleaned(model: onnx.ModelProto, name: str, axis: str = "batch") -> onnx.ModelProto:
    """A copy with nothing of the machine that made it, short names for the dynamic axis, the lowest IR version.

    torch's exporter puts stack traces with local paths into every node's metadata.
    """
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    clean.ir_version = IR_VERSION
    clean.producer_name, clean.producer_version = "vae-export", ""
    clean.doc_string = clean.graph.doc_string = clean.domain = ""
    clean.graph.name = name
    del clean.metadata_props[:], clean.graph.metadata_props[:], clean.functions[:]
    del clean.graph.value_info[:]  # inferred again by whoever needs it
    for part in [*clean.graph.node, *clean.graph.input, *clean.graph.output, *clean.graph.initializer]:
        part.doc_string = ""
        del part.metadata_props[:]
    tensors = [clean.graph.output] if axis == "count" else [clean.graph.input, clean.graph.output]
    for tensor in (tensor for group in tensors for tensor in group):
        tensor.type.tensor_type.shape.dim[0].dim_param = axis
    opsets = [opset for opset in clean.opset_import if opset.domain in ("", "ai.onnx")]
    del clean.opset_import[:]
    clean.opset_import.extend(opsets[:1])
    return clean


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The exporter talks on standard output and through warnings about its own internals; nobody here can act on it."""
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
