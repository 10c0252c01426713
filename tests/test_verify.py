"""`verify`, check by check: a folder whose hashes are right, in which one golden vector or one graph is not."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tiny_model import tiny_prior
from tiny_proof import Place
from vae_gen import UnavailableError, verify

NAMES = [
    "Philox known answers", "Philox words of samples", "latents in NumPy", "latents of the generator",
    "pictures of the generator, grey levels", "posterior means", "posterior log-variances",
    "decoded pictures, grey levels", "chosen latents in NumPy", "their classes in NumPy", "chosen latents of the graph",
    "their classes of the graph", "their noise in NumPy", "their noise of the graph", "details, grey levels",
]  # fmt: skip


@pytest.fixture
def folder(detailed_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(detailed_model_folder, tmp_path / "model"))


def rewrite(folder: Path, file: str, content: bytes) -> None:
    """Another content, of which the manifest knows the hash."""
    (folder / file).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    place = manifest["files"] if file in manifest["files"] else manifest["graphs"]
    place[file.removesuffix(".onnx")] |= entry
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def with_golden(folder: Path, edit: Callable[[Any], object]) -> list[str]:
    """The checks that fail after golden.json was edited."""
    golden = json.loads((folder / "golden.json").read_text("utf-8"))
    edit(golden)
    rewrite(folder, "golden.json", json.dumps(golden).encode())
    return failed(folder)


def failed(folder: Path) -> list[str]:
    return [check.name for check in verify(folder) if not check.passed]


def add(path: str, amount: float) -> Callable[[Any], None]:
    """Add to the number, or to all grey levels, at this place of the document: keys with dots between."""

    def edit(document: Any) -> None:
        *keys, last = [int(key) if key.lstrip("-").isdigit() else key for key in path.split(".")]
        for key in keys:
            document = document[key]
        if last == "base64":
            levels = np.frombuffer(base64.b64decode(document[last]), np.uint8).astype(int) + int(amount)
            document[last] = base64.b64encode(np.where(levels > 255, 255, levels).astype(np.uint8).tobytes()).decode()
        else:
            document[last] += amount

    return edit


def test_a_whole_folder_passes_every_check_of_the_list(folder: Path) -> None:
    checks = verify(folder)
    assert [check.name for check in checks if not check.passed] == []
    assert [check.name for check in checks[-len(NAMES) :]] == NAMES
    graphs = ("encoder", "decoder", "generator", "latents", "detail")
    assert [check.name for check in checks[: -len(NAMES)]] == [
        *(f"sha256 of {graph}.onnx" for graph in graphs), "sha256 of golden.json", "sha256 of README.md",
        "sha256 of prior.json", *(f"essentials in {graph}.onnx" for graph in graphs),
    ]  # fmt: skip


LATENTS = ["latents in NumPy", "latents of the generator"]
CHOSEN = ["chosen latents in NumPy", "chosen latents of the graph"]
CLASSES = ["their classes in NumPy", "their classes of the graph"]
NOISE = ["their noise in NumPy", "their noise of the graph"]


@pytest.mark.parametrize(
    ("path", "amount", "names"),
    [
        ("samples.0.latents.0.0", 1.5e-5, LATENTS),
        ("samples.1.latents.1.11", -1.5e-5, LATENTS),
        ("samples.1.latents.1.11", 0.7e-5, []),
        ("samples.0.images.base64", 3, ["pictures of the generator, grey levels"]),
        ("samples.1.images.base64", 3, ["pictures of the generator, grey levels"]),
        ("encodings.mean.2.0", 1.3e-4, ["posterior means"]),
        ("encodings.mean.2.0", -0.7e-4, []),
        ("encodings.log_variance.1.11", -1.3e-4, ["posterior log-variances"]),
        ("encodings.log_variance.1.11", 0.7e-4, []),
        ("decodings.images.base64", 3, ["decoded pictures, grey levels"]),
        ("decodings.latents.0.0", 2, ["decoded pictures, grey levels"]),
        *((f"latents.{case}.latents.0.3", 1.5e-5, CHOSEN) for case in range(5)),
        *((f"latents.{case}.labels.-1", 1, CLASSES) for case in range(5)),
        *((f"latents.{case}.noise.0.4", 1.5e-5, NOISE) for case in range(5)),
        ("latents.0.latents.0.3", 0.7e-5, []),
        ("details.images.base64", 3, ["details, grey levels"]),
        ("details.noise.0.0", 3, ["details, grey levels"]),
    ],
)  # fmt: skip
def test_a_golden_vector_that_is_off_by_more_than_its_tolerance_fails_its_own_checks(
    folder: Path, path: str, amount: float, names: list[str]
) -> None:
    assert with_golden(folder, add(path, amount)) == names


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (("philox", 0, "words"), ["Philox known answers"]),
        (("samples", 1, "first_words", 1), ["Philox words of samples"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("word", range(4))
def test_a_word_that_differs_in_its_last_bit_fails(
    folder: Path, keys: tuple[Any, ...], names: list[str], word: int
) -> None:
    def edit(document: Any) -> None:
        for key in keys:
            document = document[key]
        document[word] = f"{int(document[word], 16) ^ 1:08x}"

    assert with_golden(folder, edit) == names


def test_tolerances_are_those_of_the_file(folder: Path) -> None:
    def edit(golden: Any) -> None:
        golden["tolerances"] = {"latent": 0.5, "grey_levels": 40, "mean": 0.5, "log_variance": 0.5}
        for path, amount in (("samples.0.latents.0.0", 0.4), ("latents.2.latents.0.0", 0.4),
                             ("latents.2.noise.0.0", 0.4), ("samples.0.images.base64", 20),
                             ("decodings.images.base64", 20), ("details.images.base64", 20),
                             ("encodings.mean.0.0", 0.4), ("encodings.log_variance.0.0", 0.4)):  # fmt: skip
            add(path, amount)(golden)

    assert with_golden(folder, edit) == []


WINDOW = {"seed": np.int64(2**63 - 1)}


@pytest.mark.parametrize(
    ("graph", "place", "output", "by", "rank", "name"),
    [
        ("generator", Place().where(**WINDOW), "latent", 3e-5, 2, "latents of the generator"),
        ("generator", Place().where(**WINDOW), "image", -0.02, 4, "pictures of the generator, grey levels"),
        ("encoder", Place(), "mean", 2e-4, 2, "posterior means"),
        ("encoder", Place(), "mean", float("nan"), 2, "posterior means"),
        ("encoder", Place(), "log_variance", -2e-4, 2, "posterior log-variances"),
        ("decoder", Place(), "image", -0.02, 4, "decoded pictures, grey levels"),
        ("latents", Place().where(label=np.int64(1)), "latent", 3e-5, 2, "chosen latents of the graph"),
        ("latents", Place().where(prior=np.int64(0), temperature=np.float32(0.5)), "latent", 3e-5, 2,
         "chosen latents of the graph"),
        ("latents", Place().where(temperature=np.float32(1.25)), "labels", 1, 1, "their classes of the graph"),
        ("latents", Place().where(label=np.int64(1)), "noise", 3e-5, 2, "their noise of the graph"),
        ("detail", Place(), "image", -0.02, 4, "details, grey levels"),
    ],
)  # fmt: skip
def test_a_graph_that_is_off_fails_the_check_of_its_output(
    folder: Path, graph: str, place: Place, output: str, by: float, rank: int, name: str
) -> None:
    model = place.wrong(onnx.load(folder / f"{graph}.onnx"), output, by, rank)
    rewrite(folder, f"{graph}.onnx", model.SerializeToString())
    assert failed(folder) == [name]


def test_tables_that_are_not_the_graphs_fail_in_numpy(folder: Path) -> None:
    prior = tiny_prior()
    tables = replace(prior, means=prior.means + np.float32(2e-5) * (np.arange(len(prior.means)) > 0)[:, None])
    rewrite(folder, "prior.json", json.dumps(tables.to_json(["blob", "other blob"])).encode())
    assert failed(folder) == ["latents in NumPy", "chosen latents in NumPy"]


def test_golden_vectors_of_another_model_fail_in_every_picture(folder: Path, other_model_folder: Path) -> None:
    other = json.loads((other_model_folder / "golden.json").read_text("utf-8"))
    own = json.loads((folder / "golden.json").read_text("utf-8"))
    rewrite(folder, "golden.json", json.dumps({**own, "encodings": other["encodings"],
                                               "decodings": other["decodings"]}).encode())  # fmt: skip
    assert failed(folder) == ["posterior means", "posterior log-variances", "decoded pictures, grey levels"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda golden: golden.update(samples=[]),
        lambda golden: golden.update(latents=[]),
        lambda golden: golden.update(philox=[]),
        lambda golden: golden["encodings"].update(mean=golden["encodings"]["mean"][:1]),  # it would broadcast
        lambda golden: golden["latents"][2].update(labels=[0]),
        lambda golden: golden.pop("decodings"),
        lambda golden: golden.pop("details"),
        lambda golden: golden["tolerances"].pop("grey_levels"),
        lambda golden: golden["samples"][0].update(seed=str(2**63)),
    ],
)  # fmt: skip
def test_golden_vectors_that_are_missing_or_of_another_shape_fail(
    folder: Path, edit: Callable[[Any], object]
) -> None:
    assert "golden.json" in with_golden(folder, edit)


def test_a_provider_that_is_not_there_proves_nothing(folder: Path) -> None:
    with pytest.raises(UnavailableError, match="got abacus"):
        verify(folder, provider="abacus")
