"""Products in a graph, and the largest matrix product that ONNX Runtime does here: what there is, and what is used."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

SIDE = 1024


def multiplications(path: Path) -> int:
    """Products of convolutions and matrix products for one picture."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    shapes = {
        value.name: [axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim]
        for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            weights, places = shapes[node.input[1]], shapes[node.output[0] if node.op_type == "Conv" else node.input[0]]
            total += int(np.prod(weights)) * int(np.prod(places[2:]))
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in shapes:
            total += int(np.prod(shapes[node.input[1]]))
    return total


def largest_rate(seconds: float = 1.0) -> float:
    """Float32 products a second of a large MatMul on one thread."""
    a, b, c = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIDE, SIDE]) for name in "abc")
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "matmul", [a, b], [c])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {name: np.random.default_rng(0).random((SIDE, SIDE), np.float32) for name in "ab"}
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        session.run(None, feed)
        best = min(best, time.perf_counter() - began)
    return SIDE**3 / best
