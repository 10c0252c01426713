"""The figures of a model's quality for people: a page of Markdown, and a folder with the page and its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vae_gen import OutputError
from vae_gen.internal.files import write_file

from ..run_folder import write_json

PUBLISHED = (
    # Test -log p(x) of binarised Fashion-MNIST, IWAE with 5000 draws: Norouzi et al. 2020, arXiv:2004.04795.
    ("40-d VAE, N(0, I) prior", 228.70),
    ("40-d VAE, VampPrior", 227.35),
    ("40-d VAE, exemplar prior", 226.75),
    ("two-level convolutional VAE", 224.63),
)


def write_report(folder: Path, figures: dict[str, Any], pictures: Mapping[str, bytes]) -> None:
    """Write `metrics.json`, `report.md` and the pictures to a folder, which is made if it is missing.

    Args:
        folder: where to write; the folder above it must exist.
        figures: JSON values.
        pictures: the contents of PNG files by their names without the ending.

    Raises:
        OutputError: a file cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: expected a folder to write to ({error.strerror}); make its parent first"
        ) from error
    for name, content in pictures.items():
        write_file(folder / f"{name}.png", content)
    write_json(folder / "metrics.json", figures)
    write_file(folder / "report.md", markdown(figures, pictures))


def markdown(figures: dict[str, Any], pictures: Iterable[str] = ()) -> str:
    """The figures as a page of Markdown; `pictures` are the names of PNG files beside it, without their ending."""
    lines = [f"# The quality of {figures['model']}", ""]
    lines += [
        f"Measured in {figures['engine']} on {figures['data']}; the decoder's SHA-256 begins with "
        f"{figures['decoder_sha256'][:12]}. docs/evaluation.md explains each figure.",
        "",
    ]
    if figures.get("reference"):
        lines += [f"The reference model is {figures['reference']}.", ""]
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
    """The lines of a Markdown table and an empty line. All columns but the first are aligned to the right."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def number(figure: dict[str, Any] | None, decimals: int, scale: float = 1.0) -> str:
    """A figure as text: its mean, and its standard deviation if there were several seeds.

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
        "## Likelihood, in nats per image",
        "",
        *table(["", *roles], rows),
        f"IWAE is the importance-weighted bound with k = {grey['k']} on the first {grey['images']} test images, ± its "
        f"Monte-Carlo error. As an estimate for all images like these its standard error is {grey['image_error']:.2f}.",
        f"Published values, on binarised test images with k = 5000: {published}.",
        "",
    ]


def _samples(samples: dict[str, Any], name: str, classifier: dict[str, Any]) -> list[str]:
    """The table of one classifier, with a row for each set."""
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
        f"This classifier recognises {100 * classifier['test_accuracy']:.2f} % of the test images, and is sure of "
        f"{100 * test['sure']:.1f} % of them.",
        "",
        *table(head, rows),
    ]


def _classes(samples: dict[str, Any]) -> list[str]:
    """Two tables of the first classifier: the share of each class, and the share of each label that it recognises."""
    name = next(iter(samples["test_images"]))
    names = samples["class_names"]
    found, read = [], []
    for entry in samples["sets"].values():
        own = entry["classifiers"][name]
        found.append([entry["title"], *(f"{100 * share:.1f}" for share in own["classes"]["mean"][: len(names)])])
        per_class = own.get("read_as_label_per_class")
        if per_class is not None and len(per_class["mean"]) == len(names):
            read.append([entry["title"], *(f"{100 * share:.1f}" for share in per_class["mean"])])
    lines = [f"## Share of each class, by the {name} classifier, %", "", *table(["", *names], found)]
    return [*lines, f"## Share recognised as its label, by the {name} classifier, %", "", *table(["", *names], read)]


def _memory(samples: dict[str, Any]) -> list[str]:
    sets = {name: entry for name, entry in samples["sets"].items() if "nearest_training" in entry}
    if not sets:
        return []
    spaces = list(next(iter(sets.values()))["nearest_training"])
    rows = []
    for entry in sets.values():
        found = [entry["nearest_training"][space] for space in spaces]
        texts = [(number(own["median"], 2), number(own["closer"], 1, 100)) for own in found]
        rows.append([entry["title"], *(text for pair in texts for text in pair)])
    tests = [next(iter(sets.values()))["nearest_training"][space]["test_median"] for space in spaces]
    rows.append(["test images", *(text for test in tests for text in (f"{test['mean']:.2f}", "1.0"))])
    head = ["", *(text for space in spaces for text in (f"{space}: median", "closer %"))]
    return ["## Nearest training image", "", *table(head, rows)]


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
