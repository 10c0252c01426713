"""The shipped graphs as PyTorch modules, with the weights of their ONNX files."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from vae_runtime import find_model
from vae_train.config import ModelConfig
from vae_train.detail.config import DetailConfig
from vae_train.detail.networks import DetailDecoder
from vae_train.model import Decoder

Array = NDArray[np.float32]


class Pictures(nn.Module):
    """A decoder with the sigmoid that its graph ends with."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *inputs: Tensor) -> Tensor:
        """[batch, 1, 28, 28] in [0, 1]."""
        return torch.sigmoid(self.decoder(*inputs))


def network(name: str, graph: str) -> Pictures:
    """A model's decoder or detail stage.

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
    """The graph's initialisers whose names end as those that are wanted, as PyTorch has them.

    Raises:
        LookupError: one that is not there, or not in a form that is known.
    """
    there = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    found = {}
    for key, value in wanted.items():
        forms = (undo(values) for name, values in there.items() for suffix, undo in FORMS.items()
                 if name.endswith(f".{key}{suffix}"))
        same = [form for form in forms if form.shape == value.shape]
        if len(same) != 1:
            raise LookupError(f"expected one weight of {path.name} to be {key}, found {len(same)}")
        found[key] = torch.tensor(same[0])
    return found


def _from_phases(values: Array) -> Array:
    """What vae_export.faster made four phases of: a bias four times, a kernel [4 · out, in, 2, 2]."""
    if values.ndim == 1:
        return values[: len(values) // 4]
    rest, inside = len(values) // 4, values.shape[1]
    split = values.reshape(2, 2, rest, inside, 2, 2).transpose(3, 2, 4, 0, 5, 1)[:, :, ::-1, :, ::-1]
    return np.ascontiguousarray(split.reshape(inside, rest, 4, 4))


def _turned_back(values: Array) -> Array:
    return np.ascontiguousarray(values.transpose(1, 0, *range(2, values.ndim))[..., ::-1, ::-1])


FORMS: dict[str, Callable[[Array], Array]] = {"": lambda values: values, "_phases": _from_phases,
                                              "_turned": _turned_back}
"""Ends of the names of weights that were exported in another form, and the way back."""


def products(network: Pictures, *inputs: Tensor) -> float:
    """Multiplications for one picture by the layers' own definition, however they are exported.

    Each weight of a convolution counts once for each place that it is laid on, those at the padded edge included.
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
    """The network through torch's exporter as it is, for any batch: what a peer would be given by somebody else."""
    module = network(name, graph)
    manifest = json.loads((find_model(name) / "manifest.json").read_bytes())
    inputs = {entry["name"]: torch.zeros(2, entry["shape"][1]) for entry in manifest["graphs"][graph]["inputs"]}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of its own internals
        program = torch.onnx.export(
            module, tuple(inputs.values()), dynamo=True, opset_version=18, input_names=list(inputs),
            output_names=["image"], dynamic_shapes=(tuple({0: torch.export.Dim("batch")} for _ in inputs),),
        )  # fmt: skip
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
