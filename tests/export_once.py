"""PyTorch's exporter, asked once for each network: it takes seconds, and most tests are about what follows it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx
import pytest
from torch import Tensor, nn

from vae_export import graphs

real_export = graphs._export
_made: dict[object, onnx.ModelProto] = {}


@contextlib.contextmanager
def export_once() -> Iterator[None]:
    """In the `with` block a network with the same weights and settings gets the graph that it got before."""

    def remembered(
        network: nn.Module, function: Callable[..., Any], example: Mapping[str, Tensor], output_names: Sequence[str]
    ) -> onnx.ModelProto:
        weights = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in example.items())
        key = hashlib.sha256(weights).digest(), repr(getattr(network, "config", None)), shapes, tuple(output_names)
        if key not in _made:
            _made[key] = real_export(network, function, example, output_names)
        return _made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "_export", remembered)
        yield
