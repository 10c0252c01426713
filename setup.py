"""Builds the page of the package for an index. pyproject.toml can't, because its links depend on the repository's URL.

    VAE_GEN_URL=https://github.com/NAME/vae-gen python -m build

shows the README there with its pictures, and links to the files of this version (the tag v0.1.0). Without VAE_GEN_URL
the page is docs/pypi.md, which links to nothing.
"""

import os
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
ADDRESS = os.environ.get("VAE_GEN_URL", "").rstrip("/")
LINK = re.compile(r"(!?)(\[[^\]]*\]\()(?!\w+:|#)([^)\s]+)")


def page() -> str:
    """The page of the package, in Markdown."""
    if not ADDRESS:
        return (ROOT / "docs" / "pypi.md").read_text("utf-8")
    source = (ROOT / "runtime" / "vae_gen" / "__init__.py").read_text("utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)[0]

    def absolute(link: re.Match[str]) -> str:
        return f"{link[1]}{link[2]}{ADDRESS}/{'raw' if link[1] else 'blob'}/v{version}/{link[3]}"

    return LINK.sub(absolute, (ROOT / "README.md").read_text("utf-8"))


setup(
    long_description=page(),
    long_description_content_type="text/markdown",
    project_urls={"Source": ADDRESS, "Changelog": f"{ADDRESS}/blob/main/CHANGELOG.md"} if ADDRESS else {},
)
