"""Fills a bulk folder: writes its manifest or compares it, finds what is missing, and hands that to an engine."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vae_gen import InputError, OutputError, UsageError
from vae_gen.internal.manifest import PRIOR_FILE

from .place import Place
from .plan import BY_CLASS, MANIFEST, Plan, Shard
from .work import Job

if TYPE_CHECKING:
    from vae_gen import Manifest

Engine = Callable[[Job, Sequence[Shard], Callable[[int], None]], None]
"""Makes shards of a job, and calls its last argument with the number of pictures whenever some were made."""


@dataclass(frozen=True)
class Filled:
    """The numbers of shards that a command had to make, and that it found."""

    shards: int
    """the shards of this command: all of them, or its share"""
    kept: int
    """how many of them were there already"""


def fill(
    job: Job,
    place: Place,
    engine: Engine,
    progress: Callable[[int], None],
    *,
    part: tuple[int, int] | None,
    resume: bool,
) -> Filled:
    """Makes the shards of a job that its folder lacks.

    Args:
        job: what to make.
        place: the folder, which errors call as it was given.
        engine: makes the shards.
        progress: is called with the number of pictures whenever some were made or found.
        part: which share of the shards to make, as `parse_share` returns it; None for all of them.
        resume: whether the folder may have shards already. The shares of several commands always may.

    Raises:
        UsageError: the folder has another plan, has other files, or has shards and `resume` is false.
        OutputError: the folder can't be written, or lost something meanwhile.
    """
    shards = job.plan.share(part)
    is_new = place.prepare()
    began = _claim(place, job.plan, again=resume or part is not None)
    try:
        filled = _fill(job, place, engine, progress, shards)
    except BaseException:
        if began and part is None:  # other shares may be at work
            with contextlib.suppress(OSError, OutputError):
                _forget(place, is_new)
        raise
    _check_still_there(place, job.plan, shards)
    return filled


def _fill(
    job: Job, place: Place, engine: Engine, progress: Callable[[int], None], shards: Sequence[Shard]
) -> Filled:
    place.clean({MANIFEST, *(shard.sidecar for shard in shards), *(job.plan.file(shard) for shard in shards)})
    sizes = place.sizes()
    missing = [shard for shard in shards if not _is_kept(place, job.plan, shard, sizes)]
    progress(sum(shard.count for shard in shards) - sum(shard.count for shard in missing))
    engine(job, missing, progress)
    if job.plan.format == BY_CLASS:
        _list_pictures(place, job.plan)
    return Filled(len(shards), len(shards) - len(missing))


def _forget(place: Place, is_new: bool) -> None:
    """Removes the manifest if nothing was made after it, so that it does not refuse the corrected command."""
    if all(name == MANIFEST or (name[0] == "." and not name.endswith(".part")) for name in place.sizes()):
        place.remove(MANIFEST)
        if is_new:
            place.remove_if_empty()


def _check_still_there(place: Place, plan: Plan, shards: Sequence[Shard]) -> None:
    """Checks that nobody has removed the manifest or these shards meanwhile.

    Raises:
        OutputError: one of them is gone.
    """
    sizes = place.sizes()
    names = itertools.chain([MANIFEST], *((plan.file(shard), shard.sidecar) for shard in shards))
    lost = next((name for name in names if name not in sizes and not place.has(name)), None)  # lists may lag behind
    if lost is not None:
        raise OutputError(
            f"{place.name}: expected every file of this command at its end, but {lost} was removed meanwhile; repeat "
            "the command with --resume"
        )


def _list_pictures(place: Place, plan: Plan) -> None:
    """Writes the list of all pictures of a folder by class, if all shards are there, also those of other commands."""
    from .by_class import join_lists

    sizes = place.sizes()
    if all(is_complete(place, plan, shard, sizes) for shard in plan.shards()):
        join_lists(place, plan)


def _claim(place: Place, plan: Plan, *, again: bool) -> bool:
    """Writes the manifest of a new folder, or compares that of a folder which is there; returns whether it wrote it."""
    names = [name for name in place.sizes() if not name.startswith(".")]
    if MANIFEST not in names and names:
        raise UsageError(
            f"{place.name}: expected a new or empty folder, or one that this command began, got one with "
            f"{min(names)}; name another folder"
        )
    began = MANIFEST not in names and place.create(MANIFEST, plan.text().encode())
    if MANIFEST in names and not again:
        _compare(place, plan)
        raise UsageError(
            f"{place.name}: expected a new or empty folder, got one that the same command began; add --resume to make "
            "the shards that are missing, or name another folder"
        )
    _compare(place, plan)
    return began


def _compare(place: Place, plan: Plan) -> None:
    """Compares the plan of a folder with that of a command.

    Raises:
        UsageError: they differ; the message names the first difference.
    """
    try:
        found = read_plan(place)
    except InputError as error:
        raise UsageError(str(error)) from error
    difference = plan.difference(found)
    if difference is not None:
        raise UsageError(
            f"{place.name}: expected the options and the model that its {MANIFEST} names, got {difference}; "
            "repeat them, or name another folder"
        )


def read_plan(place: Place) -> Plan:
    """Reads the manifest of a bulk folder.

    Raises:
        InputError: there is none, or it is not that of a bulk folder.
    """
    where = f"{place.name.rstrip('/')}/{MANIFEST}"
    try:
        with place.read(MANIFEST) as file:
            return Plan.parse(file.read(), where)
    except OSError as error:
        raise InputError(f"{where}: expected the manifest of a bulk folder, found none") from error


def _is_kept(place: Place, plan: Plan, shard: Shard, sizes: Mapping[str, int]) -> bool:
    """Whether a shard need not be made again: it is complete, and the PNGs that it lists are there."""
    from .by_class import has_pngs

    return is_complete(place, plan, shard, sizes) and (plan.format != BY_CLASS or has_pngs(place, plan, shard))


def is_complete(place: Place, plan: Plan, shard: Shard, sizes: Mapping[str, int]) -> bool:
    """Whether a shard is there: its JSON file names its count and the size that its file has.

    The SHA-256 is not computed, which would take as long as reading everything; `vae-gen verify` does.
    """
    facts = read_sidecar(place, shard, sizes)
    return facts.get("count") == shard.count and facts.get("bytes") == sizes.get(plan.file(shard), -1)


def read_sidecar(place: Place, shard: Shard, names: Collection[str]) -> dict[str, Any]:
    """The JSON file of a shard; empty if there is none, or if it can't be read."""
    if shard.sidecar not in names:
        return {}
    try:
        with place.read(shard.sidecar) as file:
            found = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def model_facts(manifest: Manifest) -> dict[str, Any]:
    """The facts about a model that a plan records: name, shapes, classes, and the SHA-256 of its graphs and prior."""
    files = {graph.file: graph.sha256 for graph in manifest.graphs.values()}
    files |= {name: sha256 for name, (sha256, _) in manifest.other_files.items() if name == PRIOR_FILE}
    return {
        "name": manifest.name,
        "version": manifest.version,
        "image_shape": list(manifest.image.shape),
        "latent_dim": manifest.latent.dimensions,
        "class_names": list(manifest.class_names),
        "sha256": files,
    }


def versions(packages: Iterable[Any]) -> dict[str, str]:
    """The versions of vae-gen, ONNX Runtime and other packages, which the bytes of a shard may depend on."""
    import onnxruntime

    from vae_gen import __version__

    found = {"vae-gen": __version__, "onnxruntime": onnxruntime.__version__}
    return found | {package.__name__: package.__version__ for package in packages}
