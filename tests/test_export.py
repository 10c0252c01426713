"""`vae-export`: a run in, a proved model folder out; and nothing written where the proof fails."""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from export_once import export_once, real_export
from vae_export import command, package
from vae_export import graphs as graph_builder
from vae_export.check import prove
from vae_export.graphs import Graphs, build_encoder, build_graphs
from vae_export.package import export_run
from vae_gen import VAE, FittedPrior, Manifest, ModelFolder, OutputError, standard_normals, verify
from vae_gen.internal.prior import Mixture
from vae_train.config import ModelConfig, TrainConfig
from vae_train.data import CLASS_NAMES, NAME
from vae_train.evaluation import evaluate_onnx, evaluate_torch
from vae_train.images.image_set import ImageSet
from vae_train.model import new_vae
from vae_train.run_folder import Run

SMALL = ModelConfig(channels=1, height=12, width=10, latent_dim=5, encoder_channels=(4, 6))


def made_up_run(model: ModelConfig = SMALL) -> Run:
    vae = new_vae(model, seed=1).eval().requires_grad_(False)
    record: dict[str, Any] = {"versions": {"torch": str(torch.__version__)}}
    return Run(Path("run"), TrainConfig(model=model), vae, "0" * 64, [], record)


def made_up_data(model: ModelConfig = SMALL) -> ImageSet:
    generator = torch.Generator().manual_seed(3)
    shape = (80, model.channels, model.height, model.width)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.arange(80) % 4  # the other classes have no images
    return ImageSet(images, labels, images, labels, {"images": "0" * 64}, NAME, CLASS_NAMES)


@pytest.fixture(scope="module", autouse=True)
def exports() -> Iterator[None]:
    with export_once():
        yield


@pytest.fixture(scope="module")
def run() -> Run:
    return made_up_run()


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return made_up_data()


@pytest.fixture(scope="module")
def graphs(run: Run) -> Graphs:
    random = np.random.default_rng(4)
    means, factors = random.normal(size=(2, 5)), np.stack([np.eye(5) * 0.5 + np.tril(np.full((5, 5), 0.1), -1)] * 2)
    mixture = Mixture(np.array([0.3, 0.7]), means.astype(np.float32), factors.astype(np.float32))
    return build_graphs(run.vae, build_encoder(run.vae, (1, 12, 10)), FittedPrior.of([1, 2], [mixture] * 2), "fitted")


@pytest.fixture(scope="module")
def folder(run: Run, data: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "small"
    report, _ = export_run(run, data, out, name="small", version="1.2.3", licence="MIT")
    assert report.misses() == []
    return out


def test_the_folder_holds_the_files_of_the_contract_and_verifies(folder: Path) -> None:
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "README.md", "decoder.onnx", "directions.json", "encoder.onnx", "generator.onnx", "golden.json", "latents.onnx",
        "manifest.json", "map.json", "preview.png", "prior.json", "worst.png",
    ]  # fmt: skip
    assert [check.detail for check in verify(folder) if not check.passed] == []


def test_the_manifest_says_what_was_exported(folder: Path, run: Run, data: ImageSet) -> None:
    manifest = Manifest.parse((folder / "manifest.json").read_bytes())
    assert (manifest.name, manifest.version, manifest.licence) == ("small", "1.2.3", "MIT")
    assert manifest.image.shape == (1, 12, 10)
    assert manifest.latent.dimensions == 5
    kl = manifest.latent.kl_nats
    assert list(manifest.latent.order) == sorted(range(5), key=lambda at: -kl[at])
    assert manifest.class_names == data.class_names
    document = manifest.document
    assert document["training"]["recipe"] == run.config.to_json()
    assert document["metrics"]["test"]["neg_elbo"] == pytest.approx(
        evaluate_torch(run.vae, data.test_images.numpy()).neg_elbo, abs=1e-3
    )
    assert all(check["passed"] for check in document["export"]["values"])


def test_the_evaluation_of_the_folder_and_of_the_run_agree(folder: Path, run: Run, data: ImageSet) -> None:
    images = data.test_images.numpy()
    in_onnx, in_torch = evaluate_onnx(VAE(folder), images), evaluate_torch(run.vae, images)
    assert in_onnx.neg_elbo == pytest.approx(in_torch.neg_elbo, abs=0.01)
    np.testing.assert_allclose(in_onnx.kl_per_dimension, in_torch.kl_per_dimension, atol=1e-4)
    assert in_onnx.active_units == in_torch.active_units


def test_the_pictures_of_the_folder_are_those_of_the_vae(folder: Path, run: Run) -> None:
    sample = VAE(folder).sample(70, seed=2**63 - 1, start=2**32 - 5)
    latents, labels = ModelFolder.open(folder).read_prior().latents(2**63 - 1, 2**32 - 5, 70)
    np.testing.assert_array_equal(sample.labels, labels)
    assert set(labels) <= {0, 1, 2, 3}
    np.testing.assert_allclose(sample.latents, latents, rtol=0, atol=1e-5)
    expected = run.vae.decode(torch.from_numpy(latents)).numpy()
    np.testing.assert_allclose(sample.images, expected, rtol=0, atol=1e-5)


def test_each_graph_carries_the_essentials_and_nothing_of_the_machine(folder: Path) -> None:
    for name in ("encoder", "decoder", "generator", "latents"):
        content = (folder / f"{name}.onnx").read_bytes()
        model = onnx.load_model_from_string(content)
        facts = {entry.key: entry.value for entry in model.metadata_props}
        assert facts["model"] == "small"
        manifest = json.loads((folder / "manifest.json").read_bytes())
        for key in ("image", "latent", "class_names"):
            assert json.loads(facts[key]) == manifest[key]
        assert (facts["version"], facts["licence"], facts["seed_contract_version"]) == ("1.2.3", "MIT", "1")
        assert facts["weights_sha256"] == "0" * 64
        assert (model.ir_version, model.opset_import[0].version, len(model.opset_import)) == (8, 18, 1)
        for trace in (b"site-packages", b".py", str(Path(__file__).parents[1]).encode()):
            assert trace not in content


def test_the_card_quotes_the_measured_figures(folder: Path) -> None:
    card = (folder / "README.md").read_text("utf-8")
    test = json.loads((folder / "manifest.json").read_text("utf-8"))["metrics"]["test"]
    assert f"| −ELBO | {test['neg_elbo']:.2f} |" in card
    assert f"Active units (variance of the posterior mean above 0.01): {test['active_units']} of 5" in card


def test_the_same_run_gives_the_same_bytes(
    folder: Path, run: Run, data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_builder, "_export", real_export)
    export_run(run, data, tmp_path / "small", name="small", version="1.2.3", licence="MIT")
    for file in folder.iterdir():
        assert (tmp_path / "small" / file.name).read_bytes() == file.read_bytes(), file.name


def test_colour_pictures_of_an_odd_size_export_too(tmp_path: Path) -> None:
    model = ModelConfig(channels=3, height=20, width=33, latent_dim=12, encoder_channels=(4,), last_kernel=3)
    report, _ = export_run(made_up_run(model), made_up_data(model), tmp_path / "colour", name="colour", version="1")
    assert report.misses() == []
    assert VAE(tmp_path / "colour").sample(2, seed=1).shape == (2, 3, 20, 33)


@pytest.mark.slow
def test_a_residual_network_that_refines_its_posteriors_exports_too(data: ImageSet, tmp_path: Path) -> None:
    model = replace(SMALL, residual_blocks=(0, 1), encoder_hidden=8, decoder_hidden=9, refinement_steps=1)
    run = made_up_run(model)
    generator = torch.Generator().manual_seed(2)
    for weight in run.vae.parameters():  # away from the first weights, whose residual branches are zero
        weight += 0.05 * torch.randn(weight.shape, generator=generator)
    report, _ = export_run(run, data, tmp_path / "deep", name="deep", version="1.0.0")
    assert report.misses() == []
    unrefined = run.vae.encoder(data.test_images[:3].float() / 255)[0]
    exported = VAE(tmp_path / "deep").encode(data.test_images[:3].numpy()).mean
    assert np.abs(exported - unrefined.numpy()).max() > 0.01


def test_a_weight_that_differs_is_a_miss_on_every_output_it_reaches(run: Run, graphs: Graphs) -> None:
    report = prove(_with_changed_weights(graphs, "decoder"), run.vae, _images())
    missed = " ".join(report.misses())
    assert not report.passed
    assert "decoder on prior draws" in missed
    assert "encoder" not in missed
    report = prove(_with_changed_weights(graphs, "encoder"), run.vae, _images())
    assert "encoder on test images" in " ".join(report.misses())


def test_a_table_that_differs_is_a_miss_of_the_latents(run: Run, graphs: Graphs) -> None:
    missed = prove(_with_changed_weights(graphs, "latents"), run.vae, _images()).misses()
    assert "latents of each class" in missed
    assert not [name for name in missed if not name.startswith("latents")]
    # Other thresholds than the graph has: the classes differ.
    shifted = replace(graphs.prior, class_thresholds=np.array([2**31, 2**32]))
    missed = prove(replace(graphs, prior=shifted), run.vae, _images()).misses()
    assert "latents, fitted, seed 0, pictures 0 to 256" in missed


def test_the_standard_normal_can_be_the_default(run: Run, data: ImageSet, tmp_path: Path) -> None:
    report, _ = export_run(run, data, tmp_path / "plain", name="plain", version="1", default_prior="normal")
    assert report.misses() == []
    model = VAE(tmp_path / "plain")
    assert (model.manifest.latent.default_prior, model.manifest.has_fitted_prior) == ("normal", True)
    np.testing.assert_allclose(model.sample(3, seed=9).latents, standard_normals(9, 0, 3, 5), rtol=0, atol=1e-5)
    assert [check.detail for check in verify(tmp_path / "plain") if not check.passed] == []


def test_data_without_classes_get_one_mixture(run: Run, tmp_path: Path) -> None:
    data = replace(made_up_data(), class_names=())
    report, _ = export_run(run, data, tmp_path / "plain", name="plain", version="1")
    assert report.misses() == []
    assert VAE(tmp_path / "plain").sample(3, seed=9).labels is None
    assert ModelFolder.open(tmp_path / "plain").read_prior().classes == 0


@pytest.mark.parametrize(
    ("spoil", "missed"),
    [
        (lambda model: setattr(model.graph.output[0], "name", "pixels"), "decoder: names, dtypes and axes"),
        (lambda model: setattr(model.opset_import[0], "version", 22), "decoder: opset 18 to 21"),
        (lambda model: setattr(model.graph.node[0], "doc_string", "/x/site-packages/torch"),
         "decoder: no file paths of the exporting machine"),
        (lambda model: model.graph.node.append(
            onnx.helper.make_node("RandomNormal", [], ["noise"], shape=[1])), "decoder: no random operator"),
        (lambda model: model.graph.node.append(
            onnx.helper.make_node("Gelu", ["latent"], ["g"], domain="com.microsoft")),
         "decoder: standard operators only"),
    ],
)
def test_what_the_contract_forbids_is_a_miss(
    run: Run, graphs: Graphs, spoil: Callable[[onnx.ModelProto], object], missed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = onnx.ModelProto()
    decoder.CopyFrom(graphs.decoder)
    spoil(decoder)
    monkeypatch.setattr("vae_export.check._values", lambda *_: iter(()))  # some of these cannot be run at all
    report = prove(replace(graphs, decoder=decoder), run.vae, _images())
    assert missed in report.misses()


def test_a_miss_ends_with_code_6_and_leaves_the_old_folder_as_it_was(
    run: Run, data: ImageSet, graphs: Graphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "model"
    monkeypatch.setattr(package, "build_graphs", lambda *_: _with_changed_weights(graphs, "decoder"))
    monkeypatch.setattr("vae_train.run_folder.load_run", lambda *_, **__: run)
    monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: data)
    monkeypatch.setattr(sys, "argv", ["vae-export", "run", "--out", str(out)])
    assert command.main() == 6
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("vae-export: expected graphs that agree with PyTorch, got a miss in decoder on ")
    assert error[-1].endswith("; nothing was written")
    assert any(line.startswith("MISS image, decoder on prior draws") for line in error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_not_replaced(run: Run, data: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(OutputError) as raised:
        export_run(run, data, tmp_path / "letters", name="x", version="1")
    path = tmp_path / "letters"
    assert str(raised.value) == (
        f"cannot write {path}: expected a model folder or an empty one there, found a.txt; choose another --out"
    )


def test_a_manifest_of_another_program_does_not_make_a_folder_ours(
    run: Run, data: ImageSet, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(OutputError, match="found manifest.json"):
        export_run(run, data, tmp_path / "web", name="x", version="1")
    shutil.copytree(folder, tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("dear")
    with pytest.raises(OutputError, match="found notes.txt"):
        export_run(run, data, tmp_path / "mine", name="x", version="1")


def test_a_run_that_is_not_there_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vae-export", str(tmp_path / "none"), "--out", str(tmp_path / "model")])
    assert command.main() == 5
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"vae-export: {tmp_path / 'none'}: expected a run folder, found no")
    assert list(tmp_path.iterdir()) == []


def test_golden_vectors_come_from_the_reference_and_the_graphs_meet_them(folder: Path) -> None:
    golden = json.loads((folder / "golden.json").read_text("utf-8"))
    session = onnxruntime.InferenceSession(folder / "generator.onnx")
    for case in golden["samples"]:
        feed = {name: np.array(int(case[name]), np.int64) for name in ("seed", "start", "count")}
        (latent,) = session.run(["latent"], feed)
        np.testing.assert_allclose(latent, case["latents"], rtol=0, atol=golden["tolerances"]["latent"])


def _with_changed_weights(graphs: Graphs, name: str) -> Graphs:
    changed = onnx.ModelProto()
    changed.CopyFrom(graphs.by_name()[name])
    largest = max(changed.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    largest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(largest) * np.float32(1.01), largest.name))
    return replace(graphs, **{name: changed})


def _images() -> np.ndarray:
    return made_up_data().test_images.numpy().astype(np.float32) / np.float32(255)


def test_the_json_report_is_one_object_on_standard_output(
    run: Run, data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr("vae_train.run_folder.load_run", lambda *_, **__: run)
    monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: data)
    monkeypatch.setattr(sys, "argv", ["vae-export", "run", "--out", str(tmp_path / "m"), "--json", "--quiet"])
    monkeypatch.setattr(sys, "stdout", out)
    assert command.main() == 0
    assert json.loads(out.getvalue())["passed"] is True


def test_the_map_holds_the_posterior_means_of_test_images(folder: Path, data: ImageSet) -> None:
    document = json.loads((folder / "map.json").read_text())

    def array(key: str, dtype: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(document[key]), dtype).reshape(len(data.test_images), -1)

    means = VAE(folder).encode(data.test_images.numpy()).mean
    np.testing.assert_allclose(array("latents", "<i2") * document["latent_step"], means, atol=6e-4)
    np.testing.assert_array_equal(array("labels", "<i1")[:, 0], data.test_labels.numpy())
    places = array("places", "<u2")
    assert (places.shape[1], places.min(), places.max()) == (2, 0, 65535)
    assert (document["points"], document["dimensions"]) == means.shape
