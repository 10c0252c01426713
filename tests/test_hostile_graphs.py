"""Graphs from a stranger: every feature that could read files, run for ever or fill the memory is refused."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from vae_gen import VAE, ModelError, find_model
from vae_gen.internal.graph_check import BATCH, MOST_NODES, OPERATORS, check_graph
from vae_gen.internal.model import open_session

Change = Callable[[onnx.ModelProto], None]
ALL_SHIPPED = sorted(find_model().parent.glob("*/*.onnx"))
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def decoder(*nodes: onnx.NodeProto, constants: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """A graph with the signature of the tiny model's decoder; its last node makes `image`."""
    graph = helper.make_graph(
        list(nodes), "decoder",
        [helper.make_tensor_value_info("latent", FLOAT, ["batch", 12])],
        [helper.make_tensor_value_info("image", FLOAT, ["batch", 1, 28, 28])],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def plain() -> onnx.ModelProto:
    """A harmless one, to which tests add something."""
    return decoder(
        helper.make_node("MatMul", ["latent", "weights"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["image"]),
        constants={"weights": np.zeros((12, 784), np.float32), "shape": np.array([-1, 1, 28, 28], np.int64)},
    )


def external(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")


def sizes(*lengths: int) -> np.ndarray:
    return np.array(lengths, np.int64)


def body(name: str) -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], name, [helper.make_tensor_value_info("x", FLOAT, [1])],
        [helper.make_tensor_value_info("y", FLOAT, [1])],
    )  # fmt: skip


def change(edit: Change) -> onnx.ModelProto:
    model = plain()
    edit(model)
    return model


def attribute_tensor(model: onnx.ModelProto) -> None:
    constant = numpy_helper.from_array(np.zeros(4, np.float32), "c")
    external(constant)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=constant))


def sparse(model: onnx.ModelProto) -> None:
    tensor = model.graph.sparse_initializer.add()
    tensor.dims.extend([4])
    external(tensor.values)


def training(model: onnx.ModelProto) -> None:
    external(model.training_info.add().initialization.initializer.add(name="a", dims=[1], data_type=FLOAT))


def function(model: onnx.ModelProto) -> None:
    constant = numpy_helper.from_array(np.zeros(4, np.float32), "c")
    external(constant)
    model.functions.add(name="F", domain="mine").node.append(helper.make_node("Constant", [], ["c"], value=constant))


def quantised(model: onnx.ModelProto) -> None:
    model.graph.quantization_annotation.add(tensor_name="latent")


def grown(operator: str, *inputs: str, **constants: np.ndarray) -> onnx.ModelProto:
    """A node that makes something huge, besides the harmless ones."""
    model = plain()
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.node.append(helper.make_node(operator, inputs, ["huge"]))
    return model


def doubled(times: int) -> onnx.ModelProto:
    """A chain in which each node's output is twice as large as the one before."""
    model = plain()
    for at in range(times):
        before = f"d{at - 1}" if at else "latent"
        model.graph.node.append(helper.make_node("Concat", [before, before], [f"d{at}"], axis=1))
    return model


def long_work() -> onnx.ModelProto:
    """Products of matrices that each fit into memory, but together take minutes."""
    model = plain()
    wide = np.zeros((1, 2048), np.float32)
    model.graph.initializer.extend([numpy_helper.from_array(wide, "row"), numpy_helper.from_array(wide.T, "column")])
    model.graph.node.append(helper.make_node("MatMul", ["column", "row"], ["m0"]))
    for at in range(400):
        model.graph.node.append(helper.make_node("MatMul", [f"m{at}", "m0"], [f"m{at + 1}"]))
    return model


def chain(nodes: int) -> onnx.ModelProto:
    model = plain()
    for at in range(nodes):
        model.graph.node.append(helper.make_node("Neg", [f"n{at - 1}" if at else "latent"], [f"n{at}"]))
    return model


def last_as(operator: str, **attributes: object) -> onnx.ModelProto:
    model = plain()
    model.graph.node.append(helper.make_node(operator, ["latent"], ["extra"], **attributes))
    return model


HOSTILE = {
    "external data": (lambda: change(lambda model: external(model.graph.initializer[0])), "external data"),
    "external data in an attribute": (lambda: change(attribute_tensor), "external data"),
    "external data in a sparse tensor": (lambda: change(sparse), "sparse tensors"),
    "training information": (lambda: change(training), "training information"),
    "a function": (lambda: change(function), "functions"),
    "quantisation": (lambda: change(quantised), "the field 114 of a graph"),
    "Loop": (lambda: last_as("Loop", body=body("loop")), "graphs inside of nodes"),
    "If": (lambda: last_as("If", then_branch=body("a"), else_branch=body("b")), "graphs inside of nodes"),
    "Scan": (lambda: last_as("Scan", body=body("scan"), num_scan_inputs=1), "graphs inside of nodes"),
    "Loop without a body": (lambda: last_as("Loop"), "the operator Loop"),
    "a custom operator": (lambda: last_as("Rot", domain="evil"), "the operator evil.Rot"),
    "EPContext": (lambda: last_as("EPContext", domain="com.microsoft"), "the operator com.microsoft.EPContext"),
    "chance": (lambda: last_as("RandomNormalLike"), "the operator RandomNormalLike"),
    "an unknown attribute": (lambda: last_as("Neg", axis=1), "the attribute axis of Neg"),
    "texts": (lambda: last_as("Cast", to=TensorProto.STRING), "a cast to the type 8"),
    "ConstantOfShape": (lambda: grown("ConstantOfShape", "s", s=sizes(10**12)), "a tensor of 1000000000000 numbers"),
    "ConstantOfShape of 2 GB": (lambda: grown("ConstantOfShape", "s", s=sizes(5 * 10**8)), "a tensor of 500000000"),
    "Expand": (lambda: grown("Expand", "latent", "s", s=sizes(10**6, 1, 1)), "a tensor of 732000000"),
    "Tile": (lambda: grown("Tile", "latent", "s", s=sizes(1, 10**9)), "a tensor of 732000000000"),
    "Pad": (lambda: grown("Pad", "latent", "s", s=sizes(0, 0, 0, 10**9)), "a tensor of 61000000732"),
    "Range": (lambda: grown("Range", "a", "b", "c", a=sizes(0), b=sizes(10**12), c=sizes(1)), "a tensor of 10000"),
    "an outer sum": (
        lambda: grown("Add", "a", "b", a=np.zeros((1, 10**5), np.float32), b=np.zeros((10**5, 1), np.float32)),
        "a tensor of 10000000000",
    ),
    "a computed shape": (
        lambda: change(lambda model: model.graph.node.extend([
            helper.make_node("Cast", ["latent"], ["s"], to=INT64), helper.make_node("Expand", ["latent", "s"], ["h"]),
        ])),
        "a shape of Expand that is computed",
    ),
    "doubling": (lambda: doubled(60), "a tensor of"),
    "long work": (long_work, "multiplications"),
    "many nodes": (lambda: chain(MOST_NODES + 1), "more than 10000 nodes"),
    "a loop of names": (
        lambda: change(lambda model: model.graph.node.insert(0, helper.make_node("Neg", ["image"], ["x"]))),
        "a node that needs 'image' before it is there",
    ),
    "twice the rows": (
        lambda: decoder(
            helper.make_node("Concat", ["latent", "latent"], ["two"], axis=0),
            helper.make_node("MatMul", ["two", "weights"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["image"]),
            constants={"weights": np.zeros((12, 784), np.float32), "shape": sizes(-1, 1, 28, 28)},
        ),
        f"image of shape [{2 * BATCH}, 1, 28, 28]",
    ),
    "twice the size": (
        lambda: decoder(
            helper.make_node("MatMul", ["latent", "weights"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["image"]),
            constants={"weights": np.zeros((12, 3136), np.float32), "shape": sizes(-1, 1, 56, 56)},
        ),
        f"image of shape [{BATCH}, 1, 56, 56]",
    ),
    "a constant without its values": (
        lambda: change(lambda model: model.graph.initializer[0].dims.extend([10**12])), "another number of values",
    ),
    "a declared shape": (
        lambda: change(lambda model: setattr(model.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 2**40)),
        "image of shape [61, 1, 28, 28]",
    ),
    "a sequence": (
        lambda: change(lambda model: model.graph.input.append(
            helper.make_tensor_sequence_value_info("s", FLOAT, [1]))), "sequences",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_graph_is_refused_before_it_is_opened(case: str) -> None:
    make, found = HOSTILE[case]
    with pytest.raises(ModelError) as caught:
        check_graph(make().SerializeToString(), "decoder.onnx")
    assert str(caught.value).startswith("decoder.onnx: expected a graph as vae-export writes it, found ")
    assert found in str(caught.value)


def test_a_harmless_graph_is_accepted() -> None:
    check_graph(plain().SerializeToString(), "decoder.onnx")


@pytest.mark.parametrize("path", ALL_SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_shipped_graphs_are_accepted(path: Path) -> None:
    check_graph(path.read_bytes(), path.name)


@pytest.mark.parametrize("name", ["decoder", "encoder", "generator", "latents"])
def test_the_shapes_are_those_of_onnx_runtime(name: str, tiny_model_folder: Path) -> None:
    """Compares the shape of every tensor with the one that ONNX Runtime computes."""
    from vae_gen.internal.graph_check import _Reader, _Walk

    for path in (find_model() / f"{name}.onnx", tiny_model_folder / f"{name}.onnx"):
        content = path.read_bytes()
        graph = _Reader(content).message("model", 0, len(content))["graph"]
        walk = _Walk(graph, 3)
        walk.run()
        model = onnx.load_from_string(content)
        own = {value.name for value in model.graph.output}
        made = [output for node in model.graph.node for output in node.output if output not in own]
        model.graph.output.extend(onnx.ValueInfoProto(name=output) for output in made[:: max(1, len(made) // 100)])
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        scalars = {"seed": 7, "start": 0, "count": 3, "prior": 1, "label": -1}
        feed = {
            node.name: np.array(scalars.get(node.name, 1), np.int64 if node.name in scalars else np.float32)
            if not node.shape else np.zeros([3, *node.shape[1:]], np.float32)
            for node in session.get_inputs()
        }  # fmt: skip
        names = [node.name for node in session.get_outputs()]
        for output, value in zip(names, session.run(names, feed), strict=True):
            assert walk.shapes[output] == value.shape, output


def test_a_file_that_is_also_in_the_format_of_onnx_runtime_is_read_as_onnx(tiny_model_folder: Path) -> None:
    model = onnx.load(tiny_model_folder / "decoder.onnx")
    model.producer_name = "xxORTM"  # four bytes at place 4, by which ONNX Runtime recognises its own format
    model.ir_version = 8
    content = model.SerializeToString()
    assert content[4:10] == b"xxORTM"
    content = content[:2] + content[2:4].replace(b"\x06", b"\x04") + content[6:]
    assert content[4:8] == b"ORTM"
    check_graph(content, "decoder.onnx")
    graph = VAE(tiny_model_folder).manifest.graphs["decoder"]
    assert open_session(content, graph).get_outputs()[0].name == "image"


def with_graph(folder: Path, target: Path, model: onnx.ModelProto) -> Path:
    """A copy of a model folder with another decoder, whose hash and size the manifest has."""
    shutil.copytree(folder, target)
    content = model.SerializeToString()
    (target / "decoder.onnx").write_bytes(content)
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["graphs"]["decoder"] |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_no_file_outside_of_the_folder_gets_into_a_picture(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(b"PRIVATE KEY " * 4000)
    monkeypatch.chdir(tmp_path)
    for number, location in enumerate(("secret", "../secret", str(tmp_path / "secret"))):
        model = plain()
        external(model.graph.initializer[0])
        model.graph.initializer[0].external_data[0].value = location
        vae = VAE(with_graph(tiny_model_folder, tmp_path / str(number), model))
        with pytest.raises(ModelError, match="external data"):
            vae.decode(np.zeros(12))


def test_damaged_graphs_are_one_plain_error(tiny_model_folder: Path) -> None:
    """Bytes that are flipped, cut and repeated."""
    chance = random.Random(5)
    content = (tiny_model_folder / "generator.onnx").read_bytes()
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 3))):
            at = chance.randrange(len(damaged))
            kind = chance.randrange(3)
            if kind == 0:
                damaged[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                del damaged[at : at + chance.randrange(1, 20)]
            else:
                damaged[at:at] = damaged[at : at + chance.randrange(1, 200)]
        try:
            check_graph(bytes(damaged), "generator.onnx")
        except ModelError as error:
            refused += 1
            assert str(error).isprintable()
    assert refused > 100


def test_onnx_runtime_prints_nothing_about_a_graph_that_it_cannot_open(
    tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = plain().SerializeToString().replace(b"shape", b"sh\xffpe", 1)  # which its error would quote
    with pytest.raises(ModelError, match="ONNX Runtime .* cannot load it"):
        open_session(damaged, VAE(tiny_model_folder).manifest.graphs["decoder"])
    assert capfd.readouterr().out == ""


def test_every_operator_of_the_list_exists() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(OPERATORS) <= known
