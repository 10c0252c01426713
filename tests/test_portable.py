"""Graphs for every engine: the portable ones, what vae-export leaves out, and the matrix of engines."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from cli_runner import Command
from tiny_model import tiny_prior
from vae_export.latent_graphs import latent_graph, prior_graph
from vae_export.portable_graphs import portable_prior_graph
from vae_gen import VAE, DetailSpec, find_model, shipped_models
from vae_gen.internal.choice import Choice, window
from vae_gen.internal.graph_check import check_graph
from vae_gen.internal.latents import drawn_in_numpy
from vae_gen.internal.portable import PortableSession
from vae_gen.internal.sampling import run_latents

ROOT = Path(__file__).parents[1]
LAST = 2**63 - 1
PRIOR, SPEC = tiny_prior(), DetailSpec(5, 4.0, True)
numbers = st.one_of(st.integers(0, LAST - 3), st.sampled_from([0, 2**16 - 1, 2**31, 2**32 - 2, 2**53]))


@pytest.fixture(scope="module", params=shipped_models())
def kit_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of a kit with portable graphs."""
    kit = tmp_path_factory.mktemp("portable") / "kit"
    Command(find_model(request.param)).succeed("kit", kit, "--portable")
    return kit / "model"


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(portable_prior_graph(PRIOR, SPEC).SerializeToString())


@given(numbers, numbers, st.sampled_from([("normal", None), ("fitted", None), ("fitted", 0), ("fitted", 1)]))
@settings(max_examples=60)
def test_the_portable_graph_draws_what_the_contract_says(
    session: onnxruntime.InferenceSession, seed: int, start: int, chosen: tuple[str, int | None]
) -> None:
    choice = Choice("fitted" if chosen[0] == "fitted" else "normal", chosen[1], 0.7, detail=True)
    found = run_latents(PortableSession(session), seed, start, 3, choice)
    expected = drawn_in_numpy(seed, start, 3, choice, PRIOR.dimensions, PRIOR, SPEC)
    np.testing.assert_allclose(found.latents, expected.latents, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.noise, expected.noise, rtol=0, atol=1e-5)


def test_it_needs_float32_and_operators_of_ordinary_networks_only() -> None:
    model = portable_prior_graph(PRIOR, SPEC)
    onnx.checker.check_model(model, full_check=True)
    assert not {node.op_type for node in model.graph.node} - {
        "Abs", "Add", "Cast", "Concat", "Cos", "Floor", "Gather", "GreaterOrEqual", "Log", "MatMul", "Mul", "Neg",
        "ReduceSum", "Reshape", "Sin", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
    }  # fmt: skip
    kinds = {value.type.tensor_type.elem_type for value in [*model.graph.input, *model.graph.output]}
    assert kinds == {TensorProto.FLOAT}


@pytest.mark.parametrize(
    ("index", "seed"),
    [([[65536, 0, 0, 0]], [[7, 0, 0, 0]]), ([[0, 0.5, 0, 0]], [[7, 0, 0, 0]]), ([[0, 0, 0, -1]], [[7, 0, 0, 0]]),
     ([[0, 0, 0, 0]], [[7, 0, 65536, 0]]), ([[0, 0, 0, 0]], [[-7, 0, 0, 0]]), ([[0, 0, 0, 0]], [[0, 0, 0, 1e9]])],
)  # fmt: skip
def test_a_part_that_is_none_makes_nan_of_everything(
    kit_model: Path, index: list[list[float]], seed: list[list[float]]
) -> None:
    generator = onnxruntime.InferenceSession(kit_model / "generator.portable.onnx")
    given_index = np.array([[3, 0, 0, 0], *index], np.float32)
    image, latent = generator.run(["image", "latent"], {"index": given_index, "seed": np.array(seed, np.float32)})
    wrong = slice(1, None) if seed == [[7, 0, 0, 0]] else slice(None)
    assert np.isnan(image[wrong]).all()
    assert np.isnan(latent[wrong]).all()
    assert np.isfinite(image[: 2 - len(image[wrong])]).all()


def test_less_exact_numbers_make_nan(session: onnxruntime.InferenceSession) -> None:
    """As in an engine that multiplies in bfloat16: the matrix of the product is rounded to 8 bits."""
    model = portable_prior_graph(PRIOR, SPEC)
    for tensor in model.graph.initializer:
        if tensor.dims == [64, 10]:
            exact = numpy_helper.to_array(tensor)
            rounded = (exact.view(np.uint32) + 0x8000 & 0xFFFF0000).astype(np.uint32).view(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    changed = PortableSession(onnxruntime.InferenceSession(model.SerializeToString()))
    drawn = run_latents(changed, 7, 0, 3, Choice("fitted", detail=True))
    assert np.isnan(drawn.latents).all()
    assert np.isnan(drawn.noise).all()


class In32Bits(ReferenceEvaluator):
    """An engine that computes int64 and uint64 with 32 bits, and clamps what does not fit, as OpenVINO does."""

    def run(self, output_names, feed_inputs):  # type: ignore[no-untyped-def]
        values = {name: clamped(value) for name, value in {**self.rt_inits_, **feed_inputs}.items()}
        for node in self.rt_nodes_:
            with np.errstate(all="ignore"):
                outputs = node.run(*(values[name] for name in node.input))
            values |= {name: clamped(value) for name, value in zip(node.output, outputs, strict=True)}
        return [values[name] for name in output_names]


def clamped(value: np.ndarray) -> np.ndarray:
    value = np.asarray(value)
    wide = value.dtype in (np.int64, np.uint64)
    return np.clip(value, -(2**31) if value.dtype == np.int64 else 0, 2**31 - 1) if wide else value


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31 - 1, 2**31, 2**62, LAST])
def test_an_engine_with_32_bits_makes_nan_with_the_other_graphs(seed: int) -> None:
    for model in (prior_graph(PRIOR, SPEC), latent_graph(12)):
        feed = window(seed, 0, 3) | (Choice("fitted").feed() if len(model.graph.input) > 3 else {})
        names = [output.name for output in model.graph.output]
        found = dict(zip(names, In32Bits(model).run(names, feed), strict=True))
        assert all((values == -2).all() if name == "labels" else np.isnan(values).all()
                   for name, values in found.items())  # fmt: skip
        assert np.isfinite(ReferenceEvaluator(model).run(["latent"], feed)[0]).all()


def test_the_portable_generator_of_a_kit_makes_the_pictures_of_the_model(kit_model: Path) -> None:
    content = (kit_model / "generator.portable.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
    check_graph(content, "generator.portable.onnx")
    generator = PortableSession(onnxruntime.InferenceSession(content))
    image, latent = generator.run(["image", "latent"], window(2**40, 2**33, 5))
    expected = VAE(kit_model).sample(5, seed=2**40, start=2**33)
    np.testing.assert_allclose(latent, expected.latents, rtol=0, atol=1e-5)
    np.testing.assert_allclose(image, expected.images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", shipped_models())
def test_no_graph_has_what_some_engines_cannot_read(name: str) -> None:
    for path in find_model(name).glob("*.onnx"):
        graph = onnx.load(path).graph
        assert not [node.name for node in graph.node for attribute in node.attribute if attribute.name == "allowzero"]
        weights = [{node.input[1] for node in graph.node if node.op_type == kind} for kind in ("Conv", "ConvTranspose")]
        assert not weights[0] & weights[1]


def test_weights_that_two_kinds_of_layers_share_are_copied_and_a_meant_zero_stays() -> None:
    from vae_export.graphs import cleaned

    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["a"]),
        helper.make_node("ConvTranspose", ["a", "weights"], ["b"]),
        helper.make_node("Reshape", ["b", "flat"], ["c"], allowzero=1),
        helper.make_node("Reshape", ["c", "empty"], ["d"], allowzero=1),
    ]
    weights = numpy_helper.from_array(np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1), "weights")
    shapes = [numpy_helper.from_array(np.array(shape), name) for shape, name in (([-1, 2], "flat"), ([0, 2], "empty"))]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2, 1, 1])
    result = helper.make_tensor_value_info("d", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "g", [image], [result], [weights, *shapes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made = cleaned(model, "g")
    layers = {node.op_type: node.input[1] for node in made.graph.node if node.op_type.startswith("Conv")}
    assert layers == {"Conv": "weights", "ConvTranspose": "weights_transposed"}
    assert [len(node.attribute) for node in made.graph.node if node.op_type == "Reshape"] == [0, 1]
    del made.graph.node[-2:]
    made.graph.output[0].name = "weights_transposed"
    (copy,) = ReferenceEvaluator(made).run(["weights_transposed"], {"image": np.ones((1, 2, 1, 1), np.float32)})
    np.testing.assert_array_equal(copy, numpy_helper.to_array(weights))


def test_a_kit_has_the_portable_graphs_if_they_are_asked_for(cli: Command, tiny_model_folder: Path) -> None:
    shipped = find_model("fashion-mnist-12d-reference")
    cli.succeed("kit", "small", "--model", shipped)
    cli.succeed("kit", "large", "--model", shipped, "--portable")
    portable = {"generator.portable.onnx", "latents.portable.onnx"}
    names = [{path.name for path in Path(kit, "model").iterdir()} for kit in ("small", "large")]
    assert names[1] - names[0] == portable
    assert b"portable" not in cli.succeed("verify", "--model", "small/model").out
    assert b"latents of the portable generator" in cli.succeed("verify", "--model", "large/model").out
    assert "INFERENCE_PRECISION_HINT" in Path("large", "README.md").read_text("utf-8")
    assert "portable" not in Path("small", "README.md").read_text("utf-8")
    outcome = cli("kit", "none", "--model", tiny_model_folder, "--portable")
    assert outcome.code == 4
    assert "found none; export the model with vae-export --portable" in outcome.err
    assert not Path("none").exists()


def engines(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bench" / "engines.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_matrix_of_engines_tells_right_from_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "kit" / "model"
    Command(find_model("fashion-mnist-12d-reference")).succeed("kit", folder.parent, "--portable")
    done = engines(folder, "--engine", "onnxruntime", "onnx", "--require", "onnxruntime", "onnx")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" right (") == 12
    shutil.copytree(folder, tmp_path / "spoilt")
    golden = json.loads((folder / "golden.json").read_bytes())
    golden["samples"][0]["latents"][0][0] += 1e-3
    (tmp_path / "spoilt" / "golden.json").write_text(json.dumps(golden))
    done = engines(tmp_path / "spoilt", "--engine", "onnxruntime")
    assert done.returncode == 1
    assert done.stdout.count("WRONG: latent differs by 0.001") == 2  # of both generators
