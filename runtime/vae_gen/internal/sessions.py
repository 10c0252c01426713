"""ONNX Runtime sessions as this project opens them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._errors import ModelError, UnavailableError
from .manifest import GraphFile

if TYPE_CHECKING:
    import onnxruntime

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Short names of ONNX Runtime's execution providers; its own names are understood too."""


ONNX_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}
"""ONNX Runtime's names of the dtypes that the contract has."""


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used: anything with this method will do."""

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> Sequence[Any]:
        """The named outputs for the named inputs."""


def open_session(content: bytes, graph: GraphFile, provider: str = "cpu") -> onnxruntime.InferenceSession:
    """A session with one thread of its own: callers bring the parallelism (see `blocks`).

    Raises:
        UnavailableError: the execution provider is not in this installation of ONNX Runtime.
        ModelError: ONNX Runtime cannot load the graph, or its inputs and outputs are not the manifest's.
    """
    import onnxruntime  # 0.2 s: only when a graph is really needed

    wanted = PROVIDERS.get(provider.lower(), provider)
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise UnavailableError(
            f"expected an execution provider that is installed ({', '.join(available)}), got {provider}; "
            "install the onnxruntime package that brings it, or leave --provider out"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[wanted])
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{graph.file}: ONNX Runtime {onnxruntime.__version__} cannot load it: {reason}") from error
    if wanted not in session.get_providers():
        raise UnavailableError(
            f"expected the execution provider {wanted} to start, got {', '.join(session.get_providers())}; "
            "check its driver and libraries, or leave --provider out"
        )
    session.disable_fallback()  # to another provider, which is not the one that was asked for
    session._model_bytes = None  # it keeps the whole file for that fallback alone: 3.6 MB of the default model's 96
    for kind, promised, found in (
        ("inputs", graph.inputs, session.get_inputs()),
        ("outputs", graph.outputs, session.get_outputs()),
    ):
        said = [(spec.name, ONNX_TYPES.get(spec.dtype, spec.dtype), list(spec.shape)) for spec in promised]
        there = [(node.name, node.type, node.shape) for node in found]
        if said != there:
            raise ModelError(f"{graph.file}: expected the {kind} {said}, found {there}; export the model folder again")
    return session


def run_float32(session: Session, names: Sequence[str], feed: Mapping[str, Any]) -> list[NDArray[np.float32]]:
    """The named outputs of one run, as float32 arrays."""
    return [np.asarray(output, np.float32) for output in session.run(list(names), feed)]
