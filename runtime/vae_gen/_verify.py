"""`verify` proves a model folder on this machine: the hashes of its files, then its golden vectors.

golden.json holds inputs, expected outputs and tolerances, which the tests of every language read (docs/model-folder.md
describes it). Here they are computed again by the ONNX Runtime that is installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._errors import ModelError
from ._vae import VAE
from .internal.choice import Choice, resolve_choice, window
from .internal.files import Json
from .internal.latents import drawn_in_numpy
from .internal.manifest import ADVICE, DIRECTIONS_FILE, GOLDEN_FILE, Manifest, Prior, essentials
from .internal.model import ModelFolder, Session, find_model
from .internal.philox import philox4x32, random_words
from .internal.portable import PortableSession
from .internal.prior import FittedPrior
from .internal.provider_check import computed_levels
from .internal.sampling import Drawn, run_latents

MOST_PICTURES = 1024
"""The most samples of a golden vector."""


@dataclass(frozen=True)
class Check:
    """One check of a model folder and its result."""

    name: str
    """what was checked, in words"""
    passed: bool
    detail: str
    """what was measured and what is allowed, in words"""


def verify(path: str | os.PathLike[str] | None = None, *, provider: str = "cpu") -> list[Check]:
    """Checks every file of a model folder by its hash, and then every golden vector on this machine.

    Args:
        path: a model folder or the name of a model, as in `VAE`; None for the default model.
        provider: ONNX Runtime's execution provider, as in `VAE`.

    Returns:
        the checks in order. A fault inside the folder is a check that did not pass; if a file differs from its hash,
        the golden vectors are left out.

    Raises:
        ModelError: the folder or its manifest can't be read at all.
        UnavailableError: the provider is not installed.

    >>> all(check.passed for check in verify("fashion-mnist-12d-reference"))
    True
    """
    folder = ModelFolder.open(find_model(path))
    checks = list(_hashes(folder))
    if all(check.passed for check in checks):
        model = VAE(folder.path, provider=provider)
        model._graphs.checks_results = False  # the golden vectors tell more
        checks += _essentials(model)
        checks += _directions(folder)
        checks += _goldens(folder, model, model.fitted_prior() if model.manifest.has_fitted_prior else None)
    return checks


def _hashes(folder: ModelFolder) -> Iterator[Check]:
    files = {graph.file: graph.sha256 for graph in folder.manifest.graphs.values()}
    files |= {name: sha256 for name, (sha256, _) in folder.manifest.other_files.items()}
    for file, sha256 in files.items():
        try:
            folder.read_checked(file, sha256)
            yield Check(f"sha256 of {file}", True, f"{sha256[:12]}…")
        except ModelError as error:
            yield Check(f"sha256 of {file}", False, str(error))


def _essentials(model: VAE) -> Iterator[Check]:
    """Compares the manifest with its repetition inside each graph, because no hash covers the manifest."""
    expected = essentials(model.manifest.document)
    for name, graph in model.manifest.graphs.items():
        session: Any = model._graphs[name]  # ONNX Runtime's own, because the model comes from a folder
        found = session.get_modelmeta().custom_metadata_map
        wrong = [key for key, value in expected.items() if found.get(key) != value]
        detail = f"{', '.join(wrong)} differ from manifest.json" if wrong else f"{len(expected)} as in manifest.json"
        yield Check(f"essentials in {graph.file}", not wrong, detail)


def _directions(folder: ModelFolder) -> Iterator[Check]:
    """Reads directions.json, in a model that has it."""
    try:
        found = folder.read_directions()
        if found is not None:
            yield Check(DIRECTIONS_FILE, True, f"{len(found.directions)} directions")
    except ModelError as error:
        yield Check(DIRECTIONS_FILE, False, str(error))


def _goldens(folder: ModelFolder, model: VAE, prior: FittedPrior | None) -> Iterator[Check]:
    """Computes all golden vectors again; a golden.json that can't be read is a check that did not pass."""
    try:
        content = folder.read_checked(GOLDEN_FILE, folder.manifest.other_files[GOLDEN_FILE][0])
        golden = Json.parse(content, GOLDEN_FILE, ModelError, ADVICE)
        yield from _replay(golden, model, prior)
        if prior is not None:
            yield from _replay_latents(golden, model, prior)
        if "moves" in golden and golden["moves"]["cases"].items(lambda case: case):
            yield _replay_moves(golden, model)
    except Exception as error:  # a golden file or a graph from a stranger may fail in any way
        yield Check(GOLDEN_FILE, False, f"expected golden vectors, found {type(error).__name__}: {error}")


def _replay(golden: Json, model: VAE, prior: FittedPrior | None) -> Iterator[Check]:
    """Checks the random words, the model's default samples, posteriors of images and mean pictures of latents."""
    names = ("latent", "grey_levels", "mean", "log_variance")
    allowed = {name: golden["tolerances"][name].number() for name in names}
    samples = golden["samples"].items(lambda case: case)
    ranges = [_window(case) for case in samples]
    made = [model.sample(count, seed, start) for seed, start, count in ranges]

    known = golden["philox"].items(lambda case: case)
    found_words = [philox4x32(_words(case["counter"]), _words(case["key"])) for case in known]
    yield _exact("Philox known answers", [_words(case["words"]) for case in known], found_words)
    first_words = [random_words(seed, start, count, blocks=1)[:, 0] for seed, start, count in ranges]
    yield _exact("Philox words of samples", [_words(case["first_words"]) for case in samples], first_words)

    latents = [case["latents"].array() for case in samples]
    default = resolve_choice(model.manifest)
    in_numpy = [_in_numpy(model, prior, window, default).latents for window in ranges]
    yield _close("latents in NumPy", allowed["latent"], latents, in_numpy)
    pictures = [golden_images(case["images"], model.manifest) for case in samples]
    found: dict[str, list[Sequence[Any]]] = {"generator": [(sample.images, sample.latents) for sample in made]}
    if "generator.portable" in model.manifest.graphs:
        portable = PortableSession(model._graphs["generator.portable"])
        found["portable generator"] = [portable.run(["image", "latent"], window(*one)) for one in ranges]
    for name, results in found.items():
        yield _close(f"latents of the {name}", allowed["latent"], latents, [latent for _, latent in results])
        grey = [computed_levels(image)[: len(some)] for (image, _), some in zip(results, pictures, strict=True)]
        yield _close(f"pictures of the {name}, grey levels", allowed["grey_levels"], pictures, grey)

    encodings, decodings = golden["encodings"], golden["decodings"]
    posterior = model.encode(golden_images(encodings["images"], model.manifest))
    yield _close("posterior means", allowed["mean"], [encodings["mean"].array()], [posterior.mean])
    log_variance = encodings["log_variance"].array()
    yield _close("posterior log-variances", allowed["log_variance"], [log_variance], [posterior.log_variance])
    decoded = computed_levels(model.decode(decodings["latents"].array(), detail=False))
    expected = golden_images(decodings["images"], model.manifest)
    yield _close("decoded pictures, grey levels", allowed["grey_levels"], [expected], [decoded])


def _in_numpy(model: VAE, prior: FittedPrior | None, window: tuple[int, int, int], choice: Choice) -> Drawn:
    return drawn_in_numpy(*window, choice, model.latent_dim, prior, model.manifest.detail)


def _replay_latents(golden: Json, model: VAE, prior: FittedPrior) -> Iterator[Check]:
    """Checks latents.onnx with both priors, a class and temperatures, and the detail stage if the model has one."""
    cases = golden["latents"].items(lambda case: case)
    sessions: dict[str, Session] = {"graph": model._graphs["latents"]}
    if "latents.portable" in model.manifest.graphs:
        sessions["portable graph"] = PortableSession(model._graphs["latents.portable"])
    allowed, levels = (golden["tolerances"][name].number() for name in ("latent", "grey_levels"))
    has_detail = model.manifest.detail is not None
    in_numpy: list[Drawn] = []
    in_graphs: dict[str, list[Drawn]] = {name: [] for name in sessions}
    for case in cases:
        label = case["label"].whole(-1)
        prior_name: Prior = "normal" if case["prior"].one_of("normal", "fitted") == "normal" else "fitted"
        choice = Choice(prior_name, None if label < 0 else label, case["temperature"].number(), has_detail)
        in_numpy.append(_in_numpy(model, prior, _window(case), choice))
        for name, session in sessions.items():
            in_graphs[name].append(run_latents(session, *_window(case), choice))
    expected = [case["latents"].array() for case in cases]
    labels = [case["labels"].array() for case in cases]
    yield _close("chosen latents in NumPy", allowed, expected, [drawn.latents for drawn in in_numpy])
    yield _exact("their classes in NumPy", labels, [drawn.labels for drawn in in_numpy])
    for name, drawn_by_it in in_graphs.items():
        yield _close(f"chosen latents of the {name}", allowed, expected, [drawn.latents for drawn in drawn_by_it])
        yield _exact(f"their classes of the {name}", labels, [drawn.labels for drawn in drawn_by_it])
    if has_detail:
        noise = [case["noise"].array() for case in cases]
        for name, drawn_by_it in {"in NumPy": in_numpy, **in_graphs}.items():
            own = [np.asarray(drawn.noise) for drawn in drawn_by_it]
            yield _close(f"their noise {'' if name == 'in NumPy' else 'of the '}{name}", allowed, noise, own)
        details = golden["details"]
        found = computed_levels(model.decode(details["latents"].array(), noise=details["noise"].array()))
        yield _close("details, grey levels", levels, [golden_images(details["images"], model.manifest)], [found])


def _replay_moves(golden: Json, model: VAE) -> Check:
    """Checks latents that were moved along directions."""
    latents, cases = golden["moves"]["latents"].array(), golden["moves"]["cases"].items(lambda case: case)
    found = []
    for case in cases:
        label = case["label"].whole(-1)
        moved = model.move(latents, case["name"].text(), case["position"].number(), None if label < 0 else label)
        found.append(moved)
    expected = [case["latents"].array() for case in cases]
    return _close("moved latents", golden["tolerances"]["move"].number(), expected, found)


def golden_images(entry: Json, manifest: Manifest) -> NDArray[np.uint8]:
    """Reads the images of an entry {"count", "base64"} of golden.json: uint8 [count, channels, height, width]."""
    return entry["base64"].decoded("uint8", entry["count"].whole(1), *manifest.image.shape)


def _window(case: Json) -> tuple[int, int, int]:
    """Reads the seed, the start and the count of a golden vector."""
    return case["seed"].decimal(), case["start"].decimal(), case["count"].whole(1, MOST_PICTURES)


def _words(node: Json) -> NDArray[np.uint64]:
    """Reads nested lists of hexadecimal words."""
    nested = np.array(node.value)
    return np.array([int(str(text), 16) for text in nested.ravel()], np.uint64).reshape(nested.shape)


def _exact(name: str, expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> Check:
    _check_shapes(name, expected, found)
    wrong = sum(int((one != other).sum()) for one, other in zip(expected, found, strict=True))
    return Check(name, wrong == 0, "equal" if wrong == 0 else f"{wrong} differ")


def _close(name: str, allowed: float, expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> Check:
    _check_shapes(name, expected, found)
    differences = [
        np.abs(one.astype(np.float64) - other.astype(np.float64)).ravel()
        for one, other in zip(expected, found, strict=True)
    ]
    worst = float(np.concatenate(differences).max())  # NaN if any value is NaN, and then the comparison is false
    return Check(name, worst <= allowed, f"largest difference {worst:.2g}, allowed {allowed:g}")


def _check_shapes(name: str, expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> None:
    """Refuses arrays of different shapes, which could broadcast, and empty lists, whose comparison is always true."""
    shapes = [[array.shape for array in arrays] for arrays in (expected, found)]
    if not expected or shapes[0] != shapes[1]:
        raise ValueError(f"{name}: shapes {shapes[0]}, computed here {shapes[1]}")
