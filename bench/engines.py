"""Which engines compute the graphs of a model folder, and whether they give the golden vectors.

    vae-gen kit --portable KIT
    python bench/engines.py KIT/model [--engine NAME …] [--require NAME …]

This needs only NumPy, and runs each engine whose package is installed in this Python:

    pip install numpy onnx onnxruntime openvino tract opencv-python-headless MNN apache-tvm
    pip install "iree-base-compiler[onnx]" iree-base-runtime tinygrad onnx2torch

Each graph runs in a process of its own, because an engine may abort. The words of the table:

    right     all golden vectors, within their tolerances; with the share of the tolerance that is used
    refused   the engine gives an error, or aborts
    NaN       the results are NaN (labels -2), by the check in the graph itself
    WRONG     other numbers without an error

The exit code is 1 if anything is WRONG, or if an engine of `--require` is not right for the graphs that it must run:
encoder, decoder, detail, and those two of generator and latents, with or without `.portable`, that it can run.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.machine import machine_line

Feed = dict[str, np.ndarray]
Run = Callable[[Feed], dict[str, np.ndarray]]

UNKNOWN_LABEL = -2
"""The label that a graph returns for every picture if the engine is not exact enough; labels have no NaN."""
SECONDS = 300
"""The longest time of one graph in one engine."""
GRAPHS = (
    "encoder", "decoder", "detail", "latents", "generator", "latents.portable", "generator.portable",
)  # fmt: skip


def onnxruntime(path: Path, outputs: list[str]) -> Run:
    """ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda feed: dict(zip(outputs, session.run(outputs, feed), strict=True))


def onnx(path: Path, outputs: list[str]) -> Run:
    """The reference evaluator of the ONNX project."""
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(str(path))
    return lambda feed: dict(zip(outputs, session.run(outputs, feed), strict=True))


def openvino(path: Path, outputs: list[str]) -> Run:
    """OpenVINO on the CPU, in float32."""
    import openvino

    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(feed: Feed) -> dict[str, np.ndarray]:
        found = model(feed)
        return {name: found[name] for name in outputs}

    return run


def tract(path: Path, outputs: list[str]) -> Run:
    """tract, which is written in Rust."""
    import tract

    runnable = tract.onnx().load(str(path)).into_model().into_runnable()
    names = _inputs(path)

    def run(feed: Feed) -> dict[str, np.ndarray]:
        found = runnable.run([feed[name] for name in names])
        return {name: values.to_numpy() for name, values in zip(outputs, found, strict=True)}

    return run


def cv2(path: Path, outputs: list[str]) -> Run:
    """The DNN module of OpenCV."""
    import cv2

    net = cv2.dnn.readNetFromONNX(str(path))

    def run(feed: Feed) -> dict[str, np.ndarray]:
        for name, values in feed.items():
            net.setInput(values, name)
        return dict(zip(outputs, net.forward(outputs), strict=True))

    return run


def tinygrad(path: Path, outputs: list[str]) -> Run:
    """Tinygrad on its default device."""
    from tinygrad import Tensor
    from tinygrad.nn.onnx import OnnxRunner

    runner = OnnxRunner(str(path))
    return lambda feed: {
        name: values.numpy() for name, values in runner({key: Tensor(one) for key, one in feed.items()}).items()
    }


def onnx2torch(path: Path, outputs: list[str]) -> Run:
    """PyTorch, by onnx2torch."""
    import onnx2torch
    import torch

    names = _inputs(path)
    module = onnx2torch.convert(str(path))

    def run(feed: Feed) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            found = module(*(torch.from_numpy(np.asarray(feed[name])) for name in names))
        found = found if isinstance(found, list | tuple) else [found]
        return {name: values.numpy() for name, values in zip(outputs, found, strict=True)}

    return run


def iree(path: Path, outputs: list[str]) -> Run:
    """IREE, compiled for the CPU."""
    import iree.compiler
    import iree.runtime

    with tempfile.TemporaryDirectory() as place:
        text = Path(place, "graph.mlir")
        importer = [sys.executable, "-m", "iree.compiler.tools.import_onnx", str(path), "-o", str(text)]
        subprocess.run([*importer, "--opset-version", "18"], check=True, capture_output=True, text=True)
        compiled = iree.compiler.compile_file(
            str(text), input_type="onnx", target_backends=["llvm-cpu"], extra_args=["--iree-llvmcpu-target-cpu=generic"]
        )
    config = iree.runtime.Config("local-sync")
    module = iree.runtime.load_vm_module(iree.runtime.VmModule.copy_buffer(config.vm_instance, compiled), config)
    names = _inputs(path)
    (function,) = [name for name in module.vm_module.function_names if "$" not in name and not name.startswith("__")]

    def run(feed: Feed) -> dict[str, np.ndarray]:
        found = module[function](*(feed[name] for name in names))
        found = found if isinstance(found, list | tuple) else [found]
        return {name: values.to_host() for name, values in zip(outputs, found, strict=True)}

    return run


def MNN(path: Path, outputs: list[str]) -> Run:  # noqa: N802 - the package's name
    """MNN, by its converter."""
    import MNN

    place = Path(tempfile.mkdtemp(), "graph.mnn")
    converter = [sys.executable, "-m", "MNN.tools.mnnconvert", "-f", "ONNX", "--modelFile", str(path)]
    done = subprocess.run([*converter, "--MNNModel", str(place)], capture_output=True, text=True, check=False)
    if not place.exists():
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line or "Not Support" in line]
        raise RuntimeError((errors or [f"exit code {done.returncode}"])[0])
    names = _inputs(path)
    module = MNN.nn.load_module_from_file(str(place), names, outputs)

    def run(feed: Feed) -> dict[str, np.ndarray]:
        given = [MNN.expr.const(feed[name], list(feed[name].shape), MNN.expr.NCHW) for name in names]
        found = module.forward(given)
        return {name: np.array(value.read()) for name, value in zip(outputs, found, strict=True)}

    return run


def tvm(path: Path, outputs: list[str]) -> Run:
    """TVM's compiler Relax, for the CPU."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    compiled = tvm.compile(from_onnx(onnx.load(path)), target="llvm")
    machine, names = relax.VirtualMachine(compiled, tvm.cpu()), _inputs(path)

    def run(feed: Feed) -> dict[str, np.ndarray]:
        found = machine["main"](*(tvm.runtime.tensor(feed[name]) for name in names))
        found = [found] if hasattr(found, "numpy") else found
        return {name: values.numpy() for name, values in zip(outputs, found, strict=True)}

    return run


ENGINES: dict[str, Callable[[Path, list[str]], Run]] = {
    "onnxruntime": onnxruntime, "onnx": onnx, "openvino": openvino, "tract": tract, "cv2": cv2, "iree": iree,
    "tvm": tvm, "MNN": MNN, "tinygrad": tinygrad, "onnx2torch": onnx2torch,
}  # fmt: skip
"""By the name of their Python package. `onnx` is the reference evaluator of the ONNX project."""


def _inputs(path: Path) -> list[str]:
    manifest = json.loads((path.parent / "manifest.json").read_text("utf-8"))
    (graph,) = (graph for graph in manifest["graphs"].values() if graph["file"] == path.name)
    return [one["name"] for one in graph["inputs"]]


def parts(numbers: range) -> np.ndarray:
    """Four parts of 16 bits of each number, the lowest first: the whole numbers of the portable graphs."""
    return np.array([[number >> shift & 0xFFFF for shift in (0, 16, 32, 48)] for number in numbers], np.float32)


def golden_vectors(folder: Path, graph: str) -> Iterator[tuple[Feed, dict[str, tuple[np.ndarray, float]]]]:
    """Yields inputs of a graph, and its expected outputs with their tolerances."""
    golden = json.loads((folder / "golden.json").read_text("utf-8"))
    image = json.loads((folder / "manifest.json").read_text("utf-8"))["image"]
    allowed = golden["tolerances"]

    def pictures(entry: dict[str, Any]) -> np.ndarray:
        levels = np.frombuffer(base64.b64decode(entry["base64"]), np.uint8)
        return levels.reshape(entry["count"], image["channels"], image["height"], image["width"])

    def rows(values: list[list[float]]) -> np.ndarray:
        return np.array(values, np.float32)

    name, _, portable = graph.partition(".")
    if name == "encoder":
        case = golden["encodings"]
        wanted = {output: (rows(case[output]), allowed[output]) for output in ("mean", "log_variance")}
        yield {"image": pictures(case["images"]).astype(np.float32) / np.float32(255)}, wanted
    elif name in ("decoder", "detail"):
        case = golden["decodings" if name == "decoder" else "details"]
        inputs = {"latent": "latents"} | ({"noise": "noise"} if name == "detail" else {})
        feed = {key: rows(case[place]) for key, place in inputs.items()}
        yield feed, {"image": (pictures(case["images"]), allowed["grey_levels"])}
    for case in golden["samples"] if name == "generator" else golden["latents"] if name == "latents" else []:
        seed, start, count = int(case["seed"]), int(case["start"]), case["count"]
        if portable:
            feed = {"index": parts(range(start, start + count)), "seed": parts(range(seed, seed + 1))}
        else:
            feed = {key: np.array(value, np.int64) for key, value in
                    {"seed": seed, "start": start, "count": count}.items()}  # fmt: skip
        wanted = {"latent": (rows(case["latents"]), allowed["latent"])}
        if name == "generator":
            wanted["image"] = (pictures(case["images"]), allowed["grey_levels"])
        else:
            choices = {"prior": case["prior"] == "fitted", "label": case["label"], "temperature": case["temperature"]}
            for key, value in choices.items():
                kind = np.float32 if portable or key == "temperature" else np.int64
                feed[key] = np.array([value] if portable else value, kind)
            wanted["labels"] = (np.array(case["labels"]), 0.0)
            if "noise" in case:
                wanted["noise"] = (rows(case["noise"]), allowed["latent"])
        yield feed, wanted


def verdict(engine: str, folder: Path, graph: str) -> str:
    """Runs all golden vectors of a graph in an engine, and says in a word or two what came out."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))["graphs"][graph]
    run = ENGINES[engine](folder / manifest["file"], [one["name"] for one in manifest["outputs"]])
    most, missing = 0.0, False
    for feed, wanted in golden_vectors(folder, graph):
        found = run(feed)
        for name, (values, allowed) in wanted.items():
            made = np.asarray(found[name], np.float64)
            if name == "image":
                made = np.floor(np.clip(255 * made, 0, 255) + 0.5)[: len(values)]
            if made.shape != values.shape:
                return f"WRONG: {name} of shape {made.shape} instead of {values.shape}"
            if np.isnan(made).any() or (made == UNKNOWN_LABEL).any():
                missing = True
            elif (difference := float(np.abs(made - values).max())) > allowed:
                return f"WRONG: {name} differs by {difference:.2g}"
            elif allowed:
                most = max(most, difference / allowed)
    return "NaN" if missing else f"right ({math.ceil(100 * most)} %)"


def in_own_process(engine: str, folder: Path, graph: str) -> str:
    """The result of `verdict` in a process of its own, or a description of how that process failed."""
    command = [sys.executable, __file__, str(folder), "--one", engine, graph]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"refused: no result in {SECONDS} s"
    if done.returncode == 0:
        return done.stdout.splitlines()[-1]
    lines = [line.strip() for line in done.stderr.splitlines() if "rror" in line]
    return f"refused: {(lines or [f'exit code {done.returncode}'])[-1][:160]}"


def main() -> int:
    """Prints a line for each engine and graph."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("artifacts/fashion-mnist-12d"))
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--require", nargs="+", choices=ENGINES, default=[])
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "GRAPH"), help="run one graph in this process")
    options = parser.parse_args()
    if options.one:
        engine, graph = options.one
        print(verdict(engine, options.folder, graph))
        return 0
    manifest = json.loads((options.folder / "manifest.json").read_bytes())
    there = [graph for graph in GRAPHS if graph in manifest["graphs"]]
    failed = False
    print(machine_line(), flush=True)
    for engine in options.engine:
        if subprocess.run([sys.executable, "-c", f"import {engine}"], capture_output=True, check=False).returncode:
            print(f"{engine:12} not installed")
            failed |= engine in options.require
            continue
        verdicts = {graph: in_own_process(engine, options.folder, graph) for graph in there}
        for graph, words in verdicts.items():
            print(f"{engine:12} {graph:19} {words}", flush=True)
        right = {graph for graph, words in verdicts.items() if words.startswith("right")}
        needed = {graph.removesuffix(".portable") for graph in there}
        failed |= any(words.startswith("WRONG") for words in verdicts.values())
        failed |= engine in options.require and not needed <= {graph.removesuffix(".portable") for graph in right}
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
