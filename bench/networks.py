"""The shipped graphs as PyTorch modules with the weights of their ONNX files, and as torch's exporter writes them."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from vae_gen import find_model
from vae_train.config import DetailConfig, ModelConfig
from vae_train.detail.networks import DetailDecoder
from vae_train.model import Decoder

Array = NDArray[np.float32]


class Pictures(nn.Module):
    """A decoder and the sigmoid at its end."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *inputs: Tensor) -> Tensor:
        """Pictures [batch, 1, 28, 28] in [0, 1]."""
        return torch.sigmoid(self.decoder(*inputs))


def network(name: str, graph: str) -> Pictures:
    """The decoder or the detail stage of a shipped model as a PyTorch module.

    Raises:
        LookupError: the graph's weights have other names or shapes.
    """
    path = find_model(name)
    recipe = json.loads((path / "manifest.json").read_bytes())["training"]
    model = ModelConfig.from_json(recipe["recipe"]["model"])
    if graph == "decoder":
        decoder: nn.Module = Decoder(model)
    else:
        decoder = DetailDecoder(model, DetailConfig.from_json(recipe["detail"]["recipe"]))
    decoder.load_state_dict(weights(path / f"{graph}.onnx", decoder.state_dict()))
    return Pictures(decoder.eval())


def weights(path: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a graph, by the names and in the shapes that a PyTorch module wants.

    Raises:
        LookupError: a weight is missing, or has an unknown form.
    """
    there = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    found = {}
    for key, value in wanted.items():
        same = [form for form in _forms(there, key) if form.shape == value.shape]
        if len(same) != 1:
            raise LookupError(f"expected one weight of {path.name} to be {key}, found {len(same)}")
        found[key] = torch.tensor(same[0])
    return found


def _forms(there: Mapping[str, Array], key: str) -> Iterator[Array]:
    """Yields the candidates for a weight: as it is, or converted back from the forms of vae_export.faster."""
    for name, values in there.items():
        if name.endswith(f".{key}"):
            yield values
        elif name.endswith(f".{key}_turned"):
            yield np.ascontiguousarray(values.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
        elif name.endswith(f".{key}_phase_00"):
            yield _from_phases({(a, b): there[f"{name[:-2]}{a}{b}"] for a in (0, 1) for b in (0, 1)})


def _from_phases(phases: Mapping[tuple[int, int], Array]) -> Array:
    """The kernel [in, out, 4, 4] of a transposed convolution, from those of its four convolutions [out, in, 2, 2]."""
    outside, inside = phases[0, 0].shape[:2]
    kernel = np.empty((inside, outside, 4, 4), np.float32)
    of_phase = ((3, 1), (2, 0))  # the kernel rows (or columns) for even and for odd output rows (or columns)
    for (row, column), values in phases.items():
        for y, up in enumerate(of_phase[row]):
            for x, left in enumerate(of_phase[column]):
                kernel[:, :, up, left] = values[:, :, y, x].T
    return kernel


def products(network: Pictures, *inputs: Tensor) -> float:
    """The multiplications for one picture by the definition of the layers, however they are exported.

    Each weight of a convolution counts once for each place, including those at the padded edge.
    """
    counted = 0

    def count(layer: nn.Module, entered: tuple[Tensor, ...], left: Tensor) -> None:
        nonlocal counted
        assert isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        places = (entered[0] if isinstance(layer, nn.ConvTranspose2d) else left)[0]
        counted += layer.weight.numel() * (places[0].numel() if places.ndim > 1 else 1)

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return counted


@cache
def plain_export(name: str, graph: str) -> bytes:
    """The network as torch's exporter writes it, for any batch: what other people would give to a peer."""
    module = network(name, graph)
    manifest = json.loads((find_model(name) / "manifest.json").read_bytes())
    inputs = {entry["name"]: torch.zeros(2, entry["shape"][1]) for entry in manifest["graphs"][graph]["inputs"]}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # about the exporter's internals
        program = torch.onnx.export(
            module, tuple(inputs.values()), dynamo=True, opset_version=18, input_names=list(inputs),
            output_names=["image"], dynamic_shapes=(tuple({0: torch.export.Dim("batch")} for _ in inputs),),
        )  # fmt: skip
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
