"""What the library says of a model folder that is missing, incomplete, edited or malformed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny_model import tiny_prior
from vae_gen import VAE, Manifest, ModelError, ModelFolder, verify


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as raised:
        model = VAE(folder)
        model.open("encoder", "decoder", "generator")
    message = str(raised.value)
    assert "\n" not in message
    return message


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_a_whole_folder_verifies(folder: Path) -> None:
    checks = verify(folder)
    assert len(checks) > 8
    assert [check.name for check in checks if not check.passed] == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        ModelFolder.open(tmp_path / "none")
    assert str(raised.value) == (
        f"expected a model folder at {tmp_path / 'none'}, found nothing there; give a folder that vae-export wrote"
    )


@pytest.mark.parametrize("file", ["manifest.json", "decoder.onnx", "golden.json"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    message = refused(folder)
    assert file in message
    assert str(folder) in message


def test_a_truncated_graph_is_found_by_its_size(folder: Path) -> None:
    path = folder / "decoder.onnx"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    assert refused(folder) == (
        f"{path}: expected {len(content)} bytes, found {len(content) - 10}; copy or export the model folder again"
    )


def test_an_edited_graph_of_the_same_size_is_found_by_its_hash_when_it_is_opened(folder: Path) -> None:
    path = folder / "decoder.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "the file was changed or swapped" in refused(folder)
    assert [check.name for check in verify(folder) if not check.passed] == ["sha256 of decoder.onnx"]


def test_swapped_graphs_are_found(folder: Path) -> None:
    (folder / "decoder.onnx").rename(folder / "x")
    (folder / "encoder.onnx").rename(folder / "decoder.onnx")
    (folder / "x").rename(folder / "encoder.onnx")
    assert "expected" in refused(folder)


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        (lambda d: d["class_names"].reverse(), "class_names"),
        (lambda d: d["model"].update(licence="GPL"), "licence"),
        (lambda d: d["latent"]["kl_nats"].__setitem__(0, d["latent"]["kl_nats"][0] + 1e-9), "latent"),
    ],
)
def test_a_manifest_that_says_other_things_than_its_graphs_does_not_verify(
    folder: Path, edit: Callable[[dict[str, Any]], object], key: str
) -> None:
    edit_manifest(folder, edit)
    failed = [(check.name, check.detail) for check in verify(folder) if not check.passed]
    names = ("encoder", "decoder", "generator", "latents")
    assert failed == [(f"essentials in {name}.onnx", f"{key} differ from manifest.json") for name in names]


def test_edited_golden_vectors_do_not_verify(folder: Path) -> None:
    path = folder / "golden.json"
    path.write_text(path.read_text(encoding="utf-8").replace("6627e8d5", "6627e8d6"), encoding="utf-8")
    assert [check.name for check in verify(folder) if not check.passed] == ["sha256 of golden.json"]


def test_wrong_golden_vectors_with_the_right_hash_do_not_verify(folder: Path) -> None:
    import hashlib

    path = folder / "golden.json"
    golden = json.loads(path.read_text(encoding="utf-8"))
    golden["encodings"]["mean"][0][0] += 0.01
    golden["philox"][0]["words"][0] = "00000000"
    text = json.dumps(golden).encode()
    path.write_bytes(text)
    entry = {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)}
    edit_manifest(folder, lambda document: document["files"].update({"golden.json": entry}))
    failed = [check.name for check in verify(folder) if not check.passed]
    assert failed == ["Philox known answers", "posterior means"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.pop("latent"), "latent is missing"),
        (lambda d: d["latent"].update(dimensions="twelve"),
         'latent.dimensions: expected a whole number from 1 to 4096, found "twelve"'),
        (lambda d: d["latent"].update(order=[0]), "latent.order: expected each of 0 to"),
        (lambda d: d["image"].update(height=0), "image.height: expected a whole number from 1 to 4096, found 0"),
        (lambda d: d["image"].update(range=[-1, 1]), "image.range: expected [0, 1], found [-1, 1]"),
        (lambda d: d["graphs"]["decoder"].update(file="../decoder.onnx"),
         'graphs.decoder.file: expected the plain name of a file in the folder, found "../decoder.onnx"'),
        (lambda d: d["graphs"]["decoder"].update(sha256="abc"),
         'graphs.decoder.sha256: expected a SHA-256 of 64 hexadecimal digits, found "abc"'),
        (lambda d: d["graphs"].pop("generator"), "graphs.generator is missing"),
        (lambda d: d.update(likelihood="laplace"), "likelihood: expected"),
        (lambda d: d.update(likelihood="gaussian", metrics={"test": {}}), "metrics.test.pixel_variance is missing"),
        (lambda d: d.update(likelihood="gaussian", metrics={"test": {"pixel_variance": 0}}),
         "metrics.test.pixel_variance: expected a number above 0, found 0"),
        (lambda d: d.update(schema_version=99), "expected schema version 1, found 99; upgrade vae-gen to read it"),
        (lambda d: d.update(class_names="shoes"), 'class_names: expected a list, found "shoes"'),
    ],
)
def test_a_malformed_manifest_names_key_expected_and_found(
    folder: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_manifest(folder, edit)
    assert message in refused(folder)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_value_anywhere_is_read_or_refused_in_one_line(tiny_model_folder: Path, data: st.DataObject) -> None:
    document = json.loads((tiny_model_folder / "manifest.json").read_text(encoding="utf-8"))
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not (isinstance(place[key], dict | list) and place[key]) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(json_values)
    try:
        Manifest.parse(json.dumps(document))
    except ModelError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_manifest_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        Manifest.parse(content)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["latent"].update(kl_nats=[1.0], order=[0], dimensions=1), "that image and latent imply"),
        (lambda d: d["image"].update(height=30), "that image and latent imply"),
        (lambda d: d["graphs"].update(encoder=d["graphs"]["decoder"], decoder=d["graphs"]["encoder"]),
         "that image and latent imply"),
        (lambda d: d["latent"]["kl_nats"].__setitem__(0, 10**400), "latent.kl_nats[0]: expected a finite number"),
        (lambda d: d["latent"]["order"].reverse(),
         "latent.order: expected the dimensions from the highest of kl_nats to the lowest"),
        (lambda d: d["seed_contract"].update(version=2),
         "expected seed contract 1, found 2; upgrade vae-gen to use it"),
        (lambda d: d.update(files={}), "files.golden.json is missing"),
        (lambda d: d["files"].pop("prior.json"), "files.prior.json is missing"),
        (lambda d: d["latent"].update(default_prior="uniform"),
         'latent.default_prior: expected normal or fitted, found "uniform"'),
        (lambda d: (d["latent"].update(default_prior="fitted"), d["graphs"].pop("latents")),
         'latent.default_prior: expected normal, because graphs has no latents, found "fitted"'),
        (lambda d: d["graphs"]["latents"]["outputs"].reverse(), "that image and latent imply"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_this_version_is_refused_when_it_is_read(
    folder: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_manifest(folder, edit)
    assert message in refused(folder)


def test_a_folder_from_before_fitted_priors_loads_verifies_and_draws_from_the_normal(old_model_folder: Path) -> None:
    assert not (old_model_folder / "prior.json").exists()
    assert [check.name for check in verify(old_model_folder) if not check.passed] == []
    model = VAE(old_model_folder)
    assert not model.manifest.has_fitted_prior
    assert (model.manifest.latent.default_prior, model.sample(1, seed=1).choice.prior) == ("normal", "normal")


def test_a_folder_whose_default_is_the_fitted_prior_verifies(fitted_model_folder: Path) -> None:
    checks = verify(fitted_model_folder)
    assert [(check.name, check.detail) for check in checks if not check.passed] == []
    assert {"chosen latents of the graph", "their classes of the graph"} <= {check.name for check in checks}


def test_an_edited_prior_is_found_by_its_hash_and_one_of_another_model_by_its_shape(folder: Path) -> None:
    import hashlib

    path = folder / "prior.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"threshold": 4294967296', b'"threshold": 4294967295'))
    assert [check.name for check in verify(folder) if not check.passed] == ["sha256 of prior.json"]
    other = json.dumps(tiny_prior((3, 2, 1)).to_json("abc")).encode()
    path.write_bytes(other)
    entry = {"sha256": hashlib.sha256(other).hexdigest(), "bytes": len(other)}
    edit_manifest(folder, lambda document: document["files"].update({"prior.json": entry}))
    with pytest.raises(ModelError) as raised:
        ModelFolder.open(folder).read_prior()
    assert str(raised.value) == (
        f"{path}: expected 12 dimensions and 2 classes, found 12 and 3; copy or export the model folder again"
    )


def test_a_manifest_nested_beyond_reason_is_refused(folder: Path) -> None:
    (folder / "manifest.json").write_text("[" * 200_000)
    assert "expected JSON" in refused(folder)
