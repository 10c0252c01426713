"""The steps that MkDocs lacks: it shows pages that lie outside docs/, the notebooks, and formulas without a network.

A page keeps the path that it has in the repository, without `docs/`. A link is written as GitHub resolves it, relative
to the file that it stands in; a linked file that is no page (an example, a picture) is published beside the pages.
"""

from __future__ import annotations

import base64
import html
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert as to_mathml
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ("examples/walkthrough.ipynb", "examples/lesson.ipynb")
DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)")
FORMULA = re.compile(r'(?<=class="arithmatex">)\\([(\[])(.*?)\\[)\]]', re.DOTALL)


class Doctests(griffe.Extension):
    """Shows the examples of docstrings as code. Markdown alone reads >>> as a quotation."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence each example of one docstring."""
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)


def on_files(files: Files, config: Any) -> Files:
    """Add the notebooks, the pages outside docs/ that the navigation names, and every file that a page links to."""
    for path in NOTEBOOKS:
        for name, content in notebook(path).items():
            files.append(File.generated(config, name, content=content))
    for path in named(config.nav):
        if path not in files.src_uris:
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for page in list(files.documentation_pages()):
        for link in LINK.findall(page.content_string):
            target = linked(page.src_uri, link)
            if (ROOT / target).is_file() and place(target) not in files.src_uris:
                files.append(File.generated(config, place(target), abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The page with links that fit the site."""
    folder = posixpath.dirname(page.file.src_uri) or "."

    def relative(match: re.Match[str]) -> str:
        target = place(linked(page.file.src_uri, match[0]))
        return posixpath.relpath(target, folder) if target in files.src_uris else match[0]

    return LINK.sub(relative, markdown)


def on_page_content(content: str, page: Any, config: Any, files: Files) -> str:
    """The page with its formulas as MathML, which browsers draw without a script, and with | in the code of tables."""
    content = FORMULA.sub(
        lambda match: to_mathml(html.unescape(match[2]), display="inline" if match[1] == "(" else "block"), content
    )
    # GitHub needs \\| for a bar inside a table's code; Python-Markdown leaves the backslash there.
    return re.sub("<td.*?</td>", lambda cell: cell[0].replace("\\|", "|"), content, flags=re.DOTALL)


def named(nav: Any) -> Iterator[str]:
    """The pages that a navigation names, as mkdocs.yml nests them."""
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from named(item)


def place(path: str) -> str:
    """The path on the site of a file of the repository."""
    return path.removeprefix("docs/").replace(".ipynb", ".md")


def linked(page: str, link: str) -> str:
    """The repository's path that a link means in a page of the site."""
    home = f"docs/{page}" if (ROOT / "docs" / page).is_file() else page
    return posixpath.normpath(posixpath.join(posixpath.dirname(home), link))


def notebook(path: str) -> dict[str, str | bytes]:
    """A notebook's page, with the outputs that it was committed with, and its pictures: contents by their paths."""
    parts: list[str] = []
    files: dict[str, str | bytes] = {}
    for cell in json.loads((ROOT / path).read_text("utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        outputs = cell.get("outputs", [])
        if printed := "".join("".join(output.get("text", "")) for output in outputs):
            parts.append(f"```text\n{printed.rstrip()}\n```")
        for output in outputs:
            if picture := output.get("data", {}).get("image/png"):
                name = f"{posixpath.basename(path).removesuffix('.ipynb')}-{len(files) + 1}.png"
                files[f"examples/{name}"] = base64.b64decode(picture)
                parts.append(f"![What the code above shows]({name})")
    return files | {place(path): "\n\n".join(parts)}
