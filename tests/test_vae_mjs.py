"""`vae.mjs` by itself, in Node.js: what it returns, what it refuses, and what it reads."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

import example_drivers
from tiny_model import write_tiny_model
from vae_gen import VAE, ImageSpec, find_model, to_grey_levels
from vae_gen.internal.fitting import fit_pictures
from vae_gen.internal.manifest import Preparation

VAE_MJS = example_drivers.EXAMPLES / "vae.mjs"

PRELUDE = """
import fs from "node:fs/promises";
import { createRequire } from "node:module";
const ort = createRequire(process.argv[2])("onnxruntime-node");
const { VAE, greyLevels, rows, randomSeed } = await import(process.argv[3]);
const folder = process.argv[4];
const failure = (promise) => promise.then(() => "no error", ({ message }) => message);
const plain = (_, value) => (ArrayBuffer.isView(value) ? Array.from(value, Number) : value);
const show = (value) => console.log(JSON.stringify(value, plain));
"""


def in_node(folder: Path, script: str) -> Any:
    """What a script in Node.js shows; `folder` is a model folder there."""
    example_drivers.require_node("node")
    paths = [str(example_drivers.EXAMPLES / "node" / "example.mjs"), VAE_MJS.as_uri(), str(folder)]
    command = ["node", "--input-type=module", "-e", PRELUDE + script, "script", *paths]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def spoilt(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may change."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "spoilt"))


def test_it_names_sizes_and_classes(detailed_model_folder: Path) -> None:
    found = in_node(detailed_model_folder, """
        const vae = await VAE.load(folder, { ort });
        show([vae.latentDim, vae.imageShape, vae.classNames, vae.resolve()]);
    """)
    manifest = VAE(detailed_model_folder).manifest
    defaults = {"prior": "fitted", "label": -1, "temperature": 1, "detail": True}
    shape, names = list(manifest.image.shape), list(manifest.class_names)
    assert found == [manifest.latent.dimensions, shape, names, defaults]


def test_a_sample_is_what_the_library_makes(detailed_model_folder: Path) -> None:
    found = in_node(detailed_model_folder, """
        const vae = await VAE.load(folder, { ort });
        const samples = await vae.sample(3, { seed: 2n ** 63n - 1n, start: 7, label: "Other Blob", temperature: 0.5 });
        show({ ...samples, images: greyLevels(samples.images) });
    """)
    expected = VAE(detailed_model_folder).sample(3, 2**63 - 1, 7, label="other blob", temperature=0.5)
    assert (found["seed"], found["start"]) == (str(2**63 - 1), "7")
    assert found["labels"] == expected.labels.tolist() == [1, 1, 1]
    np.testing.assert_allclose(found["latents"], expected.latents.ravel(), atol=1e-5)
    assert np.abs(np.subtract(found["images"], expected.grey_levels().ravel(), dtype=int)).max() <= 1


def test_a_label_implies_the_fitted_prior(tiny_model_folder: Path) -> None:
    found = in_node(tiny_model_folder, """
        const vae = await VAE.load(folder, { ort });
        show([vae.resolve().prior, vae.resolve({ label: "blob" }).prior, vae.resolve({ label: 1 }).prior]);
    """)
    assert found == ["normal", "fitted", "fitted"]


def test_a_class_is_found_by_its_index_its_name_and_words_of_its_name() -> None:
    found = in_node(find_model(), """
        const vae = await VAE.load(folder, { ort });
        const labels = [3, "shirt", "SNEAKER", "boot", "ankle-boot", "T-shirt", "top",
                        "tops", "Shirts", "boots", "dresses", -1, null, undefined];
        show([labels.map((label) => vae.resolve({ label }).label), vae.resolve({ label: "Bag" }).prior]);
    """)
    assert found == [[3, 6, 7, 9, 9, 0, 0, 0, 6, 9, 3, -1, -1, -1], "fitted"]


def test_a_word_of_two_classes_names_none(spoilt: Path) -> None:
    manifest = json.loads((spoilt / "manifest.json").read_bytes())
    (spoilt / "manifest.json").write_text(json.dumps(manifest | {"class_names": ["red shoe", "blue shoe"]}))
    found = in_node(spoilt, """
        const vae = await VAE.load(folder, { ort });
        show([vae.resolve({ label: "blue" }).label, await failure(vae.draw(1, { label: "shoe" }))]);
    """)
    assert found == [1, "expected one of the classes red shoe, blue shoe, got the label shoe"]


def test_decoding_samples_gives_their_pictures_again(detailed_model_folder: Path) -> None:
    found = in_node(detailed_model_folder, """
        const vae = await VAE.load(folder, { ort });
        const same = async (samples) => {
            const again = await vae.decode(samples);
            return again.length > 0 && again.every((x, at) => x === samples.images[at]);
        };
        const drawn = await vae.draw(2, { seed: 3 });
        const sampled = await vae.sample(2, { seed: 3 });
        const images = await vae.decode(drawn);
        show([await same(sampled), await same(await vae.sample(2, { seed: 3, detail: false })),
              images.every((x, at) => x === sampled.images[at]),
              (await vae.sample(2, { seed: 3, detail: false })).noise]);
    """)
    assert found == [True, True, True, None]


def test_one_picture_is_the_default_and_its_random_seed_makes_it_again(tiny_model_folder: Path) -> None:
    one, again, seeds = in_node(tiny_model_folder, """
        const vae = await VAE.load(folder, { ort });
        const one = await vae.sample();
        show([one, await vae.sample(1, { seed: one.seed }), [...Array(100)].map(() => String(randomSeed()))]);
    """)
    assert one == again
    assert len(one["images"]) == 784
    assert len(set(seeds)) == 100
    assert max(map(int, seeds)) < 2**53


def test_a_stream_gives_the_pictures_of_one_sample(tiny_model_folder: Path) -> None:
    whole, chunks, unseeded = in_node(tiny_model_folder, """
        const vae = await VAE.load(folder, { ort });
        const collect = async (stream) => {
            const all = [];
            for await (const chunk of stream) all.push(chunk);
            return all;
        };
        const choice = { seed: 5, start: 100, temperature: 2 };
        show([await vae.draw(7, choice), await collect(vae.stream(7, { ...choice, chunk: 3 })),
              await collect(vae.stream(2, { chunk: 1 }))]);
    """)
    assert [len(chunk["images"]) // 784 for chunk in chunks] == [3, 3, 1]
    assert [chunk["start"] for chunk in chunks] == ["100", "103", "106"]
    latents = [value for chunk in chunks for value in chunk["latents"]]
    np.testing.assert_allclose(latents, whole["latents"], atol=1e-5)
    assert unseeded[0]["seed"] == unseeded[1]["seed"]


def test_grey_levels_and_floats_are_encoded_alike(tiny_model_folder: Path) -> None:
    levels, floats, nested = in_node(tiny_model_folder, """
        const vae = await VAE.load(folder, { ort });
        const levels = Uint8Array.from({ length: 2 * 784 }, (_, at) => at % 256);
        const floats = Float32Array.from(levels, (level) => level / 255);
        const nested = rows(floats, 2).map((row) => [row]);
        show([await vae.encode(levels), await vae.encode(floats), await vae.encode(nested)]);
    """)
    assert levels == floats == nested
    expected = VAE(tiny_model_folder).encode((np.arange(2 * 784) % 256).astype(np.uint8).reshape(2, 1, 28, 28))
    np.testing.assert_allclose(levels["mean"], expected.mean.ravel(), atol=1e-4)
    np.testing.assert_allclose(levels["logVariance"], expected.log_variance.ravel(), atol=1e-4)


def test_grey_levels_are_those_of_the_library(tiny_model_folder: Path) -> None:
    found = in_node(tiny_model_folder, """
        show(greyLevels(Float32Array.from({ length: 51001 }, (_, at) => at / 51000))); // 200 values for each level
    """)
    assert found == to_grey_levels((np.arange(51001) / 51000).astype(np.float32)).tolist()


@pytest.mark.parametrize("name", ["fashion-mnist-12d", "fashion-mnist-12d-reference"])
def test_it_verifies_the_shipped_models(name: str) -> None:
    checks = in_node(find_model(name), """
        const vae = await VAE.load(folder, { ort });
        show([await vae.verify(), await vae.verify({ encodings: false }), await vae.verify({ draws: false })]);
    """)
    draws, encodings = ["latent", "grey_levels", "label"], ["mean", "log_variance"]
    draws += ["noise", "move"] if name == "fashion-mnist-12d" else ["move"]
    assert [[check["name"] for check in some] for some in checks] == [draws + encodings, draws, encodings]
    assert all(check["passed"] and check["difference"] <= check["allowed"] for some in checks for check in some)


@pytest.mark.parametrize("class_names", [(), ("blob", "other blob")])
def test_directions_are_those_of_the_library(tmp_path: Path, class_names: tuple[str, ...]) -> None:
    folder = write_tiny_model(tmp_path / "model", with_directions=True, class_names=class_names)
    model, latent = VAE(folder), np.linspace(-1, 1, 12)
    labels = [None, 1] if class_names else [None]
    found = in_node(folder, f"""
        const vae = await VAE.load(folder, {{ ort }});
        const [latent, found] = [{latent.tolist()}, []];
        for (const label of {json.dumps(labels)}.map((one) => one ?? undefined)) {{
            found.push([await vae.attributes(latent, {{ label }}), await vae.move(latent, "size", -0.5, {{ label }})]);
        }}
        show([await vae.directions(), found, (await vae.verify()).every((one) => one.passed)]);
    """)
    assert [(one["name"], one["labels"]) for one in found[0]] == [
        (one.name, None if one.labels is None else list(one.labels)) for one in model.directions
    ]
    for (attributes, moved), label in zip(found[1], labels, strict=True):
        assert attributes == {name: pytest.approx(float(x)) for name, x in model.attributes(latent, label).items()}
        assert moved == pytest.approx(model.move(latent, "size", -0.5, label).tolist(), abs=1e-5)
    assert found[2] is True


def test_wrong_directions_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model", with_directions=True)
    script = """
        const [vae, latent] = [await VAE.load(folder, { ort }), Array(12).fill(0)];
        show([await failure(vae.move(latent, "size", 1, { label: "blob" })),
              await failure(vae.move(latent, "size", NaN)), await failure(vae.attributes([1, 2]))]);
    """
    assert in_node(folder, script) == [
        "expected one of the directions for the class blob (shade), got size",
        "expected a finite position, got NaN",
        "expected a latent of 12 numbers, got 1,2",
    ]
    (folder / "directions.json").write_text((folder / "directions.json").read_text().replace("0", "1", 1))
    message = in_node(folder, "show(await failure((await VAE.load(folder, { ort })).directions()));")
    assert message == "expected the directions.json that manifest.json describes, got another SHA-256; copy it again"


def test_it_finds_a_value_that_differs_from_the_golden_one(spoilt: Path) -> None:
    golden = json.loads((spoilt / "golden.json").read_bytes())
    golden["encodings"]["mean"][0][0] += 1e-3
    golden["latents"][0]["labels"][0] += 1
    golden["encodings"]["log_variance"].append([0.0] * 12)  # more values than there are
    (spoilt / "golden.json").write_text(json.dumps(golden))
    checks = in_node(spoilt, "show(await (await VAE.load(folder, { ort })).verify());")
    assert [check["name"] for check in checks if not check["passed"]] == ["label", "mean", "log_variance"]


@pytest.mark.parametrize("name", ["fashion-mnist-12d", "fashion-mnist-12d-reference"])
def test_the_ways_between_latents_are_those_of_the_library(name: str) -> None:
    model = VAE(name)
    ends = model.sample(6, seed=4, prior="fitted", detail=False).latents.reshape(3, 2, 12)
    found = in_node(find_model(name), f"""
        const vae = await VAE.load(folder, {{ ort }});
        const found = [];
        for (const [a, b] of {ends.tolist()})
            for (const method of ["likely", "linear", "spherical", undefined])
                found.push(await vae.interpolate(a, b, 9, {{ method }}));
        show(found);
    """)
    for pair, ways in zip(ends, np.reshape(found, (3, 4, 9, 12)), strict=True):
        for method, way in zip(("likely", "linear", "spherical", "likely"), ways, strict=True):
            np.testing.assert_allclose(way, model.interpolate(*pair, 9, method, detail=False).latents, atol=1e-3)


def test_a_way_has_its_ends_and_an_even_speed_even_where_the_prior_is_far_away(tiny_model_folder: Path) -> None:
    found = in_node(tiny_model_folder, """
        const vae = await VAE.load(folder, { ort });
        const at = (x) => Array(12).fill(x);
        show([await vae.interpolate(at(-1e6), at(1e6), 3), await vae.interpolate(at(1), at(1), 4),
              await vae.interpolate(at(0), at(1), 2), await vae.interpolate(at(0), at(1), 3, { method: "spherical" })]);
    """)
    expected = [[-1e6, 0, 1e6], [1, 1, 1, 1], [0, 1], [0, 0.5, 1]]
    for way, values in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.reshape(way, (-1, 12)), np.tile(np.array(values)[:, None], 12), atol=1e-3)


def test_a_changed_prior_is_refused_and_an_old_model_takes_the_line(spoilt: Path, old_model_folder: Path) -> None:
    script = """
        const vae = await VAE.load(folder, { ort });
        const [a, b] = [Array(12).fill(0), Array(12).fill(1)];
        show([await failure(vae.interpolate(a, b, 3)), await failure(vae.interpolate(a, b, 3, { method: "likely" }))]);
    """
    (spoilt / "prior.json").write_text((spoilt / "prior.json").read_text().replace("0", "1", 1))
    message = "expected the prior.json that manifest.json describes, got another SHA-256; copy it again"
    assert in_node(spoilt, script) == [message, message]
    assert in_node(old_model_folder, script) == ["no error", "expected the method linear or spherical, got likely"]


WRONG_CALLS = [
    ("vae.interpolate([1], Array(12).fill(0))", "latent of shape [1, 12], got 1 values"),
    ("vae.interpolate(Array(12).fill(0), Array(12).fill(0), 1)", "at least 2 steps, got 1"),
    ("vae.interpolate(Array(12).fill(0), Array(12).fill(0), 3, { method: 'odd' })",
     "the method likely or linear or spherical, got odd"),
    ("VAE.load(folder)", "{ ort }, which is onnxruntime-web or onnxruntime-node, got neither that nor { run }"),
    ("vae.sample(1, { seed: 2 ** 53 })",
     "a seed from 0 to 2^63-1, got 9007199254740992; give it as a BigInt or as decimal digits"),
    ("vae.sample(1, { seed: 2n ** 63n })", "a seed from 0 to 2^63-1, got 9223372036854775808"),
    ("vae.sample(1, { seed: '' })", "a seed from 0 to 2^63-1, got nothing"),
    ("vae.sample(1, { start: -1 })", "a start from 0 to 2^63-1, got -1"),
    ("vae.sample(0)", "at least 1 picture, and none past 2^63-1, got 0 from 0"),
    ("vae.sample(2, { start: 2n ** 63n - 1n })",
     "at least 1 picture, and none past 2^63-1, got 2 from 9223372036854775807"),
    ("vae.stream(2, { chunk: 0 }).next()", "a chunk of at least 1 picture, got 0"),
    ("vae.sample(1, { prior: 'odd' })", "the prior normal or fitted, got odd"),
    ("vae.sample(1, { label: 'hat' })", "one of the classes blob, other blob, got the label hat"),
    ("vae.sample(1, { label: 9 })", "one of the classes blob, other blob, got the label 9"),
    ("vae.sample(1, { label: 0, prior: 'normal' })", "the fitted prior for the label 0, got the normal one"),
    ("vae.sample(1, { temperature: NaN })", "a temperature from 0 to 100, got NaN"),
    ("vae.sample(1, { temperature: -0.1 })", "a temperature from 0 to 100, got -0.1"),
    ("vae.sample(1, { temperature: 101 })", "a temperature from 0 to 100, got 101"),
    ("vae.decode()", "numbers in an array, got undefined"),
    ("vae.decode(Array(12).fill(0), { noise: [1], detail: false })", "noise or detail: false, got both"),
    ("vae.decode(new DataView(new ArrayBuffer(8)))", "numbers in an array, got [object DataView]"),
    ("vae.decode(Object.create(null))", "numbers in an array, got object"),
    ("vae.sample(1, { seed: Symbol('s') })", "a seed from 0 to 2^63-1, got Symbol(s)"),
    ("vae.sample(1, { temperature: '1' })", "a temperature from 0 to 100, got 1"),
    ("vae.run('decoder')", "numbers in an array, got undefined"),
    ("VAE.load(null, { ort })", "the address of a model folder, got null"),
    ("vae.decode([1, 2])", "latent of shape [batch, 12], got 2 values"),
    ("vae.decode(Array(18).fill(0), { detail: false })", "latent of shape [batch, 12], got 18 values"),
    ("vae.decode(Array(12).fill(Infinity), { detail: false })", "finite values in latent, got others"),
    ("vae.decode(Array(24).fill(0), { noise: Array(3).fill(0) })",
     "5 numbers of noise for each latent, or once for all, got 3"),
    ("vae.encode([2])", "images with values in [0, 1], got values from 2 to 2; divide grey levels by 255"),
    ("vae.encode(Array(784).fill(1.01))", "images with values in [0, 1], got values from 1.01 to 1.01; clip them"),
    ("vae.encode([0, -2])", "images with values in [0, 1], got values from -2 to 0; undo their normalisation"),
    ("vae.encode([NaN])", "images with finite values, got NaN or infinity; clean them first"),
    ("vae.encode(new Uint8ClampedArray(4 * 784).map((_, at) => (at % 4 < 3 ? 9 : 255)))",
     "grey levels, got the pixels of a canvas (red, green, blue and opacity); convert them with fitPixels of fit.mjs"),
    ("vae.encode({ width: 28, height: 28, data: new Uint8ClampedArray(4 * 784) })",
     "images in an array, got the pixels of a canvas (red, green, blue and opacity); convert them with fitPixels of "
     "fit.mjs"),
    ("vae.decode(Array(12).fill(3e38))",
     "latent from -1000000 to 1000000, got 3e+38; the prior's are hardly ever beyond 5"),
    ("vae.encode(new Uint8Array(3))", "image of shape [batch, 1, 28, 28], got 3 values"),
]  # fmt: skip


def test_wrong_arguments_are_refused(detailed_model_folder: Path) -> None:
    calls = "".join(f"found.push(await failure({call}));\n" for call, _ in WRONG_CALLS)
    script = f"const [vae, found] = [await VAE.load(folder, {{ ort }}), []];\n{calls}show(found);"
    assert in_node(detailed_model_folder, script) == [f"expected {message}" for _, message in WRONG_CALLS]


def test_pixels_a_hair_outside_are_clipped(tiny_model_folder: Path) -> None:
    found = in_node(tiny_model_folder, """
        const vae = await VAE.load(folder, { ort });
        const near = Array(784).fill(1 + 1e-6).fill(-1e-6, 0, 400);
        const whites = new Uint8Array(4 * 784).fill(255); // four white pictures, and no canvas
        show([(await vae.encode(near)).mean, (await vae.encode(near.map(Math.round))).mean,
              (await vae.encode(whites)).mean.length]);
    """)
    assert found[0] == found[1]
    assert found[2] == 4 * 12


def test_an_old_model_refuses_what_it_cannot_do(old_model_folder: Path) -> None:
    found = in_node(old_model_folder, """
        const vae = await VAE.load(folder, { ort });
        show([(await vae.sample(2, { seed: 1 })).labels, await failure(vae.sample(1, { prior: "fitted" })),
              await failure(vae.sample(1, { temperature: 2 })), await failure(vae.sample(1, { label: 0 })),
              await failure(vae.sample(1, { detail: true }))]);
    """)
    assert found == [
        [-1, -1],
        "expected the prior normal, got fitted",
        "expected a temperature of 1, got 2",
        "expected no label, got the label 0",
        "expected a model with a detail stage, got one without; leave detail and noise out",
    ]


def test_golden_vectors_of_another_form_are_refused(spoilt: Path) -> None:
    for content in ("{}", "no JSON", '{"samples": 1}'):
        (spoilt / "golden.json").write_text(content)
        message = in_node(spoilt, "show(await failure((await VAE.load(folder, { ort })).verify()));")
        assert message == "expected golden vectors in golden.json, got others; copy the model folder again"


def test_a_changed_graph_is_refused_and_read_again(spoilt: Path) -> None:
    decoder = spoilt / "decoder.onnx"
    content = decoder.read_bytes()
    decoder.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (spoilt / "whole").write_bytes(content)
    found = in_node(spoilt, """
        const vae = await VAE.load(folder, { ort });
        const decode = () => failure(vae.decode(new Float32Array(12)));
        const refused = await decode();
        await fs.unlink(`${folder}/decoder.onnx`);
        const missing = await decode();
        await fs.rename(`${folder}/whole`, `${folder}/decoder.onnx`);
        show([refused, missing, await decode()]);
    """)
    assert found == [
        "expected the decoder.onnx that manifest.json describes, got another SHA-256; copy it again",
        f"expected the file {spoilt}/decoder.onnx, got none; check the address of the model folder",
        "no error",
    ]


def test_a_graph_is_opened_once_and_shared_by_loads_with_one_map(tiny_model_folder: Path) -> None:
    first, second = in_node(tiny_model_folder, """
        let read = [];
        const sessions = new Map();
        const options = { ort: Promise.resolve(ort), sessions, read: (address) => {
            read.push(address.split("/").at(-1));
            return fs.readFile(address);
        } };
        const vae = await VAE.load(folder, options);
        await Promise.all([vae.sample(1), vae.sample(2), vae.open("decoder", "latents")]);
        const first = read;
        read = [];
        await (await VAE.load(folder, options)).sample(1);
        show([first, read]);
    """)
    assert sorted(first) == ["decoder.onnx", "latents.onnx", "manifest.json"]
    assert second == ["manifest.json"]


def test_graphs_run_one_at_a_time_and_after_a_failure(tiny_model_folder: Path) -> None:
    assert in_node(tiny_model_folder, """
        let [runs, now, most] = [0, 0, 0];
        const run = async () => {
            most = Math.max(most, now += 1);
            await new Promise((done) => setTimeout(done, 5));
            now -= 1;
            if ((runs += 1) === 1) throw new Error("the first run failed");
            return { image: { data: Float32Array.of(runs) } };
        };
        const fake = { Tensor: class {}, InferenceSession: { create: async () => ({ run }) } };
        const vae = await VAE.load(folder, { ort: fake });
        const decode = () => vae.decode(new Float32Array(12)).then(([value]) => value, ({ message }) => message);
        show([await Promise.all([decode(), decode(), decode()]), most]);
    """) == [["the first run failed", 2, 3], 1]


def test_golden_vectors_are_read_once(tiny_model_folder: Path) -> None:
    assert in_node(tiny_model_folder, """
        const read = [];
        const vae = await VAE.load(folder, { ort, read: (address) => {
            read.push(address.split("/").at(-1));
            return fs.readFile(address);
        } });
        await vae.verify({ encodings: false });
        await vae.verify({ draws: false });
        show(read.filter((name) => name === "golden.json").length);
    """) == 1


def test_another_engine_runs_the_graphs(detailed_model_folder: Path) -> None:
    graph, inputs, images = in_node(detailed_model_folder, """
        const asked = [];
        const vae = await VAE.load(new URL(`file://${folder}`), { run: async (...call) => {
            asked.push(call);
            return { image: Float32Array.of(0.5) };
        } });
        const images = await vae.decode([[...Array(12).keys()], Array(12).fill(1)], { detail: false });
        show([...asked[0], images]);
    """)
    assert graph == "decoder"
    assert inputs == {"latent": {"dtype": "float32", "dims": [2, 12], "data": [*range(12), *[1] * 12]}}
    assert images == [0.5]


def own_pictures() -> list[Image.Image]:
    """Pictures as users have them: on white, off-white with noise, faint, cut out, tiny, long, without an object."""
    random = np.random.default_rng(0)
    page = np.full((150, 210, 3), 255.0)
    page[40:110, 60:100], page[80:110, 100:150] = (40, 60, 90), (140, 90, 60)
    noisy = np.clip(page * 0.93 + random.normal(0, 5, page.shape), 0, 255)
    shade = np.asarray(Image.fromarray((page[..., 0] < 200).astype(np.uint8) * 60).filter(ImageFilter.GaussianBlur(9)))
    opaque = np.where(page[..., :1] < 200, 255, 0)
    soft = np.where(opaque > 0, random.integers(60, 256, opaque.shape), random.integers(0, 20, opaque.shape))
    arrays = [
        page, noisy, 225 - (255 - page) * 0.3, np.minimum(page, 255.0 - np.roll(shade, 9, 1)[..., None]), 255 - page,
        np.concatenate([page, opaque], 2), np.concatenate([page * 0.2, soft], 2), np.concatenate([page, soft], 2),
        np.repeat(np.repeat(noisy, 4, 0), 3, 1), page[35:115, 55:155], random.integers(0, 256, (40, 30, 3)),
        np.full((20, 50, 3), 250), np.full((1, 1, 3), 9), page[:30, :28], page[60:88, 80:108], page[:, 70:75],
        page[60:, 30:], page[:90, 70:],
    ]  # fmt: skip
    return [Image.fromarray(array.astype(np.uint8)) for array in arrays]


SPECS = [
    ImageSpec(1, 28, 28), ImageSpec(1, 28, 28, Preparation(fill=0.7)), ImageSpec(1, 20, 31, Preparation(fill=None)),
    ImageSpec(3, 24, 32, Preparation("pad", "white", False, 0.9)),
    ImageSpec(1, 24, 24, Preparation("pad", "white", False, 1)),
    ImageSpec(3, 16, 16, Preparation("crop", "#336699", False, None)),
    ImageSpec(3, 16, 40, Preparation("stretch", "#f0f0e0", True, 0.8)),
]  # fmt: skip


@pytest.mark.parametrize(("invert", "trim"), [("auto", True), ("auto", False), ("yes", True), ("no", True)])
def test_a_picture_is_fitted_to_the_same_pixels_as_in_the_library(tmp_path: Path, invert: str, trim: bool) -> None:
    pictures = own_pictures()
    for at, picture in enumerate(pictures):
        (tmp_path / f"{at}").write_bytes(picture.convert("RGBA").tobytes())
    sizes = [picture.size for picture in pictures]
    specs = [{"imageShape": spec.shape, "preparation": vars(spec.preparation)} for spec in SPECS]
    found = in_node(tmp_path, f"""
        const {{ fitPixels }} = await import(process.argv[3].replace("vae.mjs", "fit.mjs"));
        const found = [];
        for (const [at, [width, height]] of Object.entries({json.dumps(sizes)})) {{
            const data = await fs.readFile(`${{folder}}/${{at}}`);
            const pixels = {{ width, height, data }};
            found.push({json.dumps(specs)}.map((vae) => fitPixels(pixels, vae, "{invert}", {json.dumps(trim)})));
        }}
        show(found);
    """)
    trimmed = 0
    for picture, row in zip(pictures, found, strict=True):
        for spec, one in zip(SPECS, row, strict=True):
            expected = fit_pictures(picture, spec, invert, trim)
            np.testing.assert_array_equal(one["levels"], to_grey_levels(expected.images).ravel())
            steps = [step for _, done in expected.steps for step in done if step != "made grey"]
            assert one["steps"] == steps
            assert one["inverted"] == any(step.startswith("made negative") for step in steps)
            trimmed += any(step.startswith("trimmed") for step in steps)
    assert (trimmed > 20) == trim


def test_losses_and_what_is_unlike_the_training_are_those_of_the_library() -> None:
    random = np.random.default_rng(0)
    vae = VAE("fashion-mnist-12d-reference")
    black, noise = np.zeros((1, 1, 28, 28), np.uint8), random.integers(0, 256, (1, 1, 28, 28), np.uint8)
    images = np.concatenate([vae.sample(3, seed=1).grey_levels(), black, noise])
    found = in_node(find_model("fashion-mnist-12d-reference"), f"""
        const vae = await VAE.load(folder, {{ ort }});
        show(await vae.losses(Uint8Array.from({json.dumps(images.ravel().tolist())})));
    """)
    expected = vae.losses(images)
    np.testing.assert_allclose(found["nats"], expected.nats, rtol=1e-4)
    np.testing.assert_allclose(found["unexplained"], expected.unexplained, rtol=1e-3)
    assert found["familiar"] == expected.familiar.tolist() == [True, True, True, False, False]
