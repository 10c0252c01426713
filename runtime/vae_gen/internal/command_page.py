"""How a command parses its options and describes them: one-line errors, help in panels, and examples at the end.

`CommandPage` is mixed into Typer's class of a command, which each command line does itself, so that this library does
not import Typer. Typer's own help needs the package rich, which doubles the time of a start (0.20 s against 0.08 s).
"""

from __future__ import annotations

from typing import Any

from .._errors import UsageError

LAST_PANEL = "Messages and help"
"""The panel of the options that are in no other one."""


class CommandPage:
    """Refuses options given twice, answers bad values in one line, and shows options in panels, with examples.

    Mix it into Typer's class: `class Command(CommandPage, TyperCommand)`. The panel of an option is its
    `rich_help_panel`; the examples are the lines of the command's `epilog`.
    """

    params: list[Any]
    epilog: str | None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments into `ctx.params` and returns those left over.

        Raises:
            UsageError: an option is given twice, or a value is not one that the option takes.
        """
        typer_command: Any = self
        given, _, order = typer_command.make_parser(ctx).parse_args(list(args))
        if not ctx.resilient_parsing and not any(param.is_eager for param in order):
            for param in order:
                if order.count(param) > 1 and param.param_type_name == "option" and not param.multiple:
                    names = " or ".join((_name(param), *param.secondary_opts))
                    raise UsageError(f"expected {names} once, got it {order.count(param)} times; leave out all but one")
        try:
            left: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
            return left
        except Exception as error:  # Typer's BadParameter has the parameter that is wrong
            wrong: Any = getattr(error, "param", None)
            if wrong is None:
                raise
            name, value = _name(wrong), given.get(wrong.name)
            if type(error).__name__ == "MissingParameter":
                raise UsageError(f"expected {name}, got nothing; see {ctx.command_path} --help") from error
            if value is None:
                name, value = wrong.envvar, wrong.resolve_envvar_value(ctx)
            raise UsageError(f"expected {expected(wrong.type)} for {name}, got {_shown(value)}") from error

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command's name on the usage line."""
        return ["[OPTIONS]", *(str(param.metavar) for param in self.params if param.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the options of the help page, a section for each panel."""
        for panel, params in panels(self, ctx).items():
            with formatter.section(panel):
                formatter.write_dl([described(param) for param in params])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes the examples at the end of the help page."""
        write_examples(self.epilog, formatter)


def write_examples(lines: str | None, formatter: Any) -> None:
    """Writes the section of examples, whose lines are not wrapped."""
    with formatter.section("Examples"):
        formatter.write("".join(f"  {line}\n" for line in (lines or "").splitlines()))


def panels(command: Any, ctx: Any) -> dict[str, list[Any]]:
    """The parameters that the help page of a command shows, by panel, in the order in which the panels appear."""
    found: dict[str, list[Any]] = {}
    last: list[Any] = []
    for param in command.get_params(ctx):
        if not getattr(param, "hidden", False):
            panel = "Arguments" if param.param_type_name == "argument" else getattr(param, "rich_help_panel", None)
            (found.setdefault(panel, []) if panel else last).append(param)
    return found | {LAST_PANEL: last}


def described(param: Any) -> tuple[str, str]:
    """The names of a parameter with its placeholder, and its help with its default and environment variable."""
    value = param.metavar or "|".join(getattr(param.type, "choices", ()))
    if param.param_type_name == "argument":
        return value, param.help or ""
    names = ", ".join((*sorted(param.opts, key=len), *param.secondary_opts)) + (f" {value}" if value else "")
    facts = []
    if isinstance(param.show_default, str):
        facts.append(f"default: {param.show_default}")
    elif param.show_default and not param.is_flag and param.default is not None and not param.required:
        facts.append(f"default: {param.default}")
    elif param.required:
        facts.append("required")
    if param.envvar:
        facts.append(f"environment: {param.envvar}")
    return names, (param.help or "") + (f"  [{'; '.join(facts)}]" if facts else "")


def _name(param: Any) -> str:
    """The name of a parameter in an error: its long option, or the placeholder of an argument."""
    return str(param.metavar if param.param_type_name == "argument" else max(param.opts, key=len))


def expected(kind: Any) -> str:
    """What a parameter of this type takes, in words."""
    if hasattr(kind, "choices"):
        words = list(kind.choices)
        return " or ".join(words) if len(words) == 2 else f"one of {', '.join(words)}"
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if low is None:
        return "a number" if "float" in kind.name else "a whole number" if "int" in kind.name else "a text"
    if high is None:
        return f"a whole number of at least {low}"
    return f"a whole number from {low} to {'2^63-1' if high == 2**63 - 1 else high}"


def _shown(value: Any) -> str:
    """A value that was given, as one short line."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
