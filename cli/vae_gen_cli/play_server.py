"""The web server of `vae-gen play`: it serves the playground's page, runs the model's graphs for it, and makes GIFs.

    GET  /            the page, from the installed package
    GET  /model/FILE  manifest.json, and the other files of the model folder that are not graphs
    POST /run/GRAPH   {"inputs": {name: {"dims": [...], "data": base64}}} → {"outputs": {name: {"dtype", "dims", …}}}
    POST /gif         {"inputs": {"frames": …}}, uint8 [frames, channels, height, width] → {"data": base64}

Arrays are little-endian, of the dtype in the manifest. The graphs check nothing, so all checks are here. By default
only this machine is served: the socket listens on 127.0.0.1. A request must have this host in its header, because the
name of a foreign page can be made to point to this machine (DNS rebinding); a numeric address can't be.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import io
import ipaddress
import json
import os
import socket
import socketserver
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, InputError, OutputError, UsageError, VaeGenError
from vae_gen.internal.arrays import LARGEST_LATENT, check_unit_range
from vae_gen.internal.choice import check_range, resolve_choice
from vae_gen.internal.manifest import TensorSpec

from .site import CHANNELS, check_channels, page_sources

LARGEST_BODY = 8 << 20
"""Bytes of a request; a thousand images have 4 MB in base64."""
LARGEST_AXIS = 1024
"""The number of pictures in one call, and the largest side of a GIF."""
FRAME_MS = 60
"""How long a GIF shows each frame."""
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "mjs": "text/javascript",
         "json": "application/json", "png": "image/png", "md": "text/markdown"}  # fmt: skip
MODEL_TYPES = {"json": TYPES["json"], "png": TYPES["png"]}
"""The types of the files of the model folder, which may come from a stranger: nothing that a browser would run."""
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page may load nothing from another host, whatever a link to it contains, and no other page may frame it."""
OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
"""The names of this machine in a request. The port may be another one if it is forwarded, as by ssh -L."""
MOST_REQUESTS, MOST_OF_ALL = 64, 512
"""Connections at the same time, from this machine alone and from all machines; a browser keeps six open."""


class PlayServer(ThreadingHTTPServer):
    """A web server for one model. Its threads end with the process."""

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on Windows this would let a second server take the same port
    request_queue_size = 128  # browsers of a class-room that open the page at the same moment

    def __init__(self, vae: VAE, port: int, host: str) -> None:
        """Opens the socket.

        Raises:
            OSError: `host` is no address of this machine, or the port is taken.
        """
        self.vae = vae
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, where = found[0][0], found[0][4]
        self.is_open = not ipaddress.ip_address(str(where[0])).is_loopback
        """whether other machines may reach the page"""
        self._free = threading.BoundedSemaphore(MOST_OF_ALL if self.is_open else MOST_REQUESTS)
        super().__init__((str(where[0]), port), _Handler)

    def server_bind(self) -> None:
        """Binds the socket, without asking for this machine's name, which may take seconds and is not used."""
        socketserver.TCPServer.server_bind(self)
        self.server_port = self.server_address[1]

    @property
    def address(self) -> str:
        """The address of the page: for a server on all addresses of this machine, the one that the network has."""
        host = ipaddress.ip_address(str(self.server_address[0]))
        if host.is_unspecified:
            host = _address_in_the_network(host)
        return f"http://{f'[{host}]' if host.version == 6 else host}:{self.server_port}/"

    def is_own(self, name: str) -> bool:
        """Whether a request's header names this machine.

        A server that others may reach accepts every numeric address, because machines may have many and only a name can
        be made to point to another machine, and it accepts the name that this machine has.
        """
        if name in OWN_NAMES:
            return True
        if not self.is_open:
            return False
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            own = socket.gethostname().casefold()
            return name.casefold() in (own, f"{own}.local")
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers a connection in a thread of its own, or closes it if there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers a connection in this thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores that a browser closed its connection."""


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address_in_the_network(every: Address) -> Address:
    """The address from which this machine would send to others; its own loopback address without a network."""
    family, far = (socket.AF_INET6, "2001:db8::1") if every.version == 6 else (socket.AF_INET, "192.0.2.1")
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((far, 9))  # sends nothing
        return ipaddress.ip_address(probe.getsockname()[0])
    return ipaddress.ip_address("::1" if every.version == 6 else "127.0.0.1")


def open_server(vae: VAE, port: int, host: str = "127.0.0.1") -> PlayServer:
    """Opens the server's socket; `serve_forever` then answers requests.

    Raises:
        ModelError: the model's pictures are neither grey nor in colour.
        OutputError: the port is taken, or the host is no address of this machine.
        UsageError: the model was made from sessions, without a folder.
    """
    if vae._graphs.folder is None:
        raise UsageError("expected a model from a folder, got sessions")
    check_channels(vae.manifest)
    try:
        return PlayServer(vae, port, host)
    except (OSError, UnicodeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise OutputError(
                f"expected the port {port} to be free, got: {error.strerror}; leave --port out to take a free one"
            ) from error
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise OutputError(
            f"expected an address of this machine for --host, such as 127.0.0.1 or 0.0.0.0, got {host}: {reason}"
        ) from error


def run_graph(vae: VAE, name: str, body: bytes) -> dict[str, Any]:
    """Runs a graph on the inputs in a request, and returns the answer to it.

    Raises:
        InputError: the model has no such graph, or the inputs do not fit the manifest.
        UsageError: a seed or a range is out of bounds.
    """
    graph = vae.manifest.graphs.get(name)
    if graph is None:
        raise InputError(f"expected one of the graphs {', '.join(vae.manifest.graphs)}, got {name}")
    feed = _inputs(graph.inputs, body)
    if "prior" in feed:
        label = None if feed["label"] == -1 else int(feed["label"])
        prior = {0: "normal", 1: "fitted"}.get(int(feed["prior"]), f"number {feed['prior']}")
        resolve_choice(vae.manifest, prior, label, float(feed["temperature"]))
    if "image" in feed:
        check_unit_range(float(feed["image"].min()), float(feed["image"].max()), "expected images in [0, 1]")
    counts = sorted({len(values) for values in feed.values() if values.ndim})
    if len(counts) > 1:
        raise InputError(f"expected equally many rows in {', '.join(feed)}, got {counts[0]} and {counts[1]}")
    if "count" in feed:
        check_range(int(feed["seed"]), int(feed["start"]), int(feed["count"]))
        if feed["count"] > LARGEST_AXIS:
            raise InputError(f"expected a count of at most {LARGEST_AXIS}, got {feed['count']}")
    names = [spec.name for spec in graph.outputs]
    outputs = vae._graphs[name].run(names, feed)
    return {"outputs": {key: _entry(np.asarray(value)) for key, value in zip(names, outputs, strict=True)}}


def make_gif(body: bytes) -> dict[str, Any]:
    """Makes an endless GIF of the frames in a request, and returns the answer to it.

    Raises:
        InputError: the request has no frames, or they are neither grey nor in colour.
    """
    from PIL import Image

    frames = _inputs([TensorSpec("frames", "uint8", ("frames", "channels", "height", "width"))], body)["frames"]
    if frames.shape[1] not in CHANNELS:
        raise InputError(f"expected frames of 1 or 3 channels, got {frames.shape[1]}")
    pixels = frames[:, 0] if frames.shape[1] == 1 else frames.transpose(0, 2, 3, 1)
    first, *rest = [Image.fromarray(np.ascontiguousarray(frame)) for frame in pixels]
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=FRAME_MS, loop=0)
    return {"data": base64.b64encode(file.getvalue()).decode()}


def _inputs(specs: Sequence[TensorSpec], body: bytes) -> dict[str, NDArray[Any]]:
    """The arrays in a request by their names.

    Raises:
        InputError: an array is missing, or does not fit its description.
    """
    try:
        given = json.loads(body)["inputs"]
        return {spec.name: _tensor(spec, given[spec.name]) for spec in specs}
    except (ValueError, LookupError, TypeError, RecursionError, binascii.Error) as error:
        if isinstance(error, VaeGenError):
            raise
        raise InputError(
            f"expected inputs {', '.join(spec.name for spec in specs)}, got a request that has "
            f"{type(error).__name__}: {str(error)[:80]}"
        ) from error


def _tensor(spec: TensorSpec, entry: dict[str, Any]) -> NDArray[Any]:
    values = np.frombuffer(base64.b64decode(entry["data"], validate=True), np.dtype(spec.dtype).newbyteorder("<"))
    dims = entry["dims"]
    fits = len(dims) == len(spec.shape) and all(
        found == axis if isinstance(axis, int) else isinstance(found, int) and 1 <= found <= LARGEST_AXIS
        for found, axis in zip(dims, spec.shape, strict=False)
    )
    if not fits or values.size != int(np.prod(dims)):
        raise InputError(f"expected {spec.name} of shape {list(spec.shape)}, at most {LARGEST_AXIS} each, got {dims}")
    if not np.isfinite(values).all() or (spec.dtype == "float32" and np.abs(values).max() > LARGEST_LATENT):
        raise InputError(f"expected finite values in {spec.name}, of at most {LARGEST_LATENT:g}, got others")
    return values.reshape(dims).astype(spec.dtype)


def _entry(values: NDArray[Any]) -> dict[str, Any]:
    content = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    return {"dtype": values.dtype.name, "dims": list(values.shape), "data": base64.b64encode(content).decode()}


class _Handler(BaseHTTPRequestHandler):
    server: PlayServer
    protocol_version = "HTTP/1.1"
    timeout = 30
    """seconds to wait for a client that sends or reads nothing"""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self._from_here():
            path = self.path.partition("?")[0].strip("/") or "index.html"
            is_model = path.startswith("model/")
            content = self._model_file(path[6:]) if is_model else _page_file(path)
            if content is None:
                self._refuse(HTTPStatus.NOT_FOUND, f"expected a file of the page or the model, got {path[:80]}")
            else:
                types = MODEL_TYPES if is_model else TYPES
                self._send(HTTPStatus.OK, content, types.get(path.rpartition(".")[2], "application/octet-stream"))

    def do_POST(self) -> None:
        if not self._from_here():
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 10) or int(length) > LARGEST_BODY:
            self.close_connection = True  # the unread body would be taken for the next request
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected a request of at most {LARGEST_BODY} bytes")
            return
        body = self.rfile.read(int(length))
        if self.path != "/gif" and not self.path.startswith("/run/"):
            self._refuse(HTTPStatus.NOT_FOUND, f"expected /gif, or /run/ and the name of a graph, got {self.path[:80]}")
            return
        try:
            made = make_gif(body) if self.path == "/gif" else run_graph(self.server.vae, self.path[5:], body)
            answer = json.dumps(made)
        except VaeGenError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except Exception as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {str(error)[:200]}")
        else:
            self._send(HTTPStatus.OK, answer.encode(), TYPES["json"])

    def _from_here(self) -> bool:
        """Whether the request is for this machine and from its own page; a foreign request is refused here."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin", "")
        name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "80")
        site, mode = self.headers.get("Sec-Fetch-Site", "none"), self.headers.get("Sec-Fetch-Mode", "navigate")
        own_page = not origin or origin.partition("://")[2] == host
        linked = site in ("same-origin", "none") or (mode == "navigate" and self.command == "GET")
        if self.server.is_own(name) and port.isdecimal() and own_page and linked:
            return True
        self.close_connection = True
        self._refuse(HTTPStatus.FORBIDDEN, "expected a request from this machine's own page, got one from another host")
        return False

    def _model_file(self, name: str) -> bytes | None:
        folder = self.server.vae._graphs.folder
        if folder is None:
            return None
        if name == "manifest.json":
            return json.dumps(folder.manifest.document).encode()  # as it was checked
        entry = folder.manifest.other_files.get(name)
        try:
            return None if entry is None else folder.read_checked(name, entry[0])
        except VaeGenError:
            return None

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._send(status, json.dumps({"error": message}).encode(), TYPES["json"])

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        text = "; charset=utf-8" if kind.startswith(("text/", "application/json")) else ""
        for name, value in (
            ("Content-Type", kind + text), ("Content-Length", str(len(content))), ("Cache-Control", "no-store"),
            ("Content-Security-Policy", POLICY), ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"), ("Referrer-Policy", "no-referrer"),
            ("Permissions-Policy", "camera=(self), microphone=(), geolocation=()"),
        ):  # fmt: skip
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuses a request that http.server itself can't read, with the same headers as all answers."""
        self.close_connection = True
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def version_string(self) -> str:
        """The name of the server in its answers."""
        return "vae-gen"

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing, because the page shows all errors."""


def _page_file(path: str) -> bytes | None:
    """The content of a file of the page; None if there is no such file."""
    place = page_sources().get(path)
    return None if place is None else place.read_bytes()
