"""The graphs that turn a seed into latents, as ONNX operators without a random operator.

    latent_graph            seed, start, count → latent, from N(0, I)
    prior_graph             seed, start, count, prior, label, temperature → latent, labels: this is latents.onnx
    default_latent_graph    the same with prior, label and temperature fixed: the first part of generator.onnx

The inputs and outputs of latents.onnx are these; with a detail stage it also has its `noise`.

    seed, start, count  i64 []    the seed; the index of the first latent; the number of latents
    prior               i64 []    0 for N(0, I), 1 for the fitted prior
    label               i64 []    the index of a class, or −1 for any class; with prior 0 it must be −1
    temperature         f32 []    the factor of the noise of the latent
    latent              f32 [count, dimensions]
    labels              i64 [count]   the class of each latent, −1 if the prior has no classes
    noise               f32 [count, k]   the noise for the detail stage

The output is called `labels` because `label` is taken: within an ONNX graph each name stands for one value.

The seed contract (docs/seed-contract.md) is implemented in `vae_gen.internal.philox` (Salmon et al. 2011; Box and
Muller 1958), and the prior in `vae_gen.internal.prior`. Their constants are used here. Only this is different in the
graphs:

- Words are uint64, so that the product of two 32-bit words is exact. ONNX Runtime adds and divides only int64 and
  floats, so the arithmetic on indices and keys is done in int64 and cast.
- The counters (c0, c1, c2, c3) are two tensors of shape [2, counters, count], with a counter for each block of each
  stream: `even` = (c0, c2), which a round multiplies, and `odd` = (c1, c3). With rev swapping the two rows, a round is

      product = even · (M0, M1);   even' = rev(product >> 32) ^ odd ^ (k0, k1);   odd' = rev(product) & mask

  These are six nodes per round; word by word it would be ten. The rows are the first axis, so that swapping them copies
  two long runs of memory. The mask of `odd` is applied at its next use, where one `BitwiseAnd` serves both.
- One evaluation of Philox makes the words of all three streams: 116 nodes, 42 µs for one latent and 92 µs for 64 on one
  Zen 3 core. A separate evaluation for the class and the component would take 189 nodes, 62 and 124 µs.
- Words run along the last axis and thresholds along the first, so that counting the thresholds that a word reaches
  needs no transposition. The index of the component is multiplied by `prior`: 0 selects component 0, which is N(0, I),
  with an exact identity as its factor.
- A word and a threshold are compared as two halves of 16 bits, which float32 holds exactly. Some engines take int64 for
  the lengths of axes, and compare it in another way.
- An engine that computes int64 in 32 bits would make wrong numbers of every seed without an error. `guard` therefore
  makes NaN of latents, noise and pictures in such an engine, and −2 of labels. The graphs of `portable_graphs` are
  right there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from vae_gen import DetailSpec, FittedPrior
from vae_gen.internal.manifest import Prior
from vae_gen.internal.philox import (
    CLASS_STREAM,
    COMPONENT_STREAM,
    DETAIL_STREAM,
    KEY_STEPS,
    LATENT_STREAM,
    MULTIPLIERS,
    ROUNDS,
    WORD_MASK,
)

OPSET = 18
"""The version of ONNX's operators in all graphs."""

IR_VERSION = 8
"""The version of the ONNX file format in all graphs."""

DEFAULTS: dict[str, NDArray[Any]] = {
    "prior": np.array(1, np.int64),
    "label": np.array(-1, np.int64),
    "temperature": np.array(1, np.float32),
}
"""The choices of a generator whose default is the fitted prior: any class, temperature 1."""


DRAWN_LABELS, UNKNOWN_LABEL = "seed_drawn_labels", -2
"""The name of the labels before they are guarded, and what the guard makes of them where they are whole numbers."""


class Nodes:
    """Collects the nodes and constants of a graph, and gives them numbered names that begin with `prefix`."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: ArrayLike, dtype: type[np.generic]) -> str:
        """Adds a constant and returns its name."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Adds a node and returns the name of its only output."""
        name = name or f"{self.prefix}{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def split(self, value: str, parts: int) -> list[str]:
        """Adds a node that splits a value into equal parts along the first axis; returns their names."""
        names = [f"{value}_part_{part}" for part in range(parts)]
        self.nodes.append(
            helper.make_node("Split", [value], names, name=f"node_{value}_split", axis=0, num_outputs=parts)
        )
        return names

    def split_sizes(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Adds a node that splits a value into parts of these sizes along an axis; returns their names."""
        names = [f"{value}_part_{part}" for part in range(len(sizes))]
        inputs = [value, self.constant(sizes, np.int64)]
        self.nodes.append(helper.make_node("Split", inputs, names, name=f"node_{value}_split", axis=axis))
        return names


Counter = tuple[int, int]
"""(block, stream): the input of Philox besides the index and the seed."""


def latent_counters(dimensions: int, stream: int = LATENT_STREAM) -> list[Counter]:
    """The counters that give the standard normals of a latent, four for each counter."""
    return [(block, stream) for block in range(-(-dimensions // 4))]


def latent_graph(dimensions: int, stream: int = LATENT_STREAM) -> onnx.ModelProto:
    """The graph from seed, start and count (int64 scalars) to a latent of N(0, I), float32 [count, dimensions]."""
    nodes = Nodes()
    words = philox(nodes, latent_counters(dimensions, stream))
    _, scale = add_guard(nodes)
    box_muller(nodes, _upper_bits(nodes, words), scale, dimensions, name="latent")
    graph = helper.make_graph(
        nodes.nodes,
        "latents",
        inputs=[helper.make_tensor_value_info(name, TensorProto.INT64, []) for name in ("seed", "start", "count")],
        outputs=[helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["count", dimensions])],
        initializer=nodes.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def philox(nodes: Nodes, counters: Sequence[Counter]) -> str:
    """Adds an evaluation of Philox: the words w0, w2, w1, w3 of each counter and index, uint64 [4, counters, count]."""
    mask = nodes.constant(WORD_MASK, np.int64)
    word_mask = nodes.constant(WORD_MASK, np.uint64)
    half = nodes.constant(32, np.uint64)
    rows = nodes.constant([1, 0], np.int64)
    multipliers = nodes.constant(_rows(MULTIPLIERS), np.uint64)

    # All round keys at once: key + round · step, modulo 2³². [rounds · 2, 1, 1], split into [2, 1, 1] for each round.
    steps = [[step * number] for number in range(ROUNDS) for step in KEY_STEPS]
    divisors = [[1 if row % 2 == 0 else 2**32] for row in range(2 * ROUNDS)]
    words = nodes.add("BitwiseAnd", nodes.add("Div", "seed", nodes.constant(_rows(divisors), np.int64)), mask)
    keys = nodes.add("BitwiseAnd", nodes.add("Add", words, nodes.constant(_rows(steps), np.int64)), mask)
    round_keys = nodes.split(nodes.add("Cast", keys, to=TensorProto.UINT64), ROUNDS)

    zero, one = nodes.constant(0, np.int64), nodes.constant(1, np.int64)
    index = nodes.add("Add", nodes.add("Range", zero, "count", one), "start")  # [count]
    low = nodes.add("BitwiseAnd", index, nodes.constant(_rows([WORD_MASK, 0]), np.int64))  # [2, 1, count]
    block = np.array([[0, block] for block, _ in counters]).T[:, :, None]  # [2, counters, 1]
    even = nodes.add("Cast", nodes.add("Add", low, nodes.constant(block, np.int64)), to=TensorProto.UINT64)
    # (index >> 32, index >> 63): an index is below 2⁶³, so the second row is 0, and `stream` is put into it.
    odd = nodes.add(
        "BitShift", nodes.add("Cast", index, to=TensorProto.UINT64), nodes.constant(_rows([32, 63]), np.uint64),
        direction="RIGHT",
    )
    if any(stream for _, stream in counters):
        streams = np.array([[0, stream] for _, stream in counters], np.uint64).T[:, :, None]  # [2, counters, 1]
        odd = nodes.add("BitwiseXor", odd, nodes.constant(streams, np.uint64))

    for number, key in enumerate(round_keys):
        swapped = nodes.add("Gather", nodes.add("Mul", even, multipliers), rows, axis=0)
        high = nodes.add("BitShift", swapped, half, direction="RIGHT")
        even = nodes.add("BitwiseXor", nodes.add("BitwiseXor", high, odd), key)
        odd = swapped
        if number < ROUNDS - 1:
            even = nodes.add("BitwiseAnd", even, word_mask)
    words = nodes.add("Concat", even, odd, axis=0)
    return nodes.add("BitwiseAnd", words, nodes.constant(WORD_MASK, np.uint64))


def add_guard(nodes: Nodes) -> tuple[str, str]:
    """Adds `guard`, float32 []: the number 0, or NaN in an engine that computes int64 in 32 bits.

    Returns whether it is 0, and guard + 2⁻²⁴.

    seed/2 + 2⁴⁰ is at least 256 times 2³². With 32 bits, whether they wrap or are clamped, it is never so much. As it
    depends on the seed, no engine can compute it in advance with more bits.
    """
    large = nodes.add("Add", nodes.add("Div", "seed", nodes.constant(2, np.int64)), nodes.constant(2**40, np.int64))
    times = nodes.add("Div", large, nodes.constant(2**32, np.int64))
    whole = nodes.add("GreaterOrEqual", times, nodes.constant(256, np.int64))
    guard = nodes.add(
        "Where", whole, nodes.constant(0, np.float32), nodes.constant(np.nan, np.float32), name="guard"
    )
    return whole, nodes.add("Add", guard, nodes.constant(2**-24, np.float32))


def box_muller(nodes: Nodes, upper: str, scale: str, dimensions: int, name: str | None = None) -> str:
    """Adds the Box-Muller transform: standard normals, float32 [count, dimensions].

    Args:
        nodes: the graph.
        upper: the upper 24 bits of the words w0, w2, w1, w3 of each block, float32 [4, blocks, count].
        scale: 2⁻²⁴, or NaN if the words can't be trusted; [] or [count].
        dimensions: how many normals there are for each index.
        name: the name of the result.
    """
    uniform = nodes.add("Mul", nodes.add("Add", upper, nodes.constant(1, np.float32)), scale)
    for_radius, for_angle = nodes.split(uniform, 2)  # each [2, blocks, count]
    radius = nodes.add("Sqrt", nodes.add("Mul", nodes.add("Log", for_radius), nodes.constant(-2, np.float32)))
    angle = nodes.add("Mul", for_angle, nodes.constant(2 * np.pi, np.float32))
    cosines = nodes.add("Mul", radius, nodes.add("Cos", angle))
    sines = nodes.add("Mul", radius, nodes.add("Sin", angle))
    both = nodes.add("Concat", cosines, sines, axis=0)  # rows cos₀ cos₁ sin₀ sin₁
    ordered = nodes.add("Gather", both, nodes.constant([0, 2, 1, 3], np.int64), axis=0)  # cos₀ sin₀ cos₁ sin₁
    by_index = nodes.add("Transpose", ordered, perm=[2, 1, 0])  # [count, blocks, 4]
    width = -(-dimensions // 4) * 4
    whole = width == dimensions
    flat = nodes.add("Reshape", by_index, nodes.constant([-1, width], np.int64), name=name if whole else None)
    if whole:
        return flat
    bounds: Sequence[Sequence[int]] = ([0], [dimensions], [1])
    return nodes.add("Slice", flat, *(nodes.constant(bound, np.int64) for bound in bounds), name=name)


def _upper_bits(nodes: Nodes, words: str) -> str:
    """Adds the upper 24 of the 32 bits of words, as float32."""
    return nodes.add(
        "Cast", nodes.add("BitShift", words, nodes.constant(8, np.uint64), direction="RIGHT"), to=TensorProto.FLOAT
    )


def _rows(values: ArrayLike) -> ArrayLike:
    """Values as an array of shape [n, 1, 1]."""
    return np.reshape(np.asarray(values, object), (-1, 1, 1))


def prior_graph(prior: FittedPrior, detail: DetailSpec | None = None) -> onnx.ModelProto:
    """The graph latents.onnx for a prior, with the output `noise` if there is a detail stage."""
    nodes = Nodes()
    counters, sizes = prior_counters(prior, detail)
    *for_normals, for_choices = nodes.split_sizes(philox(nodes, counters), sizes, axis=1)
    first_words = nodes.add("Gather", for_choices, nodes.constant(0, np.int64), axis=0)  # w0, [2, count]
    shifted = nodes.add("BitShift", first_words, nodes.constant(_rows([16, 0]), np.uint64), direction="RIGHT")
    halves = nodes.add("BitwiseAnd", shifted, nodes.constant(2**16 - 1, np.uint64))  # [2, 2, count]
    upper = [_upper_bits(nodes, part) for part in for_normals]
    halves = nodes.add("Cast", halves, to=TensorProto.FLOAT)
    trusted, scale = add_guard(nodes)
    draw(nodes, prior, detail, upper, halves, scale, TensorProto.INT64)
    nodes.add("Where", trusted, DRAWN_LABELS, nodes.constant(UNKNOWN_LABEL, np.int64), name="labels")

    whole = ("seed", "start", "count", "prior", "label")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, []) for name in whole]
    inputs.append(helper.make_tensor_value_info("temperature", TensorProto.FLOAT, []))
    outputs = draw_outputs(prior, detail, "count", TensorProto.INT64)
    graph = helper.make_graph(nodes.nodes, "latents", inputs, outputs, nodes.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def prior_counters(prior: FittedPrior, detail: DetailSpec | None) -> tuple[list[Counter], list[int]]:
    """The counters of Philox for a draw, and their numbers: for the latent, for the noise if any, for the choices."""
    normal = latent_counters(prior.dimensions)
    of_detail = [] if detail is None else latent_counters(detail.noise, DETAIL_STREAM)
    sizes = [len(normal), *([len(of_detail)] if of_detail else []), 2]
    return [*normal, *of_detail, (0, COMPONENT_STREAM), (0, CLASS_STREAM)], sizes


def draw(
    nodes: Nodes, prior: FittedPrior, detail: DetailSpec | None, upper: Sequence[str], halves: str, scale: str,
    kind: int,
) -> None:
    """Adds what is drawn with random words: `latent`, `DRAWN_LABELS`, and with a detail stage `noise`.

    Args:
        nodes: a graph with `prior`, `label` and `temperature`, each [] or [1].
        prior: the fitted prior.
        detail: the detail stage, if the model has one.
        upper: for the latent, and with a detail stage for the noise, the upper bits as in `box_muller`.
        halves: the upper and the lower 16 bits of the words that choose component and class, float32 [2, 2, count].
        scale: as in `box_muller`.
        kind: the type of `prior`, `label` and `labels`: int64, or float32 for graphs in which all numbers are float32.
    """
    noise = box_muller(nodes, upper[0], scale, prior.dimensions)
    component = _component(nodes, halves, prior, kind)
    numbers = np.int64 if kind == TensorProto.INT64 else np.float32
    nodes.add("Gather", nodes.constant(prior.labels, numbers), component, name=DRAWN_LABELS)
    if detail is not None:
        # A row for each component: `class_shift` at the index of its class, else 0.
        shifts = np.float32(detail.class_shift) * (prior.labels[:, None] == np.arange(detail.noise))
        shift = nodes.add("Gather", nodes.constant(shifts, np.float32), component)  # [count, k]
        nodes.add("Add", box_muller(nodes, upper[1], scale, detail.noise), shift, name="noise")

    column = nodes.add("Unsqueeze", nodes.add("Mul", noise, "temperature"), nodes.constant([2], np.int64))
    factors = nodes.add("Gather", nodes.constant(prior.factors, np.float32), component)  # [count, width, width]
    spread = nodes.add("Squeeze", nodes.add("MatMul", factors, column), nodes.constant([2], np.int64))
    nodes.add("Add", nodes.add("Gather", nodes.constant(prior.means, np.float32), component), spread, name="latent")


def draw_outputs(
    prior: FittedPrior, detail: DetailSpec | None, axis: str, kind: int
) -> list[onnx.ValueInfoProto]:
    """The outputs that `draw` makes, whose first axis has the name `axis`."""
    outputs = [
        helper.make_tensor_value_info("latent", TensorProto.FLOAT, [axis, prior.dimensions]),
        helper.make_tensor_value_info("labels", kind, [axis]),
    ]
    if detail is not None:
        outputs.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, [axis, detail.noise]))
    return outputs


def default_latent_graph(
    prior: FittedPrior, default_prior: Prior = "fitted", detail: DetailSpec | None = None
) -> onnx.ModelProto:
    """The graph `prior_graph` with fixed choices: any class, temperature 1, and the default prior.

    Its inputs are seed, start and count; its output is latent, and with a detail stage noise.
    """
    model = prior_graph(prior, detail)
    fix_choices(model.graph, DEFAULTS | {"prior": np.array(default_prior == "fitted", np.int64)})
    return model


def fix_choices(graph: onnx.GraphProto, chosen: Mapping[str, NDArray[Any]]) -> None:
    """Turns the inputs prior, label and temperature of a graph of latents into constants, and drops `labels`."""
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in chosen.items())
    for values, dropped in ((graph.input, tuple(chosen)), (graph.output, ("labels",))):
        kept = [value for value in values if value.name not in dropped]
        del values[:]
        values.extend(kept)
    replace_nodes(graph, [node for node in graph.node if node.output[0] not in ("labels", DRAWN_LABELS)])


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Give a graph other nodes, and drop the constants that none of them uses."""
    nodes = list(nodes)
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


def _component(nodes: Nodes, halves: str, prior: FittedPrior, kind: int) -> str:
    """Adds the choice of the class and of its component: the row of the component in the tables, whole [count].

    `halves` are those of the component's and of the class's word, float32 [2, 2, count]; `kind` as in `draw`.
    """
    exact = kind == TensorProto.INT64
    numbers = np.int64 if exact else np.float32

    def row(value: str) -> str:
        return value if exact else nodes.add("Cast", value, to=TensorProto.INT32)

    for_component, for_class = nodes.split_sizes(halves, [1, 1], axis=1)  # each [2, 1, count]
    drawn = _reached(nodes, for_class, nodes.constant(_halves(prior.class_thresholds[:, None]), np.float32), kind)
    given = nodes.add("GreaterOrEqual", "label", nodes.constant(0, numbers))
    chosen = row(nodes.add("Where", given, "label", drawn))  # [count]
    table = nodes.constant(_halves(prior.component_thresholds.T), np.float32)  # [2, most components, mixtures]
    within = _reached(nodes, for_component, nodes.add("Gather", table, chosen, axis=2), kind)
    component = nodes.add("Add", nodes.add("Gather", nodes.constant(prior.first, numbers), chosen), within)
    return row(nodes.add("Mul", component, "prior"))


def _reached(nodes: Nodes, word: str, thresholds: str, kind: int) -> str:
    """Adds the count of the thresholds [2, n, count] or [2, n, 1] that a word [2, 1, count] reaches: `kind` [count].

    The first axis has the upper and the lower half of 16 bits. The sign of the difference is exact in float32: the
    upper halves differ by nothing or by at least 2¹⁶, and the lower halves by less.
    """
    difference = nodes.add("Sub", word, thresholds)
    weighted = nodes.add("Mul", difference, nodes.constant([[[2**16]], [[1]]], np.float32))
    axis = nodes.constant([0], np.int64)
    whole = nodes.add("ReduceSum", weighted, axis, keepdims=0)  # [n, count]
    reached = nodes.add("GreaterOrEqual", whole, nodes.constant(0, np.float32))
    return nodes.add("ReduceSum", nodes.add("Cast", reached, to=kind), axis, keepdims=0)


def _halves(thresholds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The upper and the lower 16 bits of thresholds, which are at most 2³²: int64 [2, …]."""
    return np.stack([thresholds >> 16, thresholds & (2**16 - 1)])
