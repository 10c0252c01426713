"""Writes a model folder: proves its graphs first, builds it under another name, and then renames it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from vae_gen import DetailSpec, ExportMismatchError, FittedPrior, ModelFolder, UsageError, verify
from vae_gen.internal.directions import Directions
from vae_gen.internal.files import replacing_folder
from vae_gen.internal.latents import detail_noise
from vae_gen.internal.manifest import (
    CONTRACT_VERSION,
    DIRECTIONS_FILE,
    PRIOR_FILE,
    SCHEMA_VERSION,
    Preparation,
    Prior,
    essentials,
)
from vae_gen.internal.prior import ANY_CLASS
from vae_train.detail.folder import Detail
from vae_train.detail.networks import DetailDecoder
from vae_train.evaluation import (
    Encode,
    Evaluation,
    bernoulli_cost,
    encoded,
    evaluate,
    evaluate_torch,
    to_unit_range,
)
from vae_train.images.image_set import ImageSet
from vae_train.images.streamed import Pictures
from vae_train.model import VAE
from vae_train.prior import MOST_IMAGES, NORMAL, DetailSize, fit_to_training_images, measure_again, trimmed
from vae_train.run_folder import Run

from .card import PROOF_IMAGES, UNSPECIFIED, model_card
from .check import open_sessions, prove, signature, torch_encode
from .directions import find_directions
from .golden import TEST_IMAGES, golden_vectors
from .graphs import Graphs, build_encoder, build_graphs, describe, with_portable
from .latent_graphs import IR_VERSION, OPSET
from .pictures import POINTS, latent_map, preview, worst_reconstructions
from .place import check_place, refuse_strangers
from .report import Report, StructureCheck
from .weight_format import WeightFormat, packed, packed_graphs, rounded_run, storage_checks

EVALUATION_TOLERANCE_NATS = 0.01
"""The largest difference that is allowed between the two."""
ENCODED_AT_ONCE = 32
"""How many images an encoder is given. With 500 the values between the layers leave the processor's cache, and
refinement takes twice as long."""
DETAILS_AT_ONCE = 250
"""How many latents the detail stage is given."""
MOST_MAPPED_CLASSES = 127
"""map.json has a byte for a class, so with more classes its points have none."""

Floats = NDArray[np.float32]


def export_run(
    run: Run,
    data: ImageSet,
    out: Path,
    *,
    name: str,
    version: str,
    default_prior: Prior = "fitted",
    keep_prior: Path | None = None,
    trim_prior: float = 0,
    detail: Detail | None = None,
    details_by_default: bool = True,
    class_shift: float | None = None,
    licence: str = UNSPECIFIED,
    data_licence: str | None = None,
    portable: bool = False,
    weight_format: WeightFormat = "float32",
    force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Report, Evaluation]:
    """Write the model folder of a run, unless a check of the proof fails.

    Args:
        run: the trained run.
        data: the data set. The prior is fitted to its training images; proof, golden vectors and figures use the test
            images.
        out: the model folder.
        name: the name of the model.
        version: the version of the model.
        default_prior: the prior that the generator's samples come from. `latents.onnx` has both priors in any case.
        keep_prior: a model folder whose fitted prior is taken, so that the latents of a seed stay; None fits one.
        trim_prior: the share of each class that is taken out of the fitted prior, see `vae_train.prior.trimmed`. If the
            fitted prior is N(0, I), it stays as it is.
        detail: the run's detail stage, if the model folder shall have it.
        details_by_default: whether the detail stage makes the generator's pictures.
        class_shift: what is added to the noise at the number of a picture's class; None is what the stage was trained
            with. More takes the pictures further from those of no class, which makes them more typical of their class.
        licence: the licence of the model, for example MIT.
        data_licence: the licence of the data set; None takes the one that the data set itself names.
        portable: write generator.portable.onnx and latents.portable.onnx, too.
        weight_format: how the graphs store large weights, to which the weights of `run` and `detail` are rounded first.
        force: replace a model folder that is there.
        progress: called with a few words when a stage of the work begins.

    Returns:
        The report of the proof and the test figures. If the report has misses, nothing was written.

    Raises:
        UsageError: a model folder is there, and `force` is false; or the model of `keep_prior` has another latent or
            other classes; or `class_shift` is negative, not finite, or given for a stage without classes; or
            `trim_prior` is no share of at most 0.5, or is given without a stage.
        ModelError: `keep_prior` is no model folder with a fitted prior.
        OutputError: the folder cannot be written, or `out` holds something that is no model folder.
        ExportMismatchError: the folder was written, but its verification failed.
    """
    check_place(out, force=force)
    spec = _detail_spec(detail, class_shift, default=details_by_default)
    _check_trim(trim_prior, detail)
    kept = None if keep_prior is None else _kept_prior(keep_prior, run.config.model.latent_dim, data.class_names)
    images = data.test_images.numpy()
    run, detail, steps = rounded_run(run, detail, weight_format)
    progress("building the encoder's graph")
    encoder = packed(build_encoder(run.vae, data.shape), steps)
    encode = _encode_with(encoder)
    refined = encode if run.config.model.refinement_steps else None
    if kept is not None:
        prior, prior_facts = kept
    else:
        count = min(len(data.train_images), MOST_IMAGES)
        progress(f"encoding {count} training images, and fitting the prior to them")
        prior, prior_facts = fit_to_training_images(_encoder_alone(run.vae), data, measure_with=refined)
    if trim_prior and detail is not None and spec is not None and prior_facts["family"] != NORMAL:
        progress("trimming the fitted prior")
        prior = trimmed(prior, _detail_size(run.vae, detail.decoder, spec), trim_prior)
        again = measure_again(prior, refined or _encoder_alone(run.vae), data)
        rest = (1 - trim_prior) * (1 - float(prior_facts.get("trimmed", 0)))  # a kept prior may be a trimmed one
        prior_facts = {**prior_facts, **again, "trimmed": round(1 - rest, 6)}
    found = f"the fitted prior is {NORMAL}; " if prior_facts["family"] == NORMAL else ""
    progress(f"{found}building the other graphs")
    stage = None if detail is None else detail.decoder
    graphs = build_graphs(
        run.vae, encoder, prior, default_prior, None if stage is None or spec is None else (stage, spec)
    )
    graphs = packed_graphs(graphs, steps)
    if portable:
        graphs = with_portable(graphs)
    progress(f"measuring the graphs on {len(data.test_images)} test images")
    posteriors = _posteriors(encode, images)
    measured = _measure(graphs, images, posteriors, run.config.model.likelihood)
    licences = licence, data_licence or data.licence
    header = _header(run, data, name, version, measured, default_prior, licences) | {"weight_format": weight_format}
    if spec is not None:
        header["detail"] = asdict(spec)
    describe(graphs.by_name(), {**essentials(header), "data": data.name, "weights_sha256": run.weights_sha256})

    progress("comparing the graphs with PyTorch")
    few = images[:PROOF_IMAGES]
    in_torch = _posteriors(partial(torch_encode, run.vae), few)
    report = prove(graphs, run.vae, to_unit_range(few), stage, _joined(in_torch))
    report = replace(report, structure=(*report.structure, *storage_checks(graphs, steps)))
    on_few = measured
    if len(few) < len(images):
        on_few = _measure(graphs, few, _posteriors(encode, few), run.config.model.likelihood)
    report = _with_evaluation(report, on_few, evaluate_torch(run.vae, few, in_torch))
    if report.passed:
        progress("finding directions that change one attribute of the pictures")
        directions = find_directions(
            _decode_with(graphs.decoder), prior, data.shape[0], background_of(data.preparation, data.shape[0]),
            data.name, data.class_names,
        )  # fmt: skip
        progress("drawing the map and the pictures of the model card")
        means, _ = _joined(posteriors)
        files = _files(header, graphs, run, data, means, report, measured, prior_facts, detail, directions)
        with replacing_folder(out, partial(refuse_strangers, name=out) if force else None) as folder:
            for file, content in files.items():
                (folder / file).write_bytes(content)
            failed = [check for check in verify(folder) if not check.passed]
            if failed:  # as in `vae-gen verify`
                raise ExportMismatchError(f"expected a folder that verifies, got {failed[0].name}: {failed[0].detail}")
    return report, measured


def _detail_spec(detail: Detail | None, shift: float | None, *, default: bool) -> DetailSpec | None:
    """How a detail stage is used, if there is one: its noise, the shift for a class, and whether it is the default."""
    if shift is not None:
        if detail is None or not detail.config.class_shift:
            raise UsageError(
                "expected a detail stage that was trained with classes, got a run without one; leave out --class-shift"
            )
        if not 0 <= shift < math.inf:
            raise UsageError(f"expected --class-shift of at least 0, got {shift:g}")
    if detail is None:
        return None
    return DetailSpec(detail.config.noise_dim, detail.config.class_shift if shift is None else shift, default)


def _check_trim(share: float, detail: Detail | None) -> None:
    if not 0 <= share <= 0.5:
        raise UsageError(f"expected --trim-prior from 0 to 0.5, got {share:g}")
    if share and detail is None:
        raise UsageError(
            "expected --trim-prior for a model with a detail stage, got one without; train a stage with vae-detail, "
            "or leave --trim-prior out"
        )


def _detail_size(vae: VAE, decoder: DetailDecoder, spec: DetailSpec) -> DetailSize:
    """The summed squared difference between a latent's picture with details, by one noise, and its mean picture."""

    def detail_size(latents: Floats, labels: NDArray[np.int64]) -> Floats:
        found = []
        with torch.inference_mode():
            for start in range(0, len(latents), DETAILS_AT_ONCE):
                part = slice(start, start + DETAILS_AT_ONCE)
                latent = torch.from_numpy(latents[part])
                noise = torch.from_numpy(detail_noise(spec, 0, start, len(latent), labels[part]))
                found.append((decoder(latent, noise) - vae.decode(latent)).square().flatten(1).sum(1).numpy())
        return np.concatenate(found)

    return detail_size


def _kept_prior(
    folder: Path, dimensions: int, class_names: Sequence[str]
) -> tuple[FittedPrior, dict[str, float | int | str]]:
    """The fitted prior of another model, and the facts that its manifest has of it."""
    source = ModelFolder.open(folder)
    have = source.manifest.latent.dimensions, tuple(source.manifest.class_names)
    if have != (dimensions, tuple(class_names)):
        raise UsageError(
            f"expected --keep-prior with a model of {dimensions} latent dimensions and the classes of the run, "
            f"got {folder} with {have[0]} dimensions and {len(have[1])} classes; leave it out to fit a prior"
        )
    facts: dict[str, float | int | str] = json.loads((source.path / "manifest.json").read_bytes())["fitted_prior"]
    return source.read_prior(), facts


def _measure(
    graphs: Graphs, images: Pictures, posteriors: Iterable[tuple[Floats, Floats]], likelihood: str
) -> Evaluation:
    """The test figures of the graphs in ONNX Runtime, for images whose posteriors the encoder has made, in batches."""
    decode, made = _decode_with(graphs.decoder), iter(posteriors)
    return evaluate(lambda _: next(made), decode, bernoulli_cost(decode, likelihood), images)


def _encoder_alone(vae: VAE) -> Encode:
    """The VAE's encoder by PyTorch without refinement: it makes the posteriors that the decoder was trained with."""

    def encode(images: Floats) -> tuple[Floats, Floats]:
        with torch.inference_mode():
            mean, log_variance = vae.encoder(torch.from_numpy(images))
        return mean.numpy(), log_variance.numpy()

    return _in_parts(encode, at_once=1)


def _encode_with(encoder: onnx.ModelProto) -> Encode:
    """The encoder in ONNX Runtime. Several calls with a thread each take 0.85 of the time of one with all threads."""
    session = open_sessions({"encoder": encoder}, "default", threads=1)["encoder"]

    def encode(images: Floats) -> tuple[Floats, Floats]:
        mean, log_variance = session.run(["mean", "log_variance"], {"image": images})
        return mean, log_variance

    return _in_parts(encode, at_once=torch.get_num_threads())


def _decode_with(decoder: onnx.ModelProto) -> Callable[[Floats], Floats]:
    """The decoder in ONNX Runtime."""
    session = open_sessions({"decoder": decoder}, "default")["decoder"]

    def decode(latents: Floats) -> Floats:
        (images,) = session.run(["image"], {"latent": latents})
        return np.asarray(images)

    return decode


def background_of(preparation: Preparation, channels: int) -> tuple[float, ...]:
    """The colour of the pictures' ground, a number in [0, 1] for each channel."""
    colours = np.asarray(preparation.rgb, np.float64) / 255
    return tuple(colours.tolist()) if channels == 3 else (float(colours @ (0.299, 0.587, 0.114)),)


def _in_parts(encode: Encode, at_once: int) -> Encode:
    """An encoder that is given a few images at a time, in `at_once` calls that run at the same time."""

    def encode_in_parts(images: Floats) -> tuple[Floats, Floats]:
        cuts = [images[at : at + ENCODED_AT_ONCE] for at in range(0, len(images), ENCODED_AT_ONCE)]
        with ThreadPoolExecutor(at_once) as pool:
            return _joined(list(pool.map(encode, cuts)))

    return encode_in_parts


def _posteriors(encode: Encode, images: Pictures) -> list[tuple[Floats, Floats]]:
    """The means and log-variances of images, in the batches of an evaluation."""
    return [(mean, log_variance) for _, _, mean, log_variance in encoded(encode, images)]


def _joined(posteriors: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Posteriors of several batches as those of one."""
    means, log_variances = zip(*posteriors, strict=True)
    return np.concatenate(means), np.concatenate(log_variances)


def _with_evaluation(report: Report, measured: Evaluation, by_torch: Evaluation) -> Report:
    difference = abs(measured.neg_elbo - by_torch.neg_elbo)
    check = StructureCheck(
        "test −ELBO in ONNX Runtime and in PyTorch",
        difference <= EVALUATION_TOLERANCE_NATS,
        f"{measured.neg_elbo:.4f} and {by_torch.neg_elbo:.4f} nats, allowed {EVALUATION_TOLERANCE_NATS}",
    )
    return replace(report, structure=(*report.structure, check))


def _header(
    run: Run, data: ImageSet, name: str, version: str, measured: Evaluation, default_prior: Prior,
    licences: tuple[str, str],
) -> dict[str, Any]:
    """The first part of the manifest, which describes the model."""
    model, kl = run.config.model, measured.kl_per_dimension
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": name, "version": version, "licence": licences[0]},
        "data": {
            "name": data.name,
            "licence": licences[1],
            "sha256": dict(data.sha256),
        },
        "image": {"channels": model.channels, "height": model.height, "width": model.width, "range": [0, 1]},
        "preparation": asdict(data.preparation),
        "likelihood": model.likelihood,
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
    header: dict[str, Any], graphs: Graphs, run: Run, data: ImageSet, means: Floats, report: Report,
    measured: Evaluation, prior_facts: Mapping[str, float | int | str], detail: Detail | None, directions: Directions,
) -> dict[str, bytes]:
    """The contents of all files of the model folder."""
    # `deterministic` sorts maps, so that the same weights give the same bytes.
    onnx_files = {
        f"{graph}.onnx": proto.SerializeToString(deterministic=True) for graph, proto in graphs.by_name().items()
    }
    manifest: dict[str, Any] = {
        **header,
        "graphs": {
            graph: graph_entry(f"{graph}.onnx", onnx_files[f"{graph}.onnx"], proto)
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
            "family": prior_facts["family"],
            "components": list(graphs.prior.sizes),
            **prior_facts,
        },
        "metrics": {"test": measured.to_json()},
    }
    stage = None if detail is None else detail.decoder
    golden = golden_vectors(
        header["model"]["name"], graphs, run.vae, stage, data.test_images[:TEST_IMAGES].numpy(), directions
    )
    others = {
        "golden.json": json_bytes(golden),
        PRIOR_FILE: json_bytes(graphs.prior.to_json(data.class_names)),
        "map.json": json_bytes(_map(means, data)),
        "preview.png": preview(graphs),
        "worst.png": worst_reconstructions(graphs, _proof_images(data), means, run.config.model.likelihood),
        DIRECTIONS_FILE: json_bytes(directions.to_json()),
        "README.md": model_card(manifest).encode(),
    }
    manifest["files"] = {file: file_entry(content) for file, content in others.items()}
    return {**onnx_files, **others, "manifest.json": json_bytes(manifest)}


def _map(means: Floats, data: ImageSet) -> dict[str, Any]:
    labels = data.test_labels[:POINTS].numpy()
    shown = 0 < len(data.class_names) <= MOST_MAPPED_CLASSES
    return latent_map(means[:POINTS], labels if shown else np.full(len(labels), ANY_CLASS))


def _proof_images(data: ImageSet) -> NDArray[np.float32]:
    return to_unit_range(data.test_images[:PROOF_IMAGES].numpy())


def file_entry(content: bytes) -> dict[str, Any]:
    """The manifest's entry of a file: its SHA-256 and its size in bytes."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def graph_entry(file: str, content: bytes, model: onnx.ModelProto) -> dict[str, Any]:
    """The manifest's entry of a graph: its file, opset, inputs and outputs."""
    return {**file_entry(content), "file": file, "opset": OPSET, "ir_version": IR_VERSION, **signature(model)}


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """A document as the content of a JSON file."""
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
