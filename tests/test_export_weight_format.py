"""Large weights in fewer bytes: how they are rounded, that graphs hold exactly the rounded ones, and who runs them."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

import example_drivers
from cli_runner import Command
from example_drivers import Driver
from export_once import export_once
from tiny_training import tiny_data
from vae_export import again
from vae_export.card import model_card
from vae_export.check import LEVELS, open_sessions
from vae_export.graphs import Graphs, build_encoder, build_graphs, with_portable
from vae_export.package import export_run
from vae_export.weight_format import LARGE, WeightFormat, packed, packed_graphs, rounded, rounded_run, storage_checks
from vae_gen import VAE, DetailSpec, Manifest, verify
from vae_gen.internal.graph_check import check_graph
from vae_train.config import DetailConfig, ModelConfig, TrainConfig
from vae_train.detail.folder import Detail
from vae_train.detail.networks import DetailDecoder
from vae_train.evaluation import evaluate_torch
from vae_train.layers import seeded
from vae_train.model import new_vae
from vae_train.run_folder import Run

pytestmark = pytest.mark.usefixtures("one_thread")

MODEL = ModelConfig(
    height=12, width=10, latent_dim=3, encoder_channels=(16, 36), residual_blocks=(0, 1), encoder_hidden=64,
    decoder_hidden=48, refinement_steps=1,
)  # fmt: skip
STAGE = DetailConfig(hidden=48, channels=(8, 16, 36), residual_blocks=(0, 0, 1), noise_dim=4)
NETWORKS = ("encoder", "decoder", "generator", "detail", "generator.portable")
DATA = tiny_data()
FORMATS: tuple[WeightFormat, ...] = ("float16", "int8")


def moved(network: nn.Module) -> nn.Module:
    """The network away from its first weights, of which those of residual branches are zero."""
    generator = torch.Generator().manual_seed(2)
    for weight in network.eval().requires_grad_(False).parameters():
        weight += 0.03 * torch.randn(weight.shape, generator=generator)
    return network


@pytest.fixture(scope="module")
def run() -> Run:
    record: dict[str, Any] = {"versions": {"torch": str(torch.__version__)}}
    vae = moved(new_vae(MODEL, seed=1))
    return Run(Path("run"), TrainConfig(model=MODEL), vae, "0" * 64, [], record)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def detail() -> Detail:
    with seeded(1):
        return Detail(STAGE, moved(DetailDecoder(MODEL, STAGE)), "1" * 64, [])  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def exports() -> Iterator[None]:
    with export_once():
        yield


@pytest.fixture(scope="module")
def folder(run: Run, detail: Detail, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "small"
    report, _ = export_run(
        run, DATA, out, name="small", version="1", detail=detail, portable=True, weight_format="int8"
    )
    assert report.misses() == []
    return out


def unpacked(run: Run, detail: Detail, folder: Path) -> Graphs:
    """The graphs of the folder with the same rounded weights in float32."""
    run, stage, _ = rounded_run(run, detail, "int8")
    assert stage is not None
    prior, spec = VAE(folder).fitted_prior(), DetailSpec(STAGE.noise_dim, STAGE.class_shift, True)
    encoder = build_encoder(run.vae, DATA.shape)
    return with_portable(build_graphs(run.vae, encoder, prior, "fitted", (stage.decoder, spec)))


def stored(model: onnx.ModelProto) -> int:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def arrays(model: onnx.ModelProto) -> Counter[tuple[Any, tuple[int, ...], bytes]]:
    """The constants of a model, without their names and their order."""
    found = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return Counter((array.dtype, array.shape, array.tobytes()) for array in found)


def channels(layer: nn.Module, values: torch.Tensor) -> NDArray[np.float64]:
    """The weights of each output channel, [channels, n]."""
    rows = values.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else values
    return rows.reshape(len(rows), -1).numpy().astype(np.float64)


@pytest.mark.parametrize("layer", [
    nn.Linear(128, 90), nn.Conv2d(30, 40, 3), nn.ConvTranspose2d(30, 40, 3), nn.ConvTranspose2d(40, 30, 3),
])  # fmt: skip
def test_an_int8_weight_is_off_by_at_most_half_a_127th_of_the_largest_of_its_output_channel(layer: nn.Module) -> None:
    weight = layer.weight.data
    by_channel = weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
    by_channel *= torch.logspace(-3, 1, len(by_channel)).reshape(-1, *[1] * (weight.ndim - 1))
    by_channel[3] = 0
    before = channels(layer, weight.clone())
    made, steps = rounded(nn.Sequential(layer), "int8")
    after = channels(layer, made[0].weight.data)
    step = np.abs(before).max(1) / 127
    np.testing.assert_allclose(steps["0.weight"][step > 0], step[step > 0], rtol=1e-6)
    assert (np.abs(after - before).max(1) <= step * (0.5 + 1e-5)).all()
    assert np.abs(after - before).max() > 0
    assert all(len(np.unique(row)) <= 255 for row in after)
    assert (after[3] == 0).all()
    np.testing.assert_array_equal(channels(layer, layer.weight.data), before)  # the network itself stays


def test_float16_weights_are_the_nearest_ones_and_small_weights_and_biases_stay() -> None:
    network = nn.Sequential(nn.Linear(128, 128), nn.Linear(128, LARGE // 128)).requires_grad_(False)
    made, steps = rounded(network, "float16")
    assert list(steps) == ["0.weight"]
    np.testing.assert_array_equal(made[0].weight, network[0].weight.half().float())
    assert not torch.equal(made[0].weight, network[0].weight)
    for kept, before in ((made[0].bias, network[0].bias), (made[1].weight, network[1].weight)):
        assert torch.equal(kept, before)
    for weight_format in FORMATS:
        assert torch.equal(rounded(network, weight_format)[0][1].weight, network[1].weight)


@pytest.mark.parametrize("weight_format", ["int8", "float32"])
def test_the_graphs_compute_with_the_rounded_weights_and_not_with_those_of_the_run(
    folder: Path, run: Run, detail: Detail, weight_format: WeightFormat
) -> None:
    model, images = VAE(folder), DATA.test_images[:20].float() / 255
    run, stage, _ = rounded_run(run, detail, weight_format)
    assert stage is not None
    latents, noise = (np.random.default_rng(0).normal(size=(20, width)).astype(np.float32) for width in (3, 4))
    z, e = torch.from_numpy(latents), torch.from_numpy(noise)
    for found, expected, tolerance in (
        (model.decode(latents, detail=False), run.vae.decode(z), 1e-5),
        (model.decode(latents, noise=noise), stage.decoder(z, e), 1e-5),
        (model.encode(images.numpy()).mean, run.vae.encode(images)[0], 1e-4),
    ):
        assert (np.abs(found - expected.numpy()).max() < tolerance) == (weight_format == "int8")


def test_the_folder_holds_the_figures_of_the_rounded_weights_and_tells_it(
    folder: Path, run: Run, detail: Detail
) -> None:
    document = json.loads((folder / "manifest.json").read_bytes())
    assert document["weight_format"] == "int8"
    assert [check.detail for check in verify(folder) if not check.passed] == []
    made, _, _ = rounded_run(run, detail, "int8")
    images = DATA.test_images.numpy()
    measured = document["metrics"]["test"]["neg_elbo"]
    assert measured == pytest.approx(evaluate_torch(made.vae, images).neg_elbo, abs=1e-3)
    assert measured != pytest.approx(evaluate_torch(run.vae, images).neg_elbo, abs=1e-3)
    told = [check["detail"] for check in document["export"]["structure"] if "fewer bytes" in check["name"]]
    assert len(told) == len(NETWORKS)
    assert all(" of them in " in detail for detail in told)
    card = (folder / "README.md").read_text("utf-8")
    assert "the large weights as int8 with a float32 step for each output channel" in card
    assert "as float16. Engines" in model_card(document | {"weight_format": "float16"})
    del document["weight_format"]  # as in a folder that was written before weights could be rounded
    assert Manifest.parse(json.dumps(document)).name == "small"
    assert "large weights" not in model_card(document)


@pytest.mark.parametrize(("weight_format", "most"), [("float16", 0.54), ("int8", 0.32)])
def test_a_packed_graph_is_smaller_and_gives_the_same_numbers(
    run: Run, weight_format: WeightFormat, most: float
) -> None:
    made, _, steps = rounded_run(run, None, weight_format)
    whole = build_encoder(made.vae, DATA.shape)
    small = packed(whole, steps)
    onnx.checker.check_model(small, full_check=True)
    check_graph(small.SerializeToString(), "encoder.onnx")
    assert stored(small) < most * stored(whole)
    images = DATA.test_images[:2].float().numpy() / 255
    for level in LEVELS:
        found = [open_sessions({"": model}, level)[""].run(None, {"image": images}) for model in (whole, small)]
        np.testing.assert_array_equal(found[0], found[1])
    assert packed(small, steps).SerializeToString() == small.SerializeToString()


def test_onnxruntime_computes_the_weights_once_when_it_opens_a_graph(
    folder: Path, run: Run, detail: Detail, tmp_path: Path
) -> None:
    def kept(content: bytes) -> tuple[Counter[str], set[int]]:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        onnxruntime.InferenceSession(content, options)
        graph = onnx.load(tmp_path / "optimised.onnx").graph
        return Counter(node.op_type for node in graph.node), {tensor.data_type for tensor in graph.initializer}

    for name, model in unpacked(run, detail, folder).by_name().items():
        assert kept((folder / f"{name}.onnx").read_bytes()) == kept(model.SerializeToString()), name


def test_no_engine_can_take_the_int8_numbers_for_those_of_int8_kernels(folder: Path) -> None:
    """OpenVINO computes in int8, and so wrongly, where such numbers become float32 at once."""
    for name in NETWORKS:
        graph = onnx.load(folder / f"{name}.onnx").graph
        numbers = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
        users = [node for node in graph.node if numbers & set(node.input)]
        assert len(users) == len(numbers) > 0
        assert {(node.op_type, node.attribute[0].i) for node in users} == {("Cast", onnx.TensorProto.INT32)}


def test_the_reference_evaluator_agrees(folder: Path) -> None:
    latents = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    (found,) = ReferenceEvaluator(onnx.load(folder / "decoder.onnx")).run(["image"], {"latent": latents})
    np.testing.assert_allclose(found, VAE(folder).decode(latents, detail=False), rtol=0, atol=1e-5)


@pytest.mark.parametrize("driver", [example_drivers.python, example_drivers.node, example_drivers.page])
def test_the_examples_of_each_language_make_the_same_pictures(driver: Driver, folder: Path, tmp_path: Path) -> None:
    Command(folder).succeed("kit", tmp_path / "kit")
    (answer,) = driver(tmp_path / "kit", "model", [
        {"name": "sample", "values": [3], "options": {"seed": "5", "start": "0"}}
    ])  # fmt: skip
    expected = np.floor(VAE(folder).sample(3, seed=5).images.ravel() * 255 + 0.5)
    assert np.abs(np.array(answer["images"]) - expected).max() <= 1


def test_a_weight_whose_steps_lie_along_another_axis_is_a_miss(run: Run, detail: Detail, folder: Path) -> None:
    made, _, steps = rounded_run(run, detail, "int8")
    name = "decoder.convolutions.0.weight"
    wrong = {**steps, name: np.resize(steps[name], made.vae.get_parameter(name).shape[0])}
    for given, misses in ((steps, set()), (wrong, {"encoder", "decoder"})):
        graphs = packed_graphs(replace(unpacked(run, detail, folder), portable={}), given)
        checks = storage_checks(graphs, given)
        assert {check.name.partition(":")[0] for check in checks if not check.passed} == misses
        assert all(name in check.detail for check in checks if not check.passed)


def test_a_folder_that_is_brought_up_to_date_keeps_its_weights(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", folder, copy], check=True)
    again.graphs(copy, "2")
    assert [check.detail for check in verify(copy) if not check.passed] == []
    assert json.loads((copy / "manifest.json").read_bytes())["weight_format"] == "int8"
    for name in NETWORKS:
        before, after = (arrays(onnx.load(place / f"{name}.onnx")) for place in (folder, copy))
        assert before == after, name
        assert np.dtype(np.int8) in {dtype for dtype, _, _ in after}
