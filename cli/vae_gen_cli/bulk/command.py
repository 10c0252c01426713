"""What `sample` and `encode` have in common when they fill a bulk folder: their options, messages and JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vae_gen import UsageError

from .. import options
from ..output import ARRAYS, GRIDS, STANDARD_OUTPUT, Console, counted
from .plan import BY_CLASS, Plan, check_shard_size, parse_share

if TYPE_CHECKING:
    from vae_gen import VAE, Manifest
    from vae_gen.internal.choice import Choice

    from .run import Engine


@dataclass(frozen=True)
class Request:
    """The options of a command that fills a bulk folder, after they were checked."""

    address: str
    format: str
    part: tuple[int, int] | None
    """which share of how many shares to make; None for all shards"""
    shard_size: int
    resume: bool


def parse_request(
    context: typer.Context,
    address: str | None,
    format_name: str,
    shard: str | None,
    shard_size: int,
    resume: bool,
    idle: Sequence[str],
) -> Request:
    """Checks the options of a bulk folder.

    Args:
        context: the command's context, which knows what options were given.
        address: the value of --out.
        format_name: the value of --format, one of `options.SHARDED`.
        shard: the value of --shard.
        shard_size: the value of --shard-size.
        resume: whether --resume was given.
        idle: options of the command that have no effect on a bulk folder.

    Raises:
        UsageError: an option is missing, malformed, or has no effect.
    """
    for option in idle:
        options.refuse_idle(context, option, f"other formats than {format_name}")
    if address is None or address == STANDARD_OUTPUT:
        found = "none" if address is None else "standard output"
        raise UsageError(f"expected a folder for --format {format_name}, got {found}; name it with --out")
    if Path(address).suffix.lower().removeprefix(".") in (*GRIDS, *ARRAYS, "json"):
        raise UsageError(f"expected one format, got {address} and --format {format_name}; leave one out")
    if "://" in address and format_name == BY_CLASS:
        raise UsageError(
            f"expected a folder of this machine for --format {format_name}, got {address}; choose webdataset or "
            "parquet, because a store is slow with a file for each picture"
        )
    check_shard_size(shard_size)
    return Request(address, format_name, None if shard is None else parse_share(shard), shard_size, resume)


def choose_engine(
    context: typer.Context, name: str, address: str | None, workers: int | None, console: Console
) -> Engine:
    """The engine that --engine, --address and --workers ask for.

    Raises:
        UsageError: an option has no effect on this engine.
        UnavailableError: Ray is not installed, or there is no cluster at this address.
    """
    if name == "ray":
        from .ray_engine import RayEngine, find_cluster, import_ray

        options.refuse_idle(context, "--threads", "--engine local, because workers of Ray have one thread each")
        import_ray()
        return RayEngine(None if address is None else find_cluster(address), workers, console.message)
    from .local import run_local

    for option in ("--address", "--workers"):
        options.refuse_idle(context, option, "--engine ray")
    return run_local


def check_classes(request: Request, choice: Choice, manifest: Manifest) -> None:
    """Refuses folders by class for pictures that have no class.

    Raises:
        UsageError: the prior or the model has no classes.
    """
    if request.format != BY_CLASS or choice.has_labels(manifest):
        return
    if manifest.has_fitted_prior and manifest.class_names:
        raise UsageError(
            f"expected pictures with classes for --format {BY_CLASS}, got those of the normal prior, which have none; "
            "add --prior fitted"
        )
    raise UsageError(
        f"expected a model with classes for --format {BY_CLASS}, got {manifest.name}, which has none; "
        "for a plain folder of PNGs name an output that ends in /"
    )


def make_plan(
    request: Request, command: str, start: int, count: int, chosen: dict[str, Any], manifest: Manifest
) -> Plan:
    """The plan of a command.

    Args:
        request: the options of the bulk folder.
        command: sample or encode.
        start: the index of the first picture.
        count: the number of pictures.
        chosen: the command's other options, which the bytes depend on.
        manifest: the model.

    Raises:
        UsageError: there would be too many shards.
        UnavailableError: pyarrow is not installed.
    """
    import PIL

    from .parquet import import_pyarrow
    from .run import model_facts, versions

    writer = import_pyarrow() if request.format == "parquet" else PIL
    plan = Plan(
        command, request.format, start, count, request.shard_size, chosen, model_facts(manifest), versions([writer])
    )
    plan.check_number_of_shards()
    return plan


def run(
    request: Request, plan: Plan, vae: VAE, threads: int | None, provider: str, console: Console, engine: Engine,
    inputs: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Fills a bulk folder, and returns the facts about it that `--json` prints.

    Args:
        request: the options of the bulk folder.
        plan: what `make_plan` returned.
        vae: the model, in a folder.
        threads: the value of --threads.
        provider: the value of --provider.
        console: shows a progress bar, and how many shards were there already.
        engine: what `choose_engine` returned.
        inputs: the files and folders of `encode`.
    """
    from .place import open_place
    from .run import fill
    from .work import Job

    address = request.address if "://" in request.address else os.path.abspath(request.address)  # noqa: PTH100
    job = Job(plan, model_path(vae), address, threads, provider, tuple(inputs), os.getcwd())  # noqa: PTH109
    with console.progress(sum(shard.count for shard in job.plan.share(request.part))) as advance:
        filled = fill(job, open_place(request.address), engine, advance, part=request.part, resume=request.resume)
    if filled.kept:
        console.message(f"kept {filled.kept} of {counted(filled.shards, 'shard')}, made {filled.shards - filled.kept}")
    count = pictures_of(request, plan)
    facts = {"output": request.address, "format": request.format, "shards": filled.shards, "kept": filled.kept}
    facts |= {"count": count, "shape": [count, *plan.model["image_shape"]]}
    return facts if request.part is None else facts | {"shard": "{}/{}".format(*request.part)}


def pictures_of(request: Request, plan: Plan) -> int:
    """The number of pictures in all shards, or in the share that the command makes."""
    return sum(shard.count for shard in plan.share(request.part))


def part_made(request: Request, plan: Plan, what: str = "picture") -> str:
    """What a command has made, in words: `5000 pictures`, or `share 0/2: 3 of 5 shards, 2784 pictures`."""
    made = counted(pictures_of(request, plan), what)
    if request.part is None:
        return made
    share, shards = plan.share(request.part), plan.shards()
    return f"share {request.part[0]}/{request.part[1]}: {len(share)} of {counted(len(shards), 'shard')}, {made}"


def encode_in_bulk(
    request: Request, paths: Sequence[str], invert: str, trim: bool, vae: VAE, threads: int | None, provider: str,
    console: Console, engine: Engine,
) -> None:  # fmt: skip
    """Does the work of `encode` with --format parquet; its arguments are those of the command."""
    from .inputs import find_inputs

    inputs = find_inputs(tuple(paths), os.getcwd(), vae.manifest)  # noqa: PTH109
    chosen = {"inputs": inputs.checksum, "invert": invert, "trim": trim, "provider": provider}
    plan = make_plan(request, "encode", 0, inputs.count, chosen, vae.manifest)
    facts = run(request, plan, vae, threads, provider, console, engine, paths)
    del facts["shape"]
    console.message(f"{part_made(request, plan, 'latent')} → {request.address}")
    console.result("encode", vae.manifest, facts)


def model_path(vae: VAE) -> str:
    """The absolute path of a model's folder, for processes that may run elsewhere."""
    folder = vae._graphs.folder
    assert folder is not None  # the command line always loads a folder
    return os.path.abspath(folder.path)  # noqa: PTH100 - links are kept as they are
