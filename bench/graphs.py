"""Products in a graph, and the largest matrix product that ONNX Runtime does here: what there is, and what is used."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from .running import Feed, session

SIDES = (512, 1024, 2048)
"""Of the square matrices: small ones are overhead, large ones may leave the cache."""

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def multiplications(path: Path, feed: Feed, pictures: int) -> float:
    """Products of convolutions and matrix products for one picture, as shapes are when the graph runs on this feed.

    The usual count: each weight of a convolution once for each place, those at the padded edge included. What latents
    take besides matrix products, in integers and element by element, is not counted.
    """
    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.op_type in PRODUCTS]
    names = dict.fromkeys(name for node in nodes for name in (node.input[0], node.input[1], node.output[0]))
    given = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # every name stays
    options.log_severity_level = 3
    plain = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = list(names)
    shapes = {name: value.shape for name, value in zip(wanted, plain.run(wanted, dict(feed)), strict=True)}
    return sum(_products(node, shapes) for node in nodes) / pictures


def _products(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    a, b, out = (shapes[name] for name in (node.input[0], node.input[1], node.output[0]))
    if node.op_type == "Conv":  # weights [out, in / groups, …]: for each number that comes out
        return int(np.prod(out)) * int(np.prod(b[1:]))
    if node.op_type == "ConvTranspose":  # weights [in, out / groups, …]: for each number that goes in
        return int(np.prod(a)) * int(np.prod(b[1:]))
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return int(np.prod(out)) * (a[0] if transposed else a[-1])


def matmul_rates(threads: int = 1, seconds: float = 1.0) -> dict[int, float]:
    """Float32 products a second of ONNX Runtime's MatMul of square matrices here, by their side.

    Args:
        threads: one-thread sessions side by side; the rate is of all of them.
        seconds: how long each side is tried.
    """
    return {side: _rate(side, threads, seconds) for side in SIDES}


def _rate(side: int, threads: int, seconds: float) -> float:
    """Of one thread the best run counts, which nothing else disturbed; of several, all that they do in the time."""
    sessions = [session(_matmul(side), 1) for _ in range(threads)]
    feed = {name: np.random.default_rng(0).random((side, side), np.float32) for name in "ab"}
    for one in sessions:
        one.run(None, feed)
    runs: list[list[float]] = [[] for _ in range(threads)]
    ready = threading.Barrier(threads)

    def work(at: int) -> None:
        ready.wait()
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            sessions[at].run(None, feed)
            runs[at].append(time.perf_counter() - began)

    others = [threading.Thread(target=work, args=(at,)) for at in range(1, threads)]
    for other in others:
        other.start()
    work(0)
    for other in others:
        other.join()
    if threads == 1:
        return side**3 / min(runs[0])
    return sum(side**3 * len(took) / sum(took) for took in runs)


def _matmul(side: int) -> bytes:
    a, b, c = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "abc")
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "matmul", [a, b], [c])
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    ).SerializeToString()
    return content
