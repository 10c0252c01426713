"""A model folder on disk: found, checked for completeness, and read with its hashes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import ModelError
from .manifest import PRIOR_FILE, Manifest

if TYPE_CHECKING:
    from .prior import FittedPrior

DEFAULT_MODEL = "fashion-mnist-12d"


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose manifest is well formed and whose files are all there, with the sizes it names."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ModelFolder:
        """Read the manifest and look at every file it names; no graph is opened yet.

        Raises:
            ModelError: no such folder, no or a malformed manifest, a file that is missing or has another size.
        """
        folder = Path(path)
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing there"
            raise ModelError(f"expected a model folder at {folder}, found {found}; give a folder that vae-export wrote")
        manifest = Manifest.parse(_read(folder / "manifest.json"), str(folder / "manifest.json"))
        sizes = {graph.file: graph.bytes for graph in manifest.graphs.values()}
        sizes |= {name: size for name, (_, size) in manifest.other_files.items()}
        for name, size in sizes.items():
            try:
                found_size = (folder / name).stat().st_size
            except OSError as error:
                raise ModelError(
                    f"{folder / name}: expected a file of {size} bytes, found none ({error.strerror}); "
                    "copy or export the model folder again"
                ) from error
            if found_size != size:
                raise ModelError(
                    f"{folder / name}: expected {size} bytes, found {found_size}; copy or export the model folder again"
                )
        return cls(folder, manifest)

    def read_graph(self, name: str) -> bytes:
        """The bytes of one graph, whose SHA-256 is the manifest's.

        Raises:
            ModelError: the model has no such graph, or the file is not the one that the manifest describes.
        """
        graph = self.manifest.graphs.get(name)
        if graph is None:
            raise ModelError(f"{self.path}: expected a graph called {name}, found {', '.join(self.manifest.graphs)}")
        return self.read_checked(graph.file, graph.sha256)

    def read_prior(self) -> FittedPrior:
        """The tables of the fitted prior, whose SHA-256 is the manifest's.

        Raises:
            ModelError: the model has none, or the file is not the one that the manifest describes.
        """
        from .prior import FittedPrior  # with NumPy, which a folder alone does not need

        if PRIOR_FILE not in self.manifest.other_files:
            raise ModelError(f"{self.path}: expected a fitted prior, found no {PRIOR_FILE}; export the model again")
        sha256, _ = self.manifest.other_files[PRIOR_FILE]
        prior = FittedPrior.parse(self.read_checked(PRIOR_FILE, sha256), str(self.path / PRIOR_FILE))
        widths = (prior.dimensions, prior.classes)
        expected = (self.manifest.latent.dimensions, len(self.manifest.class_names))
        if widths != expected:
            raise ModelError(
                f"{self.path / PRIOR_FILE}: expected {expected[0]} dimensions and {expected[1]} classes, "
                f"found {widths[0]} and {widths[1]}; copy or export the model folder again"
            )
        return prior

    def read_checked(self, file: str, sha256: str) -> bytes:
        """The bytes of a file of this folder, whose SHA-256 must be `sha256`.

        Raises:
            ModelError: the file cannot be read or has other content.
        """
        content = _read(self.path / file)
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise ModelError(
                f"{self.path / file}: expected SHA-256 {sha256[:12]}…, found {found[:12]}…: "
                "the file was changed or swapped; copy or export the model folder again"
            )
        return content


def find_model(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a model: a path as it is, the name of a shipped model, or the default for None.

    Raises:
        ModelError: neither a folder nor a shipped model.
    """
    if name_or_path is None:
        return _shipped() / DEFAULT_MODEL
    path = Path(name_or_path)
    if path.is_dir():
        return path
    if str(name_or_path) in shipped_models():
        return _shipped() / name_or_path
    raise ModelError(
        f"expected a model folder or one of {', '.join(shipped_models()) or 'no shipped models'}, got {name_or_path}"
    )


def shipped_models() -> tuple[str, ...]:
    """The names of the models inside this installation."""
    return tuple(sorted(entry.parent.name for entry in _shipped().glob("*/manifest.json")))


def _shipped() -> Path:
    import vae_gen.artifacts  # its own package, so that it can lie in another place in a checkout

    return Path(vae_gen.artifacts.__path__[0])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: expected a readable file ({error.strerror}); copy or export the model folder again"
        ) from error
