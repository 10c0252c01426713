"""The figures of a model's quality for people: a page of Markdown, and a folder with the page and its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vae_gen import OutputError
from vae_gen.internal.files import advice, write_file

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
            f"{folder}: expected a folder to write to ({error.strerror}); {advice(error)}"
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
    if "mean_image_psnr_db" in figures:
        psnr = figures["mean_image_psnr_db"]
        lines += [f"The mean training image as the reconstruction of every test image has a PSNR of {psnr:.2f} dB.", ""]
    if "samples" in figures:
        for name in figures["classifiers"]:
            lines += _samples(figures["samples"], name, figures["classifiers"][name])
        lines += _classes(figures["samples"], figures["classifiers"])
        lines += _memory(figures["samples"])
    if "latent" in figures:
        lines += _latent(figures["latent"])
    if "left_out" in figures:
        reasons = [f"- {name}: {reason}." for name, reason in figures["left_out"].items()]
        lines += ["## Left out", "", *reasons, ""]
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
    bound = next(iter(first["iwae"].values()))
    names = {
        "grey": "grey pixels",
        "gaussian": "pixels with a Gaussian likelihood",
        "binarised": "binarised, its own posterior",
        "binarised_grey_encoded": "binarised, the grey picture's posterior",
    }
    rows = [[f"−ELBO, {first['images']} images", *(f"{role['neg_elbo']:.2f}" for role in roles.values())]]
    rows += [[key, *(f"{role[key]:.2f}" for role in roles.values())] for key in ("reconstruction", "kl")]
    if "psnr_db" in first:
        rows += [["PSNR of reconstructions, dB", *(f"{role['psnr_db']:.2f}" for role in roles.values())]]
    rows += [["active units", *(str(role["active_units"]) for role in roles.values())]]
    for key, name in names.items():
        if key not in first["iwae"]:
            continue
        bounds = [role["iwae"][key] for role in roles.values()]
        rows.append([f"IWAE, {name}", *(f"{bound['iwae']:.2f} ± {bound['monte_carlo_error']:.2f}" for bound in bounds)])
    binarised = "binarised" in first["iwae"]
    published = "; ".join(f"{name} {nats:.2f}" for name, nats in PUBLISHED)
    return [
        "## Likelihood, in nats per image",
        "",
        *table(["", *roles], rows),
        f"IWAE is the importance-weighted bound with k = {bound['k']} on the first {bound['images']} test images, ± "
        f"its Monte-Carlo error. As an estimate for all images like these its standard error is "
        f"{bound['image_error']:.2f}.",
        *([f"Published values, on binarised test images with k = 5000: {published}."] if binarised else []),
        "",
    ]


COLUMNS = {
    "kernel": ("kernel ·10³", 2, 1000),
    "precision": ("precision", 3, 1),
    "recall": ("recall", 3, 1),
    "density": ("density", 3, 1),
    "coverage": ("coverage", 3, 1),
    "sure": ("sure %", 1, 100),
    "rarest": ("rarest %", 1, 100),
    "read_as_label": ("read as label %", 1, 100),
}
"""The figures of a judge in the table of samples: the column's head, decimals, and a factor."""

MOST_CLASSES = 20
"""With more classes there are no tables that have a column for each."""


def _samples(samples: dict[str, Any], name: str, judge: dict[str, Any]) -> list[str]:
    """The table of one judge, with a row for each set. A figure that no set has gets no column."""
    entries = samples["sets"].values()
    shown = [key for key in COLUMNS if any(key in entry["classifiers"][name] for entry in entries)]
    has_frechet = any("frechet" in entry["classifiers"][name] for entry in entries)
    has_score = "sure" in shown and any("classification_accuracy" in entry for entry in entries)
    head = ["", *(["Fréchet", "share"] if has_frechet else []), *(COLUMNS[key][0] for key in shown)]
    head += ["CAS %"] if has_score else []
    rows = []
    for entry in entries:
        own = entry["classifiers"][name]
        row = [entry["title"]]
        if has_frechet:
            share = own.get("frechet_share")
            row += [number(own["frechet"], 2), "–" if share is None else f"{share:.3f}"]
        row += [number(own.get(key), *COLUMNS[key][1:]) for key in shown]
        row += [number(entry.get("classification_accuracy"), 1, 100)] if has_score else []
        rows.append(row)
    return [*_about(samples, name, judge), *table(head, rows)]


def _about(samples: dict[str, Any], name: str, judge: dict[str, Any]) -> list[str]:
    """The heading of a judge's table, and what the reader must know of the judge."""
    if name not in samples["test_images"]:
        text = "They need no labels: each compares the places of a picture with small pieces of the training images."
        return [f"## Samples, in the features of {name}", "", text, ""]
    sure, accuracy = f"{100 * samples['test_images'][name]['sure']:.1f} %", f"{100 * judge['test_accuracy']:.2f} %"
    if "most_frequent" not in judge:
        text = f"This classifier recognises {accuracy} of the test images, and is sure of {sure} of them."
        return [f"## Samples, in the features of the {name} classifier", "", text, ""]
    return [
        f"## Samples, by a classifier of the {name} that recognises {accuracy} of the test images",
        "",
        f"It was trained on {judge['train_images']} images of this set. It recognises {accuracy} of "
        f"{judge['test_images']} test images, which it never saw (always guessing the most frequent class: "
        f"{100 * judge['most_frequent']:.2f} %), and is sure of {sure} of them. Its figures of samples mean no more "
        f"than that allows.",
        "",
    ]


def _classes(samples: dict[str, Any], judges: dict[str, Any]) -> list[str]:
    """Two tables of the first classifier: the share of each class, and the share of each label that it recognises."""
    name = next(iter(samples["test_images"]), None)
    if name is None:
        return []
    by = f"by the {name} classifier"
    if "most_frequent" in judges[name]:
        by = f"by a classifier of the {name} that recognises {100 * judges[name]['test_accuracy']:.2f} %"
    names = samples["class_names"]
    if len(names) > MOST_CLASSES:
        return [f"Figures of each of the {len(names)} classes, {by} of the test images, are in metrics.json.", ""]
    found, read = [], []
    for entry in samples["sets"].values():
        own = entry["classifiers"][name]
        found.append([entry["title"], *(f"{100 * share:.1f}" for share in own["classes"]["mean"][: len(names)])])
        per_class = own.get("read_as_label_per_class")
        if per_class is not None and len(per_class["mean"]) == len(names):
            read.append([entry["title"], *(f"{100 * share:.1f}" for share in per_class["mean"])])
    lines = [f"## Share of each class, {by}, %", "", *table(["", *names], found)]
    return [*lines, f"## Share recognised as its label, {by}, %", "", *table(["", *names], read)]


def _memory(samples: dict[str, Any]) -> list[str]:
    sets = {name: entry for name, entry in samples["sets"].items() if "nearest_training" in entry}
    if not sets:
        return []
    spaces = list(next(iter(sets.values()))["nearest_training"])
    rows = []
    for entry in sets.values():
        found = [entry["nearest_training"][space] for space in spaces]
        texts = [(number(own["median"], 2), number(own.get("closer"), 1, 100)) for own in found]
        rows.append([entry["title"], *(text for pair in texts for text in pair)])
    tests = [next(iter(sets.values()))["nearest_training"][space] for space in spaces]
    texts = [(f"{test['test_median']['mean']:.2f}", "1.0" if "closer" in test else "–") for test in tests]
    rows.append(["test images", *(text for pair in texts for text in pair)])
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
