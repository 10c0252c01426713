"""Each check of the export's proof, held to a graph that is wrong where only that check looks.

The graphs are linear (`tiny_proof`). A graph that is wrong "at a row" is right for every other row of its input, so a
check that is left out, or that looks at something else, leaves the fault unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tiny_proof import (
    DIMENSIONS,
    IMAGE,
    NOISE,
    PRIOR,
    LinearStage,
    LinearVae,
    Place,
    changed,
    floats,
    graphs_of,
    tiny_pictures,
    unit_pictures,
)
from vae_export.check import prove
from vae_export.graphs import Graphs
from vae_export.report import Report, compare
from vae_gen import standard_normals

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = tiny_pictures()
IMAGES = unit_pictures(DATA)
VAE_TORCH, STAGE = LinearVae(), LinearStage()
GRAPHS = graphs_of(VAE_TORCH, STAGE)
LEVELS = ("default", "none")


def missed(report: Report) -> list[tuple[str, str, str]]:
    """Name, output and optimisation level of each value check that did not pass."""
    return sorted((check.name, check.output, check.optimisation) for check in report.values if not check.passed)


def at_both_levels(*checks: tuple[str, str]) -> list[tuple[str, str, str]]:
    return sorted((*check, level) for check in checks for level in LEVELS)


def test_graphs_that_are_right_pass_every_check() -> None:
    report = prove(GRAPHS, VAE_TORCH, IMAGES, STAGE)
    assert report.misses() == []
    assert report.passed
    assert {check.optimisation for check in report.values} == set(LEVELS)


def mean_of(image: int) -> NDArray[np.float32]:
    """The posterior mean of a test image."""
    mean, _ = VAE_TORCH.encode(torch.from_numpy(IMAGES[image : image + 1]))
    return mean[0].numpy()


Fault = tuple[str, str, Place]
"""The name of the check that sees it, the output that is wrong, and where."""
EXTREMES = (0.0, 4.0, -4.0, 8.0, -8.0)
BATCHES = (1, 2, 7, 64)
WINDOWS = {  # the seed of each range that is proved, and how the report names the range
    0: "seed 0, pictures 0 to 256",
    7: "seed 7, pictures 100 to 163",
    2**32 + 1: f"seed {2**32 + 1}, pictures {2**32 - 3} to {2**32 + 3}",
    2**53 - 1: f"seed {2**53 - 1}, pictures {2**40} to {2**40 + 1}",
    2**63 - 1: f"seed {2**63 - 1}, pictures {2**63 - 64} to {2**63 - 1}",
}


def decoder_faults() -> list[Fault]:
    return [
        ("decoder on prior draws", "image", Place().row("latent", standard_normals(0, 900, 1, DIMENSIONS)[0])),
        ("decoder on reconstructions of test images", "image", Place().row("latent", mean_of(85))),
        *((f"decoder in batches of {size}", "image", Place().batch("latent", size)) for size in BATCHES),
        *(("decoder, all numbers of the latent 0, ±4 or ±8, against float64", "image",
           Place().row("latent", np.full(DIMENSIONS, value))) for value in EXTREMES),
    ]  # fmt: skip


def encoder_faults() -> list[Fault]:
    return [
        ("encoder on test images", "mean", Place().row("image", IMAGES[85])),
        ("encoder on test images", "log_variance", Place().row("image", IMAGES[85])),
        *((f"encoder in batches of {size}", "mean", Place().batch("image", size)) for size in BATCHES),
    ]


def windows(shift: int) -> list[tuple[int, str]]:
    """The ranges, beginning with another one: faults that stand in the same round are to be in different ranges."""
    found = list(WINDOWS.items())
    return found[shift:] + found[:shift]


def generator_faults() -> list[Fault]:
    return [
        (f"generator, {name}", output, Place().where(seed=seed))
        for shift, output in enumerate(("image", "latent")) for seed, name in windows(shift)
    ]  # fmt: skip


def latents_faults() -> list[Fault]:
    kinds = [
        *((f"latents, {prior}, {name}", {"seed": seed, "prior": np.int64(at)})
          for at, prior in enumerate(("normal", "fitted")) for seed, name in windows(at)),
        *(("latents of each class", {"label": np.int64(label)}) for label in range(PRIOR.classes)),
        *(("latents at temperatures", {"temperature": np.float32(value)}) for value in (0.0, 0.7, 1.5)),
    ]  # fmt: skip
    return [(name, output, Place().where(**where)) for output in ("latent", "labels", "noise") for name, where in kinds]


def detail_faults() -> list[Fault]:
    drawn, _ = PRIOR.latents(0, 900, 1)
    return [
        ("detail on fitted samples", "image", Place().row("latent", drawn[0])),
        ("detail on reconstructions of test images", "image", Place().row("latent", mean_of(85))),
        *((f"detail in batches of {size}", "image", Place().batch("latent", size)) for size in BATCHES),
        *(("detail, all numbers of the latent and noise 0, ±4 or ±8, against float64", "image",
           Place().row("latent", np.full(DIMENSIONS, value)).row("noise", np.full(NOISE, value)))
          for value in EXTREMES),
    ]  # fmt: skip


FAULTS = {
    "decoder": decoder_faults(), "encoder": encoder_faults(), "generator": generator_faults(),
    "latents": latents_faults(), "detail": detail_faults(),
}  # fmt: skip
BY = {"image": 3e-5, "latent": 3e-5, "noise": 3e-5, "mean": 3e-4, "log_variance": 3e-4, "labels": 1}
"""Three times what is allowed, so that a tolerance cannot grow unseen."""
RANK = {"image": 4, "labels": 1}
ROUNDS = 5
"""Few, because each takes a proof; each fault of a round is in another place."""


def spoilt(graphs: Graphs, name: str, fault: Fault, by: float | None = None) -> Graphs:
    _, output, place = fault
    amount = BY[output] if by is None else by
    return changed(graphs, name, lambda model: place.wrong(model, output, amount, RANK.get(output, 2)))


@pytest.mark.parametrize("first", range(ROUNDS))
def test_a_graph_that_is_wrong_in_one_place_is_missed_by_the_check_of_that_place_alone(first: int) -> None:
    graphs, expected = GRAPHS, set()
    for name, faults in FAULTS.items():
        for fault in faults[first::ROUNDS]:
            graphs = spoilt(graphs, name, fault)
            expected.add(fault[:2])
    report = prove(graphs, VAE_TORCH, IMAGES, STAGE)
    assert missed(report) == at_both_levels(*expected)
    assert not report.passed
    assert set(report.misses()) == {check for check, _ in expected}


@pytest.mark.parametrize(("share", "passes"), [(0.7, True), (1.3, False)])
def test_every_value_may_be_off_by_the_tolerance_and_no_more(share: float, passes: bool) -> None:
    """1e-5 on pictures, latents and noise, 1e-4 on posteriors; classes are equal or wrong."""
    graphs = GRAPHS
    for name, outputs in {"encoder": ("mean", "log_variance"), "decoder": ("image",), "detail": ("image",),
                          "generator": ("image", "latent"), "latents": ("latent", "noise")}.items():  # fmt: skip
        for output in outputs:
            graphs = spoilt(graphs, name, ("", output, Place()), by=share / 3 * BY[output])
    report = prove(graphs, VAE_TORCH, IMAGES, STAGE)
    of_numbers = {(check.name, check.output) for check in report.values if check.output != "labels"}
    assert missed(report) == ([] if passes else at_both_levels(*of_numbers))
    assert len(of_numbers) == 2 + 2 + 2 * 4 + 1 + 2 * 5 + 2 * 12 + 2 + 4 + 1
    assert {check.allowed for check in report.values if check.output == "labels"} == {0}


def through_a_convolution(decoder: ModelProto, before: float, kernel: float, *after: float) -> None:
    """Multiply the pictures by `before`, by a convolution with one weight, and by `after`: by 1, but for underflow.

    ONNX Runtime's optimisation multiplies the weight by the first number after it, once and for all.
    """
    decoder.graph.node[-1].output[0] = "plain"
    numbers = {"before": np.float32(before), "kernel": np.full((1, 1, 1, 1), kernel, np.float32)}
    nodes = [helper.make_node("Mul", ["plain", "before"], ["entering"]),
             helper.make_node("Conv", ["entering", "kernel"], ["left_0"])]  # fmt: skip
    for at, number in enumerate(after):
        numbers[f"after_{at}"] = np.float32(number)
        end = "image" if at == len(after) - 1 else f"left_{at + 1}"
        nodes.append(helper.make_node("Mul", [f"left_{at}", f"after_{at}"], [end]))
    decoder.graph.node.extend(nodes)
    decoder.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in numbers.items())


@pytest.mark.parametrize(
    ("numbers", "wrong"),
    [
        ((1e-20, 1e-30, 1e30, 1e20), "none"),  # 1e-50 is 0 in float32, unless 1e-30 · 1e30 is computed first
        ((1e20, 1e-30, 1e-20, 1e30), "default"),  # here 1e-30 · 1e-20, computed first, is 0
    ],
)
def test_a_graph_is_proved_as_it_is_optimised_and_as_it_stands(numbers: tuple[float, ...], wrong: str) -> None:
    graphs = changed(GRAPHS, "decoder", lambda decoder: through_a_convolution(decoder, *numbers))
    report = prove(graphs, VAE_TORCH, IMAGES, STAGE)
    decoded = {check.name for check in report.values if check.name.startswith("decoder")}
    assert missed(report) == sorted((name, "image", wrong) for name in decoded)


def test_a_value_that_is_no_number_is_a_miss() -> None:
    graphs = changed(GRAPHS, "encoder", lambda encoder: Place().row("image", IMAGES[3]).wrong(
        encoder, "log_variance", np.nan, 2))  # fmt: skip
    assert missed(prove(graphs, VAE_TORCH, IMAGES, STAGE)) == at_both_levels(("encoder on test images", "log_variance"))


def steep(network: Any, name: str) -> Any:
    """Large weights that cancel where all numbers of a latent are equal: float32 then loses what float64 keeps."""
    weight = np.random.default_rng(7).normal(0, 1000, getattr(network, name).shape).astype(np.float32)
    weight[-1] = -weight[:-1].sum(0)
    setattr(network, name, torch.nn.Parameter(torch.from_numpy(weight), requires_grad=False))
    return network


def test_at_the_extremes_the_graph_may_be_as_far_from_float64_as_twice_pytorchs_float32_is() -> None:
    vae, stage = steep(LinearVae(), "pixels"), steep(steep(LinearStage(), "pixels"), "noise")
    report = prove(graphs_of(vae, stage), vae, IMAGES, stage)
    latents = torch.tensor(EXTREMES)[:, None].expand(-1, DIMENSIONS)
    for check in report.values:
        if "against float64" in check.name:
            weights = [vae.pixels] if check.name.startswith("decoder") else [stage.pixels, stage.noise]
            in_float32, exact = (
                torch.sigmoid(sum(latents[:, : len(weight)].to(dtype) @ weight.to(dtype) for weight in weights))
                for dtype in (torch.float32, torch.float64)
            )
            own = float((in_float32 - exact).abs().max())
            assert own > 1e-5
            assert check.allowed == pytest.approx(2 * own)
        elif check.output == "image":
            assert check.allowed == 1e-5


def test_the_differences_of_a_check_are_what_they_are_called() -> None:
    expected = np.zeros((10, 1, 10, 10))
    found = expected.copy()
    found[3, 0, 2, 5], found[4, 0, 0, 0] = -4 / 255, 0.5 / 255  # the second one is a grey level of its own
    check = compare("pictures", "image", "none", np.abs(found), expected, 0.1)
    assert (check.name, check.output, check.optimisation, check.allowed) == ("pictures", "image", "none", 0.1)
    assert (check.values, check.grey_levels, check.passed) == (1000, 4, True)
    assert check.max == pytest.approx(4 / 255)
    assert check.mean == pytest.approx(4.5 / 255 / 1000)
    assert check.p99_9 == pytest.approx(0.5 / 255 + 0.001 * 3.5 / 255)  # of 1000 values the 999th, and a little
    check = compare("latents", "latent", "none", found, expected, 4 / 255)
    assert (check.max, check.grey_levels, check.passed) == (4 / 255, None, True)
    assert not compare("latents", "latent", "none", found, expected, 3.9 / 255).passed
    assert not compare("latents", "latent", "none", found[:1] * 0, expected, 1.0).passed  # broadcast, it would agree
    assert not compare("latents", "latent", "none", np.full(3, np.nan), np.zeros(3), 1.0).passed


# What a graph must be whatever it computes


def on_every_graph(change: Callable[[ModelProto], object]) -> Graphs:
    graphs = GRAPHS
    for name in graphs.by_name():
        graphs = changed(graphs, name, change)
    return graphs


def with_a_fixed_batch(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 64


def with_doubles(model: ModelProto) -> None:
    model.graph.output[-1].type.tensor_type.elem_type = TensorProto.DOUBLE


def with_another_input(model: ModelProto) -> None:
    model.graph.input.append(floats("more", 1))


def with_outputs_swapped(model: ModelProto) -> None:
    outputs = [*model.graph.output][::-1] if len(model.graph.output) > 1 else [floats("picture", "batch", *IMAGE)]
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def with_a_wrong_inner_shape(model: ModelProto) -> None:
    """What only inference of the shapes notices: a value inside is said to have five axes."""
    last = model.graph.node[-1].output[0]
    inner = next(name for node in model.graph.node for name in node.output if name != last)
    model.graph.value_info.append(floats(inner, 1, 1, 1, 1, 1))


def with_a_missing_value(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["nobody_made_this"], ["copy"]))


def with_a_function(model: ModelProto) -> None:
    body = [helper.make_node("Identity", ["x"], ["y"])]
    model.functions.append(helper.make_function("", "Own", ["x"], ["y"], body, [helper.make_opsetid("", 18)]))


def adding(operator: str, *inputs: str, **attributes: Any) -> Callable[[ModelProto], None]:
    def add(model: ModelProto) -> None:
        named = [name or model.graph.input[0].name for name in inputs]
        model.graph.node.append(helper.make_node(operator, named, ["added"], **attributes))

    return add


def with_opset(version: int) -> Callable[[ModelProto], None]:
    return lambda model: setattr(model.opset_import[0], "version", version)


def with_weights_outside(model: ModelProto) -> None:
    tensor = model.graph.initializer[-1]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def with_trace(text: str, place: str) -> Callable[[ModelProto], None]:
    def leave(model: ModelProto) -> None:
        node, graph, tensor = model.graph.node[0], model.graph, model.graph.initializer[0]
        if place == "metadata":
            entry = node.metadata_props.add()
            entry.key, entry.value = "stack", text
        elif place == "name of a weight":
            for each in graph.node:
                each.input[:] = [text if name == tensor.name else name for name in each.input]
            tensor.name = text
        else:
            {"node": node, "graph": graph, "model": model, "weight": tensor}[place].doc_string = text

    return leave


SIGNATURE, CHECKER, OPERATORS = "names, dtypes and axes", "onnx.checker, full", "standard operators only"
CHANCE, OPSET, OUTSIDE = "no random operator", "opset 18 to 21", "all weights in the graph's file"
TRACES = "no file paths of the exporting machine"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (with_a_fixed_batch, SIGNATURE),
        (with_doubles, SIGNATURE),
        (with_another_input, SIGNATURE),
        (with_outputs_swapped, SIGNATURE),
        (with_a_wrong_inner_shape, CHECKER),
        (with_a_missing_value, CHECKER),
        (adding("Gelu", "", domain="com.microsoft"), OPERATORS),
        (with_a_function, OPERATORS),
        (adding("RandomNormal", shape=[1]), CHANCE),
        (adding("RandomUniformLike", ""), CHANCE),
        (adding("Bernoulli", ""), CHANCE),
        (adding("Multinomial", ""), CHANCE),
        (with_opset(17), OPSET),
        (with_opset(22), OPSET),
        (with_weights_outside, OUTSIDE),
        (with_trace("/home/ann/train.txt", "node"), TRACES),
        (with_trace("/root/x", "graph"), TRACES),
        (with_trace("/Users/ann", "model"), TRACES),
        (with_trace("lib/site-packages/torch", "weight"), TRACES),
        (with_trace("forward.py", "metadata"), TRACES),
        (with_trace("/home/ann/weight", "name of a weight"), TRACES),
    ],
)  # fmt: skip
def test_what_the_contract_forbids_is_a_miss_in_every_graph(
    change: Callable[[ModelProto], object], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_export.check._values", lambda *_: iter(()))  # some of these cannot be run at all
    report = prove(on_every_graph(change), VAE_TORCH, IMAGES, STAGE)
    assert not report.passed
    assert {f"{name}: {kind}" for name in GRAPHS.by_name()} <= set(report.misses())
    if kind in (CHECKER, TRACES):  # the checker refuses some of the others too
        assert {name.partition(": ")[2] for name in report.misses()} == {kind}


@pytest.mark.parametrize("version", [18, 21])
def test_the_first_and_the_last_opset_are_allowed(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_export.check._values", lambda *_: iter(()))
    assert prove(on_every_graph(with_opset(version)), VAE_TORCH, IMAGES, STAGE).misses() == []


def test_letters_that_occur_in_weights_by_chance_are_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def spell(model: ModelProto) -> None:
        largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        largest.raw_data = b"/home/.py   " + largest.raw_data[12:]

    monkeypatch.setattr("vae_export.check._values", lambda *_: iter(()))
    assert prove(on_every_graph(spell), VAE_TORCH, IMAGES, STAGE).misses() == []
