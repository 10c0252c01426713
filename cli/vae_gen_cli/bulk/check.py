"""`vae-gen verify DIR`: whether a bulk folder is whole, unchanged, and what its model makes on this machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vae_gen import VAE, InputError, ModelError
from vae_gen._pictures import to_grey_levels
from vae_gen._verify import Check
from vae_gen.internal.sampling import BLOCK

from . import by_class, parquet, webdataset
from .place import Place
from .plan import BY_CLASS, LIST, MANIFEST, Plan, Shard
from .run import model_facts, read_plan, read_sidecar
from .work import sampler_of

if TYPE_CHECKING:
    from vae_gen import Samples

SAMPLED = 8
"""The shards of which a block of 32 pictures is made again: the first, the last, and some between them."""
LATENT_TOLERANCE = 1e-4
"""How far latents may differ on another processor; the golden vectors allow as much."""
MOST_NAMES = 3
"""How many files a check names."""
LEFT_OVER = re.compile(r"\..+\.[0-9a-f]{8}\.part")
"""The hidden names of files that are not complete; other hidden files are passed over."""
OTHERS = "other files"
"""The name of the check for files that no command has made; `--resume` does not help there."""
HINTS = {
    "shards": "",
    "JSON files": "",
    OTHERS: "remove the other files, unless a command is writing them",
    "sizes and sha256": "delete the shards that differ",
    "indices": "delete the shards that do not have each picture once",
    "PNGs": "",
    "PNGs, sha256": "delete the PNGs that differ",
    LIST: "",
}
"""For each check, the advice to print if it did not pass. `--resume` makes missing files after that."""
RESUME = "repeat the command that made the folder with --resume"
EDITED = f"the pictures are not those that {MANIFEST} describes, so make them again in a new folder"
"""The advice to print if the pictures that were made again differ."""


def verify_folder(place: Place, open_model: Callable[[str], VAE], progress: Callable[[int], None]) -> list[Check]:
    """Checks a bulk folder.

    Args:
        place: the folder.
        open_model: opens the model that made the pictures, given its name.
        progress: is called with the number of pictures in each shard that was checked.

    Raises:
        InputError: the folder has no manifest of a bulk folder.
        ModelError: the model can't be opened.
    """
    plan, sizes = read_plan(place), place.sizes()
    found = _look_up(plan, sizes)
    pngs = by_class.Pngs(place, plan) if plan.format == BY_CLASS else None
    contents = list(_contents(place, plan, found.shards, sizes, pngs, progress))
    strangers = [*found.strangers, *(pngs.strangers(sizes) if pngs else ())]
    checks = [
        _check("shards", f"{len(found.shards)} with {plan.count} pictures", "missing", found.missing),
        _check("JSON files", "one for each shard", "missing", found.undescribed),
        _check(OTHERS, "none", "expected none, found", sorted(strangers)),
        *contents,
    ]
    if pngs and not (found.missing or found.undescribed):
        checks.append(_joined(place, plan, sizes))
    if plan.command == "sample" and found.shards and all(check.passed for check in checks[3:]):
        checks += _made_again(place, plan, found.shards, open_model(plan.model["name"]))
    return checks


@dataclass
class _Found:
    """The result of comparing the names in a bulk folder with its plan."""

    shards: list[Shard]
    """those whose two files are there"""
    missing: list[str]
    """the shards that are not there"""
    undescribed: list[str]
    """the JSON files that are missing beside a shard"""
    strangers: list[str]
    """the files that no command has made here, and those that a killed command has left"""


def _look_up(plan: Plan, sizes: dict[str, int]) -> _Found:
    """Compares the names in a folder with the plan; a stranger's manifest may name a million shards."""
    found, own = _Found([], [], [], []), {MANIFEST}
    for shard in plan.shards():
        name, sidecar = plan.file(shard), shard.sidecar
        if name not in sizes:
            found.missing.append(name)
        elif sidecar not in sizes:
            found.undescribed.append(sidecar)
        else:
            found.shards.append(shard)
        own |= {one for one in (name, sidecar) if one in sizes}
    if plan.format == BY_CLASS:
        folders = by_class.folder_names(plan.model["class_names"])
        own |= {LIST, *(name for name in folders if sizes.get(name) == -1)}
    found.strangers = [name for name in sizes if name not in own and (name[0] != "." or LEFT_OVER.fullmatch(name))]
    return found


def _check(name: str, good: str, bad: str, wrong: Sequence[str]) -> Check:
    """A check that passes if no file is wrong, and otherwise names some of them."""
    names = ", ".join(wrong[:MOST_NAMES]) + (f" and {len(wrong) - MOST_NAMES} more" if len(wrong) > MOST_NAMES else "")
    return Check(name, not wrong, f"{bad}: {names}" if wrong else good)


def _contents(
    place: Place, plan: Plan, shards: Sequence[Shard], sizes: dict[str, int], pngs: by_class.Pngs | None,
    progress: Callable[[int], None],
) -> Iterator[Check]:  # fmt: skip
    """Compares each shard with the size and the SHA-256 in its JSON file, and reads its indices and its PNGs."""
    altered, misnumbered = [], []
    for shard in shards:
        facts, name = read_sidecar(place, shard, sizes), plan.file(shard)
        with place.read(name) as file:
            is_same = (facts.get("count"), facts.get("bytes")) == (shard.count, sizes[name])
            if not is_same or facts.get("sha256") != _sha256(file):
                altered.append(name)
            elif not _is_true(_has_indices, file, plan, shard):
                misnumbered.append(name)
            elif pngs:
                file.seek(0)
                pngs.compare(file, shard)
        progress(shard.count)
    total = sum(sizes[plan.file(shard)] for shard in shards)
    yield _check("sizes and sha256", f"{total} bytes as in the JSON files", "differ from their JSON files", altered)
    yield _check("indices", "each picture is there once", "expected each picture once, not so in", misnumbered)
    if pngs:
        yield _check("PNGs", "all there", "missing", pngs.missing)
        yield _check("PNGs, sha256", "as in the lists", "differ from the lists", pngs.altered)


def _has_indices(file: BinaryIO, plan: Plan, shard: Shard) -> bool:
    """Whether a shard has each of its pictures once."""
    if plan.format == BY_CLASS:
        return by_class.has_indices(file, plan, shard)
    if plan.format == "webdataset":
        return webdataset.has_indices(file, shard)
    return parquet.has_indices(file, shard)


def _joined(place: Place, plan: Plan, sizes: dict[str, int]) -> Check:
    """Whether the list of all pictures of a folder by class is that of the shards."""
    if LIST not in sizes:
        return Check(LIST, False, "missing")
    is_same = _is_true(by_class.is_joined, place, plan)
    return Check(LIST, is_same, "the lists of all shards" if is_same else "differs from the lists of the shards")


def _is_true(question: Callable[..., bool], *arguments: object) -> bool:
    """The answer to a question about a file, which is no if the file is damaged."""
    try:
        return question(*arguments)
    except Exception:  # libraries raise almost anything for a stranger's file
        return False


def _read_samples(
    place: Place, plan: Plan, file: BinaryIO, first: int, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None, NDArray[np.int64]]:
    """The grey levels, latents (if the format has them) and labels of rows of a shard."""
    if plan.format == BY_CLASS:
        return by_class.read_samples(place, file, first, count)
    if plan.format == "webdataset":
        return webdataset.read_samples(file, first, count)
    return parquet.read_samples(file, plan, first, count)


def _sha256(file: BinaryIO) -> str:
    found = hashlib.sha256()
    while piece := file.read(1 << 20):
        found.update(piece)
    file.seek(0)
    return found.hexdigest()


def _made_again(place: Place, plan: Plan, shards: Sequence[Shard], vae: VAE) -> Iterator[Check]:
    """Makes a block of some shards again with the model that is installed."""
    facts = model_facts(vae.manifest)
    differing = [key for key, value in facts.items() if plan.model.get(key) != value]
    if differing:
        found = f"{vae.manifest.name} {vae.manifest.version}, whose {differing[0]} differs"
        wanted = f"{plan.model['name']} {plan.model['version']}"
        yield Check("model", False, f"expected {wanted}, which made the pictures, got {found}")
        return
    sampler = sampler_of(plan, vae)
    levels, latents, labels, count = 0, 0.0, 0, 0
    for shard, first in blocks(shards):
        (made,) = sampler.stream(first, min(BLOCK, shard.start + shard.count - first), BLOCK)
        with place.read(plan.file(shard)) as file:
            images, written, classes = _read_samples(place, plan, file, first - shard.start, len(made))
        levels = max(levels, _distance(to_grey_levels(made.images), images))
        latents = max(latents, 0.0 if written is None else float(np.abs(made.latents - written).max()))
        labels += int((_labels(made) != classes).sum())
        count += len(made)
    name = f"{count} pictures made again"
    yield Check(f"{name}, grey levels", levels <= 1, f"largest difference {levels}, allowed 1")
    if plan.format != BY_CLASS:
        good = latents <= LATENT_TOLERANCE
        yield Check(f"{name}, latents", good, f"largest difference {latents:.2g}, allowed 0.0001")
    yield Check(f"{name}, labels", not labels, f"{labels} differ" if labels else "equal")


def blocks(shards: Sequence[Shard]) -> Iterator[tuple[Shard, int]]:
    """Yields up to eight shards, and the first index of a block of 32 in each, which is always the same."""
    step = max(1, (len(shards) - 1) / (SAMPLED - 1))
    for at in sorted({min(round(number * step), len(shards) - 1) for number in range(SAMPLED)}):
        shard = shards[at]
        low, high = -(-shard.start // BLOCK), (shard.start + shard.count) // BLOCK  # whole blocks of the shard
        digest = hashlib.sha256(shard.stem.encode()).digest()
        chosen = low + int.from_bytes(digest[:8]) % (high - low) if high > low else 0
        yield shard, chosen * BLOCK if high > low else shard.start


def _distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(np.int16) - other.astype(np.int16)).max())


def _labels(samples: Samples) -> NDArray[np.int64]:
    return np.full(len(samples), -1) if samples.labels is None else samples.labels


def failure(place: Place, failed: int, checks: Sequence[Check]) -> InputError | ModelError:
    """The error that ends `verify` when checks of a bulk folder did not pass: what to do about each kind of fault."""
    wrong = [check for check in checks if not check.passed]
    if [check.name for check in wrong] == ["model"]:
        return ModelError(f"{place.name}: {wrong[0].detail}; give the folder of the model that made them to --model")
    names = [check.name for check in wrong if check.name != "model"]
    steps = [HINTS.get(name, EDITED) for name in names]
    steps += [RESUME for name in names if name in HINTS and name != OTHERS]
    todo = "; ".join(step for step in dict.fromkeys(steps) if step)
    return InputError(f"{place.name}: expected every check to pass, {failed} of {len(checks)} did not; {todo}")
