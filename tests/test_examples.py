"""The examples of a kit: each one, in its own runtime, gives what golden.json promises."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import example_drivers
from browser import open_page, served
from cli_runner import Command
from example_drivers import Answer, Call, Driver, example_page, link_packages, read
from vae_gen import VAE

ROOT = Path(__file__).parents[1]
DRIVERS = [example_drivers.python, example_drivers.node, example_drivers.page]
LIMIT = 2**63

every_language = pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.__name__)


def call(name: str, *values: Any, **options: Any) -> Call:
    return {"name": name, "values": list(values), "options": options}


def golden_cases(golden: dict[str, Any], shape: tuple[int, ...]) -> Iterator[tuple[Call, Answer]]:
    """Calls and their expected answers, of which pictures may be only the first few."""

    def pictures(entry: dict[str, Any]) -> np.ndarray:
        levels = np.frombuffer(base64.b64decode(entry["base64"]), np.uint8)
        return levels.reshape(entry["count"], *shape)

    for case in golden["samples"]:
        seed, start, count = case["seed"], case["start"], case["count"]
        latents, images = case["latents"], pictures(case["images"])
        yield call("sample", count, seed=seed, start=start), {"latents": latents, "images": images}
        expected = {"latent": latents, "images": images}  # with the name in the graph
        yield call("run", "generator", seed=seed, start=start, count=count), expected
    for case in golden.get("latents", []):
        choices = {key: case[key] for key in ("seed", "start", "prior", "label", "temperature")}
        expected = {"latents": case["latents"], "labels": case["labels"]}
        expected |= {"noise": case["noise"]} if "noise" in case else {}
        yield call("draw", case["count"], **choices), expected
    encodings, decodings = golden["encodings"], golden["decodings"]
    images = pictures(encodings["images"]).astype(np.float32) / np.float32(255)
    yield call("encode", images.tolist()), {key: encodings[key] for key in ("mean", "log_variance")}
    yield call("decode", decodings["latents"], detail=False), {"images": pictures(decodings["images"])}
    if details := golden.get("details"):
        expected = {"images": pictures(details["images"])}
        yield call("decode", details["latents"], noise=details["noise"]), expected


@every_language
def test_it_gives_the_golden_values(driver: Driver, kit: Path) -> None:
    golden, image = read(kit, "golden.json"), read(kit, "manifest.json")["image"]
    cases = list(golden_cases(golden, (image["channels"], image["height"], image["width"])))
    tolerances = golden["tolerances"]
    allowed = {**tolerances, "images": tolerances["grey_levels"], "labels": 0}
    allowed |= dict.fromkeys(["latents", "noise"], tolerances["latent"])
    answers = driver(kit, "model", [question for question, _ in cases])
    assert len(answers) == len(cases)
    for (question, expected), answer in zip(cases, answers, strict=True):
        assert "error" not in answer, f"{question['name']}: {answer}"
        for name, values in expected.items():
            wanted = np.asarray(values, np.float64).ravel()
            found = np.array(answer[name], np.float64)
            found = found[: wanted.size] if name == "images" else found  # golden.json has the first pictures of a range
            assert found.shape == wanted.shape
            assert abs(found - wanted).max() <= allowed[name], (question["name"], name)


@every_language
def test_latents_and_a_decoder_make_what_the_generator_makes(driver: Driver, tiny_kit: Path) -> None:
    generated, sample, drawn = driver(tiny_kit, "model", [
        call("run", "generator", seed="7", start="100", count=65),
        call("sample", 65, seed="7", start="100"),
        call("draw", 65, seed="7", start="100", prior="normal"),
    ])
    assert drawn["labels"] == sample["labels"] == [-1] * 65
    assert drawn["latents"] == sample["latents"]
    np.testing.assert_allclose(drawn["latents"], generated["latent"], atol=1e-5, rtol=0)
    rows = np.reshape(drawn["latents"], (65, -1)).tolist()
    (decoded,) = driver(tiny_kit, "model", [call("decode", rows)])
    assert decoded["images"] == sample["images"]
    assert abs(np.subtract(decoded["images"], generated["images"])).max() <= 1


@every_language
def test_every_verb_has_the_models_own_default_of_detail(
    driver: Driver, detailed_model_folder: Path, tmp_path: Path
) -> None:
    Command(detailed_model_folder).succeed("kit", tmp_path / "kit")
    latents = np.linspace(-2, 2, 3 * 12).reshape(3, 12).tolist()
    noise = VAE(detailed_model_folder).detail_noise(1, 0)
    sample, plain, by_default, with_details, with_noise, mean = driver(tmp_path / "kit", "model", [
        call("sample", 3, seed=5),
        call("sample", 3, seed=5, detail=False),
        call("decode", latents),
        call("decode", latents, detail=True),
        call("decode", latents, noise=noise.tolist()),
        call("decode", latents, detail=False),
    ])
    assert by_default == with_details == with_noise  # the noise of picture 0 of seed 0
    assert by_default != mean
    assert sample["images"] != plain["images"]
    latents, noise = np.reshape(sample["latents"], (3, -1)).tolist(), np.reshape(sample["noise"], (3, -1)).tolist()
    again, means = driver(tmp_path / "kit", "model", [
        call("decode", latents, noise=noise), call("decode", latents, detail=False),
    ])
    assert again["images"] == sample["images"]
    assert means["images"] == plain["images"]


@every_language
def test_an_error_is_one_line_that_tells_what_was_expected(driver: Driver, kit: Path) -> None:
    manifest = read(kit, "manifest.json")
    width, image = manifest["latent"]["dimensions"], manifest["image"]
    grey = np.full((1, image["channels"], image["height"], image["width"]), 200.0)
    wrong = {
        "": [
            call("sample", 1, seed=str(LIMIT)),
            call("sample", 1, seed="-1"),
            call("sample", 1, seed="1.5"),
            call("sample", 1, seed=1.5),
            call("sample", 2, seed="1", start=str(LIMIT - 1)),
            call("sample", 0, seed="1"),
            call("draw", 1, seed="1", prior="other"),
            call("draw", 1, seed="1", label=99),
            call("draw", 1, seed="1", prior="normal", label=0),
            call("draw", 1, seed="1", temperature=-1),
            call("draw", 1, seed="1", label="hat"),
            call("draw", 1, seed="1", temperature="x"),
        ],
        "latent from -1": [call("decode", [[3e38] * width])],
        "latent of shape": [call("decode", [[0.0] * (width - 1)], detail=False), call("decode", [], detail=False)],
        "finite values in latent": [call("decode", [[float("inf")] * width])],
        "images with values in [0, 1]": [call("encode", grey.tolist())],
        "image of shape": [call("encode", (grey[..., :-1] / 255).tolist())],
        "a model with a graph called nothing": [call("run", "nothing")],
    }
    if "detail" not in manifest["graphs"]:
        wrong["a model with a"] = [call("sample", 1, seed="1", detail=True)]
    calls = [one for some in wrong.values() for one in some]
    expected = [beginning for beginning, some in wrong.items() for _ in some]
    answers = driver(kit, "model", calls)
    assert [sorted(answer) for answer in answers] == [["error"]] * len(calls), answers
    for beginning, answer in zip(expected, answers, strict=True):
        assert re.fullmatch(rf"expected {re.escape(beginning)}[^\n]*, got [^\n]+", answer["error"])


@every_language
def test_another_graph_than_the_manifests_is_refused(driver: Driver, tiny_kit: Path) -> None:
    path = tiny_kit / "model" / "decoder.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    drawn, decoded = driver(tiny_kit, "model", [call("draw", 1, seed="1"), call("decode", [[0.0] * 12])])
    assert "error" not in drawn
    expected = "expected the decoder.onnx that manifest.json describes, got another SHA-256; copy it again"
    assert decoded == {"error": expected}


@every_language
def test_a_folder_that_is_no_model_is_refused(driver: Driver, tiny_kit: Path) -> None:
    (answer,) = driver(tiny_kit, "nowhere", [call("sample", 1, seed="1")])
    expected = r"expected the file [^\n]*nowhere.manifest\.json, got (none|HTTP status 404); [^\n]*"
    assert re.fullmatch(expected, answer["error"])


@every_language
def test_a_manifest_of_a_later_schema_is_refused(driver: Driver, tiny_kit: Path) -> None:
    path = tiny_kit / "model" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"schema_version": 2}))
    (answer,) = driver(tiny_kit, "model", [call("sample", 1, seed="1")])
    assert re.fullmatch(r"expected a manifest\.json of schema version 1 in [^\n]*model/?, got 2", answer["error"])


def programs(kit: Path) -> Iterator[list[str]]:
    yield [sys.executable, "-I", str(kit / "python" / "example.py")]
    if example_drivers.missing_node("node") is None:
        link_packages(kit, "node")
        yield ["node", str(kit / "node" / "example.mjs")]


def test_the_programs_show_every_call(kit: Path) -> None:
    for program in programs(kit):
        done = subprocess.run(program, capture_output=True, text=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr
        found = re.findall(r"^(\w+): ", done.stdout, re.MULTILINE)
        assert found == ["sample", "decode", "encode"] + (["verify"] if program[0] == "node" else [])
        assert program[0] != "node" or done.stdout.endswith("verify: equal to the golden vectors\n")


def test_the_programs_end_an_error_with_one_line(tiny_kit: Path) -> None:
    for program in programs(tiny_kit):
        done = subprocess.run([*program, "nowhere"], capture_output=True, text=True, encoding="utf-8", check=False)
        assert done.returncode == 1
        name, file = Path(program[-1]).name, Path("nowhere", "manifest.json")
        assert done.stderr == f"{name}: expected the file {file}, got none; check the address of the model folder\n"


def test_the_programs_end_quietly_when_their_reader_has_stopped(tiny_kit: Path) -> None:
    for program in programs(tiny_kit):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b"")


def test_python_imports_numpy_and_onnxruntime_alone() -> None:
    tree = ast.parse((ROOT / "examples" / "python" / "example.py").read_text("utf-8"))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names == {"numpy", "onnxruntime"}


@pytest.mark.parametrize("language", ["node", "web"])
def test_packages_are_pinned_and_install_nothing_by_script(language: str) -> None:
    folder = ROOT / "examples" / language
    wanted = json.loads((folder / "package.json").read_bytes())["dependencies"]
    lock_text = (folder / "package-lock.json").read_text("utf-8")
    locked = json.loads(lock_text)["packages"]
    assert locked[""]["dependencies"] == wanted
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all("integrity" in package for name, package in locked.items() if name)
    assert "resolved" not in lock_text  # a download address is the business of the machine that installs
    assert "ignore-scripts=true" in (folder / ".npmrc").read_text("utf-8").splitlines()


def levels_shown(page: Any, place: str) -> list[list[int]]:
    """The grey levels of each canvas of a place, row by row."""
    found: list[list[int]] = page.eval_on_selector_all(f"{place} canvas", """(canvases) => canvases.map((canvas) =>
        Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data)
          .filter((_, at) => at % 4 === 0))""")
    return found


def test_the_page_shows_what_the_generator_makes(kit: Path) -> None:
    golden = read(kit, "golden.json")
    case = golden["samples"][-1]
    link_packages(kit, "web")
    with served(kit) as origin, open_page() as page:
        hosts, complaints = set(), []
        page.on("request", lambda request: hosts.add(request.url.partition("?")[0].rpartition(":")[0]))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{origin}/web/")
        page.wait_for_function("globalThis.vae")
        assert len(levels_shown(page, "#samples")) == 6
        for name in ("seed", "start", "count"):
            page.fill(f"[name={name}]", str(case[name]))
        page.click("form button")
        page.wait_for_function(f"document.querySelectorAll('#samples canvas').length === {case['count']}")
        expected = list(base64.b64decode(case["images"]["base64"]))
        shown = np.concatenate(levels_shown(page, "#samples"))[: len(expected)]
        assert abs(np.subtract(shown, expected)).max() <= golden["tolerances"]["grey_levels"]
        assert page.inner_text("#error") == ""
        assert {host for host in hosts if not host.startswith("data")} == {origin.rpartition(":")[0]}
        assert complaints == []


def test_the_page_offers_classes_and_a_temperature_where_the_model_has_them(tiny_kit: Path) -> None:
    with example_page(tiny_kit) as page:
        before = levels_shown(page, "#samples")
        page.select_option("[name=label]", label="other blob")
        page.fill("[name=temperature]", "0")
        page.fill("[name=count]", "2")
        page.click("form button")
        page.wait_for_function("document.querySelectorAll('#samples canvas').length === 2")
        assert levels_shown(page, "#samples") != before[:2]
        levels = page.evaluate("""async () => {
            return [...greyLevels((await vae.sample(2, { seed: 7, label: 1, temperature: 0 })).images)];
        }""")
        assert np.concatenate(levels_shown(page, "#samples")).tolist() == levels


def test_the_page_offers_no_choices_where_the_model_has_none(old_model_folder: Path, tmp_path: Path) -> None:
    Command(old_model_folder).succeed("kit", tmp_path / "kit")
    with example_page(tmp_path / "kit") as page:
        assert page.is_visible("[name=seed]")
        assert not page.is_visible("[name=label]")
        assert not page.is_visible("[name=temperature]")


def test_the_page_encodes_a_picture_and_says_when_it_cannot(tiny_kit: Path) -> None:
    Image.new("RGB", (50, 100), (10, 200, 30)).save("tall.png")
    Path("notes.txt").write_text("no picture")
    with example_page(tiny_kit) as page:
        page.set_input_files("#file", "notes.txt")
        page.wait_for_function("document.querySelector('#error').textContent")
        assert page.inner_text("#error") == "expected a picture that this browser can read, got notes.txt"
        page.set_input_files("#file", "tall.png")
        page.wait_for_selector("#reconstruction canvas >> nth=1")
        original, reconstruction = np.reshape(levels_shown(page, "#reconstruction"), (2, 28, 28))
        assert page.inner_text("#error") == ""
        assert set(original[:, 0]) == {0}
        assert set(original[:, 14]) == {124}  # 0.299·10 + 0.587·200 + 0.114·30
        expected = page.evaluate("""async (image) => {
            const { mean } = await vae.encode(image);
            return [...greyLevels(await vae.decode(mean))];
        }""", (original.ravel() / 255).tolist())
        assert abs(np.subtract(expected, reconstruction.ravel())).max() <= 1


def test_the_page_refuses_what_it_cannot_hash(tiny_kit: Path) -> None:
    with example_page(tiny_kit, host="plain.test") as page:  # no https:, and not this machine's own name
        assert page.evaluate("crypto.subtle === undefined")
        expected = "expected a page from https: or 127.0.0.1, where browsers can hash what they load; got plain http:"
        assert page.inner_text("#error") == expected
        assert levels_shown(page, "#samples") == []


def test_the_page_fetches_again_what_did_not_come(tiny_kit: Path) -> None:
    Image.new("L", (28, 28), 90).save("a.png")
    with example_page(tiny_kit) as page:
        page.route("**/encoder.onnx", lambda route: route.abort())
        page.set_input_files("#file", "a.png")
        page.wait_for_function("document.querySelector('#error').textContent")
        assert re.fullmatch(r"expected the file http://\S*/encoder.onnx, got no answer; .*", page.inner_text("#error"))
        page.unroute("**/encoder.onnx")
        page.set_input_files("#file", [])
        page.set_input_files("#file", "a.png")
        page.wait_for_selector("#reconstruction canvas >> nth=1")
        assert page.inner_text("#error") == ""


def test_the_page_says_when_its_library_is_missing(tiny_kit: Path) -> None:
    link_packages(tiny_kit, "web")
    with served(tiny_kit) as origin, open_page() as page:
        page.route("**/node_modules/**", lambda route: route.abort())
        page.goto(f"{origin}/web/")
        page.wait_for_function("document.querySelector('#error').textContent")
        expected = "expected onnxruntime-web in node_modules beside this page; run npm ci there ("
        assert page.inner_text("#error").startswith(expected)
