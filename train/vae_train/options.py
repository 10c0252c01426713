"""Checks that the packages of the extra "train" are installed, before they are imported."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from importlib.metadata import distribution
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vae_gen import UnavailableError

PACKAGES = ("torch", "safetensors", "matplotlib", "rich")


def require_train_extra(*more: str) -> None:
    """Checks that the packages of the extra "train", and `more` packages, are installed, without importing them.

    Raises:
        UnavailableError: a package is missing; the message names the first one, and the command that installs it.
    """
    for package in (*PACKAGES, *more):
        if importlib.util.find_spec(package) is None:
            raise UnavailableError(
                f'expected the extra "train", found no {package}; install it with: {install_command("train")}'
            )


def install_command(extra: str) -> str:
    """The pip command that adds an extra to this installation of vae-gen.

    vae-gen need not be on a package index, so the command names the folder, wheel or address that vae-gen was installed
    from. pip records it in `direct_url.json` (PEP 610).
    """
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    recorded = distribution("vae-gen").read_text("direct_url.json")
    if recorded is None:
        return f'{pip} "vae-gen[{extra}]"'  # vae-gen came from a package index
    origin = json.loads(recorded)
    url, repository = origin["url"], origin.get("vcs_info")
    if repository:
        return f'{pip} "vae-gen[{extra}] @ {repository["vcs"]}+{url}@{repository["commit_id"]}"'
    if not url.startswith("file:"):
        return f'{pip} "vae-gen[{extra}] @ {url}"'
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return f'{pip} {editable}"{url2pathname(urlsplit(url).path)}[{extra}]"'
