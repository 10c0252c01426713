"""Operators exchanged for faster ones: the same values, where the exchange applies and where it must not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from vae_export.faster import phase_kernels, with_blocks, with_faster_operators


def one_layer(kind: str, kernel: np.ndarray, height: int, width: int, **attributes: object) -> ModelProto:
    """A model of one convolution, ordinary or transposed, with random biases."""
    inside, outside = kernel.shape[:2] if kind == "ConvTranspose" else kernel.shape[1::-1]
    bias = np.random.default_rng(1).standard_normal(outside).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "kernel", "bias"], ["y"], "layer", **attributes)],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inside, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", outside, None, None])],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def random_kernel(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def kinds(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def run(model: ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def largest_difference(before: ModelProto, after: ModelProto, height: int, width: int, batch: int) -> float:
    onnx.checker.check_model(after, full_check=True)
    channels = before.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = np.random.default_rng(2).standard_normal((batch, channels, height, width)).astype(np.float32)
    expected, found = run(before, x), run(after, x)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


UP = {"strides": [2, 2], "pads": [1, 1, 1, 1]}


@pytest.mark.parametrize(("height", "width", "batch"), [(7, 7, 1), (7, 7, 3), (1, 1, 2), (5, 8, 2)])
def test_a_transposed_convolution_as_phases_gives_the_same_values(height: int, width: int, batch: int) -> None:
    before = one_layer("ConvTranspose", random_kernel(5, 16, 4, 4), height, width, **UP)
    after = with_faster_operators(before)
    assert kinds(after) == {"Conv": 4, "Concat": 1, "Transpose": 3, "Reshape": 2}
    assert largest_difference(before, after, height, width, batch) < 2e-5


def with_relu(before: ModelProto, *, also: str = "") -> ModelProto:
    """The model with a ReLU behind it, and perhaps a further node that uses what the ReLU uses."""
    before.graph.node.append(helper.make_node("Relu", ["y"], ["positive"], "relu"))
    if also:
        before.graph.node.append(helper.make_node("Add", ["positive", "y"], ["z"], "sum"))
    before.graph.output[0].name = also or "positive"
    return before


def test_a_relu_behind_a_weave_moves_in_front_of_it() -> None:
    before = with_relu(one_layer("ConvTranspose", random_kernel(5, 16, 4, 4), 5, 7, **UP))
    after = with_faster_operators(before)
    assert kinds(after) == {"Conv": 4, "Relu": 4, "Concat": 1, "Transpose": 3, "Reshape": 2}
    assert largest_difference(before, after, 5, 7, 2) < 2e-5
    assert run(after, np.ones((1, 5, 5, 7), np.float32)).min() == 0


def test_a_relu_stays_where_what_it_uses_is_used_elsewhere() -> None:
    before = with_relu(one_layer("ConvTranspose", random_kernel(5, 16, 4, 4), 5, 7, **UP), also="z")
    after = with_faster_operators(before)
    assert kinds(after)["Relu"] == 1
    assert largest_difference(before, after, 5, 7, 2) < 4e-5
    seen = with_relu(one_layer("ConvTranspose", random_kernel(5, 16, 4, 4), 5, 7, **UP))
    seen.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 16, None, None]))
    assert kinds(with_faster_operators(seen))["Relu"] == 1


def residual_block(channels: int, *, added: str = "change") -> ModelProto:
    """x and a convolution of x added, where x [batch, channels, 12] becomes [batch, channels, 3, 4] before."""
    kernel = random_kernel(channels, channels, 3, 3)
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "shape"], ["features"], "features"),
            helper.make_node("Conv", ["features", "kernel"], ["change"], "change", pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["features", added], ["y"], "sum"),
        ],
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", channels, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", channels, 3, 4])],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(np.array([-1, channels, 3, 4]), "shape")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_the_input_of_a_residual_block_is_put_into_blocks() -> None:
    before = residual_block(32)
    after = with_blocks(before)
    assert [node.op_type for node in after.graph.node] == ["Reshape", "MaxPool", "Conv", "Add"]
    assert [list(node.input) for node in after.graph.node][2:] == [
        ["features_blocks", "kernel"], ["features_blocks", "change"],
    ]  # fmt: skip
    onnx.checker.check_model(after, full_check=True)
    x = np.random.default_rng(2).standard_normal((3, 32, 12)).astype(np.float32)
    assert np.abs(run(before, x) - run(after, x)).max() < 2e-5


def test_other_sums_and_narrow_features_stay_as_they_are() -> None:
    for before in (residual_block(24), residual_block(32, added="features")):
        assert with_blocks(before).graph.node == before.graph.node


def test_attributes_that_torch_writes_out_are_no_hindrance() -> None:
    spelt_out = {"group": 1, "auto_pad": "NOTSET", "dilations": [1, 1], "output_padding": [0, 0]}
    before = one_layer("ConvTranspose", random_kernel(5, 16, 4, 4), 7, 7, **UP, **spelt_out)
    assert kinds(with_faster_operators(before))["ConvTranspose"] == 0


def test_a_pixel_of_each_phase_takes_its_own_four_weights_of_the_kernel() -> None:
    kernel = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert phase_kernels(kernel)[:, :, 0, 0].tolist() == [
        [[[15, 13], [7, 5]], [[14, 12], [6, 4]]],  # even rows: even columns, odd columns
        [[[11, 9], [3, 1]], [[10, 8], [2, 0]]],  # odd rows
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_convolution_to_few_channels_is_turned_round(channels: int) -> None:
    before = one_layer("Conv", random_kernel(channels, 16, 3, 3), 28, 27, pads=[1, 1, 1, 1])
    after = with_faster_operators(before)
    assert kinds(after) == {"ConvTranspose": 1}
    assert largest_difference(before, after, 28, 27, 2) < 2e-5


def test_a_transposed_convolution_to_many_channels_is_turned_round_and_shares_its_weights() -> None:
    before = one_layer("ConvTranspose", random_kernel(5, 16, 3, 3), 8, 7, pads=[1, 1, 1, 1])
    before.graph.node.insert(0, helper.make_node("ConvTranspose", ["x", "kernel"], ["z"], "other", pads=[1, 1, 1, 1]))
    after = with_faster_operators(before)
    assert kinds(after) == {"Conv": 2}
    assert [node.input[1] for node in after.graph.node] == ["kernel_turned"] * 2
    assert len(after.graph.initializer) == 2
    assert largest_difference(before, after, 8, 7, 3) < 2e-5


@pytest.mark.parametrize(("size", "attributes"), [(3, {"pads": [1, 1, 1, 1]}), (4, UP)])
def test_a_weight_that_is_used_both_ways_is_stored_once(size: int, attributes: dict[str, object]) -> None:
    before = one_layer("ConvTranspose", random_kernel(16, 16, size, size), 8, 6, **attributes)
    before.graph.node.append(helper.make_node("Conv", ["y", "kernel"], ["z"], "other", **attributes))
    before.graph.output[0].name = "z"
    after = with_faster_operators(before)
    assert kinds(after)["ConvTranspose"] == 0
    weights = [tensor for tensor in after.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    assert sorted(tensor.name for tensor in weights) == ["bias", "kernel"]
    assert largest_difference(before, after, 8, 6, 3) < 2e-3  # of sums of 256 products of such sums


@pytest.mark.parametrize(
    ("kind", "shape", "attributes"),
    [
        ("ConvTranspose", (4, 16, 4, 4), {**UP, "output_padding": [1, 1]}),
        ("ConvTranspose", (4, 16, 4, 4), {"strides": [2, 2], "pads": [0, 1, 0, 1]}),
        ("ConvTranspose", (4, 16, 3, 3), UP),
        ("ConvTranspose", (4, 15, 4, 4), UP),
        ("ConvTranspose", (4, 16, 4, 4), {**UP, "dilations": [2, 2]}),
        ("Conv", (4, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
        ("Conv", (1, 16, 3, 3), {}),
        ("Conv", (1, 16, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ],
)
def test_what_is_of_another_kind_stays_as_it_is(
    kind: str, shape: tuple[int, ...], attributes: dict[str, object]
) -> None:
    before = one_layer(kind, random_kernel(*shape), 8, 8, **attributes)
    assert with_faster_operators(before).graph.node == before.graph.node


def test_the_model_that_was_given_is_not_changed_and_no_weight_is_left_unused() -> None:
    before = one_layer("ConvTranspose", random_kernel(5, 16, 4, 4), 7, 7, **UP)
    content = before.SerializeToString()
    after = with_faster_operators(before)
    assert before.SerializeToString() == content
    used = {name for node in after.graph.node for name in node.input}
    assert {tensor.name for tensor in after.graph.initializer} <= used
