"""Compares VAE.decode with the same networks in PyTorch, compiled PyTorch, OpenVINO and a plain session.

Each peer takes and returns NumPy arrays, has the same weights in float32, and must agree to 1e-4 before it is measured.
A peer has several settings: the threads, the form of the graph, and OpenVINO's two modes. The fastest setting on this
machine is used, so that the comparison is fair.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, find_model

from .machine import DEFAULT, REFERENCE, cores, named
from .pairs import Pair, Peer, compare, fastest, scaled, seconds
from .running import session

GRAPHS = (("reference decoder", REFERENCE, "decoder"), ("default decoder", DEFAULT, "decoder"),
          ("default detail stage", DEFAULT, "detail"))
"""(title, model, graph) of the graphs that make pictures of latents."""
BULK = {64: 2048, 1000: 2000}
"""The number of pictures for each batch size of the peers; whole batches."""
BULK_BEGINS = 1024
"""From this number of pictures on VAE.decode uses all cores. Trials do not go below it."""
ROUNDS = 11
TIMES = 100
CLOSE = 1e-4
"""The largest difference from our pictures in [0, 1] with which a peer is measured."""

Arrays = Sequence[NDArray[np.float32]]
Run = Callable[[Arrays], NDArray[np.float32]]


@dataclass(frozen=True)
class Setting:
    """A setting of a peer."""

    name: str
    run: Run
    """turns all latents (and noise) into pictures"""
    before: Callable[[], None] | None = None
    """called before a run"""


Make = Callable[[str, str, int], list[Setting]]
"""A function of model, graph and batch that gives the settings to try."""


def measure(folder: Path, share: float = 1.0) -> Iterator[Pair | str]:
    """Compare each graph and number of pictures with all peers."""
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # so that no code for other threads is reused
    makers: list[Make] = []
    for library, make in (("onnxruntime", plain_session), ("torch", pytorch), ("torch", compiled_pytorch),
                          ("openvino", openvino)):
        if importlib.util.find_spec(library) is not None:
            makers.append(make)
        else:
            yield f"Not measured: {make.__name__.replace('_', ' ')}, because {library} is not installed."
    for title, name, graph in GRAPHS:
        for batch, whole in {1: 1, **BULK}.items():
            count = 1 if batch == 1 else max(-(-BULK_BEGINS // batch), round(whole * share / batch)) * batch
            yield from _rows(title, name, graph, batch, count, makers, share)


def _rows(
    title: str, name: str, graph: str, batch: int, count: int, makers: Sequence[Make], share: float
) -> Iterator[Pair | str]:
    model = VAE(name)
    inputs = inputs_of(model, graph, count)
    detail = graph == "detail"
    noise = inputs[1] if detail else None
    mine = model.decode(inputs[0], noise=noise, detail=detail)
    peers = []
    for make in makers:
        candidates = []
        goal = None if make is plain_session else 1.0  # it may be faster, since it uses all threads for one picture
        for setting in make(name, graph, batch):
            if setting.before is not None:
                setting.before()
            if (apart := float(np.abs(setting.run(inputs) - mine).max())) > CLOSE:
                yield f"Not measured: {title}, {setting.name}: {apart:.1e} from our pictures, more than {CLOSE:.0e}."
                continue
            candidates.append(Peer(setting.name, partial(setting.run, inputs), goal, setting.before))
        if candidates:
            peers.append(fastest(candidates, runs=3 if count > 1 else 50))
    if not peers:
        return
    what = "one picture" if count == 1 else f"{count:,} pictures, its batch {batch}"

    def ours() -> object:
        return model.decode(inputs[0], noise=noise, detail=detail)

    times = scaled(TIMES, share) if count == 1 else scaled(0.3 / seconds(ours), share, 1)
    yield from compare(f"{title}, {what}", ours, peers, rounds=scaled(ROUNDS, share), times=times)


def inputs_of(model: VAE, graph: str, count: int) -> Arrays:
    """The latents of default samples, and for the detail stage their noise."""
    drawn = model.sample(count, seed=7)
    noise = [] if graph == "decoder" else [model.detail_noise(count, 7, labels=drawn.labels)]
    return [np.array(rows) for rows in (drawn.latents, *noise)]  # copies, because PyTorch needs writable arrays


def in_batches(run: Run, batch: int) -> Run:
    """A function that runs in batches and returns all pictures as one array, as VAE.decode does."""

    def whole(arrays: Arrays) -> NDArray[np.float32]:
        parts = [run([rows[at : at + batch] for rows in arrays]) for at in range(0, len(arrays[0]), batch)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return whole


def pytorch(name: str, graph: str, batch: int) -> list[Setting]:
    """PyTorch in eager mode, on one thread or all."""
    from .networks import network

    return _torch_settings("PyTorch eager", network(name, graph), batch)


def compiled_pytorch(name: str, graph: str, batch: int) -> list[Setting]:
    """PyTorch with torch.compile, compiled for this batch size."""
    import torch

    from .networks import network

    torch._dynamo.reset()
    return _torch_settings("torch.compile", torch.compile(network(name, graph), dynamic=False), batch)


def _torch_settings(title: str, module: Any, batch: int) -> list[Setting]:
    import torch

    def run(arrays: Arrays) -> NDArray[np.float32]:
        with torch.inference_mode():
            result: NDArray[np.float32] = module(*(torch.from_numpy(rows) for rows in arrays)).numpy()
        return result

    return [
        Setting(f"{title}, {named(threads)}", in_batches(run, batch), partial(torch.set_num_threads, threads))
        for threads in thread_counts(batch)
    ]


def plain_session(name: str, graph: str, batch: int) -> list[Setting]:
    """ONNX Runtime with default options."""

    def run(one: Any, arrays: Arrays) -> NDArray[np.float32]:
        feed = dict(zip((entry.name for entry in one.get_inputs()), arrays, strict=True))
        result: NDArray[np.float32] = one.run(None, feed)[0]
        return result

    return [Setting(f"plain session{ending}", in_batches(partial(run, session(content)), batch))
            for ending, content in exports(name, graph).items()]


def openvino(name: str, graph: str, batch: int) -> list[Setting]:
    """OpenVINO for this batch size, in float32. By default it may use bfloat16, which gives other pictures."""
    import openvino

    core = openvino.Core()
    settings = []
    for ending, content in exports(name, graph).items():
        model = core.read_model(content)
        model.reshape({port.any_name: [batch, port.partial_shape[1].get_length()] for port in model.inputs})
        for threads in thread_counts(batch):
            run = partial(_infer, core.compile_model(model, "CPU", _options("LATENCY", threads)))
            settings.append(Setting(f"OpenVINO float32, {named(threads)}{ending}", in_batches(run, batch)))
        if batch > 1:
            queue = openvino.AsyncInferQueue(core.compile_model(model, "CPU", _options("THROUGHPUT", cores())))
            title = f"OpenVINO float32, {named(cores())}, throughput mode{ending}"
            settings.append(Setting(title, partial(_infer_side_by_side, queue, batch)))
    return settings


def exports(name: str, graph: str) -> dict[str, bytes]:
    """Two forms of a graph, by what is added to the name of the peer: ours, and that of torch's own exporter.

    Ours is made for ONNX Runtime and may be slower in other libraries.
    """
    found = {"": (find_model(name) / f"{graph}.onnx").read_bytes()}
    if importlib.util.find_spec("torch") is not None:
        from .networks import plain_export

        found[", torch's own export"] = plain_export(name, graph)
    return found


def _options(hint: str, threads: int) -> dict[str, Any]:
    return {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads}


def _infer_side_by_side(queue: Any, batch: int, arrays: Arrays) -> NDArray[np.float32]:
    """All pictures, with as many requests at once as OpenVINO chooses."""
    pictures: dict[int, NDArray[np.float32]] = {}

    def take(request: Any, at: int) -> None:
        pictures[at] = request.get_output_tensor().data.copy()

    queue.set_callback(take)
    for at in range(0, len(arrays[0]), batch):
        queue.start_async([rows[at : at + batch] for rows in arrays], at)
    queue.wait_all()
    return np.concatenate([pictures[at] for at in sorted(pictures)])


def _infer(compiled: Any, arrays: Arrays) -> NDArray[np.float32]:
    result: NDArray[np.float32] = compiled(list(arrays))[0]
    return result


def thread_counts(batch: int) -> list[int]:
    """The numbers of threads to try: one or all cores for a single picture, all cores for many."""
    return sorted({1, cores()}) if batch == 1 else [cores()]
