"""The examples called from tests: a list of calls in Python, in Node.js and in a page, with answers of one form.

A call is {"name", "values", "options"}. Its answer has grey levels under `images` and numbers under the other names, or
one line under `error`.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from browser import open_page, served

Call = dict[str, Any]
Answer = dict[str, Any]

EXAMPLES = Path(__file__).parents[1] / "examples"

PYTHON_DRIVER = """
import json, sys
from pathlib import Path
import example
def answer(call):
    made = getattr(vae, call["name"])(*call["values"], **call["options"])
    made = made if isinstance(made, dict) else {"images": made}
    made["images"] = made.pop("image", made.get("images"))
    grey = {} if made["images"] is None else {"images": example.grey_levels(made["images"])}
    return {name: array.ravel().tolist() for name, array in (made | grey).items() if array is not None}
try:
    vae, answers = example.VAE(sys.argv[1]), []
except ValueError as error:
    sys.exit(print(json.dumps([{"error": str(error)}])))
for call in json.load(sys.stdin):
    try:
        answers.append(answer(call))
    except ValueError as error:
        answers.append({"error": str(error)})
strangers = {name.partition(".")[0] for name in sys.modules} & {"vae_gen", "vae_gen_cli", "torch", "onnx", "PIL"}
assert not strangers, strangers
print(json.dumps(answers))
"""

ANSWER_IN_JAVASCRIPT = """
async (vae, greyLevels, calls) => {
  const answers = [];
  for (const { name, values, options } of calls) {
    try {
      const inputs = (given) => Object.fromEntries(Object.entries(given).map(([key, value]) => [key, [value].flat()]));
      const made = await vae[name](...values, name === "run" ? inputs(options) : options);
      const { image, logVariance, seed, start, ...other } = ArrayBuffer.isView(made) ? { images: made } : made;
      const images = image ?? other.images;
      const all = { ...other, log_variance: logVariance, images: images && greyLevels(images) };
      const found = Object.entries(all).filter(([, data]) => data);
      answers.push(Object.fromEntries(found.map(([key, data]) => [key, Array.from(data, Number)])));
    } catch (error) {
      answers.push({ error: error.message });
    }
  }
  return answers;
}
"""

NODE_DRIVER = f"""
import {{ readFileSync }} from "node:fs";
import {{ createRequire }} from "node:module";
import {{ pathToFileURL }} from "node:url";
const ort = createRequire(process.argv[2])("onnxruntime-node");
const {{ VAE, greyLevels }} = await import(new URL("../vae.mjs", pathToFileURL(process.argv[2])));
const answer = {ANSWER_IN_JAVASCRIPT};
try {{
  const vae = await VAE.load(process.argv[3], {{ ort }});
  console.log(JSON.stringify(await answer(vae, greyLevels, JSON.parse(readFileSync(0, "utf8")))));
}} catch (error) {{
  console.log(JSON.stringify([{{ error: error.message }}]));
}}
"""


class Driver(Protocol):
    """Runs an example of a kit."""

    def __call__(self, kit: Path, model: str, calls: list[Call]) -> list[Answer]:
        """The answers of the model folder of that name in the kit; a single error where it cannot be loaded."""


def python(kit: Path, model: str, calls: list[Call]) -> list[Answer]:
    """By this interpreter, isolated: neither its environment nor the current folder adds to what can be imported."""
    code = f"import sys; sys.path.insert(0, {str(kit / 'python')!r})\n{PYTHON_DRIVER}"
    return _run([sys.executable, "-I", "-c", code, str(kit / model)], calls)


def node(kit: Path, model: str, calls: list[Call]) -> list[Answer]:
    """By Node."""
    link_packages(kit, "node")
    example = str(kit / "node" / "example.mjs")
    return _run(["node", "--input-type=module", "-e", NODE_DRIVER, "driver", example, str(kit / model)], calls)


def page(kit: Path, model: str, calls: list[Call]) -> list[Answer]:
    """By Chromium, through what the page gives to its console."""
    with example_page(kit, model) as opened:
        if not opened.evaluate("Boolean(globalThis.vae)"):
            return [{"error": opened.inner_text("#error")}]
        script = f"(calls) => ({ANSWER_IN_JAVASCRIPT})(vae, greyLevels, calls)"
        answers: list[Answer] = opened.evaluate(script, calls)
        return answers


@contextmanager
def example_page(kit: Path, model: str = "model", host: str = "127.0.0.1") -> Iterator[Any]:
    """The page of a kit, loaded as far as it can be; a Playwright page."""
    link_packages(kit, "web")
    with served(kit) as origin, open_page() as opened:
        opened.goto(f"{origin.replace('127.0.0.1', host)}/web/?model=../{model}/")
        opened.wait_for_function("globalThis.vae || document.querySelector('#error').textContent")
        yield opened


def read(kit: Path, name: str) -> dict[str, Any]:
    """A JSON file of the kit's model folder."""
    document: dict[str, Any] = json.loads((kit / "model" / name).read_bytes())
    return document


def link_packages(kit: Path, language: str) -> None:
    """Give the kit the npm packages that are installed in the checkout; skip or fail where there are none."""
    require_node(language)
    if not (kit / language / "node_modules").exists():
        (kit / language / "node_modules").symlink_to(EXAMPLES / language / "node_modules")


def require_node(language: str) -> None:
    """Skip the test where an example's packages are missing, or fail it where VAE_GEN_REQUIRE_NODE is 1."""
    if (reason := missing_node(language)) is None:
        return
    if os.environ.get("VAE_GEN_REQUIRE_NODE") == "1":
        pytest.fail(f"VAE_GEN_REQUIRE_NODE is set: {reason}", pytrace=False)
    pytest.skip(reason)


@functools.cache
def missing_node(language: str) -> str | None:
    """What an example lacks, or None where all is there."""
    if language == "node" and shutil.which("node") is None:
        return "Node.js is not installed"
    if not (EXAMPLES / language / "node_modules").is_dir():
        return f"the packages of examples/{language} are not installed: run npm ci there"
    return None


def _run(command: list[str], calls: list[Call]) -> list[Answer]:
    # JSON has no infinity, but every reader makes one of this number.
    text = json.dumps(calls).replace("Infinity", "1e999")
    done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    answers: list[Answer] = json.loads(done.stdout)
    return answers
