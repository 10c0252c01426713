"""Counts the multiplications of a graph, and measures how many ONNX Runtime can do per second on this machine."""

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
"""The sizes of the square matrices. Small ones are mostly overhead; large ones may not fit the cache."""

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def multiplications(path: Path, feed: Feed, pictures: int) -> float:
    """The multiplications of convolutions and matrix products for one picture, when the graph runs on these inputs.

    Each weight of a convolution counts once for each place, including those at the padded edge. Other work for the
    latents, in integers and element by element, is not counted.
    """
    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.op_type in PRODUCTS]
    names = dict.fromkeys(name for node in nodes for name in (node.input[0], node.input[1], node.output[0]))
    given = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # so that every name is kept
    options.log_severity_level = 3
    plain = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = list(names)
    shapes = {name: value.shape for name, value in zip(wanted, plain.run(wanted, dict(feed)), strict=True)}
    return sum(_products(node, shapes) for node in nodes) / pictures


def _products(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    a, b, out = (shapes[name] for name in (node.input[0], node.input[1], node.output[0]))
    if node.op_type == "Conv":  # weights [out, in / groups, …], for each value of the output
        return int(np.prod(out)) * int(np.prod(b[1:]))
    if node.op_type == "ConvTranspose":  # weights [in, out / groups, …], for each value of the input
        return int(np.prod(a)) * int(np.prod(b[1:]))
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return int(np.prod(out)) * (a[0] if transposed else a[-1])


def matmul_rates(threads: int = 1, seconds: float = 1.0) -> dict[int, float]:
    """The float32 multiplications per second of ONNX Runtime's MatMul of square matrices, by their size.

    Args:
        threads: the number of one-thread sessions side by side; the rate is that of all together.
        seconds: how long each size is measured.
    """
    return {side: _rate(side, threads, seconds) for side in SIDES}


def _rate(side: int, threads: int, seconds: float) -> float:
    """The rate of one size: by the best run of one thread, or by all runs of several threads."""
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
