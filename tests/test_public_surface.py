"""What strangers may import from `vae_gen`, and what importing it costs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import vae_gen
from vae_gen import VaeGenError

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there_documented_and_listed() -> None:
    for name in vae_gen.__all__:
        assert inspect.getdoc(getattr(vae_gen, name)), name
    assert dir(vae_gen) == sorted(vae_gen.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'samples'"):
        _ = vae_gen.samples


def test_importing_the_library_loads_nothing_heavy() -> None:
    code = (
        "import sys, vae_gen; "
        "print([name for name in ('numpy', 'onnxruntime', 'PIL', 'typer', 'torch') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_each_error_has_the_exit_code_of_the_contract() -> None:
    codes = {error.__name__: error.exit_code for error in VaeGenError.__subclasses__()}
    assert codes == {
        "UsageError": 2, "UnavailableError": 3, "ModelError": 4, "InputError": 5,
        "ExportMismatchError": 6, "OutputError": 7, "DivergedError": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    "module",
    [
        "vae_gen", "vae_gen.internal.philox", "vae_gen.internal.prior", "vae_gen.internal.choice", "vae_gen._vae",
        "vae_train.config",
    ],
)
def test_the_examples_in_docstrings_are_true(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


def test_the_changelog_opens_with_the_version_of_the_package() -> None:
    import importlib.metadata
    import re

    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == importlib.metadata.version("vae-gen")
