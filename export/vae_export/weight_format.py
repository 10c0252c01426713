"""Stores the large weights of a model in fewer bytes: as float16, or as int8 with a step for each output channel.

The networks in PyTorch are rounded first (`rounded`), so that the prior, the proof, the golden vectors and all figures
are those of the rounded weights. The graphs are built from them, and `packed` then changes only how they store weights:

    float16   weight = Cast(float16 numbers)
    int8      weight = Cast(Cast(int8 numbers to int32)) · step, with a float32 step for each output channel

Both give exactly the rounded weights in float32. ONNX Runtime computes these nodes once, when it opens the graph. So
pictures are still computed in float32 and at the same speed, and the results do not depend on the processor, as those
of int8 kernels do. Two shorter ways are wrong for that reason. ONNX Runtime computes the operator DequantizeLinear in
every run. And from int8 numbers that are cast to float32 at once, OpenVINO (2026.4) concludes that it may compute in
int8, too: posterior means were off by 0.16.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

from vae_train.detail.folder import Detail
from vae_train.run_folder import Run

from .graphs import Graphs
from .report import StructureCheck

WeightFormat = Literal["float32", "float16", "int8"]
LARGE = 9000
"""A weight of fewer numbers stays float32. So does the first layer of the detail stage, which has 8448 of them: as int8
it alone changed pictures more than any other layer does, by up to 42 grey levels, for 25 KB."""
LARGEST = 127
"""The largest number of an int8 weight. The smallest is −127, so that both signs are rounded alike."""

Steps = Mapping[str, NDArray[np.float32]]
"""The steps [channels] of each rounded weight by its name in the network; an empty array for float16."""
Network = TypeVar("Network", bound=nn.Module)


def rounded(network: Network, weight_format: WeightFormat) -> tuple[Network, Steps]:
    """A copy of a network whose large weights are rounded, and their steps.

    An int8 weight is off by at most half a step, which is 1/127 of the largest weight of the same output channel.
    """
    network, steps = copy.deepcopy(network), {}
    for name, layer in network.named_modules():
        if not isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)) or layer.weight.numel() < LARGE:
            continue
        weight, step = layer.weight.detach().numpy(), np.zeros(0, np.float32)
        if weight_format == "float16":
            weight = weight.astype(np.float16).astype(np.float32)
        elif weight_format == "int8":
            axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0  # of the output channels
            largest = np.abs(weight).max(tuple(at for at in range(weight.ndim) if at != axis))
            step = np.maximum(largest / LARGEST, np.finfo(np.float32).tiny).astype(np.float32)
            factors = _along(step, axis, weight.ndim)
            weight = np.clip(np.rint(weight / factors), -LARGEST, LARGEST) * factors
        layer.weight.data, steps[f"{name}.weight"] = torch.from_numpy(weight), step
    return network, steps


def rounded_run(run: Run, detail: Detail | None, weight_format: WeightFormat) -> tuple[Run, Detail | None, Steps]:
    """A run and its detail stage with rounded weights, and the steps of both. With float32 nothing is rounded."""
    if weight_format == "float32":
        return run, detail, {}
    vae, steps = rounded(run.vae, weight_format)
    if detail is not None:
        stage, more = rounded(detail.decoder, weight_format)
        detail, steps = replace(detail, decoder=stage), {**steps, **more}
    return replace(run, vae=vae), detail, steps


def packed(model: ModelProto, steps: Steps) -> ModelProto:
    """A copy of a model that stores its rounded weights in fewer bytes. Their values in float32 are the same."""
    made, tensors, nodes = ModelProto(), [], []
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        parts = _packed_parts(tensor, steps)
        if parts is None:
            tensors.append(tensor)
            continue
        name, numbers = tensor.name, f"{tensor.name}_{parts[0].dtype}"
        tensors.append(numpy_helper.from_array(parts[0], numbers))
        if len(parts) == 1:
            nodes.append(helper.make_node("Cast", [numbers], [name], name, to=TensorProto.FLOAT))
            continue
        whole, values, factors = f"{name}_int32", f"{name}_in_steps", name.replace(".weight", ".steps")
        tensors.append(numpy_helper.from_array(parts[1], factors))
        nodes.append(helper.make_node("Cast", [numbers], [whole], whole, to=TensorProto.INT32))
        nodes.append(helper.make_node("Cast", [whole], [values], values, to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [values, factors], [name], name))
    others = [*nodes, *made.graph.node]
    del made.graph.initializer[:], made.graph.node[:]
    made.graph.initializer.extend(tensors)
    made.graph.node.extend(others)
    return made


def packed_graphs(graphs: Graphs, steps: Steps) -> Graphs:
    """The graphs with all networks packed."""
    networks = {name: getattr(graphs, name) for name in ("encoder", "decoder", "generator", "detail")}
    return replace(graphs, **{name: packed(model, steps) for name, model in networks.items() if model is not None})


def storage_checks(graphs: Graphs, steps: Steps) -> list[StructureCheck]:
    """A check for each graph with rounded weights that none of them is stored as float32."""
    checks = []
    for name, model in graphs.by_name().items():
        tensors = model.graph.initializer
        left = [tensor.name for tensor in tensors if _steps_of(tensor, steps) is not None]
        small = (tensor for tensor in tensors if tensor.data_type in (TensorProto.INT8, TensorProto.FLOAT16))
        sizes = [len(tensor.raw_data) for tensor in small]
        if left or sizes:
            found = f"float32 for {', '.join(left)}" if left else f"{len(sizes)} of them in {sum(sizes)} bytes"
            checks.append(StructureCheck(f"{name}: rounded weights in fewer bytes", not left, found))
    return checks


def _steps_of(tensor: TensorProto, steps: Steps) -> NDArray[np.float32] | None:
    """The steps of a float32 tensor that is a rounded weight or a part of one, which `faster` names after it."""
    weight = tensor.name.partition(".weight")[0] + ".weight"
    found = (step for name, step in steps.items() if weight.endswith(f".{name}"))
    return next(found, None) if tensor.data_type == TensorProto.FLOAT else None


def _packed_parts(tensor: TensorProto, steps: Steps) -> tuple[NDArray[Any], ...] | None:
    """The arrays to store in place of a tensor: its numbers, and for int8 their steps. None leaves it as it is.

    In a part or a turned copy of a weight (`faster`) the output channels may be another axis than in the weight. The
    right one is that whose products are the values.
    """
    step = _steps_of(tensor, steps)
    if step is None:
        return None
    values = numpy_helper.to_array(tensor)
    if not len(step):
        half = values.astype(np.float16)
        return (half,) if (half == values).all() else None
    for axis in (0, 1):
        if len(step) == values.shape[axis]:
            factors = _along(step, axis, values.ndim)
            numbers = np.clip(np.rint(values / factors), -LARGEST, LARGEST).astype(np.int8)
            if (numbers * factors == values).all():
                return numbers, factors
    return None


def _along(step: NDArray[np.float32], axis: int, axes: int) -> NDArray[np.float32]:
    """Steps as factors along one of the axes of a weight."""
    return step.reshape([-1 if at == axis else 1 for at in range(axes)])
