"""Writes a model folder: proves its graphs first, builds it under another name, and then renames it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from vae_gen import (
    DetailSpec,
    ExportMismatchError,
    Manifest,
    ModelError,
    OutputError,
    verify,
)
from vae_gen.internal.files import replacing_folder
from vae_gen.internal.manifest import CONTRACT_VERSION, PRIOR_FILE, SCHEMA_VERSION, Prior, essentials
from vae_gen.internal.prior import ANY_CLASS
from vae_train.data import FashionMnist
from vae_train.detail.folder import Detail
from vae_train.evaluation import (
    Encode,
    Evaluation,
    cost_of_probabilities,
    encoded,
    evaluate,
    evaluate_torch,
    to_unit_range,
)
from vae_train.prior import fit_to_training_images
from vae_train.run_folder import Run

from .card import model_card
from .check import open_sessions, prove, signature
from .golden import golden_vectors
from .graphs import Graphs, build_encoder, build_graphs, describe
from .latent_graphs import IR_VERSION, OPSET
from .pictures import POINTS, latent_map, preview, worst_reconstructions
from .report import Report, StructureCheck

LICENCE = "MIT"
DATA_LICENCES = {"Fashion-MNIST": "MIT"}
PROOF_IMAGES = 1000
"""How many test images the proof uses."""
EVALUATION_TOLERANCE_NATS = 0.01
"""The largest difference that is allowed between the test −ELBO in ONNX Runtime and in PyTorch."""


def export_run(
    run: Run,
    data: FashionMnist,
    out: Path,
    *,
    name: str,
    version: str,
    default_prior: Prior = "fitted",
    detail: Detail | None = None,
    details_by_default: bool = True,
) -> tuple[Report, Evaluation]:
    """Write the model folder of a run, unless a check of the proof fails.

    Args:
        run: the trained run.
        data: the data set. The prior is fitted to its training images; proof, golden vectors and figures use the test
            images.
        out: the model folder; an older model folder there is replaced.
        name: the name of the model.
        version: the version of the model.
        default_prior: the prior that the generator's samples come from. `latents.onnx` has both priors in any case.
        detail: the run's detail stage, if the model folder shall have it.
        details_by_default: whether the detail stage makes the generator's pictures.

    Returns:
        The report of the proof and the test figures. If the report has misses, nothing was written.

    Raises:
        OutputError: the folder cannot be written, or `out` holds something that is no model folder.
        ExportMismatchError: the folder was written, but its verification failed.
    """
    refuse_strangers(out)
    images = np.ascontiguousarray(data.test_images.numpy())
    encoder = build_encoder(run.vae, images.shape[1:])
    prior, prior_facts = fit_to_training_images(_encode_with(encoder), data)
    stage = None if detail is None else detail.decoder
    spec = None
    if detail is not None:
        spec = DetailSpec(detail.config.noise_dim, detail.config.class_shift, details_by_default)
    graphs = build_graphs(
        run.vae, encoder, prior, default_prior, None if stage is None or spec is None else (stage, spec)
    )
    measured = _measure(graphs, data)
    header = _header(run, data, name, version, measured, default_prior)
    if spec is not None:
        header["detail"] = asdict(spec)
    describe(graphs.by_name(), {**essentials(header), "data": data.name, "weights_sha256": run.weights_sha256})

    report = prove(graphs, run.vae, _proof_images(data), stage)
    report = _with_evaluation(report, measured, evaluate_torch(run.vae, data.test_images.numpy()))
    if report.passed:
        files = _files(header, graphs, run, data, report, measured, prior_facts, detail)
        with replacing_folder(out) as folder:
            for file, content in files.items():
                (folder / file).write_bytes(content)
            failed = [check for check in verify(folder) if not check.passed]
            if failed:  # as in `vae-gen verify`
                raise ExportMismatchError(f"expected a folder that verifies, got {failed[0].name}: {failed[0].detail}")
    return report, measured


def refuse_strangers(out: Path) -> None:
    """Refuse to replace a folder that holds anything but a model.

    Raises:
        OutputError: `out` holds other files.
    """
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        manifest = Manifest.parse((out / "manifest.json").read_bytes())
        own = {"manifest.json", *manifest.other_files, *(graph.file for graph in manifest.graphs.values())}
    except (OSError, ModelError):  # other programs have a manifest.json, too
        own = set()
    strangers = sorted({entry.name for entry in out.iterdir()} - own)
    if strangers:
        raise OutputError(
            f"cannot write {out}: expected a model folder or an empty one there, found {strangers[0]}; "
            "choose another --out"
        )


def _measure(graphs: Graphs, data: FashionMnist) -> Evaluation:
    """The test figures of the graphs in ONNX Runtime."""
    decoder = open_sessions({"decoder": graphs.decoder}, "default")["decoder"]

    def cost(latents: NDArray[np.float32], images: NDArray[np.float32]) -> NDArray[np.float64]:
        (decoded,) = decoder.run(["image"], {"latent": latents})
        return cost_of_probabilities(decoded, images)

    return evaluate(_encode_with(graphs.encoder), cost, data.test_images.numpy())


def _encode_with(encoder: onnx.ModelProto) -> Encode:
    session = open_sessions({"encoder": encoder}, "default")["encoder"]

    def encode(images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mean, log_variance = session.run(["mean", "log_variance"], {"image": images})
        return mean, log_variance

    return encode


def _with_evaluation(report: Report, measured: Evaluation, by_torch: Evaluation) -> Report:
    difference = abs(measured.neg_elbo - by_torch.neg_elbo)
    check = StructureCheck(
        "test −ELBO in ONNX Runtime and in PyTorch",
        difference <= EVALUATION_TOLERANCE_NATS,
        f"{measured.neg_elbo:.4f} and {by_torch.neg_elbo:.4f} nats, allowed {EVALUATION_TOLERANCE_NATS}",
    )
    return replace(report, structure=(*report.structure, check))


def _header(
    run: Run, data: FashionMnist, name: str, version: str, measured: Evaluation, default_prior: Prior
) -> dict[str, Any]:
    """The first part of the manifest, which describes the model."""
    model, kl = run.config.model, measured.kl_per_dimension
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": name, "version": version, "licence": LICENCE},
        "data": {
            "name": data.name,
            "licence": DATA_LICENCES.get(data.name, "unknown"),
            "sha256": dict(data.sha256),
        },
        "image": {"channels": model.channels, "height": model.height, "width": model.width, "range": [0, 1]},
        "latent": {
            "dimensions": model.latent_dim,
            "prior": "standard normal",
            "default_prior": default_prior,
            "kl_nats": list(kl),
            "order": sorted(range(len(kl)), key=lambda dimension: -kl[dimension]),
        },
        "class_names": list(data.class_names),
        "seed_contract": {
            "version": CONTRACT_VERSION,
            "generator": "Philox4x32-10, Box-Muller",
            "documentation": "docs/seed-contract.md",
        },
    }


def _files(
    header: dict[str, Any], graphs: Graphs, run: Run, data: FashionMnist, report: Report, measured: Evaluation,
    prior_facts: Mapping[str, float | int], detail: Detail | None,
) -> dict[str, bytes]:
    """The contents of all files of the model folder."""
    # `deterministic` sorts maps, so that the same weights give the same bytes.
    onnx_files = {
        f"{graph}.onnx": proto.SerializeToString(deterministic=True) for graph, proto in graphs.by_name().items()
    }
    manifest: dict[str, Any] = {
        **header,
        "graphs": {
            graph: {**_file_entry(onnx_files[f"{graph}.onnx"]), "file": f"{graph}.onnx", "opset": OPSET,
                    "ir_version": IR_VERSION, **signature(proto)}
            for graph, proto in graphs.by_name().items()
        },
        "training": {
            "recipe": run.config.to_json(),
            "versions": run.record["versions"],
            "weights_sha256": run.weights_sha256,
            **({} if detail is None else {
                "detail": {"recipe": detail.config.to_json(), "weights_sha256": detail.weights_sha256}
            }),
        },
        "export": report.to_json(),
        "fitted_prior": {
            "family": "Gaussian mixtures, full covariances",
            "components": list(graphs.prior.sizes),
            **prior_facts,
        },
        "metrics": {"test": measured.to_json()},
    }
    stage = None if detail is None else detail.decoder
    golden = golden_vectors(header["model"]["name"], graphs, run.vae, stage, data.test_images.numpy())
    others = {
        "golden.json": _json(golden),
        PRIOR_FILE: _json(graphs.prior.to_json(data.class_names)),
        "map.json": _json(_map(graphs, data)),
        "preview.png": preview(graphs),
        "worst.png": worst_reconstructions(graphs, _proof_images(data)),
        "README.md": model_card(manifest).encode(),
    }
    manifest["files"] = {file: _file_entry(content) for file, content in others.items()}
    return {**onnx_files, **others, "manifest.json": _json(manifest)}


def _map(graphs: Graphs, data: FashionMnist) -> dict[str, Any]:
    encode = _encode_with(graphs.encoder)
    images, labels = data.test_images[:POINTS].numpy(), data.test_labels[:POINTS].numpy()
    means = np.concatenate([mean for _, _, mean, _ in encoded(encode, images)])
    return latent_map(means, labels if data.class_names else np.full(len(means), ANY_CLASS))


def _proof_images(data: FashionMnist) -> NDArray[np.float32]:
    return to_unit_range(data.test_images[:PROOF_IMAGES].numpy())


def _file_entry(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
