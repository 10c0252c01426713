"""What `export_run` does with a proof: nothing is written after a miss, and what is written are measured figures.

The graphs are linear and written by hand (`tiny_proof`); those of torch's exporter are test_export's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tiny_proof import (
    DIMENSIONS,
    IMAGE,
    SPEC,
    LinearStage,
    LinearVae,
    Place,
    changed,
    graphs_of,
    linear_run,
    tiny_pictures,
    unit_pictures,
)
from vae_export import command, package, stages
from vae_export.card import model_card
from vae_export.graphs import Graphs
from vae_export.package import export_run
from vae_export.stages import Stages
from vae_gen import (
    VAE,
    ExportMismatchError,
    InputError,
    ModelFolder,
    picture_grid,
    random_words,
    standard_normals,
    to_grey_levels,
    verify,
)
from vae_gen.internal.latents import detail_noise
from vae_train.evaluation import evaluate_torch
from vae_train.images.image_set import ImageSet
from vae_train.prior import trimmed

Floats = NDArray[np.float32]

pytestmark = pytest.mark.usefixtures("one_thread")

VAE_TORCH, STAGE = LinearVae(), LinearStage()
RUN = linear_run(VAE_TORCH)
DATA = tiny_pictures()
DETAIL: Any = SimpleNamespace(
    decoder=STAGE,
    weights_sha256="1" * 64,
    config=SimpleNamespace(
        noise_dim=SPEC.noise,
        class_shift=SPEC.class_shift,
        to_json=lambda: {"epochs": 3, "consistency": 20.0, "average": 0.9},
    ),
)
ELBO = "test −ELBO in ONNX Runtime and in PyTorch"


def as_they_are(graphs: Graphs) -> Graphs:
    return graphs


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the export build the linear graphs, spoilt by a function, and `vae-export` find a run and data."""

    def using(spoil: Callable[[Graphs], Graphs] = as_they_are, data: ImageSet = DATA) -> None:
        encoder = spoil(graphs_of(VAE_TORCH)).encoder

        def build(vae: LinearVae, _: object, prior: Any, default: Any, detail: Any = None) -> Graphs:
            return spoil(graphs_of(vae, None if detail is None else detail[0], prior, default))

        monkeypatch.setattr(package, "build_encoder", lambda *_: encoder)
        monkeypatch.setattr(package, "build_graphs", build)
        monkeypatch.setattr("vae_train.run_folder.load_run", lambda *_, **__: RUN)
        monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: data)
        monkeypatch.setattr("vae_train.detail.folder.saved_settings", lambda _: None)

    return using


def encoder_wrong_at(image: Floats, output: str, by: float) -> Callable[[Graphs], Graphs]:
    return lambda graphs: changed(graphs, "encoder", lambda model: Place().row("image", image).wrong(
        model, output, by, 2))  # fmt: skip


def vae_export(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vae-export", "run", *map(str, arguments)])
        return command.main()


def test_an_elbo_that_the_value_checks_cannot_see_ends_the_export(
    use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use()
    measured = package.evaluate_torch
    monkeypatch.setattr(package, "evaluate_torch", lambda *given: replace(
        (found := measured(*given)), neg_elbo=found.neg_elbo - 0.02))  # fmt: skip
    assert vae_export("--out", tmp_path / "model") == 6
    error = capsys.readouterr().err.splitlines()
    assert error[-1] == (
        f"vae-export: expected graphs that agree with PyTorch, got a miss in {ELBO}; nothing was written"
    )
    assert [line for line in error if line.startswith("MISS")] == [next(line for line in error if ELBO in line)]
    assert list(tmp_path.iterdir()) == []


def test_a_kept_prior_gives_the_latents_of_the_other_model(
    use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use()
    first, second = tmp_path / "first", tmp_path / "second"
    assert vae_export("--out", first) == 0

    def fit(*_: object, **__: object) -> None:
        raise AssertionError("a prior was fitted")

    monkeypatch.setattr(package, "fit_to_training_images", fit)
    assert vae_export("--out", second, "--keep-prior", first) == 0
    assert (second / "prior.json").read_bytes() == (first / "prior.json").read_bytes()
    assert np.array_equal(VAE(second).sample(9, seed=3).latents, VAE(first).sample(9, seed=3).latents)
    facts = [json.loads((folder / "manifest.json").read_bytes())["fitted_prior"] for folder in (first, second)]
    assert facts[0] == facts[1]
    capsys.readouterr()
    assert vae_export("--out", tmp_path / "third", "--keep-prior", "fashion-mnist-12d") == 2
    assert "expected --keep-prior with a model of" in capsys.readouterr().err
    assert vae_export("--out", tmp_path / "third", "--keep-prior", tmp_path) == 4
    assert not (tmp_path / "third").exists()


def test_a_trimmed_prior_has_fewer_latents_with_large_details_and_says_so(
    use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use()
    first, second = tmp_path / "first", tmp_path / "second"
    for share in ("0.6", "-0.1", "nan"):
        assert vae_export("--out", first, "--trim-prior", share) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error == f"vae-export: expected --trim-prior from 0 to 0.5, got {share}"
    assert vae_export("--out", first, "--trim-prior", "0.1") == 2
    assert "expected --trim-prior for a model with a detail stage, got one without; train" in capsys.readouterr().err
    monkeypatch.setattr("vae_train.detail.folder.saved_settings", lambda _: "a stage")
    monkeypatch.setattr("vae_train.detail.folder.load_detail", lambda _: DETAIL)
    assert vae_export("--out", first) == 0
    assert vae_export("--out", second, "--keep-prior", first, "--trim-prior", "0.3") == 0

    def size(latents: Floats, labels: np.ndarray) -> Floats:
        found = []
        for part in np.split(np.arange(len(latents)), range(250, len(latents), 250)):
            noise = detail_noise(SPEC, 0, part[0], len(part), labels[part])
            z = tensor(latents[part])
            found.append(((STAGE(z, tensor(noise)) - VAE_TORCH.decode(z)) ** 2).sum((1, 2, 3)).numpy())
        return np.concatenate(found)

    expected = trimmed(ModelFolder.open(first).read_prior(), size, 0.3)
    found = ModelFolder.open(second).read_prior()
    np.testing.assert_allclose(found.means, expected.means, atol=1e-3)
    np.testing.assert_allclose(found.factors, expected.factors, atol=1e-3)
    before, after = (document(folder)["fitted_prior"] for folder in (first, second))
    assert "trimmed" not in before
    assert after["trimmed"] == 0.3
    assert after["held_out_nats_fitted"] != before["held_out_nats_fitted"]
    card = (second / "README.md").read_text("utf-8")
    assert "Then it was trimmed: 30 % of the latents of each class were taken out, those whose pictures have" in card
    assert vae_export("--out", tmp_path / "third", "--keep-prior", second, "--trim-prior", "0.1") == 0
    assert document(tmp_path / "third")["fitted_prior"]["trimmed"] == 0.37


def test_test_images_beyond_those_of_the_proof_need_not_fill_its_batches(
    use: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use()
    monkeypatch.setattr(package, "PROOF_IMAGES", 50)
    monkeypatch.setattr("vae_train.evaluation.BATCH", 7 * 12)
    monkeypatch.setattr("vae_export.check.PIXELS_AT_ONCE", 100 * 12)
    assert vae_export("--out", tmp_path / "model") == 0
    assert json.loads((tmp_path / "model" / "manifest.json").read_bytes())["metrics"]["test"]["images"] == 90


@pytest.mark.parametrize(("apart", "missed"), [(0.0099, []), (0.0101, [ELBO]), (-0.0099, []), (-0.0101, [ELBO])])
def test_the_elbo_in_onnx_runtime_may_differ_by_a_hundredth_of_a_nat(
    use: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: float, missed: list[str]
) -> None:
    use()
    measured = package.evaluate_torch
    monkeypatch.setattr(package, "evaluate_torch", lambda *given: replace(
        (found := measured(*given)), neg_elbo=found.neg_elbo + apart))  # fmt: skip
    monkeypatch.setattr(package, "_files", lambda *_: pytest.fail("it would be written") if missed else {})
    monkeypatch.setattr(package, "verify", lambda _: [])
    report, _ = export_run(RUN, DATA, tmp_path / "model", name="m", version="1")
    assert report.misses() == missed
    assert (tmp_path / "model").exists() == (not missed)


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (encoder_wrong_at(unit_pictures(DATA)[85], "mean", 3e-4), "encoder on test images"),
        (lambda graphs: changed(graphs, "latents", lambda model: setattr(model.graph, "doc_string", "/home/ann")),
         "latents: no file paths of the exporting machine"),
    ],
)  # fmt: skip
def test_a_miss_of_a_value_or_of_the_structure_leaves_the_old_folder_as_it_was(
    use: Callable[..., None], spoil: Callable[[Graphs], Graphs], name: str, tmp_path: Path,
    exported: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    use(spoil)
    assert vae_export("--out", exported, "--quiet", "--force") == 6
    assert capsys.readouterr().err == (
        f"vae-export: expected graphs that agree with PyTorch, got a miss in {name}"
        f"{'; ' + name if name.startswith('encoder') else ''}; nothing was written\n"
    )
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_a_folder_that_does_not_verify_is_not_left_there(
    use: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use()
    golden = package.golden_vectors

    def of_another_model(name: str, graphs: Graphs, vae: LinearVae, *rest: Any) -> dict[str, Any]:
        other = LinearVae()
        other.pixels.mul_(1.3)
        return golden(name, graphs, other, *rest)

    monkeypatch.setattr(package, "golden_vectors", of_another_model)
    with pytest.raises(ExportMismatchError, match=r"^expected a folder that verifies, got .*pictures.*allowed 1$"):
        export_run(RUN, DATA, tmp_path / "model", name="m", version="1")
    assert vae_export("--out", tmp_path / "model") == 6
    assert "got pictures of the generator, grey levels" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a detail stage, whose graphs are off by less than is allowed: so one sees what comes from them."""
    out = tmp_path_factory.mktemp("exported") / "model"

    def off(graphs: Graphs) -> Graphs:
        graphs = changed(graphs, "encoder", lambda model: Place().wrong(model, "mean", OFF_MEAN, 2))
        return changed(graphs, "decoder", lambda model: Place().wrong(model, "image", OFF_IMAGE, 4))

    with pytest.MonkeyPatch.context() as patch:
        encoder = off(graphs_of(VAE_TORCH)).encoder
        patch.setattr(package, "build_encoder", lambda *_: encoder)
        patch.setattr(package, "build_graphs", lambda vae, _, prior, default, detail: off(
            graphs_of(vae, detail[0], prior, default)))  # fmt: skip
        report, _ = export_run(RUN, DATA, out, name="m", version="2.0", detail=DETAIL, details_by_default=True)
    assert report.misses() == []
    return out


OFF_MEAN, OFF_IMAGE = 5e-5, 4e-6


def document(folder: Path, file: str = "manifest.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / file).read_text("utf-8"))
    return found


def tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def posterior(images: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and log-variance by PyTorch."""
    mean, log_variance = VAE_TORCH.encode(tensor(images))
    return mean.double().numpy(), log_variance.double().numpy()


def grey_levels(entry: dict[str, Any]) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(entry["base64"]), np.uint8).reshape(entry["count"], *IMAGE)


def apart(found: NDArray[np.uint8], expected: Any) -> int:
    """The largest difference of grey levels."""
    levels = to_grey_levels(np.asarray(expected))
    assert found.shape == levels.shape
    return int(np.abs(found.astype(int) - levels).max())


def test_the_figures_in_the_manifest_are_those_of_the_graphs_that_are_shipped(exported: Path) -> None:
    mean, log_variance = posterior(unit_pictures(DATA))
    kl = 0.5 * ((mean + OFF_MEAN) ** 2 + np.exp(log_variance) - log_variance - 1)
    manifest = document(exported)
    test = manifest["metrics"]["test"]
    assert test["kl_per_dimension"] == pytest.approx(kl.mean(0).tolist(), abs=5e-6)
    in_torch = np.array(evaluate_torch(VAE_TORCH, DATA.test_images.numpy()).kl_per_dimension)
    assert np.abs(in_torch - test["kl_per_dimension"]).max() > 2e-5
    assert manifest["latent"]["kl_nats"] == test["kl_per_dimension"]
    assert manifest["latent"]["order"] == np.argsort(-kl.mean(0)).tolist()
    assert test["images"] == len(DATA.test_images)
    assert test["neg_elbo"] == pytest.approx(test["reconstruction"] + test["kl"])
    assert test["kl"] == pytest.approx(sum(test["kl_per_dimension"]))


def test_the_manifest_names_data_training_and_detail_stage(exported: Path) -> None:
    manifest = document(exported)
    assert manifest["model"] == {"name": "m", "version": "2.0", "licence": "unspecified"}
    assert manifest["data"] == {"name": "pictures", "licence": "unspecified", "sha256": dict(DATA.sha256)}
    assert manifest["image"] == {"channels": 1, "height": 4, "width": 3, "range": [0, 1]}
    assert (manifest["latent"]["dimensions"], manifest["latent"]["default_prior"]) == (DIMENSIONS, "fitted")
    assert manifest["class_names"] == list(DATA.class_names)
    assert manifest["detail"] == {"noise": SPEC.noise, "class_shift": SPEC.class_shift, "default": True}
    training = manifest["training"]
    assert training["recipe"] == RUN.config.to_json()
    assert (training["versions"], training["weights_sha256"]) == (RUN.record["versions"], "0" * 64)
    assert training["detail"] == {"recipe": DETAIL.config.to_json(), "weights_sha256": "1" * 64}
    prior = ModelFolder.open(exported).read_prior()
    assert manifest["fitted_prior"]["components"] == list(prior.sizes)
    assert (manifest["fitted_prior"]["images"], manifest["fitted_prior"]["held_out_images"]) == (68, 22)
    assert [entry["name"] for entry in document(exported, "prior.json")["mixtures"]] == list(DATA.class_names)
    for name in ("encoder", "decoder", "generator", "latents", "detail"):
        content = (exported / f"{name}.onnx").read_bytes()
        model = onnx.load_model_from_string(content)
        facts = {entry.key: entry.value for entry in model.metadata_props}
        assert (facts["model"], facts["version"], facts["data"]) == ("m", "2.0", "pictures")
        assert (facts["weights_sha256"], json.loads(facts["detail"])["noise"]) == ("0" * 64, SPEC.noise)
        entry = manifest["graphs"][name]
        assert (entry["opset"], entry["ir_version"]) == (model.opset_import[0].version, model.ir_version) == (18, 8)
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))


def test_the_report_in_the_manifest_is_the_proof_at_both_levels(exported: Path) -> None:
    report = document(exported)["export"]
    assert ELBO in [check["name"] for check in report["structure"]]
    assert all(check["passed"] for check in [*report["structure"], *report["values"]])
    assert [check["optimisation"] for check in report["values"]] == (
        ["default"] * (len(report["values"]) // 2) + ["none"] * (len(report["values"]) // 2)
    )
    largest = {check["output"]: check["max"] for check in report["values"] if check["name"] == "encoder on test images"}
    assert largest["mean"] == pytest.approx(OFF_MEAN, rel=0.1)
    assert largest["log_variance"] < OFF_MEAN / 10


def test_golden_vectors_hold_what_pytorch_and_numpy_give_and_not_the_graphs(exported: Path) -> None:
    golden = document(exported, "golden.json")
    assert golden["tolerances"] == {"latent": 1e-5, "grey_levels": 1, "mean": 1e-4, "log_variance": 1e-4, "move": 1e-4}
    encodings = golden["encodings"]
    images = grey_levels(encodings["images"])
    np.testing.assert_array_equal(images, DATA.test_images.numpy()[:4])
    mean, log_variance = posterior(images.astype(np.float32) / 255)
    np.testing.assert_allclose(encodings["mean"], mean, atol=1e-5)  # the graph's are 5e-5 off
    np.testing.assert_allclose(encodings["log_variance"], log_variance, atol=1e-5)

    decodings = golden["decodings"]
    np.testing.assert_allclose(decodings["latents"], [np.zeros(DIMENSIONS), *mean[:2]], atol=6e-5)  # four digits
    assert apart(grey_levels(decodings["images"]), VAE_TORCH.decode(tensor(decodings["latents"]))) == 0

    prior = ModelFolder.open(exported).read_prior()
    assert [(case["seed"], case["start"], case["count"]) for case in golden["samples"]] == [
        ("0", "0", 3), ("7", "0", 2), (str(2**53 - 1), str(2**32 - 1), 2), (str(2**63 - 1), str(2**63 - 2), 2),
    ]  # fmt: skip
    for case in golden["samples"]:
        window = int(case["seed"]), int(case["start"]), case["count"]
        latents, labels = prior.latents(*window)
        np.testing.assert_allclose(case["latents"], latents, atol=1e-6)
        words = random_words(*window, blocks=1)[:, 0]
        assert case["first_words"] == [[f"{word:08x}" for word in row] for row in words]
        noise = detail_noise(SPEC, *window, labels)
        drawn = STAGE(tensor(latents), tensor(noise))
        assert apart(grey_levels(case["images"]), drawn[:1]) <= 1

    details = golden["details"]
    assert details["latents"] == decodings["latents"]
    np.testing.assert_allclose(details["noise"], detail_noise(SPEC, 0, 0, 3), atol=6e-5)
    drawn = STAGE(tensor(details["latents"]), tensor(details["noise"]))
    assert apart(grey_levels(details["images"]), drawn) == 0


def test_golden_choices_of_latents_are_both_priors_a_class_and_temperatures(exported: Path) -> None:
    prior = ModelFolder.open(exported).read_prior()
    seen = set()
    for case in document(exported, "golden.json")["latents"]:
        window = int(case["seed"]), int(case["start"]), case["count"]
        seen.add((case["prior"], case["label"], case["temperature"]))
        if case["prior"] == "normal":
            latents = case["temperature"] * standard_normals(*window, DIMENSIONS)
            labels = np.full(case["count"], -1)
        else:
            latents, labels = prior.latents(*window, case["label"], case["temperature"])
        np.testing.assert_allclose(case["latents"], latents, atol=1e-6)
        assert case["labels"] == labels.tolist()
        np.testing.assert_allclose(case["noise"], detail_noise(SPEC, *window, labels), atol=1e-6)
    assert seen == {
        ("normal", -1, 1.0), ("normal", -1, 0.5), ("fitted", -1, 1.0), ("fitted", -1, 1.25), ("fitted", 1, 0.75),
    }  # fmt: skip


def test_the_preview_is_fifty_samples_of_seed_0_ten_in_a_row(exported: Path) -> None:
    expected = picture_grid(VAE(exported).sample(50, seed=0).grey_levels(), 10, 3)
    with Image.open(exported / "preview.png") as picture:
        found = np.asarray(picture).astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1


def test_the_worst_pictures_cost_most_above_their_floor_and_stand_over_their_reconstructions(exported: Path) -> None:
    x = unit_pictures(DATA).astype(np.float64)
    with torch.no_grad():
        mean, _ = VAE_TORCH.encode(tensor(x))
        p = VAE_TORCH.decode(mean).double().numpy()
    # The entropy of a pixel, which is 0 at 0 and 1.
    inside = np.clip(x, 1e-12, 1 - 1e-12)
    floor = -(inside * np.log(inside) + (1 - inside) * np.log(1 - inside)).sum((1, 2, 3))
    excess = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)) - floor
    worst = np.argsort(-excess)[:10]
    assert len(np.unique(np.round(np.sort(excess)[-11:], 2))) == 11  # no two so alike that rounding decides
    expected = picture_grid(to_grey_levels(np.concatenate([x[worst], p[worst]]).astype(np.float32)), 10, 3)
    with Image.open(exported / "worst.png") as picture:
        found = np.asarray(picture).astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1


def test_the_card_says_what_the_manifest_says(exported: Path) -> None:
    card, manifest = (exported / "README.md").read_text("utf-8"), document(exported)
    test, prior = manifest["metrics"]["test"], manifest["fitted_prior"]
    for line in (
        f"| −ELBO | {test['neg_elbo']:.2f} |",
        f"| reconstruction (binary cross-entropy summed over pixels) | {test['reconstruction']:.2f} |",
        f"| KL to the prior N(0, I) | {test['kl']:.2f} |",
        f"| floor of the reconstruction (the pixels' own entropy) | {test['floor_nats']:.2f} |",
        f"| under N(0, I) | {prior['held_out_nats_normal']:.2f} |",
        f"| under the fitted prior | {prior['held_out_nats_fitted']:.2f} |",
        f"| under the fitted prior, given the class | {prior['held_out_nats_fitted_of_class']:.2f} |",
        "\n".join(
            f"| {at} | {test['kl_per_dimension'][at]:.3f} | {test['posterior_mean_variance'][at]:.3f} |"
            for at in manifest["latent"]["order"]
        ),
    ):
        assert line in card
    assert len({f"{test[key]:.2f}" for key in ("neg_elbo", "reconstruction", "kl", "floor_nats")}) == 4
    largest = {
        output: max(check["max"] for check in manifest["export"]["values"] if check["output"] == output)
        for output in ("image", "mean", "log_variance", "latent")
    }
    for output, kind in (("image", "on pictures in [0, 1]"), ("mean", "on\nposterior means"),
                         ("log_variance", "on log-variances"), ("latent", "on latents")):  # fmt: skip
        assert " ".join(f"{largest[output]:.1e} {kind}".split()) in " ".join(card.split())
    assert f"| `encoder.onnx` | {(exported / 'encoder.onnx').stat().st_size / 1024:.0f} KiB |" in card


def test_the_card_of_other_images_names_what_is_theirs(exported: Path) -> None:
    manifest = document(exported)
    manifest["data"] |= {"name": "my_emoji", "licence": "CC0-1.0"}
    manifest["image"] |= {"channels": 3, "height": 32, "width": 48}
    manifest["class_names"] = [f"class {at}" for at in range(200)]
    manifest["training"]["recipe"] |= {"steps": 1500, "flip": True, "shift": 1}
    manifest["metrics"]["test"]["images"] = 8
    card = model_card(manifest)
    for words in (
        r"of the data set my\_emoji, which has 90 pictures", "32 × 48 pixels in colour", "trained for 1500 steps",
        "The licence of the data set is CC0-1.0. Nobody has named a licence of the model.",
        "The 200 classes are class 0,",
        "class 19, and 180 more.", "Half of the images were mirrored at random.", "by up to 1 pixel in each direction",
        "shows the test images, and the lower row their reconstructions, the worst first", "90 pictures are few",
    ):  # fmt: skip
        assert words in card
    one = manifest | {"class_names": ["*"], "training": manifest["training"]}
    assert r"All pictures have the class \*." in model_card(one)


def test_the_options_of_the_command_reach_the_export(
    use: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    weights: list[str] = []

    def record(*arguments: Any, **options: Any) -> Any:
        calls.append((arguments, options))
        raise ExportMismatchError("recorded")

    use()
    monkeypatch.setattr(package, "export_run", record)
    monkeypatch.setattr("vae_train.run_folder.load_run", lambda _, weights: stored(weights))
    monkeypatch.setattr("vae_train.images.settings.FEW", 1)

    def stored(which: str) -> Any:
        weights.append(which)
        return RUN

    monkeypatch.setattr("vae_train.detail.folder.saved_settings", lambda _: "a stage")
    monkeypatch.setattr("vae_train.detail.folder.load_detail", lambda _: DETAIL)
    out = tmp_path / "my-model"
    for options in ((), ("--name", "n", "--model-version", "3", "--weights", "best", "--prior", "normal"),
                    ("--detail", "available"), ("--detail", "none"),
                    ("--licence", "MIT", "--data-licence", "CC0-1.0"),
                    ("--force", "--portable", "--weight-format", "int8"),
                    ("--class-shift", "6.5", "--trim-prior", "0.1")):  # fmt: skip
        assert vae_export("--out", out, *options) == 6
    assert weights == ["last", "best", "last", "last", "last", "last", "last"]
    assert all(arguments == (RUN, DATA, out) for arguments, _ in calls)
    assert all(isinstance(options.pop("progress"), Stages) for _, options in calls)
    plain = {"name": "my-model", "version": "1.0.0", "default_prior": "fitted", "keep_prior": None, "trim_prior": 0,
             "detail": DETAIL, "details_by_default": True, "class_shift": None, "licence": "unspecified",
             "data_licence": None, "force": False, "portable": False, "weight_format": "float32"}  # fmt: skip
    assert [options for _, options in calls] == [
        plain,
        {**plain, "name": "n", "version": "3", "default_prior": "normal"},
        {**plain, "details_by_default": False},
        {**plain, "detail": None, "details_by_default": False},
        {**plain, "licence": "MIT", "data_licence": "CC0-1.0"},
        {**plain, "force": True, "portable": True, "weight_format": "int8"},
        {**plain, "class_shift": 6.5, "trim_prior": 0.1},
    ]  # fmt: skip
    weights.clear()
    monkeypatch.setattr("vae_train.images.settings.FEW", 2000)  # the images are fewer, so the best epoch is exported
    assert vae_export("--out", out) == 6
    assert weights == ["last", "best"]


def test_a_model_is_replaced_only_with_force_and_never_together_with_other_files(
    use: Callable[..., None], exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use()
    out = tmp_path / "my model"
    shutil.copytree(exported, out)
    assert vae_export("--out", out) == 2
    assert capsys.readouterr().err == (
        f"vae-export: expected a new folder, got {out}, which holds a model; add --force to replace it, or choose "
        "another --out\n"
    )
    assert document(out) == document(exported)
    assert vae_export("--out", out, "--force", "--name", "second") == 0
    assert document(out)["model"]["name"] == "second"
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == f"next: vae-gen sample -n 50 --model '{out}' -o samples.png"
    for stage in ("loading PyTorch", "building the other graphs", "comparing the graphs with PyTorch"):
        assert re.search(rf"^ +\d+\.\d s  {stage}", error, re.MULTILINE)
    (out / "notes.txt").write_text("dear")
    assert vae_export("--out", out, "--force") == 7
    assert "found notes.txt" in capsys.readouterr().err
    assert document(out)["model"]["name"] == "second"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_appears_during_the_export_is_not_lost(
    use: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    use()
    out, golden = tmp_path / "model", package.golden_vectors

    def meanwhile(*arguments: Any) -> dict[str, Any]:
        out.mkdir()
        (out / "thesis.tex").write_text("dear")
        return golden(*arguments)

    monkeypatch.setattr(package, "golden_vectors", meanwhile)
    assert vae_export("--out", out, "--quiet", *(["--force"] if force else [])) == 7
    assert f"cannot write {out}: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "thesis.tex"]


def test_the_place_is_checked_before_pytorch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    program = (
        "import sys; from vae_export import command; code = command.main(); "
        "print(code, [name for name in ('torch', 'sklearn', 'onnx') if name in sys.modules])"
    )
    words = [sys.executable, "-c", program, "run", "--out", str(tmp_path / "file" / "model")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "7 []\n"
    assert done.stderr.startswith(f"vae-export: cannot write {tmp_path / 'file' / 'model'}: there is no folder ")


def test_a_long_stage_shows_signs_of_life(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(stages, "QUIET_S", 0.02)
    with Stages() as shown:
        shown("waiting")
        deadline = time.monotonic() + 30
        lines = ""
        while "still" not in lines and time.monotonic() < deadline:
            time.sleep(0.01)
            lines += capsys.readouterr().err
    assert re.match(r"   0\.\d s  waiting\n +\d+\.\d s  still waiting\n", lines)
    with Stages(quiet=True) as silent:
        silent("waiting")
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("images", "classes"), [(2, 2), (3, 0), (150, 1), (150, 130)])
def test_sets_of_few_images_and_of_one_or_many_classes_export(
    use: Callable[..., None], tmp_path: Path, images: int, classes: int
) -> None:
    few = tiny_pictures(images)
    labels = torch.arange(images) % max(classes, 1) if classes else torch.full((images,), -1)
    names = tuple(f"class {at}" for at in range(classes))
    data = replace(few, train_labels=labels, test_labels=labels, class_names=names)
    use(data=data)
    report, measured = export_run(RUN, data, tmp_path / "model", name="m", version="1", portable=True)
    assert report.misses() == []
    assert {check.name.partition(",")[0] for check in report.values} >= {"generator.portable", "latents.portable"}
    assert measured.images == images
    assert [check.detail for check in verify(tmp_path / "model") if not check.passed] == []
    assert "NaN" not in (tmp_path / "model" / "manifest.json").read_text()
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"which has {images} pictures for\ntraining and validation" in card
    assert f"{images} pictures are few" in card
    assert ("The pictures have no classes" in card) == (classes == 0)


def test_a_set_of_one_image_is_refused_in_one_sentence(use: Callable[..., None], tmp_path: Path) -> None:
    data = tiny_pictures(1)
    use(data=data)
    with pytest.raises(InputError, match="expected at least 2 training images to fit a prior to, got 1; add images"):
        export_run(RUN, data, tmp_path / "model", name="m", version="1")
