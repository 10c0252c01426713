"""The errors that this project raises on purpose, and the exit code of a command that ends with each.

    VaeGenError                  1   the common base; as an exit code, an error that the program did not expect
    ├── UsageError (ValueError)  2   an argument is out of its range, or two arguments contradict each other
    ├── UnavailableError         3   an extra, an execution provider or a device is not available
    ├── ModelError               4   a model is missing, broken, edited or not the one that is needed, or fails a check
    ├── InputError (ValueError)  5   a file or an array can't be used, or a data set fails its checksum
    ├── ExportMismatchError      6   exported graphs differ from PyTorch
    ├── OutputError              7   an output can't be written
    └── DivergedError            8   the loss of a training is no longer finite

Every message is one line: what was expected, what was found, and often what to do.
"""

from __future__ import annotations

import reprlib
from typing import ClassVar

LONGEST_LINE = 600
"""The longest message in characters; of a longer one the middle is left out."""


def one_line(text: str) -> str:
    """The text as one line of at most `LONGEST_LINE` characters, for a terminal.

    Names and contents of files may come from a stranger, so question marks replace control characters, with which a
    text could move the cursor, change the window's title or reverse the direction of writing.

    >>> one_line(f"a{chr(10)}b {chr(27)}[2J")
    'a b ?[2J'
    """
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE - 200]} … {text[-197:]}"
    return printable_text(text)


def shown(value: object) -> str:
    """A value that a caller passed as a short text, for an error; also if the value can't describe itself.

    >>> shown("boot"), shown([0.5] * 100), shown(10**400)
    ("'boot'", '[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...]', 'a number of more than 30 digits')
    """
    if isinstance(value, int) and abs(value) >= 10**30:  # Python refuses to write thousands of digits
        return "a number of more than 30 digits"
    try:
        return one_line(reprlib.repr(value))
    except Exception:
        return f"a value of type {type(value).__name__}"


def printable_text(text: str) -> str:
    """The text with spaces in place of line breaks, and question marks in place of other control characters."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in text)


class VaeGenError(Exception):
    """The base class of all errors that this project raises on purpose."""

    exit_code: ClassVar[int] = 1
    """the exit code of a command that ends with this error"""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class UsageError(VaeGenError, ValueError):
    """An argument is unknown or out of its range, or contradicts another argument."""

    exit_code = 2


class UnavailableError(VaeGenError):
    """An optional extra is not installed, or this machine does not have the device or a right execution provider."""

    exit_code = 3


class ModelError(VaeGenError):
    """A model is missing, broken, edited or not the one that is needed, or computes other values than it should."""

    exit_code = 4


class InputError(VaeGenError, ValueError):
    """A picture, an array, latents or a data set can't be used as they are."""

    exit_code = 5


class ExportMismatchError(VaeGenError):
    """An exported graph differs from PyTorch by more than the tolerance; nothing was written."""

    exit_code = 6


class OutputError(VaeGenError):
    """A file can't be written, because there is no such folder, no permission or no space."""

    exit_code = 7


class DivergedError(VaeGenError):
    """The loss of a training is no longer a finite number."""

    exit_code = 8
