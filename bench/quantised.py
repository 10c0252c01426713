"""Compares decoders with smaller weights with the float32 decoders that they were made from: size, speed and error.

- float16 weights: stored in half the bytes, and cast to float32 when a session opens. The arithmetic is float32.
- int8, dynamic: weights are 8-bit integers; activations become 8-bit integers in every run, scaled by their own range.
- int8, static: the same, with ranges of activations that were fixed on latents of real images.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from vae_export.report import IMAGE_TOLERANCE
from vae_gen import VAE, find_model, standard_normals, to_grey_levels
from vae_train.data import load_fashion_mnist
from vae_train.evaluation import cost_of_probabilities, evaluate

from .machine import DEFAULT, REFERENCE
from .pairs import Pair, Peer, compare, scaled
from .parts import Cell, Table
from .running import session

Feed = Mapping[str, NDArray[np.float32]]

GRAPHS = (("reference decoder", REFERENCE, "decoder"), ("default decoder", DEFAULT, "decoder"),
          ("default detail stage", DEFAULT, "detail"))
BATCH = 64
ROUNDS, TIMES = 15, 20
SAMPLES = 4096
"""The number of pictures whose grey levels are compared."""
CALIBRATION = 512
"""The number of training images whose latents fix the ranges of activations."""
TEST_IMAGES = 4000
"""The number of test images for the −ELBO."""
GOOD_SIZE, GOOD_RATIO = 0.6, 0.8
"""A variant is worthwhile if it passes the check of pictures at an export, and has at most this share of the bytes or
of the time of the float32 graph. An error of one grey level would be too much: processors may differ by one level, so
that
such a variant could be wrong by two levels on another processor."""


def measure(folder: Path, share: float = 1.0) -> Iterator[Pair | Table | str]:
    """Compare each graph with its variants, on one thread, in batches of 64."""
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser recommends a step that changes nothing here
    images = load_fashion_mnist()
    real, test = (part.numpy() for part in (images.train_images, images.test_images))
    test = test[: scaled(TEST_IMAGES, share, 50)]
    rows: list[list[Cell]] = []
    for title, name, graph in GRAPHS:
        model, source = VAE(name), find_model(name) / f"{graph}.onnx"
        feed = feed_of_samples(model, graph, scaled(SAMPLES, share, BATCH))
        batch = {key: values[:BATCH] for key, values in feed.items()}
        plain, bytes_of_self = session(source, 1), source.stat().st_size
        wanted = run(plain, feed)
        neg_elbo = neg_elbos(model, test) if graph == "decoder" else None
        baseline = neg_elbo(plain) if neg_elbo else None
        rows.append([title, "float32", bytes_of_self / 1e3, None, None, None, None, baseline, None, None])
        calibration = feed_of_images(model, graph, real[: scaled(CALIBRATION, share, BATCH)])
        for variant, file in variants(source, folder, calibration).items():
            other, size = session(file, 1), file.stat().st_size
            found = run(other, feed)
            (worst, mean), apart = grey_errors(found, wanted), float(np.abs(found - wanted).max())
            (pair,) = compare(
                f"{title}, {variant}, 64 pictures on one thread", partial(run, other, batch),
                [Peer("the float32 graph", partial(run, plain, batch))],
                rounds=scaled(ROUNDS, share), times=scaled(TIMES, share),
            )  # fmt: skip
            yield pair
            its_own = neg_elbo(other) if neg_elbo else None
            change = None if its_own is None or baseline is None else its_own - baseline
            good = is_worthwhile(apart, size / bytes_of_self, pair.ratio)
            rows.append([title, variant, size / 1e3, pair.ratio, apart, worst, mean, its_own, change, good])
    yield Table(
        "Size, speed and error",
        ["graph", "variant", "kB", "time over float32", "largest difference in [0, 1]",
         "worst grey level", "mean grey level",
         "−ELBO, nats", "its change", "worthwhile"],
        rows,
        [f"Grey levels are compared with the float32 graph in {scaled(SAMPLES, share, BATCH):,} samples of seed 0.",
         f"The −ELBO is that of vae_train.evaluation over the first {len(test):,} test images. An image has one latent "
         "from the posterior of the float32 encoder, the same for all variants, so that only the reconstruction "
         "changes. The detail stage has no −ELBO.",
         f"The static ranges come from posterior samples of {scaled(CALIBRATION, share, BATCH)} training images. "
         "ONNX Runtime's CPU provider has no integer kernel for ConvTranspose, which stays in float32.",
         f"A variant is worthwhile if no pixel in [0, 1] differs by more than {IMAGE_TOLERANCE:g}, as in exports, and "
         f"if it has at most {GOOD_SIZE:.0%} of the bytes or takes at most {GOOD_RATIO:.0%} of the time. Only such "
         "variants would be shipped."],
    )  # fmt: skip


def variants(source: Path, folder: Path, calibration: Feed) -> dict[str, Path]:
    """Write the smaller versions of a float32 graph to a folder; returns the files by their names on the page."""
    files = {"float16 weights": folder / "float16.onnx", "int8 dynamic": folder / "dynamic.onnx",
             "int8 static": folder / "static.onnx"}
    onnx.save(float16_weights(onnx.load(source)), files["float16 weights"])
    # Unsigned, because ConvInteger on the CPU does not support signed weights.
    quantize_dynamic(source, files["int8 dynamic"], weight_type=QuantType.QUInt8)
    quantize_static(source, files["int8 static"], Calibration(calibration), quant_format=QuantFormat.QDQ,
                    per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    return files


def float16_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with float16 weights, each cast to float32 before its use. The few biases are not changed."""
    graph = model.graph
    for at, tensor in enumerate(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{tensor.name}.float16")
        graph.node.insert(0, helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
        graph.initializer[at].CopyFrom(half)
    return model


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Inputs in batches, for the static quantiser."""

    def __init__(self, feed: Feed) -> None:
        count = len(next(iter(feed.values())))
        self.batches = iter([{name: rows[at : at + BATCH] for name, rows in feed.items()}
                             for at in range(0, count, BATCH)])

    def get_next(self) -> Feed | None:
        """The next batch, or None at the end."""
        return next(self.batches, None)


def feed_of_samples(model: VAE, graph: str, count: int) -> Feed:
    """The inputs of a graph for the default samples of seed 0."""
    samples = model.sample(count, seed=0)
    feed = {"latent": samples.latents}
    return feed if graph == "decoder" else {**feed, "noise": model.detail_noise(count, 0, labels=samples.labels)}


def feed_of_images(model: VAE, graph: str, images: NDArray[np.uint8]) -> Feed:
    """The inputs of a graph for posterior samples of real images."""
    posterior = model.encode(images)
    noise = standard_normals(1, 0, len(images), posterior.mean.shape[1])
    feed = {"latent": posterior.mean + np.exp(np.float32(0.5) * posterior.log_variance) * noise}
    return feed if graph == "decoder" else {**feed, "noise": model.detail_noise(len(images), 1)}


def run(graph: onnxruntime.InferenceSession, feed: Feed) -> NDArray[np.float32]:
    """All pictures, computed in batches."""
    count = len(next(iter(feed.values())))
    parts = [graph.run(None, {name: rows[at : at + BATCH] for name, rows in feed.items()})[0]
             for at in range(0, count, BATCH)]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def grey_errors(pictures: NDArray[np.float32], wanted: NDArray[np.float32]) -> tuple[int, float]:
    """The largest and the mean difference of grey levels."""
    apart = np.abs(to_grey_levels(pictures).astype(int) - to_grey_levels(wanted).astype(int))
    return int(apart.max()), float(apart.mean())


def neg_elbos(model: VAE, images: NDArray[np.uint8]) -> Callable[[onnxruntime.InferenceSession], float]:
    """A function that gives the −ELBO of images by a decoder, in nats. Their posteriors are computed only once."""

    @cache
    def posterior(content: bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        encoded = model.encode(np.frombuffer(content, np.float32).reshape(-1, *model.manifest.image.shape))
        return encoded.mean, encoded.log_variance

    def of(decoder: onnxruntime.InferenceSession) -> float:
        def decode(latent: NDArray[np.float32]) -> NDArray[np.float32]:
            return run(decoder, {"latent": latent})

        def cost(latent: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
            return cost_of_probabilities(decode(latent), image)

        return evaluate(lambda image: posterior(image.tobytes()), decode, cost, images).neg_elbo

    return of


def is_worthwhile(apart: float, size: float, ratio: float) -> bool:
    """Whether a variant is as exact as an export must be, and much smaller or faster.

    Args:
        apart: the largest difference of a pixel in [0, 1].
        size: its bytes divided by those of the float32 graph.
        ratio: its time divided by that of the float32 graph.
    """
    return apart <= IMAGE_TOLERANCE and (size <= GOOD_SIZE or ratio <= GOOD_RATIO)
