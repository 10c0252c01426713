"""Models of the Hugging Face Hub, which are named `hf:user/name` or `hf:user/name@revision`.

The package huggingface_hub finds and downloads them. It is an optional extra, and it is imported here alone, when
such a model is asked for.
"""

from __future__ import annotations

import re
from pathlib import Path

from .._errors import ModelError, UnavailableError
from .manifest import Manifest

NAME = re.compile(r"hf:([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?", re.ASCII)


def download(name: str) -> Path:
    """Returns the folder of a model on the Hub, after downloading what the local cache lacks.

    Only the files that manifest.json names are downloaded. Without a network, or with HF_HUB_OFFLINE=1, the cache has
    to have them.

    Raises:
        ModelError: the name is malformed, the Hub can't be reached, or it has no such model.
        UnavailableError: huggingface_hub is not installed.
    """
    matched = NAME.fullmatch(name)
    if matched is None:
        raise ModelError(f"expected hf:user/name or hf:user/name@revision, got {name}")
    repository, revision = matched.groups()
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise UnavailableError(
            f"expected the package huggingface_hub, which finds {name}, got none; install the extra hub: "
            'pip install "vae-gen[hub]", or pip install huggingface_hub'
        ) from error

    def fetch(file: str, revision: str | None) -> Path:
        try:
            return Path(hf_hub_download(repository, file, revision=revision))
        except Exception as error:  # of the network, of the disk, or one of the package's own, which share no base
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise ModelError(
                f"expected {file} of {name} on the Hugging Face Hub or in its local cache, got {reason}"
            ) from error

    document = fetch("manifest.json", revision)
    commit = document.parent.name  # a folder of the cache is named by its commit, so that all files belong together
    manifest = Manifest.parse(document.read_bytes(), f"{name}: manifest.json")
    for file in manifest.file_names:
        fetch(file, commit)
    return document.parent
