"""The options that commands share, and the class of all commands.

This module is imported for every `vae-gen --help`, so it imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from vae_gen import ModelError, UsageError
from vae_gen.internal.command import CommandPage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vae_gen import VAE, Manifest
    from vae_gen.internal.choice import Choice

LARGEST_SEED = 2**63 - 1
"""The largest seed, and the largest index within a seed (docs/seed-contract.md)."""

MAKE, OUTPUT, BULK, MODEL = "What to make", "Output", "Folders of shards", "Model"
"""The panels of a help page. Options without a panel are in one more, which is the last."""


class Command(CommandPage, TyperCommand):
    """A command with one-line errors, and a help page in panels with examples."""


def complete_model() -> list[str]:
    """The names of the shipped and the installed models, for shell completion."""
    from vae_gen.internal.model import model_names

    return list(model_names())


def complete_label(ctx: typer.Context) -> list[str]:
    """Words that each name one class of the chosen model, for shell completion."""
    from vae_gen import ModelFolder, VaeGenError, find_model

    model = ctx.params.get("model")
    if model is not None and model.startswith("hf:"):
        return []  # to ask the Hub would take seconds
    try:
        names = ModelFolder.open(find_model(model)).manifest.class_names
    except VaeGenError:
        return []
    words = [word for name in names for word in name.lower().split()]
    whole = {name.lower() for name in names}
    return [word for word in dict.fromkeys(words) if words.count(word) == 1 or word in whole]


def complete_direction(ctx: typer.Context) -> list[str]:
    """The names of the directions of the chosen model, for shell completion."""
    from vae_gen import ModelFolder, VaeGenError, find_model

    model = ctx.params.get("model")
    if model is not None and model.startswith("hf:"):
        return []  # to ask the Hub would take seconds
    try:
        found = ModelFolder.open(find_model(model)).read_directions()
    except VaeGenError:
        return []
    return [] if found is None else [direction.name for direction in found.directions]


def complete_provider() -> list[str]:
    """The short names of ONNX Runtime's execution providers, for shell completion."""
    from vae_gen.internal.model import PROVIDERS

    return list(PROVIDERS)


def _find_model(context: typer.Context, value: str | None) -> str | None:
    """Checks that there is such a model, so that the error can name the environment variable that chose it."""
    source = context.get_parameter_source("model")
    if value is not None and source is not None and source.name == "ENVIRONMENT":
        from vae_gen import find_model

        try:
            find_model(value)
        except ModelError as error:
            raise ModelError(f"VAE_GEN_MODEL: {error}") from error
    return value


Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME|DIR", envvar="VAE_GEN_MODEL", rich_help_panel=MODEL, callback=_find_model,
        autocompletion=complete_model, show_default="fashion-mnist-12d",
        help="The name of a model that `vae-gen models` lists, a model folder, or hf:user/name "
             "(Hugging Face Hub).",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", min=1, max=1024, envvar="VAE_GEN_THREADS", rich_help_panel=MODEL,
        show_default="1 below 1024 pictures, else all", help="The number of CPU cores to use.",
    ),
]
Provider = Annotated[
    str,
    typer.Option(
        "--provider", metavar="NAME", rich_help_panel=MODEL, autocompletion=complete_provider,
        help="The execution provider of ONNX Runtime: cpu, cuda, coreml, directml, openvino, tensorrt, or its full "
             "name.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print a description of the result as JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors on standard error.")]
Debug = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")]  # run_command reads it

Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", min=0, max=LARGEST_SEED, rich_help_panel=MAKE, show_default="a random one, printed",
        help="The seed, from 0 to 2^63-1.",
    ),
]
Start = Annotated[
    int,
    typer.Option(
        "--start", metavar="N", min=0, max=LARGEST_SEED, rich_help_panel=MAKE,
        help="The index of the (first) picture within the seed.",
    ),
]
Prior = Annotated[
    Literal["normal", "fitted"] | None,
    typer.Option(
        "--prior", rich_help_panel=MAKE, show_default="the model's choice; `vae-gen info` shows it",
        help="The distribution that latents are drawn from: N(0, I), or one fitted to the latents of real images.",
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        "--label", metavar="CLASS", rich_help_panel=MAKE, show_default="any class", autocompletion=complete_label,
        help="Make pictures of one class only: its name, or a word or beginning that fits no other class. "
             "This implies --prior fitted.",
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature", metavar="X", rich_help_panel=MAKE,
        help="The factor of the latents' noise, from 0 to 100: smaller values make more typical pictures, larger "
             "values more varied ones.",
    ),
]
Detail = Annotated[
    bool | None,
    typer.Option(
        "--detail/--no-detail", rich_help_panel=MAKE, show_default="the model's choice; `vae-gen info` shows it",
        help="Add details with the detail stage, or show the decoder's mean pictures.",
    ),
]
Anyway = Annotated[
    bool,
    typer.Option(
        "--anyway", rich_help_panel=MAKE,
        help="Use this model even if another one made the file; the pictures may then differ.",
    ),
]
Scale = Annotated[
    int | None,
    typer.Option(
        "--scale", metavar="N", min=1, max=64, rich_help_panel=OUTPUT, show_default="4 in a grid, 1 in a folder",
        help="Enlarge each pixel to N × N pixels.",
    ),
]
SheetScale = Annotated[
    int,
    typer.Option(
        "--scale", metavar="N", min=1, max=64, rich_help_panel=OUTPUT, help="Enlarge each pixel to N × N pixels.",
    ),
]
PathScale = Annotated[
    int | None,
    typer.Option(
        "--scale", metavar="N", min=1, max=64, rich_help_panel=OUTPUT,
        show_default="3 in a sheet; in an animation as much as makes it 280 pixels high",
        help="Enlarge each pixel to N × N pixels.",
    ),
]
Columns = Annotated[
    int,
    typer.Option(
        "--columns", metavar="N", min=1, max=10_000, rich_help_panel=OUTPUT, help="The number of pictures in a row.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", metavar="N", min=2, max=10_000, rich_help_panel=MAKE, show_default="11, in an animation 45",
        help="The number of pictures in a row, or of different frames.",
    ),
]
Fade = Annotated[
    bool,
    typer.Option(
        "--fade/--no-fade", rich_help_panel=MAKE,
        help="Fade details to the mean picture where a picture is torn between two: where the encoder does not find "
             "its latent again.",
    ),
]
Animate = Annotated[
    bool,
    typer.Option(
        "--animate", rich_help_panel=OUTPUT,
        help="Write an animation to .webp or .png. A .gif, .apng, .mp4 or .webm always is one.",
    ),
]
Fps = Annotated[
    int,
    typer.Option(
        "--fps", metavar="N", min=1, max=50, rich_help_panel=OUTPUT, help="The frames per second of an animation.",
    ),
]
Values = Annotated[
    bool,
    typer.Option(
        "--values/--no-values", rich_help_panel=OUTPUT,
        help="Write the current values into the frames of an animation.",
    ),
]
Invert = Annotated[
    Literal["auto", "yes", "no"],
    typer.Option(
        "--invert", rich_help_panel=MAKE,
        help="Invert the pictures that are read. With auto this is done to objects that are darker than their "
             "ground, and to pictures with a bright border.",
    ),
]
Trim = Annotated[
    bool,
    typer.Option(
        "--trim/--no-trim", rich_help_panel=MAKE,
        help="Find the object in a picture with a plain ground, and place it as the training pictures have theirs.",
    ),
]
Dtype = Annotated[
    Literal["uint8", "float32"],
    typer.Option(
        "--dtype", rich_help_panel=OUTPUT,
        help="The type of array elements: grey levels 0 to 255, or numbers from 0 to 1.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", rich_help_panel=OUTPUT,
        help="Continue an array or a folder that a killed command with the same options has left unfinished, and keep "
             "what is made if this command is stopped.",
    ),
]
SampleFormat = Literal["png", "webp", "npy", "npz", "parquet", "webdataset", "folder-by-class"]
SHARDED = ("parquet", "webdataset", "folder-by-class")
"""The values of --format that make a folder of shards."""
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", rich_help_panel=BULK, show_default="all shards",
        help="Make share I of N of a folder of shards, from 0/N to N-1/N. Several commands may fill one folder at the "
             "same time; their other options must be equal.",
    ),
]
ShardSize = Annotated[
    int,
    typer.Option(
        "--shard-size", metavar="N", min=32, max=2**31 - 32, rich_help_panel=BULK,
        help="The number of pictures in a shard, a multiple of 32.",
    ),
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(
        "--engine", rich_help_panel=BULK,
        help="What makes the shards: this process, or workers of Ray, on this machine or on a cluster.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="ADDRESS", rich_help_panel=BULK, show_default="start Ray on this machine",
        help="The running cluster for --engine ray: auto, HOST:PORT or ray://HOST:PORT.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, max=100_000, rich_help_panel=BULK, show_default="one for each processor",
        help="The most shards that --engine ray makes at the same time, each on one thread.",
    ),
]
ResumeShards = Annotated[
    bool,
    typer.Option(
        "--resume", rich_help_panel=BULK,
        help="With --format parquet, continue a folder that the same command began: make the shards that are missing.",
    ),
]
Show = Annotated[
    bool, typer.Option("--show", rich_help_panel=OUTPUT, help="Also preview the pictures in the terminal.")
]


SAMPLES = (
    "a grid (.png, .webp), a folder of PNGs (/), an array (.npy, .npz), a folder of shards (--format parquet, "
    "webdataset or folder-by-class)"
)
PICTURES = "a grid (.png, .webp), a folder of PNGs (/), an array (.npy, .npz)"
LATENTS = "an archive (.npz), JSON (.json), a folder of shards (--format parquet)"
SHEETS = "a sheet (.png, .webp), an animation (.gif, .apng), a video (.mp4, .webm)"


def output(default: str, formats: str, *names: str) -> Any:
    """Returns the option `-o`.

    Args:
        default: the name of the file that is written without `-o`.
        formats: the endings that the command can write, for the help page.
        names: other names of the option.
    """
    return typer.Option(
        "--output", "-o", *names, metavar="FILE", rich_help_panel=OUTPUT, show_default=default,
        help=f"Where to write: {formats}, or - for standard output.",
    )


FORMAT = typer.Option(
    "--format", rich_help_panel=OUTPUT, show_default=False,
    help="The format, for an output whose name does not end in one.",
)

Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...", help="Pictures of any size and mode, or .npy arrays of pictures; - is standard input."
    ),
]


def refuse_idle(context: typer.Context, option: str, applies_to: str) -> None:
    """Refuses an option that was given on the command line but has no effect there.

    Raises:
        UsageError: the option was given; the message names what it applies to.
    """
    source = context.get_parameter_source(option.removeprefix("--").replace("-", "_"))
    if source is not None and source.name == "COMMANDLINE":
        raise UsageError(f"{option} only applies to {applies_to}; leave it out")


def refuse_idle_shard_options(context: typer.Context, *others: str) -> None:
    """Refuses options of folders of shards, and others that the command has only for them, for another format.

    Raises:
        UsageError: such an option was given.
    """
    for option in ("--shard", "--shard-size", "--engine", "--address", "--workers", *others):
        refuse_idle(context, option, "folders of shards, such as --format parquet")


def load(model: str | None, threads: int | None, provider: str, *graphs: str) -> VAE:
    """Loads the model, and opens these graphs, so that their errors come before any work.

    Raises:
        ModelError: there is no such model, or it is damaged.
        UnavailableError: the execution provider is not installed.
    """
    from vae_gen._vae import VAE

    vae = VAE(model, threads=threads, provider=provider)
    import_onnxruntime()
    vae.open(*graphs)
    return vae


def import_onnxruntime() -> None:
    """Imports ONNX Runtime, whose versions before 1.29 may print a warning in colour while they are imported.

    The warning is about graphics cards, nobody can turn it off, and it goes around `sys.stderr`.
    """
    with no_standard_error():
        import onnxruntime  # noqa: F401


@contextlib.contextmanager
def no_standard_error() -> Iterator[None]:
    """Drops what libraries write to standard error past Python in the block."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - pathlib is not imported here
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def unusual(choice: Choice, manifest: Manifest) -> str:
    """The parts of a choice that are not the model's defaults, for a message: `, fitted prior, Bag`."""
    usual = "fitted" if choice.label is not None else manifest.latent.default_prior
    words = [] if choice.prior == usual else [f"{choice.prior} prior"]
    words += [] if choice.label is None else [manifest.class_names[choice.label]]
    words += [] if choice.temperature == 1 else [f"temperature {choice.temperature:g}"]
    if choice.detail != manifest.details_by_default:
        words.append("with details" if choice.detail else "no details")
    return "".join(f", {word}" for word in words)
