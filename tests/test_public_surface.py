"""What strangers may import from `vae_gen`, and what importing it costs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vae_gen
from vae_gen import UsageError, VaeGenError

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


MODULES = [
    *(module.name for module in pkgutil.walk_packages(vae_gen.__path__, "vae_gen.") if "artifacts" not in module.name),
    "vae_gen", "vae_train.config", "vae_gen_cli.interpolate", "vae_gen_cli.bench",
]  # fmt: skip


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_in_docstrings_are_true(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0


def test_public_functions_and_methods_have_an_example() -> None:
    functions = [getattr(vae_gen, name) for name in vae_gen.__all__]
    described = [function for function in functions if inspect.isfunction(function)]
    for owner in (vae_gen.VAE, vae_gen.Pictures):
        described += [member for name, member in inspect.getmembers(owner, callable) if name.isidentifier()
                      and not name.startswith("_") and name not in ("mean", "std", "min", "max", "reshape", "astype")]
    assert len(described) > 15
    assert [member.__qualname__ for member in described if ">>> " not in (inspect.getdoc(member) or "")] == []


def test_the_changelog_opens_with_the_version_of_the_package() -> None:
    import importlib.metadata
    import re

    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == importlib.metadata.version("vae-gen")


def test_errors_are_one_short_line_without_control_characters() -> None:
    text = str(UsageError("a\n b\x1b[2J\u202e" + "x" * 10_000))
    assert text.startswith("a  b?[2J?xx")
    assert 500 < len(text) <= 600
    assert text.isprintable()


def test_odd_arguments_end_in_errors_of_this_library() -> None:
    from vae_gen import VAE, picture_grid, standard_normals, to_grey_levels

    vae = VAE("fashion-mnist-12d-reference")
    one = np.zeros((1, 1, 28, 28), np.uint8)
    calls: list[Callable[[], object]] = [
        lambda: vae.sample(1, seed=0, temperature=10**400),
        lambda: vae.sample(1, seed=10**5000),
        lambda: vae.sample(10**5000, seed=0),
        lambda: vae.sample(1, seed=0, temperature=float("nan")),
        lambda: vae.traverse(steps=10**30),
        lambda: vae.traverse(span=10**400),
        lambda: vae.interpolate(np.zeros(12), np.ones(12), steps=10**30),
        lambda: vae.fitted_prior().draw_labels(1, 0, 2, "Bag"),  # type: ignore[arg-type]
        lambda: picture_grid([[1]]),  # type: ignore[arg-type]
        lambda: picture_grid(one, 1, 10**9),
        lambda: VAE.from_sessions("\0"),
        lambda: VAE(b"x"),  # type: ignore[arg-type]
        lambda: VAE("a" * 5000),
        lambda: VAE(provider=None).sample(1),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(VaeGenError) as caught:
            call()
        assert str(caught.value).isprintable()
    assert standard_normals(np.int8(3), np.int8(0), 1, 12).tolist() == standard_normals(3, 0, 1, 12).tolist()  # type: ignore[arg-type]
    assert to_grey_levels([0.5]).tolist() == [128]  # type: ignore[arg-type]
