"""The model as an object: a folder or a few sessions in, pictures and latents out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._errors import InputError, ModelError, UsageError
from ._pictures import Pictures, Posterior, Samples, Traversal
from .internal.arrays import as_images, as_latent, as_latents
from .internal.blocks import BLOCK, BULK, FEW, in_order, usable_cores
from .internal.checks import whole
from .internal.choice import Choice, resolve_choice
from .internal.folder import ModelFolder, find_model
from .internal.manifest import DetailSpec, Manifest, Prior
from .internal.philox import check_range
from .internal.sampling import Sampler, run_latents
from .internal.sessions import Session, open_session, run_float32

if TYPE_CHECKING:
    from .internal.prior import FittedPrior

DRAWN_SEED_LIMIT = 2**53
"""A seed drawn here stays below this, so that it survives as a JavaScript number."""


class VAE:
    """A trained variational autoencoder on ONNX Runtime: it samples, encodes and decodes.

    Safe to use from many threads at once: nothing in it changes after a graph was opened, opening is locked,
    and ONNX Runtime's sessions may run in parallel. Graphs are opened when first needed.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, threads: int | None = None, provider: str = "cpu"
    ) -> None:
        """The model of a folder; the shipped one by default.

        Args:
            path: a model folder, or the name of a shipped model.
            threads: cores for bulk work; by default one below 1024 pictures, all from there on.
            provider: ONNX Runtime's execution provider: cpu, cuda, coreml, directml, openvino, or its full name.

        Raises:
            ModelError: the folder is missing, incomplete or edited.
            UnavailableError: the provider is not installed (raised when the first graph is opened).

        >>> VAE().manifest.latent.dimensions
        12
        """
        folder = ModelFolder.open(find_model(path))
        arguments = [] if path is None else [repr(os.fspath(path))]
        arguments += [] if threads is None else [f"threads={threads}"]
        arguments += [] if provider == "cpu" else [f"provider={provider!r}"]
        self._set(folder.manifest, folder, {}, threads, provider, f"VAE({', '.join(arguments)})")

    def _set(
        self,
        manifest: Manifest,
        folder: ModelFolder | None,
        sessions: dict[str, Session],
        threads: int | None,
        provider: str,
        made_by: str,
    ) -> None:
        self._manifest = manifest
        self._folder = folder
        self._sessions = sessions
        self._threads = None if threads is None else whole("threads", threads, 1)
        self._provider = provider
        self._made_by = made_by
        self._opening = threading.Lock()
        self._prior: FittedPrior | None = None

    @classmethod
    def from_sessions(
        cls,
        manifest: Manifest | str | os.PathLike[str],
        *,
        generator: Session | None = None,
        decoder: Session | None = None,
        encoder: Session | None = None,
        latents: Session | None = None,
        detail: Session | None = None,
        threads: int | None = 1,
    ) -> VAE:
        """A model from sessions that the app already has; those it lacks limit what can be called.

        Args:
            manifest: the manifest, or the path of a manifest.json.
            generator: for `sample` and `stream` as the model draws by default.
            decoder: for `decode`, `traverse`, `interpolate` and `reconstruct`.
            encoder: for `encode` and `reconstruct`.
            latents: with the decoder or the detail stage, for `sample` and `stream` of another choice than the
                default; and for the labels of default samples, which are None without it.
            detail: for pictures with details of other latents than a default sample's.
            threads: calls of `run` at the same time in bulk work.

        Raises:
            ModelError: the manifest cannot be read or is malformed.
        """
        if not isinstance(manifest, Manifest):
            path = Path(manifest)
            try:
                manifest = Manifest.parse(path.read_bytes(), str(path))
            except OSError as error:
                raise ModelError(f"{path}: expected a readable manifest.json ({error.strerror})") from error
        given = {
            "generator": generator, "decoder": decoder, "encoder": encoder, "latents": latents, "detail": detail,
        }  # fmt: skip
        sessions = {name: session for name, session in given.items() if session is not None}
        made_by = f"VAE.from_sessions({manifest.name!r}, {', '.join(f'{name}=…' for name in sessions)})"
        model = cls.__new__(cls)
        model._set(manifest, None, sessions, threads, "cpu", made_by)
        return model

    def __repr__(self) -> str:
        return self._made_by

    @property
    def manifest(self) -> Manifest:
        """Everything that the model folder says of the model."""
        return self._manifest

    def fitted_prior(self) -> FittedPrior:
        """The tables of the fitted prior, for what is to be drawn or judged in NumPy.

        Raises:
            ModelError: the model has none, or its file was changed.
            UsageError: the model was made from sessions, without a folder.
        """
        if self._folder is None:
            raise UsageError("expected a model folder for the fitted prior, got sessions; use FittedPrior.parse")
        with self._opening:
            if self._prior is None:
                self._prior = self._folder.read_prior()
            return self._prior

    def sample(
        self,
        n: int,
        seed: int | None = None,
        start: int = 0,
        *,
        prior: Prior | None = None,
        label: int | str | None = None,
        temperature: float = 1.0,
        detail: bool | None = None,
    ) -> Samples:
        """Pictures start … start+n−1 of a seed, float32 [n, channels, height, width] in [0, 1].

        Below 64 pictures just these are computed, for speed; from there on, and in `stream`, whole aligned blocks,
        so that a picture is the same to the byte in whatever range it was asked.

        Args:
            n: how many, at least 1.
            seed: 0 … 2⁶³−1; drawn at random below 2⁵³ when None, and kept in the result.
            start: index of the first, 0 … 2⁶³−1; start + n may reach 2⁶³.
            prior: what latents are drawn from: "normal", which is N(0, I), or "fitted", the density of the latents of
                real images; the model's default when None.
            label: samples of one class: its index, its name in any case, or an unambiguous beginning of that. Implies
                the fitted prior.
            temperature: what the latents' noise is multiplied with, 0 to 100; below 1 more typical, above more varied.
            detail: whether the detail stage draws the pictures, or the decoder their means; the model's default when
                None.

        Raises:
            UsageError: a number out of its range, or a choice that the model does not have.

        >>> VAE().sample(2, seed=7, prior="normal")
        <2 samples of shape [1, 28, 28], seed=7, start=0, detail=True>
        """
        draw = resolve_choice(self._manifest, prior, label, temperature, detail)
        n, start, sampler = self._sampler(n, seed, start, draw)
        if n < FEW:
            sampler.open()
            return sampler.joined([sampler.run(start, n)], start)
        return sampler.joined(list(sampler.blocks(start, n, self._workers(n), grey=False)), start)

    def stream(
        self,
        n: int,
        seed: int | None = None,
        start: int = 0,
        *,
        chunk: int = 1024,
        dtype: Literal["float32", "uint8"] = "float32",
        prior: Prior | None = None,
        label: int | str | None = None,
        temperature: float = 1.0,
        detail: bool | None = None,
    ) -> Iterator[Samples]:
        """The same pictures as `sample`, in chunks, so that memory does not grow with n.

        Args:
            n: how many in all, at least 1.
            seed: as in `sample`; one seed is drawn for all chunks.
            start: as in `sample`.
            chunk: pictures in a chunk (the first and the last may be smaller), a multiple of 32.
            dtype: float32 in [0, 1], or uint8 grey levels, which are computed in parallel too.
            prior: as in `sample`.
            label: as in `sample`.
            temperature: as in `sample`.
            detail: as in `sample`.

        Raises:
            UsageError: a number out of its range, at the call and not at the first chunk.
        """
        draw = resolve_choice(self._manifest, prior, label, temperature, detail)
        n, start, sampler = self._sampler(n, seed, start, draw)
        if whole("chunk", chunk) < BLOCK or chunk % BLOCK:
            raise UsageError(f"expected a chunk that is a multiple of {BLOCK}, got {chunk}")
        if dtype not in ("float32", "uint8"):
            raise UsageError(f"expected the dtype float32 or uint8, got {dtype}")
        return sampler.chunks(start, n, chunk, self._workers(n), grey=dtype == "uint8")

    def decode(self, latents: ArrayLike, *, noise: ArrayLike | None = None) -> NDArray[np.float32]:
        """The mean pictures of latents, or with noise one that the detail stage draws of each.

        Args:
            latents: [n, dimensions] or [dimensions], any float or integer dtype.
            noise: [n, k], or [k] for all of them, see `detail_noise`; the mean pictures without it.

        Returns:
            float32 [n, channels, height, width] in [0, 1].

        Raises:
            InputError: another width, or values that are not finite.
            UsageError: noise for a model without a detail stage.
        """
        rows = as_latents(latents, self._manifest.latent.dimensions)
        graph, feed = "decoder", {"latent": rows}
        if noise is not None:
            width = self._detail_spec().noise
            own = as_latents(noise, width, "rows of noise")
            if len(own) not in (1, len(rows)):
                raise InputError(
                    f"expected noise for each of {len(rows)} latents or for all of them, got {len(own)} rows"
                )
            graph, feed = "detail", {"latent": rows, "noise": np.broadcast_to(own, (len(rows), width))}
        return self._in_batches(graph, ["image"], feed)[0]

    def detail_noise(
        self, n: int, seed: int, start: int = 0, *, labels: ArrayLike | int | None = None
    ) -> NDArray[np.float32]:
        """The noise that pictures start … start+n−1 of a seed give the detail stage, float32 [n, k].

        Args:
            n: how many, at least 1.
            seed: 0 … 2⁶³−1.
            start: index of the first.
            labels: the class of each, [n], or of all; None or −1 where there is none. The `labels` of samples give
                those samples' noise.

        Raises:
            UsageError: a model without a detail stage, or a number out of its range.
        """
        from .internal.noise import detail_noise

        spec = self._detail_spec()
        return detail_noise(spec, seed, start, n, None if labels is None else np.asarray(labels, np.int64))

    def encode(self, images: ArrayLike) -> Posterior:
        """Mean and log-variance of the posterior q(z|x), each float32 [n, dimensions].

        Args:
            images: uint8 in 0 … 255 or floats in [0, 1], with or without the leading axes.

        Raises:
            InputError: another shape, dtype or range.
        """
        pictures = as_images(images, self._manifest.image)
        return Posterior(*self._in_batches("encoder", ["mean", "log_variance"], {"image": pictures}))

    def reconstruct(self, images: ArrayLike, *, noise: ArrayLike | None = None) -> NDArray[np.float32]:
        """The pictures decoded from the posterior means of images, float32 [n, channels, height, width] in [0, 1].

        Args:
            images: as in `encode`.
            noise: as in `decode`.

        Raises:
            InputError: as in `encode`.
        """
        return self.decode(self.encode(images).mean, noise=noise)

    def traverse(
        self,
        dimensions: int | Sequence[int] | None = None,
        *,
        around: ArrayLike | None = None,
        span: float = 2.5,
        steps: int = 11,
        noise: ArrayLike | None = None,
    ) -> Traversal:
        """What each latent dimension does: it takes each value of a range while the others stay.

        Args:
            dimensions: the latent's own index, or several; all of them, ordered by KL, when None.
            around: the latent whose other dimensions are kept, [dimensions]; the prior's mean 0 when None.
            span: from 1 on, prior standard deviations; below 1, the central share of the prior.
            steps: pictures in a row, at least 2.
            noise: [k], for the detail stage to draw all pictures with; their means without it.

        Returns:
            images float32 [rows, steps, channels, height, width] and latents [rows, steps, dimensions].

        Raises:
            UsageError: a dimension that the model does not have, a span or steps out of range.
            InputError: `around` has another width or is not finite.
        """
        from ._paths import traversal_values

        width = self._manifest.latent.dimensions
        wanted: Any = self._manifest.latent.order if dimensions is None else dimensions
        several = isinstance(wanted, Iterable) and not isinstance(wanted, str)
        rows = tuple(whole("a dimension", row, 0, width - 1) for row in (wanted if several else [wanted]))
        if not rows:
            raise UsageError("expected at least one dimension, got none; leave them out for all")
        values = traversal_values(span, steps)
        centre = np.zeros(width, np.float32) if around is None else as_latent(around, width)
        latents = np.tile(centre, (len(rows), steps, 1))  # [rows, steps, dimensions]
        for at, row in enumerate(rows):
            latents[at, :, row] = values
        images = self.decode(latents.reshape(-1, width), noise=noise)
        shaped = images.reshape(len(rows), steps, *self._manifest.image.shape)
        return Traversal(shaped, latents, rows, values)

    def interpolate(
        self,
        a: ArrayLike,
        b: ArrayLike,
        steps: int = 11,
        method: Literal["linear", "spherical"] = "linear",
        *,
        noise: ArrayLike | None = None,
    ) -> Pictures:
        """Pictures on the way from latent a to latent b, both included.

        Args:
            a: the first latent, [dimensions].
            b: the last latent, [dimensions].
            steps: pictures in all, at least 2.
            method: a straight line, or the arc between the two (which stays at the prior's typical radius).
            noise: [k], for the detail stage to draw all pictures with; their means without it.

        Raises:
            UsageError: fewer than two steps, or an unknown method.
            InputError: a latent of another width, or not finite.
        """
        from ._paths import interpolation_path

        width = self._manifest.latent.dimensions
        latents = interpolation_path(as_latent(a, width), as_latent(b, width), steps, method)
        return Pictures(self.decode(latents, noise=noise), latents)

    def open(self, *names: str) -> None:
        """Open these graphs now rather than when they are first needed, to meet their errors early.

        Raises:
            ModelError: a graph was changed or cannot be loaded.
            UnavailableError: the execution provider is not installed.
        """
        for name in names:
            self._session(name)

    def _session(self, name: str) -> Session:
        with self._opening:
            if name not in self._sessions:
                if self._folder is None:
                    raise UsageError(f"expected a session for {name}, got none; pass {name}= to from_sessions")
                content = self._folder.read_graph(name)
                self._sessions[name] = open_session(content, self._manifest.graphs[name], self._provider)
            return self._sessions[name]

    def _sampler(self, n: int, seed: int | None, start: int, draw: Choice) -> tuple[int, int, Sampler]:
        """The checked range, and what computes it."""
        seed = draw_seed() if seed is None else seed
        n, seed, start = whole("n", n), whole("seed", seed), whole("start", start)
        check_range(seed, start, n)
        return n, start, Sampler(self._manifest, self._session, draw, seed, self._default_labels)

    def _default_labels(self, seed: int, start: int, count: int) -> NDArray[np.int64] | None:
        """The classes of default samples: in NumPy where there is a folder, which costs no session."""
        if self._folder is not None:
            return self.fitted_prior().draw_labels(seed, start, count)
        if "latents" not in self._sessions:
            return None
        return run_latents(self._sessions["latents"], seed, start, count, resolve_choice(self._manifest)).labels

    def _detail_spec(self) -> DetailSpec:
        if self._manifest.detail is None:
            raise UsageError(
                f"expected a model with a detail stage for noise, got {self._manifest.name} {self._manifest.version}, "
                "which has none; leave noise out"
            )
        return self._manifest.detail

    def _workers(self, count: int) -> int:
        if self._threads is not None:
            return self._threads
        return usable_cores() if count >= BULK else 1

    def _in_batches(
        self, graph: str, outputs: Sequence[str], feed: Mapping[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        """A graph's outputs for all rows of its inputs, computed in blocks of 32, the last one shorter."""
        session, count = self._session(graph), len(next(iter(feed.values())))
        parts = ({name: rows[at : at + BLOCK] for name, rows in feed.items()} for at in range(0, count, BLOCK))
        results = list(in_order(lambda part: run_float32(session, outputs, part), parts, self._workers(count)))
        return [np.concatenate(blocks) for blocks in zip(*results, strict=True)]


def draw_seed() -> int:
    """A random seed below 2⁵³, of the system's own randomness."""
    return int.from_bytes(os.urandom(7)) % DRAWN_SEED_LIMIT  # 56 bits, cut to 53
