"""The model as an object: made from a folder or from an app's sessions, it makes pictures and finds latents."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._errors import InputError, ModelError, UsageError, shown
from ._pictures import Pictures, Posterior, Samples, Traversal
from .internal.arrays import as_latent, as_latents
from .internal.choice import (
    Choice,
    check_flag,
    check_range,
    draw_seed,
    find_label,
    resolve_choice,
    resolve_detail,
    whole,
)
from .internal.files import MOST_JSON_BYTES, path_text, read_regular
from .internal.manifest import DetailSpec, Manifest, Prior
from .internal.model import Graphs, ModelFolder, Session, check_provider, find_model
from .internal.sampling import BLOCK, FEW, Layout, Sampler, batches, in_order, workers

if TYPE_CHECKING:
    from PIL import Image

    from .internal.directions import Direction, Directions
    from .internal.losses import Losses
    from .internal.prior import FittedPrior

    Picture = str | os.PathLike[str] | Image.Image | ArrayLike


MOST_NUMBERS = 1 << 38
"""The most pixels that `sample` returns: a terabyte, which hardly any machine has."""


class VAE:
    """A trained variational autoencoder on ONNX Runtime: it makes pictures of seeds and latents, and encodes pictures.

    Graphs are opened when first needed. A VAE may be used from many threads and after a fork; a copy or a pickle of it
    is its path and options, and opens its own graphs.

    >>> vae = VAE("fashion-mnist-12d-reference")
    >>> vae.latent_dim, vae.image_shape, vae.class_names[7]
    (12, (1, 28, 28), 'Sneaker')
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, threads: int | None = None, provider: str = "cpu"
    ) -> None:
        """Loads a model folder, or the model that ships with the package.

        Args:
            path: a model folder, the name of a shipped or an installed model (`vae-gen models` lists them), or
                `hf:user/name` or `hf:user/name@revision` for a model on the Hugging Face Hub, which needs the extra
                `hub`. A `~` at the beginning stands for the user's home.
            threads: cores for many pictures; by default one below 1024 pictures and all from there on.
            provider: ONNX Runtime's execution provider: cpu, cuda, coreml, directml, openvino, or its full name. Random
                numbers are computed on the CPU in any case.

        Raises:
            ModelError: the folder is missing, incomplete or edited, or the Hub can't be reached.
            UnavailableError: the provider is not installed, or gives other results than the golden vectors (raised when
                the first graph is opened); or the extra `hub` is not installed.

        >>> VAE(threads=2)
        VAE(threads=2)
        """
        threads, provider = None if threads is None else whole("threads", threads, 1), check_provider(provider)
        folder = ModelFolder.open(find_model(path))
        arguments = [] if path is None else [repr(os.fspath(path))]
        arguments += [] if threads is None else [f"threads={shown(threads)}"]
        arguments += [] if provider == "cpu" else [f"provider={provider!r}"]
        self._set(Graphs(folder.manifest, folder, provider), threads, f"VAE({', '.join(arguments)})")
        place = path if path is None or not Path(path).is_dir() else os.path.abspath(path)  # noqa: PTH100 - as given
        self._options: tuple[Any, ...] | None = (place, threads, provider)

    def _set(self, graphs: Graphs, threads: int | None, made_by: str) -> None:
        self._graphs = graphs
        self._threads = None if threads is None else whole("threads", threads, 1)
        self._made_by = made_by

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
        """Makes a model from sessions that the app has opened itself. A missing session limits what can be called.

        Args:
            manifest: the manifest, or the path of a manifest.json.
            generator: for `sample` and `stream` with the model's default options.
            decoder: for mean pictures: `decode`, `traverse`, `interpolate` and `reconstruct` without details.
            encoder: for `encode` and `reconstruct`.
            latents: with the decoder or the detail stage, for `sample` and `stream` with other options; and for the
                `labels` and `noise` of default samples, which are None without it.
            detail: for pictures with details, of latents that are not default samples.
            threads: how many blocks of pictures are computed at the same time.

        Raises:
            ModelError: the manifest cannot be read or is malformed.

        >>> import onnxruntime
        >>> from vae_gen import find_model
        >>> folder = find_model("fashion-mnist-12d-reference")
        >>> decoder = onnxruntime.InferenceSession(folder / "decoder.onnx")
        >>> VAE.from_sessions(folder / "manifest.json", decoder=decoder).decode(np.zeros(12)).shape
        (1, 1, 28, 28)
        """
        if not isinstance(manifest, Manifest):
            path = Path(path_text(manifest, "a manifest.json"))
            try:
                manifest = Manifest.parse(read_regular(path, MOST_JSON_BYTES, links=True), str(path))
            except (OSError, ValueError) as error:  # a ValueError for a null character
                reason = error.strerror if isinstance(error, OSError) else error
                raise ModelError(f"{path}: expected a readable manifest.json ({reason})") from error
        given = {
            "generator": generator, "decoder": decoder, "encoder": encoder, "latents": latents, "detail": detail,
        }  # fmt: skip
        sessions = {name: session for name, session in given.items() if session is not None}
        if unknown := [name for name in sessions if name not in manifest.graphs]:
            known = ", ".join(manifest.graphs)
            raise UsageError(f"expected sessions of {known}, got one for {unknown[0]}; leave it out")
        if strange := [name for name, session in sessions.items() if not hasattr(session, "run")]:
            raise UsageError(f"expected a session of ONNX Runtime for {strange[0]}, got {shown(sessions[strange[0]])}")
        made_by = f"VAE.from_sessions({manifest.name!r}, {', '.join(f'{name}=…' for name in sessions)})"
        model = cls.__new__(cls)
        model._set(Graphs(manifest, sessions=sessions), threads, made_by)
        model._options = None
        return model

    def __repr__(self) -> str:
        return self._made_by

    def __reduce__(self) -> tuple[Any, ...]:
        if self._options is None:
            raise UsageError(
                "expected a VAE of a model folder to copy or pickle, got one made from sessions, which stay in their "
                "process; call VAE.from_sessions there"
            )
        return _load, self._options

    @property
    def manifest(self) -> Manifest:
        """The model's description: name, version, image and latent shapes, classes, files."""
        return self._graphs.manifest

    @property
    def latent_dim(self) -> int:
        """The number of latent dimensions."""
        return self.manifest.latent.dimensions

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of one image: (channels, height, width)."""
        return self.manifest.image.shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes of the training data, in the order of their labels; empty without classes."""
        return self.manifest.class_names

    def fitted_prior(self) -> FittedPrior:
        """The tables of the fitted prior, for latents and densities in NumPy.

        Raises:
            ModelError: the model has no fitted prior, or its file was changed.
            UsageError: the model was made from sessions, without a folder.

        >>> VAE().fitted_prior().draw_labels(seed=7, start=0, count=5).shape
        (5,)
        """
        return self._graphs.prior()

    def sample(
        self,
        n: int = 1,
        seed: int | None = None,
        start: int = 0,
        *,
        prior: Prior | None = None,
        label: int | str | None = None,
        temperature: float = 1.0,
        detail: bool | None = None,
    ) -> Samples:
        """Makes pictures start … start+n−1 of a seed, float32 [n, channels, height, width] in [0, 1].

        For fewer than 64 pictures only these are computed, for speed. From 64 on, and in `stream`, whole blocks of 32
        are computed, so that a picture is equal to the byte whatever range it is made in.

        Args:
            n: number of pictures, at least 1.
            seed: 0 … 2⁶³−1. None draws a seed below 2⁵³ at random, which the result keeps.
            start: index of the first picture, 0 … 2⁶³−1; start + n may reach 2⁶³.
            prior: the distribution of the latents: "normal" is N(0, I), and "fitted" is the density of the latents of
                real images. None means the model's default.
            label: makes pictures of one class: its index, its name, or the beginning of its name or a word of it, such
                as "boot", that fits no other class. Implies the fitted prior.
            temperature: the factor of the random part of latents, 0 to 100; below 1 for more typical pictures, above 1
                for more varied ones. It does not scale the detail stage's noise.
            detail: whether the detail stage makes the pictures; False gives the decoder's mean pictures. None means
                the model's default.

        Raises:
            UsageError: a number out of its range, or an option that the model doesn't have.

        >>> VAE().sample(2, seed=7, prior="normal")
        <2 samples of shape [1, 28, 28], seed=7, start=0, detail=True>
        """
        choice = resolve_choice(self.manifest, prior, label, temperature, detail)
        n, start, sampler = self._checked(n, seed, start, choice)
        if n * math.prod(self.image_shape) > MOST_NUMBERS:
            raise UsageError(f"expected a number of pictures that fits into memory, got {n}; take them from stream")
        return sampler.sample(start, n)

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
        """Makes any number of pictures in chunks, so that memory doesn't grow with n.

        Args:
            n: number of pictures in all, at least 1.
            seed: as in `sample`; a seed that is drawn at random serves all chunks.
            start: as in `sample`.
            chunk: pictures in a chunk, a multiple of 32; the first and the last chunk may be smaller.
            dtype: "float32" for values in [0, 1], or "uint8" for grey levels 0 … 255.
            prior: as in `sample`.
            label: as in `sample`.
            temperature: as in `sample`.
            detail: as in `sample`.

        Raises:
            UsageError: a number out of its range, when `stream` is called and not at the first chunk.

        >>> [len(part) for part in VAE("fashion-mnist-12d-reference").stream(100, seed=7, chunk=64)]
        [64, 36]
        """
        choice = resolve_choice(self.manifest, prior, label, temperature, detail)
        n, start, sampler = self._checked(n, seed, start, choice)
        if whole("chunk", chunk, BLOCK) % BLOCK:
            raise UsageError(f"expected a chunk that is a multiple of {BLOCK}, got {shown(chunk)}")
        if not isinstance(dtype, str) or dtype not in ("float32", "uint8"):
            found = dtype[:60] if isinstance(dtype, str) else shown(dtype)
            raise UsageError(f"expected the dtype float32 or uint8, got {found}")
        return sampler.stream(start, n, chunk, grey=dtype == "uint8")

    def decode(
        self, latents: ArrayLike | Pictures | Posterior, *, noise: ArrayLike | None = None, detail: bool | None = None
    ) -> NDArray[np.float32]:
        """Makes the pictures of latents.

        `decode(samples)` makes samples again, with the same noise in the detail stage; the pictures are equal to the
        byte if this is the model that made them. Other latents share one noise, that of picture 0 of seed 0, unless
        `noise` is given.

        Args:
            latents: float or integer [..., dimensions]; or `Samples` or other pictures of this library; or the
                `Posterior` of `encode`, which is decoded at its mean.
            noise: float [..., k] with a row for each latent, or [k] for all of them; implies `detail`.
            detail: whether the detail stage makes the pictures; False gives the decoder's mean pictures. None means
                as samples were made, and the model's default for other latents.

        Returns:
            float32 [..., channels, height, width] in [0, 1], with the leading axes of the latents. A single latent
            [dimensions] gives [1, channels, height, width], and a single sample, such as `samples[3]`, gives
            [channels, height, width], the shape of its image.

        Raises:
            InputError: another width, or values that are not finite.
            UsageError: details from a model without a detail stage, or noise with `detail=False`.

        >>> vae = VAE("fashion-mnist-12d-reference")
        >>> samples = vae.sample(3, seed=7)
        >>> bool((vae.decode(samples) == samples).all()), vae.decode(np.zeros(12)).shape
        (True, (1, 1, 28, 28))
        """
        rows = as_latents(_latents_of(latents), self.latent_dim)
        shape = rows.shape[:-1] if rows.ndim > 1 or isinstance(latents, Pictures) else (1,)
        rows = rows.reshape(-1, self.latent_dim)
        indices: NDArray[np.int64] = np.arange(len(rows))
        layout: Layout = (0, len(rows)) if len(rows) < FEW else None
        if isinstance(latents, Samples):
            indices, layout = np.ravel(latents.indices), latents._layout
            if noise is None and latents.choice.detail and detail is not False and self.manifest.detail is not None:
                noise = _noise_of(latents)
            if detail is None and noise is None:
                detail = latents.choice.detail and self.manifest.detail is not None
        feed = {"latent": rows}
        if noise is not None:
            feed["noise"] = self._given_noise(noise, len(rows), detail)
        elif resolve_detail(self.manifest, detail):
            feed["noise"] = np.broadcast_to(self.detail_noise(1, 0), (len(rows), self._detail_spec().noise))
        images = self._in_batches("detail" if "noise" in feed else "decoder", feed, indices, layout)
        return images.reshape(*shape, *self.image_shape)

    def detail_noise(
        self, n: int, seed: int, start: int = 0, *, labels: ArrayLike | int | None = None
    ) -> NDArray[np.float32]:
        """Computes in NumPy the noise that pictures start … start+n−1 of a seed give the detail stage.

        It differs from `Samples.noise` by rounding only, if `labels` are the samples' own.

        Args:
            n: number of pictures, at least 1.
            seed: 0 … 2⁶³−1.
            start: index of the first picture.
            labels: int [n], the class of each picture, or one class for all; None or −1 for no class.

        Returns:
            float32 [n, k].

        Raises:
            UsageError: the model has no detail stage, or a number is out of its range.

        >>> VAE().detail_noise(2, seed=7).shape
        (2, 32)
        """
        from .internal.latents import detail_noise

        spec = self._detail_spec()
        return detail_noise(spec, seed, start, n, labels)

    def encode(
        self,
        images: Picture | Sequence[object],
        *,
        invert: Literal["auto", "yes", "no"] | bool = "auto",
        trim: bool = True,
    ) -> Posterior:
        """Finds the latents of pictures: mean and log-variance of the posterior q(z|x), each float32 [n, dimensions].

        A file and a Pillow image may have any size and mode: it is rotated or mirrored according to its EXIF data, made
        grey or RGB, made negative if it is darker than its ground (Fashion-MNIST's garments lie on black), trimmed to
        the object on a plain ground, scaled to fit, and padded with black. An array must have the model's shape,
        because the meaning of its axes can't be guessed; for an array of another size pass
        `PIL.Image.fromarray(array)`.

        Args:
            images: a path (.png, .jpg, …, .npy, .npz), a Pillow image, an array, `Samples`, or a list of these. Arrays
                are uint8 in 0 … 255 or floats in [0, 1], [..., channels, height, width]; the channel axis may be
                missing if the model has one channel.
            invert: "auto" as above, "yes" or True to make all pictures negative, "no" or False for none.
            trim: False leaves the margins of pictures, and their contrast.

        Raises:
            InputError: a file that can't be read, or an array of another shape, dtype or range.
            UsageError: another word for `invert`.

        >>> vae = VAE("fashion-mnist-12d-reference")
        >>> vae.encode(vae.sample(3, seed=7)).mean.shape
        (3, 12)
        """
        from .internal.fitting import fit_pictures

        pictures = fit_pictures(images, self.manifest.image, invert, trim).images
        blocks = [{"image": pictures[at : at + BLOCK]} for at in range(0, len(pictures), BLOCK)]
        session = self._graphs["encoder"]
        parts = in_order(
            lambda feed: session.run(["mean", "log_variance"], feed), blocks, workers(self._threads, len(pictures))
        )
        return Posterior(*(np.concatenate(rows).astype(np.float32, copy=False) for rows in zip(*parts, strict=True)))

    def reconstruct(
        self,
        images: Picture | Sequence[object],
        *,
        noise: ArrayLike | None = None,
        detail: bool | None = None,
        invert: Literal["auto", "yes", "no"] | bool = "auto",
        trim: bool = True,
    ) -> NDArray[np.float32]:
        """Encodes pictures and decodes their posterior means, float32 [n, channels, height, width] in [0, 1].

        Args:
            images: as in `encode`.
            noise: as in `decode`.
            detail: as in `decode`; a loss needs the mean pictures, which False gives.
            invert: as in `encode`.
            trim: as in `encode`.

        Raises:
            InputError: as in `encode`.
            UsageError: as in `decode` and `encode`.

        >>> VAE("fashion-mnist-12d-reference").reconstruct(np.zeros((28, 28))).shape
        (1, 1, 28, 28)
        """
        return self.decode(self.encode(images, invert=invert, trim=trim).mean, noise=noise, detail=detail)

    def losses(
        self,
        images: Picture | Sequence[object],
        *,
        invert: Literal["auto", "yes", "no"] | bool = "auto",
        trim: bool = True,
    ) -> Losses:
        """Measures how well the model describes pictures: the loss of each in nats, its two parts, and the PSNR; and
        whether the picture resembles those that the model was trained on (`familiar`).

        The loss is the negative ELBO at the mean of the picture's posterior, with the decoder's mean picture. Nats of
        grey pictures are a cross-entropy, and nats of pictures in colour are those of a Gaussian, which may be below 0;
        the two can't be compared.

        Args:
            images: as in `encode`.
            invert: as in `encode`.
            trim: as in `encode`.

        Raises:
            InputError: as in `encode`.
            UsageError: as in `encode`.

        >>> vae = VAE("fashion-mnist-12d-reference")
        >>> losses = vae.losses(vae.sample(3, seed=7))
        >>> losses.nats.shape, bool((losses.psnr_db > 20).all())
        ((3,), True)
        """
        from .internal.fitting import fit_pictures
        from .internal.losses import losses_of

        pictures = fit_pictures(images, self.manifest.image, invert, trim).images
        posterior = self.encode(pictures)
        made, manifest = self.decode(posterior.mean, detail=False), self.manifest
        return losses_of(pictures, made, posterior, manifest.pixel_variance, manifest.familiar)

    def traverse(
        self,
        dimensions: int | str | Sequence[int | str] | None = None,
        *,
        around: ArrayLike | Pictures | Posterior | Literal["typical", "centre"] | None = None,
        span: float | None = None,
        steps: int = 11,
        spacing: Literal["seen", "latent"] | None = None,
        noise: ArrayLike | None = None,
        detail: bool | None = None,
        fade: bool = True,
    ) -> Traversal:
        """Shows what latent dimensions do: a row for each, in which only that dimension changes.

        Args:
            dimensions: 5 or "z5"; several as [1, 2] or "1,2"; None or "all" for all of them, ordered by their KL.
            around: the latent whose other dimensions are kept, [dimensions], a single sample, or the posterior of a
                single picture. "typical" is the medoid of the fitted prior, and "centre" the prior's mean 0, which lies
                between the classes. None is "typical" for a model with a fitted prior, otherwise "centre".
            span: from 1 on, the largest value in standard deviations of the prior; below 1, the central share of the
                prior. None shows what the fitted prior finds likely: the central 99 % of the values that the dimension
                takes beside the other ones. Without a fitted prior that is 2.5.
            steps: pictures in a row, at least 2.
            spacing: "seen" for steps between which the picture changes equally, "latent" for equal steps of the
                dimension (or of probability, for a span below 1). None is "seen", and "latent" with a span.
            noise: [k], the noise of all pictures, as in `decode`.
            detail: as in `decode`.
            fade: whether details fade to the mean picture where the encoder does not find the latent again in it, which
                is where a picture is torn between two garments. A VAE without an encoder does not fade.

        Returns:
            images float32 [rows, steps, channels, height, width], latents float32 [rows, steps, dimensions], and values
            float32 [rows, steps].

        Raises:
            UsageError: a dimension that the model doesn't have, a span or steps out of range, or another word.
            InputError: `around` has another width or is not finite.
            ModelError: "typical" or no span, and the file of the fitted prior was changed.

        >>> VAE("fashion-mnist-12d-reference").traverse("z5", span=2.5, steps=3)
        <traversal of dimensions [5] from -2.5 to 2.5 in 3 steps>
        """
        from .internal.paths import read_dimensions

        rows = read_dimensions(dimensions, self.manifest.latent)
        base = self._traversal_base(around)
        values = self._traversal_values(rows, base, span, steps, spacing)
        latents = np.tile(base, (*values.shape, 1))  # [rows, steps, dimensions]
        for at, row in enumerate(rows):
            latents[at, :, row] = values[at]
        return Traversal(self._decode_path(latents, noise, detail, fade), latents, rows, values)

    def _traversal_base(self, around: ArrayLike | Pictures | Posterior | None) -> NDArray[np.float32]:
        """The latent around which a traversal goes, float32 [dimensions]."""
        if around is None:
            around = "typical" if self._has_prior else "centre"
        if isinstance(around, str) and around == "centre":
            return np.zeros(self.latent_dim, np.float32)
        if isinstance(around, str) and around == "typical":
            return self._prior_for("a traversal around a typical latent", 'pass around="centre"').medoid()
        return as_latent(_latents_of(around), self.latent_dim)

    def _traversal_values(
        self, rows: Sequence[int], base: NDArray[np.float32], span: float | None, steps: int, spacing: str | None
    ) -> NDArray[np.float32]:
        """The values that the dimensions `rows` take in a traversal around `base`, float32 [rows, steps]."""
        from .internal import paths

        spacing = paths.read_spacing(spacing, "latent" if span is not None else "seen")
        if span is None and not self._has_prior:
            span = paths.DEFAULT_SPAN
        if span is not None and spacing == "latent":
            return np.tile(paths.traversal_values(span, steps), (len(rows), 1))
        steps = whole("steps", steps, 2, paths.MOST_STEPS)
        if span is not None:
            low, high = paths.traversal_values(span, 2).tolist()
            ends = [(low, high)] * len(rows)
        else:
            from .internal.density import Density

            density, place = Density(self.fitted_prior()), base.astype(np.float64)
            ends = [density.likely_range(place, row, paths.LIKELY_SHARE) for row in rows]
        if spacing == "latent":
            return np.array([np.linspace(low, high, steps) for low, high in ends], np.float32)
        chosen = []
        for row, (low, high) in zip(rows, ends, strict=True):
            places = np.linspace(low, high, paths.DENSE)
            latents = np.tile(base, (paths.DENSE, 1))
            latents[:, row] = places
            pictures = self.decode(latents, detail=False if "decoder" in self._graphs else None)
            chosen.append(paths.seen_values(places, pictures, steps))
        return np.array(chosen)

    def interpolate(
        self,
        a: ArrayLike | Pictures | Posterior,
        b: ArrayLike | Pictures | Posterior,
        steps: int = 11,
        method: Literal["linear", "spherical", "slerp", "likely"] = "linear",
        *,
        noise: ArrayLike | None = None,
        detail: bool | None = None,
        fade: bool = True,
    ) -> Pictures:
        """Makes pictures on the way from latent a to latent b, both included.

        Args:
            a: the first latent, [dimensions]; or a single sample, such as `samples[0]`; or the posterior of a single
                picture.
            b: the last latent, as `a`.
            steps: number of pictures, at least 2.
            method: "linear" for a straight line; "spherical", which "slerp" also means, for the arc between the two,
                which stays at the distance from 0 that is typical of the prior; "likely" for a path on which the fitted
                prior is dense, so that fewer pictures are torn between two garments.
            noise: the noise of all pictures, [k], or of each, [steps, k], as in `decode`.
            detail: as in `decode`.
            fade: as in `traverse`.

        Returns:
            images float32 [steps, channels, height, width] and latents float32 [steps, dimensions].

        Raises:
            UsageError: fewer than two steps, another method, or "likely" for a model without a fitted prior.
            InputError: a latent of another width, or not finite.
            ModelError: "likely", and the file of the fitted prior was changed.

        >>> vae = VAE("fashion-mnist-12d-reference")
        >>> samples = vae.sample(2, seed=7)
        >>> vae.interpolate(samples[0], samples[1], steps=5, method="likely")
        <5 pictures of shape [1, 28, 28]>
        """
        from .internal.paths import interpolation_path, read_method

        first, last = (as_latent(_latents_of(end), self.latent_dim) for end in (a, b))
        likely = read_method(method) == "likely"
        prior = self._prior_for("the method likely", "use linear or spherical") if likely else None
        latents = interpolation_path(first, last, steps, method, prior)
        return Pictures(self._decode_path(latents, noise, detail, fade), latents)

    @property
    def _has_prior(self) -> bool:
        """Whether this VAE has a fitted prior, and a folder that has its tables."""
        return self.manifest.has_fitted_prior and self._graphs.folder is not None

    def _prior_for(self, purpose: str, advice: str) -> FittedPrior:
        """The fitted prior.

        Raises:
            UsageError: there is none; the error names the purpose and the advice.
        """
        if not self.manifest.has_fitted_prior:
            name = f"{self.manifest.name} {self.manifest.version}"
            raise UsageError(f"expected a model with a fitted prior for {purpose}, got {name} without one; {advice}")
        return self.fitted_prior()

    def _decode_path(
        self, latents: NDArray[np.float32], noise: ArrayLike | None, detail: bool | None, fade: bool
    ) -> NDArray[np.float32]:
        """Decodes latents [..., dimensions]; with `fade`, details fade where the encoder doesn't find a latent again.

        The mean picture of a latent is encoded, and the distance of its posterior's mean from the latent is measured in
        the posterior's standard deviations. Its square has the mean d and the deviation √(2d) for latents of that
        posterior, in d dimensions. Up to d the details stay, and from d + 3√(2d) on nothing is left of them.
        """
        images = self.decode(latents, noise=noise, detail=detail)
        has_details = noise is not None or resolve_detail(self.manifest, detail)
        if not (check_flag("fade", fade) and has_details and "encoder" in self._graphs and "decoder" in self._graphs):
            return images
        rows = latents.reshape(-1, self.latent_dim)
        mean = self.decode(rows, detail=False)
        found = self.encode(mean)
        squared = ((found.mean - rows).astype(np.float64) ** 2 / np.exp(found.log_variance.astype(np.float64))).sum(1)
        width = self.latent_dim
        kept = np.clip((width + 3 * np.sqrt(2 * width) - squared) / (3 * np.sqrt(2 * width)), 0, 1)
        share = kept.astype(np.float32).reshape(-1, 1, 1, 1)
        detailed = images.reshape(mean.shape)
        faded: NDArray[np.float32] = np.where(share == 1, detailed, mean + share * (detailed - mean))
        return faded.reshape(images.shape)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions of the latent space with a measured meaning, which `move` follows.

        They are empty for a model without them, and for a VAE made from sessions, which has no folder to read. Each has
        a name, the attribute of the picture that it changes, the classes that it is for, and what it was measured to do
        in each of them (docs/model-folder.md, directions.json).

        Raises:
            ModelError: directions.json was changed.

        >>> [direction.name for direction in VAE().directions if 9 in (direction.labels or ())][:2]
        ['shade', 'shaft height']
        """
        found = self._graphs.directions()
        return () if found is None else found.directions

    def attributes(
        self, latents: ArrayLike | Pictures | Posterior, label: int | str | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Predicts the attributes of the pictures of latents, in standard deviations from the average of their class.

        Args:
            latents: as in `decode`.
            label: the class to compare with, as in `sample`; None for the most likely class of each latent.

        Returns:
            an array float64 [...] with the leading axes of the latents for each direction that is for the class. If
            the latents are of several classes, those without the direction have NaN.

        Raises:
            InputError: another width, or values that are not finite.
            UsageError: the model has no directions, or no such class.

        >>> vae = VAE()
        >>> latents = vae.move(vae.sample(3, seed=7, label="pullover"), "sleeve length", -1, label="pullover")
        >>> vae.attributes(latents, label="pullover")["sleeve length"].round(1).tolist()
        [-1.0, -1.0, -1.0]
        """
        known, rows, labels, shape = self._measured(latents, label)
        positions = known.field.positions(rows, labels)
        found = {}
        for direction in known.directions:
            suits = np.ones(len(rows), bool) if direction.labels is None else np.isin(labels, direction.labels)
            if suits.any():
                values = positions[:, known.field.attributes.index(direction.attribute)]
                found[direction.name] = np.where(suits, values, np.nan).reshape(shape)
        return found

    def move(
        self,
        latents: ArrayLike | Pictures | Posterior,
        name: str,
        position: ArrayLike,
        label: int | str | None = None,
    ) -> NDArray[np.float32]:
        """Moves latents along a direction: one attribute of the picture changes, and the others nearly stay.

        Args:
            latents: as in `decode`.
            name: the name of a direction, or a beginning of it that fits no other one.
            position: where to move to, in standard deviations of the attribute from the average of the class: 0 is
                the average, and about two thirds of the pictures of the class lie between -1 and 1. It is one number,
                or an array that broadcasts to the leading axes of the latents. A position that hardly any picture of
                the class has is limited to the most extreme 1 in 100, which may be near: hardly any pullover has
                sleeves that are more than 1 above the average.
            label: as in `attributes`.

        Returns:
            float32 latents of the same shape.

        Raises:
            InputError: latents of another width, or values that are not finite.
            UsageError: the model has no such direction, or not for this class.

        >>> vae = VAE()
        >>> boot = vae.sample(1, seed=7, label="boot").latents[0]
        >>> [vae.decode(vae.move(boot, "shaft height", height)).shape for height in (-1.5, 1.5)]
        [(1, 1, 28, 28), (1, 1, 28, 28)]
        """
        from .internal.directions import check_position

        known, rows, labels, shape = self._measured(latents, label)
        of_all = set(labels.tolist()) if len(known.field.middles) > 1 else set()
        direction = known.find(name, of_all.pop() if len(of_all) == 1 else None, self.class_names)
        positions = check_position(position, shape).reshape(-1)
        attribute = known.field.attributes.index(direction.attribute)
        moved = known.field.move(rows, labels, attribute, positions)
        return moved.astype(np.float32).reshape(*shape, self.latent_dim)

    def _measured(
        self, latents: ArrayLike | Pictures | Posterior, label: int | str | None
    ) -> tuple[Directions, NDArray[np.float64], NDArray[np.int64], tuple[int, ...]]:
        """The directions, the latents [n, dimensions], the class of each, and the leading axes of what was given."""
        known = self._graphs.directions()
        if known is None and self._graphs.folder is None:
            raise UsageError("expected a model folder for directions, got sessions; use VAE(…) of the folder for them")
        if known is None:
            raise UsageError(
                f"expected a model with directions, got {self.manifest.name} {self.manifest.version}, which has none; "
                "export it again"
            )
        given = as_latents(_latents_of(latents), self.latent_dim)
        rows = given.reshape(-1, self.latent_dim).astype(np.float64)
        index = None if label is None else find_label(self.class_names, label)
        if index is None or len(known.field.middles) == 1:
            return known, rows, known.field.classes(rows), given.shape[:-1]
        return known, rows, np.full(len(rows), index), given.shape[:-1]

    def open(self, *names: str) -> None:
        """Opens graphs now rather than when they are first needed, so that their errors appear early.

        Args:
            names: generator, decoder, encoder, latents or detail.

        Raises:
            ModelError: a graph was changed or cannot be loaded.
            UnavailableError: the execution provider is not installed.

        >>> VAE("fashion-mnist-12d-reference").open("encoder", "decoder")
        """
        for name in names:
            if not isinstance(name, str):
                raise UsageError(f"expected the name of a graph such as decoder, got {shown(name)}")
            _ = self._graphs[name]

    def _sampler(self, choice: Choice, seed: int) -> Sampler:
        """Makes the object that computes the samples of a seed, from a choice that `resolve_choice` returned."""
        return Sampler(self._graphs, choice, seed, self._threads)

    def _checked(self, n: int, seed: int | None, start: int, choice: Choice) -> tuple[int, int, Sampler]:
        """Checks a range of pictures, and returns it with the object that computes them."""
        seed = draw_seed() if seed is None else seed
        n, seed, start = whole("n", n, 1), whole("seed", seed), whole("start", start)
        check_range(seed, start, n)
        return n, start, self._sampler(choice, seed)

    def _detail_spec(self) -> DetailSpec:
        if self.manifest.detail is None:
            raise UsageError(
                f"expected a model with a detail stage for noise, got {self.manifest.name} {self.manifest.version}, "
                "which has none; leave noise out"
            )
        return self.manifest.detail

    def _given_noise(self, noise: ArrayLike, count: int, detail: bool | None) -> NDArray[np.float32]:
        if check_flag("detail", detail) is False:
            raise UsageError("expected noise only for pictures with details, got noise and detail=False; leave one out")
        width = self._detail_spec().noise
        own = as_latents(noise, width, "rows of noise").reshape(-1, width)
        if len(own) not in (1, count):
            raise InputError(f"expected noise for each of {count} latents or for all of them, got {len(own)} rows")
        return np.broadcast_to(own, (count, width))

    def _in_batches(
        self, graph: str, feed: Mapping[str, NDArray[np.float32]], indices: NDArray[np.int64], layout: Layout
    ) -> NDArray[np.float32]:
        """Decodes each row at the place of the batch that its picture was computed in (see internal/sampling.py).

        Args:
            graph: "decoder" or "detail".
            feed: the graph's inputs, each with a row for each picture.
            indices: int64 [n], the index of each picture.
            layout: how the pictures were computed (`Layout` in internal/sampling.py).
        """
        session = self._graphs[graph]
        images = np.empty((len(indices), *self.image_shape), np.float32)

        def decode(batch: tuple[int, int, NDArray[np.int64]]) -> None:
            first, size, rows = batch
            places = indices[rows] - first
            padded = {name: np.zeros((size, values.shape[1]), np.float32) for name, values in feed.items()}
            for name, values in feed.items():
                padded[name][places] = values[rows]
            images[rows] = session.run(["image"], padded)[0][places]

        for _ in in_order(decode, batches(indices, layout), workers(self._threads, len(indices))):
            pass
        return images


def _load(path: str | None, threads: int | None, provider: str) -> VAE:
    """Makes the VAE of a pickle again."""
    return VAE(path, threads=threads, provider=provider)


def _latents_of(value: ArrayLike | Pictures | Posterior) -> ArrayLike:
    """The latents of pictures, the mean of a posterior, and any other value as it is.

    Raises:
        InputError: the value is a text or a path.
    """
    if isinstance(value, str | os.PathLike):
        raise InputError(
            f"expected latents, samples or a posterior, got {shown(path_text(value, 'a file'))}; for a class pass "
            "vae.sample(label=…), and for the file of a picture vae.encode(…)"
        )
    if isinstance(value, Pictures):
        return value.latents
    return value.mean if isinstance(value, Posterior) else value


def _noise_of(samples: Samples) -> NDArray[np.float32]:
    if samples.noise is None:
        raise UsageError(
            "expected samples that carry their noise, got some of a VAE that was made without the session latents; "
            "pass latents= to from_sessions, or decode samples.latents"
        )
    return samples.noise
