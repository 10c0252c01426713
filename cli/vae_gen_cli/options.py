"""The options that commands share, and how their numbers are read; light, because `--help` needs all of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from vae_gen import UsageError

if TYPE_CHECKING:
    from vae_gen import VAE, Manifest
    from vae_gen.internal.choice import Choice

SEED_LIMIT = 2**63
"""Seeds and indices are below this (docs/seed-contract.md)."""


Word = TypeVar("Word", bound=StrEnum)


class Dtype(StrEnum):
    """What arrays hold: grey levels 0 to 255, or values in [0, 1]."""

    UINT8 = "uint8"
    FLOAT32 = "float32"


class Prior(StrEnum):
    """What latents are drawn from."""

    NORMAL = "normal"
    FITTED = "fitted"


class Invert(StrEnum):
    """Whether pictures that come in are made negative."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


class Method(StrEnum):
    """The way between two latents."""

    LINEAR = "linear"
    SPHERICAL = "spherical"


def whole_number(minimum: int, maximum: int | None = None, limit: str = "") -> Callable[[str | int], int]:
    """A reader of whole numbers in plain decimal digits, from `minimum` to `maximum` (written as `limit`)."""
    if maximum is None:
        expected = f"a whole number of at least {minimum}"
    else:
        expected = f"a whole number from {minimum} to {limit or maximum}"

    def read(text: str | int) -> int:
        # Twenty digits hold every number we take; int() would also accept underscores and other scripts' digits.
        plain = re.fullmatch(r"-?[0-9]{1,20}", str(text))
        if not plain or int(text) < minimum or (maximum is not None and int(text) > maximum):
            shown = str(text) if len(str(text)) <= 40 else f"{str(text)[:37]}..."
            raise typer.BadParameter(f"expected {expected}, got {shown}")
        return int(text)

    return read


def one_of(kind: type[Word]) -> Callable[[str], Word]:
    """A reader of one of a few words."""

    def read(text: str) -> Word:
        try:
            return kind(text)
        except ValueError:
            raise typer.BadParameter(f"expected {' or '.join(kind)}, got {text}") from None

    return read


def read_number(text: str | float) -> float:
    """A number; the model's own check says which ones make sense."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a number, got {text}") from None


read_seed = whole_number(0, SEED_LIMIT - 1, "2^63-1")
read_count = whole_number(1, SEED_LIMIT - 1, "2^63-1")

Model = Annotated[
    str | None,
    typer.Option("--model", metavar="DIR", help="A model folder or the name of a shipped model.", show_default=False),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", parser=whole_number(1, 1024), show_default=False,
        help="Cores for bulk work; by default one below 1024 pictures, all from there on.",
    ),
]
Provider = Annotated[
    str, typer.Option("--provider", metavar="NAME", help="ONNX Runtime's execution provider: cpu, cuda, coreml, …")
]
Json = Annotated[bool, typer.Option("--json", help="Print what was done as one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on standard error but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]  # the boundary reads it

Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", parser=read_seed, show_default=False, help="0 to 2^63-1."),
]
Start = Annotated[
    int, typer.Option("--start", metavar="N", parser=read_seed, help="Index within the seed, 0 to 2^63-1.")
]
PriorOption = Annotated[
    Prior | None,
    typer.Option(
        "--prior", metavar="normal|fitted", parser=one_of(Prior), show_default=False,
        help="What latents are drawn from: N(0, I), or the density of real images; by default the model's own choice.",
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        "--label", metavar="CLASS", show_default=False,
        help="One class only: its name in any case, or an unambiguous beginning. Implies the fitted prior.",
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature", metavar="X", parser=read_number,
        help="Multiplies the noise, 0 to 100: below 1 more typical pictures, above more varied ones.",
    ),
]
Detail = Annotated[
    bool | None,
    typer.Option(
        "--detail/--no-detail", show_default=False,
        help="Let the detail stage draw the picture, or show the decoder's mean of all it could be; by default the "
             "model's own choice.",
    ),
]
Scale = Annotated[
    int | None,
    typer.Option(
        "--scale", metavar="N", parser=whole_number(1, 64), show_default=False,
        help="Each pixel of a picture becomes N × N pixels.",
    ),
]
Columns = Annotated[
    int, typer.Option("--columns", metavar="N", parser=whole_number(1, 10_000), help="Pictures in a row of a grid.")
]
Steps = Annotated[int, typer.Option("--steps", metavar="N", parser=whole_number(2, 10_000), help="Pictures in a row.")]
Fps = Annotated[
    int, typer.Option("--fps", metavar="N", parser=whole_number(1, 50), help="Pictures a second of an animation.")
]
Animate = Annotated[bool, typer.Option("--animate", help="An animation also where the ending is .webp or .png.")]
InvertOption = Annotated[
    Invert,
    typer.Option(
        "--invert", metavar="auto|yes|no", parser=one_of(Invert),
        help="Make pictures negative; auto does so where their border is bright.",
    ),
]
DtypeOption = Annotated[
    Dtype, typer.Option("--dtype", metavar="uint8|float32", parser=one_of(Dtype), help="What arrays hold.")
]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Its ending says the format; - is standard output.")
]
Format = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", show_default=False, help="The format, where no ending says it."),
]
Show = Annotated[bool, typer.Option("--show", help="Preview the pictures in the terminal, on standard error.")]


def refuse_idle(context: typer.Context, option: str, needed: str) -> None:
    """Refuse an option that was given where it would do nothing.

    Args:
        context: the command's.
        option: with its dashes.
        needed: what it needs, for the error.

    Raises:
        UsageError: it was given.
    """
    source = context.get_parameter_source(option.removeprefix("--"))
    if source is not None and source.name == "COMMANDLINE":
        raise UsageError(f"expected {needed} for {option}, got none; leave {option} out")


@dataclass(frozen=True)
class DrawChoice:
    """What samples are to be drawn from, as it was asked for."""

    prior: Prior | None
    label: str | None
    temperature: float
    detail: bool | None = None

    def resolve_choice(self, manifest: Manifest) -> Choice:
        """What it means to this model.

        Raises:
            UsageError: an unknown or impossible choice.
        """
        from vae_gen.internal.choice import resolve_choice

        prior = None if self.prior is None else self.prior.value
        return resolve_choice(manifest, prior, self.label, self.temperature, self.detail)

    def refuse_without_seed(self) -> None:
        """Refuse choices that have no sample to apply to.

        Raises:
            UsageError: names the first of them.
        """
        given = {"--prior": self.prior, "--label": self.label, "--temperature": self.temperature}
        for option, value in given.items():
            if value not in (None, 1.0):
                raise UsageError(f"expected a --seed for {option} {value}, got none; name a seed or leave it out")


@dataclass(frozen=True)
class ModelChoice:
    """Which model runs, and how: the three options that every command has."""

    model: str | None
    threads: int | None
    provider: str

    def load(self, *graphs: str) -> VAE:
        """The model, with these graphs opened, so that their errors come before any work."""
        from vae_gen import VAE

        generator = VAE(self.model, threads=self.threads, provider=self.provider)
        generator.open(*graphs)
        return generator
