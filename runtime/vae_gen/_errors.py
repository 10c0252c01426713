"""Everything that can go wrong, and the exit code that each command ends with.

    VaeGenError                  1   a bug of ours, or a subclass below
    ├── UsageError (ValueError)  2   an argument out of range, or two that contradict each other
    ├── UnavailableError         3   an extra or an execution provider that is not installed
    ├── ModelError               4   a model folder that is missing, broken, edited or does not verify
    ├── InputError (ValueError)  5   a file or an array that can't be used, a data set that fails its checksum
    ├── ExportMismatchError      6   exported graphs that do not agree with PyTorch
    ├── OutputError              7   an output that can't be written
    └── DivergedError            8   training whose loss is no longer finite

Every message is one line: what was expected, what came, what to do.
"""

from __future__ import annotations

from typing import ClassVar


class VaeGenError(Exception):
    """The root of all errors that this project raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(VaeGenError, ValueError):
    """An argument is out of its range, unknown, or contradicts another one."""

    exit_code = 2


class UnavailableError(VaeGenError):
    """An optional extra or an execution provider is not installed here."""

    exit_code = 3


class ModelError(VaeGenError):
    """A model folder is missing, incomplete, edited, or gives other values than it promises."""

    exit_code = 4


class InputError(VaeGenError, ValueError):
    """A picture, an array, latents or a data set that cannot be used as they are."""

    exit_code = 5


class ExportMismatchError(VaeGenError):
    """An exported graph differs from PyTorch by more than the tolerance; nothing was written."""

    exit_code = 6


class OutputError(VaeGenError):
    """A file that cannot be written: no such folder, no permission, disk full."""

    exit_code = 7


class DivergedError(VaeGenError):
    """Training reached a loss that is not finite."""

    exit_code = 8
