"""The quality's figures for people: one page of Markdown, and the folder with all of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vae_gen import OutputError
from vae_gen.internal.files import write_file

from .measure import Quality

PUBLISHED = (
    # Test -log p(x) of binarised Fashion-MNIST, IWAE with 5000 draws: Norouzi et al. 2020, arXiv:2004.04795.
    ("40-d VAE, N(0, I) prior", 228.70),
    ("40-d VAE, VampPrior", 227.35),
    ("40-d VAE, exemplar prior", 226.75),
    ("two-level convolutional VAE", 224.63),
)


def write_report(folder: Path, header: dict[str, Any], quality: Quality) -> None:
    """`metrics.json`, `report.md` and the pictures, in a folder that is made where it is missing.

    Raises:
        OutputError: something cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: expected a folder to write to ({error.strerror}); make its parent first"
        ) from error
    for name, content in quality.pictures.items():
        write_file(folder / f"{name}.png", content)
    write_file(folder / "metrics.json", to_json(header, quality))
    write_file(folder / "report.md", markdown(header, quality, quality.pictures))


def to_json(header: dict[str, Any], quality: Quality) -> str:
    """All figures as JSON text."""
    return json.dumps(header | quality.figures, indent=2, allow_nan=False) + "\n"


def markdown(header: dict[str, Any], quality: Quality, pictures: Iterable[str] = ()) -> str:
    """The figures as Markdown; `pictures` are the names of PNG files beside it."""
    figures = quality.figures
    lines = [f"# {header['model']}, measured", ""]
    lines += [f"{header['engine']}, {header['data']}, decoder {header['decoder_sha256'][:12]}.", ""]
    if header.get("reference"):
        lines += [f"Reference: {header['reference']}.", ""]
    lines += ["What each figure means, and how it is measured: docs/evaluation.md.", ""]
    if "likelihood" in figures:
        lines += _likelihood(figures["likelihood"])
    if "samples" in figures:
        for name in figures["classifiers"]:
            lines += _samples(figures["samples"], name, figures["classifiers"][name])
        lines += _classes(figures["samples"])
        lines += _memory(figures["samples"])
    if "latent" in figures:
        lines += _latent(figures["latent"])
    lines += [part for name in pictures for part in (f"![{name}]({name}.png)", "")]
    return "\n".join(lines)


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """A Markdown table, its first column to the left and the others to the right, and an empty line."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def number(figure: dict[str, Any] | None, decimals: int, scale: float = 1.0) -> str:
    """A figure of one or several seeds: its mean, and its standard deviation where there are several.

    >>> number({"mean": 0.5, "deviation": 0.01}, 1, 100)
    '50.0 ± 1.0'
    >>> number(None, 1)
    '–'
    """
    if figure is None:
        return "–"
    text = f"{scale * figure['mean']:.{decimals}f}"
    return text if figure["deviation"] is None else f"{text} ± {scale * figure['deviation']:.{decimals}f}"


def _likelihood(roles: dict[str, Any]) -> list[str]:
    first = roles["model"]
    grey = first["iwae"]["grey"]
    names = {
        "grey": "grey pixels",
        "binarised": "binarised, its own posterior",
        "binarised_grey_encoded": "binarised, the grey picture's posterior",
    }
    rows = [[f"−ELBO, {first['images']} images", *(f"{role['neg_elbo']:.2f}" for role in roles.values())]]
    rows += [[key, *(f"{role[key]:.2f}" for role in roles.values())] for key in ("reconstruction", "kl")]
    rows += [["active units", *(str(role["active_units"]) for role in roles.values())]]
    for key, name in names.items():
        bounds = [role["iwae"][key] for role in roles.values()]
        rows.append([f"IWAE, {name}", *(f"{bound['iwae']:.2f} ± {bound['monte_carlo_error']:.2f}" for bound in bounds)])
    published = "; ".join(f"{name} {nats:.2f}" for name, nats in PUBLISHED)
    return [
        "## Likelihood, nats an image",
        "",
        *table(["", *roles], rows),
        f"IWAE: k = {grey['k']}, the first {grey['images']} test images, ± the Monte-Carlo error; for all images like "
        f"these the standard error is {grey['image_error']:.2f}.",
        f"Published, on binarised test images with k = 5000: {published}.",
        "",
    ]


def _samples(samples: dict[str, Any], name: str, classifier: dict[str, Any]) -> list[str]:
    """One table for one classifier, a row for each set."""
    head = ["", "Fréchet", "share", "kernel ·10³", "precision", "recall", "density", "coverage"]
    head += ["sure %", "rarest %", "read as label %", "CAS %"]
    rows = []
    for entry in samples["sets"].values():
        own = entry["classifiers"][name]
        share = own.get("frechet_share")
        row = [entry["title"], number(own["frechet"], 2), "–" if share is None else f"{share:.3f}"]
        row.append(number(own["kernel"], 2, 1000))
        row += [number(own[key], 3) for key in ("precision", "recall", "density", "coverage")]
        row += [number(own[key], 1, 100) for key in ("sure", "rarest")]
        row += [number(own.get("read_as_label"), 1, 100), number(entry.get("classification_accuracy"), 1, 100)]
        rows.append(row)
    test = samples["test_images"][name]
    return [
        f"## Samples, in the features of the {name} classifier",
        "",
        f"Test accuracy {100 * classifier['test_accuracy']:.2f} %; sure of {100 * test['sure']:.1f} % of test images.",
        "",
        *table(head, rows),
    ]


def _classes(samples: dict[str, Any]) -> list[str]:
    """How often each class was found, and of each label the share that reads as it, both by the first classifier."""
    name = next(iter(samples["test_images"]))
    names = samples["class_names"]
    found, read = [], []
    for entry in samples["sets"].values():
        own = entry["classifiers"][name]
        found.append([entry["title"], *(f"{100 * share:.1f}" for share in own["classes"]["mean"][: len(names)])])
        per_class = own.get("read_as_label_per_class")
        if per_class is not None and len(per_class["mean"]) == len(names):
            read.append([entry["title"], *(f"{100 * share:.1f}" for share in per_class["mean"])])
    lines = [f"## Classes that the {name} classifier finds, %", "", *table(["", *names], found)]
    return [*lines, f"## Pictures that the {name} classifier reads as their label, %", "", *table(["", *names], read)]


def _memory(samples: dict[str, Any]) -> list[str]:
    sets = {name: entry for name, entry in samples["sets"].items() if "nearest_training" in entry}
    if not sets:
        return []
    spaces = list(next(iter(sets.values()))["nearest_training"])
    rows = []
    for entry in sets.values():
        found = [entry["nearest_training"][space] for space in spaces]
        rows.append([entry["title"], *(text for own in found for text in _distance_and_share(own))])
    tests = [next(iter(sets.values()))["nearest_training"][space]["test_median"] for space in spaces]
    rows.append(["test images", *(text for test in tests for text in (f"{test['mean']:.2f}", "1.0"))])
    head = ["", *(text for space in spaces for text in (f"{space}: median", "closer %"))]
    return ["## Nearest training image", "", *table(head, rows)]


def _distance_and_share(own: dict[str, Any]) -> tuple[str, str]:
    return number(own["median"], 2), number(own["closer"], 1, 100)


def _latent(roles: dict[str, Any]) -> list[str]:
    first = roles["model"]
    rows = []
    for space in first["traversal"]:
        ratios = [role["traversal"][space] for role in roles.values()]
        texts = [f"{ratio['mean']:.2f} (worst {ratio['worst']:.2f})" for ratio in ratios]
        rows.append([f"largest / mean step, {space}", *texts])
    for judge in first["path_length"]:
        lengths = [role["path_length"][judge]["mean"] for role in roles.values()]
        rows.append([f"path length, {judge}", *(number(length, 1) for length in lengths)])
    return ["## Latent space", "", *table(["", *roles], rows)]
