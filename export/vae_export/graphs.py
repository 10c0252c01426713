"""The three graphs of a model folder, from a trained VAE.

    encoder     image f32 [batch, channels, height, width] → mean, log_variance f32 [batch, dimensions]
    decoder     latent f32 [batch, dimensions]             → image f32 [batch, channels, height, width] in [0, 1]
    generator   seed, start, count i64 []                  → image f32 [count, …], latent f32 [count, dimensions]

Encoder and decoder come from torch's own exporter; the generator is the seed graph in front of the decoder.
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

from vae_train.model import VAE

from .seed_graph import IR_VERSION, OPSET, latent_graph


@dataclass(frozen=True)
class Graphs:
    """The models of a folder, each complete in itself."""

    encoder: onnx.ModelProto
    decoder: onnx.ModelProto
    generator: onnx.ModelProto

    def by_name(self) -> dict[str, onnx.ModelProto]:
        """The three of them under the names of the contract."""
        return {"encoder": self.encoder, "decoder": self.decoder, "generator": self.generator}


class _Encode(nn.Module):
    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.vae.encode(image)
        return mean, log_variance


class _Decode(nn.Module):
    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Tensor) -> Tensor:
        image: Tensor = self.vae.decode(latent)
        return image


def build_graphs(vae: VAE, image_shape: tuple[int, int, int], dimensions: int) -> Graphs:
    """The graphs of a VAE that is in evaluation mode on the CPU, at opset 18 and IR version 8.

    Args:
        vae: float32, in evaluation mode, on the CPU.
        image_shape: (channels, height, width).
        dimensions: the latent's width.
    """
    image, latent = torch.zeros(2, *image_shape), torch.zeros(2, dimensions)
    encoder = _cleaned(_export(_Encode(vae), "image", image, ["mean", "log_variance"]), "encoder")
    decoder = _cleaned(_export(_Decode(vae), "latent", latent, ["image"]), "decoder")
    generator = onnx.compose.merge_models(
        onnx.compose.add_prefix(latent_graph(dimensions), "seed_", rename_inputs=False, rename_outputs=False),
        onnx.compose.add_prefix(decoder, "decoder_", rename_inputs=False, rename_outputs=False),
        io_map=[("latent", "latent")],
        outputs=["image", "latent"],
    )
    # The picture comes first, as apps want it first.
    outputs = sorted(generator.graph.output, key=lambda output: output.name)
    del generator.graph.output[:]
    generator.graph.output.extend(outputs)
    return Graphs(encoder, decoder, _cleaned(generator, "generator", axis="count"))


def describe(models: Mapping[str, onnx.ModelProto], facts: Mapping[str, str]) -> None:
    """Write the same facts into the metadata of each model, in alphabetical order."""
    for model in models.values():
        onnx.helper.set_model_props(model, dict(sorted(facts.items())))


def _export(module: nn.Module, input_name: str, example: Tensor, output_names: Sequence[str]) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1)
    with _quietly():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_shapes=({0: batch},),
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
    tensors = [clean.graph.output] if name == "generator" else [clean.graph.input, clean.graph.output]
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
