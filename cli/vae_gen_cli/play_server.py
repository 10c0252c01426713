"""What the playground's page talks to: its own files, the model's documents, and one call, which runs a graph.

    GET  /            the page, of the installed package
    GET  /model/FILE  manifest.json and the other files of the model folder that are no graphs
    POST /run/GRAPH   {"inputs": {name: {"dims": [...], "data": base64}}} → {"outputs": {name: the same and "dtype"}}

Values are little-endian, of the dtype that the manifest says. Everything is checked here: the graphs check nothing.
Only this machine is served: the socket is 127.0.0.1's, and a request must name it, because a page from elsewhere can
have its own name point to 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

import base64
import binascii
import importlib.resources
import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, InputError, OutputError, UsageError, VaeGenError
from vae_gen.internal.choice import check_range
from vae_gen.internal.manifest import TensorSpec

LARGEST_BODY = 8 << 20
"""Bytes; a thousand images are 4 MB in base64."""
MOST_ROWS = 1024
"""Pictures in one call."""
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "json": "application/json",
         "png": "image/png", "md": "text/markdown", "svg": "image/svg+xml"}  # fmt: skip
POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'"
"""Nothing from another host, whatever a shared link may hold."""


class PlayServer(ThreadingHTTPServer):
    """A server with the model that it serves. Threads end with the process."""

    daemon_threads = True

    def __init__(self, generator: VAE, port: int) -> None:
        self.generator = generator
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""


def open_server(generator: VAE, port: int) -> PlayServer:
    """A server on 127.0.0.1, not yet serving.

    Raises:
        OutputError: the port is taken.
        UsageError: a model that was not loaded from a folder.
    """
    if generator._graphs.folder is None:
        raise UsageError("expected a model from a folder, got sessions")
    try:
        return PlayServer(generator, port)
    except OSError as error:
        raise OutputError(
            f"expected the port {port} to be free, got: {error.strerror}; leave --port out to take one that is"
        ) from error


def run_graph(generator: VAE, name: str, body: bytes) -> dict[str, Any]:
    """The outputs of a graph for the inputs in a request.

    Raises:
        InputError: no such graph, or inputs that are not what the manifest says.
        UsageError: a seed or a range out of bounds.
    """
    graph = generator.manifest.graphs.get(name)
    if graph is None:
        raise InputError(f"expected one of the graphs {', '.join(generator.manifest.graphs)}, got {name}")
    try:
        given = json.loads(body)["inputs"]
        feed = {spec.name: _tensor(spec, given[spec.name]) for spec in graph.inputs}
    except (ValueError, LookupError, TypeError, RecursionError, binascii.Error) as error:
        if isinstance(error, VaeGenError):
            raise
        raise InputError(
            f"expected inputs {', '.join(spec.name for spec in graph.inputs)}, got a request that has "
            f"{type(error).__name__}: {str(error)[:80]}"
        ) from error
    if "count" in feed:
        check_range(int(feed["seed"]), int(feed["start"]), int(feed["count"]))
        if feed["count"] > MOST_ROWS:
            raise InputError(f"expected a count of at most {MOST_ROWS}, got {feed['count']}")
    names = [spec.name for spec in graph.outputs]
    outputs = generator._graphs[name].run(names, feed)
    return {"outputs": {key: _entry(np.asarray(value)) for key, value in zip(names, outputs, strict=True)}}


def _tensor(spec: TensorSpec, entry: dict[str, Any]) -> NDArray[Any]:
    values = np.frombuffer(base64.b64decode(entry["data"], validate=True), np.dtype(spec.dtype).newbyteorder("<"))
    dims = entry["dims"]
    fits = len(dims) == len(spec.shape) and all(
        found == axis if isinstance(axis, int) else isinstance(found, int) and 1 <= found <= MOST_ROWS
        for found, axis in zip(dims, spec.shape, strict=False)
    )
    if not fits or values.size != int(np.prod(dims)):
        raise InputError(f"expected {spec.name} of shape {list(spec.shape)}, at most {MOST_ROWS} rows, got {dims}")
    if not np.isfinite(values).all():
        raise InputError(f"expected finite values in {spec.name}, got others")
    return values.reshape(dims).astype(spec.dtype)


def _entry(values: NDArray[Any]) -> dict[str, Any]:
    content = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    return {"dtype": values.dtype.name, "dims": list(values.shape), "data": base64.b64encode(content).decode()}


class _Handler(BaseHTTPRequestHandler):
    server: PlayServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self._from_here():
            path = self.path.partition("?")[0].strip("/") or "index.html"
            content = self._model_file(path[6:]) if path.startswith("model/") else _page_file(path)
            if content is None:
                self._refuse(HTTPStatus.NOT_FOUND, f"expected a file of the page or the model, got {path[:80]}")
            else:
                self._send(HTTPStatus.OK, content, TYPES.get(path.rpartition(".")[2], "application/octet-stream"))

    def do_POST(self) -> None:
        if not self._from_here():
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            self.close_connection = True  # what follows cannot be told from a next request
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected a request of at most {LARGEST_BODY} bytes")
            return
        body = self.rfile.read(int(length))
        if not self.path.startswith("/run/"):
            self._refuse(HTTPStatus.NOT_FOUND, "expected /run/ and the name of a graph")
            return
        try:
            answer = json.dumps(run_graph(self.server.generator, self.path[5:], body))
        except VaeGenError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except Exception as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {str(error)[:200]}")
        else:
            self._send(HTTPStatus.OK, answer.encode(), TYPES["json"])

    def _from_here(self) -> bool:
        """Whether the request names this machine, and is no other page's; answered where it does not."""
        own = {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}
        origin = self.headers.get("Origin", "")
        if self.headers.get("Host") in own and (not origin or origin.removeprefix("http://") in own):
            return True
        self.close_connection = True
        self._refuse(HTTPStatus.FORBIDDEN, "expected a request from this machine's own page, got another host")
        return False

    def _model_file(self, name: str) -> bytes | None:
        folder = self.server.generator._graphs.folder
        if folder is None:
            return None
        if name == "manifest.json":
            return (folder.path / name).read_bytes()
        entry = folder.manifest.other_files.get(name)
        try:
            return None if entry is None else folder.read_checked(name, entry[0])
        except VaeGenError:
            return None

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._send(status, json.dumps({"error": message}).encode(), TYPES["json"])

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        text = "" if kind.startswith("image/p") else "; charset=utf-8"
        for name, value in (
            ("Content-Type", kind + text), ("Content-Length", str(len(content))), ("Cache-Control", "no-store"),
            ("Content-Security-Policy", POLICY), ("X-Content-Type-Options", "nosniff"),
        ):  # fmt: skip
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the page says what goes wrong."""


def _page_file(path: str) -> bytes | None:
    """A file of the page out of the installed package."""
    names = path.split("/")
    if any(name in ("", ".", "..") or "\\" in name for name in names) or names[-1].endswith(".py"):
        return None
    place = importlib.resources.files("vae_gen_cli.web").joinpath(*names)
    try:
        return place.read_bytes() if names[0] in ("src", "index.html", "style.css") else None
    except OSError:
        return None
