"""The shipped graphs as PyTorch modules, with the weights of their ONNX files."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from vae_runtime import find_model
from vae_train.config import ModelConfig
from vae_train.detail.config import DetailConfig
from vae_train.detail.networks import DetailDecoder
from vae_train.model import Decoder


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


def weights(path: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The graph's initialisers whose names end as those that are wanted."""
    there = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in onnx.load(path).graph.initializer}
    found = {}
    for key, value in wanted.items():
        same = [w for name, w in there.items() if name.endswith(f".{key}") and w.shape == value.shape]
        if len(same) != 1:
            raise LookupError(f"expected one weight of {path.name} to be {key}, found {len(same)}")
        found[key] = same[0]
    return found
