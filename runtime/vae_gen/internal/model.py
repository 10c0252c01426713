"""A model on disk and in memory: this module finds, checks and reads its folder, and opens its graphs.

No other module opens a graph.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .._errors import ModelError, UnavailableError, UsageError, shown
from .files import MOST_JSON_BYTES, moved_away, path_text, read_regular
from .manifest import DIRECTIONS_FILE, PRIOR_FILE, GraphFile, Manifest, TensorSpec

if TYPE_CHECKING:
    import onnxruntime

    from .directions import Directions
    from .prior import FittedPrior

DEFAULT_MODEL = "fashion-mnist-12d"
"""The shipped model that `VAE()` loads."""

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Short names of ONNX Runtime's execution providers. Its own long names are accepted too."""

CPU = "CPUExecutionProvider"

PACKAGES = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "DmlExecutionProvider": "onnxruntime-directml",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
}
"""The packages on PyPI that bring execution providers. All of them fill the same folder as onnxruntime itself."""

SEED_GRAPHS = ("generator", "latents", "generator.portable", "latents.portable")
"""The graphs with random numbers, which run on the CPU whatever the provider: others compute int64 with 32 bits."""

MOST_GRAPH_BYTES = 512 << 20
"""The largest graph that is read."""

IMAGE_SLACK = 1e-3
"""How far the values of an image may lie outside of [0, 1], by rounding: a quarter of a grey level."""
LARGEST_VALUE = 1e30
"""No latent, noise or log-variance is nearly so large."""

ONNX_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}
"""ONNX Runtime's names for the two dtypes that our graphs use."""


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose manifest was checked, and whose files are all there with the sizes that the manifest names.

    >>> ModelFolder.open(find_model("fashion-mnist-12d-reference")).manifest.latent.dimensions
    12
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ModelFolder:
        """Reads the manifest and checks the size of every file that it names; no graph is opened yet.

        Raises:
            ModelError: the folder or its manifest is missing or malformed, or a file is missing or has another size.
        """
        folder = Path(path_text(path, "a model folder"))
        if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir fails for a name that is too long
            found = "a file" if os.path.exists(folder) else "nothing there"  # noqa: PTH110
            raise ModelError(f"expected a model folder at {folder}, found {found}; give a folder that vae-export wrote")
        manifest = Manifest.parse(
            _read(folder / "manifest.json", links=_is_shipped(folder)), str(folder / "manifest.json")
        )
        sizes = {graph.file: graph.bytes for graph in manifest.graphs.values()}
        sizes |= {name: size for name, (_, size) in manifest.other_files.items()}
        for name, size in sizes.items():
            try:
                found_size = (folder / name).stat().st_size
            except (OSError, ValueError) as error:  # a ValueError for a name that can't be encoded
                reason = error.strerror if isinstance(error, OSError) else error
                raise ModelError(
                    f"{folder / name}: expected a file of {size} bytes, found none ({reason}); "
                    "copy or export the model folder again"
                ) from error
            if found_size != size:
                raise ModelError(
                    f"{folder / name}: expected {size} bytes, found {found_size}; copy or export the model folder again"
                )
        return cls(folder, manifest)

    @property
    def is_shipped(self) -> bool:
        """Whether the folder belongs to the installed package, and deserves the same trust as its code."""
        return _is_shipped(self.path)

    def read_graph(self, name: str) -> bytes:
        """Reads one ONNX file and checks its SHA-256.

        Args:
            name: encoder, decoder, generator, latents or detail.

        Raises:
            ModelError: the model has no such graph, or the file is not the one that the manifest describes.
        """
        if not isinstance(name, str) or name not in self.manifest.graphs:
            found = name[:60] if isinstance(name, str) else shown(name)
            raise ModelError(f"{self.path}: expected a graph called {found}, found {', '.join(self.manifest.graphs)}")
        graph = self.manifest.graphs[name]
        return self.read_checked(graph.file, graph.sha256)

    def read_prior(self) -> FittedPrior:
        """Reads prior.json, the tables of the fitted prior, and checks its SHA-256.

        Raises:
            ModelError: the model has no fitted prior, or the file is not the one that the manifest describes.
        """
        from .prior import FittedPrior  # imports NumPy, which a folder alone doesn't need

        if PRIOR_FILE not in self.manifest.other_files:
            raise ModelError(f"{self.path}: expected a fitted prior, found no {PRIOR_FILE}; export the model again")
        sha256, _ = self.manifest.other_files[PRIOR_FILE]
        prior = FittedPrior.parse(
            self.read_checked(PRIOR_FILE, sha256), str(self.path / PRIOR_FILE), self.manifest.latent.dimensions
        )
        widths = (prior.dimensions, prior.classes)
        expected = (self.manifest.latent.dimensions, len(self.manifest.class_names))
        if widths != expected:
            raise ModelError(
                f"{self.path / PRIOR_FILE}: expected {expected[0]} dimensions and {expected[1]} classes, "
                f"found {widths[0]} and {widths[1]}; copy or export the model folder again"
            )
        return prior

    def read_directions(self) -> Directions | None:
        """Reads directions.json and checks its SHA-256; None for a model without directions.

        Raises:
            ModelError: the file is not the one that the manifest describes.
        """
        from .directions import Directions

        if DIRECTIONS_FILE not in self.manifest.other_files:
            return None
        sha256, _ = self.manifest.other_files[DIRECTIONS_FILE]
        return Directions.parse(
            self.read_checked(DIRECTIONS_FILE, sha256), str(self.path / DIRECTIONS_FILE),
            self.manifest.latent.dimensions, len(self.manifest.class_names),
        )  # fmt: skip

    def read_checked(self, file: str, sha256: str) -> bytes:
        """Reads a file of this folder and checks that its SHA-256 is `sha256`.

        Raises:
            ModelError: the file cannot be read, or has other content.
        """
        content = _read(self.path / path_text(file, "a file of the model"), links=self.is_shipped)
        found = hashlib.sha256(content).hexdigest()
        if not isinstance(sha256, str) or found != sha256:
            wanted = sha256[:12] if isinstance(sha256, str) else shown(sha256)
            raise ModelError(
                f"{self.path / file}: expected SHA-256 {wanted}…, found {found[:12]}…: "
                "the file was changed or swapped; copy or export the model folder again"
            )
        return content


def find_model(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """Finds the folder of a model.

    Args:
        name_or_path: a model folder, the name of a shipped or an installed model, `hf:user/name` or
            `hf:user/name@revision` for a model on the Hugging Face Hub, or None for the default model. A `~` at the
            beginning of a path stands for the user's home. A name is looked for among the shipped models, in the user's
            folder of models (`vae-gen models` shows where it lies), and in the folders that the environment variable
            VAE_GEN_MODEL_PATH lists.

    Raises:
        ModelError: there is no such model, or the Hub can't be reached.
        UnavailableError: a model on the Hub needs the package huggingface_hub, which is not installed.
        UsageError: the argument is neither a text nor a path.

    >>> find_model("fashion-mnist-12d-reference").name
    'fashion-mnist-12d-reference'
    """
    if name_or_path is None:
        _check_shipped()
        return _shipped() / DEFAULT_MODEL
    name = path_text(name_or_path, "a model folder, or the name of a model")
    if name.startswith("hf:"):
        from .hub import download

        return download(name)
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser fails for an unknown user
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir fails for a name that is too long
        return path
    for folder in named_folders():
        if folder.name == name:
            return folder
    _check_shipped()
    expected = f"expected a model folder or one of {', '.join(model_names()) or 'no models'}, got {name}"
    for old in moved_away(path.absolute()):
        expected += f"; a command that was to replace this model was killed, and the model is now {old}; move it back"
    raise ModelError(expected)


def shipped_models() -> tuple[str, ...]:
    """The names of the models that this installation contains.

    >>> shipped_models()
    ('fashion-mnist-12d', 'fashion-mnist-12d-reference')
    """
    return tuple(sorted(entry.parent.name for entry in _shipped().glob("*/manifest.json")))


def model_names() -> tuple[str, ...]:
    """The names that `find_model` finds: those of the shipped models, and of the models in the other places.

    >>> "fashion-mnist-12d" in model_names()
    True
    """
    return tuple(dict.fromkeys(folder.name for folder in named_folders()))


def named_folders() -> Iterator[Path]:
    """The model folders that have a name, place by place, each place in alphabetical order.

    A hidden folder is one that is being written, or that a stopped program has left, and is not a model.
    """
    for place in model_places():
        for entry in sorted(place.glob("*/manifest.json")):
            if not entry.parent.name.startswith("."):
                yield entry.parent


def model_places() -> tuple[Path, ...]:
    """The folders whose sub-folders are models that have a name, in the order in which a name is looked for."""
    listed = os.environ.get("VAE_GEN_MODEL_PATH", "").split(os.pathsep)
    return (_shipped(), installed_models(), *(Path(place) for place in listed if place))


def installed_models() -> Path:
    """The folder of the models that this user has installed. It needn't exist.

    It lies in the place for data that the system's programs use: XDG_DATA_HOME or ~/.local/share, on macOS
    ~/Library/Application Support, and on Windows LOCALAPPDATA.
    """
    home, variable = "~/.local/share", "XDG_DATA_HOME"
    if sys.platform == "darwin":
        home = "~/Library/Application Support"
    elif sys.platform == "win32":
        home, variable = "~/AppData/Local", "LOCALAPPDATA"
    chosen = Path(os.environ.get(variable, ""))  # a relative path in it is to be ignored, by the XDG specification
    base = chosen if chosen.is_absolute() else Path(os.path.expanduser(home))  # noqa: PTH111
    return base / "vae-gen" / "models"


def _shipped() -> Path:
    import vae_gen.artifacts  # a package of its own, because it lies elsewhere in a checkout

    return Path(vae_gen.artifacts.__path__[0])


def _check_shipped() -> None:
    """Refuses an installation without its models: an archive that Python imports from, or an app packed without them.

    Raises:
        ModelError: the models are not there as files.
    """
    place = _shipped()
    if not place.is_dir():
        archive = next((parent for parent in place.parents if parent.is_file()), None)
        found = "no such folder; pack the app with the data files of vae_gen"
        if archive is not None:
            found = f"the archive {archive}, which can't be read as a folder; unpack it, or install it with pip"
        raise ModelError(f"expected the shipped models in {place}, found {found}, or give a model folder")


def _is_shipped(folder: Path) -> bool:
    return os.path.normpath(folder.parent) == os.path.normpath(_shipped())


def _read(path: Path, *, links: bool) -> bytes:
    """Reads a file of a model folder; `links` as in `read_regular`."""
    try:
        return read_regular(path, MOST_GRAPH_BYTES if path.suffix == ".onnx" else MOST_JSON_BYTES, links=links)
    except (OSError, ValueError) as error:  # a ValueError for a name that can't be encoded
        if isinstance(error, FileNotFoundError) and path.name == "manifest.json":
            raise ModelError(
                f"expected a model folder, found no manifest.json in {path.parent}; give a folder that vae-export wrote"
            ) from error
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(
            f"{path}: expected a readable file ({reason}); copy or export the model folder again"
        ) from error


class Session(Protocol):
    """The only method of `onnxruntime.InferenceSession` that this library calls; any object that has it will do."""

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> Sequence[Any]:
        """Computes the named outputs from the named inputs."""


class CheckedSession:
    """A session whose results are compared with what the manifest promises about them.

    Everything but `run` is that of the session itself.
    """

    def __init__(self, session: Session, graph: GraphFile, *run_options: Any) -> None:
        self._session, self._file, self._run_options = session, graph.file, run_options
        self._promised = {spec.name: spec for spec in graph.outputs}

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> Sequence[Any]:
        """Computes the named outputs from the named inputs.

        Raises:
            ModelError: the graph fails, or an output has another shape than the manifest promises, or values that can't
                be right.
        """
        try:
            outputs = self._session.run(output_names, input_feed, *self._run_options)
        except Exception as error:
            if not type(error).__module__.startswith("onnxruntime"):  # an app's own session has errors of its own
                raise
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{self._file}: ONNX Runtime cannot run it: {reason}; export the model again") from error
        count = input_feed.get("count")
        rows = len(next(iter(input_feed.values()))) if count is None else int(count)
        for name, values in zip(output_names or self._promised, outputs, strict=True):
            self._check(self._promised[name], values, rows)
        return outputs

    def _check(self, spec: TensorSpec, values: Any, rows: int) -> None:
        shape = (rows, *spec.shape[1:])  # only the first axis of an output has a name
        if values.shape != shape:
            raise ModelError(
                f"{self._file}: expected {spec.name} of shape {list(shape)}, computed {list(values.shape)}; "
                "export the model folder again"
            )
        if values.dtype.kind != "f" or not values.size:
            return
        low, high = float(values.min()), float(values.max())  # both are NaN if any value is
        limit = (-IMAGE_SLACK, 1 + IMAGE_SLACK) if spec.name == "image" else (-LARGEST_VALUE, LARGEST_VALUE)
        if not (limit[0] <= low and high <= limit[1]):
            wanted = "from 0 to 1" if spec.name == "image" else "that are finite"
            raise ModelError(
                f"{self._file}: expected values of {spec.name} {wanted}, computed {low:g} to {high:g}; "
                "check the model with vae-gen verify"
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class Graphs:
    """The graphs of one model, each opened when it is first needed and then kept.

    Safe to use from many threads, and in a process that was forked after graphs were opened: such a process opens
    its own sessions, because a session of the parent may be in the middle of a run.
    """

    def __init__(
        self,
        manifest: Manifest,
        folder: ModelFolder | None = None,
        provider: str = "cpu",
        sessions: Mapping[str, Session] | None = None,
    ) -> None:
        """Takes the model's description and, instead of a folder, the sessions that an app has opened itself.

        Args:
            manifest: the model's manifest.
            folder: where the graphs are read from; None if the app brings its own sessions.
            provider: ONNX Runtime's execution provider, by its short or its full name.
            sessions: the app's own sessions by the graph's name.
        """
        self.manifest, self.folder, self._provider = manifest, folder, provider
        self.on_cpu = folder is None or PROVIDERS.get(provider.lower(), provider) == CPU
        """whether all graphs run on the CPU, as far as this library knows; an app's own sessions count as such"""
        self._sessions: dict[str, Session] = {
            name: CheckedSession(session, manifest.graphs[name]) for name, session in (sessions or {}).items()
        }
        self.checks_results = True
        """whether sessions that are opened from now on compare their results with the manifest, and on another provider
        than the CPU's with the golden vectors"""
        self._prior: FittedPrior | None = None
        self._directions: list[Directions | None] = []
        self._lock, self._process = threading.Lock(), os.getpid()
        self._of_parents: list[dict[str, Session]] = []

    def __contains__(self, name: str) -> bool:
        """Whether the graph can be run: it lies in the folder, or the app brought a session."""
        return name in (self._sessions if self.folder is None else self.manifest.graphs)

    def __getitem__(self, name: str) -> Session:
        """The session of a graph, opened now if it was not before.

        Raises:
            ModelError: the model has no such graph, or its file was changed or cannot be loaded.
            UnavailableError: the execution provider is not installed.
            UsageError: the app brought no session for this graph.
        """
        if self._process != os.getpid():
            self._start_again_after_a_fork()
        session = self._sessions.get(name)
        if session is None:
            with self._lock:
                if name not in self._sessions:
                    self._sessions[name] = self._open(name)
            return self._sessions[name]
        return session

    def prior(self) -> FittedPrior:
        """The tables of the fitted prior, read once. Their arrays are read-only, because they are kept here.

        Raises:
            ModelError: the model has no fitted prior, or its file was changed.
            UsageError: the model was made from sessions, without a folder.
        """
        if self.folder is None:
            raise UsageError("expected a model folder for the fitted prior, got sessions; use FittedPrior.parse")
        if self._prior is None:
            self._prior = self.folder.read_prior()  # two threads at once may both read it, with the same result
        return self._prior

    def directions(self) -> Directions | None:
        """The directions of the model folder, read once; None for a model without them, or made from sessions."""
        if self.folder is not None and not self._directions:
            self._directions = [self.folder.read_directions()]
        return self._directions[0] if self._directions else None

    def _open(self, name: str) -> Session:
        if self.folder is None:
            raise UsageError(f"expected a session for {name}, got none; pass {name}= to from_sessions")
        content, graph = self.folder.read_graph(name), self.manifest.graphs[name]
        if not self.folder.is_shipped:
            from .graph_check import check_graph  # not needed for the models of the package

            check_graph(content, graph.file)
        elsewhere = not self.on_cpu and name not in SEED_GRAPHS
        installed_provider(self._provider)
        session: Session = open_session(content, graph, self._provider if elsewhere else CPU)
        if elsewhere and self.checks_results:
            from .provider_check import check_results  # not needed on the CPU

            check_results(self.folder, name, session, self._provider)
        return CheckedSession(session, graph, _stoppable()) if self.checks_results else session

    def _start_again_after_a_fork(self) -> None:
        """Forgets what belongs to the parent process: a lock that may be held for ever, and sessions that may be busy.

        The old sessions are kept without being used, because to close them here could wait for threads that only the
        parent has. Sessions that the app brought stay in use, because only the app could open them again.
        """
        self._lock = threading.Lock()
        if self.folder is not None:
            self._of_parents.append(self._sessions)
            self._sessions = {}
        self._process = os.getpid()


def check_provider(provider: object) -> str:
    """Checks the name of an execution provider of ONNX Runtime, without asking whether it is installed.

    Raises:
        UsageError: it is no text, or a provider that runs nothing itself.
    """
    if not isinstance(provider, str):
        raise UsageError(f"expected the name of an execution provider such as cpu, got {shown(provider)}")
    if provider == "AzureExecutionProvider":
        raise UsageError(
            "expected an execution provider that runs graphs on this machine, got AzureExecutionProvider, which calls "
            "services; leave it out for cpu"
        )
    return provider


def installed_provider(provider: str) -> str:
    """The full name of an execution provider, from its short or its full name.

    Raises:
        UnavailableError: it is not in this installation of ONNX Runtime; names the commands that install it.
    """
    import onnxruntime  # takes 0.2 s, so only when a graph is really needed

    wanted = PROVIDERS.get(provider.lower(), provider)
    if not hasattr(onnxruntime, "get_available_providers"):  # a folder that a removed package left behind
        raise UnavailableError("expected onnxruntime to be installed, found an empty folder; install onnxruntime again")
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        package = PACKAGES.get(wanted)
        # A package that was installed after another one has replaced its files, so both have to go first.
        advice = f"run pip uninstall -y onnxruntime {package} && pip install {package}" if package else "choose one"
        raise UnavailableError(
            f"expected an execution provider that is installed ({', '.join(available)}), got {provider}; "
            f"{advice}, or leave --provider out"
        )
    return wanted


@functools.cache
def _stoppable() -> onnxruntime.RunOptions:
    """The options of every run of a graph in this process; `stop_running` sets its `terminate`."""
    import onnxruntime

    return onnxruntime.RunOptions()


def stop_running(stop: bool) -> None:
    """Ends all graphs that run in this process with an error, behind the node that they are at, or lets them run again.

    A signal handler of Python could not do it: it waits until the graph that the main thread runs has ended.
    """
    if _stoppable.cache_info().currsize:
        _stoppable().terminate = stop


def open_session(content: bytes, graph: GraphFile, provider: str = "cpu") -> onnxruntime.InferenceSession:
    """Opens a graph in a session that computes on one thread; `sampling.in_order` runs several blocks at a time.

    Args:
        content: the bytes of the ONNX file.
        graph: the manifest's description of the file.
        provider: ONNX Runtime's execution provider, by its short or its full name.

    Raises:
        UnavailableError: the execution provider is not in this installation of ONNX Runtime.
        ModelError: ONNX Runtime cannot load the graph, or its inputs and outputs are not the manifest's.
    """
    import onnxruntime  # takes 0.2 s, so only when a graph is really needed

    wanted = installed_provider(provider)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Otherwise a file that is also in ONNX Runtime's own format would be read as that, which nobody checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        # With its fallback, ONNX Runtime prints an error on standard output and tries the CPU. NVIDIA's TF32 has only
        # 10 bits after the point.
        settings = [{"use_tf32": "0"}] if wanted == "CUDAExecutionProvider" else None
        session = onnxruntime.InferenceSession(
            content, options, providers=[wanted], provider_options=settings, enable_fallback=False
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        reason = " ".join(str(error).split())[:200]
        if wanted != PROVIDERS["cpu"]:
            raise UnavailableError(
                f"{graph.file}: expected the execution provider {wanted} to open it, got: {reason}; "
                "check its driver and libraries, or leave --provider out"
            ) from error
        raise ModelError(f"{graph.file}: ONNX Runtime {onnxruntime.__version__} cannot load it: {reason}") from error
    if wanted not in session.get_providers():
        raise UnavailableError(
            f"expected the execution provider {wanted} to start, got {', '.join(session.get_providers())}; "
            "check its driver and libraries, or leave --provider out"
        )
    session._model_bytes = None  # kept only for that repetition: 3.6 MB of the default model's 96 MB in memory
    for kind, promised, found in (
        ("inputs", graph.inputs, session.get_inputs()),
        ("outputs", graph.outputs, session.get_outputs()),
    ):
        expected = [(spec.name, ONNX_TYPES.get(spec.dtype, spec.dtype), list(spec.shape)) for spec in promised]
        actual = [(node.name, node.type, node.shape) for node in found]
        if expected != actual:
            raise ModelError(
                f"{graph.file}: expected the {kind} {expected}, found {actual}; export the model folder again"
            )
    return session
