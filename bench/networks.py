"""The shipped graphs as PyTorch modules with the weights that are kept of them, and as torch's exporter writes them."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from functools import cache
from pathlib import Path

import torch
import vae_train.weights
from torch import Tensor, nn

from vae_export.weight_format import rounded_run
from vae_gen import find_model
from vae_train.detail.folder import load_detail
from vae_train.run_folder import load_run


class Pictures(nn.Module):
    """A VAE's decoder and the sigmoid at its end."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor) -> Tensor:
        """Pictures [batch, 1, 28, 28] in [0, 1]."""
        return torch.sigmoid(self.decoder(latent))


def network(name: str, graph: str) -> nn.Module:
    """The decoder or the detail stage of a shipped model as a PyTorch module, with the weights that its graph has.

    Raises:
        InputError: the model's weights are not kept, or not with a detail stage.
    """
    run = load_run(Path(vae_train.weights.__file__).parent / name)
    detail = load_detail(run) if graph == "detail" else None
    manifest = json.loads((find_model(name) / "manifest.json").read_bytes())
    run, detail, _ = rounded_run(run, detail, manifest.get("weight_format", "float32"))
    return Pictures(run.vae.decoder) if detail is None else detail.decoder


def products(network: nn.Module, *inputs: Tensor) -> float:
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
            output_names=["image"], dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in inputs),
        )  # fmt: skip
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
